"""Job changes as Jupyter events: at most two a second for a job, the last one always.

The store and the engines call :meth:`JobEvents.changed` from any thread; events leave on the
server's event loop over the socket every front end already keeps open (``api/events/subscribe``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cscale_core.jobs.model import Job

SCHEMA_ID = "https://schema.c-scale.eu/cscale/job/v1"
SCHEMA_FILE = Path(__file__).parent / "event_schemas" / "job" / "v1.yaml"
INTERVAL = 0.5
"""Seconds between two events of one job."""

DELETED = "deleted"
"""Stands in the place of the status of a job that is not there any more."""

_MESSAGE_LENGTH = 300


class JobEvents:
    """Coalesces changes per job and hands them to ``emit(data)`` on the event loop."""

    def __init__(
        self, emit: Callable[[dict[str, Any]], object], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._emit = emit
        self._loop = loop
        self._sent: dict[str, tuple[int, float]] = {}
        self._waiting: dict[str, dict[str, Any]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def changed(self, job: Job) -> None:
        """Tell that a job changed. May be called from any thread."""
        self._hand_over(job.id, job.revision, job.status.value, job.progress, job.message)

    def deleted(self, job_id: str, revision: int) -> None:
        """Tell that a job was deleted, by the revision of the list after it. From any thread."""
        self._hand_over(job_id, revision, DELETED, None, "")

    def _hand_over(
        self, job_id: str, revision: int, status: str, progress: float | None, message: str
    ) -> None:
        data = {
            "id": job_id,
            "revision": revision,
            "status": status,
            "progress": progress,
            "message": message[:_MESSAGE_LENGTH],
        }
        if self._loop.is_closed():
            return  # the server has ended: nobody is left to be told
        self._loop.call_soon_threadsafe(self._take, data)

    def flush(self) -> None:
        """Send what waits, now; called on the event loop before the server stops."""
        for timer in self._timers.values():
            timer.cancel()
        for job_id in list(self._timers):
            self._send(job_id)

    def _take(self, data: dict[str, Any]) -> None:
        job_id = data["id"]
        revision, when = self._sent.get(job_id, (-1, float("-inf")))
        newest = max(revision, self._waiting.get(job_id, {}).get("revision", -1))
        if data["revision"] <= newest:
            return  # overtaken on its way from another thread
        self._waiting[job_id] = data
        if job_id in self._timers:
            return
        wait = when + INTERVAL - self._loop.time()
        if wait <= 0:
            self._send(job_id)
        else:
            self._timers[job_id] = self._loop.call_later(wait, self._send, job_id)

    def _send(self, job_id: str) -> None:
        self._timers.pop(job_id, None)
        data = self._waiting.pop(job_id, None)
        if data is not None:
            self._sent[job_id] = (data["revision"], self._loop.time())
            self._emit(data)
