"""The catalogue's routes on a federation in memory: what goes out, when, and how it fails."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from traitlets.config import Config

from cscale_core.catalog.report import Found
from cscale_core.client import Workspace
from cscale_core.errors import InvalidInput, NotFound, UpstreamError
from cscale_server.backend import Backend, Surroundings
from tests.server.catalog_doubles import (
    PNG,
    MemoryFederation,
    catalog,
    item,
    report,
    sentinel_2,
)

SEARCH = "catalog/search"
WHOLE = {"Accept": "application/json"}


class FakeJobs:
    problem = None

    def __init__(self) -> None:
        self.submitted: list[Any] = []

    async def submit(self, spec: Any, idempotency_key: str = "") -> Any:
        self.submitted.append(spec)
        raise NotFound("Nothing runs here.")

    async def list(self, since: int = 0) -> list[Any]:
        return []


class MemoryBackend(Backend):
    """The catalogue on a federation in memory, and jobs that never run."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self.jobs = FakeJobs()  # type: ignore[assignment]
        self.federation = MemoryFederation()
        self.catalog = catalog(surroundings.site, self.federation)

    async def start(self) -> None:
        """Nothing to open."""


@pytest.fixture
async def server(start_server: Any, make_site: Any) -> Any:
    config = Config({"CScaleExtension": {"backend_class": MemoryBackend}})
    started = await start_server(make_site(), config)
    await started.extension.backend()
    return started


@pytest.fixture
async def federation(server: Any) -> MemoryFederation:
    found: MemoryFederation = (await server.extension.backend()).federation
    return found


@pytest.fixture
def workspace(server: Any) -> Iterator[Callable[[], Workspace]]:
    """The client of notebooks, to be used in a thread."""
    with httpx.Client(headers=server.http.headers, timeout=30, trust_env=False) as http:
        yield lambda: Workspace(str(server.http.base_url), http)


async def lines(answer: httpx.Response) -> AsyncIterator[Any]:
    rest = b""
    async for chunk in answer.aiter_bytes():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield json.loads(line)
    assert rest == b""


async def search(server: Any, **query: Any) -> list[Any]:
    answer = await server.api("POST", SEARCH, json=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.split("\n") if line]


# -- streaming -----------------------------------------------------------------------------------


async def test_items_come_first_then_reports_and_the_page_says_which_in_which_order(
    server: Any, federation: MemoryFederation
) -> None:
    newer, older, mirrored = item("newer", "b"), item("older", "a"), item("twice", "a")
    mirror = {**mirrored, "cscale:provider": "b"}
    merged = {**mirrored, "cscale:mirrors": [{"provider": "b"}]}
    federation.found = [Found("b", [newer, mirror]), Found("a", [older, mirrored])]
    federation.reports = [report("a"), report("b"), report("c", status="timeout", error="Late.")]
    federation.merged = [newer, merged, older]
    federation.next = "further"
    told = await search(server, limit=3)
    assert [line["type"] for line in told] == ["items", "items", *["report"] * 3, "page"]
    sent = [small for line in told[:2] for small in line["items"]]
    assert [small["ref"] for small in sent] == [
        "b|s2|newer",
        "b|s2|twice",
        "a|s2|older",
        "a|s2|twice",
    ]
    assert [line["provider"] for line in told[:2]] == ["b", "a"]
    assert told[4] | {"type": "report", "id": "c", "status": "timeout", "error": "Late."} == told[4]
    page = told[-1]
    assert page["order"] == [0, 3, 2]
    assert page["mirrors"] == {"3": 1}
    assert (page["next"], page["complete"], page["matched"]) == ("further", False, 3)
    assert [each["id"] for each in page["providers"]] == ["a", "b", "c"]


async def test_a_line_is_on_its_way_before_the_next_one_is_known(
    server: Any, federation: MemoryFederation
) -> None:
    federation.gate = asyncio.Event()
    async with server.http.stream("POST", f"cscale/api/v1/{SEARCH}", json={}) as answer:
        arriving = lines(answer)
        assert (await anext(arriving))["type"] == "items"
        assert (await anext(arriving))["type"] == "report"
        federation.gate.set()
        assert (await anext(arriving))["type"] == "page"


async def test_a_client_that_goes_away_ends_the_search(
    server: Any, federation: MemoryFederation
) -> None:
    federation.gate = asyncio.Event()
    async with server.http.stream("POST", f"cscale/api/v1/{SEARCH}", json={}) as answer:
        await anext(lines(answer))
        assert not federation.ended.is_set()
    async with asyncio.timeout(20):
        await federation.ended.wait()
    assert (await server.api("GET", "status")).status_code == 200


