"""What a search finds, in which order, and page by page; the same on both stores."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from pystac_client import Client

WORLD = [-180, -90, 180, 90]


@pytest.fixture(scope="module")
def scenes(shared: Any, builders: Any) -> Any:
    """A collection of a few known scenes."""
    item = builders.item
    shared.add(
        "scenes",
        item("alps", (10, 46, 11, 47), "2024-01-10T10:00:00Z", **{"eo:cloud_cover": 5}),
        item("coast", (-10, 36, -9, 37), "2024-02-10T10:00:00Z", **{"eo:cloud_cover": 50.5}),
        item("fiji-west", (178, -18, 180, -16), "2024-03-10T10:00:00Z", platform="sentinel-2a"),
        item("fiji-east", (-180, -18, -178, -16), "2024-04-10T10:00:00Z", platform="sentinel-2b"),
        item("season", (10, 46, 11, 47), ("2024-05-01T00:00:00Z", "2024-08-31T23:59:59Z")),
        {
            **item("slant", (20, 40, 30, 50), "2024-09-01T10:00:00+02:00"),
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[20, 40], [30, 50], [20, 50], [20, 40]]],
            },
        },
    )
    return shared


def found(service: Any, **body: Any) -> set[str]:
    result = service.search(collections=["scenes"], limit=100, **body)
    assert result["numberMatched"] == result["numberReturned"] == len(result["features"])
    return {feature["id"] for feature in result["features"]}


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [
        ([10.5, 46.5, 10.6, 46.6], {"alps", "season"}),
        ([10.5, 46.5, 0, 10.6, 46.6, 3000], {"alps", "season"}),
        ([11, 47, 12, 48], {"alps", "season"}),  # touching counts
        ([11.0001, 47, 12, 48], set()),
        ([179, -17.5, -179, -17], {"fiji-west", "fiji-east"}),
        ([179, -17.5, 180, -17], {"fiji-west"}),
        ([170, -17.5, 0, 179.5, -17, 10], {"fiji-west"}),
        ([25, 41, 29, 44], set()),  # inside the bbox of the slant scene, outside its footprint
        ([21, 45, 22, 46], {"slant"}),
        (WORLD, {"alps", "coast", "fiji-west", "fiji-east", "season", "slant"}),
    ],
)
def test_bbox_finds_footprints_that_it_touches(
    scenes: Any, bbox: list[float], expected: set[str]
) -> None:
    assert found(scenes, bbox=bbox) == expected
    text = ",".join(map(str, bbox))
    answer = scenes.get("/collections/scenes/items", bbox=text, limit=100)
    assert {feature["id"] for feature in answer.json()["features"]} == expected


def test_intersects_is_decided_on_the_footprint(scenes: Any) -> None:
    point = {"type": "Point", "coordinates": [28, 42]}
    line = {"type": "LineString", "coordinates": [[5, 46.5], [20.5, 46.5]]}
    assert found(scenes, intersects=point) == set()
    assert found(scenes, intersects=line) == {"alps", "season", "slant"}
    answer = scenes.get("/search", collections="scenes", intersects=json.dumps(line))
    assert {f["id"] for f in answer.json()["features"]} == {"alps", "season", "slant"}
    two = {"type": "GeometryCollection", "geometries": [point, line]}
    assert found(scenes, intersects=two) == {"alps", "season", "slant"}


@pytest.mark.parametrize(
    ("datetime", "expected"),
    [
        ("2024-01-10T10:00:00Z", {"alps"}),
        ("2024-01-10T11:00:00+01:00", {"alps"}),
        ("2024-09-01T08:00:00Z", {"slant"}),
        ("2024-01-10T10:00:01Z", set()),
        ("2024-02-01T00:00:00Z/2024-03-31T00:00:00Z", {"coast", "fiji-west"}),
        ("2024-02-10T10:00:00Z/2024-03-10T10:00:00Z", {"coast", "fiji-west"}),
        ("../2024-02-01T00:00:00Z", {"alps"}),
        ("2024-07-01T00:00:00Z/..", {"season", "slant"}),
        ("2024-06-01T00:00:00Z", {"season"}),
        ("2024-08-31T23:59:59Z/2024-08-31T23:59:59.5Z", {"season"}),
    ],
)
def test_datetime_intervals_are_closed_and_may_be_open_ended(
    scenes: Any, datetime: str, expected: set[str]
) -> None:
    assert found(scenes, datetime=datetime) == expected
    answer = scenes.get("/search", collections="scenes", datetime=datetime)
    assert {feature["id"] for feature in answer.json()["features"]} == expected


def test_ids_and_collections_narrow_the_search(scenes: Any, builders: Any) -> None:
    scenes.add("others", builders.item("alps"))
    both = scenes.search(ids=["alps"], collections=["scenes", "others"])
    assert sorted(f["collection"] for f in both["features"]) == ["others", "scenes"]
    assert found(scenes, ids=["alps", "coast", "nothing"]) == {"alps", "coast"}
    assert scenes.search(collections=["no-such-collection"])["features"] == []
    answer = scenes.get("/search", ids="alps,coast", collections="scenes")
    assert {feature["id"] for feature in answer.json()["features"]} == {"alps", "coast"}


def test_newest_first_unless_asked_otherwise(scenes: Any, builders: Any) -> None:
    expected = ["slant", "season", "fiji-east", "fiji-west", "coast", "alps"]
    assert builders.ids(scenes.search(collections=["scenes"])) == expected
    oldest = scenes.search(
        collections=["scenes"], sortby=[{"field": "properties.datetime", "direction": "asc"}]
    )
    assert builders.ids(oldest) == expected[::-1]
    by_id = scenes.get("/search", collections="scenes", sortby="-id")
    assert builders.ids(by_id.json()) == sorted(expected, reverse=True)
    cloudy = scenes.search(
        collections=["scenes"],
        ids=["alps", "coast"],
        sortby=[{"field": "properties.eo:cloud_cover", "direction": "desc"}],
    )
    assert builders.ids(cloudy) == ["coast", "alps"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("eo:cloud_cover < 20", {"alps"}),
        ("eo:cloud_cover >= 5 AND eo:cloud_cover <= 50.5", {"alps", "coast"}),
        ("eo:cloud_cover BETWEEN 50 AND 51", {"coast"}),
        ("platform LIKE 'sentinel-2%'", {"fiji-west", "fiji-east"}),
        ("platform IN ('sentinel-2a','sentinel-2c')", {"fiji-west"}),
        ("id = 'alps' OR platform = 'sentinel-2b'", {"alps", "fiji-east"}),
        ("NOT (eo:cloud_cover > 20)", {"alps"}),  # unknown is not a match
        ("platform IS NULL AND eo:cloud_cover < 100", {"alps", "coast"}),
        ("S_INTERSECTS(geometry, POINT(10.5 46.5)) AND eo:cloud_cover < 20", {"alps"}),
        ("datetime > TIMESTAMP('2024-08-31T23:59:59Z')", {"slant"}),
        ("no_such_property = 1", set()),
    ],
)
def test_cql2_filters_as_text_and_as_json(scenes: Any, text: str, expected: set[str]) -> None:
    from cql2 import Expr

    assert found(scenes, filter=Expr(text).to_json(), **{"filter-lang": "cql2-json"}) == expected
    answer = scenes.get("/search", collections="scenes", filter=text, limit=100)
    assert answer.status_code == 200, answer.text
    assert {feature["id"] for feature in answer.json()["features"]} == expected
    json_text = json.dumps(Expr(text).to_json())
    parameters = {"filter": json_text, "filter-lang": "cql2-json", "limit": 100}
    answer = scenes.get("/collections/scenes/items", **parameters)
    assert {feature["id"] for feature in answer.json()["features"]} == expected


def test_fields_include_and_exclude(scenes: Any) -> None:
    lean = scenes.search(
        collections=["scenes"], ids=["alps"], fields={"include": ["properties.datetime"]}
    )["features"][0]
    assert lean == {
        "type": "Feature",
        "id": "alps",
        "collection": "scenes",
        "properties": {"datetime": "2024-01-10T10:00:00Z"},
    }
    answer = scenes.get("/search", collections="scenes", ids="alps", fields="-assets,-links")
    [bare] = answer.json()["features"]
    assert "assets" not in bare
    assert "links" not in bare
    assert bare["geometry"]["type"] == "Polygon"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"bbox": [0, 0, 1]}, "bbox"),
        ({"bbox": [0, 10, 1, 5]}, "latitude"),
        ({"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [0, 0]}}, "exclus"),
        ({"intersects": {"type": "Point", "coordinates": [500000, 5000000]}}, "degrees"),
        ({"datetime": "yesterday"}, "datetime"),
        ({"datetime": "2024-02-01T00:00:00Z/2024-01-01T00:00:00Z"}, "datetime"),
        ({"limit": 0}, "limit"),
        ({"token": "not-a-token"}, "token"),
        ({"filter": {"op": "frobnicate", "args": [1, 2]}}, "frobnicate"),
        ({"filter": {"op": "=", "args": [1]}}, "arguments"),
        ({"filter": {"op": "and", "args": [{"property": "id"}, True]}}, "condition"),
        ({"filter": {"op": "+", "args": [1, 1]}}, "condition"),
        ({"filter": {"property": "id"}}, "condition"),
        ({"filter": {"op": "=", "args": [1, 1]}, "filter-crs": "EPSG:32633"}, "CRS84"),
        ({"sortby": [{"field": 'a"b', "direction": "asc"}]}, "sortby"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_with_the_reason(
    scenes: Any, body: dict[str, Any], word: str
) -> None:
    answer = scenes.http.post(f"{scenes.root}/search", json=body)
    assert answer.status_code == 400, answer.text
    problem = answer.json()
    assert problem["code"] == "invalid_input"
    assert word in problem["message"]
    assert problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"bbox": "1,2,3"},
        {"bbox": "a,b,c,d"},
        {"intersects": "{"},
        {"intersects": '{"type":"Nothing"}'},
        {"filter": "eo:cloud_cover <"},
        {"filter": "platform"},
        {"filter": "[1,2]", "filter-lang": "cql2-json"},
        {"datetime": ""},
        {"datetime": "../.."},
        {"limit": "many"},
        {"token": "bm90IGpzb24"},
    ],
)
def test_a_wrong_get_parameter_is_400_not_500(scenes: Any, parameters: dict[str, str]) -> None:
    answer = scenes.get("/search", **parameters)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "invalid_input"


@pytest.mark.parametrize(
    "text",
    [
        "(" * 2000 + "id='a'" + ")" * 2000,
        "NOT " * 2000 + "(id='a')",
        "-" * 8000 + "1=1",
        "+".join(["1"] * 4000) + "=1",
        "+".join(["1"] * 900) + "=1",
        "=".join(["1"] * 4000),
        "id='a'" + " OR id='a'" * 1500,
    ],
    ids=["parentheses", "not", "minus", "plus", "fewer plus", "equals", "long"],
)
def test_a_monstrous_filter_is_refused_and_the_service_lives(scenes: Any, text: str) -> None:
    assert scenes.get("/search", filter=text).status_code == 400
    nested: dict[str, Any] = {"op": "=", "args": [{"property": "id"}, "a"]}
    for _ in range(300):
        nested = {"op": "not", "args": [nested]}
    answer = scenes.http.post(f"{scenes.root}/search", json={"filter": nested})
    assert answer.status_code == 400
    assert scenes.get("/healthz").status_code == 200


@pytest.fixture(scope="module")
def many(shared: Any, builders: Any) -> Any:
    """260 items, of which many share a time."""
    items = [
        builders.item(
            f"scene-{number:03d}",
            (number % 90, 0, number % 90 + 1, 1),
            f"2024-01-{number % 13 + 1:02d}T10:00:00Z",
            **{"eo:cloud_cover": (number * 37) % 101, "level": number % 3},
        )
        for number in range(260)
    ]
    shared.add("many", *items)
    return shared


def pages(service: Any, first: httpx.Response) -> list[dict[str, Any]]:
    """All features, following the next links as they are given."""
    features: list[dict[str, Any]] = []
    answer = first
    for _ in range(60):
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page["numberMatched"] == 260
        assert page["numberReturned"] == len(page["features"])
        features += page["features"]
        following = [entry for entry in page["links"] if entry["rel"] == "next"]
        if not following:
            return features
        [step] = following
        if step["method"] == "POST":
            answer = service.http.post(step["href"], json=step["body"])
        else:
            answer = service.http.get(step["href"])
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("limit", [7, 100, 130, 260])
@pytest.mark.parametrize("method", ["GET", "POST", "items"])
def test_paging_neither_repeats_nor_loses(many: Any, limit: int, method: str) -> None:
    if method == "POST":
        body = {"collections": ["many"], "limit": limit}
        first = many.http.post(f"{many.root}/search", json=body)
    elif method == "GET":
        first = many.get("/search", collections="many", limit=limit)
    else:
        first = many.get("/collections/many/items", limit=limit)
    features = pages(many, first)
    keys = [(f["properties"]["datetime"], f["id"]) for f in features]
    assert len(set(keys)) == len(keys) == 260
    by_id = sorted(keys, key=lambda key: key[1])
    assert keys == sorted(by_id, key=lambda key: key[0], reverse=True)


@pytest.mark.parametrize("sortby", ["+eo:cloud_cover", "-level,+id", "-level,-eo:cloud_cover"])
def test_paging_keeps_any_order(many: Any, sortby: str) -> None:
    features = pages(many, many.get("/search", collections="many", limit=31, sortby=sortby))
    assert len({f["id"] for f in features}) == 260
    for text in reversed(sortby.split(",")):
        name = text[1:]
        values = [f["id"] if name == "id" else f["properties"][name] for f in features]
        if text == sortby.split(",")[0]:
            assert values == sorted(values, reverse=text[0] == "-")


def test_items_added_while_paging_do_not_disturb_the_pages(shared: Any, builders: Any) -> None:
    shared.add("growing", *[builders.item(f"old-{n:02d}") for n in range(20)])
    first = shared.search(collections=["growing"], limit=10)
    for number in range(5):
        shared.write("POST", "/collections/growing/items", builders.item(f"a-new-{number}"))
    second = shared.http.post(
        builders.link(first, "next")["href"], json=builders.link(first, "next")["body"]
    ).json()
    assert builders.ids(first) + builders.ids(second) == [f"old-{n:02d}" for n in range(20)]


def test_the_number_matched_is_counted_anew(shared: Any, builders: Any) -> None:
    shared.add("counted", builders.item("one"), builders.item("two"))
    assert shared.search(collections=["counted"], limit=1)["numberMatched"] == 2
    shared.write("DELETE", "/collections/counted/items/one")
    assert shared.search(collections=["counted"], limit=1)["numberMatched"] == 1


@pytest.mark.filterwarnings("error::pystac_client.warnings.PystacClientWarning")
def test_pystac_client_works_unchanged(many: Any) -> None:
    client = Client.open(many.root)
    assert "many" in {collection.id for collection in client.get_collections()}
    search = client.search(
        collections=["many"],
        bbox=[0, 0, 20, 1],
        datetime="2024-01-01/2024-01-05",
        filter="eo:cloud_cover < 50",
        sortby="-properties.datetime",
        limit=5,
    )
    items = list(search.items())
    assert items
    assert search.matched() == len(items) == len({item.id for item in items})
    assert all(item.properties["eo:cloud_cover"] < 50 for item in items)
    assert all(item.datetime.day <= 5 for item in items if item.datetime)
    collection = client.get_collection("many")
    assert collection.get_item("scene-007").id == "scene-007"
    assert len(list(collection.get_items())) == 260
    assert client.get_queryables()["properties"]


def test_landing_page_and_its_links_lead_somewhere(many: Any) -> None:
    page = many.get("/").json()
    assert page["type"] == "Catalog"
    for entry in page["links"]:
        assert entry["href"].startswith(many.root)
        if entry.get("method", "GET") == "GET":
            answer = many.http.get(entry["href"])
            assert answer.status_code == 200, entry
    classes = " ".join(many.get("/conformance").json()["conformsTo"])
    for name in ("item-search", "item-search#sort", "item-search#fields", "item-search#filter"):
        assert name in classes
    assert "extensions/transaction" in classes
    assert many.get("/collections/no-such/queryables").status_code == 404
    assert many.get("/no/such/page").json()["code"] == "not_found"
