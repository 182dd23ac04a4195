"""``cscale demo``: a federation in a throw-away folder, the journey through it, a report."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from cscale_cli.demo.logins import count_logins
from cscale_cli.demo.plan import Question, question_of_folder
from cscale_cli.demo.report import Report
from cscale_cli.demo.session import HubSession
from cscale_cli.hub_login import JourneyError
from cscale_core.errors import CScaleError, InvalidInput
from cscale_hub.local.archive import simulate
from cscale_hub.local.lifecycle import Federation, FederationError
from cscale_hub.local.signals import interruptible, undisturbed

# What is kept of a throw-away folder.
KEPT = ("demo", "logs")
USER = "aqua"
DEAD_PROVIDER = "site-c"
# So short that every login is renewed many times on the way, as on a working day with Check-in's.
TOKEN_SECONDS = 60
# Public archives that `--source` knows: address, the hosts their files come from, collection.
SOURCES: dict[str, dict[str, Any]] = {
    "earth-search": {
        "title": "Earth Search",
        "url": "https://earth-search.aws.element84.com/v1",
        "hosts": ["sentinel-cogs.s3.us-west-2.amazonaws.com"],
        "collection": "sentinel-2-l2a",
    }
}


def register(app: typer.Typer) -> None:
    """Add ``demo`` to the command line."""
    app.command()(demo)


def demo(
    input_folder: Annotated[
        Path | None,
        typer.Option(
            "--input", help="A folder of STAC items with COGs; default: simulated scenes."
        ),
    ] = None,
    source: Annotated[
        str, typer.Option(help=f"A public archive instead: {', '.join(SOURCES)}.")
    ] = "",
    bbox: Annotated[
        str, typer.Option(help="west,south,east,north in degrees, with --source.")
    ] = "",
    dates: Annotated[str, typer.Option(help="start/end as dates, with --source.")] = "",
    data: Annotated[
        Path | None, typer.Option(help="Data folder, kept whole; default: a throw-away folder.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print report.json on standard output at the end.")
    ] = False,
) -> None:
    """The researcher's whole journey on this machine: search, stage, compute, compare, publish."""
    console = Console(stderr=as_json)
    folder = data.resolve() if data else Path(tempfile.mkdtemp(prefix="cscale-demo-"))
    results = folder / "demo"
    results.mkdir(parents=True, exist_ok=True)
    report = Report(console)
    console.rule("[bold]C-SCALE Hub: the researcher's journey", align="left")
    console.print(f"data, logs and results: {folder}", style="dim", highlight=False)
    problem = ""
    try:
        with interruptible():
            _run(report, folder, results, input_folder, source, bbox, dates)
    except KeyboardInterrupt:
        problem = "interrupted"
    except (JourneyError, FederationError) as error:
        problem = str(error)
    except CScaleError as error:
        problem = " ".join(filter(None, (error.message, error.hint)))
    except httpx.HTTPError as error:
        problem = f"{type(error).__name__}: {error}"
    finally:
        report.write(results / "report.json")
        if data is None:
            _throw_away(folder)
    console.print()
    console.print(report.table())
    if problem or not report.ok:
        failed = next((step.name for step in report.steps if not step.ok), "set up")
        console.print(f"[red]✗ {failed}:[/] ", end="")
        console.print(problem, markup=False, highlight=False)
        console.print(f"logs: {folder / 'logs'}", highlight=False, soft_wrap=True)
    else:
        console.print("[bold green]everything agreed[/]")
        console.print(f"picture: {report.facts['picture']}", highlight=False, soft_wrap=True)
    console.print(f"report:  {results / 'report.json'}", highlight=False, soft_wrap=True)
    if as_json:
        typer.echo((results / "report.json").read_text(encoding="utf-8"))
    if problem or not report.ok:
        raise typer.Exit(1 if problem != "interrupted" else 130)


def _run(
    report: Report,
    folder: Path,
    results: Path,
    input_folder: Path | None,
    source: str,
    bbox: str,
    dates: str,
) -> None:
    # Its list of fonts is for this run only, not for the person's home.
    os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))
    from cscale_cli.demo.journey import Journey  # matplotlib and rasterio take a second

    question, overrides = _question(folder, input_folder, source, bbox, dates)
    federation = Federation(folder, token_seconds=TOKEN_SECONDS, **overrides)
    try:
        with report.step("set up the federation") as view:
            federation.start(progress=view.say)
            view.say(f"{len(federation.urls)} services on loopback, hub at {federation.hub_url}")
        with HubSession(federation.hub_url) as session:
            journey = Journey(report, session, question, results)
            journey.walk(USER, federation.passwords[USER], DEAD_PROVIDER)
        with report.step("count the logins") as view:
            counted = count_logins(federation)
            report.facts["identity"] = asdict(counted) | {"token_seconds": TOKEN_SECONDS}
            view.say(
                f"{counted.logins} login, tokens of {TOKEN_SECONDS} s renewed {counted.renewals} "
                "times without it"
            )
            if counted.logins != 1 or not counted.renewals:
                raise JourneyError(f"one login and renewals were expected: {counted}")
    finally:
        with (
            report.step("stop everything") as view,
            undisturbed(lambda: view.say("still stopping the hub and its services")),
        ):
            view.say("stopping the hub and its services, unmounting")
            federation.stop()
            view.say("stopped and unmounted")


def _question(
    folder: Path, input_folder: Path | None, source: str, bbox: str, dates: str
) -> tuple[Question, dict[str, Any]]:
    """What is asked, and how the federation has to differ from its default for it."""
    if source:
        if input_folder:
            raise InvalidInput("--input and --source exclude each other.")
        return _public_question(source, bbox, dates)
    if input_folder:
        root = input_folder.resolve()
        return question_of_folder(root), {"archive_root": root}
    start = simulate.START.date()
    question = Question(
        title="Aqua Monitor, Embalse de Barbate",
        subtitle=f"Simulated Sentinel-2 scenes, {start.year} to {start.year + simulate.YEARS - 1}. "
        "Not an observation.",
        bbox=simulate.BBOX,
        period=(start, start.replace(year=start.year + simulate.YEARS)),
        collections=(simulate.COLLECTION,),
        simulated=True,
    )
    return question, {}


def _public_question(source: str, bbox: str, dates: str) -> tuple[Question, dict[str, Any]]:
    if source not in SOURCES:
        raise InvalidInput(f"{source!r} is not known.", hint=f"Known: {', '.join(SOURCES)}.")
    try:
        west, south, east, north = (float(value) for value in bbox.split(","))
        first, last = (date.fromisoformat(value) for value in dates.split("/"))
    except ValueError as error:
        raise InvalidInput(
            f"The area or the dates cannot be read: {error}.",
            hint="Wanted: BBOX=west,south,east,north DATES=2023-01-01/2023-12-31.",
        ) from error
    if not (west < east and south < north and first < last):
        raise InvalidInput("The area or the period is empty.")
    archive = SOURCES[source]
    question = Question(
        title="Aqua Monitor",
        subtitle=f"{archive['title']}, {archive['collection']}, {first} to {last}",
        bbox=(west, south, east, north),
        period=(first, last + timedelta(days=1)),
        collections=(archive["collection"],),
        simulated=False,
    )
    provider = {"id": source, "title": archive["title"], "url": archive["url"]}
    return question, {"extra_providers": [provider], "extra_hosts": archive["hosts"]}


def _throw_away(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name not in KEPT:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
