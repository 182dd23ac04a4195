"""The demo's own parts: its reference, its comparison and its plan can be trusted."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from cscale_cli.demo.compare import Outputs, compare
from cscale_cli.demo.picture import Scene, draw
from cscale_cli.demo.plan import Question, choose
from cscale_cli.demo.reference import AquaMonitor, _slopes
from cscale_core.errors import InvalidInput
from cscale_core.grids import Grid

GRID = Grid("EPSG:32630", 0, 300, 30, 30, 10, 10)


@pytest.fixture
def reference() -> AquaMonitor:
    rng = np.random.default_rng(1)
    slope = rng.normal(0, 0.3, (10, 10))
    return AquaMonitor(
        grid=GRID,
        composites=rng.random((3, 3, 10, 10)),
        counts=np.full((3, 10, 10), 12.0),
        slope=slope,
        keep=np.abs(slope) > 0.2,
    )


@pytest.fixture
def outputs(reference: AquaMonitor) -> Outputs:
    return Outputs(
        composites=reference.composites.astype("float32"),
        counts=reference.counts.astype("float32"),
        slope=reference.slope.astype("float32"),
        keep=reference.keep,
        change=reference.change.astype("float32"),
        transform=GRID.transform,
        crs=GRID.crs,
    )


def test_same_results_agree(outputs: Outputs, reference: AquaMonitor) -> None:
    assert compare(outputs, reference)["agree"]


def test_one_pixel_of_the_slope_is_enough_to_differ(
    outputs: Outputs, reference: AquaMonitor
) -> None:
    slope = outputs.slope.copy()
    slope[3, 4] += 2e-5
    assert not compare(replace(outputs, slope=slope), reference)["agree"]


def test_one_pixel_of_the_mask_is_enough_to_differ(
    outputs: Outputs, reference: AquaMonitor
) -> None:
    keep = outputs.keep.copy()
    keep[0, 0] = not keep[0, 0]
    figures = compare(replace(outputs, keep=keep), reference)
    assert figures["mask_differences"] == 1
    assert not figures["agree"]


def test_missing_pixel_is_a_difference(outputs: Outputs, reference: AquaMonitor) -> None:
    slope = outputs.slope.copy()
    slope[0, 0] = np.nan
    assert not compare(replace(outputs, slope=slope), reference)["agree"]


def test_one_image_less_is_a_difference(outputs: Outputs, reference: AquaMonitor) -> None:
    counts = outputs.counts.copy()
    counts[1, 5, 5] -= 1
    assert not compare(replace(outputs, counts=counts), reference)["agree"]


def test_shifted_grid_is_a_difference(outputs: Outputs, reference: AquaMonitor) -> None:
    shifted = (30.0, 0.0, 1.0, 0.0, -30.0, 300.0)
    assert not compare(replace(outputs, transform=shifted), reference)["agree"]


def test_results_of_another_shape_differ_without_a_crash(
    outputs: Outputs, reference: AquaMonitor
) -> None:
    wrong = replace(outputs, slope=outputs.slope[:5], keep=outputs.keep[:5])
    assert not compare(wrong, reference)["agree"]


def test_slope_is_per_length_of_the_first_interval() -> None:
    """reference value: 0.2, 0.5, 0.8 on 1 January of 2019, 2020, 2021 (2020 has 366 days)"""
    labels = [date(2019, 1, 1), date(2020, 1, 1), date(2021, 1, 1)]
    values = np.array([0.2, 0.5, 0.8]).reshape(3, 1, 1)
    assert _slopes(values, labels)[0, 0] == pytest.approx(0.2995894, abs=1e-7)
    values[1] = np.nan
    assert _slopes(values, labels)[0, 0] == pytest.approx(0.2995896, abs=1e-7)
    values[2] = np.nan
    assert np.isnan(_slopes(values, labels)[0, 0])


def item(day: str, cloud: float | None = None) -> dict:
    return {
        "id": f"scene-{day}",
        "properties": {"datetime": f"{day}T11:00:00Z"}
        | ({} if cloud is None else {"eo:cloud_cover": cloud}),
        "assets": {name: {} for name in ("B02", "B03", "B04", "B08", "B11")},
    }


def question(start: date, end: date) -> Question:
    return Question("t", "s", (0, 0, 1, 1), (start, end), (), False)


def test_years_are_cut_at_new_year() -> None:
    items = [item(f"{year}-{month:02d}-15") for year in (2019, 2020, 2021) for month in (3, 6, 9)]
    plan = choose(items, question(date(2019, 1, 1), date(2022, 1, 1)))
    assert plan.labels == ["2019-01-01", "2020-01-01", "2021-01-01"]
    assert plan.bands == ("B11", "B08", "B03")
    assert plan.min_images == 2


def test_summer_is_cut_in_parts_that_each_hold_a_scene() -> None:
    days = ["2015-07-11", "2015-07-31", "2015-08-20", "2015-08-30", "2015-09-09"]
    plan = choose([item(day) for day in days], question(date(2015, 7, 11), date(2015, 9, 10)))
    assert len(plan.intervals) in (2, 3)
    assert plan.intervals[-1][1] == date(2015, 9, 10)
    assert plan.unit.endswith("days")


def test_cloudy_scenes_are_left_out() -> None:
    items = [item("2019-03-01", 90), item("2019-04-01", 5), item("2020-04-01"), item("2021-04-01")]
    plan = choose(items, question(date(2019, 1, 1), date(2022, 1, 1)))
    assert "scene-2019-03-01" not in {scene["id"] for scene in plan.items}


def test_too_few_scenes_are_explained() -> None:
    with pytest.raises(InvalidInput, match="too few"):
        choose([item("2019-04-01")], question(date(2019, 1, 1), date(2022, 1, 1)))


def test_picture_is_drawn_also_when_nothing_changed(tmp_path: Path) -> None:
    scene = Scene(
        "t", "s", np.full((10, 10, 3), 0.1), np.full((10, 10), np.nan), (0, 0, 300, 300),
        "EPSG:32630", "year", [], "f",
    )  # fmt: skip
    draw(scene, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
