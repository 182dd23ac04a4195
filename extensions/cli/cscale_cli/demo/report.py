"""The steps of a demo run: shown while they happen, written to ``report.json`` at the end."""

from __future__ import annotations

import json
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

PACKAGES = (
    "cscale-hub",
    "jupyterhub",
    "jupyterlab",
    "openeo",
    "openeo-processes-dask",
    "pyspark",
    "rasterio",
    "numpy",
    "stac-fastapi-api",
)


@dataclass
class Step:
    """One step: ``ok`` is None while it runs."""

    name: str
    ok: bool | None = None
    seconds: float = 0.0
    detail: str = ""


@dataclass
class Report:
    """What happened, in order; the file's shape is ``{steps, comparison, versions, ...}``."""

    console: Console
    steps: list[Step] = field(default_factory=list)
    comparison: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[StepView]:
        """Run a block as a step: a line with a spinner while it lasts, a tick or a cross after."""
        step = Step(name)
        self.steps.append(step)
        started = time.monotonic()
        with self._shown(step) as view:
            try:
                yield view
            except BaseException as error:
                step.ok = False
                step.detail = (
                    "interrupted"
                    if isinstance(error, KeyboardInterrupt)
                    else str(error) or repr(error)
                )
                raise
            else:
                step.ok = True
            finally:
                step.seconds = round(time.monotonic() - started, 2)
                view.close()
                mark = "[green]✓[/]" if step.ok else "[red]✗[/]"
                self.console.print(
                    f"{mark} [bold]{name}[/] [dim]{step.seconds:.1f} s[/]  ",
                    end="",
                    highlight=False,
                )
                self.console.print(step.detail, markup=False, highlight=False)

    @contextmanager
    def _shown(self, step: Step) -> Iterator[StepView]:
        if not self.console.is_terminal:
            yield PlainView(step, self.console)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("[bold]{task.fields[step]}[/]"),
            BarColumn(bar_width=18),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield SpinnerView(step, progress)

    def table(self) -> Table:
        """The steps as a table for the terminal."""
        table = Table(title="The researcher's journey", title_justify="left")
        table.add_column("", width=1)
        table.add_column("step", no_wrap=True)
        table.add_column("what happened", ratio=1)
        table.add_column("seconds", justify="right")
        for step in self.steps:
            mark = "[green]✓[/]" if step.ok else "[red]✗[/]"
            table.add_row(mark, step.name, step.detail, f"{step.seconds:.1f}")
        total = sum(step.seconds for step in self.steps)
        table.add_section()
        table.add_row("", "total", "", f"{total:.1f}")
        return table

    @property
    def ok(self) -> bool:
        return bool(self.steps) and all(step.ok for step in self.steps)

    def write(self, path: Path) -> None:
        """Write ``report.json``."""
        document = {
            "ok": self.ok,
            "steps": [asdict(step) for step in self.steps],
            "comparison": self.comparison,
            "versions": {name: version(name) for name in PACKAGES}
            | {"python": platform.python_version()},
        } | self.facts
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


class StepView(ABC):
    """What a running step can say."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def say(self, message: str) -> None:
        """What it does now; the last word stays as the step's detail."""
        self._step.detail = message
        self._show(message)

    def share(self, done: float | None) -> None:  # noqa: B027 - a bar is not everywhere
        """How far it is, 0 to 1; None when that is not known."""

    def close(self) -> None:  # noqa: B027 - most views have nothing to close
        """The step is over."""

    @abstractmethod
    def _show(self, message: str) -> None:
        """Put the message where it is seen."""


class SpinnerView(StepView):
    """On a terminal: one line that moves."""

    def __init__(self, step: Step, progress: Progress) -> None:
        super().__init__(step)
        self._progress = progress
        self._task = progress.add_task("", step=step.name, total=None)

    def _show(self, message: str) -> None:
        self._progress.update(self._task, description=message)

    def share(self, done: float | None) -> None:
        if done is not None:
            self._progress.update(self._task, completed=done, total=1.0)

    def close(self) -> None:
        self._progress.stop()


class PlainView(StepView):
    """In a file or a pipe: a line when something new happens, not more than one in two seconds."""

    PAUSE = 2.0

    def __init__(self, step: Step, console: Console) -> None:
        super().__init__(step)
        self._console = console
        self._last = 0.0

    def _show(self, message: str) -> None:
        now = time.monotonic()
        if now - self._last >= self.PAUSE:
            self._last = now
            line = f"… {self._step.name}: {message}"
            self._console.print(line, style="dim", markup=False, highlight=False)
