"""How much there is when: counts by week, month or year, of each archive that is asked.

An archive with the Aggregation extension (STAC API, v0.3.0, ``datetime_frequency``) counts itself.
Of the others what there is is looked at: all of it where that is little, else the number that each
part of the time matches, else a page of each part, which says "at least so many". No number is
guessed, and every one says whether it is the whole truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, Field

from cscale_core.catalog.engine import Part
from cscale_core.catalog.federation import Federation
from cscale_core.catalog.interval import Interval, item_interval, parse_interval, parse_time
from cscale_core.catalog.query import Fields, SearchQuery
from cscale_core.catalog.report import ProviderReport
from cscale_core.catalog.wire import Extras, condition_of, first
from cscale_core.errors import CScaleError, UpstreamError

AGGREGATION = "https://api.stacspec.org/v0.3.0/aggregation"
MAX_BINS = 60

Method = Literal["aggregation", "items", "matched", "sample", ""]
Step = Literal["week", "month", "year"]

_SECONDS = 45.0
_YEARS = 5
"""Looked back where the question names no start."""
_FEW = 500
_PAGE = 100
_AT_ONCE = 3
_WEEKS = timedelta(days=120)
_MONTHS = timedelta(days=3 * 366)
_TICK = timedelta(microseconds=1)
_NEEDED = Fields(include=("id", "properties.datetime", "properties.start_datetime"))


class Bin(BaseModel):
    """A part of the time: from ``start`` up to and without ``end``."""

    start: datetime
    end: datetime


class Bins(BaseModel):
    """The parts that are counted."""

    step: Step
    bins: list[Bin]


class Count(BaseModel):
    """What one archive has in one part."""

    provider: str
    place: int = Field(description="Which of the parts, from 0.")
    count: int
    at_least: bool = Field(description="Whether there may be more.")


class HistogramReport(BaseModel):
    """How one archive was counted; after its last count."""

    id: str
    title: str
    status: Literal["ok", "error", "timeout", "skipped"]
    method: Method = Field(
        description="aggregation: it counts itself; items: all of it was looked at; matched: the "
        "number that it says it matches; sample: a page of each part."
    )
    error: str = Field(description="A sentence, when the status is not ok.")


def bins_of(query: SearchQuery, now: datetime) -> Bins:
    """Weeks, months or years of the time that is asked for, cut at its ends."""
    asked = parse_interval(query.datetime) if query.datetime else Interval(None, None)
    end = min(asked.end or now, now) if asked.start is None or asked.start < now else asked.end
    end = end or now
    start = asked.start or end - timedelta(days=366 * _YEARS)
    span = end - start
    step: Step = "week" if span <= _WEEKS else "month" if span <= _MONTHS else "year"
    edges = list(_edges(start, end, step))
    if len(edges) > MAX_BINS + 1:
        edges = edges[-MAX_BINS - 1 :]
    return Bins(step=step, bins=[Bin(start=a, end=b) for a, b in pairwise(edges)])


def _edges(start: datetime, end: datetime, step: Step) -> Iterator[datetime]:
    at = start
    while at < end:
        yield at
        at = _next(at, step)
    yield end + _TICK


def _next(moment: datetime, step: Step) -> datetime:
    """The beginning of the next week, month or year (UTC)."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if step == "week":
        return day + timedelta(days=7 - day.weekday())
    if step == "month":
        return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return day.replace(year=day.year + 1, month=1, day=1)


async def histogram(
    federation: Federation, query: SearchQuery, now: datetime | None = None
) -> AsyncGenerator[Bins | Count | HistogramReport, None]:
    """The parts first, then the counts of each archive as they come, a report after its last.

    Closing the iterator ends every request. ``limit``, ``fields`` and ``sortby`` are not looked at.

    :raises InvalidInput: when the question names a provider that is not there.
    """
    plain = query.model_copy(update={"sortby": [], "fields": None, "limit": 1})
    parts = federation.shares(plain)
    bins = bins_of(query, now or datetime.now(UTC))
    yield bins
    events: asyncio.Queue[Count | HistogramReport | None] = asyncio.Queue()

    async def one(part: Part) -> None:
        try:
            counting = _Counting(federation, plain, part, bins, events)
            events.put_nowait(await counting.run())
        finally:
            events.put_nowait(None)

    tasks = [asyncio.create_task(one(part)) for part in parts]
    try:
        for _ in tasks:
            while (event := await events.get()) is not None:
                yield event
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


