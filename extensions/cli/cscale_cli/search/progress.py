"""One line on the terminal while archives answer: who did, with how much."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status
from rich.text import Text

from cscale_core.catalog.report import Found, ProviderReport
from cscale_core.untrusted import plain

_EVERY = 100


class Progress:
    """Shown on a terminal only; elsewhere it says nothing."""

    def __init__(self, console: Console) -> None:
        self._status: Status | None = None
        if console.is_terminal:
            self._status = console.status(Text("Asking the archives"), spinner="dots")
        self._said: dict[str, str] = {}
        self._taken = 0

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def event(self, event: Found | ProviderReport) -> None:
        """A provider's items came, or it ended."""
        if isinstance(event, Found):
            self._said[event.provider] = f"{len(event.items)} items"
        elif event.status == "ok":
            self._said[event.id] = f"{event.returned} items"
        else:
            self._said[event.id] = event.status
        self._show()

    def took(self) -> None:
        """One more item of the answer was taken."""
        self._taken += 1
        if self._taken % _EVERY == 0:
            self._show()

    def _show(self) -> None:
        if self._status is None:
            return
        parts = [f"{plain(name)}: {said}" for name, said in self._said.items()]
        if self._taken:
            parts.insert(0, f"{self._taken:,} items read")
        self._status.update(Text(" · ".join(parts), no_wrap=True, overflow="ellipsis"))