async def test_a_failure_on_the_way_is_the_last_line_and_an_exception_of_the_client(
    server: Any, federation: MemoryFederation, workspace: Any
) -> None:
    federation.failure = UpstreamError("It broke.", hint="Wait.", retryable=True)
    told = await search(server)
    assert [line["type"] for line in told] == ["items", "report", "problem"]
    assert told[-1] == {
        "type": "problem",
        "code": "upstream_error",
        "message": "It broke.",
        "hint": "Wait.",
        "retryable": True,
        "request_id": told[-1]["request_id"],
        "details": {},
    }

    def consume() -> None:
        told = workspace().search_stream()
        assert [next(told)["type"], next(told)["type"]] == ["items", "report"]
        with pytest.raises(UpstreamError, match=r"It broke\."):
            next(told)

    await asyncio.to_thread(consume)


async def test_a_fault_of_ours_on_the_way_tells_nothing_of_the_inside(
    server: Any, federation: MemoryFederation, caplog: pytest.LogCaptureFixture
) -> None:
    federation.failure = RuntimeError("inner detail")
    told = await search(server)
    assert told[-1]["code"] == "internal"
    assert "inner detail" not in json.dumps(told)
    assert told[-1]["request_id"] in caplog.text
    assert "inner detail" in caplog.text


@pytest.mark.parametrize("headers", [{}, WHOLE])
@pytest.mark.parametrize("body", [{"cursor": "forged"}, {"limit": 0}, {"bbox": [1]}])
async def test_a_wrong_question_is_a_status_and_not_a_line(
    server: Any, headers: dict[str, str], body: Any
) -> None:
    answer = await server.api("POST", SEARCH, json=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_input"


async def test_what_was_not_sent_before_is_sent_with_the_page(
    server: Any, federation: MemoryFederation
) -> None:
    federation.merged = [item("late", "b"), item("scene")]
    told = await search(server)
    assert [line["type"] for line in told] == ["items", "report", "items", "page"]
    assert told[2]["provider"] == "b"
    assert told[-1]["order"] == [1, 0]


async def test_ten_thousand_footprints_stay_below_three_megabytes(
    server: Any, federation: MemoryFederation
) -> None:
    whole = [sentinel_2(number) for number in range(10_000)]
    federation.found = [Found("cdse", whole[at : at + 500]) for at in range(0, 10_000, 500)]
    answer = await server.api("POST", SEARCH, json={"limit": 10_000})
    told = [json.loads(line) for line in answer.text.split("\n") if line]
    assert sum(len(line["items"]) for line in told if line["type"] == "items") == 10_000
    assert told[-1]["order"] == list(range(10_000))
    assert len(answer.content) < 3_000_000
    found = await server.api("GET", "catalog/items/" + ref_of(whole[0]))
    assert found.json()["properties"] == whole[0]["properties"]
    assert federation.fetched == []


def ref_of(each: dict[str, Any]) -> str:
    return f"{each['cscale:provider']}%7C{each['collection']}%7C{each['id']}"


# -- whole pages ---------------------------------------------------------------------------------


async def test_a_whole_page_has_whole_items_with_the_addresses_of_this_server(
    server: Any, federation: MemoryFederation, tmp_path: Any
) -> None:
    federation.next = "further"
    body = {"bbox": [0, 0, 1, 1], "cursor": "there", "fields": ["-links"]}
    answer = (await server.api("POST", SEARCH, json=body, headers=WHOLE)).json()
    assert answer.keys() == {"items", "providers", "next", "complete", "matched"}
    assert answer["next"] == "further"
    mount = answer["items"][0]["assets"]["B03"]["alternate"]["mount"]["href"]
    assert mount == str(tmp_path / "home/s3/aquamonitor/products/s2/scene/B03.tif")
    [(query, cursor)] = federation.asked
    assert cursor == "there"
    assert query.bbox == (0, 0, 1, 1)
    assert query.fields is not None
    assert type(query).__name__ == "SearchQuery"


async def test_slim_pages_come_from_whole_items_whatever_fields_are_asked(
    server: Any, federation: MemoryFederation
) -> None:
    await search(server, fields=["id"])
    assert federation.asked[0][0].fields is None


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/x-ndjson"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/json, application/x-ndjson", "application/x-ndjson"),
        ("application/json", "application/json"),
        ("text/html, application/json;q=0.9", "application/json"),
    ],
)
async def test_the_client_says_which_it_wants(server: Any, accept: str, kind: str) -> None:
    answer = await server.api("POST", SEARCH, json={}, headers={"Accept": accept})
    assert answer.headers["Content-Type"] == kind


