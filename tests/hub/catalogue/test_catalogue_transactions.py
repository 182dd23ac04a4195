"""What writing does: statuses, what is kept, what is refused, on both stores."""

from __future__ import annotations

import copy
from http.client import HTTPConnection
from typing import Any

import pytest


@pytest.fixture
def place(shared: Any, builders: Any, request: pytest.FixtureRequest) -> str:
    """An empty collection of the test's own."""
    name = request.node.originalname.replace("test_", "")[:60] + f"-{abs(hash(request.node.name))}"
    shared.add(name)
    return name


def test_an_item_is_read_back_as_it_was_sent(shared: Any, builders: Any, place: str) -> None:
    sent = builders.item(
        "S2A_T33TVM",
        **{
            "proj:shape": [10980, 10980],
            "processing:software": {"cscale-hub": "0.1"},
            "title": "Zürich – 水",
            "nothing": None,
            "nested": {"empty": {}, "list": [], "none": None, "only": {"x": None}, "n": 2**53 + 1},
            "several": [{"a": None}, None, {"b": 1}],
            "gsd": 10.0,
        },
    )
    sent["links"] = [{"rel": "derived_from", "href": "https://example.org/items/1"}]
    sent["assets"]["B03"]["alternate"] = {"s3": {"href": "s3://a/b.tif"}}
    answer = shared.write("POST", f"/collections/{place}/items", sent)
    assert answer.status_code == 201
    address = f"{shared.root}/collections/{place}/items/S2A_T33TVM"
    assert answer.headers["location"] == address
    for read in (
        answer.json(),
        shared.http.get(address).json(),
        shared.search(collections=[place])["features"][0],
    ):
        assert builders.link(read, "self")["href"] == address
        assert builders.link(read, "derived_from") == sent["links"][0]
        kept = {name: value for name, value in read.items() if name != "links"}
        wanted = {name: value for name, value in sent.items() if name != "links"}
        assert kept == {**wanted, "collection": place}


def test_an_item_keeps_what_differs_from_its_collection(shared: Any, builders: Any) -> None:
    common = {"B03": {"type": "image/tiff", "title": "Green"}, "B11": {"title": "SWIR"}}
    body = builders.collection("with-item-assets", item_assets=common)
    assert shared.write("POST", "/collections", body).status_code == 201
    sent = builders.item("a")
    path = "/collections/with-item-assets/items"
    assert shared.write("POST", path, sent).status_code == 201
    for read in (
        shared.get(f"{path}/a").json(),
        shared.search(collections=["with-item-assets"])["features"][0],
    ):
        assert read["assets"] == sent["assets"]


def test_a_composite_keeps_its_null_datetime(shared: Any, builders: Any, place: str) -> None:
    sent = builders.item("composite", when=("2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"))
    path = f"/collections/{place}/items"
    assert shared.write("POST", path, sent).status_code == 201
    assert shared.write("PATCH", f"{path}/composite", {"properties": {"title": "a"}}).is_success
    for read in (
        shared.get(f"{path}/composite").json(),
        shared.search(collections=[place])["features"][0],
    ):
        assert read["properties"] == {**sent["properties"], "title": "a"}


def test_the_same_id_twice_is_a_conflict_and_changes_nothing(
    shared: Any, builders: Any, place: str
) -> None:
    path = f"/collections/{place}/items"
    assert shared.write("POST", path, builders.item("a", title="first")).status_code == 201
    answer = shared.write("POST", path, builders.item("a", title="second"))
    assert answer.status_code == 409
    assert answer.json()["code"] == "conflict"
    assert shared.get(f"{path}/a").json()["properties"]["title"] == "first"


def test_several_items_at_once_are_stored_all_or_none(
    shared: Any, builders: Any, place: str
) -> None:
    path = f"/collections/{place}/items"
    batch = {"type": "FeatureCollection", "features": [builders.item(f"i{n}") for n in range(5)]}
    assert shared.write("POST", path, batch).status_code == 201
    batch["features"] = [builders.item("new"), builders.item("i3")]
    assert shared.write("POST", path, batch).status_code == 409
    batch["features"] = [builders.item("x"), builders.item("x")]
    assert shared.write("POST", path, batch).status_code == 400
    assert shared.search(collections=[place])["numberMatched"] == 5


def test_replacing_an_item_moves_it(shared: Any, builders: Any, place: str) -> None:
    path = f"/collections/{place}/items"
    shared.write("POST", path, builders.item("a", (0, 0, 1, 1), title="old"))
    moved = builders.item("a", (50, 50, 51, 51), "2020-01-01T00:00:00Z", title="new")
    answer = shared.write("PUT", f"{path}/a", moved)
    assert answer.status_code == 200
    assert answer.json()["properties"]["title"] == "new"
    assert builders.ids(shared.search(collections=[place], bbox=[0, 0, 1, 1])) == []
    assert builders.ids(shared.search(collections=[place], bbox=[50, 50, 51, 51])) == ["a"]
    assert builders.ids(shared.search(collections=[place], datetime="2020-01-01T00:00:00Z")) == [
        "a"
    ]


