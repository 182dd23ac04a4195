"""Ended jobs as notices: written down once, told as an event, and kept until they were seen.

The store and the engines call :meth:`Notices.changed` from any thread. A job may end while nobody
looks, or while the server is down; it is told when the server hears of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from logging import Logger
from pathlib import Path
from typing import Any

from cscale_core.errors import CScaleError
from cscale_core.jobs.model import Job
from cscale_core.saved.notices import Notice, NoticeStore, notice_of

SCHEMA_ID = "https://schema.c-scale.eu/cscale/notice/v1"
SCHEMA_FILE = Path(__file__).parent / "event_schemas" / "notice" / "v1.yaml"

_NOT_TOLD = {"ended", "seen"}


class Notices:
    """Hands notices to ``emit(data)`` on the event loop, each once."""

    def __init__(
        self,
        store: NoticeStore,
        emit: Callable[[dict[str, Any]], object],
        loop: asyncio.AbstractEventLoop,
        log: Logger,
    ) -> None:
        self._store = store
        self._emit = emit
        self._loop = loop
        self._log = log
        self._told: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def changed(self, job: Job) -> None:
        """A job changed; told when it has ended. From any thread."""
        notice = notice_of(job)
        if notice is not None:
            self._hand_over(lambda: self._tell(notice))

    def deleted(self, job_id: str) -> None:
        """A job is not in the list any more. From any thread."""
        self._hand_over(lambda: self._forget(job_id))

    async def stop(self) -> None:
        """Write what is under way."""
        await asyncio.gather(*self._tasks)

    def _hand_over(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._begin, work)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self._loop.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, notice: Notice) -> None:
        if notice.job in self._told:
            return
        self._told.add(notice.job)
        try:
            new = await asyncio.to_thread(self._store.add, notice)
        except CScaleError as error:
            # It is told all the same; only who is away will not hear of it.
            self._log.warning("A notice could not be kept: %s", error.message)
            new = True
        if new:
            self._emit(notice.model_dump(mode="json", exclude=_NOT_TOLD))

    async def _forget(self, job_id: str) -> None:
        try:
            await asyncio.to_thread(self._store.remove, job_id)
        except CScaleError as error:
            self._log.warning("A notice could not be removed: %s", error.message)
