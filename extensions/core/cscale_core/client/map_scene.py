"""How far a map of jobs is, for a notebook, a terminal or a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cscale_core.client import html
from cscale_core.client.tile_state import WAITING, TileState
from cscale_core.client.words import counted
from cscale_core.untrusted import plain

if TYPE_CHECKING:
    from cscale_core.client.mapping import MappedJobs

#: In this order they are counted, and drawn.
_ORDER = (
    "finished",
    "running",
    "paused",
    "queued",
    "created",
    WAITING,
    "canceled",
    "lost",
    "error",
)
_STYLES = {"finished": "green", "running": "cyan", "error": "red", "lost": "red"}
_MOST_ROWS = 12
_BAR_WIDTH = 40


@dataclass(frozen=True)
class MapScene:
    """A map of jobs as it is now.

    :param remark: what is said at the end.
    """

    mapped: MappedJobs
    remark: str = ""

    def html(self) -> str:
        rows = [_row(state) for state in self._shown()]
        return html.map_card(self._title(), self._shares(), rows, self._notes())

    def terminal(self) -> RenderableType:
        done = len(self.mapped.finished)
        bar = ProgressBar(total=len(self.mapped.tiles), completed=done, width=_BAR_WIDTH)
        legend = Text(" · ").join(
            Text(f"{count:,} {status}", style=_STYLES.get(status, ""))
            for status, count in self._shares()
        )
        parts: list[RenderableType] = [Text(self._title(), style="bold"), bar, legend]
        if shown := self._shown():
            table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
            table.add_column(no_wrap=True)
            table.add_column(no_wrap=True)
            table.add_column(no_wrap=True, style="dim")
            table.add_column(overflow="ellipsis", no_wrap=True)
            for tile, status, where, said in map(_row, shown):
                style = _STYLES.get(status, "")
                table.add_row(
                    Text(plain(tile)), Text(status, style=style), _cell(where), _cell(said)
                )
            parts.append(table)
        parts += [Text(plain(note), style="yellow") for note in self._notes()]
        return Group(*parts)

    def line(self) -> str:
        said = ", ".join(f"{count:,} {status}" for status, count in self._shares())
        notes = [plain(note) for note in (*self.mapped.notes, self.remark) if note]
        return ". ".join([f"{self._title()}: {said}", *notes])

    def _title(self) -> str:
        return f"{plain(self.mapped.name)}, {counted(len(self.mapped.tiles), 'tile')}"

    def _shares(self) -> list[tuple[str, int]]:
        counts = self.mapped.counts()
        return [(status, counts[status]) for status in _ORDER if counts.get(status)]

    def _notes(self) -> list[str]:
        return [note for note in (*self.mapped.notes, self.mapped.note, self.remark) if note]

    def _shown(self) -> list[TileState]:
        """Those worth a row: what failed, then what runs."""
        open_ones = [
            state for state in self.mapped.tiles if state.job is not None and not state.job.ended
        ]
        return [*self.mapped.failed, *open_ones][:_MOST_ROWS]


def _cell(text: str) -> Text:
    """Foreign text for a cell."""
    return Text(plain(text))


def _row(state: TileState) -> tuple[str, str, str, str]:
    job = state.job
    if job is None:
        return state.id, state.status, "", state.why
    known = f"{job.progress:.0%} " if job.progress is not None and not job.ended else ""
    return state.id, state.status, job.backend or job.engine, state.why or known + job.message