@pytest.mark.parametrize(("accept", "encoding"), [("gzip", "gzip"), ("identity", None)])
async def test_lines_come_compressed_to_who_reads_that(
    server: Any, federation: MemoryFederation, accept: str, encoding: str | None
) -> None:
    federation.found = [Found("a", [item(f"scene {number}", "a") for number in range(300)])]
    answer = await server.api("POST", SEARCH, json={}, headers={"Accept-Encoding": accept})
    assert answer.headers.get("Content-Encoding") == encoding
    told = [json.loads(line) for line in answer.text.splitlines()]
    assert len(told[0]["items"]) == 300
    assert told[-1]["type"] == "page"


# -- items and pictures --------------------------------------------------------------------------


async def test_an_item_that_was_found_is_kept_with_its_mirrors(
    server: Any, federation: MemoryFederation
) -> None:
    merged = item("scene", **{"cscale:mirrors": [{"provider": "b"}]})
    federation.merged = [merged]
    [small] = (await search(server))[0]["items"]
    path = "catalog/items/" + small["ref"].replace("|", "%7C")
    found = (await server.api("GET", path)).json()
    assert found["cscale:mirrors"] == [{"provider": "b"}]
    assert federation.fetched == []


async def test_an_item_that_is_not_here_is_asked_of_its_provider_once(
    server: Any, federation: MemoryFederation
) -> None:
    name = "a b/ü%|x"
    federation.found = [Found("site-a", [item(name)])]
    ref = "site-a|s2|a%20b%2F%C3%BC%25%7Cx"
    path = "catalog/items/site-a%7Cs2%7Ca%2520b%252F%25C3%25BC%2525%257Cx"
    for _ in range(2):
        answer = await server.api("GET", path)
        assert answer.status_code == 200
        assert answer.json()["id"] == name
    assert federation.fetched == [ref]
    missing = await server.api("GET", "catalog/items/site-a%7Cs2%7Cmissing")
    assert missing.status_code == 404


async def test_a_picture_is_a_picture_and_nothing_else(server: Any) -> None:
    answer = await server.api("GET", "catalog/items/site-a%7Cs2%7Cscene/thumbnail")
    assert answer.status_code == 200
    assert answer.content == PNG
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    policy = answer.headers["Content-Security-Policy"]
    assert "sandbox" in policy.split("; ")
    assert "default-src 'none'" in policy
    assert answer.headers["Cache-Control"] == "private, max-age=86400"
    known = {"If-None-Match": answer.headers["ETag"]}
    again = await server.api("GET", "catalog/items/site-a%7Cs2%7Cscene/thumbnail", headers=known)
    assert (again.status_code, again.content) == (304, b"")


async def test_no_picture_is_a_problem_that_is_not_cached(
    server: Any, federation: MemoryFederation
) -> None:
    federation.found = [Found("site-a", [item("bare")])]
    answer = await server.api("GET", "catalog/items/site-a%7Cs2%7Cbare/thumbnail")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["Cache-Control"] == "no-store"


# -- collections and providers -------------------------------------------------------------------


async def test_collections_are_named_with_their_provider(server: Any) -> None:
    listed = (await server.api("GET", "catalog/collections")).json()
    assert [entry["id"] for entry in listed["collections"]] == ["site-a|s2"]
    assert [entry["status"] for entry in listed["providers"]] == ["ok"]
    one = await server.api("GET", "catalog/collections/site-a%7Cs2")
    assert one.json()["id"] == "site-a|s2"
    odd = await server.api("GET", "catalog/collections/site-a%7Ca%2Fb%20%25")
    assert odd.json()["id"] == "site-a|a/b %"
    fields = await server.api("GET", "catalog/collections/site-a%7Cs2/queryables")
    assert "eo:cloud_cover" in fields.json()["properties"]
    assert (await server.api("GET", "catalog/queryables")).status_code == 200
    assert (await server.api("GET", "catalog/collections/nobody%7Cs2")).status_code == 404


async def test_providers_say_whether_they_answer(server: Any) -> None:
    answer = (await server.api("GET", "catalog/providers")).json()
    assert [(entry["id"], entry["online"]) for entry in answer["providers"]] == [("site-a", True)]
    assert answer["registry"] is None


# -- staging -------------------------------------------------------------------------------------


async def staged(server: Any, **body: Any) -> list[Any]:
    answer = await server.api("POST", "stage", json=body)
    assert answer.status_code == 404, answer.text
    spec = (await server.extension.backend()).jobs.submitted[-1]
    items: list[Any] = spec.process["items"]
    return items


async def test_items_are_staged_by_reference_whole_and_each_once(
    server: Any, federation: MemoryFederation
) -> None:
    federation.found = [Found("site-a", [item(name) for name in "abc"])]
    refs = [small["ref"] for small in (await search(server))[0]["items"]]
    items = await staged(server, refs=[refs[2], refs[0], refs[2]])
    assert [each["id"] for each in items] == ["c", "a"]
    assert items[0] == item("c")
    assert federation.fetched == []


