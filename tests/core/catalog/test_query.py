"""A question to the federation: many ways to write it are one question, nonsense is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from shapely.geometry import shape

from cscale_core.catalog.query import SearchQuery, SortKey, area

WKT = "POLYGON ((10 45, 11 45, 11 46, 10 46, 10 45))"
SQUARE = {
    "type": "Polygon",
    "coordinates": [[[10.0, 45.0], [11.0, 45.0], [11.0, 46.0], [10.0, 46.0], [10.0, 45.0]]],
}


def test_nothing_asked_finds_everything_a_hundred_at_a_time() -> None:
    query = SearchQuery()
    assert query.limit == 100
    assert query.body(50) == {"limit": 50}
    assert query.condition is None
    assert area(query) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"intersects": SQUARE}, {"intersects": WKT}),
        ({"intersects": SQUARE}, {"intersects": json.dumps(SQUARE)}),
        (
            {"intersects": SQUARE},
            {"intersects": {"type": "Feature", "properties": {}, "geometry": SQUARE}},
        ),
        (
            {"datetime": "2024-05-01"},
            {"datetime": "2024-05-01T00:00:00Z/2024-05-01T23:59:59.999999Z"},
        ),
        ({"datetime": "2024-05-01T02:00:00+02:00"}, {"datetime": "2024-05-01T00:00:00Z"}),
        ({"datetime": "2024-05/.."}, {"datetime": "2024-05-01T00:00:00Z/"}),
        ({"sortby": "-datetime,id"}, {"sortby": ["-properties.datetime", "+id"]}),
        (
            {"sortby": ["-datetime", " id"]},
            {"sortby": [{"field": "datetime", "direction": "desc"}, {"field": "id"}]},
        ),
        ({"sortby": None}, {"sortby": []}),
        ({"fields": "id,-assets"}, {"fields": {"include": ["id"], "exclude": ["assets"]}}),
        ({"fields": ["+id", "-assets"]}, {"fields": ["id", "-assets"]}),
        (
            {"filter": "properties.eo:cloud_cover <= 20.0"},
            {"filter": {"op": "<=", "args": [{"property": "eo:cloud_cover"}, 20]}},
        ),
        (
            {"filter": "gsd > 5"},
            {"filter": '{"op": ">", "args": [{"property": "gsd"}, 5]}'},
        ),
        ({"filter": ""}, {}),
        ({"limit": 5}, {"limit": 7}),
        ({"providers": ["a"]}, {"providers": ["b"]}),
    ],
)
def test_the_same_question_in_two_forms_has_one_fingerprint(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert SearchQuery(**one).fingerprint() == SearchQuery(**other).fingerprint()


@pytest.mark.parametrize(
    "query",
    [
        {"bbox": (0, 0, 1, 1)},
        {"intersects": SQUARE},
        {"datetime": "2024-05-01"},
        {"collections": ["s2"]},
        {"ids": ["s2"]},
        {"filter": "gsd > 5"},
        {"filter": "gsd >= 5"},
        {"sortby": "datetime"},
        {"sortby": "-datetime"},
        {"fields": "id"},
        {"fields": "-id"},
        {"max_cloud_cover": 0},
    ],
)
def test_another_question_has_another_fingerprint(query: dict[str, Any]) -> None:
    others = [{}, {"bbox": (0, 0, 1, 2)}, {"max_cloud_cover": 5}]
    assert SearchQuery(**query).fingerprint() not in {
        SearchQuery(**o).fingerprint() for o in others
    }


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    """Cursors outlive the server that signed them."""
    query = {
        "collections": ["a", "b"],
        "filter": "gsd > 5",
        "sortby": "-datetime",
        "bbox": (0, 0, 1, 1),
    }
    code = (
        "from cscale_core.catalog.query import SearchQuery;"
        f"print(SearchQuery(**{query!r}).fingerprint())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == SearchQuery(**query).fingerprint()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"bbox": (1, 2, 3)}, "four or six"),
        ({"bbox": (0, 10, 1, 5)}, "south before north"),
        ({"bbox": (0, 0, 1, float("nan"))}, "latitudes"),
        ({"bbox": (0, 0, 190, 5)}, "longitudes"),
        ({"bbox": (0, 0, 1, 1), "intersects": SQUARE}, "bbox or intersects"),
        ({"intersects": {"type": "Nonsense"}}, "no known type"),
        ({"intersects": "POLYGON ((10 45"}, "WKT"),
        ({"datetime": "2024-13-01"}, "not a time"),
        ({"datetime": "2024-02-01/2024-01-01"}, "ends before"),
        ({"filter": "gsd >"}, "filter is not CQL2"),
        ({"filter": 5}, "CQL2 text"),
        ({"filter": []}, "CQL2 text"),
        ({"filter": "NOT " * 200 + "a = 1"}, "nested"),
        ({"sortby": "-"}, "not the name"),
        ({"sortby": ["datetime; drop"]}, "not the name"),
        ({"sortby": ["-datetime", "+datetime"]}, "twice"),
        ({"sortby": [f"p{number}" for number in range(11)]}, "at most 10"),
        ({"sortby": [{"field": "a", "direction": "up"}]}, "asc"),
        ({"sortby": [{"field": "a", "order": "asc"}]}, "order"),
        ({"fields": ["a b"]}, "not the name"),
        ({"limit": 0}, "limit"),
        ({"limit": 10_001}, "limit"),
        ({"max_cloud_cover": 101}, "max_cloud_cover"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_questions_that_make_no_sense_are_refused_and_say_why(
    query: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        SearchQuery(**query)


def test_a_question_survives_being_written_and_read() -> None:
    query = SearchQuery(
        intersects="POLYGON ((170 0, 190 0, 190 10, 170 5, 170 0))",
        datetime="2024-05-01/..",
        collections=["CDSE|sentinel-2-l2a"],
        filter="datetime <= DATE('2024-05-31') AND (gsd > 5 OR gsd IS NULL)",
        sortby="-eo:cloud_cover,+id",
        fields="id,-assets",
        limit=7,
    )
    again = SearchQuery.model_validate_json(query.model_dump_json())
    assert again == query
    assert again.fingerprint() == query.fingerprint()


def test_sort_keys_are_written_as_get_takes_them() -> None:
    query = SearchQuery(sortby=["-properties.eo:cloud_cover", "id"])
    assert [str(key) for key in query.sortby] == ["-eo:cloud_cover", "+id"]
    assert [key.descending for key in query.sortby] == [True, False]
    assert query.sortby[0] == SortKey(field="eo:cloud_cover", direction="desc")


def test_a_changed_question_has_the_changed_condition() -> None:
    query = SearchQuery(filter="gsd > 5")
    assert query.condition is not None
    other = query.model_copy(update={"filter": SearchQuery(filter="gsd > 7").filter})
    assert other.condition is not None
    assert other.condition.as_text() == "gsd > 7"


def test_the_body_is_what_every_provider_takes() -> None:
    query = SearchQuery(
        bbox=(177, -20, -178, -15),
        datetime="2024-05-01T00:00:00Z/..",
        collections=["s2"],
        ids=["x"],
        max_cloud_cover=20,
        filter="gsd > 5",
    )
    assert query.body(10) == {
        "limit": 10,
        "bbox": [177, -20, -178, -15],
        "datetime": "2024-05-01T00:00:00Z/..",
        "collections": ["s2"],
        "ids": ["x"],
    }
    there = area(query)
    assert there is not None
    assert there.bounds == (-180, -20, 180, -15)
    assert SearchQuery(intersects=WKT).body(1)["intersects"] == SQUARE


LONGITUDES = st.integers(-180, 180)
LATITUDES = st.integers(-90, 90)


@given(LONGITUDES, LATITUDES, LONGITUDES, LATITUDES, LONGITUDES, LATITUDES)
def test_a_box_holds_what_lies_between_its_sides(
    west: int, south: int, east: int, north: int, x: int, y: int
) -> None:
    south, north = sorted((south, north))
    there = area(SearchQuery(bbox=(west, south, east, north)))
    assert there is not None
    between = west <= x <= east if west <= east else (x >= west or x <= east)
    point = shape({"type": "Point", "coordinates": [x, y]})
    assert there.intersects(point) is (between and south <= y <= north)


@given(
    st.dictionaries(
        st.sampled_from(sorted(SearchQuery.model_fields)),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
            lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=6), inner),
            max_leaves=8,
        ),
    )
)
def test_any_json_is_a_question_or_refused(given: dict[str, Any]) -> None:
    try:
        query = SearchQuery.model_validate(given)
    except ValidationError:
        return
    assert (
        SearchQuery.model_validate_json(query.model_dump_json()).fingerprint()
        == query.fingerprint()
    )