@dataclass
class _Counting:
    """The counting of one archive."""

    federation: Federation
    query: SearchQuery
    part: Part
    bins: Bins
    events: asyncio.Queue[Count | HistogramReport | None]
    method: Method = ""

    async def run(self) -> HistogramReport:
        """Count, and say how."""
        if self.part.why_not:
            return self._report("skipped", self.part.why_not)
        try:
            async with asyncio.timeout(_SECONDS):
                if not await self._aggregated():
                    await self._looked_at()
        except TimeoutError:
            return self._report("timeout", f"It was not counted within {_SECONDS:g} seconds.")
        except CScaleError as error:
            return self._report("error", error.message)
        return self._report("ok", "")

    def _report(
        self, status: Literal["ok", "error", "timeout", "skipped"], error: str
    ) -> HistogramReport:
        provider = self.part.provider
        return HistogramReport(
            id=provider.id, title=provider.title, status=status, method=self.method, error=error
        )

    def _tell(self, place: int, count: int, *, at_least: bool = False) -> None:
        provider = self.part.provider.id
        self.events.put_nowait(
            Count(provider=provider, place=place, count=count, at_least=at_least)
        )

    def _place(self, moment: datetime | None) -> int | None:
        bins = self.bins.bins
        if moment is None or not bins or not bins[0].start <= moment < bins[-1].end:
            return None
        return next(place for place, part in enumerate(bins) if moment < part.end)

    # -- by the archive itself -----------------------------------------------------------------

    async def _aggregated(self) -> bool:
        """Whether the archive counted itself."""
        provider, own = self.part.provider, self.part.query
        if provider.kind != "api" or self.bins.step == "week":
            return False
        known = await self.federation.capabilities(provider)
        condition = condition_of(own)
        offered = {name.rstrip("/") for name in known.conforms_to}
        if AGGREGATION not in offered or (condition and f"{AGGREGATION}#filter" not in offered):
            return False
        whole = own.model_copy(update={"datetime": self._interval(0, len(self.bins.bins) - 1)})
        extras = Extras(filter=condition, sortby=(), fields=None)
        asked = dict(first(whole, extras, known, "GET", 1).params or {})
        asked.pop("limit", None)
        asked["aggregations"] = "datetime_frequency"
        url = provider.url.rstrip("/") + "/aggregate"
        try:
            answer = (await self.part.door.ask("GET", url, params=asked)).parsed()
        except UpstreamError:
            return False
        counts = self._counted(answer.body) if answer.status == 200 else None
        if counts is None:
            return False
        self.method = "aggregation"
        for place, count in enumerate(counts):
            self._tell(place, count)
        return True

    def _counted(self, answer: Any) -> list[int] | None:
        """The counts of an AggregationCollection; None where they do not fit our parts."""
        listed = answer.get("aggregations") if isinstance(answer, dict) else None
        for one in listed if isinstance(listed, list) else ():
            name = one.get("name", one.get("key")) if isinstance(one, dict) else None
            if name != "datetime_frequency" or one.get("overflow"):
                continue
            buckets = one.get("buckets")
            return self._sorted(buckets) if isinstance(buckets, list) else None
        return None

    def _sorted(self, buckets: Sequence[Any]) -> list[int] | None:
        if self.bins.step == "month" and _by_year(buckets):
            return None
        counts = [0] * len(self.bins.bins)
        first_start = self.bins.bins[0].start
        for bucket in buckets:
            try:
                begins = parse_time(bucket["key"])
                frequency = int(bucket["frequency"])
            except (KeyError, TypeError, ValueError):
                return None
            if frequency < 0 or begins != begins.replace(day=1, hour=0, minute=0, second=0):
                return None  # not by month: days cannot be told apart from what they are part of
            place = self._place(max(begins, first_start))
            if place is not None:
                counts[place] += frequency
        return counts

    # -- by looking ----------------------------------------------------------------------------

    async def _looked_at(self) -> None:
        last = len(self.bins.bins) - 1
        items, report = await self._search(0, last, _FEW)
        if not report.more:
            self.method = "items"
            counts = [0] * (last + 1)
            for item in items:
                sensed = item_interval(item.get("properties") or {})
                place = self._place(sensed.start if sensed is not None else None)
                if place is not None:
                    counts[place] += 1
            for place, count in enumerate(counts):
                self._tell(place, count)
            return
        told = report.matched is not None and not report.applied_here
        self.method = "matched" if told else "sample"
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(place: int) -> None:
            async with turn:
                _, found = await self._search(place, place, 1 if told else _PAGE)
            if told and found.matched is not None:
                self._tell(place, found.matched)
            else:
                self._tell(place, found.returned, at_least=found.more)

        # The newest first: it is what people look at.
        tasks = [asyncio.create_task(one(place)) for place in range(last, -1, -1)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _search(
        self, begin: int, end: int, limit: int
    ) -> tuple[list[dict[str, Any]], ProviderReport]:
        asked = self.query.model_copy(
            update={
                "datetime": self._interval(begin, end),
                "providers": [self.part.provider.id],
                "limit": limit,
                "fields": _NEEDED,
            }
        )
        result = await self.federation.search(asked)
        report = next(one for one in result.providers if one.id == self.part.provider.id)
        if report.status not in ("ok", "skipped"):
            raise UpstreamError(report.error or f"{report.title} did not answer.")
        return result.items, report

    def _interval(self, begin: int, end: int) -> str:
        """Parts ``begin`` to ``end`` as a closed interval."""
        bins = self.bins.bins
        return str(Interval(bins[begin].start, bins[end].end - _TICK))


def _by_year(buckets: Sequence[Any]) -> bool:
    """Whether all buckets begin with a year, so that they may be as long as one."""
    keys = [bucket.get("key") for bucket in buckets if isinstance(bucket, dict)]
    return bool(keys) and all(str(key)[4:7] == "-01" for key in keys)
