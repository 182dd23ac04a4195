"""Figures of benchmarks: what meets a goal, what is shown and written, and how a run ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.figures import figure, quantile, report


@pytest.mark.parametrize(
    ("ours", "other", "more_is_better", "met"),
    [(11, 10, False, True), (13, 10, False, False), (13, 10, True, True), (11, 10, True, False)],
)
def test_goal_is_a_bound_on_the_ratio(
    ours: float, other: float, more_is_better: bool, met: bool
) -> None:
    found = figure("name", ours, other, "other", "ms", 1.2, more_is_better=more_is_better)
    assert found.met is met
    assert found.ratio == ours / other


@pytest.mark.parametrize(("ours", "met"), [(2, True), (2.1, False)])
def test_what_shall_be_so_many_times_less_is_so(ours: float, met: bool) -> None:
    found = figure("name", ours, 10, "other", "s", 5.0, times_less=True)
    assert found.met is met
    assert found.ratio == pytest.approx(10 / ours, rel=1e-3)


def test_quantiles_are_values_that_were_measured() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0], 0.95) == 1.0


def test_a_goal_that_is_missed_is_shown_and_is_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = figure("starts", 1.0, 1.0, "plain", "s", 1.1)
    missed = figure("requests", 3.0, 2.0, "plain", "1/s", 2.0, more_is_better=True)
    assert report("All", [good], tmp_path / "one.json") == 0
    assert report("All", iter([good, missed]), tmp_path / "two.json") == 1
    shown = capsys.readouterr().out
    assert "requests" in shown
    assert "≥ 2" in shown
    assert "NO" in shown
    assert [entry["met"] for entry in json.loads((tmp_path / "two.json").read_text())] == [
        True,
        False,
    ]
