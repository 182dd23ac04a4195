"""The border between the manager and the engines.

An engine has one working method, :meth:`Engine.run`: bring a job that is written in the store to
its end, whether it is new or was under way when an earlier server stopped. What it has to remember
for that (ids, cursors) it keeps in the job and in ``handle.state``. The rest of :class:`Engine` has
defaults that hold for an engine without the ability.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cscale_core.errors import CScaleError, InvalidInput
from cscale_core.jobs.model import (
    BackendState,
    EngineName,
    Job,
    JobError,
    JobSpec,
    JobStatus,
    Transferred,
    utc_now,
)
from cscale_core.jobs.store import JobStore
from cscale_core.jobs.store.logs import LogEntry as LogEntry
from cscale_core.jobs.store.trouble import LeaseLost

_logger = logging.getLogger(__name__)

#: Progress is written at most this often.
PROGRESS_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """How a job ended, or that it rests (``PAUSED``) until it is resumed."""

    status: JobStatus
    message: str = ""
    results: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    error: JobError | None = None
    costs: float | None = None

    @classmethod
    def failed(cls, error: CScaleError, status: JobStatus = JobStatus.ERROR) -> Outcome:
        """The end that an error means."""
        return cls(status, error.message, error=JobError.model_validate(error.as_dict()))

    @classmethod
    def canceled(cls, message: str = "canceled") -> Outcome:
        """The end the user asked for."""
        return cls(JobStatus.CANCELED, message)

    @classmethod
    def paused(cls, message: str = "paused") -> Outcome:
        """The rest the user asked for."""
        return cls(JobStatus.PAUSED, message)

    @classmethod
    def lost(cls, message: str, hint: str) -> Outcome:
        """Nobody knows how the job went."""
        return cls(JobStatus.LOST, message, error=JobError(code="lost", message=message, hint=hint))


class JobHandle:
    """One job as its engine sees it. Used on the event loop only.

    :ivar cancel_requested: set when the user wants the job to end.
    :ivar pause_requested: set when the user wants the job to rest; only of engines that can.
    :ivar state: the engine's notes, written by :meth:`save_state`.
    :param changed: hears of every new revision.
    :param logged: hears of new log lines.
    :param holder: must hold the lease of the list; where another server has taken it, whatever
        would write is cancelled, as when the server stops.
    """

    def __init__(
        self,
        job: Job,
        store: JobStore,
        state: dict[str, Any],
        changed: Callable[[Job], None],
        logged: Callable[[str], None] = lambda job_id: None,
        holder: str = "",
    ) -> None:
        self.job = job
        self.state = state
        self.cancel_requested = asyncio.Event()
        self.pause_requested = asyncio.Event()
        self._store = store
        self._changed = changed
        self._logged = logged
        self._holder = holder
        self._order = asyncio.Lock()
        self._pending: dict[str, Any] = {}
        self._flush: asyncio.Task[None] | None = None
        self._finished = False

    async def update(self, **changes: Any) -> Job:
        """Change members of the job, and tell whoever watches."""
        return await self._write(changes)

    async def _write(self, changes: dict[str, Any], lines: Iterable[LogEntry] = ()) -> Job:
        async with self._order:
            before = self.job.revision
            with _cancelled_without_lease():
                self.job = await self._store.ask(
                    self._store.update, self.job.id, lines=lines, holder=self._holder, **changes
                )
            if self.job.revision != before:
                self._changed(self.job)
        return self.job

    async def rests(self, message: str, *, asked: bool) -> Job:
        """Write that the job rests. One that was asked to, and is not any more, is queued."""
        async with self._order:
            with _cancelled_without_lease():
                self.job = await self._store.ask(
                    self._store.rest, self.job.id, message, asked=asked, holder=self._holder
                )
            self._changed(self.job)
        return self.job

    async def ends(self, lines: Iterable[LogEntry], **changes: Any) -> Job:
        """Write the end of the job and the last lines of its log, both or none."""
        job = await self._write(changes, lines)
        self._logged(job.id)
        return job

    def report(
        self,
        progress: float | None,
        message: str | None = None,
        transferred: Transferred | None = None,
    ) -> None:
        """Say how far the job is; cheap, and written at most twice a second."""
        if progress is not None:
            self._pending["progress"] = min(1.0, max(0.0, progress))
        if message is not None:
            self._pending["message"] = message
        if transferred is not None:
            self._pending["transferred"] = transferred
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

    async def log_lines(self, lines: Iterable[LogEntry], *, with_state: bool = False) -> None:
        """Add (time, level, message) lines to the job's log.

        :param with_state: write :attr:`state` in the same transaction, so that a cursor in it and
            the lines that it stands for are never apart.
        """
        state = dict(self.state) if with_state else None
        with _cancelled_without_lease():
            await self._store.ask(
                self._store.append_logs, self.job.id, list(lines), state, self._holder
            )
        self._logged(self.job.id)

    async def save_state(self) -> None:
        """Write :attr:`state`."""
        with _cancelled_without_lease():
            await self._store.ask(
                self._store.set_state, self.job.id, dict(self.state), holder=self._holder
            )

    async def rest(self, seconds: float) -> bool:
        """Wait; True at once when the user wants the job to end."""
        try:
            async with asyncio.timeout(seconds):
                await self.cancel_requested.wait()
        except TimeoutError:
            return False
        return True


@contextmanager
def _cancelled_without_lease() -> Iterator[None]:
    """Engines leave jobs alone when they are cancelled; that is what has to happen here."""
    try:
        yield
    except LeaseLost as error:
        raise asyncio.CancelledError(error.message) from error


class Engine(ABC):
    """One way to run jobs."""

    name: ClassVar[EngineName]
    #: Whether a job can rest and go on; :meth:`run` then ends with :meth:`Outcome.paused`.
    pausable: ClassVar[bool] = False

    @abstractmethod
    async def check(self, spec: JobSpec) -> JobSpec:
        """The spec as it is stored, defaults filled in; called before anything is written.

        :raises InvalidInput: when it cannot be run.
        """

    @abstractmethod
    async def run(self, handle: JobHandle) -> Outcome:
        """Bring the job to its end, from wherever it is.

        When the task is cancelled (the server stops) the job itself goes on where it can.

        :raises CScaleError: which becomes the job's error.
        """

    async def forget(self, job: Job) -> None:  # noqa: B027 - a default, not an abstract
        """Remove what the engine keeps of an ended job on this machine."""

    async def close(self) -> None:  # noqa: B027 - a default, not an abstract
        """Give back what the engine holds (threads, connections); jobs are not touched."""

    async def backends(self) -> list[BackendState]:
        """Where its jobs can run, with health, kept for some minutes; never raises."""
        return []

    async def estimate(self, spec: JobSpec) -> dict[str, Any] | None:
        """What the job would cost: ``costs``, ``duration``, ``size``, ``pods``, where known.

        None where nothing can be said.

        :raises CScaleError: when the job would be refused.
        """
        await self.check(spec)
        return None

    def attend(self, job: Job) -> None:  # noqa: B027 - a default, not an abstract
        """Somebody reads the job's log: keep it fresh for the next minute."""

    def clone(self, job: Job, *, suggested: bool = False) -> JobSpec:
        """The spec of a new job that computes the same.

        :param suggested: with the options that the failure suggested
            (``error.details["job_options"]``).
        """
        options = dict(job.spec.options)
        if suggested and job.error is not None:
            options |= job.error.details.get("job_options", {})
        return job.spec.model_copy(update={"options": options}, deep=True)

    async def fresh_results(self, job: Job, *, refused: bool = False) -> list[dict[str, Any]]:
        """The result items of a finished job, with links that work now.

        :param refused: a link was refused (410, 403), whatever it says of itself.
        :raises CScaleError: when they cannot be had.
        """
        return job.results

    def render_script(self, spec: JobSpec) -> str:
        """The batch script of a spec, to be shown.

        :raises InvalidInput: when it cannot be run, or is not run by a batch script.
        """
        raise InvalidInput(
            f"A job of the engine {self.name} is not run by a batch script.",
            hint="Batch scripts are those of Slurm clusters.",
        )
