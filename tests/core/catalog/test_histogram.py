"""How much there is when: by aggregation, by looking, and never by guessing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cscale_core.catalog.federation import Federation
from cscale_core.catalog.histogram import (
    AGGREGATION,
    MAX_BINS,
    Bins,
    Count,
    HistogramReport,
    bins_of,
    histogram,
)
from cscale_core.catalog.query import SearchQuery
from cscale_core.errors import InvalidInput
from cscale_core.http import guarded_client
from cscale_core.site import Site
from tests.core.catalog.doubles import EVERYTHING, Behaviour, Doubles, make_item, running

NOW = datetime(2024, 7, 15, 12, tzinfo=UTC)
YEAR = SearchQuery(datetime="2023-01-01/2023-12-31")


@pytest.fixture(scope="module")
def doubles() -> Iterator[tuple[Doubles, str]]:
    application = Doubles()
    with running(application) as url:
        yield application, url


Ask = Callable[..., Any]


@pytest.fixture
def ask(doubles: tuple[Doubles, str], make_site: Callable[..., Site]) -> Ask:
    """Counts in archives that behave so: the parts, counts by archive and place, reports."""
    application, url = doubles

    async def asked(
        query: SearchQuery = YEAR, **archives: Behaviour
    ) -> tuple[Bins, dict[str, dict[int, Count]], dict[str, HistogramReport]]:
        application.archives = archives
        site = make_site(
            providers=[
                {"id": name, "title": name.title(), "url": f"{url}/{name}", "deadline": 5.0}
                for name in archives
            ]
        )
        counts: dict[str, dict[int, Count]] = {name: {} for name in archives}
        reports, bins = {}, None
        async with guarded_client(site) as http:
            async for event in histogram(Federation(site, http, None), query, NOW):
                if isinstance(event, Bins):
                    assert bins is None
                    bins = event
                elif isinstance(event, Count):
                    assert event.provider not in reports
                    counts[event.provider][event.place] = event
                else:
                    reports[event.id] = event
        assert bins is not None
        return bins, counts, reports

    return asked


def monthly(**months: int) -> list[Any]:
    """Items of 2023, so many of each month."""
    return [
        make_item(f"{month}-{number}", f"2023-{month[1:]}-03T00:00:00Z")
        for month, count in months.items()
        for number in range(count)
    ]


def numbers(counts: dict[int, Count]) -> dict[int, int]:
    return {place: one.count for place, one in counts.items() if one.count}


# -- the parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "step", "count"),
    [
        ("2023-01-01/2023-12-31", "month", 12),
        ("2023-01-15/2023-03-15", "week", 10),
        ("2000-01-01/2020-12-31", "year", 21),
        (None, "year", 6),
        ("../2020-01-01", "year", 7),
        ("2023-05-05", "week", 1),
    ],
)
def test_parts_are_weeks_months_or_years(asked: str | None, step: str, count: int) -> None:
    bins = bins_of(SearchQuery(datetime=asked), NOW)
    assert (bins.step, len(bins.bins)) == (step, count)
    for one, other in zip(bins.bins, bins.bins[1:], strict=False):
        assert one.end == other.start


def test_there_are_never_too_many_parts() -> None:
    assert len(bins_of(SearchQuery(datetime="1900-01-01/2020-01-01"), NOW).bins) == MAX_BINS


# -- counting ------------------------------------------------------------------------------------


async def test_an_archive_that_counts_itself_is_asked_once(ask: Ask) -> None:
    buckets = [
        {"key": "2023-02-01T00:00:00.000Z", "data_type": "frequency_distribution", "frequency": 7},
        {"key": "2023-11-01T00:00:00.000Z", "data_type": "frequency_distribution", "frequency": 3},
    ]
    answer = {"aggregations": [{"name": "datetime_frequency", "buckets": buckets}]}
    archive = Behaviour(conforms_to=(*EVERYTHING, AGGREGATION), aggregate=answer)
    bins, counts, reports = await ask(a=archive)
    assert len(bins.bins) == 12
    assert numbers(counts["a"]) == {1: 7, 10: 3}
    assert len(counts["a"]) == 12
    assert reports["a"].method == "aggregation"
    (sent,) = [given for _, path, given in archive.asked if path == "/aggregate"]
    assert sent["aggregations"] == "datetime_frequency"
    assert sent["datetime"].startswith("2023-01-01T00:00:00Z/2023-12-31T23:59:59")
    assert archive.searches == []


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"aggregations": "none"},
        {"aggregations": [{"name": "datetime_frequency", "buckets": [{"key": "x"}]}]},
        {
            "aggregations": [
                {
                    "name": "datetime_frequency",
                    "buckets": [{"key": "2023-01-01T00:00:00Z", "frequency": 9}],
                }
            ]
        },
        {
            "aggregations": [
                {
                    "name": "datetime_frequency",
                    "buckets": [{"key": "2023-02-11T00:00:00Z", "frequency": 9}],
                }
            ]
        },
        {
            "aggregations": [
                {
                    "name": "datetime_frequency",
                    "overflow": 5,
                    "buckets": [{"key": "2023-02-01T00:00:00Z", "frequency": 9}],
                }
            ]
        },
    ],
)
async def test_an_aggregation_that_does_not_fit_is_not_believed(ask: Ask, answer: Any) -> None:
    archive = Behaviour(monthly(m02=2), conforms_to=(*EVERYTHING, AGGREGATION), aggregate=answer)
    _, counts, reports = await ask(a=archive)
    assert (numbers(counts["a"]), reports["a"].method) == ({1: 2}, "items")


async def test_a_filter_is_counted_by_the_archive_only_where_it_says_so(ask: Ask) -> None:
    archive = Behaviour(
        monthly(m02=2), conforms_to=(*EVERYTHING, AGGREGATION), aggregate={"aggregations": []}
    )
    query = YEAR.model_copy(update={"max_cloud_cover": 20.0})
    _, _, reports = await ask(query, a=archive)
    assert reports["a"].method == "items"
    assert not [path for _, path, _ in archive.asked if path == "/aggregate"]


async def test_where_there_is_little_all_of_it_is_looked_at(ask: Ask) -> None:
    archive = Behaviour(monthly(m01=2, m12=1), matched="absent")
    _, counts, reports = await ask(a=archive)
    assert numbers(counts["a"]) == {0: 2, 11: 1}
    assert not any(one.at_least for one in counts["a"].values())
    assert reports["a"].method == "items"


async def test_where_there_is_much_the_archive_says_how_much(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cscale_core.catalog.histogram._FEW", 5)
    archive = Behaviour(monthly(m01=9, m06=4, m12=1))
    _, counts, reports = await ask(a=archive)
    assert numbers(counts["a"]) == {0: 9, 5: 4, 11: 1}
    assert reports["a"].method == "matched"


async def test_where_it_does_not_say_a_page_says_at_least(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cscale_core.catalog.histogram._FEW", 5)
    monkeypatch.setattr("cscale_core.catalog.histogram._PAGE", 4)
    _, counts, reports = await ask(a=Behaviour(monthly(m01=9, m06=3), matched="absent"))
    assert reports["a"].method == "sample"
    assert (counts["a"][0].count, counts["a"][0].at_least) == (4, True)
    assert (counts["a"][5].count, counts["a"][5].at_least) == (3, False)


async def test_one_archive_that_fails_takes_nothing_from_the_others(ask: Ask) -> None:
    away = Behaviour(monthly(m01=1), post=500, fails={0: 100})
    _, counts, reports = await ask(good=Behaviour(monthly(m03=1)), away=away)
    assert numbers(counts["good"]) == {2: 1}
    assert reports["away"].status == "error"
    assert reports["away"].error
    assert reports["good"].status == "ok"


async def test_an_archive_that_is_not_asked_says_why(ask: Ask) -> None:
    query = YEAR.model_copy(update={"providers": ["a"]})
    _, _, reports = await ask(query, a=Behaviour(), b=Behaviour())
    assert (reports["b"].status, reports["a"].status) == ("skipped", "ok")
    with pytest.raises(InvalidInput):
        await ask(YEAR.model_copy(update={"providers": ["none"]}), a=Behaviour())
