"""The one list of jobs: it writes a job before it starts it, follows it, and finds it again.

Nothing here knows how an engine works, and nothing blocks the event loop: the store is asked in
threads. A job that was open when an earlier server ended, however it ended, is given to its engine
again at :meth:`JobManager.start`.
"""

from __future__ import annotations

import asyncio
import builtins
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal

from cscale_core.errors import Conflict, CScaleError, InvalidInput
from cscale_core.jobs.cloning import with_changes
from cscale_core.jobs.engine import Engine
from cscale_core.jobs.lease import Lease
from cscale_core.jobs.model import (
    BackendState,
    EngineName,
    Job,
    JobChanges,
    JobError,
    JobSpec,
    JobStatus,
    LogLine,
    StoreState,
)
from cscale_core.jobs.sharing import SharedList
from cscale_core.jobs.store import JobStore
from cscale_core.jobs.store.store import not_ended
from cscale_core.site import Site

#: Seconds after which who waits for log lines asks for them again.
WAIT_SECONDS = 20.0
LONGEST_KEY = 200
#: What an engine writes to. An openEO back end keeps the results where it wants.
_PLACES: Mapping[EngineName, str] = {"staging": "products", "spark": "home", "slurm": "home"}

Action = Literal["cancel", "pause", "resume", "clone", "publish", "delete"]


