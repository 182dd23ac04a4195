"""One merged page of a search under way: its sources, what they find, and what they say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cscale_core.catalog.cursor import Cursors, State
from cscale_core.catalog.door import Door
from cscale_core.catalog.fields import trimmed
from cscale_core.catalog.items import PROVIDER_MEMBER
from cscale_core.catalog.merge import Merge
from cscale_core.catalog.order import Item
from cscale_core.catalog.place import MOST_FAILURES, Place
from cscale_core.catalog.query import SearchQuery
from cscale_core.catalog.reader import Reading
from cscale_core.catalog.report import Found, ProviderReport, SearchResult
from cscale_core.catalog.source import Source
from cscale_core.catalog.wire import order_of
from cscale_core.providers import Provider


@dataclass(frozen=True, slots=True)
class Part:
    """One provider's part in a search.

    :param query: with the provider's own names of collections.
    :param why_not: why it is not asked; empty: it is.
    """

    door: Door
    query: SearchQuery
    why_not: str = ""

    @property
    def provider(self) -> Provider:
        """Whose part it is."""
        return self.door.provider


Event = Found | ProviderReport | SearchResult


class Engine:
    """Runs one round of a search over all its parts.

    :param parts: all providers in the site's order, the ones that are not asked too.
    :param state: where to go on; empty for a new search. It is not changed.
    :param joined: makes one item of a product's items at several providers.
    """

    def __init__(
        self,
        query: SearchQuery,
        parts: Sequence[Part],
        state: State,
        reading: Reading,
        joined: Callable[[list[Item]], Item],
    ) -> None:
        self._query = query
        self._parts = parts
        self._state = state
        self._reading = reading
        self._joined = joined
        self._events: asyncio.Queue[Event | Exception] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self.sources: dict[str, Source] = {}
        for number, part in enumerate(parts):
            place = state.places.get(part.provider.id, Place())
            if part.why_not or not place.open:
                continue
            self.sources[part.provider.id] = Source(
                number, part.door, part.query, place, reading, self._found, self._read
            )
        self._merge = Merge(list(self.sources.values()), state.seen, joined)

    def _found(self, source: Source, items: list[Item]) -> None:
        if items and self._reading.limit is not None:
            self._events.put_nowait(Found(source.provider.id, items))

    def _read(self, source: Source) -> None:
        self._events.put_nowait(source.report(source.accepted))

    def _start(self) -> None:
        self._tasks = [asyncio.create_task(source.run()) for source in self.sources.values()]

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def page(self, limit: int, cursors: Cursors) -> AsyncGenerator[Event, None]:
        """Items as they come in, reports as providers have been read, and the merged page last.

        Closing the iterator ends every request that is under way.
        """
        self._start()
        merging = asyncio.create_task(self._merged(limit, cursors))
        try:
            while True:
                event = await self._events.get()
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, SearchResult):
                    break
                yield event
        finally:
            merging.cancel()
            await asyncio.gather(merging, return_exceptions=True)
            await self._stop()
        yield event

    async def _merged(self, limit: int, cursors: Cursors) -> None:
        try:
            items = await self._merge.page(limit)
            result = self._result(items, cursors)
        except Exception as failure:
            # Whoever reads the events meets it there.
            self._events.put_nowait(failure)
        else:
            self._events.put_nowait(result)

    def _result(self, items: list[Item], cursors: Cursors) -> SearchResult:
        state = self._reached()
        going_on = any(
            source.healthy and state.places[name].open for name, source in self.sources.items()
        )
        counts = [self._count(part, state) for part in self._parts if not part.why_not]
        known = [count for count in counts if count is not None]
        return SearchResult(
            [trimmed(item, self._query.fields) for item in items],
            self.reports(Counter(item[PROVIDER_MEMBER] for item in items)),
            next=cursors.write(self._query, state) if going_on else "",
            matched=sum(known) if len(known) == len(counts) else None,
        )

    def _count(self, part: Part, state: State) -> int | None:
        place = state.places.get(part.provider.id)
        return place.count if place is not None else None

    def _reached(self) -> State:
        """Where everything stands now."""
        places = {
            **self._state.places,
            **{name: source.place() for name, source in self.sources.items()},
        }
        seen = self._state.seen
        reached = [
            # In an order of its own anything may still come.
            None if place.mode == "own" else place.reached
            for place in places.values()
            if place.open
        ]
        seen.forget(reached, newest_first=_direction(self._query))
        if len(places) < 2:
            seen.products.clear()
        return State(places, seen)

    async def all(self) -> AsyncGenerator[list[Item], None]:
        """Every item of every source in order, as many at a time as are there."""
        self._start()
        fields = self._query.fields
        try:
            async for items in self._merge.all():
                yield items if fields is None else [trimmed(item, fields) for item in items]
        finally:
            await self._stop()

    def reports(self, returned: Counter[str]) -> list[ProviderReport]:
        """What every provider did, in the site's order.

        :param returned: how many items of each are in the answer.
        """
        found = []
        for part in self._parts:
            provider = part.provider
            source = self.sources.get(provider.id)
            if source is not None:
                found.append(source.report(returned[provider.id]))
                continue
            place = self._state.places.get(provider.id, Place())
            status: Literal["ok", "error", "skipped"] = "skipped" if part.why_not else "ok"
            error, note = "", part.why_not
            if place.failures >= MOST_FAILURES:
                status = "error"
                error = f"{provider.title} failed {MOST_FAILURES} times and is not asked again."
            elif place.done:
                status, note = "ok", "it has nothing more"
            found.append(
                ProviderReport(
                    id=provider.id,
                    title=provider.title,
                    status=status,
                    matched=place.count,
                    error=error,
                    note=note,
                )
            )
        return found


def _direction(query: SearchQuery) -> bool | None:
    """Whether time runs backward in the order asked for; None when it is not the order."""
    key = order_of(query)[0]
    return key.descending if key.field == "datetime" else None
