"""Asking the federation: items one after the other, and what each provider did at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from platformdirs import user_data_path

from cscale_cli.search.report import Outcome
from cscale_core.catalog.federation import Federation
from cscale_core.catalog.query import SearchQuery
from cscale_core.catalog.registry import Registry
from cscale_core.catalog.report import Found, ProviderReport, SearchResult
from cscale_core.http import guarded_client
from cscale_core.identity.tokens import LoopbackTokens
from cscale_core.site import Site

# The last good list of the site registry, in the data folder.
_LIST = "registry.json"
_OLD = timedelta(days=1)
_PATIENCE = 5.0

Take = Callable[[dict[str, Any]], None]
OnEvent = Callable[[Found | ProviderReport], None]


@asynccontextmanager
async def opened(site: Site, say: Callable[[str], None]) -> AsyncIterator[Federation]:
    """The federation of a site with the providers of its registry; it is closed at the end.

    :param say: told, in a sentence, what is wrong with the registry.
    """
    async with guarded_client(site) as http:
        registry = Registry(site, http, cache=user_data_path("cscale", appauthor=False) / _LIST)
        await registry.start()
        try:
            if site.site_registry is not None:
                await _renew(registry)
            if registry.state.problem:
                say(registry.state.problem)
            yield Federation(site, http, LoopbackTokens(), providers=lambda: registry.providers)
        finally:
            await registry.stop()


async def _renew(registry: Registry) -> None:
    """Wait for the list where there is none yet, and a little where it is old.

    A command ends before the registry's own hour has passed, so nobody else would renew it.
    """
    read_at = registry.state.read_at
    if read_at is None:
        await registry.refresh()
    elif datetime.now(UTC) - read_at > _OLD:
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await registry.refresh()


async def ask(
    federation: Federation,
    query: SearchQuery,
    take: Take,
    on_event: OnEvent,
    *,
    everything: bool = False,
) -> Outcome:
    """Give every item of the answer to ``take``, in the order of the answer.

    :param everything: not one page but all of them; memory stays that of a few pages.
    :param on_event: called with what each provider found or did, as soon as it is known.
    :raises InvalidInput: when the question names a provider or a property that cannot be.
    """
    if everything:
        return await _all(federation, query, take, on_event)
    async with aclosing(federation.stream(query)) as events:
        async for event in events:
            if not isinstance(event, SearchResult):
                on_event(event)
                continue
            for item in event.items:
                take(item)
            return Outcome(
                tuple(event.providers),
                len(event.items),
                matched=event.matched,
                more=bool(event.next),
            )
    return Outcome((), 0)


async def _all(
    federation: Federation, query: SearchQuery, take: Take, on_event: OnEvent
) -> Outcome:
    last: dict[str, ProviderReport] = {}

    def note(report: ProviderReport) -> None:
        last[report.id] = report
        on_event(report)

    count = 0
    async for item in federation.items(query, on_report=note):
        take(item)
        count += 1
    reports = [last[each.id] for each in federation.providers if each.id in last]
    return Outcome(tuple(reports), count)
