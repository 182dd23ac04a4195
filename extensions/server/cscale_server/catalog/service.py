"""Search, items, pictures, collections and the providers' health, put together for the routes.

The engine is :class:`cscale_core.catalog.federation.Federation`. Here its pages are made small for
the browser while the whole items stay in this process, and what costs time is done in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from cscale_core.addresses import localise
from cscale_core.catalog.histogram import Bins, Count, histogram
from cscale_core.catalog.items import PROVIDER_MEMBER
from cscale_core.catalog.mirrors import MIRRORS_MEMBER
from cscale_core.catalog.report import Found, ProviderReport
from cscale_core.errors import InvalidInput, NotFound
from cscale_core.site import Site
from cscale_server.catalog.slim import slim
from cscale_server.catalog.store import ItemStore
from cscale_server.models import (
    BinsLine,
    CountedLine,
    CountLine,
    PageLine,
    ProvidersAnswer,
    ReportLine,
    SearchAnswer,
)

if TYPE_CHECKING:
    from cscale_core.catalog.collections import Collections
    from cscale_core.catalog.federation import Federation, SearchResult
    from cscale_core.catalog.health import HealthWatch
    from cscale_core.catalog.query import SearchQuery
    from cscale_core.catalog.registry import Registry
    from cscale_server.catalog.thumbnails import Picture, Thumbnails

_ASKED_AT_ONCE = 8

Item = dict[str, Any]


class _Sent:
    """At which position, of all the items sent in one answer, an item went out."""

    def __init__(self) -> None:
        self.at: dict[str, int] = {}
        self._count = 0

    def add(self, refs: Iterable[str]) -> None:
        """Further items, in their order."""
        for ref in refs:
            self.at[ref] = self._count
            self._count += 1


class Catalog:
    """What one user's server knows of the federation. None of its parts is closed here."""

    def __init__(
        self,
        site: Site,
        federation: Federation,
        registry: Registry,
        collections: Collections,
        health: HealthWatch,
        thumbnails: Thumbnails,
    ) -> None:
        self._site = site
        self._federation = federation
        self._registry = registry
        self._health = health
        self._thumbnails = thumbnails
        self._kept = ItemStore()
        self.collections = collections

    # -- searching ---------------------------------------------------------------------------

    async def search(self, query: SearchQuery, cursor: str = "") -> SearchResult:
        """One merged page of whole items, as the engine gives it."""
        return await self._federation.search(query, cursor)

    async def page(self, query: SearchQuery, cursor: str = "") -> bytes:
        """One merged page of whole items with this server's addresses, as JSON."""
        found = await self.search(query, cursor)

        def encoded() -> bytes:
            return to_json(
                SearchAnswer(
                    items=[localise(item, self._site) for item in found.items],
                    providers=list(found.providers),
                    next=found.next,
                    complete=found.complete,
                    matched=found.matched,
                )
            )

        return await asyncio.to_thread(encoded)

    async def lines(self, query: SearchQuery, cursor: str = "") -> AsyncGenerator[bytes, None]:
        """One page as lines of JSON, each as soon as it is known; closing it ends the search.

        ``fields`` of the query is not looked at: slim items have members of their own, and whole
        ones are kept.
        """
        sent = _Sent()
        whole = query.model_copy(update={"fields": None})
        async with aclosing(self._federation.stream(whole, cursor)) as events:
            async for event in events:
                if isinstance(event, ProviderReport):
                    yield _line(ReportLine(**event.model_dump()))
                elif isinstance(event, Found):
                    yield await asyncio.to_thread(
                        self._items_line, event.provider, event.items, sent
                    )
                else:
                    for line in await asyncio.to_thread(self._page_lines, event, sent):
                        yield line

    def _items_line(self, provider: str, items: Sequence[Item], sent: _Sent) -> bytes:
        named = [(self._federation.ref(item), item) for item in items]
        self._kept.put(named)
        sent.add(ref for ref, _ in named)
        small = [slim(item, ref) for ref, item in named]
        return _line({"type": "items", "provider": provider, "items": small})

    def _page_lines(self, found: SearchResult, sent: _Sent) -> list[bytes]:
        named = [(self._federation.ref(item), item) for item in found.items]
        # Merging gave these the addresses of their mirrors.
        self._kept.put((ref, item) for ref, item in named if item.get(MIRRORS_MEMBER))
        missing: dict[str, list[Item]] = {}
        for ref, item in named:
            if ref not in sent.at:
                missing.setdefault(str(item.get(PROVIDER_MEMBER, "")), []).append(item)
        lines = [self._items_line(provider, items, sent) for provider, items in missing.items()]
        page = PageLine(
            order=[sent.at[ref] for ref, _ in named],
            mirrors={
                sent.at[ref]: len(item[MIRRORS_MEMBER])
                for ref, item in named
                if item.get(MIRRORS_MEMBER)
            },
            providers=list(found.providers),
            next=found.next,
            complete=found.complete,
            matched=found.matched,
        )
        return [*lines, _line(page)]

    async def histogram(self, query: SearchQuery) -> AsyncGenerator[bytes, None]:
        """How much there is when, as lines; closing it ends every request."""
        async with aclosing(histogram(self._federation, query)) as events:
            async for event in events:
                if isinstance(event, Bins):
                    yield _line(BinsLine(**event.model_dump()))
                elif isinstance(event, Count):
                    yield _line(CountLine(**event.model_dump()))
                else:
                    yield _line(CountedLine(**event.model_dump()))

    async def providers(self) -> ProvidersAnswer:
        """Who is searched, and whether each answers now."""
        return ProvidersAnswer(
            providers=list(await self._health.list()),
            registry=self._registry.state if self._site.site_registry is not None else None,
        )

    # -- single items --------------------------------------------------------------------------

    async def item(self, ref: str) -> Item:
        """A whole item as it was found: kept here, else asked of its provider.

        :raises NotFound: when the provider has no such item, or there is no such provider.
        :raises UpstreamError: when the provider does not answer.
        """
        kept = self._kept.get(ref)
        if kept is not None:
            return kept
        try:
            item = await self._federation.item(ref)
        except InvalidInput as error:
            # A reference that names no provider, or is none, leads nowhere.
            raise NotFound(error.message, hint=error.hint) from error
        await asyncio.to_thread(self._kept.put, [(ref, item)])
        return item

    async def localised(self, ref: str) -> Item:
        """As :meth:`item`, with the addresses of this server."""
        return localise(await self.item(ref), self._site)

    async def items(self, refs: Sequence[str]) -> list[Item]:
        """Several whole items in the order of their references, each once."""
        turn = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def one(ref: str) -> Item:
            async with turn:
                return await self.item(ref)

        asked = [asyncio.create_task(one(ref)) for ref in dict.fromkeys(refs)]
        try:
            return await asyncio.gather(*asked)
        finally:
            for task in asked:
                task.cancel()  # those that go on when one failed

    async def picture(self, ref: str) -> Picture:
        """The thumbnail of an item.

        :raises NotFound: when there is no such item, or it names no picture.
        :raises UpstreamError: when the picture cannot be read, or is none.
        """
        return await self._thumbnails.of(ref, await self.item(ref))


def _line(content: Any) -> bytes:
    return to_json(content) + b"\n"
