"""The border between the manager and the engines.

An engine has one working method, :meth:`Engine.run`: bring a job that is written in the store to
its end, whether it is new or was under way when an earlier server stopped. What it has to remember
for that (ids, cursors) it keeps in the job and in ``handle.state``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from cscale_core.errors import CScaleError
from cscale_core.jobs.model import EngineName, Job, JobError, JobSpec, JobStatus, utc_now
from cscale_core.jobs.store import JobStore

_logger = logging.getLogger(__name__)

#: Progress is written at most this often.
PROGRESS_SECONDS = 0.5

LogEntry = tuple[datetime, str, str]


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    status: JobStatus
    message: str = ""
    results: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    error: JobError | None = None

    @classmethod
    def failed(cls, error: CScaleError, status: JobStatus = JobStatus.ERROR) -> Outcome:
        """The end that an error means."""
        return cls(status, error.message, error=JobError.model_validate(error.as_dict()))

    @classmethod
    def canceled(cls, message: str = "canceled") -> Outcome:
        """The end the user asked for."""
        return cls(JobStatus.CANCELED, message)

    @classmethod
    def lost(cls, message: str, hint: str) -> Outcome:
        """Nobody knows how the job went."""
        return cls(JobStatus.LOST, message, error=JobError(code="lost", message=message, hint=hint))


class JobHandle:
    """One job as its engine sees it. Used on the event loop only.

    :ivar cancel_requested: set when the user wants the job to end.
    :ivar state: the engine's notes, written by :meth:`save_state`.
    """

    def __init__(
        self,
        job: Job,
        store: JobStore,
        state: dict[str, Any],
        changed: Callable[[Job], None],
    ) -> None:
        self.job = job
        self.state = state
        self.cancel_requested = asyncio.Event()
        self._store = store
        self._changed = changed
        self._order = asyncio.Lock()
        self._pending: dict[str, Any] = {}
        self._flush: asyncio.Task[None] | None = None
        self._finished = False

    async def update(self, **changes: Any) -> Job:
        """Change members of the job, and tell whoever watches."""
        async with self._order:
            before = self.job.revision
            self.job = await asyncio.to_thread(self._store.update, self.job.id, **changes)
            if self.job.revision != before:
                self._changed(self.job)
        return self.job

    def report(self, progress: float | None, message: str | None = None) -> None:
        """Say how far the job is; cheap, and written at most twice a second."""
        if progress is not None:
            self._pending["progress"] = min(1.0, max(0.0, progress))
        if message is not None:
            self._pending["message"] = message
        if self._flush is None or self._flush.done():
            self._flush = asyncio.get_running_loop().create_task(self._write_report())

    async def _write_report(self) -> None:
        while self._pending and not self._finished:
            changes, self._pending = self._pending, {}
            try:
                await self.update(**changes)
            except CScaleError as error:
                # Progress is a courtesy: the next report, or the end, is tried again.
                _logger.warning("progress of job %s not written: %s", self.job.id, error)
            await asyncio.sleep(PROGRESS_SECONDS)

    async def settle(self) -> None:
        """No report is written after this."""
        self._finished = True
        if self._flush is not None and not self._flush.done():
            self._flush.cancel()
            # Its end is what is waited for, not its outcome.
            await asyncio.wait([self._flush])

    async def log(self, message: str, level: str = "info") -> None:
        """Add one line to the job's log."""
        await self.log_lines([(utc_now(), level, message)])

    async def log_lines(self, lines: Iterable[LogEntry]) -> None:
        """Add (time, level, message) lines to the job's log."""
        await asyncio.to_thread(self._store.append_logs, self.job.id, list(lines))

    async def save_state(self) -> None:
        """Write :attr:`state`."""
        await asyncio.to_thread(self._store.set_state, self.job.id, dict(self.state))

    async def pause(self, seconds: float) -> bool:
        """Wait; True at once when the user wants the job to end."""
        try:
            async with asyncio.timeout(seconds):
                await self.cancel_requested.wait()
        except TimeoutError:
            return False
        return True


class Engine(Protocol):
    """One way to run jobs."""

    name: EngineName

    async def check(self, spec: JobSpec) -> JobSpec:
        """The spec as it is stored, defaults filled in; called before anything is written.

        :raises InvalidInput: when it cannot be run.
        """
        ...

    async def run(self, handle: JobHandle) -> Outcome:
        """Bring the job to its end, from wherever it is.

        When the task is cancelled (the server stops) the job itself goes on where it can.

        :raises CScaleError: which becomes the job's error.
        """
        ...

    async def forget(self, job: Job) -> None:
        """Remove what the engine keeps of an ended job on this machine."""
        ...

    async def close(self) -> None:
        """Give back what the engine holds (threads, connections); jobs are not touched."""
        ...


Publisher = Callable[[Job], Awaitable[Any]]
