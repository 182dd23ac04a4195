"""Splitting an area: nothing is lost, nothing is twice, names stay the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box, shape
from shapely.ops import unary_union

from cscale_core.client.areas import mgrs_square, split
from cscale_core.errors import InvalidInput

AREA = [-6.13, 36.07, -5.48, 36.62]


def union(tiles: list[Any]) -> Any:
    return unary_union([shape(tile.geometry) for tile in tiles])


@pytest.mark.parametrize("grid", [0.25, "0.1 degrees", "10 km", (20_000, "EPSG:3035")])
def test_a_grid_covers_the_area_once(grid: Any) -> None:
    tiles = split(AREA, grid=grid)
    assert len({tile.id for tile in tiles}) == len(tiles)
    whole = box(*AREA)
    assert union(tiles).symmetric_difference(whole).area < 1e-6
    assert sum(shape(tile.geometry).area for tile in tiles) == pytest.approx(whole.area, abs=1e-6)
    for tile in tiles:
        assert shape(tile.geometry).bounds == tile.bbox


@given(
    west=st.floats(-179, 170),
    south=st.floats(-80, 75),
    width=st.floats(0.01, 5),
    height=st.floats(0.01, 5),
    size=st.sampled_from([0.1, 0.3, 0.5, 1, 7]),
)
def test_cells_in_degrees_cover_any_box_once(
    west: float, south: float, width: float, height: float, size: float
) -> None:
    whole = box(west, south, west + width, south + height)
    tiles = split([*whole.bounds], grid=size)
    assert sum(shape(tile.geometry).area for tile in tiles) == pytest.approx(whole.area, rel=1e-6)
    assert len({tile.id for tile in tiles}) == len(tiles)


def test_the_same_place_has_the_same_name_in_another_area() -> None:
    for grid in (0.25, "10 km", (20_000, "EPSG:3035")):
        one = {tile.id for tile in split([-6.0, 36.1, -5.6, 36.5], grid=grid)}
        larger = {tile.id for tile in split([-6.2, 36.0, -5.5, 36.6], grid=grid)}
        assert one <= larger


def test_parts_outside_of_the_area_and_touches_are_left_out() -> None:
    ring = {
        "type": "Polygon",
        "coordinates": [
            [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]],
            [[1, 1], [1, 3], [3, 3], [3, 1], [1, 1]],
        ],
    }
    tiles = split(ring, grid=1)
    assert len(tiles) == 12
    assert [tile.id for tile in split([0, 0, 1, 1], grid=1)] == ["N0E0"]


def test_an_area_over_the_antimeridian_is_split_on_both_sides() -> None:
    tiles = split([179, -17, -179, -16], grid=1)
    assert {tile.id for tile in tiles} == {"S17E179", "S17W180"}


def test_given_tiles_keep_their_names_and_order() -> None:
    def feature(name: str, *bounds: float, **members: Any) -> dict[str, Any]:
        geometry = box(*bounds).__geo_interface__
        return {"type": "Feature", "properties": {}, "geometry": geometry, **members} | (
            {"id": name} if name else {}
        )

    collection = {
        "type": "FeatureCollection",
        "features": [
            feature("b", 0, 0, 1, 1),
            feature("", 1, 0, 3, 1, properties={"name": "a"}),
            feature("far", 50, 50, 51, 51),
        ],
    }
    tiles = split([0, 0, 2, 1], tiles=collection)
    assert [(tile.id, tile.bbox) for tile in tiles] == [("b", (0, 0, 1, 1)), ("a", (1, 0, 2, 1))]
    by_box = split([0, 0, 2, 1], tiles={"x": [0, 0, 1, 1], "y": [1, 0, 2, 1]})
    assert [tile.id for tile in by_box] == ["x", "y"]


# Corners from the definition of the lettering: zone, column and row give easting and northing.
@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("29SQB", (-6.0, 37.4)),
        ("33UUP", (12.9, 48.3)),
        ("32TQM", (12.0, 42.0)),
        ("60KXF", (178.4, -17.6)),
        ("T31UFU", (5.0, 52.5)),
        ("23KPQ", (-43.2, -22.9)),
    ],
)
def test_squares_of_mgrs_lie_where_they_should(name: str, inside: tuple[float, float]) -> None:
    square = mgrs_square(name)
    assert square.contains(shape({"type": "Point", "coordinates": inside}))
    (tile,) = split([*square.bounds], tiles=[name])
    assert tile.id == name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "grid or by tiles"),
        ({"grid": 1, "tiles": []}, "grid or by tiles"),
        ({"grid": 0}, "larger than nothing"),
        ({"grid": "large"}, "not understood"),
        ({"grid": 0.0001}, "cells"),
        ({"grid": (1000, "EPSG:nothing")}, "CRS"),
        ({"tiles": ["99ZZZ"]}, "99ZZZ"),
        ({"tiles": ["29SAA"]}, "column"),
        ({"tiles": [{"type": "Feature", "geometry": None, "properties": {}}]}, "no name"),
        ({"tiles": {"a": AREA, " a": AREA}}, "two tiles"),
        ({"tiles": {"far": [50, 50, 51, 51]}}, "No tile"),
        ({"tiles": "29SQB"}, "not understood"),
    ],
)
def test_what_is_not_understood_is_said(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=f"(?i){said}"):
        split(AREA, **arguments)


def test_an_area_without_extent_or_too_large_for_utm_is_refused() -> None:
    with pytest.raises(InvalidInput, match="extent"):
        split({"type": "Point", "coordinates": [1, 2]}, grid=1)
    with pytest.raises(InvalidInput, match="UTM"):
        split([-10, 35, 30, 60], grid="100 km")
    with pytest.raises(InvalidInput, match="four numbers"):
        split([1, 2, 3], grid=1)
