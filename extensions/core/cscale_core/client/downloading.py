"""How far a download is, as somebody sees it who waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.text import Text

from cscale_core.client import html
from cscale_core.client.screens import Screen, screen
from cscale_core.client.words import counted, size
from cscale_core.untrusted import plain

_BAR_WIDTH = 30

Tell = Callable[[int, int, int, int | None, str], object]


@dataclass(frozen=True)
class DownloadScene:
    """Files and bytes that are there, of how many, and what happens now."""

    files: int = 0
    files_total: int = 0
    arrived: int = 0
    total: int | None = None
    said: str = ""

    @property
    def share(self) -> float | None:
        """From 0 to 1, by bytes; None when some state no size."""
        return self.arrived / self.total if self.total else None

    @property
    def facts(self) -> str:
        """In words."""
        of = "" if self.total is None else f" of {size(self.total)}"
        files = f"{self.files:,} of {counted(self.files_total, 'file')}"
        return f"{files}, {size(self.arrived)}{of}"

    def html(self) -> str:
        return html.progress_card(self.share, self.facts, self.said)

    def terminal(self) -> RenderableType:
        share = self.share
        total = None if share is None else 1.0
        bar = ProgressBar(total=total, completed=share or 0.0, width=_BAR_WIDTH)
        return Group(bar, Text(self.facts, style="dim"), Text(plain(self.said)))

    def line(self) -> str:
        # Without the bytes, which would be a line each.
        return f"{self.files:,} of {counted(self.files_total, 'file')}"


@contextmanager
def shown(progress: bool | Tell) -> Iterator[Tell]:
    """What to tell of a download, so that it is shown as it is wanted."""
    if not isinstance(progress, bool):
        yield progress
        return
    where: Screen = screen(progress)
    last = DownloadScene()

    def tell(files: int, files_total: int, arrived: int, total: int | None, said: str) -> None:
        nonlocal last
        last = DownloadScene(files, files_total, arrived, total, said)
        where.show(last)

    try:
        yield tell
    finally:
        where.close(last)
