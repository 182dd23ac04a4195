"""Search every archive of the federation at once, and say what each of them did.

Each provider is asked concurrently under its own deadline, as far as its data policy lets it have
something. What comes back is repaired where that is certain, checked against the question, because
some APIs ignore what they do not know, and merged in the order asked for; copies of one product
become one result. A provider that fails, hangs or answers nonsense is in the report, never lost
and never an exception. Items stay plain dictionaries with members of ours, ``cscale:…``.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import httpx

from cscale_core.catalog.capabilities import Capabilities, CapabilityBook
from cscale_core.catalog.cursor import Cursors, State
from cscale_core.catalog.door import Door
from cscale_core.catalog.engine import Engine, Part
from cscale_core.catalog.intake import absolute
from cscale_core.catalog.items import PROVIDER_MEMBER
from cscale_core.catalog.kept import KeptPages
from cscale_core.catalog.mirrors import merge_mirrors, nearness
from cscale_core.catalog.preselect import own_collections, why_not
from cscale_core.catalog.query import SearchQuery
from cscale_core.catalog.reader import Reading
from cscale_core.catalog.repair import repair
from cscale_core.catalog.report import Found, ProviderReport, SearchResult
from cscale_core.errors import InvalidInput, NotFound, UpstreamError
from cscale_core.http import provider_egress
from cscale_core.identity.tokens import TokenSource
from cscale_core.providers import Provider
from cscale_core.site import Site

__all__ = ["Federation", "Found", "ProviderReport", "SearchQuery", "SearchResult"]

SEPARATOR = "|"


class Federation:
    """The providers of a site, searched as one.

    :param http: made by :func:`cscale_core.http.guarded_client`; not closed here.
    :param tokens: for providers with ``auth: bearer``; None where there are none.
    :param providers: gives the providers of the moment, the nearest first; without it, those of
        the site. Ones that the site does not name are asked at public addresses only.
    :param key: signs the cursors, so that they hold over a restart; without it, they do not.
    """

    def __init__(
        self,
        site: Site,
        http: httpx.AsyncClient,
        tokens: TokenSource | None,
        *,
        providers: Callable[[], Sequence[Provider]] | None = None,
        key: bytes | None = None,
    ) -> None:
        self.site = site
        self.http = http
        self._tokens = tokens
        self._providers = providers
        self._cursors = Cursors(key if key is not None else secrets.token_bytes(32))
        self._book = CapabilityBook()
        self._kept = KeptPages()

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Who can be asked now, the nearest first."""
        return self.site.providers if self._providers is None else tuple(self._providers())

    def provider(self, name: str) -> Provider:
        """The provider with this id.

        :raises InvalidInput: when there is none.
        """
        for provider in self.providers:
            if provider.id == name:
                return provider
        raise InvalidInput(f"There is no provider {name!r}.", hint=self._known())

    def _known(self) -> str:
        return "Known: " + (", ".join(each.id for each in self.providers) or "none") + "."

    def door(self, provider: Provider) -> Door:
        """The way to ask a provider anything, with its login."""
        return Door(provider, self.http, provider_egress(self.site, provider), self._tokens)

    async def warm(self) -> None:
        """Learn what every provider can do, so that the first search need not ask."""
        doors = [self.door(each) for each in self.providers if each.kind == "api"]
        await asyncio.gather(*(self._book.of(door) for door in doors))

    async def capabilities(self, provider: Provider) -> Capabilities:
        """What a provider can do; never raises for what the provider does."""
        return await self._book.of(self.door(provider))

    def shares(self, query: SearchQuery) -> list[Part]:
        """Every provider's part of a question; who is not asked, and why.

        :raises InvalidInput: when the query names a provider that is not there.
        """
        return self._parts(query, None)

    async def search(
        self,
        query: SearchQuery,
        cursor: str = "",
        on_report: Callable[[ProviderReport], None] | None = None,
    ) -> SearchResult:
        """One merged page; as :meth:`stream`, without the parts.

        :param on_report: called with each provider's report as soon as it has been read.
        """
        async with aclosing(self.stream(query, cursor)) as events:
            async for event in events:
                if isinstance(event, SearchResult):
                    return event
                if isinstance(event, ProviderReport) and on_report is not None:
                    on_report(event)
        raise AssertionError("a stream ends with the merged page")

    async def stream(
        self, query: SearchQuery, cursor: str = ""
    ) -> AsyncGenerator[Found | ProviderReport | SearchResult, None]:
        """Items as they come in, a report when a provider has been read, the merged page last.

        What is found may be more than the merged page has. A provider that fails is asked again
        for the next page, from where it was; its items may then come late. Closing the iterator
        ends every request.

        :param cursor: ``next`` of the page before; empty: the first page.
        :raises InvalidInput: when the query names a provider that is not there, or the cursor is
            not one of this search.
        """
        state = self._cursors.read(query, cursor) if cursor else State()
        parts = self._parts(query, state if cursor else None)
        reading = Reading(self.site, self._book, self._kept, query.limit, reuse=bool(cursor))
        engine = Engine(query, parts, state, reading, self._joined())
        async with aclosing(engine.page(query.limit, self._cursors)) as events:
            async for event in events:
                yield event

    async def items(
        self,
        query: SearchQuery,
        on_report: Callable[[ProviderReport], None] | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Every item that answers the question, merged, however many there are.

        Memory stays flat. ``query.limit`` does not matter. Every page has the provider's whole
        deadline, and a page that failed in passing is asked for again.

        :param on_report: called with the report of every provider at the end.
        :raises InvalidInput: when the query names a provider that is not there.
        """
        parts = self.shares(query)
        reading = Reading(self.site, self._book, None, None, reuse=False)
        engine = Engine(query, parts, State(), reading, self._joined())
        returned: Counter[str] = Counter()
        async with aclosing(engine.all()) as some:
            async for items in some:
                returned.update(item[PROVIDER_MEMBER] for item in items)
                for item in items:
                    yield item
        if on_report is not None:
            for report in engine.reports(returned):
                on_report(report)

    def _parts(self, query: SearchQuery, state: State | None) -> list[Part]:
        """Every provider's part; who is not asked, and why."""
        providers = self.providers
        known = {provider.id for provider in providers}
        if unknown := [name for name in query.providers if name not in known]:
            raise InvalidInput(
                f"There is no provider {', '.join(map(repr, unknown))}.", hint=self._known()
            )
        now = datetime.now(UTC)
        parts = []
        for provider in providers:
            reason = why_not(provider, query, self.site, now)
            if state is not None and provider.id not in state.places:
                reason = reason or "It was not there when this search began."
            own = self._own(query, provider, known)
            parts.append(Part(self.door(provider), own, reason))
        return parts

    @staticmethod
    def _own(query: SearchQuery, provider: Provider, known: set[str]) -> SearchQuery:
        if not query.collections:
            return query
        # A name with | in it that names no provider is some provider's own name.
        return query.model_copy(
            update={"collections": own_collections(provider, query.collections)}
        )

    def _joined(self) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        rank = nearness(self.site, self.providers, login=self._tokens is not None)
        return lambda items: merge_mirrors(items, rank)

    def ref(self, item: dict[str, Any]) -> str:
        """The address of an item in the federation: ``provider|collection|id``, percent-encoded."""
        parts = (item[PROVIDER_MEMBER], item.get("collection") or "", item["id"])
        return SEPARATOR.join(quote(part, safe="") for part in parts)

    async def item(self, ref: str) -> dict[str, Any]:
        """The item with this address, asked from its provider.

        :raises InvalidInput: when it is no address of an item, or the provider is not there.
        :raises NotFound: when the provider has no such item.
        :raises UpstreamError: when the provider fails.
        """
        parts = [unquote(part) for part in ref.split(SEPARATOR)]
        if len(parts) != 3 or not parts[0] or not parts[2]:
            raise InvalidInput(f"{ref!r} is not the address of an item.")
        name, collection, wanted = parts
        provider = self.provider(name)
        if provider.kind == "api" and collection:
            found = await self._direct(provider, collection, wanted)
            if found is not None:
                return found
        return await self._looked_up(provider, collection, wanted)

    async def _direct(
        self, provider: Provider, collection: str, wanted: str
    ) -> dict[str, Any] | None:
        path = f"collections/{quote(collection, safe='')}/items/{quote(wanted, safe='')}"
        url = f"{provider.url.rstrip('/')}/{path}"
        answer = (await self.door(provider).ask("GET", url)).parsed()
        if answer.status != 200:
            return None
        item: dict[str, Any] = answer.body
        if repair(item) or item["id"] != wanted:
            return None
        absolute(item, answer.url)
        item[PROVIDER_MEMBER] = provider.id
        return item

    async def _looked_up(self, provider: Provider, collection: str, wanted: str) -> dict[str, Any]:
        query = SearchQuery(
            ids=[wanted],
            collections=[f"{provider.id}{SEPARATOR}{collection}"] if collection else [],
            providers=[provider.id],
        )
        result = await self.search(query)
        if result.items:
            return result.items[0]
        report = next(each for each in result.providers if each.id == provider.id)
        if report.status in ("ok", "skipped"):
            raise NotFound(f"{provider.title} has no item {wanted}.")
        raise UpstreamError(report.error, retryable=True)
