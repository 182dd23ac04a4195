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
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import ValidationError

from cscale_core.errors import Conflict, CScaleError, InvalidInput
from cscale_core.jobs.engine import Engine, JobHandle, Outcome
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
from cscale_core.jobs.store import JobStore
from cscale_core.site import Site

_logger = logging.getLogger(__name__)

LONGEST_KEY = 200
CLONE_CHANGES = frozenset({"title", "backend", "process", "options", "vo", "output"})
"""Members of the spec that a clone may have different from the job that it repeats."""

#: What an engine writes to. An openEO back end keeps the results where it wants.
_PLACES: Mapping[EngineName, str] = {"staging": "products", "spark": "home", "slurm": "home"}

Action = Literal["cancel", "pause", "resume", "clone", "publish", "delete"]


class JobManager:
    """All jobs of one user.

    :param engines: by name.
    :param on_change: called on the event loop with every new revision of a job; must not block.
    """

    def __init__(
        self,
        site: Site,
        store: JobStore,
        engines: Mapping[EngineName, Engine],
        on_change: Callable[[Job], None],
    ) -> None:
        self.site = site
        self.store = store
        self._engines = dict(engines)
        self._on_change = on_change
        self._handles: dict[str, JobHandle] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    @property
    def problem(self) -> CScaleError | None:
        """Why the list cannot be written (damaged file); None when all is well."""
        return self.store.problem

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store and take up every job that has not ended, those that run first."""
        self._stopping = False
        await asyncio.to_thread(self.store.open)
        if self.problem is not None:
            _logger.error("%s %s", self.problem.message, self.problem.hint)
            return
        open_jobs = [
            job
            for job in await asyncio.to_thread(self.store.list)
            if not job.status.ended
            and not (job.status == JobStatus.PAUSED and job.wanted != "cancel")
        ]
        open_jobs.sort(key=lambda job: (job.status != JobStatus.RUNNING, job.created))
        for job in open_jobs:
            state = await asyncio.to_thread(self.store.state, job.id)
            _logger.info("taking up job %s (%s, %s)", job.id, job.spec.engine, job.status)
            self._take_up(job, state)

    async def stop(self) -> None:
        """Stop watching and close the store. Jobs elsewhere go on; staging is taken up later."""
        self._stopping = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for engine in self._engines.values():
            await engine.close()
        await asyncio.to_thread(self.store.close)

    def _take_up(self, job: Job, state: dict[str, Any]) -> None:
        handle = JobHandle(job, self.store, state, self._tell)
        # A server of the first version noted the wish in the engine's notes.
        if job.wanted == "cancel" or state.get("cancel"):
            handle.cancel_requested.set()
        if job.wanted == "pause":
            handle.pause_requested.set()
        self._handles[job.id] = handle
        task = asyncio.get_running_loop().create_task(self._follow(handle), name=f"job {job.id}")
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._let_go(job.id, task))

    def _let_go(self, identifier: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(identifier) is task:
            del self._tasks[identifier]
            del self._handles[identifier]

    def _tell(self, job: Job) -> None:
        try:
            self._on_change(job)
        except Exception:
            # A listener's mistake must not end the job it listens to.
            _logger.exception("a listener failed at job %s", job.id)

    async def _follow(self, handle: JobHandle) -> None:
        """Run a job to its end and write that down, whatever happens."""
        identifier = handle.job.id
        engine = self._engines.get(handle.job.spec.engine)
        try:
            if engine is None:
                outcome = Outcome.failed(
                    InvalidInput(f"There is no engine {handle.job.spec.engine} here.")
                )
            else:
                outcome = await engine.run(handle)
        except CScaleError as error:
            outcome = Outcome.failed(error)
        except Exception as error:
            _logger.exception("job %s failed in its engine", identifier)
            outcome = Outcome.failed(
                CScaleError(f"The job failed by a mistake of ours: {type(error).__name__}: {error}")
            )
        await handle.settle()
        try:
            if outcome.error is not None:
                text = f"{outcome.error.message} {outcome.error.hint}".strip()
                await handle.log(text, "error")
            elif outcome.message:
                await handle.log(outcome.message)
            changes: dict[str, Any] = {
                "status": outcome.status,
                "message": outcome.message,
                "error": outcome.error,
                "ui_path": "",
            }
            if outcome.costs is not None:
                changes["costs"] = outcome.costs
            if outcome.results:
                changes["results"] = outcome.results
            if outcome.usage:
                changes["usage"] = outcome.usage
            if outcome.status == JobStatus.FINISHED:
                changes["progress"] = 1.0
            await handle.update(**changes)
        except CScaleError:
            # It stays open in the store, so the next start takes it up again.
            _logger.exception("the end of job %s could not be written", identifier)

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
        if len(key) > LONGEST_KEY:
            raise InvalidInput(f"An idempotency key has at most {LONGEST_KEY} characters.")
        if self._stopping:
            raise Conflict("The server is stopping.", retryable=True)
        fingerprint = _fingerprint(asked)
        if key:
            known = await asyncio.to_thread(self.store.keyed, key, fingerprint)
            if known is not None:
                return known
        checked = await self._engine(spec).check(self._placed(spec))
        job, new = await asyncio.to_thread(
            self.store.create,
            checked,
            key,
            asked=fingerprint,
            owner=self.site.user,
            cloned_from=cloned_from,
            publishes=publishes,
        )
        if new:
            self._tell(job)
            self._take_up(job, {})
        return job

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
        return await asyncio.to_thread(self.store.get, job_id)

    async def list(self, since: int = 0) -> builtins.list[Job]:
        """Jobs that changed after a revision, the latest change last."""
        return await asyncio.to_thread(self.store.list, since)

    async def changes(self, since: int = 0) -> JobChanges:
        """What changed after a revision of the list, deletions too."""
        return await asyncio.to_thread(self.store.changes, since)

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to end; its status follows when the engine has ended it.

        :raises NotFound: when there is none.
        :raises Conflict: when it has ended.
        """
        job = await asyncio.to_thread(self.store.want, job_id, "cancel", "canceling")
        self._tell(job)
        handle = self._handles.get(job_id)
        if handle is not None:
            handle.cancel_requested.set()
        else:
            self._take_up(job, await asyncio.to_thread(self.store.state, job_id))
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
        job = await asyncio.to_thread(self.store.want, job_id, "pause", "pausing")
        self._tell(job)
        handle = self._handles.get(job_id)
        if handle is not None:
            handle.pause_requested.set()
        return job

    async def resume(self, job_id: str) -> Job:
        """Let a job that rests, or is about to, go on.

        :raises NotFound: when there is none.
        :raises Conflict: when it does not rest.
        """
        job = await self.get(job_id)
        if job.status != JobStatus.PAUSED and job.wanted != "pause":
            raise Conflict(f"Job {job_id} is {job.status}; only a paused job can go on.")
        changes: dict[str, Any] = {"wanted": "", "message": "going on"}
        if job.status == JobStatus.PAUSED:
            changes["status"] = JobStatus.QUEUED
        job = await asyncio.to_thread(self.store.update, job_id, **changes)
        self._tell(job)
        handle = self._handles.get(job_id)
        if handle is not None:
            handle.pause_requested.clear()
        else:
            self._take_up(job, await asyncio.to_thread(self.store.state, job_id))
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
        :param changes: members of the spec that become others, of :data:`CLONE_CHANGES`.
            ``options`` are laid over those of the job; null removes one.
        :raises NotFound: when there is no such job.
        :raises InvalidInput: when a change is not known, or the engine cannot run the new job.
        """
        given = dict(changes or {})
        unknown = sorted(set(given) - CLONE_CHANGES)
        if unknown:
            raise InvalidInput(
                f"A clone cannot change {', '.join(unknown)}.",
                hint=f"It can change {', '.join(sorted(CLONE_CHANGES))}.",
            )
        job = await self.get(job_id)
        spec = self._engine(job.spec).clone(job, suggested=suggested)
        if "options" in given:
            laid = {**spec.options, **given["options"]}
            given["options"] = {name: value for name, value in laid.items() if value is not None}
        try:
            spec = JobSpec.model_validate({**spec.model_dump(), **given})
        except ValidationError as error:
            raise InvalidInput(f"The changes are not right: {error}") from error
        asked = {"clone": job_id, "suggested": suggested, "changes": dict(changes or {})}
        return await self._submit(spec, idempotency_key, asked=asked, cloned_from=job_id)

    async def delete(self, job_id: str) -> None:
        """Remove an ended job from the list, with its log. Results in the bucket stay.

        :raises Conflict: when it has not ended.
        """
        task = self._tasks.get(job_id)
        job = await asyncio.to_thread(self.store.delete, job_id)
        if task is not None:
            await asyncio.wait([task], timeout=5)
        engine = self._engines.get(job.spec.engine)
        if engine is not None:
            await engine.forget(job)

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
        if job.status == JobStatus.FINISHED and job.results and job.spec.engine != "staging":
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
            job = await self.get(job_id)
            engine = self._engines.get(job.spec.engine)
            if engine is not None:
                engine.attend(job)
            lines = await asyncio.to_thread(self.store.logs, job_id, after, limit, level)
            left = until - time.monotonic()
            if lines or job.status.ended or left <= 0:
                return lines
            await asyncio.sleep(min(left, 0.25))

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
        job = await self.get(job_id)
        if job.status != JobStatus.FINISHED:
            raise Conflict(
                f"Job {job_id} is {job.status}.", hint="Only a finished job can be published."
            )
        if not job.results:
            raise Conflict(f"Job {job_id} left nothing that can be published.")
        spec = JobSpec(
            engine="staging",
            title=f"Publish {job.spec.title or job.id}"[:200],
            vo=job.spec.vo,
            process={"job": job_id, "assets": None, "register": True},
            area=job.spec.area,
            period=job.spec.period,
        )
        asked = {"publish": job_id}
        return await self._submit(spec, idempotency_key, asked=asked, publishes=job_id)

    # -- the file of the list ------------------------------------------------------------------

    async def store_state(self) -> StoreState:
        """Whether the list can be written, what hinders, and where its backups are."""
        problem = self.problem
        return StoreState(
            writable=problem is None,
            problem=None if problem is None else JobError.model_validate(problem.as_dict()),
        )

    async def recover(self) -> StoreState:
        """Write a new list from what can be read of a damaged one and its backup, and go on.

        :raises Conflict: when the list is not damaged.
        """
        await asyncio.to_thread(self.store.start_anew)
        await self.start()
        return await self.store_state()


def _fingerprint(asked: dict[str, Any]) -> str:
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
