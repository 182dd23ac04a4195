"""Where something that goes on is shown: in a notebook, on a terminal, or as lines in a file.

No widgets and nothing from elsewhere: a notebook gets HTML that replaces itself.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.live import Live

#: Seconds between two pictures at a notebook, which sends each to the browser.
_EVERY = 0.4


class Scene(Protocol):
    """What is shown, in each of the three ways."""

    def html(self) -> str:
        """For a notebook; self-contained, foreign text escaped."""

    def terminal(self) -> RenderableType:
        """For a terminal."""

    def line(self) -> str:
        """For a file: in one line, the same for as long as nothing happens that is worth one."""


class Screen(Protocol):
    """Shows scenes, each in the place of the one before."""

    def show(self, scene: Scene) -> None:
        """Show it now, or soon."""

    def close(self, scene: Scene) -> None:
        """Leave this as the last one."""


class Nowhere:
    """Shows nothing."""

    def show(self, scene: Scene) -> None:
        pass

    def close(self, scene: Scene) -> None:
        pass


class NotebookScreen:
    """One output of a cell, replaced by display updates."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._last = 0.0
        self._shown = ""

    def show(self, scene: Scene) -> None:
        if time.monotonic() - self._last >= _EVERY:
            self._draw(scene)

    def close(self, scene: Scene) -> None:
        self._draw(scene)

    def _draw(self, scene: Scene) -> None:
        from IPython import display as output

        html = scene.html()
        if html == self._shown:
            return
        self._shown, self._last = html, time.monotonic()
        # The text is for where HTML cannot be shown.
        data = {"text/html": html, "text/plain": scene.line()}
        if self._handle is None:
            self._handle = output.DisplayHandle()  # type: ignore[no-untyped-call]
            self._handle.display(data, raw=True)
        else:
            self._handle.update(data, raw=True)


class TerminalScreen:
    """A part of the terminal that is drawn over."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def show(self, scene: Scene) -> None:
        if not self._live.is_started:
            self._live.start()
        self._live.update(scene.terminal(), refresh=True)

    def close(self, scene: Scene) -> None:
        self.show(scene)
        self._live.stop()


class LineScreen:
    """A line for each thing that happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = ""

    def show(self, scene: Scene) -> None:
        line = scene.line()
        if line != self._said:
            self._said = line
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self, scene: Scene) -> None:
        self.show(scene)


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this (not IPython on a terminal)."""
    if "IPython" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return hasattr(get_ipython(), "kernel")


def screen(wanted: bool) -> Screen:
    """The place there is, or none."""
    if not wanted:
        return Nowhere()
    if in_notebook():
        return NotebookScreen()
    console = _console()
    return TerminalScreen(console) if console.is_terminal else LineScreen(console)


def say(sentence: str) -> None:
    """A remark beside what is shown."""
    _console().print(sentence, markup=False, highlight=False, soft_wrap=True)


def _console() -> Console:
    # In a kernel FORCE_COLOR is set, also for programs whose output goes to a file.
    return Console(stderr=True, force_terminal=sys.stderr.isatty())
