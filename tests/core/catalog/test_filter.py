"""Items are checked against the whole question, quickly where their corners tell."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Polygon, box, mapping, shape

from cscale_core.catalog import filter as filtering
from cscale_core.catalog.filter import ItemFilter
from cscale_core.catalog.query import SearchQuery, area
from cscale_core.errors import InvalidInput

SCENES = Path(__file__).parents[3].parent / "shared/data/sentinel2-l1c-slovenia"


def item(lon: float = 10.0, lat: float = 45.0, **members: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": "x",
        "collection": "s2",
        "geometry": {
            "type": "Polygon",
            "coordinates": [
                [[lon, lat], [lon + 1, lat], [lon + 1, lat + 1], [lon, lat + 1], [lon, lat]]
            ],
        },
        "properties": {"datetime": "2024-05-01T10:00:00Z", "eo:cloud_cover": 12},
        "assets": {},
        "links": [],
        **members,
    }


def takes(one: dict[str, Any], **query: Any) -> bool:
    return ItemFilter(SearchQuery(**query)).takes(one)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, True),
        ({"ids": ["x", "y"]}, True),
        ({"ids": ["y"]}, False),
        ({"collections": ["s2"]}, True),
        ({"collections": ["s1"]}, False),
        ({"datetime": "2024-05-01"}, True),
        ({"datetime": "../2024-04-30"}, False),
        ({"bbox": (9, 44, 12, 47)}, True),
        ({"bbox": (10.2, 45.2, 10.4, 45.4)}, True),
        ({"bbox": (10.5, 40, 10.6, 50)}, True),
        ({"bbox": (11, 46, 12, 47)}, True),
        ({"bbox": (11.1, 46, 12, 47)}, False),
        ({"bbox": (170, 40, 10, 50)}, True),
        ({"bbox": (12, 40, 9, 50)}, False),
        ({"bbox": (9, 44, 0, 12, 47, 8000)}, True),
        ({"intersects": "POINT (10.5 45.5)"}, True),
        ({"intersects": "POINT (1 45)"}, False),
        ({"intersects": "POLYGON ((9 44, 9 48, 13 48, 9 44))"}, True),
        ({"intersects": "POLYGON ((9 44, 12 44, 12 44.5, 9 44.5, 9 44))"}, False),
        # Its box meets the item, the triangle does not.
        ({"intersects": "POLYGON ((10.9 44, 12 44, 12 47, 10.9 44))"}, False),
        ({"max_cloud_cover": 12}, True),
        ({"max_cloud_cover": 11.9}, False),
        ({"filter": "eo:cloud_cover <= 12 AND id = 'x'"}, True),
        ({"filter": "eo:cloud_cover < 12"}, False),
        ({"filter": "platform = 'sentinel-2a'"}, False),
    ],
)
def test_everything_that_is_asked_must_hold(query: dict[str, Any], expected: bool) -> None:
    assert takes(item(), **query) is expected


def test_why_items_were_left_out_is_counted_and_said() -> None:
    check = ItemFilter(
        SearchQuery(bbox=(9, 44, 12, 47), datetime="2024", max_cloud_cover=50, filter="gsd > 5")
    )
    gsd = {"datetime": "2024-05-01T10:00:00Z", "eo:cloud_cover": 12, "gsd": 10}
    assert check.takes(item(properties=gsd))
    assert check.note() == ""
    assert not check.takes(item(50))
    assert not check.takes(item(geometry=None))
    assert not check.takes(item(geometry={"type": "Polygon", "coordinates": "x"}))
    assert not check.takes(item(properties={"datetime": "yesterday"}))
    assert not check.takes(item(properties={"datetime": "2024-05-01T10:00:00Z"}))
    assert not check.takes(item(properties={**gsd, "eo:cloud_cover": True}))
    assert not check.takes(item(properties={**gsd, "eo:cloud_cover": float("nan")}))
    assert not check.takes(item(properties={**gsd, "gsd": 2}))
    assert not check.takes(item())
    assert check.note() == (
        "1 outside the question left out; 2 without a usable geometry left out; "
        "1 without a readable time left out; 2 without a stated cloud cover left out; "
        "1 cloudier than asked left out; 1 not meeting the filter left out; "
        "1 without what the filter asks for left out"
    )


def test_what_the_provider_filtered_is_believed_where_the_item_does_not_say() -> None:
    query = SearchQuery(filter="gsd > 5")
    check = ItemFilter(query, filtered_there=True)
    assert check.takes(item())
    assert not check.takes(item(properties={"gsd": 2}))


def test_a_filter_that_is_not_applied_here_must_have_been_applied_there() -> None:
    query = SearchQuery(filter="their_function(gsd) = 5")
    with pytest.raises(InvalidInput, match="their_function"):
        ItemFilter(query)
    assert ItemFilter(query, filtered_there=True).takes(item())


def test_collections_go_by_the_names_of_the_provider() -> None:
    query = SearchQuery(collections=["sentinel-2-l2a"])
    assert ItemFilter(query, collections=["s2"]).takes(item())
    assert not ItemFilter(query).takes(item())


def test_footprints_over_the_antimeridian_are_found_on_both_sides_and_nowhere_else() -> None:
    ring = [[179, 0], [-179, 1], [-179.5, 5], [178.5, 4], [179, 0]]
    swath = item(geometry={"type": "Polygon", "coordinates": [ring]})
    assert takes(swath, bbox=(179.2, 1, 179.8, 3))
    assert takes(swath, bbox=(-179.8, 1, -179.6, 3))
    assert takes(swath, bbox=(179.9, 1, -179.9, 3))
    assert not takes(swath, bbox=(0, 1, 10, 3))
    beyond = item(179.5)
    assert takes(beyond, bbox=(-179.9, 45.2, -179.8, 45.4))


def test_an_outline_that_crosses_itself_is_found() -> None:
    ring = [[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]
    bow = item(geometry={"type": "Polygon", "coordinates": [ring]})
    assert takes(bow, bbox=(1.5, 0.9, 1.6, 1.0))
    assert takes(bow, intersects="POLYGON ((1.5 0.9, 1.6 0.9, 1.6 1.0, 1.5 0.9))")
    assert not takes(bow, bbox=(3, 3, 4, 4))


SIDES = st.tuples(st.integers(-170, 160), st.integers(-80, 70), st.integers(1, 15))
CORNERS = st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=3, max_size=6)


@given(SIDES, SIDES, st.booleans())
def test_rectangles_are_told_apart_as_by_geometry(
    asked: tuple[int, int, int], there: tuple[int, int, int], drawn: bool
) -> None:
    bounds = (asked[0], asked[1], asked[0] + asked[2], asked[1] + asked[2])
    footprint = box(there[0], there[1], there[0] + there[2], there[1] + there[2])
    query = {"intersects": mapping(box(*bounds))} if drawn else {"bbox": bounds}
    geometry = json.loads(json.dumps(mapping(footprint)))
    assert takes(item(geometry=geometry), **query) is box(*bounds).intersects(footprint)


@given(CORNERS, st.tuples(st.integers(-20, 15), st.integers(-20, 15), st.integers(1, 5)))
def test_outlines_are_told_apart_as_by_geometry(
    corners: list[tuple[int, int]], asked: tuple[int, int, int]
) -> None:
    outline = Polygon(corners)
    bounds = (asked[0], asked[1], asked[0] + asked[2], asked[1] + asked[2])
    query = SearchQuery(bbox=bounds)
    geometry = json.loads(json.dumps(mapping(outline)))
    if outline.is_valid:
        expected = bool(area(query).intersects(shape(geometry)))  # type: ignore[union-attr]
        assert ItemFilter(query).takes(item(geometry=geometry)) is expected
    else:
        ItemFilter(query).takes(item(geometry=geometry))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(
    st.one_of(JSON, st.builds(lambda c: {"type": "Polygon", "coordinates": c}, JSON)),
    st.dictionaries(st.sampled_from(["datetime", "start_datetime", "eo:cloud_cover", "a"]), JSON),
    JSON,
)
def test_no_item_is_a_crash(geometry: Any, properties: dict[str, Any], bbox: Any) -> None:
    one = item(geometry=geometry, properties=properties, bbox=bbox)
    for query in (
        {"bbox": (0, 0, 1, 1)},
        {"intersects": "POLYGON ((0 0, 1 0, 1 1, 0 0))"},
        {"datetime": "2024"},
        {"max_cloud_cover": 5},
        {"filter": "a = 1 OR S_INTERSECTS(geometry, POINT(0 0)) OR datetime > '2024-01-01'"},
    ):
        takes(copy.deepcopy(one), **query)


def test_plain_footprints_need_no_geometry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtering, "footprint", None)
    check = ItemFilter(SearchQuery(bbox=(9.5, 44.5, 12, 47), datetime="2024"))
    assert check.takes(item())
    assert check.takes(
        item(geometry={"type": "MultiPolygon", "coordinates": [item()["geometry"]["coordinates"]]})
    )
    assert not check.takes(item(50))
    with pytest.raises(TypeError):
        ItemFilter(SearchQuery(bbox=(10.2, 45.2, 10.4, 45.4))).takes(item())


def test_ten_thousand_items_are_checked_in_a_moment() -> None:
    """A bound that only a slow path for every item would miss; the figure is a tenth of it."""
    items = [item(lon / 60) for lon in range(10_000)]
    check = ItemFilter(SearchQuery(bbox=(50, 44, 100, 47), datetime="2024-01-01/2024-12-31"))
    begun = time.process_time()
    found = sum(map(check.takes, items))
    assert time.process_time() - begun < 1.0
    assert found == sum(49 <= lon / 60 <= 100 for lon in range(10_000))


@pytest.mark.skipif(not SCENES.exists(), reason="../shared/data/sentinel2-l1c-slovenia is absent")
def test_real_scenes_are_found_by_place_time_and_condition() -> None:
    scenes = [json.loads(path.read_text()) for path in sorted(SCENES.glob("S2A*.json"))]
    assert scenes
    for scene in scenes:
        west, south, east, north = scene["bbox"]
        middle = f"POINT ({(west + east) / 2} {(south + north) / 2})"
        moment = scene["properties"]["datetime"]
        for query in (
            {"bbox": scene["bbox"], "datetime": moment, "ids": [scene["id"]]},
            {"intersects": middle, "filter": f"datetime = TIMESTAMP('{moment}')"},
            {"filter": f"S_INTERSECTS(geometry, {middle}) AND id = '{scene['id']}'"},
            {"filter": "platform IS NOT NULL OR datetime >= DATE('2015-07-01')"},
        ):
            assert takes(scene, **query), query
            assert not takes(scene, **{**query, "ids": ["another"]})
        assert not takes(scene, bbox=(west - 2, south, west - 1, north))
        assert not takes(scene, filter="datetime < DATE('2015-07-01')")
