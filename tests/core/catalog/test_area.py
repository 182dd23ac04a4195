"""Areas as people draw and paste them, and footprints as archives publish them."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Point, box, mapping, shape

from cscale_core.catalog.area import MOST_POSITIONS, box_area, footprint, parse_area
from cscale_core.errors import InvalidInput

SQUARE = {
    "type": "Polygon",
    "coordinates": [[[10.0, 45.0], [11.0, 45.0], [11.0, 46.0], [10.0, 46.0], [10.0, 45.0]]],
}
ELSEWHERE = {
    "type": "Polygon",
    "coordinates": [[[20.0, 45.0], [21.0, 45.0], [21.0, 46.0], [20.0, 46.0], [20.0, 45.0]]],
}


def ring(*points: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[list(point) for point in (*points, points[0])]]}


def feature(geometry: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": {"name": "x"}, "geometry": geometry}


@pytest.mark.parametrize(
    "given",
    [
        SQUARE,
        json.dumps(SQUARE),
        {**SQUARE, "bbox": [10, 45, 11, 46]},
        feature(SQUARE),
        {"type": "FeatureCollection", "features": [feature(SQUARE)]},
        {"type": "FeatureCollection", "features": [feature(None), feature(SQUARE)]},
        {"type": "GeometryCollection", "geometries": [SQUARE]},
        {
            **SQUARE,
            "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},
        },
        "POLYGON ((10 45, 11 45, 11 46, 10 46, 10 45))",
        "  srid=4326; polygon((10 45,11 45,11 46,10 46,10 45)) ",
        "POLYGON Z ((10 45 7, 11 45 7, 11 46 7, 10 46 7, 10 45 7))",
        "MULTIPOLYGON (((10 45, 11 45, 11 46, 10 46, 10 45)))",
    ],
)
def test_one_area_in_many_forms_is_one_area(given: Any) -> None:
    area = parse_area(given)
    assert shape(area).equals(shape(SQUARE))
    assert not shape(area).has_z
    assert set(area) == {"type", "coordinates"}


def test_a_plain_geometry_stays_as_it_was_written() -> None:
    odd = {"type": "Polygon", "coordinates": [[[10, 45], [11, 45.0], [11, 46], [10, 45]]]}
    assert json.dumps(parse_area(odd)) == json.dumps(odd)


def test_several_features_are_their_union() -> None:
    both = {"type": "FeatureCollection", "features": [feature(SQUARE), feature(ELSEWHERE)]}
    area = shape(parse_area(both))
    assert area.geom_type == "MultiPolygon"
    assert area.area == pytest.approx(2)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("POINT (1 2)", "Point"),
        ("LINESTRING (0 0, 1 1)", "LineString"),
        ("MULTIPOINT (0 0, 1 1)", "MultiPoint"),
    ],
)
def test_points_and_lines_are_areas_too(given: str, kind: str) -> None:
    assert parse_area(given)["type"] == kind


def test_a_ring_that_crosses_itself_keeps_what_it_encloses() -> None:
    area = shape(parse_area(ring((0, 0), (2, 2), (2, 0), (0, 2))))
    assert area.is_valid
    assert area.area == pytest.approx(2)


def test_a_ring_that_is_not_closed_is_closed() -> None:
    area = parse_area({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]})
    assert shape(area).area == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "neither as GeoJSON nor as WKT"),
        ("POLYGON ((10 45, 11", "neither as GeoJSON nor as WKT"),
        ("{", "neither as GeoJSON nor as WKT"),
        ("[1, 2]", "neither as GeoJSON nor as WKT"),
        (7, "not a geometry"),
        (None, "not a geometry"),
        ({"type": "Nonsense"}, "no known type: 'Nonsense'"),
        ({}, "no known type"),
        ({"type": "Polygon"}, "cannot be read"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "cannot be read"),
        ({"type": "Point", "coordinates": ["a", "b"]}, "cannot be read"),
        ({"type": "Point", "coordinates": [float("nan"), 1]}, "empty|no numbers"),
        ({"type": "Point", "coordinates": [float("inf"), 1]}, "no numbers"),
        ({"type": "Polygon", "coordinates": []}, "empty"),
        ("POLYGON EMPTY", "empty"),
        ({"type": "FeatureCollection", "features": []}, "empty"),
        (feature(None), "empty"),
        (feature("POINT (1 2)"), "part that is no geometry"),
        (ring((0, 0), (1, 1), (2, 2)), "encloses nothing"),
        (ring((45, 100), (46, 100), (46, 101)), "longitude before latitude"),
        ("SRID=32633;POINT (500000 5000000)", "EPSG:32633"),
        (
            {**SQUARE, "crs": {"type": "name", "properties": {"name": "EPSG:3857"}}},
            "coordinate reference system",
        ),
        ({**SQUARE, "crs": 7}, "coordinate reference system"),
        ("POINT (700 0)", "longitudes beyond"),
        (ring((-200, 0), (250, 0), (200, 20)), "wider than the world"),
        ("GEOMETRYCOLLECTION(" * 50_000 + "POINT (1 2)" + ")" * 50_000, "nested"),
        ("POINT (1 2)" + " " * 3_000_000, "longer than"),
        ({"type": "MultiPoint", "coordinates": [[0, 0]] * (MOST_POSITIONS + 1)}, "more than"),
    ],
)
def test_what_is_no_area_is_refused_in_a_sentence(given: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_area(given)
    assert re.search(said, f"{refused.value.message} {refused.value.hint}")


def test_deep_nesting_is_refused_and_not_followed() -> None:
    deep: Any = [0, 0]
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidInput, match="nested"):
        parse_area({"type": "Polygon", "coordinates": deep})
    collection = SQUARE
    for _ in range(100):
        collection = {"type": "GeometryCollection", "geometries": [collection]}
    with pytest.raises(InvalidInput, match="nested"):
        parse_area(collection)


# --- The antimeridian ----------------------------------------------------------------------------

FIJI = box_area((177, -20, -178, -15))


@pytest.mark.parametrize(
    "given",
    [
        # As maps draw it, to the one side or the other.
        ring((177, -20), (182, -20), (182, -15), (177, -15)),
        ring((-183, -20), (-178, -20), (-178, -15), (-183, -15)),
        # As it is to be written (RFC 7946, section 3.1.9).
        mapping(FIJI),
    ],
)
def test_a_box_over_the_antimeridian_is_two(given: Any) -> None:
    area = shape(parse_area(given))
    assert area.equals(FIJI)


@pytest.mark.parametrize("turned", [False, True])
def test_an_edge_of_more_than_half_the_world_crosses_the_antimeridian(turned: bool) -> None:
    points = [(178.0, -20.0), (-179.0, -19.0), (-178.0, -16.0), (177.0, -15.0)]
    area = shape(parse_area(ring(*(reversed(points) if turned else points))))
    west, east = Point(179.5, -18), Point(-179.5, -18)
    assert area.intersects(west)
    assert area.intersects(east)
    assert not area.intersects(Point(0, -18))
    assert area.area == pytest.approx(shape(ring(*((x % 360, y) for x, y in points))).area)


@pytest.mark.parametrize("west", [-170.0, -179.0, -180.0])
def test_a_rectangle_is_taken_as_it_is_drawn(west: float) -> None:
    area = shape(parse_area(mapping(box(west, -60, -west, 60))))
    assert area.intersects(Point(0, 0))
    assert area.bounds == (west, -60, -west, 60)


def test_a_rectangle_wider_than_the_world_is_the_world_around() -> None:
    assert shape(parse_area(mapping(box(-250, -10, 250, 10)))).bounds == (-180, -10, 180, 10)


def test_lines_and_points_beyond_the_antimeridian_come_back() -> None:
    assert shape(parse_area("MULTIPOINT (181 1, 179 2)")).equals(
        shape({"type": "MultiPoint", "coordinates": [[-179, 1], [179, 2]]})
    )
    line = shape(parse_area("LINESTRING (179 0, 181 0)"))
    assert line.length == pytest.approx(2)
    assert line.bounds == (-180, 0, 180, 0)


SIDES = st.tuples(
    st.integers(-359, 180), st.integers(1, 350), st.integers(-80, 70), st.integers(1, 10)
)


@given(SIDES, st.integers(-179, 179), st.integers(-85, 85))
def test_areas_hold_the_same_places_wherever_they_are_drawn(
    sides: tuple[int, int, int, int], x: int, y: int
) -> None:
    west, width, south, height = sides
    area = shape(parse_area(mapping(box(west, south, west + width, south + height))))
    assert area.is_valid
    assert area.bounds[0] >= -180
    assert area.bounds[2] <= 180
    place = x + 0.5
    inside = any(
        west < place + turn < west + width and south < y + 0.5 < south + height
        for turn in (-360, 0, 360)
    )
    assert area.intersects(Point(place, y + 0.5)) is inside


POINTS = st.tuples(st.floats(-180, 180), st.floats(-90, 90))


@given(st.lists(POINTS, min_size=3, max_size=8))
def test_any_ring_is_an_area_or_refused(points: list[tuple[float, float]]) -> None:
    try:
        area = shape(parse_area(ring(*points)))
    except InvalidInput:
        return
    assert area.is_valid
    assert not area.is_empty
    west, south, east, north = area.bounds
    assert -180 <= west <= east <= 180
    assert -90 <= south <= north <= 90
    assert shape(parse_area(mapping(area))).equals(area)


# --- Footprints ----------------------------------------------------------------------------------


def test_footprint_of_a_plain_item() -> None:
    there = footprint(SQUARE, [10, 45, 11, 46])
    assert there is not None
    assert there.equals(shape(SQUARE))


def test_the_bbox_of_an_item_tells_what_its_rectangle_means() -> None:
    written = mapping(box(-170, 0, 170, 10))
    crossing, around = (
        footprint(written, [170, 0, -170, 10]),
        footprint(written, [-170, 0, 170, 10]),
    )
    assert crossing is not None
    assert around is not None
    assert crossing.intersects(Point(175, 5))
    assert not crossing.intersects(Point(0, 5))
    assert around.intersects(Point(0, 5))


def test_a_swath_over_the_antimeridian_lies_on_both_sides() -> None:
    there = footprint(ring((170, 0), (-170, 3), (-172, 13), (168, 10)))
    assert there is not None
    assert there.intersects(Point(179, 6))
    assert there.intersects(Point(-179, 6))
    assert not there.intersects(Point(0, 6))


def test_a_footprint_around_the_pole_holds_the_pole() -> None:
    there = footprint(ring((0, 70), (90, 70), (180, 70), (-90, 70)))
    assert there is not None
    assert there.intersects(Point(45, 89))
    assert not there.intersects(Point(45, 60))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
KINDS = st.sampled_from(
    ["Point", "LineString", "Polygon", "MultiPolygon", "GeometryCollection", "x"]
)


@given(st.one_of(JSON, st.builds(lambda k, c: {"type": k, "coordinates": c}, KINDS, JSON)), JSON)
def test_no_geometry_of_an_item_is_a_crash(geometry: Any, bbox: Any) -> None:
    there = footprint(geometry, bbox)
    assert there is None or isinstance(there, shapely.Geometry)
    with suppress(InvalidInput):
        assert shape(parse_area(geometry)).is_valid
