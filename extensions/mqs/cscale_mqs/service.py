"""The federation as this service asks it: for nobody in particular, and never too much at once.

Only providers that anybody may use are asked. Those that need a login or a membership stay in
every report as skipped, with the reason, so that nobody takes them for empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cscale_core.catalog.collections import Collections
from cscale_core.catalog.federation import Federation
from cscale_core.catalog.health import HealthWatch
from cscale_core.catalog.query import SearchQuery
from cscale_core.catalog.registry import Registry
from cscale_core.catalog.report import ProviderReport
from cscale_core.errors import InvalidInput, NotFound
from cscale_core.http import guarded_client
from cscale_core.providers import Provider
from cscale_mqs.config import Config
from cscale_mqs.limits import Gate
from cscale_mqs.links import SEPARATOR
from cscale_mqs.problems import Problem
from cscale_mqs.secret import cursor_key

log = logging.getLogger("cscale.mqs")


@dataclass(frozen=True, slots=True)
class Page:
    """One merged page, and what every provider did for it."""

    items: list[dict[str, Any]]
    reports: list[dict[str, Any]]
    next: str
    matched: int | None
    complete: bool


@dataclass(frozen=True, slots=True)
class Known:
    """The collections of all providers (ids ``PROVIDER|collection``), and who told."""

    documents: list[dict[str, Any]]
    reports: list[dict[str, Any]]
    complete: bool


def closed(provider: Provider, own: str = "") -> str:
    """Why a public service does not ask this provider, in a sentence; empty: it does.

    :param own: the service's own public address.
    """
    if own and provider.url.rstrip("/") == own.rstrip("/"):
        return "It is this service itself."
    if provider.policy.entitlement:
        return "It is for members of a virtual organisation only; search it from your own server."
    if provider.auth != "none":
        return "It needs a login, and this service has none; search it from your own server."
    return ""


class MetadataService:
    """Registry, engine, collections and health of the federation, with bounds for a public door.

    :raises OSError: when the configured folder cannot be used.
    """

    def __init__(self, config: Config) -> None:
        site = config.site
        folder = config.data_dir
        self.max_limit = config.max_limit
        self._own = config.public_root
        self._http = guarded_client(site)
        self._registry = Registry(
            site, self._http, cache=None if folder is None else folder / "registry.json"
        )
        self.federation = Federation(
            site, self._http, None, providers=self._open, key=cursor_key(folder)
        )
        self._collections = Collections(self.federation)
        self._health = HealthWatch(self.federation)
        self._gate = Gate(config.max_running, config.max_waiting, config.patience)
        self._warming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the registry, and learn in the background what the providers can do."""
        await self._registry.start()
        self._warming = asyncio.create_task(self.federation.warm())

    async def stop(self) -> None:
        """Give back everything."""
        if self._warming is not None:
            self._warming.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._warming
        await self._health.stop()
        await self._registry.stop()
        await self._http.aclose()

    def _open(self) -> tuple[Provider, ...]:
        return tuple(each for each in self._registry.providers if not closed(each, self._own))

    def _reported(self, reports: Sequence[ProviderReport]) -> list[dict[str, Any]]:
        """Reports of all providers in their order, those that are not asked too."""
        told = {report.id: report for report in reports}
        for provider in self._registry.providers:
            if reason := closed(provider, self._own):
                told[provider.id] = ProviderReport(
                    id=provider.id, title=provider.title, status="skipped", note=reason
                )
        order = [provider.id for provider in self._registry.providers]
        order += [name for name in told if name not in order]
        return [told[name].model_dump(mode="json") for name in order if name in told]

    async def search(self, query: SearchQuery, token: str) -> Page:
        """One merged page.

        Names of collections whose provider is not here, or is not asked, find nothing.

        :raises InvalidInput: for a question that no archive can answer, or a cursor that is none.
        :raises Problem: 503 when too much is asked at the moment.
        """
        if query.collections:
            ours = {provider.id for provider in self._open()}
            asked = [name for name in query.collections if _owner(name) in {"", *ours}]
            if not asked:
                return Page([], self._reported([]), "", 0, True)
            query = query.model_copy(update={"collections": asked})
        async with self._gate.turn():
            result = await self.federation.search(query, token)
        refusals = [each for each in result.providers if each.status == "unsupported"]
        if refusals and all(each.status in ("skipped", "unsupported") for each in result.providers):
            raise InvalidInput(
                f"No archive can answer this question. {refusals[0].error}".strip(),
                hint="The filter asks for something that no archive knows and that cannot be "
                "applied here.",
            )
        return Page(
            result.items,
            self._reported(result.providers),
            result.next,
            result.matched,
            result.complete,
        )

    async def item(self, collection: str, name: str) -> dict[str, Any]:
        """An item of ``PROVIDER|collection``, as its provider gives it now.

        :raises NotFound: when there is none.
        """
        provider, own = self._split(collection)
        async with self._gate.turn():
            return await self.federation.item(
                self.federation.ref({"cscale:provider": provider.id, "collection": own, "id": name})
            )

    def _split(self, collection: str) -> tuple[Provider, str]:
        """The provider of ``PROVIDER|collection``, and its own id of the collection.

        :raises NotFound: when no provider has this id.
        :raises Problem: 403 for a provider that is not asked here.
        """
        owner, bar, own = collection.partition(SEPARATOR)
        for provider in self._registry.providers:
            if bar and provider.id == owner:
                if reason := closed(provider, self._own):
                    raise Problem(403, f"{provider.title}: {reason}")
                return provider, own
        raise NotFound(
            f"There is no collection {collection[:200]}.",
            hint="Collections are named PROVIDER|collection; /collections lists them.",
        )

    async def collections(self) -> Known:
        """The collections of all providers that are asked."""
        async with self._gate.turn():
            documents, told = await self._collections.documents()
        reports = {report.id: report.model_dump(mode="json") for report in told}
        for provider in self._registry.providers:
            if reason := closed(provider, self._own):
                reports[provider.id] = {
                    "id": provider.id,
                    "title": provider.title,
                    "status": "skipped",
                    "note": reason,
                }
        return Known(
            documents,
            [reports[each.id] for each in self._registry.providers if each.id in reports],
            all(report.status == "ok" for report in told),
        )

    async def collection(self, name: str) -> dict[str, Any]:
        """The document of ``PROVIDER|collection``.

        :raises NotFound: when there is none.
        :raises UpstreamError: when its provider does not answer.
        """
        self._split(name)
        async with self._gate.turn():
            return await self._collections.get(name)

    async def queryables(self, name: str | None) -> dict[str, Any]:
        """What the items of a collection, or of all, can be filtered by: a JSON schema.

        :raises NotFound: when there is no such collection.
        """
        if name is not None:
            await self.collection(name)
        async with self._gate.turn():
            return await self._collections.queryables(name)

    async def data_providers(self) -> list[dict[str, Any]]:
        """Every provider, as the C-SCALE MQS listed them, with what is known of each besides."""
        health = {each.id: each for each in await self._health.list()}
        listed = []
        for provider in self._registry.providers:
            seen = health.get(provider.id)
            told = {} if seen is None else seen.model_dump(mode="json")
            listed.append(
                {
                    "identifier": provider.id,
                    "name": provider.title,
                    "stac_url": provider.url,
                    "limit": provider.limit,
                    "online": told.get("online"),
                    "last_checked": told.get("last_checked"),
                    "kind": provider.kind,
                    "auth": provider.auth,
                    "latency": told.get("latency"),
                    "error": told.get("error", ""),
                    "skipped": closed(provider, self._own),
                    "licence": provider.policy.licence,
                    "contacts": list(provider.policy.contacts),
                }
            )
        return listed


def _owner(collection: str) -> str:
    """The provider that a name of a collection says, or nothing."""
    owner, bar, _ = collection.partition(SEPARATOR)
    return owner if bar else ""