class JobManager:
    """All jobs of one user.

    Several servers of the user may have one list. One of them holds its lease and runs the jobs;
    the others show them, and write new jobs and wishes, which that one sees within a second.

    :param engines: by name.
    :param on_change: called on the event loop with every new revision of a job, whichever server
        made it; must not block.
    :param on_delete: the same with the id of a job that was deleted, and the list's revision.
    :param lease: how the servers of one user agree on which of them runs the jobs.
    """

    def __init__(
        self,
        site: Site,
        store: JobStore,
        engines: Mapping[EngineName, Engine],
        on_change: Callable[[Job], None],
        *,
        on_delete: Callable[[str, int], None] = lambda job_id, revision: None,
        lease: Lease | None = None,
    ) -> None:
        self.site = site
        self.store = store
        self._engines = dict(engines)
        self._list = SharedList(store, self._engines, on_change, on_delete, lease or Lease(store))
        self._stopping = False

    @property
    def problem(self) -> CScaleError | None:
        """Why the list cannot be written, and what is kept; None when all is well."""
        return self.store.problem

    @property
    def runs_jobs(self) -> bool:
        """Whether this server runs the jobs, and not another one of the user."""
        return self._list.runs is not None

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store and, unless another server does, take up every job that has not ended."""
        self._stopping = False
        await self._list.start()

    async def stop(self) -> None:
        """Stop watching and close the store. Jobs elsewhere go on; staging is taken up later."""
        self._stopping = True
        await self._list.stop()
        for engine in self._engines.values():
            await engine.close()
        await self.store.ask(self.store.close)

    # -- what the panel asks -------------------------------------------------------------------

    async def submit(self, spec: JobSpec, idempotency_key: str = "") -> Job:
        """Check, write, then start a job.

        :param idempotency_key: a repeated call with the same key gives the same job.
        :raises InvalidInput: when the engine cannot run it; nothing was written.
        :raises Conflict: when the key was used for another job.
        """
        return await self._submit(spec, idempotency_key, asked=spec.model_dump(mode="json"))

    async def _submit(
        self,
        spec: JobSpec,
        key: str,
        *,
        asked: dict[str, Any],
        cloned_from: str = "",
        publishes: str = "",
    ) -> Job:
        if self._stopping:
            raise Conflict("The server is stopping.", retryable=True)
        known = await self._known(key, asked)
        if known is not None:
            return known
        checked = await self._engine(spec).check(self._placed(spec))
        job, new = await self.store.ask(
            self.store.create,
            checked,
            key,
            asked=_fingerprint(asked),
            owner=self.site.user,
            cloned_from=cloned_from,
            publishes=publishes,
        )
        if new:
            self._list.begin(job)
        return job

    async def _known(self, key: str, asked: dict[str, Any]) -> Job | None:
        """The job that was made with a key, whatever became of what it was made from."""
        if len(key) > LONGEST_KEY:
            raise InvalidInput(f"An idempotency key has at most {LONGEST_KEY} characters.")
        if not key:
            return None
        return await self.store.ask(self.store.keyed, key, _fingerprint(asked))

    def _engine(self, spec: JobSpec) -> Engine:
        engine = self._engines.get(spec.engine)
        if engine is None:
            raise InvalidInput(f"There is no engine {spec.engine} here.")
        return engine

    def _placed(self, spec: JobSpec) -> JobSpec:
        """The spec with its VO named, where the place of the output tells."""
        purpose = _PLACES.get(spec.engine)
        if spec.vo or purpose is None:
            return spec
        try:
            grant = self.site.grant(purpose)
        except InvalidInput:
            return spec  # whether it needs a place is for its engine to say
        return spec.model_copy(update={"vo": grant.vo})

    async def get(self, job_id: str) -> Job:
        """One job.

        :raises NotFound: when there is none.
        """
        return await self.store.ask(self.store.get, job_id)

    async def list(self, since: int = 0) -> builtins.list[Job]:
        """Jobs that changed after a revision, the latest change last."""
        return await self.store.ask(self.store.list, since)

    async def changes(self, since: int = 0) -> JobChanges:
        """What changed after a revision of the list, deletions too."""
        return await self.store.ask(self.store.changes, since)

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to end; its status follows when the engine has ended it.

        :raises NotFound: when there is none.
        :raises Conflict: when it has ended.
        """
        job = await self.store.ask(self.store.want, job_id, "cancel", "canceling")
        self._list.begin(job)
        return job

    async def pause(self, job_id: str) -> Job:
        """Ask a job to rest; its status follows when the engine lets it rest.

        :raises NotFound: when there is none.
        :raises Conflict: when it has ended, is about to, or its engine cannot let it rest.
        """
        job = await self.get(job_id)
        if not self._engine(job.spec).pausable:
            raise Conflict(
                f"Jobs of the engine {job.spec.engine} cannot rest.",
                hint="It goes on. Cancel it, and clone it later.",
            )
        if job.status == JobStatus.PAUSED or job.wanted == "pause":
            return job
        if job.wanted == "cancel":
            raise Conflict(f"Job {job_id} is being canceled.")
        job = await self.store.ask(self.store.want, job_id, "pause", "pausing")
        self._list.begin(job)
        return job

    async def resume(self, job_id: str) -> Job:
        """Let a job that rests, or is about to, go on.

        :raises NotFound: when there is none.
        :raises Conflict: when it does not rest.
        """
        job = await self.store.ask(self.store.resume, job_id)
        self._list.begin(job)
        return job

    async def clone(
        self,
        job_id: str,
        *,
        suggested: bool = False,
        changes: Mapping[str, Any] | None = None,
        idempotency_key: str = "",
    ) -> Job:
        """A new job that computes the same as another, whatever became of that.

        :param suggested: with the options that the failure suggested.
        :param changes: members of the spec that become others, as
            :func:`cscale_core.jobs.cloning.with_changes` takes them.
        :raises NotFound: when there is no such job.
        :raises InvalidInput: when a change is not known, or the engine cannot run the new job.
        """
        different = dict(changes or {})
        asked = {"clone": job_id, "suggested": suggested, "changes": different}
        known = await self._known(idempotency_key, asked)
        if known is not None:
            return known
        job = await self.get(job_id)
        spec = self._engine(job.spec).clone(job, suggested=suggested)
        spec = with_changes(spec, different)
        return await self._submit(spec, idempotency_key, asked=asked, cloned_from=job_id)

    async def delete(self, job_id: str) -> None:
        """Remove an ended job from the list, with its log. Results in the bucket stay.

        :raises Conflict: when it has not ended.
        """
        job = await self.get(job_id)
        if not job.status.ended:
            raise not_ended(job)
        if self._list.runs is not None:
            await self._list.runs.gone(job_id)
        engine = self._engines.get(job.spec.engine)
        if engine is not None:
            # First: a server that dies now leaves a job that can be deleted again, and no rubbish.
            await engine.forget(job)
        deleted = await self.store.ask(self.store.delete, job_id)
        self._list.tell_deleted(job_id, deleted.revision)

    def actions(self, job: Job) -> builtins.list[Action]:
        """What would be accepted of a job now."""
        engine = self._engines.get(job.spec.engine)
        accepted: builtins.list[Action] = []
        if not job.status.ended and job.wanted != "cancel":
            accepted.append("cancel")
            if job.status == JobStatus.PAUSED or job.wanted == "pause":
                accepted.append("resume")
            elif engine is not None and engine.pausable:
                accepted.append("pause")
        if engine is not None:
            accepted.append("clone")
        if _not_publishable(job) is None:
            accepted.append("publish")
        if job.status.ended:
            accepted.append("delete")
        return accepted

    async def logs(
        self,
        job_id: str,
        after: int = 0,
        limit: int = 500,
        level: str = "debug",
        wait: float = 0.0,
    ) -> builtins.list[LogLine]:
        """Lines of a job's log after a cursor. Reading makes its engine fetch them more often.

        :param level: the least that is shown.
        :param wait: seconds to wait for a line, when there is none; the end of the job ends it.
        """
        until = time.monotonic() + wait
        while True:
            with self._list.bells.listening(job_id) as bell:
                job = await self.get(job_id)
                await self._list.attend(job)
                lines = await self.store.ask(self.store.logs, job_id, after, limit, level)
                left = until - time.monotonic()
                if lines or job.status.ended or left <= 0:
                    return lines
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, WAIT_SECONDS)):
                        await bell.wait()

    async def results(self, job_id: str, refused: bool = False) -> builtins.list[dict[str, Any]]:
        """Result items of a job, with links that work now.

        :param refused: a link was refused (410, 403): they are made anew whatever they say.
        :raises Conflict: when it has not ended.
        """
        job = await self.get(job_id)
        if not job.status.ended:
            raise Conflict(
                f"Job {job_id} is {job.status}: it has no results yet.",
                hint="Ask again when it has finished.",
                retryable=True,
            )
        engine = self._engines.get(job.spec.engine)
        if engine is None or job.status != JobStatus.FINISHED:
            return job.results
        return await engine.fresh_results(job, refused=refused)

    async def estimate(self, spec: JobSpec) -> dict[str, Any] | None:
        """What a job would cost; None where its engine cannot say.

        :raises CScaleError: when the job would be refused.
        """
        return await self._engine(spec).estimate(self._placed(spec))

    async def script(self, spec: JobSpec) -> str:
        """The batch script of a job for a Slurm cluster.

        :raises InvalidInput: when it cannot be run, or not by a batch script.
        """
        engine = self._engine(spec)
        checked = await engine.check(self._placed(spec))
        return await asyncio.to_thread(engine.render_script, checked)

    async def backends(self) -> builtins.list[BackendState]:
        """The places that run jobs, as last seen."""
        asked = await asyncio.gather(*(engine.backends() for engine in self._engines.values()))
        return [state for states in asked for state in states]

    async def publish(self, job_id: str, idempotency_key: str = "") -> Job:
        """Share a finished job's results with the VO, by a staging job, which is given.

        The files are copied to the VO's products and the copies registered in the catalogue: the
        job's own folder is private, and a back end's links expire. While such a job is under way,
        or when one has finished, asking again gives that one.

        :raises Conflict: when the job has not finished, or has no result items.
        """
        asked = {"publish": job_id}
        known = await self._known(idempotency_key, asked)
        if known is not None:
            return known
        job = await self.get(job_id)
        refusal = _not_publishable(job)
        if refusal is not None:
            raise refusal
        spec = JobSpec(
            engine="staging",
            title=f"Publish {job.spec.title or job.id}"[:200],
            vo=job.spec.vo,
            process={"job": job_id, "assets": None, "register": True},
            area=job.spec.area,
            period=job.spec.period,
        )
        return await self._submit(spec, idempotency_key, asked=asked, publishes=job_id)

    # -- the file of the list ------------------------------------------------------------------

    async def store_state(self) -> StoreState:
        """Whether the list can be written, what hinders, and where its backups are."""
        backups = await self.store.ask(self.store.backups)
        problem = self.problem
        return StoreState(
            writable=problem is None,
            problem=None if problem is None else JobError.model_validate(problem.as_dict()),
            backups=[str(path) for path in backups],
        )

    async def recover(self) -> StoreState:
        """Write a new list from what can be read of a damaged one and its backups, and go on.

        :raises Conflict: when the list is not damaged; nothing was changed.
        """
        await self._list.recover()
        return await self.store_state()


def _not_publishable(job: Job) -> Conflict | None:
    """Why the results of a job cannot be shared with the VO; None: they can."""
    if job.status != JobStatus.FINISHED:
        return Conflict(
            f"Job {job.id} is {job.status}.", hint="Only a finished job can be published."
        )
    if not job.results:
        return Conflict(f"Job {job.id} left nothing that can be published.")
    if job.spec.engine == "staging" and job.spec.process.get("register"):
        return Conflict(f"What job {job.id} staged is in the catalogue already.")
    return None


def _fingerprint(asked: dict[str, Any]) -> str:
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
