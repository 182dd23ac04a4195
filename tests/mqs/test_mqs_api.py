"""The service as a STAC API: its pages, collections, providers, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from cscale_mqs.limits import Gate
from cscale_mqs.links import Links
from cscale_mqs.problems import Problem

NAMES = ["alpha|landsat", "alpha|s2", "still|quiet", "plain|urn:eop:plain"]


def test_the_landing_page_names_every_part(mqs: Any, made: SimpleNamespace) -> None:
    page = mqs.get("/").json()
    assert (page["type"], page["stac_version"]) == ("Catalog", "1.1.0")
    for rel in ("self", "root", "data", "conformance", "service-desc", "data-providers"):
        href = made.link(page, rel)["href"]
        assert href.startswith(f"{mqs.root}/")
        assert mqs.http.get(href).status_code == 200
    assert sorted(link["method"] for link in made.links(page, "search")) == ["GET", "POST"]
    conforms = set(page["conformsTo"])
    for part in ("core", "collections", "ogcapi-features", "item-search"):
        assert f"https://api.stacspec.org/v1.0.0/{part}" in conforms
    for part in ("sort", "fields", "query"):
        assert f"https://api.stacspec.org/v1.0.0/item-search#{part}" in conforms
    assert "https://api.stacspec.org/v1.0.0-rc.2/item-search#filter" in conforms
    assert conforms == set(mqs.get("/conformance").json()["conformsTo"])


def test_the_root_is_found_with_and_without_a_slash(mqs: Any) -> None:
    assert mqs.get("").json() == mqs.get("/").json()
    assert mqs.get("/collections/").status_code == 200


def test_collections_of_all_archives_are_listed_under_names_of_the_federation(
    mqs: Any, made: SimpleNamespace
) -> None:
    page = mqs.get("/collections").json()
    assert sorted(each["id"] for each in page["collections"]) == sorted(NAMES)
    assert page["numberMatched"] == page["numberReturned"] == 4
    assert made.link(page, "self")["href"] == f"{mqs.root}/collections"
    assert page["mqs:complete"] is True
    reports = {each["id"]: each for each in page["mqs:providers"]}
    assert list(reports) == ["alpha", "still", "plain", "bearer", "members"]
    assert reports["bearer"]["status"] == reports["members"]["status"] == "skipped"
    for each in page["collections"]:
        own = f"{mqs.root}/collections/{each['id'].replace('|', '%7C')}"
        assert made.link(each, "self")["href"] == own
        assert made.link(each, "items")["href"] == f"{own}/items"
        assert made.link(each, "parent")["href"] == f"{mqs.root}/"


@pytest.mark.parametrize("name", NAMES)
def test_a_collection_is_found_by_its_name_encoded_or_not(mqs: Any, name: str) -> None:
    encoded = mqs.http.get(f"{mqs.root}/collections/{name.replace('|', '%7C')}")
    assert encoded.status_code == 200
    assert encoded.json()["id"] == name
    assert mqs.http.get(f"{mqs.root}/collections/{name}").json() == encoded.json()
    # As a browser sends it that does not encode the bar.
    raw = httpx.Request("GET", mqs.root)
    raw.url = raw.url.copy_with(raw_path=f"{made_prefix(mqs)}/collections/{name}".encode())
    assert mqs.http.send(raw).json() == encoded.json()


def made_prefix(mqs: Any) -> str:
    return str(httpx.URL(mqs.root).path)


def test_collection_search(mqs: Any, made: SimpleNamespace) -> None:
    def names(**asked: Any) -> list[str]:
        answer = mqs.get("/collections", **asked)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["collections"]]

    assert names(q="landsat") == ["alpha|landsat"]
    assert names(q="LANDSAT,quiet") == ["alpha|landsat", "still|quiet"]
    assert names(q="nothing of the kind") == []
    assert len(names(bbox="170,0,-170,10")) == 4
    assert len(names(datetime="2024-01-01T00:00:00Z/..")) == 4
    assert names(datetime="../2001-01-01T00:00:00Z") == []
    pages = []
    href = f"{mqs.root}/collections?limit=3&q=test"
    while href:
        page = mqs.http.get(href).json()
        pages.append([each["id"] for each in page["collections"]])
        href = next((link["href"] for link in made.links(page, "next")), "")
    assert [len(page) for page in pages] == [3, 1]
    assert sorted(name for page in pages for name in page) == sorted(NAMES)
    last = mqs.get("/collections", limit=3, offset=3).json()
    assert "offset=0" in made.link(last, "prev")["href"]
    for wrong in ({"bbox": "0,5,1,1"}, {"datetime": "x"}, {"limit": 0}, {"offset": -1}, {"a": 1}):
        assert mqs.get("/collections", **wrong).status_code == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/collections/alpha%7Cnothing", 404),
        ("/collections/nobody%7Cs2", 404),
        ("/collections/s2", 404),
        ("/collections/bearer%7Cs2", 403),
        ("/collections/members%7Cs2/items", 403),
        ("/collections/alpha%7Cnothing/items", 404),
        ("/collections/alpha%7Cnothing/queryables", 404),
        ("/collections/alpha%7Cs2/items/nothing", 404),
        ("/collections/still%7Cquiet/items/nothing", 404),
        ("/collections/plain%7Curn:eop:plain/items/nothing", 404),
        ("/collections/nobody%7Cs2/items/a01", 404),
        ("/nothing", 404),
    ],
)
def test_what_is_not_there_is_said_in_the_shape_of_the_specification(
    mqs: Any, path: str, status: int
) -> None:
    answer = mqs.http.get(f"{mqs.root}{path}")
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert problem["code"] in ("not_found", "forbidden")
    assert problem["description"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_nothing_can_be_changed(mqs: Any, method: str) -> None:
    for path in ("/collections", "/collections/alpha%7Cs2/items", "/data-providers"):
        answer = mqs.http.request(method, f"{mqs.root}{path}", json={})
        assert answer.status_code == 405
        assert answer.json()["code"] == "method_not_allowed"


def test_providers_are_listed_as_the_service_before_did(
    mqs: Any, archives: SimpleNamespace
) -> None:
    listed = {each["identifier"]: each for each in mqs.get("/data-providers").json()}
    assert list(listed) == ["alpha", "still", "plain", "bearer", "members"]
    for each in listed.values():
        assert {"identifier", "name", "stac_url", "limit", "online", "last_checked"} <= set(each)
    alpha = listed["alpha"]
    assert (alpha["name"], alpha["stac_url"]) == ("Archive alpha", archives.alpha)
    assert alpha["online"] is True
    assert alpha["last_checked"].startswith("20")
    assert listed["members"]["online"] is None
    assert "virtual organisation" in listed["members"]["skipped"]
    assert alpha["skipped"] == ""


def test_queryables_are_a_schema_of_the_collection_or_of_all(mqs: Any) -> None:
    answer = mqs.get("/queryables")
    assert answer.headers["content-type"] == "application/schema+json"
    everything = answer.json()
    assert everything["$id"] == f"{mqs.root}/queryables"
    assert everything["type"] == "object"
    assert "alpha" in everything["properties"]["eo:cloud_cover"]["cscale:providers"]
    one = mqs.get("/collections/alpha%7Cs2/queryables").json()
    assert one["$id"] == f"{mqs.root}/collections/alpha%7Cs2/queryables"
    assert "eo:cloud_cover" in one["properties"]
    assert mqs.get("/collections/plain%7Curn:eop:plain/queryables").json()["properties"] == {}


def test_a_browser_may_ask_from_any_page_and_read_errors(mqs: Any) -> None:
    origin = {"Origin": "https://browser.example.org"}
    asked = {
        **origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,accept-language",
    }
    for path in ("/search", "/collections", "/collections/alpha%7Cs2/items"):
        answer = mqs.http.options(f"{mqs.root}{path}", headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "content-type" in answer.headers["access-control-allow-headers"].lower()
    for answer in (
        mqs.http.get(f"{mqs.root}/", headers=origin),
        mqs.http.get(f"{mqs.root}/search?limit=0", headers=origin),
        mqs.http.post(f"{mqs.root}/search", content=b"x" * 2**21, headers=origin),
    ):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


def test_a_body_has_a_bound_announced_or_not(mqs: Any) -> None:
    large = json.dumps({"ids": ["x" * 2**21]}).encode()
    headers = {"Content-Type": "application/json"}
    announced = mqs.http.post(f"{mqs.root}/search", content=large, headers=headers)
    streamed = mqs.http.post(
        f"{mqs.root}/search",
        content=(large[at : at + 65536] for at in range(0, len(large), 65536)),
        headers=headers,
    )
    for answer in (announced, streamed):
        assert answer.status_code == 413
        assert answer.json()["code"] == "too_large"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"[" * 100_000, b"\xff"])
def test_bodies_that_are_no_search_are_refused(mqs: Any, body: bytes) -> None:
    answer = mqs.http.post(
        f"{mqs.root}/search", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_input"


def test_the_caller_names_no_address_that_is_asked(
    launch: Callable[..., Any], archives: SimpleNamespace
) -> None:
    """Whatever stands in a question, only the archives are asked (no SSRF)."""
    before = len(archives.double.asked)
    trap = archives.plain
    service = launch([{"id": "alpha", "title": "Alpha", "url": archives.alpha}])
    service.post(collections=[f"{trap}|x", f"alpha|{trap}/search"])
    service.get(f"/collections/{trap.replace('/', '%2F')}%7Cx")
    service.get("/collections/alpha%7C..%2F..%2Fsearch/items/..%2F..%2Fhealthz")
    assert len(archives.double.asked) == before


def test_links_carry_the_public_address(launch: Callable[..., Any], made: SimpleNamespace) -> None:
    public = f"https://hub.example.org{made.prefix}"
    service = launch(public_url=public)
    for path in ("/", "/collections", "/collections/alpha%7Cs2", "/search?limit=1"):
        answer = service.http.get(
            f"{service.root}{path}", headers={"X-Forwarded-Host": "evil.example"}
        )
        for link in answer.json()["links"]:
            if link["rel"] not in ("via", "canonical"):
                assert link["href"].startswith(public), (path, link)
        assert "evil" not in answer.text


def test_an_archive_that_is_this_service_is_not_asked(
    launch: Callable[..., Any], made: SimpleNamespace
) -> None:
    port = made.free_port()
    own = f"http://127.0.0.1:{port}{made.prefix}"
    service = launch([made.provider("me", own)], public_url=own)
    page = service.search()
    assert page["mqs:providers"][0]["status"] == "skipped"
    assert "itself" in page["mqs:providers"][0]["note"]


def test_a_slow_archive_does_not_make_many_wait_for_ever(
    launch: Callable[..., Any], archives: SimpleNamespace, made: SimpleNamespace
) -> None:
    archives.double.delay = 3.0
    service = launch(
        [made.provider("plain", archives.plain)], max_running=1, max_waiting=1, patience=1.0
    )
    statuses: list[int] = []

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=30) as http:
            answer = http.post(f"{service.root}/search", json={"limit": 1})
            statuses.append(answer.status_code)
            if answer.status_code == 503:
                assert answer.headers["retry-after"] == "5"
                assert answer.json()["retryable"] is True

    asking = [threading.Thread(target=ask) for _ in range(4)]
    try:
        for each in asking:
            each.start()
        for each in asking:
            each.join(30)
    finally:
        archives.double.delay = 0.0
    assert statuses.count(503) == 3
    assert statuses.count(200) == 1


async def test_the_gate_gives_its_turns_back() -> None:
    gate = Gate(running=1, waiting=0, patience=0.05)

    async def fail() -> None:
        async with gate.turn():
            with pytest.raises(Problem):
                await gate.turn().__aenter__()
            raise ValueError("inside")

    for _ in range(3):
        with pytest.raises(ValueError, match="inside"):
            await fail()
    waiting = Gate(running=1, waiting=1, patience=10)

    async def hold() -> None:
        async with waiting.turn():
            await asyncio.sleep(0.05)

    await asyncio.gather(hold(), hold())


def test_the_key_of_the_cursors_is_private(launch: Callable[..., Any], tmp_path: Path) -> None:
    launch()
    [key] = tmp_path.glob("own/data/cursor-key")
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_bytes()) == 32


def test_the_service_ends_when_it_is_told_to(launch: Callable[..., Any]) -> None:
    service = launch()
    assert service.stop() == 0
    assert "Traceback" not in service.log.read_text()


def links_at(root: str) -> Links:
    links = Links.__new__(Links)
    links.root = root
    return links


@pytest.mark.parametrize(
    "document",
    [
        {"id": "x", "links": None},
        {"id": "x", "links": "none"},
        {"id": "x", "links": [None, 1, {"rel": 1}, {"href": "a"}, {"rel": "a", "href": 3}]},
        {"id": "x", "links": [{"rel": "self", "href": "http://[broken"}]},
        {"id": "x", "links": [{"rel": "license", "href": "./terms"}]},
        {"id": "x", "links": [{"rel": "license", "href": "javascript:alert(1)"}]},
    ],
)
def test_links_that_are_none_are_left_out(document: dict[str, Any]) -> None:
    shown = links_at("https://mqs.example.eu").collection("p|x", document)
    assert [link["rel"] for link in shown["links"]][:4] == ["self", "root", "parent", "items"]
    assert len(shown["links"]) == 5


def test_a_collection_that_lacks_members_says_what_was_made_up() -> None:
    shown = links_at("https://mqs.example.eu").collection("p|x", {"id": "x", "title": "X"})
    assert shown["cscale:repaired"] == ["description", "extent", "license", "stac_version", "type"]
    assert shown["description"] == "X"
    whole = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": "x",
        "description": "X",
        "license": "other",
        "extent": {"spatial": {}, "temporal": {}},
    }
    again = links_at("https://mqs.example.eu").collection("p|x", whole)
    assert "cscale:repaired" not in again


def test_ids_with_slashes_and_bars_are_one_part_of_the_path() -> None:
    links = links_at("https://mqs.example.eu")
    found = {"id": "a/b|c?", "collection": "x|y/z", "cscale:provider": "p", "links": []}
    shown = links.item(found)
    assert shown["collection"] == "p|x|y/z"
    own = "https://mqs.example.eu/collections/p%7Cx%7Cy%2Fz/items/a%2Fb%7Cc%3F"
    assert shown["links"][0]["href"] == own
