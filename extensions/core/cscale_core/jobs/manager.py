"""The one list of jobs: it writes a job before it starts it, follows it, and finds it again.

Nothing here knows how an engine works, and nothing blocks the event loop: the store is asked in
threads. A job that was open when an earlier server ended, however it ended, is given to its engine
again at :meth:`JobManager.start`.

Importing this module loads boto3; a server does it in a thread.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cscale_core.errors import Conflict, CScaleError, InvalidInput
from cscale_core.identity.tokens import TokenSource
from cscale_core.ingest.register import register
from cscale_core.ingest.staging import plan, stage
from cscale_core.jobs.engine import Engine, JobHandle, Outcome, Publisher
from cscale_core.jobs.engines.openeo import OpenEOEngine
from cscale_core.jobs.engines.slurm.engine import SlurmEngine
from cscale_core.jobs.engines.spark import SparkEngine
from cscale_core.jobs.engines.staging import StagingEngine
from cscale_core.jobs.model import EngineName, Job, JobSpec, JobStatus, LogLine
from cscale_core.jobs.store import JobStore
from cscale_core.objects import ObjectStore
from cscale_core.site import Site

if TYPE_CHECKING:
    import httpx

_logger = logging.getLogger(__name__)

LONGEST_KEY = 200


class JobManager:
    """All jobs of one user.

    :param engines: by name.
    :param on_change: called on the event loop with every new revision of a job; must not block.
    :param publish: shares a job's result items and returns the catalogue's report.
    """

    def __init__(
        self,
        site: Site,
        store: JobStore,
        engines: Mapping[EngineName, Engine],
        on_change: Callable[[Job], None],
        publish: Publisher | None = None,
    ) -> None:
        self.site = site
        self.store = store
        self._engines = dict(engines)
        self._on_change = on_change
        self._publish = publish
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
            job for job in await asyncio.to_thread(self.store.list) if not job.status.ended
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
        if state.get("cancel"):
            handle.cancel_requested.set()
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
        if len(idempotency_key) > LONGEST_KEY:
            raise InvalidInput(f"An idempotency key has at most {LONGEST_KEY} characters.")
        engine = self._engines.get(spec.engine)
        if engine is None:
            raise InvalidInput(f"There is no engine {spec.engine} here.")
        if self._stopping:
            raise Conflict("The server is stopping.", retryable=True)
        if self.problem is not None:
            raise self.problem
        checked = await engine.check(spec)
        job, new = await asyncio.to_thread(self.store.create, checked, idempotency_key)
        if new:
            self._tell(job)
            self._take_up(job, {})
        return job

    async def get(self, job_id: str) -> Job:
        """One job.

        :raises NotFound: when there is none.
        """
        return await asyncio.to_thread(self.store.get, job_id)

    async def list(self, since: int = 0) -> builtins.list[Job]:
        """Jobs that changed after a revision, the latest change last."""
        return await asyncio.to_thread(self.store.list, since)

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to end; its status follows when the engine has ended it.

        :raises NotFound: when there is none.
        :raises Conflict: when it has ended.
        """
        job = await self.get(job_id)
        handle = self._handles.get(job_id)
        if job.status.ended or handle is None:
            raise Conflict(f"Job {job_id} has ended as {job.status}.")
        # Noted first: a server that dies now cancels it at its next start.
        handle.state["cancel"] = True
        await handle.save_state()
        handle.cancel_requested.set()
        try:
            return await handle.update(message="canceling")
        except Conflict:
            # It ended between the two lines above.
            return await self.get(job_id)

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

    async def logs(self, job_id: str, after: int = 0, limit: int = 500) -> builtins.list[LogLine]:
        """Lines of a job's log after a cursor."""
        return await asyncio.to_thread(self.store.logs, job_id, after, limit)

    async def publish(self, job_id: str) -> Any:
        """Share a finished job's results with the VO; returns what happened to each item.

        The files are copied to the VO's products and the copies registered in the catalogue: the
        job's own folder is private, and a back end's links expire. Doing it again changes nothing.

        :raises Conflict: when the job has not finished, or has no result items.
        """
        job = await self.get(job_id)
        if job.status != JobStatus.FINISHED:
            raise Conflict(
                f"Job {job_id} is {job.status}.", hint="Only a finished job can be published."
            )
        if not job.results:
            raise Conflict(f"Job {job_id} left nothing that can be published.")
        if self._publish is None:
            raise Conflict("There is no catalogue to publish to.")
        return await self._publish(job)


def build_manager(
    site: Site,
    data_dir: Path,
    http: httpx.AsyncClient,
    tokens: TokenSource,
    on_change: Callable[[Job], None],
    *,
    ui_base: str | None = None,
) -> JobManager:
    """The manager with all engines of a site.

    :param data_dir: folder of the job list and of the work folders; may be NFS.
    :param ui_base: path behind the hub under which a local port is proxied, ``{port}`` in it;
        default: jupyter-server-proxy's, below ``JUPYTERHUB_SERVICE_PREFIX``.
    """
    if ui_base is None:
        ui_base = os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "/").rstrip("/") + "/proxy/{port}"

    async def publish(job: Job) -> Any:
        grant = site.grant("products", job.spec.vo)
        planned = await asyncio.to_thread(plan, job.results, None, grant, site)
        return await register(await stage(planned, ObjectStore(site), http), site, tokens, http)

    engines: dict[EngineName, Engine] = {
        "staging": StagingEngine(site, http, tokens),
        "openeo": OpenEOEngine(site, tokens),
        "spark": SparkEngine(site, data_dir / "spark", ui_base=ui_base),
    }
    if site.slurm:
        engines["slurm"] = SlurmEngine(site, tokens)
    return JobManager(site, JobStore(data_dir / "jobs.sqlite"), engines, on_change, publish)
