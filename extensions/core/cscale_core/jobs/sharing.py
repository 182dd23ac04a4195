"""The list of jobs as one of several servers of a user has it.

One of them holds the lease of the list and runs the jobs; the others look at what it writes, and
write new jobs and wishes, which it sees as soon. Each tells its own listeners of everything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import ParamSpec

from cscale_core.errors import CScaleError
from cscale_core.jobs.bells import Bells
from cscale_core.jobs.engine import Engine
from cscale_core.jobs.lease import Lease
from cscale_core.jobs.model import EngineName, Job, JobStatus
from cscale_core.jobs.running import Runs
from cscale_core.jobs.store import JobStore
from cscale_core.jobs.store.trouble import StoreTrouble

_logger = logging.getLogger(__name__)

#: Seconds between two looks at what other servers of the user wrote.
LOOK_SECONDS = 0.5
#: Seconds between two looks at whether a backup is due.
BACKUP_SECONDS = 3600.0
#: Seconds after which it is noted again that a log is read here.
ATTEND_SECONDS = 20.0

Heard = ParamSpec("Heard")


class SharedList:
    """What goes on in the list, whoever does it.

    :param on_change: hears of every new revision of a job; must not block.
    :param on_delete: hears the id of every job that was deleted, and the list's revision.
    :param lease: how the servers agree on which of them runs the jobs.
    :ivar bells: ring when something about a job is new.
    :ivar runs: the jobs that this server runs; None: another one runs them.
    """

    def __init__(
        self,
        store: JobStore,
        engines: Mapping[EngineName, Engine],
        on_change: Callable[[Job], None],
        on_delete: Callable[[str, int], None],
        lease: Lease,
    ) -> None:
        self.bells = Bells()
        self.runs: Runs | None = None
        self._store = store
        self._engines = engines
        self._on_change = on_change
        self._on_delete = on_delete
        self._lease = lease
        self._task: asyncio.Task[None] | None = None
        self._order = asyncio.Lock()
        self._told: dict[str, int] = {}
        self._revision = 0
        self._version: tuple[int, int] | None = None
        self._attended: dict[str, int] = {}
        self._reading: dict[str, float] = {}
        self._trouble = ""
        self._backed_up = 0.0

    async def start(self) -> None:
        """Open the list and look at it from now on; run its jobs unless another server does."""
        await self._store.ask(self._store.open)
        with suppress(StoreTrouble):  # everything is news then, when it can be read
            self._revision, self._told = await self._store.ask(self._store.revisions)
        await self._look()
        self._task = asyncio.create_task(self._keep_looking(), name="job list")

    async def stop(self) -> None:
        """Look no more, run no jobs, and let another server run them."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        async with self._order:
            await self._step_down()
            try:
                await self._store.ask(self._lease.release)
            except CScaleError as error:
                _logger.warning("the lease of the job list was not given back: %s", error)

    async def recover(self) -> None:
        """Go on with a new file in place of a damaged one.

        :raises Conflict: when it is not damaged; nothing was changed.
        :raises StoreTrouble: when the new one cannot be written; nothing was changed.
        """
        async with self._order:
            await self._store.ask(self._store.recover)
            # Nobody holds the lease of the new file: it is taken anew, and the jobs with it.
            await self._step_down()
            self._lease.held = False
            self._version = None
        await self._look()

    def begin(self, job: Job) -> None:
        """What was just written of a job here: tell it, and do it if the jobs run here."""
        self._tell(job)
        if self.runs is not None:
            self.runs.take_up(job)

    def tell_deleted(self, job_id: str, revision: int) -> None:
        """A job is no more; told once."""
        if self._told.pop(job_id, None) is not None:
            self.bells.ring(job_id)
            _heard(self._on_delete, job_id, revision)

    async def attend(self, job: Job) -> None:
        """Have the log of a job fetched more often, by whichever server runs it."""
        engine = self._engines.get(job.spec.engine)
        if job.status.ended or engine is None:
            return
        if self.runs is not None:
            engine.attend(job)
        elif time.monotonic() - self._reading.get(job.id, -ATTEND_SECONDS) >= ATTEND_SECONDS:
            self._reading[job.id] = time.monotonic()
            with suppress(StoreTrouble):  # what is there is shown all the same
                await self._store.ask(self._store.attend, job.id)

    # -- looking -------------------------------------------------------------------------------

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except Exception:
                # Whatever it is, the next look may go better, and nobody else looks.
                _logger.exception("looking at the job list failed")

    async def _look(self) -> None:
        """Look at the list once: what hinders, who runs the jobs, what other servers wrote."""
        async with self._order:
            await self._store.ask(self._store.look_again)
            try:
                await self._agree()
                version = await self._store.ask(self._store.version)
                if version != self._version:
                    await self._catch_up()
                    self._version = version
            except StoreTrouble as error:
                self._say(error)
            else:
                self._say(self._store.problem)
            if self.runs is not None and time.monotonic() - self._backed_up > BACKUP_SECONDS:
                self._backed_up = time.monotonic()
                await self._store.ask(self._store.back_up)

    async def _agree(self) -> None:
        """Run the jobs or do not, as the servers of the user agree by the lease."""
        with suppress(StoreTrouble):  # what was held is still held; the list says what hinders
            await self._store.ask(self._lease.look)
        if self._lease.held != (self.runs is not None):
            await (self._step_up() if self._lease.held else self._step_down())

    def _say(self, trouble: CScaleError | None) -> None:
        text = f"{trouble.message} {trouble.hint}" if trouble else ""
        if text != self._trouble:
            _logger.log(logging.ERROR if text else logging.INFO, "job list: %s", text or "in order")
        self._trouble = text

    async def _step_up(self) -> None:
        """Run the jobs from now on, those first that run already."""
        runs = Runs(self._store, self._engines, self._tell, self.bells.ring, self._lease.token)
        open_jobs = await self._store.ask(self._store.open_jobs)
        self.runs = runs
        for job in sorted(
            open_jobs, key=lambda job: (job.status != JobStatus.RUNNING, job.created)
        ):
            _logger.info("taking up job %s (%s, %s)", job.id, job.spec.engine, job.status)
            runs.take_up(job)

    async def _step_down(self) -> None:
        """Run no jobs any more; they are not touched."""
        runs, self.runs = self.runs, None
        if runs is not None:
            await runs.stop()

    async def _catch_up(self) -> None:
        """Tell and do what other servers of the user wrote."""
        changes = await self._store.ask(self._store.changes, self._revision)
        self._revision = changes.revision
        for job in changes.jobs:
            self._tell(job)
            if self.runs is not None:
                self.runs.take_up(job)
        gone = changes.deleted
        if changes.whole:
            present = {job.id for job in changes.jobs}
            known = [one for one, told in self._told.items() if told <= changes.revision]
            gone = [job_id for job_id in known if job_id not in present]
        for job_id in gone:
            self.tell_deleted(job_id, changes.revision)
        if self.runs is not None:
            await self._attend_for_others()
        # They may have written log lines, too, which are not counted.
        self.bells.ring_all()

    async def _attend_for_others(self) -> None:
        noted = await self._store.ask(self._store.attended)
        for job_id, count in noted.items():
            if count != self._attended.get(job_id) and self.runs is not None:
                self.runs.attend(job_id)
        self._attended = noted

    def _tell(self, job: Job) -> None:
        if job.revision <= self._told.get(job.id, 0):
            return
        self._told[job.id] = job.revision
        self.bells.ring(job.id)
        _heard(self._on_change, job)


def _heard(listener: Callable[Heard, None], *what: Heard.args, **named: Heard.kwargs) -> None:
    try:
        listener(*what, **named)
    except Exception:
        # A listener's mistake must not end the job it listens to.
        _logger.exception("a listener of the job list failed")
