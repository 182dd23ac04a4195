"""The providers of a site: those that the operator declares, and those of the site registry.

The registry (GOCDB) is read again every hour in the background. A reading that fails or finds
nothing keeps the last good list, which also lies on disk, so that a registry that is down takes no
archive away, and many short processes do not ask it more often. What one site's entry has wrong is
a note in :attr:`Registry.state` and costs the others nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from cscale_core.catalog.gocdb import Reading, acceptable, fetch_services, fetch_sites
from cscale_core.errors import CScaleError
from cscale_core.http import allowed_hosts, site_egress
from cscale_core.providers import Provider, SiteRegistry
from cscale_core.site import Site

_AT_ONCE = 4
_JITTER = 0.1
# After a reading that failed, not a whole interval is waited.
_AGAIN = 60.0

_log = logging.getLogger(__name__)


class RegistryState(BaseModel):
    """When the site registry was read, and what it said."""

    model_config = ConfigDict(frozen=True)

    url: str = ""
    read_at: datetime | None = None
    """Of the list in use; None: never."""
    tried_at: datetime | None = None
    problem: str = ""
    """Why the last reading failed; the last good list is in use."""
    notes: tuple[str, ...] = ()
    """What entries have wrong."""
    sites: tuple[str, ...] = ()
    """The sites that brought a provider."""


class _Kept(BaseModel):
    """The last good list on disk."""

    registry: SiteRegistry
    read_at: datetime
    sites: dict[str, tuple[Provider, ...]]


class Registry:
    """All providers of a site, kept up to date while it runs.

    :param http: made by :func:`cscale_core.http.guarded_client`; not closed here.
    :param cache: the file for the last good list; None: none is kept.
    """

    def __init__(self, site: Site, http: httpx.AsyncClient, *, cache: Path | None = None) -> None:
        self._site = site
        self._http = http
        self._cache = cache
        self._sites: dict[str, tuple[Provider, ...]] = {}
        self._registered: tuple[Provider, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        url = site.site_registry.url if site.site_registry is not None else ""
        self.state = RegistryState(url=url)

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Those of the site first, then those of the site registry; every id once."""
        return (*self._site.providers, *self._registered)

    async def start(self) -> None:
        """Take up the list on disk, and begin to read the registry in the background.

        A list on disk that is younger than the interval is not read again before its time.
        """
        if self._site.site_registry is None or self._task is not None:
            return
        await self._take_up(self._site.site_registry)
        self._task = asyncio.create_task(self._keep_reading(self._site.site_registry))

    async def stop(self) -> None:
        """End the reading; the list stays."""
        for task in (self._task, self._reading):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._task = self._reading = None

    async def refresh(self) -> RegistryState:
        """Read the registry now, or wait for the reading under way.

        A failure is in the state, not an exception.
        """
        if self._site.site_registry is None:
            return self.state
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(self._site.site_registry))
        # Whoever stops waiting does not stop the reading for the others.
        await asyncio.wait([self._reading])
        return self.state

    async def _keep_reading(self, registry: SiteRegistry) -> None:
        wait = self._remaining(registry)
        while True:
            await asyncio.sleep(wait)
            await self.refresh()
            wait = registry.interval
            if self.state.problem:
                wait = min(wait, _AGAIN)
            wait *= SystemRandom().uniform(1 - _JITTER, 1 + _JITTER)

    def _remaining(self, registry: SiteRegistry) -> float:
        """Seconds for which the list on disk is still good; of one from the future, none."""
        if self.state.read_at is None:
            return 0.0
        age = (datetime.now(UTC) - self.state.read_at).total_seconds()
        return max(registry.interval - age, 0.0) if age >= 0 else 0.0

    async def _read(self, registry: SiteRegistry) -> None:
        now = datetime.now(UTC)
        try:
            names = await self._names(registry)
            readings = await self._readings(registry, names)
        except CScaleError as error:
            self._failed(now, error.message)
            return
        except Exception:
            # Whatever the registry answers, the archives that are known stay.
            _log.exception("the site registry could not be read")
            self._failed(now, "The site registry answered in a way that could not be read.")
            return
        silent = [name for name, reading in readings.items() if isinstance(reading, str)]
        sites = {
            name: self._sites.get(name, ()) if isinstance(reading, str) else reading.providers
            for name, reading in readings.items()
        }
        sites = {name: providers for name, providers in sites.items() if providers}
        if not sites:
            reason = str(readings[silent[0]]) if silent else "It names no STAC API of any site."
            self._failed(now, f"The site registry gave no provider: {reason}")
            return
        notes = [
            note for each in readings.values() if isinstance(each, Reading) for note in each.notes
        ]
        notes += [f"{name}: its last good entry is used, {readings[name]}" for name in silent]
        self._use(sites, notes, read_at=now, tried_at=now)
        await asyncio.to_thread(self._keep, registry, now)

    async def _names(self, registry: SiteRegistry) -> tuple[str, ...]:
        names = await fetch_sites(self._http, site_egress(self._site), registry.url, registry.scope)
        only = {name.casefold() for name in registry.only}
        without = {name.casefold() for name in registry.without}
        return tuple(
            name
            for name in names
            if name.casefold() not in without and (not only or name.casefold() in only)
        )

    async def _readings(
        self, registry: SiteRegistry, names: Iterable[str]
    ) -> dict[str, Reading | str]:
        """What each site's entry says, or why it could not be read."""
        egress = site_egress(self._site)
        places = asyncio.Semaphore(_AT_ONCE)
        audiences = {site.casefold(): audience for site, audience in registry.audiences.items()}

        async def read(name: str) -> Reading | str:
            audience = audiences.get(name.casefold(), "")
            try:
                async with places:
                    return await fetch_services(
                        self._http, egress, registry.url, name, audience=audience
                    )
            except CScaleError as error:
                return error.message

        asked = list(names)
        return dict(zip(asked, await asyncio.gather(*map(read, asked)), strict=True))

    def _use(
        self,
        sites: Mapping[str, tuple[Provider, ...]],
        notes: Iterable[str],
        *,
        read_at: datetime,
        tried_at: datetime | None,
    ) -> None:
        """Take a list into use, as far as it may be."""
        noted = list(notes)
        taken: list[Provider] = []
        ids = {provider.id.casefold() for provider in self._site.providers}
        urls = {provider.url.rstrip("/") for provider in self._site.providers}
        allowed = allowed_hosts(self._site.allowed_hosts)
        inside = site_egress(self._site).private
        for provider in (each for found in sites.values() for each in found):
            reason = acceptable(provider, inside, allowed)
            if provider.id.casefold() in ids or provider.url.rstrip("/") in urls:
                reason = f"{provider.id}: left out, it is among the declared providers already."
            if reason:
                noted.append(reason)
                continue
            ids.add(provider.id.casefold())
            urls.add(provider.url.rstrip("/"))
            taken.append(provider)
        for note in noted:
            # Once, not with every reading.
            if note not in self.state.notes:
                _log.info("Site registry: %s", note)
        self._sites = dict(sites)
        self._registered = tuple(taken)
        self.state = RegistryState(
            url=self.state.url,
            read_at=read_at,
            tried_at=tried_at,
            notes=tuple(noted),
            sites=tuple(sites),
        )

    def _failed(self, now: datetime, problem: str) -> None:
        _log.warning("%s", problem)
        self.state = self.state.model_copy(update={"tried_at": now, "problem": problem})

    async def _take_up(self, registry: SiteRegistry) -> None:
        kept = await asyncio.to_thread(self._kept, registry)
        if kept is not None:
            self._use(kept.sites, (), read_at=kept.read_at, tried_at=None)

    def _kept(self, registry: SiteRegistry) -> _Kept | None:
        """The list on disk, when it is of the same registry and can be read."""
        if self._cache is None or not self._cache.is_file():
            return None
        try:
            kept = _Kept.model_validate_json(self._cache.read_bytes())
        except (OSError, ValidationError) as error:
            _log.warning("The list of the site registry in %s is not used: %s", self._cache, error)
            return None
        # With other settings other sites are taken, and others may get tokens.
        return kept if kept.registry == registry else None

    def _keep(self, registry: SiteRegistry, now: datetime) -> None:
        if self._cache is None:
            return
        kept = _Kept(registry=registry, read_at=now, sites=self._sites)
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._cache.parent, prefix=".registry-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(kept.model_dump_json(indent=1))
                Path(name).replace(self._cache)
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("The list of the site registry cannot be kept: %s", error)
