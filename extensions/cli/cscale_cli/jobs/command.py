"""``cscale jobs``: its subcommands.

Exit status: 0 when it was done, 1 when it failed or nobody answered, 2 when it cannot be
understood.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live

from cscale_cli.jobs.choosing import chosen
from cscale_cli.jobs.running import Run, connected
from cscale_cli.jobs.showing import show_backends, show_estimate, show_job, show_results
from cscale_cli.jobs.spec_file import read_spec
from cscale_cli.jobs.table import job_table, row, show_jobs
from cscale_core.client import Job
from cscale_core.client.logs import folded, written
from cscale_core.client.words import no_log_yet
from cscale_core.errors import InvalidInput
from cscale_core.jobs.model import LogLine

#: Seconds between two looks of ``list --watch`` at jobs that are new.
_LOOK = 2.0

JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="Id, the beginning of one, or: last.")
]
FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="Spec of a job in YAML or JSON, or an openEO process graph; -: standard input.",
    ),
]
TitleOption = Annotated[str, typer.Option(help="Title, instead of what the file says.")]
BackendOption = Annotated[str, typer.Option(help="Back end, instead of what the file says.")]
VOOption = Annotated[str, typer.Option("--vo", help="VO, instead of what the file says.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for its end.")]


def register(app: typer.Typer) -> None:
    """Add ``jobs`` to the command line."""
    jobs = typer.Typer(
        no_args_is_help=True, help="The one list of jobs: openEO, Spark, Slurm, staging."
    )
    for name, command in (
        ("list", list_jobs),
        ("show", show),
        ("logs", logs),
        ("submit", submit),
        ("wait", wait),
        ("cancel", cancel),
        ("pause", pause),
        ("resume", resume),
        ("results", results),
        ("clone", clone),
        ("publish", publish),
        ("delete", delete),
        ("backends", backends),
        ("estimate", estimate),
        ("script", script),
    ):
        jobs.command(name)(connected(command))
    app.add_typer(jobs, name="jobs")


def list_jobs(
    run: Run,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", "-s", help="Only of this status, or open; may be repeated."),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option("--engine", "-e", help="Only of this engine; may be repeated."),
    ] = None,
    search: Annotated[str, typer.Option(help="Only with this in title, id or back end.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Jobs at most; 0: all.")] = 50,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing what changes.")
    ] = False,
) -> None:
    """List jobs, the newest first."""

    def ask() -> list[Job]:
        found = run.jobs.list(status=status or (), engine=engine or (), search=search)
        return list(found[: limit or None])

    if watch:
        _watch(run, ask)
        return
    found = ask()
    if run.as_json:
        run.give([job.summary() for job in found])
    else:
        show_jobs(found, run.out)


def _watch(run: Run, ask: Any) -> None:
    """The list, drawn over on a terminal; else, and for a program, a line for each change."""
    if run.as_json or not run.out.is_terminal:
        seen: dict[str, int] = {}
        while True:
            for job in reversed(ask()):
                if seen.get(job.id) != job.revision:
                    seen[job.id] = job.revision
                    _line(run, job)
            time.sleep(_LOOK)
    with Live(console=run.out, auto_refresh=False, screen=True) as live:
        while True:
            rows = [row(job) for job in ask()][: run.out.height - 2]
            live.update(job_table(rows, run.out.width)[0], refresh=True)
            time.sleep(_LOOK)


def _line(run: Run, job: Job) -> None:
    if run.as_json:
        sys.stdout.write(json.dumps(job.summary()) + "\n")
        sys.stdout.flush()
    else:
        line = row(job)
        said = (line.created, line.id, line.status, line.progress, line.title)
        run.out.print("  ".join(said), markup=False, highlight=False, soft_wrap=True)


def show(run: Run, job: JobArgument) -> None:
    """Show one job: where it is, how far, what it took, and why it failed."""
    found = chosen(run.jobs, job)
    if run.as_json:
        run.give(found.as_dict())
    else:
        show_job(found, run.out)


def logs(
    run: Run,
    job: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for new lines, until the job ends.")
    ] = False,
    level: Annotated[
        str, typer.Option(help="The least shown: debug, info, warning or error.")
    ] = "info",
    tail: Annotated[int | None, typer.Option(min=1, help="Only so many of the last lines.")] = None,
) -> None:
    """Print a job's log; lines that repeat are one, with how often."""
    if level not in ("debug", "info", "warning", "error"):
        raise InvalidInput(f"There is no level {level!r}.")
    found = chosen(run.jobs, job)
    lines = found.logs(follow=follow, level=level, tail=tail)
    if run.as_json:
        for line in lines:
            sys.stdout.write(line.model_dump_json() + "\n")
            sys.stdout.flush()
        return
    any_line = False
    for text, severity in _followed(lines) if follow else _folded(lines):
        any_line = True
        style = {"error": "red", "warning": "yellow"}.get(severity, "")
        run.out.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
    if not any_line and not follow:
        run.say(no_log_yet(found.status, level))


def _folded(lines: Iterable[LogLine]) -> Iterator[tuple[str, str]]:
    """Lines as text, with their level."""
    for line, times in folded(lines):
        yield written((line, times)), line.level


