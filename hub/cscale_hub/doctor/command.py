"""``cscale doctor``: a federation of one machine, or any deployment by its settings."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cscale_hub.doctor.findings import Finding
from cscale_hub.local.lifecycle import Federation, FederationError, FederationState, ServiceState
from cscale_hub.settings import Settings, SettingsError, load_settings

_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "problem": "[red]✗[/]"}


def register(app: typer.Typer) -> None:
    """Add ``doctor`` to the command line."""
    app.command()(doctor)


def doctor(
    data: Annotated[
        Path | None,
        typer.Option(help="Data folder; default: CSCALE_DATA, else ~/.local/share/cscale."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(help="Look at the deployment of this cscale.yaml instead."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Say what runs, what is wrong, and what to do about it."""
    console = Console(stderr=as_json)
    try:
        state: FederationState | None = None
        if settings is not None:
            findings = _examined(load_settings(settings), console)
        else:
            federation = Federation(data or load_settings().data)
            with console.status("Looking", spinner="dots"):
                state = federation.state()
            findings = _examined(federation.settings, console) if state.running else []
            if not as_json:
                _show(federation, state, console)
    except (FederationError, SettingsError) as error:
        console.print("[red]✗[/] ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    bad = [finding for finding in findings if finding.status == "problem"]
    problems = [*(state.problems if state else ()), *(f"{each.part}: {each.found}" for each in bad)]
    if as_json:
        found: dict[str, Any] = dataclasses.asdict(state) if state else {}
        found["findings"] = [dataclasses.asdict(finding) for finding in findings]
        typer.echo(json.dumps({**found, "problems": problems}, indent=1))
    else:
        _tell(findings, state, console)
    if problems:
        raise typer.Exit(1)


def _examined(settings: Settings, console: Console) -> list[Finding]:
    # Takes a second to load, and every other command would wait for it too.
    from cscale_hub.doctor.examination import examine

    with console.status("Asking the services", spinner="dots"):
        return asyncio.run(examine(settings))


def _tell(findings: list[Finding], state: FederationState | None, console: Console) -> None:
    for finding in findings:
        console.print(f"{_MARKS[finding.status]} ", end="")
        text = f"{finding.part}: {finding.found}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        if finding.advice:
            console.print(
                f"    {finding.advice}", style="dim", markup=False, highlight=False, soft_wrap=True
            )
    for problem in state.problems if state else ():
        console.print("[red]✗[/] ", end="")
        console.print(problem, markup=False, highlight=False, soft_wrap=True)
    wrong = [finding for finding in findings if finding.status != "ok"]
    if not wrong and not (state and state.problems):
        console.print("[green]✓ nothing is wrong[/]")


def _show(federation: Federation, state: FederationState, console: Console) -> None:
    heading = f"running at {state.url}" if state.running else "not running"
    console.print(f"[bold]C-SCALE Hub[/] {heading}", highlight=False)
    console.print(f"Data: {federation.data}", style="dim", highlight=False)
    if state.services and state.running:
        table = Table(box=None, padding=(0, 3, 0, 0))
        for column in ("service", "state", "pid", "port", "restarts", "memory"):
            numeric = column in ("pid", "port", "restarts", "memory")
            table.add_column(column, justify="right" if numeric else "left")
        for service in state.services:
            table.add_row(*_row(service))
        console.print(table)
    console.print(f"Mounts: {', '.join(state.mounts) or 'none'}", highlight=False, markup=False)
    console.print(f"Free on the disk: {state.free_bytes / 2**30:.1f} GiB", highlight=False)
    for offer in state.offers:
        mark = "[green]✓[/]" if offer.present else "[yellow]–[/]"
        console.print(f"{mark} {offer.name}: ", end="")
        text = offer.detail if offer.present else f"{offer.detail}; it would add: {offer.adds}"
        console.print(text, markup=False, highlight=False)


def _row(service: ServiceState) -> tuple[str, ...]:
    return (
        service.name,
        "[green]ok[/]" if service.healthy else "[red]down[/]",
        str(service.pid or "–"),
        str(service.port or "–"),
        str(service.restarts),
        f"{service.memory / 2**20:.0f} MiB",
    )
