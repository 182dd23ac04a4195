"""Which providers answer now, and how fast: asked while somebody wants to know, and not longer.

A provider is online when its landing page answers with JSON; one that asks for a login answers
too. The first question, and the first one after a long pause, waits for an answer of everybody
within a bound; others get what is known, which is renewed in the background until nobody has asked
for some minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

import httpx
from pydantic import BaseModel, ConfigDict, Field

from cscale_core.errors import CScaleError
from cscale_core.http import fetch_json, provider_egress
from cscale_core.providers import Provider
from cscale_core.site import Site

_PATIENCE = 30.0
_LOGIN = frozenset({401, 403})


class Watched(Protocol):
    """What is needed of a federation to look after its providers."""

    site: Site
    http: httpx.AsyncClient

    @property
    def providers(self) -> Sequence[Provider]: ...


class ProviderHealth(BaseModel):
    """How one provider answered when it was asked last."""

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    url: str
    kind: str
    online: bool | None = Field(default=None, description="None: not known yet.")
    last_checked: datetime | None = None
    latency: float | None = Field(default=None, description="Seconds to its landing page.")
    error: str = Field(default="", description="Why it is not online, or what it wants.")


class HealthWatch:
    """The health of a federation's providers.

    :param interval: seconds between two looks while somebody asks.
    :param idle: seconds after the last question at which the looking ends.
    """

    def __init__(self, federation: Watched, *, interval: float = 60.0, idle: float = 300.0) -> None:
        self._federation = federation
        self._interval = interval
        self._idle = idle
        self._known: dict[tuple[str, str], ProviderHealth] = {}
        self._asked = 0.0
        self._looked = 0.0
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Task[None] | None = None

    async def list(self) -> Sequence[ProviderHealth]:
        """Every provider in the order of the federation; waits only where too little is known."""
        self._asked = time.monotonic()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep_looking())
        if self._outdated():
            if self._first is None or self._first.done():
                self._first = asyncio.create_task(self.look())
            # Whoever stops waiting does not stop the look for the others.
            await asyncio.shield(self._first)
        return [
            self._known.get(self._key(provider), _told(provider))
            for provider in self._federation.providers
        ]

    def _outdated(self) -> bool:
        providers = self._federation.providers
        return time.monotonic() - self._looked > self._idle or any(
            self._key(provider) not in self._known for provider in providers
        )

    async def look(self) -> None:
        """Ask every provider now, all at the same time."""
        providers = tuple(self._federation.providers)
        found = await asyncio.gather(*(self._ask(provider) for provider in providers))
        self._known = {
            self._key(provider): health for provider, health in zip(providers, found, strict=True)
        }
        self._looked = time.monotonic()

    async def stop(self) -> None:
        """End the looking."""
        for task in (self._task, self._first):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._task = self._first = None

    async def _keep_looking(self) -> None:
        while time.monotonic() - self._asked < self._idle:
            if time.monotonic() - self._looked >= self._interval and self._first_done():
                await self.look()
            await asyncio.sleep(self._interval)

    def _first_done(self) -> bool:
        return self._first is not None and self._first.done()

    @staticmethod
    def _key(provider: Provider) -> tuple[str, str]:
        return provider.id, provider.url

    async def _ask(self, provider: Provider) -> ProviderHealth:
        egress = provider_egress(self._federation.site, provider)
        begun = time.monotonic()
        error = ""
        online = False
        patience = min(provider.deadline, _PATIENCE)
        try:
            async with asyncio.timeout(patience):
                answer = await fetch_json(self._federation.http, egress, "GET", provider.url)
        except TimeoutError:
            error = f"It did not answer within {patience:g} seconds."
        except CScaleError as failed:
            error = failed.message
        else:
            online = answer.status in _LOGIN or (answer.status == httpx.codes.OK and answer.is_json)
            if answer.status != httpx.codes.OK:
                login = answer.status in _LOGIN
                error = "It asks for a login." if login else f"It answered {answer.status}."
            elif not answer.is_json:
                error = "It answered something that is not JSON."
        latency = round(time.monotonic() - begun, 3) if online else None
        return _told(provider).model_copy(
            update={
                "online": online,
                "last_checked": datetime.now(UTC),
                "latency": latency,
                "error": error,
            }
        )


def _told(provider: Provider) -> ProviderHealth:
    return ProviderHealth(
        id=provider.id, title=provider.title, url=provider.url, kind=provider.kind
    )
