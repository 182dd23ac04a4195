"""The list of jobs as a table: fitted to a terminal, whole in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cscale_cli.terminal import shortened
from cscale_core.client import Job
from cscale_core.client.words import ago, duration, how_far
from cscale_core.untrusted import plain

STYLES = {
    "running": "cyan",
    "finished": "green",
    "error": "red",
    "lost": "red",
    "paused": "yellow",
    "canceled": "dim",
}
_GAP = 2
_UNKNOWN = "–"
_SHORTEST_TITLE = 12
# In this order columns are left out where there is no room for all.
_OPTIONAL = ("running", "queued", "runs_at", "created")


@dataclass(frozen=True, slots=True)
class Row:
    """What a line says of one job."""

    id: str
    status: str
    progress: str
    title: str
    runs_at: str
    queued: str
    running: str
    created: str


NAMES = tuple(field.name for field in fields(Row))


def row(job: Job) -> Row:
    """The line of one job."""
    return Row(
        id=plain(job.id),
        status=plain(job.status),
        progress=how_far(job.status, job.progress, unknown="unknown") or _UNKNOWN,
        title=plain(job.title) or _UNKNOWN,
        runs_at=plain(f"{job.engine} at {job.backend}" if job.backend else job.engine),
        queued=duration(job.queued_time),
        running=duration(job.running_time) if job.running_time else _UNKNOWN,
        created=ago(job.created),
    )


def job_table(rows: Sequence[Row], width: int | None) -> tuple[Table, int]:
    """The table and its width.

    :param width: of the terminal; None: nothing is cut or left out.
    """
    names = list(NAMES)
    widths = {
        name: max([cell_len(_head(name)), *(cell_len(getattr(each, name)) for each in rows)])
        for name in names
    }
    if width is not None:
        for name in _OPTIONAL:
            if _total(names, widths) <= width:
                break
            # The title gives way first, to what one can still tell jobs apart by.
            spare = widths["title"] - _SHORTEST_TITLE
            if _total(names, widths) - max(spare, 0) <= width:
                break
            names.remove(name)
        excess = _total(names, widths) - width
        if excess > 0:
            widths["title"] = max(widths["title"] - excess, min(widths["title"], _SHORTEST_TITLE))
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(_head(name), width=widths[name], no_wrap=True)
    for each in rows:
        style = STYLES.get(each.status, "")
        table.add_row(
            *(
                Text(
                    shortened(getattr(each, name), widths[name]),
                    style=style if name == "status" else "",
                )
                for name in names
            )
        )
    return table, _total(names, widths)


def show_jobs(jobs: Sequence[Job], console: Console) -> None:
    """Print the list."""
    if not jobs:
        console.print("No jobs.", highlight=False)
        return
    table, width = job_table([row(job) for job in jobs], _room(console))
    if not console.is_terminal:
        console.width = max(console.width, width + _GAP)
    console.print(table)


def _room(console: Console) -> int | None:
    return console.width if console.is_terminal else None


def _head(name: str) -> str:
    return name.replace("_", " ")


def _total(names: Sequence[str], widths: dict[str, int]) -> int:
    return sum(widths[name] for name in names) + _GAP * (len(names) - 1)
