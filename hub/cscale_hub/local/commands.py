"""``cscale up`` and ``cscale down``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cscale_hub.local.lifecycle import Federation, FederationError
from cscale_hub.local.people import DEMO_USERS
from cscale_hub.local.signals import interruptible, undisturbed
from cscale_hub.local.system import own_command
from cscale_hub.settings import SettingsError, load_settings

DataOption = Annotated[
    Path | None,
    typer.Option(help="Data folder; default: CSCALE_DATA, else ~/.local/share/cscale."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def register(app: typer.Typer) -> None:
    """Add ``up`` and ``down`` to the command line."""
    app.command()(up)
    app.command()(down)


def up(
    data: DataOption = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to open in the browser.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave it running and return to the prompt.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start the hub with a whole federation around it, on this machine."""
    console = Console(stderr=as_json)
    federation = _federation(data, console, port=port)
    try:
        with interruptible():
            with console.status("Starting", spinner="dots") as status:

                def show(message: str) -> None:
                    console.print(f"  {message}", style="dim", highlight=False, markup=False)
                    status.update(message.partition(";")[2].strip() or message)

                federation.start(show, detach=detach)
            _greet(federation, console, detach=detach, as_json=as_json)
            if detach:
                federation.release()
                return
            ended = federation.wait_ended()
            console.print("It was stopped from elsewhere." if ended == 0 else "The hub ended.")
    except KeyboardInterrupt:
        console.print()
    except FederationError as error:
        _fail(console, error)
    _stop(federation, console)


def down(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Stop everything that `cscale up` started, and unmount the buckets."""
    console = Console(stderr=as_json)
    federation = _federation(data, console)
    ran = federation.is_running()
    _stop(federation, console, quiet=not ran)
    if not ran:
        console.print(f"Nothing ran in {federation.data}.", highlight=False)
    if as_json:
        typer.echo(json.dumps({"stopped": ran, "data": str(federation.data)}))


def _federation(data: Path | None, console: Console, **options: Any) -> Federation:
    try:
        return Federation(data or load_settings().data, **options)
    except (FederationError, SettingsError) as error:
        _fail(console, error)
        raise  # not reached: _fail ends the command


def _fail(console: Console, error: Exception) -> None:
    console.print("[red]✗[/] ", end="")
    console.print(str(error), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def _stop(federation: Federation, console: Console, *, quiet: bool = False) -> None:
    try:
        with (
            console.status("Stopping", spinner="dots"),
            undisturbed(lambda: console.print("  Still stopping", style="dim")),
        ):
            federation.stop(
                lambda message: console.print(f"  {message}", style="dim", markup=False)
            )
    except FederationError as error:
        _fail(console, error)
    if not quiet:
        console.print(f"Stopped. Your data stays in {federation.data}", highlight=False)


def _greet(federation: Federation, console: Console, *, detach: bool, as_json: bool) -> None:
    passwords = federation.passwords
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "url": federation.hub_url,
                    "data": str(federation.data),
                    "logs": str(federation.log_dir),
                    "urls": federation.urls,
                    "users": passwords,
                    "notes": federation.notes,
                }
            )
        )
        return
    table = Table(title="Demo users", title_justify="left", box=None, padding=(0, 3, 0, 0))
    table.add_column("user", style="bold")
    table.add_column("password")
    table.add_column("", style="dim")
    for user in DEMO_USERS:
        table.add_row(user.username, passwords[user.username], user.about)
    console.print()
    console.print("[bold green]✓ C-SCALE Hub is ready:[/] ", end="")
    console.print(f"[bold]{federation.hub_url}[/]\n", highlight=False)
    console.print(table)
    console.print()
    console.print(f"Data and logs: {federation.data}", style="dim", highlight=False)
    how = f"{own_command()} down --data {federation.data}" if detach else "Ctrl-C"
    console.print(f"Stop with {how}", highlight=False)