def test_patching_an_item_by_merge_and_by_operations(
    shared: Any, builders: Any, place: str
) -> None:
    path = f"/collections/{place}/items"
    shared.write("POST", path, builders.item("a", title="old", level=1))
    merged = shared.write("PATCH", f"{path}/a", {"properties": {"title": "new", "level": None}})
    assert merged.status_code == 200, merged.text
    assert merged.json()["properties"] == {"datetime": "2024-05-01T10:00:00Z", "title": "new"}
    operations = [
        {"op": "test", "path": "/properties/title", "value": "new"},
        {"op": "add", "path": "/properties/level", "value": 2},
    ]
    assert shared.write("PATCH", f"{path}/a", operations).json()["properties"]["level"] == 2
    operations[0]["value"] = "other"
    assert shared.write("PATCH", f"{path}/a", operations).status_code == 409
    gone = [{"op": "remove", "path": "/properties/nothing"}]
    assert shared.write("PATCH", f"{path}/a", gone).status_code == 400
    broken = shared.write("PATCH", f"{path}/a", {"properties": {"datetime": "soon"}})
    assert broken.status_code == 400
    renamed = shared.write("PATCH", f"{path}/a", {"id": "b"})
    assert renamed.status_code == 400
    assert shared.get(f"{path}/a").json()["properties"]["level"] == 2


def test_what_is_not_there_is_404(shared: Any, builders: Any, place: str) -> None:
    thing, path = builders.item("nothing"), f"/collections/{place}/items/nothing"
    missing = f"{place}-missing"
    assert shared.get(path).status_code == 404
    for method, body in (("PUT", thing), ("PATCH", {"properties": {"a": 1}}), ("DELETE", None)):
        assert shared.write(method, path, body).status_code == 404, method
    for method, body in (
        ("PUT", builders.collection(missing)),
        ("PATCH", {"title": "x"}),
        ("DELETE", None),
    ):
        assert shared.write(method, f"/collections/{missing}", body).status_code == 404, method
    answer = shared.write("POST", f"/collections/{missing}/items", thing)
    assert answer.status_code == 404
    assert missing in answer.json()["message"]
    assert shared.get(f"/collections/{missing}").status_code == 404
    assert shared.get(f"/collections/{missing}/items").status_code == 404


