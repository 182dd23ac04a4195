"""Figures of a benchmark: ours beside another of the same run, held to a goal, and how they are
shown and written."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

#: Columns of a table that goes into a file.
_WIDTH = 120


@dataclass(frozen=True)
class Figure:
    """One comparison; the ratio is at most the goal, or at least where ``at_least`` says so."""

    name: str
    ours: float
    other: float
    other_name: str
    unit: str
    ratio: float
    goal: float
    at_least: bool

    @property
    def met(self) -> bool:
        return self.ratio >= self.goal if self.at_least else self.ratio <= self.goal


def figure(
    name: str,
    ours: float,
    other: float,
    other_name: str,
    unit: str,
    goal: float,
    *,
    more_is_better: bool = False,
    times_less: bool = False,
) -> Figure:
    """A figure with its ratio, which is ours to the other.

    :param more_is_better: the goal is the least that the ratio may be.
    :param times_less: the ratio is the other to ours, and the goal the least that it may be.
    """
    ratio = other / ours if times_less else ours / other
    return Figure(
        name, _rounded(ours), _rounded(other), other_name, unit, _rounded(ratio), goal,
        at_least=more_is_better or times_less,
    )  # fmt: skip


def quantile(values: Sequence[float], part: float) -> float:
    """The one of the values below which that part of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(part * (len(ordered) - 1)))]


def report(
    title: str, figures: Iterable[Figure], json_file: Path | None = None, *, caption: str = ""
) -> int:
    """Show the figures with the machine they are of, and write them; the program's exit status."""
    found = list(figures)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    table = Table(
        title=f"{title} on {machine}", caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1)
    )
    for heading in ("", "ours", "other", "unit", "against", "ratio", "goal", "met"):
        numeric = heading in ("ours", "other", "ratio", "goal")
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=bool(heading))
    for each in found:
        table.add_row(
            each.name,
            f"{each.ours:,.4g}",
            f"{each.other:,.4g}",
            each.unit,
            each.other_name,
            f"{each.ratio:.3g}",
            f"{'≥' if each.at_least else '≤'} {each.goal:g}",
            "yes" if each.met else "NO",
        )
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(table)
    if json_file:
        entries = [asdict(each) | {"met": each.met} for each in found]
        json_file.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    return 0 if all(each.met for each in found) else 1


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
