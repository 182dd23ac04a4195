"""The engine against archives that behave oddly: asked, paged, filtered, sorted, found failing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from cscale_core.catalog.federation import (
    Federation,
    Found,
    ProviderReport,
    SearchQuery,
    SearchResult,
)
from cscale_core.errors import InvalidInput, NotFound, UpstreamError
from cscale_core.http import guarded_client
from cscale_core.site import Site
from tests.core.catalog.doubles import (
    CORE,
    CQL2_JSON,
    CQL2_TEXT,
    EVERYTHING,
    FIELDS,
    FILTER,
    SORT,
    Behaviour,
    Doubles,
    Item,
    make_item,
    running,
)

MakeSite = Callable[..., Site]
SENTINEL = "S2A_MSIL2A_20240310T100021_N0510_R122_T32TPS_20240310T140000"


@pytest.fixture(scope="module")
def base() -> Iterator[tuple[Doubles, str]]:
    application = Doubles()
    with running(application) as url:
        yield application, url


@pytest.fixture
def site(base: tuple[Doubles, str], make_site: MakeSite) -> Callable[..., Site]:
    application, url = base

    def make(behaviours: dict[str, Behaviour], **members: Any) -> Site:
        application.archives = dict(behaviours)
        return make_site(
            providers=[
                {
                    "id": name,
                    "title": f"Archive {name}",
                    "url": f"{url}/{name}",
                    "limit": behaviour.largest_page,
                    "deadline": 5.0,
                    **members,
                }
                for name, behaviour in behaviours.items()
            ]
        )

    return make


def days(count: int, prefix: str = "x", **properties: Any) -> list[Item]:
    """One item a day, the newest first."""
    return [
        make_item(f"{prefix}{n}", f"2024-03-{28 - n:02d}T10:00:00Z", properties=dict(properties))
        for n in range(count)
    ]


async def search(site: Site, cursor: str = "", **query: Any) -> SearchResult:
    async with guarded_client(site) as http:
        return await Federation(site, http, None, key=b"k").search(SearchQuery(**query), cursor)


async def everything(site: Site, **query: Any) -> list[str]:
    async with guarded_client(site) as http:
        return [
            item["id"] async for item in Federation(site, http, None).items(SearchQuery(**query))
        ]


def ids(result: SearchResult) -> list[str]:
    return [item["id"] for item in result.items]


# --- what a provider is sent ---------------------------------------------------------------


async def test_extensions_are_used_where_they_are_stated(site: Any) -> None:
    archive = Behaviour(days(3, **{"eo:cloud_cover": 5}))
    result = await search(
        site({"a": archive}),
        filter="eo:cloud_cover < 10",
        sortby=["+datetime"],
        fields={"include": ["properties.eo:cloud_cover"], "exclude": []},
        max_cloud_cover=50,
    )
    (asked,) = archive.searches
    assert asked["sortby"] == [{"field": "properties.datetime", "direction": "asc"}]
    assert asked["filter-lang"] == "cql2-json"
    assert asked["filter"]["op"] == "and", "the cloud cover goes with the filter"
    assert "properties.eo:cloud_cover" in asked["fields"]["include"]
    assert ids(result) == ["x2", "x1", "x0"]
    assert result.items[0]["properties"] == {"eo:cloud_cover": 5}
    assert result.providers[0].applied_here == []


async def test_what_is_not_stated_is_not_sent_and_done_here(site: Any) -> None:
    items = [*days(3, **{"eo:cloud_cover": 5}), make_item("cloudy", "2024-03-29T10:00:00Z")]
    archive = Behaviour(items, conforms_to=CORE, strict=True)
    result = await search(
        site({"a": archive}),
        filter="eo:cloud_cover < 10",
        sortby=["+datetime"],
        fields=["id", "-assets"],
    )
    (asked,) = archive.searches
    assert set(asked) == {"limit"}
    assert ids(result) == ["x2", "x1", "x0"]
    assert "assets" not in result.items[0]
    report = result.providers[0]
    assert report.applied_here == ["filter", "sortby", "fields"]
    assert report.ordered
    assert "left out" in report.note


async def test_a_text_filter_goes_by_get(site: Any) -> None:
    archive = Behaviour(
        days(3, **{"eo:cloud_cover": 5}), conforms_to=(*CORE, *FILTER, CQL2_TEXT), post=405
    )
    result = await search(
        site({"a": archive}), filter={"op": "<", "args": [{"property": "eo:cloud_cover"}, 10]}
    )
    asked = archive.searches[-1]
    assert asked["filter-lang"] == "cql2-text"
    assert "eo:cloud_cover" in asked["filter"]
    assert len(result.items) == 3


async def test_refused_parameters_are_left_out_in_turn_and_remembered(site: Any) -> None:
    archive = Behaviour(days(3, **{"eo:cloud_cover": 5}), refuses=frozenset({"fields", "filter"}))
    federated = site({"a": archive})
    async with guarded_client(federated) as http:
        federation = Federation(federated, http, None)
        query = SearchQuery(filter="eo:cloud_cover < 10", fields=["id"])
        first = await federation.search(query)
        tried = len(archive.searches)
        second = await federation.search(query)
    assert ids(first) == ids(second) == ["x0", "x1", "x2"]
    assert tried == 4
    assert len(archive.searches) == tried + 1, "what was refused is not tried again"
    assert first.providers[0].applied_here == ["filter", "fields"] or first.providers[
        0
    ].applied_here == ["filter", "sortby", "fields"]


async def test_a_refusal_of_get_instead_of_post_is_remembered(site: Any) -> None:
    archive = Behaviour(days(2), post=405)
    federated = site({"a": archive})
    async with guarded_client(federated) as http:
        federation = Federation(federated, http, None)
        await federation.search(SearchQuery())
        await federation.search(SearchQuery())
    assert [method for method, path, _ in archive.asked if path == "/search"] == [
        "POST",
        "GET",
        "GET",
    ]


async def test_ignored_parameters_do_not_let_through_what_was_not_asked_for(site: Any) -> None:
    items = [*days(5, **{"eo:cloud_cover": 5}), make_item("far", "2024-03-27T10:00:00Z", lon=100)]
    archive = Behaviour(
        items, ignores=frozenset({"bbox", "datetime", "collections", "ids", "filter"})
    )
    result = await search(
        site({"a": archive}),
        bbox=(9, 44, 12, 47),
        datetime="2024-03-26/2024-03-27",
        filter="eo:cloud_cover < 10",
    )
    assert ids(result) == ["x1", "x2"]
    assert "outside the question" in result.providers[0].note


async def test_a_filter_that_nobody_can_apply_is_unsupported(site: Any, monkeypatch: Any) -> None:
    plain, able = Behaviour(days(2), conforms_to=CORE), Behaviour(days(2, "y"))
    monkeypatch.setattr("cscale_core.catalog.cql.Filter.local", property(lambda self: False))
    result = await search(site({"plain": plain, "able": able}), filter="datetime IS NOT NULL")
    status = {report.id: report.status for report in result.providers}
    assert status == {"plain": "unsupported", "able": "ok"}
    assert not result.complete
    assert ids(result) == ["y0", "y1"]


async def test_names_of_collections_are_the_providers_own(base: Any, site: Any) -> None:
    one, two, three = Behaviour(days(1, "a")), Behaviour(days(1, "b")), Behaviour(days(1, "c"))
    federated = site(
        {"one": one, "two": two},
        policy={"collections": [{"id": "s2", "aliases": ["sentinel-2"]}], "complete": True},
    )
    result = await search(federated, collections=["sentinel-2"])
    assert ids(result) == ["a0", "b0"]
    assert one.searches[0]["collections"] == ["s2"]
    result = await search(federated, collections=["two|s2"])
    assert ids(result) == ["b0"]
    assert [report.status for report in result.providers] == ["skipped", "ok"]
    result = await search(federated, collections=["landsat"])
    assert result.items == []
    assert result.complete
    assert {report.status for report in result.providers} == {"skipped"}
    assert all(report.note for report in result.providers)
    assert three.searches == []


# --- order ----------------------------------------------------------------------------------


async def test_an_archive_that_cannot_sort_is_read_whole_and_sorted(site: Any) -> None:
    archive = Behaviour(days(12)[::-1], conforms_to=CORE, own_order=True, largest_page=5)
    federated = site({"a": archive, "b": Behaviour(days(4, "y"))})
    first = await search(federated, limit=6)
    second = await search(federated, first.next, limit=6)
    third = await search(federated, second.next, limit=10)
    assert ids(first) + ids(second) + ids(third) == (
        [name for n in range(4) for name in (f"x{n}", f"y{n}")] + [f"x{n}" for n in range(4, 12)]
    )
    assert first.providers[0].ordered
    assert first.providers[0].pages == 3
    assert first.matched == 16
    assert third.next == ""


async def test_what_is_found_holds_the_merged_page_whatever_the_order(site: Any) -> None:
    archive = Behaviour(days(20)[::-1], conforms_to=CORE, own_order=True, largest_page=5)
    federated = site({"a": archive, "b": Behaviour(days(8, "y"), largest_page=3)})
    cursor, count = "", 0
    async with guarded_client(federated) as http:
        federation = Federation(federated, http, None)
        while not count or cursor:
            found: set[str] = set()
            async with aclosing(federation.stream(SearchQuery(limit=4), cursor)) as events:
                async for event in events:
                    if isinstance(event, Found):
                        found |= {federation.ref(item) for item in event.items}
                    elif isinstance(event, SearchResult):
                        assert {federation.ref(item) for item in event.items} <= found
                        cursor = event.next
            count += 1
            assert count == 1 or len(found) <= 8
    assert count == 7


async def test_too_much_to_sort_keeps_its_own_order_and_says_so(
    site: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("cscale_core.catalog.source.MOST_SORTED", 5)
    archive = Behaviour(days(12)[::-1], conforms_to=CORE, own_order=True, largest_page=3)
    federated = site({"a": archive})
    first = await search(federated, limit=6)
    rest = await search(federated, first.next, limit=100)
    assert ids(first) + ids(rest) == [f"x{n}" for n in range(11, -1, -1)]
    assert not first.providers[0].ordered
    assert not rest.providers[0].ordered
    assert "own order" in first.providers[0].note


async def test_an_archive_that_only_says_that_it_sorts_is_found_out(site: Any) -> None:
    result = await search(site({"a": Behaviour(days(5)[::-1], own_order=True)}), limit=3)
    assert ids(result) == ["x0", "x1", "x2"]
    assert result.providers[0].ordered


async def test_nulls_come_last_whatever_an_archive_thinks(site: Any) -> None:
    items = [make_item("undated", None), *days(2)]
    result = await search(site({"a": Behaviour(items, nulls_first=True)}))
    assert ids(result) == ["x0", "x1", "undated"]


async def test_several_keys_and_both_directions(site: Any) -> None:
    first = [make_item("a", "2024-03-01T00:00:00Z", properties={"gsd": 10, "platform": "x"})]
    first += [make_item("b", "2024-03-02T00:00:00Z", properties={"gsd": 20, "platform": "x"})]
    second = [make_item("c", "2024-03-03T00:00:00Z", properties={"gsd": 15, "platform": "y"})]
    second += [make_item("d", "2024-03-04T00:00:00Z")]
    federated = site({"a": Behaviour(first), "b": Behaviour(second)})
    assert ids(await search(federated, sortby="-platform,+gsd")) == ["c", "a", "b", "d"]
    assert ids(await search(federated, sortby="-gsd")) == ["b", "c", "a", "d"]
    assert ids(await search(federated, sortby="-id")) == ["d", "c", "b", "a"]


# --- paging ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "paging", ["post merge", "post whole", "get", "relative", "header", "overlap"]
)
@pytest.mark.parametrize("post", [200, 405])
async def test_every_way_of_paging_is_followed(site: Any, paging: str, post: int) -> None:
    archive = Behaviour(days(17), largest_page=4, paging=paging, post=post)
    assert await everything(site({"a": archive}), collections=["s2"]) == [
        f"x{n}" for n in range(17)
    ]
    assert all(asked["collections"] in ("s2", ["s2"]) for asked in archive.searches)


@pytest.mark.parametrize("paging", ["loop", "circle", "endless", "empty"])
async def test_paging_that_never_ends_is_ended(site: Any, paging: str) -> None:
    archive = Behaviour(days(6), largest_page=3, paging=paging)
    federated = site({"a": archive})
    names = await everything(federated)
    assert len(names) == len(set(names)) <= 6
    result = await search(federated, limit=1000)
    assert result.next == ""
    note = result.providers[0].note
    assert "leads back" in note or "repeat" in note or "empty" in note


async def test_a_circle_is_noticed_over_cursors(site: Any) -> None:
    federated = site({"a": Behaviour(days(8), largest_page=2, paging="circle")})
    names, cursor, count = [], "", 0
    while not count or cursor:
        count += 1
        assert count < 20, "the pages have no end"
        result = await search(federated, cursor, limit=2)
        names += ids(result)
        cursor = result.next
    assert len(names) == len(set(names))


@pytest.mark.parametrize("matched", ["absent", "0", "1000000"])
async def test_a_count_that_is_wrong_or_missing_changes_nothing(site: Any, matched: str) -> None:
    federated = site({"a": Behaviour(days(7), largest_page=3, matched=matched)})
    assert await everything(federated) == [f"x{n}" for n in range(7)]


async def test_no_page_is_asked_twice_for_two_merged_pages(site: Any) -> None:
    one, two = Behaviour(days(20), largest_page=10), Behaviour(days(20, "y"), largest_page=10)
    federated = site({"a": one, "b": two})
    names: list[str] = []
    async with guarded_client(federated) as http:
        federation, cursor = Federation(federated, http, None), ""
        while not names or cursor:
            result = await federation.search(SearchQuery(limit=10), cursor)
            names += ids(result)
            cursor = result.next
    assert names == [name for n in range(20) for name in (f"x{n}", f"y{n}")]
    for archive in (one, two):
        assert [asked.get("token") for asked in archive.searches] == [None, "10-1-10"]


async def test_providers_that_run_dry_together_are_asked_together(site: Any) -> None:
    archives = {f"a{n}": Behaviour(days(16), largest_page=4, latency=0.6) for n in range(6)}
    federated = site(archives)
    async with guarded_client(federated) as http:
        federation = Federation(federated, http, None)
        first = await federation.search(SearchQuery(limit=4))
        begun = time.monotonic()
        second = await federation.search(SearchQuery(limit=4), first.next)
        assert time.monotonic() - begun < 3.0, "six in turn would take 3.6 seconds"
    assert ids(first) + ids(second) == [f"x{n}" for n in range(8)], "all have the same products"


# --- cursors --------------------------------------------------------------------------------


async def test_a_cursor_holds_for_its_search_its_key_and_its_form_only(site: Any) -> None:
    federated = site({"a": Behaviour(days(9), largest_page=3)})
    first = await search(federated, limit=3)
    assert len(first.next) < 1000
    with pytest.raises(InvalidInput, match="another search"):
        await search(federated, first.next, collections=["s2"])
    for wrong in (first.next[:-2] + "xx", "nonsense", "é", "x" * 100_000, first.next[5:]):
        with pytest.raises(InvalidInput, match="cursor"):
            await search(federated, wrong)
    async with guarded_client(federated) as http:
        with pytest.raises(InvalidInput):
            await Federation(federated, http, None, key=b"other").search(SearchQuery(), first.next)
        assert ids(
            await Federation(federated, http, None, key=b"k").search(
                SearchQuery(limit=2), first.next
            )
        ) == ["x3", "x4"]


async def test_a_large_area_does_not_make_a_large_cursor(site: Any) -> None:
    ring = [[10 + n / 1000, 45.0 + (n % 7) / 100] for n in range(900)]
    area = {"type": "Polygon", "coordinates": [[*ring, [10.9, 46.5], [10, 46.5], ring[0]]]}
    archive = Behaviour(days(9), largest_page=3, paging="post whole")
    first = await search(site({"a": archive}), limit=3, intersects=area)
    assert first.next
    assert len(first.next) < 2000
    second = await search(site({"a": archive}), first.next, limit=3, intersects=area)
    assert ids(second) == ["x3", "x4", "x5"]


async def test_a_provider_that_joins_later_waits_for_the_next_search(site: Any) -> None:
    a, b = Behaviour(days(4), largest_page=2), Behaviour(days(4, "y"))
    first = await search(site({"a": a}), limit=2)
    second = await search(site({"a": a, "b": b}), first.next, limit=2)
    assert ids(second) == ["x2", "x3"]
    assert second.providers[1].status == "skipped"
    assert "began" in second.providers[1].note


# --- mirrors --------------------------------------------------------------------------------


def copies(*names: str) -> dict[str, Behaviour]:
    """One product in several archives, each under its own id, and one item of each."""
    found = {}
    for name in names:
        product = make_item(
            f"{name}-1", "2024-03-10T10:00:21Z", properties={"s2:product_uri": f"{SENTINEL}.SAFE"}
        )
        product["assets"] = {"B04": {"href": f"https://{name}.example.eu/B04.tif"}}
        found[name] = Behaviour([make_item(f"{name}-0", "2024-03-11T00:00:00Z"), product])
    return found


async def test_one_product_of_several_archives_is_one_result_with_mirrors(site: Any) -> None:
    result = await search(site(copies("a", "b", "c")))
    assert ids(result) == ["a-0", "b-0", "c-0", "a-1"]
    product = result.items[-1]
    assert product["assets"]["B04"]["alternate"]["b"]["href"] == "https://b.example.eu/B04.tif"
    assert {mirror["provider"] for mirror in product["cscale:mirrors"]} == {"b", "c"}
    assert [report.mirrors for report in result.providers] == [0, 1, 1]
    assert [report.returned for report in result.providers] == [2, 1, 1]


async def test_a_mirror_of_an_earlier_page_does_not_come_again(site: Any) -> None:
    federated = site(copies("a", "b"))
    names, cursor = [], ""
    for _ in range(4):
        result = await search(federated, cursor, limit=1)
        names += ids(result)
        cursor = result.next
        if not cursor:
            break
    assert names == ["a-0", "b-0", "a-1"]
    assert cursor == ""


# --- failures -------------------------------------------------------------------------------


async def test_a_provider_that_failed_goes_on_where_it_was(site: Any) -> None:
    failing = Behaviour(days(6), largest_page=2, fails={1: 1})
    federated = site({"a": failing, "b": Behaviour(days(9, "y"), largest_page=4)})
    first = await search(federated, limit=8)
    assert not first.complete
    assert first.providers[0].status == "error"
    assert "503" in first.providers[0].error
    assert first.next
    second = await search(federated, first.next, limit=8)
    assert second.complete
    names = ids(first) + ids(second)
    assert len(names) == len(set(names))
    assert set(names) == {f"x{n}" for n in range(6)} | {f"y{n}" for n in range(9)}


async def test_a_provider_that_keeps_failing_is_given_up(site: Any) -> None:
    federated = site(
        {
            "a": Behaviour(days(6), fails={0: 100}),
            "b": Behaviour(days(9, "y"), largest_page=1),
        }
    )
    result = await search(federated, limit=1)
    for _ in range(4):
        assert result.providers[0].status == "error"
        assert not result.complete
        result = await search(federated, result.next, limit=1)
    assert "not asked again" in result.providers[0].error
    assert not result.complete


async def test_when_only_the_failed_ones_are_left_there_is_no_next_page(site: Any) -> None:
    federated = site({"a": Behaviour(days(3), fails={0: 9}), "b": Behaviour(days(2, "y"))})
    result = await search(federated)
    assert ids(result) == ["y0", "y1"]
    assert result.next == ""
    assert not result.complete
    assert result.matched is None


async def test_a_passing_failure_is_bridged_when_everything_is_read(site: Any) -> None:
    federated = site({"a": Behaviour(days(9), largest_page=3, fails={1: 2})})
    assert await everything(federated) == [f"x{n}" for n in range(9)]


async def test_invalid_items_are_left_out_and_counted(site: Any) -> None:
    items = [None, "text", {"type": "Feature"}, *days(3), {**make_item("z", None), "assets": 5}]
    result = await search(site({"a": Behaviour(items, own_order=True)}))
    assert ids(result)[:3] == ["x0", "x1", "x2"]
    assert "not valid" in result.providers[0].note
    assert result.providers[0].status == "ok"


async def test_the_fastest_is_delivered_before_the_slowest_answers(site: Any) -> None:
    federated = site({"slow": Behaviour(days(2), latency=3.0), "fast": Behaviour(days(2, "y"))})
    order: list[Any] = []
    begun = time.monotonic()
    async with guarded_client(federated) as http:
        federation = Federation(federated, http, None)
        await federation.warm()
        begun = time.monotonic()
        async with aclosing(federation.stream(SearchQuery())) as events:
            async for event in events:
                order.append(
                    (type(event), getattr(event, "provider", None) or getattr(event, "id", None))
                )
                if len(order) == 1:
                    assert time.monotonic() - begun < 2.5
    assert order[0] == (Found, "fast")
    assert order[-1][0] is SearchResult
    assert {what for what, _ in order} == {Found, ProviderReport, SearchResult}


async def test_closing_the_stream_ends_the_requests(base: Any, site: Any) -> None:
    federated = site({"a": Behaviour(days(2), hangs={0}), "b": Behaviour(days(2, "y"))})
    async with guarded_client(federated) as http:
        federation = Federation(federated, http, None)
        await federation.warm()
        before = asyncio.all_tasks()
        async with aclosing(federation.stream(SearchQuery())) as events:
            assert isinstance(await anext(events), Found)
        left = {task for task in asyncio.all_tasks() - before if not task.done()}
        assert left == set()


async def test_a_cancelled_search_leaves_nothing_behind(site: Any) -> None:
    federated = site({"a": Behaviour(days(2), hangs={0})})
    async with guarded_client(federated) as http:
        task = asyncio.create_task(Federation(federated, http, None).search(SearchQuery()))
        await asyncio.sleep(0.3)
        before = len(asyncio.all_tasks())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) < before


async def test_a_provider_that_never_answers_times_out_alone(site: Any) -> None:
    federated = site(
        {"a": Behaviour(days(2), hangs={0}), "b": Behaviour(days(2, "y"))}, deadline=1.0
    )
    result = await search(federated)
    assert ids(result) == ["y0", "y1"]
    assert [report.status for report in result.providers] == ["timeout", "ok"]


# --- single items ---------------------------------------------------------------------------


async def test_an_item_is_found_again_by_its_reference(site: Any) -> None:
    odd = make_item("a|b/c d", "2024-03-01T00:00:00Z", collection="col|1")
    federated = site({"a": Behaviour([odd, *days(2)])})
    async with guarded_client(federated) as http:
        federation = Federation(federated, http, None)
        result = await federation.search(SearchQuery())
        for item in result.items:
            ref = federation.ref(item)
            assert "/" not in ref
            found = await federation.item(ref)
            assert (found["id"], found["cscale:provider"]) == (item["id"], "a")
        with pytest.raises(NotFound):
            await federation.item("a|s2|nothing")
        for wrong in ("", "a", "a|b", "zz|s2|x0", "a|b|c|d"):
            with pytest.raises(InvalidInput):
                await federation.item(wrong)


async def test_a_failing_provider_is_not_an_item_that_is_missing(
    make_site: MakeSite, free_port: int
) -> None:
    federated = make_site(
        providers=[{"id": "a", "title": "A", "url": f"http://127.0.0.1:{free_port}"}]
    )
    async with guarded_client(federated) as http:
        with pytest.raises(UpstreamError):
            await Federation(federated, http, None).item("a|s2|x0")


def test_the_extensions_named_here_are_those_of_the_specification() -> None:
    assert {SORT, FIELDS, CQL2_JSON, CQL2_TEXT} <= set(EVERYTHING)
