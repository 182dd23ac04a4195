"""The SQLite store against a brute-force search, on made-up items."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from cscale_hub.local.catalogue.documents import EPOCH, boxes, footing
from cscale_hub.local.catalogue.query import Search, SortKey
from cscale_hub.local.catalogue.sqlite_store import SqliteStore

T = TypeVar("T")

# A coarse grid makes edges meet, which random numbers never do; the odd steps are not exact in
# the 32-bit numbers of an R*Tree. Seven decimals are a centimetre.
longitude = st.integers(-18, 18).map(lambda n: n * 10.0) | st.floats(-180, 180).map(
    lambda x: round(x, 7)
)
latitude = st.integers(-9, 9).map(lambda n: n * 10.0) | st.floats(-90, 90).map(
    lambda x: round(x, 7)
)
moment = st.integers(0, 40).map(lambda n: EPOCH + timedelta(days=19000 + n / 3, microseconds=n))


@st.composite
def items(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for number in range(draw(st.integers(0, 12))):
        west, east = sorted((draw(longitude), draw(longitude)))
        south, north = sorted((draw(latitude), draw(latitude)))
        area = shapely.box(west, south, east, north)
        if draw(st.booleans()):
            area = shapely.Polygon([(west, south), (east, north), (west, north)])
        if not area.is_valid or area.area == 0:
            area = shapely.Point(west, south)
        start, end = sorted((draw(moment), draw(moment)))
        times: dict[str, Any] = {"datetime": start.isoformat()}
        if draw(st.booleans()):
            times = {"start_datetime": start.isoformat(), "end_datetime": end.isoformat()}
        found.append(
            {
                "id": f"i{number}",
                "collection": "c",
                "geometry": shapely.geometry.mapping(area),
                "properties": {**times, "n": draw(st.none() | st.integers(0, 3))},
            }
        )
    return found


@st.composite
def searches(draw: st.DrawFn) -> Search:
    south, north = sorted((draw(latitude), draw(latitude)))
    bbox = draw(st.none() | st.just([draw(longitude), south, draw(longitude), north]))
    start, end = sorted((draw(moment), draw(moment)))
    period = draw(st.sampled_from([None, (start, end), (None, end), (start, None), (start, start)]))
    sort = draw(
        st.lists(
            st.builds(SortKey, st.sampled_from(["datetime", "n", "id"]), st.booleans()),
            max_size=3,
            unique_by=lambda key: key.field,
        )
    )
    return Search(
        area=boxes(bbox) if bbox else None,
        period=period,
        sort=tuple(sort),
        limit=draw(st.integers(1, 5)),
    )


def matches(item: dict[str, Any], search: Search) -> bool:
    place = footing(item)
    if search.area is not None and not search.area.intersects(place.geometry):
        return False
    if search.period is not None:
        start, end = search.period
        if (end is not None and place.start > end) or (start is not None and place.end < start):
            return False
    return True


def value(item: dict[str, Any], field: str) -> tuple[bool, Any]:
    """A sortable value; null comes before everything, as in SQLite."""
    if field == "datetime":
        return True, footing(item).start
    if field in ("id", "collection"):
        return True, item[field]
    number = item["properties"]["n"]
    return number is not None, number if number is not None else 0


def brute_force(everything: list[dict[str, Any]], search: Search) -> list[str]:
    found = [item for item in everything if matches(item, search)]
    for key in reversed(search.order):
        found.sort(key=lambda item, key=key: value(item, key.field), reverse=key.descending)  # type: ignore[misc]
    return [item["id"] for item in found]


async def page_through(store: SqliteStore, search: Search) -> tuple[list[str], set[int]]:
    from dataclasses import replace

    ids: list[str] = []
    counts: set[int] = set()
    while True:
        page = await store.search(search)
        ids += [item["id"] for item in page.items]
        counts.add(page.matched)
        if page.next is None:
            return ids, counts
        search = replace(search, token=page.next)


def with_store(work: Callable[[SqliteStore], Awaitable[T]]) -> T:
    async def run() -> T:
        with TemporaryDirectory() as folder:
            store = SqliteStore(Path(folder) / "catalogue.sqlite")
            await store.start()
            try:
                await store.create_collection({"id": "c"})
                return await work(store)
            finally:
                await store.stop()

    return asyncio.run(run())


@settings(max_examples=60, deadline=None)
@given(everything=items(), search=searches())
def test_a_search_finds_what_brute_force_finds_in_its_order(
    everything: list[dict[str, Any]], search: Search
) -> None:
    async def work(store: SqliteStore) -> tuple[list[str], set[int]]:
        if everything:
            await store.create_items("c", everything)
        return await page_through(store, search)

    expected = brute_force(everything, search)
    assert with_store(work) == (expected, {len(expected)})


@settings(max_examples=20, deadline=None)
@given(before=items(), after=items(), search=searches())
def test_replaced_and_deleted_items_leave_no_trace_in_the_index(
    before: list[dict[str, Any]], after: list[dict[str, Any]], search: Search
) -> None:
    async def work(store: SqliteStore) -> tuple[list[str], set[int]]:
        if before:
            await store.create_items("c", before)
        new = {item["id"]: item for item in after}
        for item in before:
            if item["id"] in new:
                await store.replace_item("c", new.pop(item["id"]))
            else:
                await store.delete_item("c", item["id"])
        if new:
            await store.create_items("c", list(new.values()))
        return await page_through(store, search)

    expected = brute_force(after, search)
    assert with_store(work) == (expected, {len(expected)})


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001
def test_times_are_indexed_to_the_microsecond(naive: datetime) -> None:
    from cscale_hub.local.catalogue.documents import microseconds, moment

    parsed = moment(naive.isoformat() + "Z", "datetime")
    assert parsed is not None
    assert EPOCH + timedelta(microseconds=microseconds(parsed)) == parsed
