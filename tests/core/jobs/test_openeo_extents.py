"""What a process graph says of the area and the period that it is about."""

from __future__ import annotations

from typing import Any

import pytest
from shapely.geometry import shape

from cscale_core.jobs.engines.openeo.extents import area_of, period_of


def load(space: Any = None, time: Any = None, process: str = "load_collection") -> dict[str, Any]:
    arguments = {"id": "S2", "spatial_extent": space, "temporal_extent": time}
    return {"process_id": process, "arguments": arguments}


def box(west: float, south: float, east: float, north: float, **crs: Any) -> dict[str, Any]:
    return {"west": west, "south": south, "east": east, "north": north, **crs}


def bounds(*nodes: dict[str, Any]) -> tuple[float, ...] | None:
    area = area_of({str(number): node for number, node in enumerate(nodes)})
    return None if area is None else tuple(shape(area).bounds)


def period(*nodes: dict[str, Any]) -> str:
    return period_of({str(number): node for number, node in enumerate(nodes)})


def test_box_is_the_area() -> None:
    assert bounds(load(box(-6, 36, -5, 37))) == (-6, 36, -5, 37)
    assert bounds(load(box(-6, 36, -5, 37, crs="EPSG:4326"))) == (-6, 36, -5, 37)


def test_box_in_other_coordinates_is_told_in_longitude_and_latitude() -> None:
    found = bounds(load(box(240_000, 4_030_000, 243_000, 4_033_000, crs=32630)))
    assert found == pytest.approx((-5.9, 36.38, -5.86, 36.41), abs=0.05)


def test_geometry_and_features_are_the_area() -> None:
    polygon = {"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [2, 1], [0, 1], [0, 0]]]}
    feature = {"type": "Feature", "geometry": polygon, "properties": {}}
    for extent in (polygon, feature, {"type": "FeatureCollection", "features": [feature]}):
        assert bounds(load(extent)) == (0, 0, 2, 1)


def test_all_that_is_loaded_counts_together() -> None:
    first = load(box(0, 0, 1, 1), ["2019-01-01", "2019-06-01"])
    second = load(box(5, 5, 6, 6), ["2018-01-01T12:00:00Z", "2019-02-01"], "load_stac")
    assert bounds(first, second) == (0, 0, 6, 6)
    assert period(first, second) == "2018-01-01T12:00:00Z/2019-06-01T00:00:00Z"


def test_filters_count_where_loading_says_nothing() -> None:
    near = {"process_id": "filter_bbox", "arguments": {"extent": box(1, 1, 2, 2)}}
    when = {"process_id": "filter_temporal", "arguments": {"extent": ["2020-01-01", "2021-01-01"]}}
    assert bounds(load(), near, when) == (1, 1, 2, 2)
    assert bounds(load(box(0, 0, 9, 9)), near) == (0, 0, 9, 9)
    assert period(load(), near, when) == "2020-01-01T00:00:00Z/2021-01-01T00:00:00Z"


def test_open_end_is_open_and_two_of_them_say_nothing() -> None:
    assert period(load(time=[None, "2020-01-01"])) == "../2020-01-01T00:00:00Z"
    assert period(load(time=[None, None])) == ""


@pytest.mark.parametrize(
    "extent",
    [
        None,
        {"from_parameter": "bbox"},
        "everywhere",
        {"west": 0, "south": 0},
        {"west": "a", "south": 0, "east": 1, "north": 1},
        {"type": "Polygon", "coordinates": "none"},
        {"type": "Polygon"},
        box(0, 0, 1, 1, crs="EPSG:0"),
        box(0, 0, 1, 1, crs={"a": 1}),
        box(float("nan"), 0, 1, 1),
    ],
)
def test_area_that_is_not_understood_is_left_out(extent: Any) -> None:
    assert bounds(load(extent)) is None


@pytest.mark.parametrize(
    "extent", [None, {"from_parameter": "t"}, ["2020-01-01"], ["soon", "later"], [1, 2], "2020"]
)
def test_period_that_is_not_understood_is_left_out(extent: Any) -> None:
    assert period(load(time=extent)) == ""


def test_nodes_without_arguments_say_nothing() -> None:
    assert area_of({"a": {"process_id": "load_collection"}}) is None
    assert period_of({"a": {"process_id": "load_collection", "arguments": []}}) == ""
