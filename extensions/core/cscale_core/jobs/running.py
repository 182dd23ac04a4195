"""The jobs that this server runs: a task each, from where the job is to its end or its rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from cscale_core.errors import CScaleError, InvalidInput, NotFound
from cscale_core.jobs.engine import Engine, JobHandle, Outcome
from cscale_core.jobs.model import EngineName, Job, JobStatus, utc_now
from cscale_core.jobs.store import JobStore
from cscale_core.jobs.store.trouble import StoreTrouble

_logger = logging.getLogger(__name__)

#: Seconds after which what could not be written is tried again, at first and at most.
AGAIN_SECONDS = (1.0, 15.0)


def wants_an_engine(job: Job) -> bool:
    """Whether an engine has something to do: not for one that has ended, or rests."""
    if job.status == JobStatus.PAUSED:
        return job.wanted == "cancel"
    return not job.status.ended


class Runs:
    """Tasks by job.

    :param told: hears of every new revision.
    :param logged: hears of new log lines.
    :param token: of the lease; a task may write only while it is held.
    """

    def __init__(
        self,
        store: JobStore,
        engines: Mapping[EngineName, Engine],
        told: Callable[[Job], None],
        logged: Callable[[str], None],
        token: str,
    ) -> None:
        self._store = store
        self._engines = engines
        self._told = told
        self._logged = logged
        self._token = token
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._handles: dict[str, JobHandle] = {}
        self._again: dict[str, Job] = {}
        self._asked_to_rest: set[str] = set()
        self._heeded: dict[str, int] = {}
        self.stopped = False

    def take_up(self, job: Job) -> None:
        """Give a job to its engine if it has something to do; pass on what the user wants."""
        handle = self._handles.get(job.id)
        if handle is not None:
            self._heed(handle, job)
        if self.stopped or not wants_an_engine(job):
            return
        if job.id in self._tasks:
            self._again[job.id] = job
            return
        task = asyncio.get_running_loop().create_task(self._run(job), name=f"job {job.id}")
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._let_go(job.id))

    def _let_go(self, job_id: str) -> None:
        del self._tasks[job_id]
        self._asked_to_rest.discard(job_id)
        self._heeded.pop(job_id, None)
        handle = self._handles.pop(job_id, None)
        again = self._again.pop(job_id, None)
        # It was resumed while its task was about to rest.
        if again is not None and handle is not None and again.revision > handle.job.revision:
            self.take_up(again)

    def attend(self, job_id: str) -> None:
        """Somebody reads the log of a job at another server."""
        handle = self._handles.get(job_id)
        engine = self._engines.get(handle.job.spec.engine) if handle is not None else None
        if handle is not None and engine is not None:
            engine.attend(handle.job)

    async def gone(self, job_id: str) -> None:
        """Wait a moment until nothing runs for a job that has ended."""
        task = self._tasks.get(job_id)
        if task is not None:
            await asyncio.wait([task], timeout=5)

    async def stop(self) -> None:
        """Let go of all jobs; they go on where they can, and are taken up later."""
        self.stopped = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _heed(self, handle: JobHandle, job: Job) -> None:
        """Pass on what the user wants; what was read earlier than another says nothing."""
        if job.revision < self._heeded.get(job.id, 0):
            return
        self._heeded[job.id] = job.revision
        # A server of the first version noted the wish in the engine's notes.
        if job.wanted == "cancel" or handle.state.get("cancel"):
            handle.cancel_requested.set()
        if job.wanted == "pause":
            self._asked_to_rest.add(job.id)
            handle.pause_requested.set()
        else:
            handle.pause_requested.clear()

    # -- one job -------------------------------------------------------------------------------

    async def _run(self, job: Job) -> None:
        ended = False
        while not ended:
            handle = await self._handle(job)
            if handle is None:
                return
            try:
                ended = await self._to_an_end(handle)
            finally:
                await handle.settle()

    async def _handle(self, job: Job) -> JobHandle | None:
        """The job with its engine's notes, as they are in the list now."""
        while True:
            try:
                fresh, state = await self._store.ask(self._store.with_state, job.id)
                break
            except NotFound:
                return None
            except StoreTrouble as error:
                _logger.warning("job %s cannot be taken up yet: %s", job.id, error)
                await asyncio.sleep(AGAIN_SECONDS[0])
        if not wants_an_engine(fresh):
            return None
        handle = JobHandle(fresh, self._store, state, self._told, self._logged, self._token)
        self._handles[job.id] = handle
        self._heed(handle, fresh)
        return handle

    async def _to_an_end(self, handle: JobHandle) -> bool:
        """Run the engine and write what came of it; False when it has to run again."""
        try:
            outcome = await self._outcome(handle)
        except StoreTrouble as error:
            # Not the job has failed but the list: it goes on when that can be written.
            note = f"the list of jobs could not be written: {error.message}"
            await self._until_written(
                handle, lambda: handle.log_lines([(utc_now(), "warning", note)], with_state=True)
            )
            return False
        await handle.settle()
        if outcome.status == JobStatus.PAUSED:
            asked = handle.job.id in self._asked_to_rest
            await self._until_written(handle, lambda: handle.rests(outcome.message, asked=asked))
            self._asked_to_rest.discard(handle.job.id)
            return not wants_an_engine(handle.job)
        try:
            await self._until_written(handle, lambda: _written(handle, outcome))
        except Exception as error:
            _logger.exception("the end of job %s is not one", handle.job.id)
            failed = Outcome.failed(_mistake(error))
            await self._until_written(handle, lambda: _written(handle, failed))
        return True

    async def _outcome(self, handle: JobHandle) -> Outcome:
        engine = self._engines.get(handle.job.spec.engine)
        if engine is None:
            return Outcome.failed(
                InvalidInput(f"There is no engine {handle.job.spec.engine} here.")
            )
        try:
            return await engine.run(handle)
        except Exception as error:
            trouble = _trouble_behind(error)
            if trouble is not None:
                raise trouble from error
            if isinstance(error, CScaleError):
                return Outcome.failed(error)
            _logger.exception("job %s failed in its engine", handle.job.id)
            return Outcome.failed(_mistake(error))

    async def _until_written(self, handle: JobHandle, write: Callable[[], Any]) -> None:
        """Write, again and again while the list cannot be written."""
        pause, longest = AGAIN_SECONDS
        while True:
            try:
                await write()
                return
            except StoreTrouble as error:
                _logger.warning("job %s could not be written: %s", handle.job.id, error)
            except CScaleError:
                # It was deleted, or has ended otherwise.
                _logger.exception("job %s cannot be written", handle.job.id)
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)


async def _written(handle: JobHandle, outcome: Outcome) -> None:
    lines = []
    if outcome.error is not None:
        text = f"{outcome.error.message} {outcome.error.hint}".strip()
        lines.append((utc_now(), "error", text))
    elif outcome.message:
        lines.append((utc_now(), "info", outcome.message))
    changes: dict[str, Any] = {
        "status": outcome.status,
        "message": outcome.message,
        "error": outcome.error,
        "ui_path": "",
    }
    if outcome.results:
        changes["results"] = outcome.results
    if outcome.usage:
        changes["usage"] = outcome.usage
    if outcome.costs is not None:
        changes["costs"] = outcome.costs
    if outcome.status == JobStatus.FINISHED:
        changes["progress"] = 1.0
    await handle.ends(lines, **changes)


def _mistake(error: Exception) -> CScaleError:
    return CScaleError(f"The job failed by a mistake of ours: {type(error).__name__}: {error}")


def _trouble_behind(error: BaseException | None) -> StoreTrouble | None:
    """The trouble with the list that made an engine fail, if it was that."""
    while error is not None:
        if isinstance(error, StoreTrouble):
            return error
        error = error.__cause__ or error.__context__
    return None
