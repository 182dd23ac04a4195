"""Searching through the service: what is found, in which order, page by page, and who told."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

ARCHIVES = {"alpha", "still", "plain"}


def every_page(mqs: Any, made: SimpleNamespace, method: str, **asked: Any) -> list[dict[str, Any]]:
    """All pages of a search, by its next links as a client follows them."""
    answer = mqs.post(**asked) if method == "POST" else mqs.get("/search", **asked)
    pages = []
    while True:
        assert answer.status_code == 200, answer.text
        page = answer.json()
        pages.append(page)
        following = made.links(page, "next")
        if not following:
            return pages
        assert len(pages) < 100
        [link] = following
        assert link["method"] == method
        if method == "POST":
            answer = mqs.http.post(link["href"], json=link["body"])
        else:
            answer = mqs.http.get(link["href"])


def named(pages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["collection"], each["id"]) for page in pages for each in page["features"]]


def times(pages: list[dict[str, Any]]) -> list[str]:
    return [each["properties"]["datetime"] for page in pages for each in page["features"]]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_of_all_archives_are_one_list_newest_first(
    mqs: Any, made: SimpleNamespace, method: str
) -> None:
    pages = every_page(mqs, made, method, limit=7)
    found = named(pages)
    assert len(found) == len(set(found)) == 23 + 9 + 28
    assert times(pages) == sorted(times(pages), reverse=True)
    assert {len(page["features"]) for page in pages[:-1]} == {7}
    assert {name.split("|")[0] for name, _ in found} == ARCHIVES


def test_every_page_says_what_each_provider_did(mqs: Any) -> None:
    page = mqs.search(limit=3)
    reports = {each["id"]: each for each in page["mqs:providers"]}
    assert list(reports) == ["alpha", "still", "plain", "bearer", "members"]
    assert [each["status"] for each in reports.values()] == ["ok", "ok", "ok", "skipped", "skipped"]
    assert "login" in reports["bearer"]["note"]
    assert "virtual organisation" in reports["members"]["note"]
    assert page["mqs:complete"] is True
    assert page["numberReturned"] == 3


def test_an_item_leads_back_to_this_service_and_on_to_its_archive(
    mqs: Any, made: SimpleNamespace, archives: SimpleNamespace
) -> None:
    [found] = mqs.search(collections=["plain|urn:eop:plain"], ids=["p07"])["features"]
    assert found["collection"] == "plain|urn:eop:plain"
    place = f"{mqs.root}/collections/plain%7Curn:eop:plain"
    assert made.link(found, "self")["href"] == f"{place}/items/p07"
    assert made.link(found, "root")["href"] == f"{mqs.root}/"
    for rel in ("parent", "collection"):
        assert made.link(found, rel)["href"] == place
    theirs = f"{archives.plain}/collections/urn:eop:plain/items/p07"
    for rel in ("via", "canonical"):
        assert made.link(found, rel)["href"] == theirs
    # Their relative links have their own address as base, not ours.
    assert made.link(found, "license")["href"].startswith(f"{archives.plain}/collections/")


@pytest.mark.parametrize("archive", ["alpha|s2", "still|quiet", "plain|urn:eop:plain"])
def test_an_item_page_is_the_item_of_the_search(
    mqs: Any, made: SimpleNamespace, archive: str
) -> None:
    found = mqs.search(collections=[archive], limit=1)["features"][0]
    answer = mqs.http.get(made.link(found, "self")["href"])
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/geo+json"
    again = answer.json()
    assert again["id"] == found["id"]
    assert again["collection"] == found["collection"] == archive
    assert again["properties"] == found["properties"]
    assert made.link(again, "self") == made.link(found, "self")


def test_collections_of_one_archive_are_asked_there_only(
    mqs: Any, made: SimpleNamespace, archives: SimpleNamespace
) -> None:
    before = len(archives.double.asked)
    pages = every_page(mqs, made, "POST", collections=["alpha|s2"], limit=50)
    assert len(named(pages)) == 22
    assert {name for name, _ in named(pages)} == {"alpha|s2"}
    assert len(archives.double.asked) == before
    assert pages[0]["numberMatched"] == 22


@pytest.mark.parametrize(
    "collections", [["alpha|s2", "plain|urn:eop:plain"], ["s2", "urn:eop:plain"]]
)
def test_collections_of_several_archives(mqs: Any, made: SimpleNamespace, collections: Any) -> None:
    pages = every_page(mqs, made, "POST", collections=collections, limit=100)
    counted = [name for name, _ in named(pages)]
    assert (counted.count("alpha|s2"), counted.count("plain|urn:eop:plain")) == (22, 28)
    assert len(counted) == 50


@pytest.mark.parametrize("name", ["alpha|nothing", "nobody|s2", "bearer|s2", "nothing"])
def test_nothing_found_is_an_empty_page_and_no_error(mqs: Any, name: str) -> None:
    for answer in (mqs.post(collections=[name]), mqs.get("/search", collections=name)):
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page["features"] == []
        assert page["numberReturned"] == 0
        assert [link for link in page["links"] if link["rel"] == "next"] == []
        assert {each["id"] for each in page["mqs:providers"]} >= {"bearer", "members"}


def test_a_filter_holds_for_archives_that_know_none(mqs: Any, made: SimpleNamespace) -> None:
    condition = {"op": "<=", "args": [{"property": "eo:cloud_cover"}, 20]}
    by_json = named(every_page(mqs, made, "POST", filter=condition, limit=4))
    text = "eo:cloud_cover <= 20"
    by_text = named(every_page(mqs, made, "GET", filter=text, limit=4))
    posted = {"filter": text, "filter-lang": "cql2-text"}
    in_body = named(every_page(mqs, made, "POST", **posted, limit=4))
    in_address = {"filter": json.dumps(condition), "filter-lang": "cql2-json"}
    as_json = named(every_page(mqs, made, "GET", **in_address, limit=4))
    queried = named(every_page(mqs, made, "POST", query={"eo:cloud_cover": {"lte": 20}}, limit=4))
    assert by_json == by_text == in_body == as_json == queried
    assert len(by_json) == (5 + 2 + 1) + 8
    reports = {each["id"]: each for each in mqs.search(filter=condition)["mqs:providers"]}
    assert reports["plain"]["applied_here"] != []
    assert reports["alpha"]["applied_here"] == []


@pytest.mark.parametrize(
    ("sortby", "key", "reverse"),
    [
        ("+datetime", "datetime", False),
        ("-properties.eo:cloud_cover", "eo:cloud_cover", True),
        ("eo:cloud_cover", "eo:cloud_cover", False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_order_asked_for_holds_over_all_pages_and_archives(
    mqs: Any, made: SimpleNamespace, sortby: str, key: str, reverse: bool, method: str
) -> None:
    asked: Any = sortby
    if method == "POST":
        direction = "desc" if sortby[0] == "-" else "asc"
        asked = [{"field": sortby.lstrip("+-"), "direction": direction}]
    pages = every_page(mqs, made, method, sortby=asked, limit=9)
    values = [each["properties"][key] for page in pages for each in page["features"]]
    assert len(values) == 60
    assert values == sorted(values, reverse=reverse)


def test_the_query_extension_says_the_same_as_a_filter(mqs: Any, made: SimpleNamespace) -> None:
    def found(**query: Any) -> int:
        return len(named(every_page(mqs, made, "POST", query=query, limit=100)))

    assert found(platform={"startsWith": "sentinel-2"}) == 60
    assert found(platform={"startsWith": "sentinel_2"}) == 0, "no wildcard"
    assert found(platform={"endsWith": "2a", "contains": "nel"}) == 60
    assert found(platform={"contains": "%"}) == 0
    assert found(platform={"in": ["sentinel-2a"]}, **{"eo:cloud_cover": {"gt": 4, "lt": 8}}) == 2
    everything = mqs.get("/search", query='{"eo:cloud_cover": {"eq": 50}}', limit=100).json()
    assert sorted(made.ids(everything)) == ["p20", *(f"s{n:02d}" for n in range(3, 12))]


def test_fields_leave_members_out_and_keep_what_names_an_item(mqs: Any) -> None:
    for answer in (
        mqs.get("/search", fields="id,properties.eo:cloud_cover", limit=40),
        mqs.post(fields={"include": ["id", "properties.eo:cloud_cover"]}, limit=40),
    ):
        assert len(answer.json()["features"]) == 40
        assert {each["collection"].split("|")[0] for each in answer.json()["features"]} == ARCHIVES
        for found in answer.json()["features"]:
            members = {name for name in found if not name.startswith("cscale:")}
            assert members == {"type", "id", "collection", "properties"}
            assert set(found["properties"]) == {"eo:cloud_cover"}
            assert "|" in found["collection"]
    for found in mqs.search(fields={"exclude": ["geometry", "links"]}, limit=40)["features"]:
        assert not {"geometry", "links"} & set(found)
        assert found["properties"]["platform"] == "sentinel-2a"
    both = {"include": ["geometry", "properties.platform"], "exclude": ["geometry", "properties"]}
    for found in mqs.search(fields=both, limit=40)["features"]:
        assert found["geometry"]["type"] == "Polygon"
        assert set(found["properties"]) == {"platform"}


def test_a_box_over_the_antimeridian_finds_both_sides(mqs: Any, made: SimpleNamespace) -> None:
    assert made.ids(mqs.search(bbox=[178, 0, -178, 40])) == ["a-west", "a-east"]
    assert made.ids(mqs.get("/search", bbox="178,0,-178,40").json()) == ["a-west", "a-east"]


def test_drawn_areas_and_times(mqs: Any, made: SimpleNamespace) -> None:
    ring = [[178, 19], [179, 19], [179, 20], [178, 20], [178, 19]]
    area = {"type": "Polygon", "coordinates": [ring]}
    assert made.ids(mqs.search(intersects=area)) == ["a-east"]
    found = mqs.get("/search", intersects=json.dumps(area)).json()
    assert made.ids(found) == ["a-east"]
    day = "2024-05-04T00:00:00Z/2024-05-04T23:59:59Z"
    assert sorted(made.ids(mqs.search(datetime=day))) == ["a04", "p04", "s04"]
    assert sorted(made.ids(mqs.search(datetime="2024-05-04t10:00:00z"))) == ["a04", "p04", "s04"]


def test_items_of_a_collection(mqs: Any, made: SimpleNamespace) -> None:
    place = f"{mqs.root}/collections/still%7Cquiet"
    answer = mqs.http.get(f"{place}/items", params={"limit": 5})
    assert answer.headers["content-type"] == "application/geo+json"
    page = answer.json()
    assert made.ids(page) == ["s11", "s10", "s09", "s08", "s07"]
    assert made.link(page, "self")["href"] == f"{place}/items"
    assert made.link(page, "collection")["href"] == place
    following = made.link(page, "next")["href"]
    assert following.startswith(f"{place}/items?")
    assert parse_qs(urlsplit(following).query)["limit"] == ["5"]
    assert made.ids(mqs.http.get(following).json()) == ["s06", "s05", "s04", "s03"]
    filtered = mqs.http.get(
        f"{mqs.root}/collections/plain%7Curn:eop:plain/items",
        params={"filter": "eo:cloud_cover > 60", "sortby": "id", "limit": 100},
    )
    assert made.ids(filtered.json()) == ["p25", "p26", "p27", "p28"]


@pytest.mark.parametrize("limit", [0, -1, "many"])
def test_a_size_of_a_page_that_is_none_is_refused(mqs: Any, limit: Any) -> None:
    for answer in (mqs.get("/search", limit=limit), mqs.post(limit=limit)):
        assert answer.status_code == 400
        assert answer.json()["code"] == "invalid_input"
        assert "limit" in answer.json()["description"]


def test_a_large_page_is_cut_to_what_is_offered(launch: Callable[..., Any]) -> None:
    service = launch(max_limit=6)
    page = service.search(limit=10_000)
    assert len(page["features"]) == 6
    assert page["mqs:complete"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [0, 0]}}, "bbox"),
        ({"bbox": [0, 5, 1, 1]}, "bbox"),
        ({"bbox": [0, 0, 1]}, "bbox"),
        ({"datetime": "2024-05-04"}, "datetime"),
        ({"datetime": "2024-06-01T00:00:00Z/2024-05-01T00:00:00Z"}, "datetime"),
        ({"intersects": {"type": "Circle"}}, "intersects"),
        ({"filter": {"op": "nonsense", "args": []}}, ""),
        ({"filter": {"op": "=", "args": [{"property": "collection"}, "alpha|s2"]}}, "collections"),
        ({"filter": "a" * 9000, "filter-lang": "cql2-text"}, ""),
        ({"filter-crs": "EPSG:3857", "filter": {"op": "=", "args": [1, 1]}}, "CRS84"),
        ({"query": {"a": {"startsWith": 1}}}, "startsWith"),
        ({"query": {"a": {"near": 1}}}, "near"),
        ({"sortby": [{"field": "a b", "direction": "asc"}]}, "sortby"),
        ({"token": "made up"}, ""),
        ({"colections": ["s2"]}, "colections"),
    ],
)
def test_questions_that_cannot_be_put_are_explained(mqs: Any, body: Any, words: str) -> None:
    answer = mqs.post(**body)
    assert answer.status_code == 400, answer.text
    problem = answer.json()
    assert problem["code"] == "invalid_input"
    assert problem["description"] == problem["message"] != ""
    assert words in problem["message"] + problem["hint"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "parameters",
    [
        {"filter": "a ="},
        {"datetime": "yesterday"},
        {"bbox": "a,b"},
        {"intersects": "{"},
        {"token": "x"},
        {"filter-lang": "cql"},
        {"q": "x"},
    ],
)
def test_addresses_that_cannot_be_asked_are_explained(mqs: Any, parameters: Any) -> None:
    answer = mqs.get("/search", **parameters)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "invalid_input"


def test_a_cursor_survives_a_restart_and_serves_its_own_question_only(
    launch: Callable[..., Any], made: SimpleNamespace
) -> None:
    service = launch()
    first = service.search(limit=25)
    following = made.link(first, "next")
    service.kill()
    service.start()
    second = service.http.post(following["href"], json=following["body"])
    assert second.status_code == 200, second.text
    found = named([first, second.json()])
    assert len(set(found)) == 50
    other = service.post(**{**following["body"], "bbox": [0, 0, 1, 1]})
    assert other.status_code == 400


def test_a_dead_archive_is_named_and_the_others_answer(
    launch: Callable[..., Any], made: SimpleNamespace, archives: SimpleNamespace
) -> None:
    dead = made.provider("dead", f"http://127.0.0.1:{made.free_port()}")
    service = launch([dead, made.provider("alpha", archives.alpha)])
    page = service.search(limit=100)
    assert len(page["features"]) == 23
    assert page["mqs:complete"] is False
    report = page["mqs:providers"][0]
    assert (report["id"], report["status"]) == ("dead", "error")
    assert "cannot be reached" in report["error"]