async def test_a_reference_to_nothing_stages_nothing(server: Any) -> None:
    body = {"refs": ["site-a|s2|scene", "site-a|s2|gone"]}
    answer = await server.api("POST", "stage", json=body)
    assert answer.status_code == 404
    assert "gone" in answer.json()["message"]
    assert (await server.extension.backend()).jobs.submitted == []


async def test_what_a_search_finds_is_staged_whole(
    server: Any, federation: MemoryFederation
) -> None:
    items = await staged(server, query={"ids": ["scene"], "fields": ["id"]})
    assert items == [item("scene")]
    assert federation.asked[-1][0].fields is None


async def test_nothing_found_names_those_that_did_not_answer(
    server: Any, federation: MemoryFederation
) -> None:
    federation.merged = []
    federation.reports = [report("a"), report("b", status="timeout", error="Late.")]
    answer = await server.api("POST", "stage", json={"query": {}})
    assert answer.status_code == 422
    assert "These did not answer: b." in answer.json()["message"]


# -- the client ----------------------------------------------------------------------------------


async def test_the_client_reads_pages_items_collections_and_providers(
    server: Any, federation: MemoryFederation, workspace: Any
) -> None:
    def use() -> None:
        hub = workspace()
        found = hub.search(bbox=[0, 0, 1, 1])
        assert [each["id"] for each in found["items"]] == ["scene"]
        assert found["complete"] is True
        told = list(hub.search_stream(limit=5))
        assert [line["type"] for line in told] == ["items", "report", "page"]
        assert hub.item(told[0]["items"][0]["ref"])["id"] == "scene"
        assert hub.collections()["collections"][0]["id"] == "site-a|s2"
        assert hub.providers()[0]["online"] is True
        with pytest.raises(InvalidInput):
            list(hub.search_stream(limit=0))
        with pytest.raises(NotFound):
            hub.item("site-a|s2|gone")
        with pytest.raises(NotFound, match="Nothing runs here"):
            hub.stage(["site-a|s2|scene"], ["B03"])

    await asyncio.to_thread(use)
    assert (await server.extension.backend()).jobs.submitted[0].process["items"] == [item("scene")]


async def test_the_client_follows_the_pages_and_warns_once_of_a_gap(
    server: Any, federation: MemoryFederation, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {"": ("2", "a"), "2": ("3", "b"), "3": ("", "c")}
    real = federation._merged

    def merged(query: Any, cursor: str) -> Any:
        federation.next, name = pages[cursor]
        federation.merged = [item(name)]
        return real(query, cursor)

    monkeypatch.setattr(federation, "_merged", merged)
    federation.reports = [report("a"), report("b", status="error", error="B is down.")]

    def quiet() -> list[str]:
        seen: list[Any] = []
        names = [each["id"] for each in workspace().search_all(seen.append, limit=1)]
        assert [page["next"] for page in seen] == ["2", "3", ""]
        return names

    def warned() -> list[str]:
        with pytest.warns(UserWarning, match=r"B is down\.") as caught:
            names = [each["id"] for each in workspace().search_all(limit=1)]
        assert len(caught) == 1
        return names

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await asyncio.to_thread(quiet) == ["a", "b", "c"]
    assert await asyncio.to_thread(warned) == ["a", "b", "c"]
    assert [cursor for _, cursor in federation.asked] == ["", "2", "3", "", "2", "3"]


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b", "\r"])
async def test_the_client_splits_lines_at_line_feeds_only(
    federation: MemoryFederation, workspace: Any, separator: str
) -> None:
    federation.reports = [report("a", note=f"one{separator}two")]
    told = await asyncio.to_thread(lambda: list(workspace().search_stream()))
    assert told[1]["note"] == f"one{separator}two"


async def test_an_answer_that_breaks_off_is_an_error_of_the_client() -> None:
    line = b'{"type":"items","provider":"a","items":[]}\n'
    broken = httpx.MockTransport(lambda request: httpx.Response(200, content=line))
    hub = Workspace("http://server", httpx.Client(transport=broken))
    with pytest.raises(UpstreamError, match="broke off"):
        list(hub.search_stream())


async def test_a_histogram_comes_line_by_line(server: Any) -> None:
    body = {"datetime": "2024-04-01/2024-06-30"}
    answer = await server.api("POST", "catalog/histogram", json=body)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["type"] for line in lines] == ["bins", *["count"] * 13, "report"]
    (counted,) = [line for line in lines if line.get("count")]
    assert lines[0]["bins"][counted["place"]]["start"] == "2024-04-29T00:00:00Z"
    assert lines[-1]["method"] == "items"
    wrong = await server.api("POST", "catalog/histogram", json={"datetime": "never"})
    assert wrong.status_code == 422