def _followed(lines: Iterable[LogLine]) -> Iterator[tuple[str, str]]:
    """The same where nobody waits for the next line to see how often this one comes."""
    last: LogLine | None = None
    more = 0
    for line in lines:
        if last is not None and (line.level, line.message) == (last.level, last.message):
            more += 1
            continue
        if more:
            yield f"    (the same {more:,}× more)", "info"
        yield written((line, 1)), line.level
        last, more = line, 0
    if more:
        yield f"    (the same {more:,}× more)", "info"


def submit(
    run: Run,
    file: FileArgument,
    title: TitleOption = "",
    backend: BackendOption = "",
    vo: VOOption = "",
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Give a job that computes the same, if there is one.")
    ] = False,
    wait: WaitOption = False,
) -> None:
    """Submit a job."""
    spec = read_spec(file, title=title, backend=backend, vo=vo)
    _made(run, run.jobs.submit(spec, reuse=reuse), wait=wait)


def _made(run: Run, job: Job, *, wait: bool) -> None:
    """Name a job that was made, at once; and its end, where that is waited for."""
    if not run.as_json:
        run.out.print(job.id, markup=False, highlight=False, soft_wrap=True)
    try:
        if wait:
            job.wait(progress=run.progress)
    finally:
        if run.as_json:
            run.give(job.as_dict())


def wait(run: Run, job: JobArgument) -> None:
    """Wait until a job ends. Ctrl-C leaves it running."""
    found = chosen(run.jobs, job)
    try:
        found.wait(progress=run.progress)
    finally:
        if run.as_json:
            run.give(found.as_dict())


def cancel(run: Run, job: JobArgument) -> None:
    """Ask a job to end."""
    _asked(run, chosen(run.jobs, job).cancel(), "is asked to end")


def pause(run: Run, job: JobArgument) -> None:
    """Ask a job to rest."""
    _asked(run, chosen(run.jobs, job).pause(), "is asked to rest")


def resume(run: Run, job: JobArgument) -> None:
    """Let a job that rests go on."""
    _asked(run, chosen(run.jobs, job).resume(), "goes on")


def _asked(run: Run, job: Job, done: str) -> None:
    if run.as_json:
        run.give(job.as_dict())
    else:
        run.say(f"{job.id} {done}.")


def results(
    run: Run,
    job: JobArgument,
    download: Annotated[
        Path | None,
        typer.Option(help="Bring the files into this folder; what is there already is kept."),
    ] = None,
) -> None:
    """Show a job's results, or download them."""
    found = chosen(run.jobs, job).check().results()
    if download is None:
        if run.as_json:
            run.give({"type": "FeatureCollection", "features": found.items})
        else:
            show_results(found, run.out)
        return
    files = [str(path) for path in found.download(download, progress=run.progress)]
    if run.as_json:
        run.give({"files": files})
    else:
        for path in files:
            run.out.print(path, markup=False, highlight=False, soft_wrap=True)


def clone(
    run: Run,
    job: JobArgument,
    suggested: Annotated[
        bool, typer.Option("--suggested", help="With the options that the failure suggested.")
    ] = False,
    title: Annotated[str, typer.Option(help="Another title.")] = "",
    backend: Annotated[str, typer.Option(help="Another back end.")] = "",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="NAME=VALUE of the engine's; may be repeated."),
    ] = None,
    wait: WaitOption = False,
) -> None:
    """Run a job again, as a new one."""
    changes: dict[str, Any] = {"title": title, "backend": backend, "options": _options(option)}
    given = {name: value for name, value in changes.items() if value}
    _made(run, chosen(run.jobs, job).clone(suggested=suggested, **given), wait=wait)


def _options(given: list[str] | None) -> dict[str, Any]:
    """Options as they are typed; numbers and the like are JSON, all else is text."""
    found: dict[str, Any] = {}
    for each in given or ():
        name, equals, text = each.partition("=")
        if not (name and equals):
            raise InvalidInput(f"--option {each!r}: NAME=VALUE is expected.")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def publish(run: Run, job: JobArgument, wait: WaitOption = False) -> None:
    """Copy a job's results to the VO's products and register them, by a staging job."""
    _made(run, chosen(run.jobs, job).publish(), wait=wait)


def delete(run: Run, job: JobArgument) -> None:
    """Remove an ended job from the list; its results stay in the bucket."""
    found = chosen(run.jobs, job)
    found.delete()
    if run.as_json:
        run.give({"deleted": found.id})
    else:
        run.say(f"{found.id} is no longer in the list.")


def backends(run: Run) -> None:
    """List the places that run jobs, and whether they answer."""
    places = run.jobs.backends()
    if run.as_json:
        run.give([place.model_dump(mode="json") for place in places])
    else:
        show_backends(places, run.out)


def estimate(run: Run, file: FileArgument, backend: BackendOption = "", vo: VOOption = "") -> None:
    """Say what a job would cost, where its back end knows."""
    found = run.jobs.estimate(read_spec(file, backend=backend, vo=vo))
    if run.as_json:
        run.give(found)
    else:
        show_estimate(found, run.out)


def script(run: Run, file: FileArgument, backend: BackendOption = "", vo: VOOption = "") -> None:
    """Print the batch script that a Slurm job would be."""
    text = run.jobs.script(read_spec(file, backend=backend, vo=vo))
    if run.as_json:
        run.give({"script": text})
    else:
        sys.stdout.write(text)