def spoilt(item: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the item with one member replaced, or removed by ``...``."""
    made = copy.deepcopy(item)
    *parents, last = path.split(".")
    target = made
    for name in parents:
        target = target[name]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return made


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("properties.datetime", ..., "datetime"),
        ("properties.datetime", "yesterday", "datetime"),
        ("properties.datetime", "2024-05-01T10:00:00", "datetime"),
        ("properties.datetime", None, "datetime"),
        ("properties.datetime", 1714557600, "RFC 3339"),
        ("geometry", None, "geometry"),
        ("geometry", {"type": "Point", "coordinates": ["x", 1]}, "geometry"),
        ("geometry", {"type": "Point", "coordinates": [500000.0, 5100000.0]}, "degrees"),
        ("bbox", ..., "bbox"),
        ("assets", ..., "assets"),
        ("links", ..., "links"),
        ("id", "", "id"),
        ("id", "a/b", "id"),
        ("id", "a b", "id"),
        ("id", "..", "id"),
        ("collection", "another", "another"),
        ("type", "Thing", "type"),
        ("properties", {"datetime": "2024-05-01T10:00:00Z", "gsd": -1}, "gsd"),
    ],
)
def test_an_invalid_item_is_refused_with_the_reason(
    shared: Any, builders: Any, path: str, value: Any, word: str
) -> None:
    if shared.get("/collections/strict").status_code == 404:
        shared.add("strict")
    answer = shared.write(
        "POST", "/collections/strict/items", spoilt(builders.item("a"), path, value)
    )
    assert answer.status_code == 400, answer.text
    problem = answer.json()
    assert word in problem["message"]
    assert len(problem["message"]) < 600
    assert shared.search(collections=["strict"])["numberMatched"] == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"type": "Feature"}']
)
def test_a_body_that_is_no_item_is_400(shared: Any, body: bytes) -> None:
    if shared.get("/collections/strict").status_code == 404:
        shared.add("strict")
    for path in ("/collections", "/collections/strict/items"):
        answer = shared.http.post(
            f"{shared.root}{path}",
            content=body,
            headers={**shared.headers(), "Content-Type": "application/json"},
        )
        assert answer.status_code == 400, answer.text
        assert answer.json()["code"] == "invalid_input"


def test_nan_is_refused(shared: Any, builders: Any, place: str) -> None:
    import json

    text = json.dumps(builders.item("a", value=float("nan")))
    assert "NaN" in text
    answer = shared.http.post(
        f"{shared.root}/collections/{place}/items",
        content=text.encode(),
        headers={**shared.headers(), "Content-Type": "application/json"},
    )
    assert answer.status_code == 400


def test_a_body_too_large_is_413_before_it_is_sent(shared: Any, builders: Any) -> None:
    connection = HTTPConnection("127.0.0.1", shared.port, timeout=10)
    connection.putrequest("POST", f"{builders.prefix}/search")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_collections_come_and_go_with_their_items(shared: Any, builders: Any) -> None:
    body = builders.collection("visitors", title="Visitors", keywords=["a"])
    created = shared.write("POST", "/collections", body)
    assert created.status_code == 201
    assert created.headers["location"] == f"{shared.root}/collections/visitors"
    assert shared.write("POST", "/collections", body).status_code == 409
    for number in range(3):
        shared.write("POST", "/collections/visitors/items", builders.item(f"v{number}"))

    changed = {**body, "title": "Guests"}
    assert shared.write("PUT", "/collections/visitors", changed).status_code == 200
    wrong = {**body, "id": "hosts"}
    assert shared.write("PUT", "/collections/visitors", wrong).status_code == 400
    patched = shared.write("PATCH", "/collections/visitors", {"description": "All of them"})
    assert patched.json()["description"] == "All of them"
    stored = shared.get("/collections/visitors").json()
    assert (stored["title"], stored["description"]) == ("Guests", "All of them")
    assert {name: v for name, v in stored.items() if name != "links"} == {
        **{name: v for name, v in changed.items() if name != "links"},
        "description": "All of them",
    }
    assert shared.search(collections=["visitors"])["numberMatched"] == 3

    assert shared.write("DELETE", "/collections/visitors").status_code == 200
    assert shared.get("/collections/visitors").status_code == 404
    assert shared.search(collections=["visitors"])["numberMatched"] == 0
    assert shared.search(ids=["v1"])["numberMatched"] == 0
    shared.add("visitors")
    assert shared.search(collections=["visitors"])["numberMatched"] == 0
    assert shared.search(bbox=[14, 46, 15, 47], collections=["visitors"])["features"] == []


@pytest.mark.parametrize("member", ["license", "extent", "description", "links", "id", "type"])
def test_an_invalid_collection_is_refused(shared: Any, builders: Any, member: str) -> None:
    body = builders.collection("incomplete")
    del body[member]
    answer = shared.write("POST", "/collections", body)
    assert answer.status_code == 400
    assert member in answer.json()["message"]


def test_unusual_ids_survive_the_way_through_addresses(shared: Any, builders: Any) -> None:
    name = "urn:eop:VITO:TEST|ä"
    shared.add(name, builders.item("S1:A(1)'ü"))
    [stored] = shared.search(collections=[name])["features"]
    assert stored["id"] == "S1:A(1)'ü"
    read = shared.http.get(builders.link(stored, "self")["href"])
    assert read.status_code == 200
    assert read.json()["id"] == "S1:A(1)'ü"
    assert shared.http.get(builders.link(stored, "collection")["href"]).json()["id"] == name
    answer = shared.http.delete(builders.link(stored, "self")["href"], headers=shared.headers())
    assert answer.status_code == 200


def test_concurrent_writers_lose_nothing(shared: Any, builders: Any, place: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = f"/collections/{place}/items"

    def register(number: int) -> int:
        return int(shared.write("POST", path, builders.item(f"w{number % 30}")).status_code)

    def register_at_another_time(number: int) -> int:
        item = builders.item(f"t{number}", when=f"20{number:02d}-06-01T10:30:00Z")
        return int(shared.write("POST", path, item).status_code)

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(register, range(60)))
        assert set(pool.map(register_at_another_time, range(24))) == {201}
    assert sorted(statuses) == [201] * 30 + [409] * 30
    assert shared.search(collections=[place], limit=100)["numberMatched"] == 54
    shared.write("PATCH", f"{path}/w1", {"properties": {"count": 0}})

    def count(number: int) -> int:
        body = {"properties": {f"seen-{number}": True}}
        return int(shared.write("PATCH", f"{path}/w1", body).status_code)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(count, range(20))) == {200}
    properties = shared.get(f"{path}/w1").json()["properties"]
    assert sum(name.startswith("seen-") for name in properties) == 20
