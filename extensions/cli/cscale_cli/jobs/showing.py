"""One job, the places that run jobs, and results, in plain words for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cscale_cli.jobs.table import STYLES
from cscale_cli.terminal import written
from cscale_core.client import Job, Results
from cscale_core.client.waiting import moved
from cscale_core.client.words import MEANINGS, ago, duration, how_far, size
from cscale_core.jobs.model import BackendState
from cscale_core.untrusted import plain

_INDENT = 2


def show_job(job: Job, console: Console) -> None:
    """Everything worth knowing of one job, a line each."""
    wide = not console.is_terminal
    status = Text(MEANINGS[job.status], style=STYLES.get(job.status, ""))
    if job.wanted and not job.ended:
        status.append(f", {job.wanted} was asked for", style="yellow")
    lines: list[tuple[str, Text]] = [
        ("id", written(job.id)),
        ("title", written(job.title)),
        ("status", status),
        ("progress", written(how_far(job.status, job.progress))),
        ("runs at", written(f"{job.engine} at {job.backend}" if job.backend else job.engine)),
        ("VO", written(job.spec.vo)),
        ("message", written("" if job.message == job.status else job.message)),
        ("created", written(f"{job.created:%Y-%m-%d %H:%M:%S} UTC, {ago(job.created)}")),
        ("queued", written(duration(job.queued_time))),
        ("running", written(duration(job.running_time) if job.running_time else "")),
        ("moved", written(moved(job))),
        ("results", written(f"{job.result_count} items" if job.result_count else "")),
        ("costs", written("" if job.costs is None else f"{job.costs:g}")),
        ("usage", written(", ".join(f"{name} {value}" for name, value in job.usage.items()))),
        ("repeats", written(job.cloned_from)),
        ("its pages", written(job.ui_path)),
    ]
    longest = max(len(name) for name, text in lines if text)
    for name, text in lines:
        if text:
            console.print(Text.assemble((name.ljust(longest), "dim"), "  ", text), soft_wrap=wide)
    if job.error is not None:
        console.print()
        console.print(Text("✗ ", style="red") + written(job.error.message), soft_wrap=wide)
        if job.error.hint:
            _indented(job.error.hint, console, wide=wide)


def _indented(text: str, console: Console, *, wide: bool) -> None:
    if wide:
        console.print(Text(" " * _INDENT) + written(text), soft_wrap=True)
    else:
        console.print(Padding(written(text), (0, 0, 0, _INDENT), expand=False))


def show_backends(places: Sequence[BackendState], console: Console) -> None:
    """Where jobs can run."""
    if not places:
        console.print("There is no place that runs jobs.")
        return
    longest = max(len(plain(place.id)) for place in places)
    wide = not console.is_terminal
    for place in places:
        mark = ("✓", "green") if place.online else ("✗", "red")
        head = Text.assemble(mark, " ", plain(place.id).ljust(longest), "  ")
        facts = [place.engine, place.title, place.version, ", ".join(place.logins)]
        head.append(plain(" · ".join(filter(None, facts))))
        console.print(head, soft_wrap=wide)
        if place.problem:
            _indented(place.problem, console, wide=wide)


def show_results(results: Results, console: Console) -> None:
    """The files of the results, a line each: size and address."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ignore")
    rows = 0
    for item in results:
        for key, asset in item.get("assets", {}).items():
            length = asset.get("file:size")
            table.add_row(
                size(length) if isinstance(length, int) else "–",
                written(asset.get("title") or key),
                written(asset["href"]),
            )
            rows += 1
    if not rows:
        console.print("No results.")
        return
    # An address that is cut or broken cannot be copied.
    console.print(table, soft_wrap=True, crop=False)


def show_estimate(estimate: dict[str, Any], console: Console) -> None:
    """What a job would cost."""
    if not estimate.get("known"):
        console.print("Nothing is known of what it would cost.")
        return
    for name, value in estimate.items():
        if name != "known" and value not in (None, "", []):
            console.print(Text.assemble((f"{plain(name)}: ", "dim"), plain(value)))
