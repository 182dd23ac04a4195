"""Whatever the providers hold and however they page: all pages together are the one merge.

The reference is written here once more, simply: every provider's items in order, merged by time,
one result for one product. The engine is made anew between pages, as after a restart.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cscale_core.catalog.federation import Federation, SearchQuery, SearchResult
from cscale_core.http import guarded_client
from cscale_core.site import Site
from tests.core.catalog.doubles import CORE, SORT, Behaviour, Doubles, Item, make_item, running

KEY = b"a key that outlives the process"
BASE = {"user": "utest", "s3": {"endpoint": "http://127.0.0.1:9"}}


@pytest.fixture(scope="module")
def doubles() -> Iterator[tuple[Doubles, str]]:
    application = Doubles()
    with running(application) as url:
        yield application, url


def moment_of(number: int, spread: int) -> str | None:
    """The time of a product: many share one, some have none."""
    step = number % spread
    return None if step == 7 else f"2024-03-{1 + step:02d}T10:00:00Z"


@st.composite
def archives(draw: st.DrawFn, *, failing: bool = False) -> list[Behaviour]:
    """Some archives with products in common, each with its way of paging."""
    spread = draw(st.integers(1, 12))
    made = []
    for number in range(draw(st.integers(1, 4))):
        products = draw(st.lists(st.integers(0, 40), max_size=25, unique=True))
        items = [make_item(f"product-{each}", moment_of(each, spread)) for each in products]
        sorts = draw(st.booleans())
        fails = {}
        if failing:
            fails = draw(st.dictionaries(st.integers(0, 4), st.integers(1, 2), max_size=2))
        made.append(
            Behaviour(
                items,
                conforms_to=(*CORE, SORT) if sorts else CORE,
                largest_page=draw(st.integers(1, 12)),
                post=draw(st.sampled_from([200, 200, 405])),
                paging=draw(
                    st.sampled_from(["post merge", "post whole", "get", "relative", "header"])
                ),
                own_order=not sorts and draw(st.booleans()),
                matched=draw(st.sampled_from(["right", "absent", "context", "3"])),
                fails=fails,
            )
        )
        assert number < 4
    return made


def key(item: Item) -> tuple[bool, str]:
    moment = item["properties"]["datetime"]
    # Larger texts of this form are later times.
    return moment is None, "" if moment is None else "".join(chr(255 - ord(c)) for c in moment)


def listed(archive: Behaviour) -> list[Item]:
    """An archive's items newest first, as it must list them: its order among equals is its own."""
    return sorted(archive.items, key=key)


def reference(made: list[Behaviour]) -> list[str]:
    """The products of all archives in the order of the merge, each once."""
    merged = heapq.merge(*(listed(archive) for archive in made), key=key)
    return list(dict.fromkeys(item["id"] for item in merged))


def site_for(url: str, made: list[Behaviour]) -> Site:
    return Site.model_validate(
        {
            **BASE,
            "catalogue": {"url": f"{url}/catalogue"},
            "providers": [
                {
                    "id": f"p{number}",
                    "title": f"Archive {number}",
                    "url": f"{url}/p{number}",
                    "limit": archive.largest_page,
                    "deadline": 20,
                }
                for number, archive in enumerate(made)
            ],
        }
    )


async def pages(site: Site, limits: list[int], *, anew: bool) -> list[SearchResult]:
    found: list[SearchResult] = []
    async with guarded_client(site) as http:
        federation = Federation(site, http, None, key=KEY)
        cursor = ""
        while not found or cursor:
            assert len(found) < 300, "the pages have no end"
            if anew:
                federation = Federation(site, http, None, key=KEY)
            query = SearchQuery(limit=limits[len(found) % len(limits)])
            found.append(await federation.search(query, cursor))
            cursor = found[-1].next
    return found


SETTINGS = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@SETTINGS
@given(
    made=archives(), limits=st.lists(st.integers(1, 15), min_size=1, max_size=3), anew=st.booleans()
)
async def test_all_pages_together_are_the_one_merge(
    doubles: tuple[Doubles, str], made: list[Behaviour], limits: list[int], anew: bool
) -> None:
    application, url = doubles
    application.archives = {f"p{number}": archive for number, archive in enumerate(made)}
    found = await pages(site_for(url, made), limits, anew=anew)
    assert [item["id"] for page in found for item in page.items] == reference(made)
    for number, page in enumerate(found):
        assert page.complete
        assert len(page.items) <= limits[number % len(limits)]
        assert all(report.ordered for report in page.providers)


@SETTINGS
@given(
    made=archives(failing=True),
    limits=st.lists(st.integers(1, 15), min_size=1, max_size=3),
    anew=st.booleans(),
)
async def test_failures_lose_nothing_and_double_nothing(
    doubles: tuple[Doubles, str], made: list[Behaviour], limits: list[int], anew: bool
) -> None:
    application, url = doubles
    application.archives = {f"p{number}": archive for number, archive in enumerate(made)}
    found = await pages(site_for(url, made), limits, anew=anew)
    names = [item["id"] for page in found for item in page.items]
    assert len(names) == len(set(names)), "nothing twice"
    last = {report.id: report for report in found[-1].providers}
    for number, archive in enumerate(made):
        if last[f"p{number}"].status == "ok":
            assert {item["id"] for item in archive.items} <= set(names), "nothing lost"
    assert found[-1].complete == all(report.status == "ok" for report in last.values())


@SETTINGS
@given(made=archives())
async def test_reading_everything_is_the_one_merge(
    doubles: tuple[Doubles, str], made: list[Behaviour]
) -> None:
    application, url = doubles
    application.archives = {f"p{number}": archive for number, archive in enumerate(made)}
    site: Any = site_for(url, made)
    async with guarded_client(site) as http:
        found = [item["id"] async for item in Federation(site, http, None).items(SearchQuery())]
    assert found == reference(made)
