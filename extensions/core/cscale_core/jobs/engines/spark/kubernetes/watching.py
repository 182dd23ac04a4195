"""One watch for all applications of a user in a namespace.

The list is read once, then the cluster tells what changes (the API's list and watch). Where the
stream ends it is taken up again from the last version; where that is too old, the list is read
anew. Nothing is asked while no job is followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

from cscale_core.errors import CScaleError, NotFound
from cscale_core.jobs.engines.spark.kubernetes.client import Expired, refusal
from cscale_core.jobs.engines.spark.kubernetes.cluster import Cluster
from cscale_core.jobs.engines.spark.kubernetes.states import Application
from cscale_core.jobs.polling import Backoff, Subscription

_logger = logging.getLogger(__name__)

#: Seconds of trouble that are not told; the first and the longest wait between attempts.
PATIENCE_SECONDS = 15.0
RETRY_SECONDS = (1.0, 120.0)
#: Seconds that a watch lasts, or there is a pause.
SHORTEST_SECONDS = 1.0


class Applications:
    """Keeps what is known of the followed applications, and wakes who follows them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._followed: dict[str, Subscription[Application]] = {}
        self._task: asyncio.Task[None] | None = None
        self._troubled: float | None = None
        self._backoff = Backoff(*RETRY_SECONDS)

    def follow(self, known: Application) -> Subscription[Application]:
        """Follow an application that was just created or read; :meth:`leave` ends it."""
        subscription = Subscription[Application](known.name, asyncio.get_running_loop().time())
        subscription.state = known
        self._followed[known.name] = subscription
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="spark applications")
        return subscription

    def leave(self, subscription: Subscription[Application]) -> None:
        """Follow it no longer; with the last one the watch ends."""
        if self._followed.get(subscription.identifier) is subscription:
            del self._followed[subscription.identifier]
        if not self._followed and self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """Stop watching."""
        self._followed.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._followed:
            try:
                version = await self._read()
                while self._followed:
                    begun = loop.time()
                    version = await self._watch(version)
                    if loop.time() - begun < SHORTEST_SECONDS:
                        # Something on the way ends streams at once: ask no more often for that.
                        await asyncio.sleep(SHORTEST_SECONDS)
            except Expired:
                await asyncio.sleep(self._backoff.failed())
            except CScaleError as error:
                await asyncio.sleep(self._failed(error))
            except Exception as error:
                # A mistake of ours must not leave every application unwatched.
                _logger.exception("watching the applications failed")
                problem = f"Watching failed: {type(error).__name__}: {error}"
                await asyncio.sleep(self._failed(CScaleError(problem)))

    async def _read(self) -> str:
        """Read the list; gives the version to watch from."""
        asked = dict(self._followed)
        found, version = await self._cluster.applications()
        self._succeeded()
        for name, subscription in asked.items():
            if self._followed.get(name) is not subscription:
                continue
            if name in found:
                self._tell(found[name])
            else:
                self._gone(name)
        return version

    async def _watch(self, version: str) -> str:
        """Pass on what happens after a version, until the stream ends; gives the last version."""
        async with contextlib.aclosing(self._cluster.watch(version)) as stream:  # type: ignore[type-var]
            async for event in stream:
                self._succeeded()
                body: dict[str, Any] = event.get("object") or {}
                kind = event.get("type")
                if kind == "ERROR":
                    status = int(body.get("code") or 500)
                    said = json.dumps(body).encode()
                    raise refusal(status, said, "Watching the applications", {})
                version = str((body.get("metadata") or {}).get("resourceVersion") or version)
                if kind in ("ADDED", "MODIFIED"):
                    self._tell(Application.of(body))
                elif kind == "DELETED":
                    self._gone(Application.of(body).name)
        return version

    def _tell(self, application: Application) -> None:
        subscription = self._followed.get(application.name)
        if subscription is None:
            return
        if subscription.state != application or subscription.trouble or subscription.gone:
            subscription.state = application
            subscription.trouble = subscription.gone = None
            subscription.wake()

    def _gone(self, name: str) -> None:
        subscription = self._followed.get(name)
        if subscription is not None:
            subscription.gone = NotFound(f"The cluster does not know {name} any more.")
            subscription.wake()

    def _succeeded(self) -> None:
        self._backoff.succeeded()
        if self._troubled is not None:
            self._troubled = None
            for subscription in self._followed.values():
                if subscription.trouble is not None:
                    subscription.trouble = None
                    subscription.wake()

    def _failed(self, error: CScaleError) -> float:
        now = asyncio.get_running_loop().time()
        if self._troubled is None:
            self._troubled = now
        if now - self._troubled >= PATIENCE_SECONDS or not error.retryable:
            for subscription in self._followed.values():
                if subscription.trouble is None or subscription.trouble.code != error.code:
                    subscription.trouble = error
                    subscription.wake()
        return self._backoff.failed()
