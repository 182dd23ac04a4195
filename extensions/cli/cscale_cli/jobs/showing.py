"""One job, the places that run jobs, and results, in plain words for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from cscale_cli.jobs.table import STYLES
from cscale_cli.terminal import written
from cscale_core.client import Job, Results
from cscale_core.client.waiting import moved
from cscale_core.client.words import MEANINGS, ago, counted, duration, how_far, size
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
        ("results", written(counted(job.result_count, "item") if job.result_count else "")),
        ("costs", written("" if job.costs is None else f"{job.costs:g}")),
        ("usage", written(", ".join(_amount(name, used) for name, used in job.usage.items()))),
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


def _amount(name: str, used: Any) -> str:
    """What an engine says of one thing it used; openEO gives a value with a unit."""
    if isinstance(used, dict) and "value" in used:
        return f"{name} {used['value']} {used.get('unit', '')}".rstrip()
    return f"{name} {used}"


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
    """The files of the results, a line each: size, name, and the address, never cut."""
    rows = [
        (
            size(length) if isinstance(length := asset.get("file:size"), int) else "–",
            plain(asset.get("title") or key),
            plain(asset["href"]),
        )
        for item in results
        for key, asset in item.get("assets", {}).items()
    ]
    if not rows:
        console.print("No results.")
        return
    sizes, names = (max(cell_len(each[column]) for each in rows) for column in (0, 1))
    for length, name, address in rows:
        filled = " " * (names - cell_len(name))
        console.print(
            f"{length:>{sizes}}  {name}{filled}  {address}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def show_estimate(estimate: dict[str, Any], console: Console) -> None:
    """What a job would cost."""
    if not estimate.get("known"):
        console.print("Nothing is known of what it would cost.")
        return
    for name, value in estimate.items():
        if name != "known" and value not in (None, "", []):
            console.print(Text.assemble((f"{plain(name)}: ", "dim"), plain(value)))
