"""Items are repaired where that is certain, it is said, and nothing is guessed or crashes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cscale_core.catalog.repair import REPAIRED_MEMBER, repair

RING = [[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0], [0.0, 0.0]]


def item(**changes: Any) -> dict[str, Any]:
    whole = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "scene",
        "collection": "c",
        "geometry": {"type": "Polygon", "coordinates": copy.deepcopy([RING])},
        "bbox": [0.0, 0.0, 2.0, 1.0],
        "properties": {"datetime": "2024-05-01T10:05:59.024Z"},
        "assets": {"B03": {"href": "https://a.example/B03.tif"}},
        "links": [{"rel": "self", "href": "https://a.example/scene"}],
    }
    for name, value in changes.items():
        if value is ...:
            del whole[name]
        else:
            whole[name] = value
    return whole


def test_a_valid_item_stays_as_it_is() -> None:
    one, before = item(), item()
    assert repair(one) == ""
    assert one == before


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("scene", "not an object"),
        (None, "not an object"),
        (item(type="Collection"), "not a Feature"),
        (item(id=...), "without an id"),
        (item(id=""), "without an id"),
        (item(id=True), "without an id"),
        (item(properties=None), "without properties"),
        (item(assets=[]), "without usable assets"),
        (item(collection=["c"]), "with a collection that is no name"),
    ],
)
def test_what_cannot_be_used_is_named(broken: Any, reason: str) -> None:
    assert repair(broken) == reason


@pytest.mark.parametrize(
    ("changes", "expected", "said"),
    [
        ({"id": 17}, {"id": "17"}, "id was a number"),
        ({"assets": ...}, {"assets": {}}, "no list of assets"),
        ({"links": ...}, {"links": []}, "no list of links"),
        ({"links": None}, {"links": []}, "no list of links"),
        ({"links": ["x", {"rel": "self"}]}, {"links": []}, "links without an address"),
        ({"stac_version": ...}, {"stac_version": "1.0.0"}, "version of STAC"),
        ({"stac_extensions": None}, {"stac_extensions": []}, "list of extensions"),
        ({"bbox": ...}, {"bbox": [0.0, 0.0, 2.0, 1.0]}, "bounding box"),
        ({"bbox": [0, 0, "2", 1]}, {"bbox": [0.0, 0.0, 2.0, 1.0]}, "bounding box"),
        ({"bbox": [0, 0, 10**400, 1]}, {"bbox": [0.0, 0.0, 2.0, 1.0]}, "bounding box"),
        ({"bbox": [0, 9, 2, 1]}, {"bbox": [0.0, 0.0, 2.0, 1.0]}, "bounding box"),
        ({"geometry": "POINT (0 0)"}, {"geometry": None}, "geometry was none"),
        (
            {"assets": {"a": {"href": "https://a.example/a"}, "b": {}, "c": "x"}},
            {"assets": {"a": {"href": "https://a.example/a"}}},
            "2 assets without an address",
        ),
        (
            {
                "collection": ...,
                "links": [{"rel": "collection", "href": "https://a.example/collections/s2%7Cx"}],
            },
            {"collection": "s2|x"},
            "stated in a link",
        ),
    ],
)
def test_what_is_certain_is_repaired_and_said(
    changes: dict[str, Any], expected: dict[str, Any], said: str
) -> None:
    one = item(**changes)
    assert repair(one) == ""
    assert {name: one[name] for name in expected} == expected
    assert any(said in line for line in one[REPAIRED_MEMBER])


def test_a_ring_that_is_not_closed_is_closed() -> None:
    one = item(geometry={"type": "MultiPolygon", "coordinates": [[RING[:-1]]]})
    assert repair(one) == ""
    assert one["geometry"]["coordinates"] == [[RING]]
    assert one[REPAIRED_MEMBER] == ["a ring was not closed"]


def test_a_box_without_a_geometry_goes() -> None:
    one = item(geometry=None)
    assert repair(one) == ""
    assert "bbox" not in one


def test_no_box_is_made_across_the_antimeridian() -> None:
    ring = [[179.0, 0.0], [-179.0, 0.0], [-179.0, 1.0], [179.0, 1.0], [179.0, 0.0]]
    one = item(bbox=..., geometry={"type": "Polygon", "coordinates": [ring]})
    assert repair(one) == ""
    assert "bbox" not in one


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"datetime": "2024-05-01T10:05:59"}, {"datetime": "2024-05-01T10:05:59Z"}),
        ({"datetime": "2024-05-01 10:05:59"}, {"datetime": "2024-05-01T10:05:59Z"}),
        ({"datetime": "20240501T100559Z"}, {"datetime": "2024-05-01T10:05:59Z"}),
        (
            {"datetime": "2024-05-01T00:00:00Z/2024-05-02T00:00:00Z"},
            {
                "datetime": None,
                "start_datetime": "2024-05-01T00:00:00Z",
                "end_datetime": "2024-05-02T00:00:00Z",
            },
        ),
        (
            {"start_datetime": "2024-05-01T00:00:00Z", "end_datetime": "2024-05-02T00:00:00Z"},
            {
                "datetime": None,
                "start_datetime": "2024-05-01T00:00:00Z",
                "end_datetime": "2024-05-02T00:00:00Z",
            },
        ),
    ],
)
def test_times_come_in_one_form(before: dict[str, Any], after: dict[str, Any]) -> None:
    one = item(properties=before)
    assert repair(one) == ""
    assert one["properties"] == after
    assert one[REPAIRED_MEMBER]


@pytest.mark.parametrize("moment", ["yesterday", None, 17, "2024-05-01T10:05:59+02:00"])
def test_what_is_no_time_or_a_good_one_is_left(moment: Any) -> None:
    one = item(properties={"datetime": moment})
    assert repair(one) == ""
    assert one["properties"] == {"datetime": moment}
    assert REPAIRED_MEMBER not in one


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@given(st.sampled_from(sorted(item())), JSON)
def test_no_value_of_any_member_is_a_crash(member: str, value: Any) -> None:
    one = item(**{member: value})
    reason = repair(one)
    if not reason:
        again = copy.deepcopy(one)
        again.pop(REPAIRED_MEMBER, None)
        assert repair(again) == ""
        assert REPAIRED_MEMBER not in again


@given(JSON)
def test_nothing_at_all_is_a_crash(value: Any) -> None:
    assert repair(value)
