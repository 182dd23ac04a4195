"""Following a submitted job to its end: status, output, results, and what became of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from cscale_core.errors import CScaleError, NotFound
from cscale_core.jobs.engine import JobHandle, Outcome
from cscale_core.jobs.engines.slurm.cluster import Cluster, Tasks
from cscale_core.jobs.engines.slurm.collect import Collected, collect
from cscale_core.jobs.engines.slurm.logs import OutputLog
from cscale_core.jobs.engines.slurm.options import resources
from cscale_core.jobs.engines.slurm.script import Places
from cscale_core.jobs.engines.slurm.states import (
    TWICE,
    Task,
    explained,
    hopeless,
    together,
    waiting,
)
from cscale_core.jobs.engines.slurm.submitting import running_id
from cscale_core.jobs.model import JobError, JobStatus, utc_now
from cscale_core.jobs.polling import Backoff, Subscription
from cscale_core.site import Site

#: Seconds between two looks at the output of a running job.
LOG_SECONDS = 10.0
#: Seconds for which a job that nobody knows any more may yet turn up.
LOST_SECONDS = 60.0
#: Attempts to bring results while the bucket or the cluster does not answer, and the seconds
#: between two of them: the first, and the longest.
ATTEMPTS = 8
RETRY_SECONDS = (2.0, 60.0)
_ITEMS_LIMIT = 64 * 1024 * 1024


class Following:
    """One job at its cluster, whose id is in ``handle.job.engine_id``."""

    def __init__(self, handle: JobHandle, cluster: Cluster, places: Places, site: Site) -> None:
        self._handle = handle
        self._cluster = cluster
        self._places = places
        self._site = site
        self._options = resources(handle.job.spec.options)
        self._application = "application" in handle.job.spec.process
        self._log = OutputLog(handle, cluster.files, places)
        self._log_due = 0.0
        self._missing: float | None = None
        self._canceled = False

    @property
    def _id(self) -> str:
        return self._handle.job.engine_id

    async def outcome(self) -> Outcome:
        """Follow it to its end."""
        while True:
            identifier = self._id
            age = (utc_now() - self._handle.job.created).total_seconds()
            subscription = self._cluster.watch.follow(identifier, age)
            waker = asyncio.create_task(self._wake_on_cancel(subscription))
            try:
                outcome = await self._until_ended(subscription)
            finally:
                waker.cancel()
                self._cluster.watch.leave(subscription)
            if outcome is not None:
                return outcome

    async def _wake_on_cancel(self, subscription: Subscription[Tasks]) -> None:
        await self._handle.cancel_requested.wait()
        subscription.wake()

    async def _until_ended(self, subscription: Subscription[Tasks]) -> Outcome | None:
        """The end; None when another Slurm job turns out to do the work."""
        handle, identifier = self._handle, self._id
        while True:
            try:
                if handle.cancel_requested.is_set() and not self._canceled:
                    await self._cluster.slurm.cancel(identifier)
                    self._canceled = True
                    self._cluster.watch.hurry(identifier)
                tasks: Tasks | None = None
                if subscription.trouble is not None:
                    raise subscription.trouble
                if subscription.gone is not None:
                    tasks = await self._forgotten()
                elif subscription.state is not None:
                    self._missing = None
                    tasks = await self._remembered(subscription.state)
                if tasks is not None:
                    outcome = await self._look(tasks)
                    if outcome is not None or self._id != identifier:
                        return outcome
            except CScaleError as error:
                # The job goes on without us: say so, and look again later.
                handle.report(None, f"no news of the job: {error.message}")
            await subscription.news(LOG_SECONDS)

    # -- what is known of it -------------------------------------------------------------------

    async def _remembered(self, tasks: Tasks) -> Tasks:
        """The tasks of an array with those that ended and were dropped from the list since."""
        if not self._options.array:
            return tasks
        kept: dict[str, list[Any]] = self._handle.state.setdefault("ended_tasks", {})
        before = dict(kept)
        present = {str(task.index): task for task in tasks}
        for index, task in present.items():
            kept.pop(index, None)
            if task.status.ended and task.index is not None:
                kept[index] = [task.state, task.exit_code, task.signal, task.reason]
        if kept != before:
            await self._handle.save_state()
        return tasks + tuple(
            Task(self._id, state, index=int(index), exit_code=code, signal=signal, reason=reason)
            for index, (state, code, signal, reason) in kept.items()
            if index not in present
        )

    def _complete(self, tasks: Tasks) -> bool:
        """Whether every task is known to have ended."""
        ended = [task for task in tasks if task.status.ended]
        return len(ended) == len(tasks) and len(ended) >= self._options.count

    async def _forgotten(self) -> Tasks | None:
        """What is known of a job that the controller has forgotten.

        None while accounting may yet tell; empty when nobody knows.
        """
        tasks = await self._remembered(await self._cluster.ended(self._id))
        if not self._complete(tasks):
            known = {task.index for task in tasks if task.status.ended}
            tasks = tuple(task for task in tasks if task.index in known)
            tasks += await self._noted(known)
        if self._complete(tasks):
            return tasks
        now = asyncio.get_running_loop().time()
        self._missing = self._missing or now
        return () if now - self._missing > LOST_SECONDS else None

    async def _noted(self, known: set[int | None]) -> Tasks:
        """Tasks whose exit status the script noted in the job's folder."""
        paths = {
            self._places.exit_file(index): index
            for index in self._options.task_indexes
            if index not in known
        }
        try:
            found = await self._cluster.files.tails(dict.fromkeys(paths, 0), 100)
        except NotFound:
            return ()
        return tuple(
            Task(
                self._id,
                "COMPLETED" if int(text) == 0 else "FAILED",
                index=paths[path],
                exit_code=int(text),
            )
            for path, text in found.items()
            if text.strip().isdigit()
        )

    # -- what is said of it --------------------------------------------------------------------

    async def _look(self, tasks: Tasks) -> Outcome | None:
        """Write down how it is; the outcome when it has ended."""
        if not tasks:
            return self._lost()
        if self._complete(tasks):
            return await self._ended(tasks)
        if hopeless(tasks):
            return await self._hopeless()
        status = together(tasks)
        if status.ended:
            # All that is known of an array has ended, and some of it is not known yet.
            status = JobStatus.RUNNING
        await self._copy_log(tasks)
        changes: dict[str, Any] = {"status": status, "message": self._message(tasks, status)}
        if self._options.array:
            ended = sum(task.status.ended for task in tasks)
            changes["progress"] = ended / self._options.count
        elif self._application and status == JobStatus.RUNNING:
            changes.update(await self._told())
        if self._canceled:
            changes["message"] = "canceling"
        await self._handle.update(**changes)
        return None

    def _message(self, tasks: Tasks, status: JobStatus) -> str:
        if self._options.array:
            ended = sum(task.status.ended for task in tasks)
            running = sum(task.status == JobStatus.RUNNING for task in tasks)
            if ended or running:
                return f"{ended} of {self._options.count} tasks ended, {running} running"
        if status == JobStatus.QUEUED:
            return waiting(tasks[0])
        if status == JobStatus.PAUSED:
            return f"suspended by {self._cluster.title}"
        nodes = tasks[0].nodes
        return f"running on {nodes}" if nodes and len(nodes) < 100 else "running"

    async def _told(self) -> dict[str, Any]:
        """What a named application says of its progress."""
        try:
            said = json.loads(await self._cluster.small_file(f"{self._places.work}/progress.json"))
            return {
                "progress": min(1.0, max(0.0, said["done"] / max(1, said["total"]))),
                "message": str(said["message"])[:200],
            }
        except (ValueError, KeyError, TypeError, CScaleError):
            # It has not said anything yet, or cannot be read now.
            return {}

    async def _copy_log(self, tasks: Tasks, *, all_of_it: bool = False) -> None:
        now = asyncio.get_running_loop().time()
        if not all_of_it and now < self._log_due:
            return
        self._log_due = now + LOG_SECONDS * 0.9
        try:
            if all_of_it:
                await self._log.drain(tasks)
            else:
                await self._log.copy(tasks)
        except NotFound as error:
            if not self._handle.state.get("log_unseen"):
                self._handle.state["log_unseen"] = True
                await self._handle.log(f"{error.message} {error.hint}", "warning")
        except CScaleError as error:
            if all_of_it:
                await self._handle.log(f"the output was not read: {error.message}", "warning")

    def _lost(self) -> Outcome:
        if self._canceled:
            return Outcome.canceled(
                f"canceled; the job is no longer known at {self._cluster.title}"
            )
        return Outcome.lost(
            f"{self._cluster.title} does not know job {self._id} any more, and it left no word.",
            "Slurm forgets jobs some minutes after their end where it keeps no accounting, or when "
            "its state was reset. What the job wrote is in "
            f"{self._places.work}; look there, and submit it again.",
        )

    async def _hopeless(self) -> Outcome:
        await self._cluster.slurm.cancel(self._id)
        error = JobError(
            code="dependency_failed",
            message="A job that this one depends on did not end as it has to, so it never runs.",
            hint="It was removed from the queue. Repair the other job, then submit both again.",
        )
        return Outcome(JobStatus.ERROR, error.message, error=error)

    # -- its end -------------------------------------------------------------------------------

    async def _ended(self, tasks: Tasks) -> Outcome | None:
        status = together(tasks)
        if status == JobStatus.ERROR and all(task.exit_code == TWICE for task in tasks):
            other = await running_id(self._cluster, self._places)
            if other not in ("", self._id):
                await self._handle.log(f"job {other} does the work; it is followed instead")
                await self._handle.update(engine_id=other)
                return None
        await self._copy_log(tasks, all_of_it=True)
        tasks = await self._accounted(tasks)
        usage = {**self._handle.job.usage, "slurm": used(tasks)}
        if status == JobStatus.CANCELED:
            words = "canceled" if self._canceled else f"canceled at {self._cluster.title}"
            return replace(Outcome.canceled(words), usage=usage)
        if status == JobStatus.ERROR:
            return await self._failed(tasks, usage)
        return await self._finished(usage)

    async def _accounted(self, tasks: Tasks) -> Tasks:
        """With the figures of accounting, where it has them."""
        if all(task.seconds is not None for task in tasks):
            return tasks
        known = {task.index: task for task in await self._cluster.figures(self._id)}
        return tuple(
            replace(
                task,
                seconds=known[task.index].seconds,
                cpu_seconds=known[task.index].cpu_seconds,
                memory=known[task.index].memory,
            )
            if task.index in known
            else task
            for task in tasks
        )

    async def _failed(self, tasks: Tasks, usage: dict[str, Any]) -> Outcome:
        failed = [task for task in tasks if task.status == JobStatus.ERROR]
        words, said = "", b""
        with suppress(CScaleError):
            words = await self._log.last_words(failed[0])
            if self._application:
                said = await self._cluster.small_file(f"{self._places.work}/error.json")
        error = explained(failed[0], self._options, words)
        if said and error.code == "failed":
            with suppress(ValueError):
                error = JobError.model_validate_json(said)
        if self._options.array:
            count = f"{len(failed)} of {self._options.count} tasks failed. "
            error = error.model_copy(update={"message": count + error.message})
        return Outcome(JobStatus.ERROR, error.message, usage=usage, error=error)

    async def _finished(self, usage: dict[str, Any]) -> Outcome:
        if not self._options.results:
            return Outcome(JobStatus.FINISHED, f"results are in {self._places.output}", [], usage)
        backoff = Backoff(*RETRY_SECONDS)
        for attempt in range(ATTEMPTS):
            try:
                collected = await self._results()
                break
            except CScaleError as error:
                collected = Collected([], error.message)
                if not error.retryable or attempt == ATTEMPTS - 1:
                    break
                self._handle.report(None, f"bringing the results: {error.message}")
            if await self._handle.rest(backoff.failed()):
                break
        if collected.left:
            await self._handle.log(
                f"the results stay at {self._cluster.title} in {self._places.output}: "
                f"{collected.left}",
                "warning",
            )
            message = f"finished; results are in {self._places.output}"
        else:
            files = sum(len(item["assets"]) for item in collected.items)
            message = f"{files} files" if files else "finished"
        return Outcome(JobStatus.FINISHED, message, collected.items, usage)

    async def _results(self) -> Collected:
        if self._application and self._places.on_bucket:
            text = await self._cluster.small_file(f"{self._places.work}/items.json", _ITEMS_LIMIT)
            if text:
                try:
                    return Collected(list(json.loads(text)["features"]))
                except (ValueError, KeyError, TypeError):
                    return Collected([], "what the application says of them cannot be read")
        process = self._handle.job.spec.process
        return await collect(
            self._handle,
            self._cluster.files,
            self._places,
            self._site,
            limit=self._cluster.settings.results_limit,
            collection=self._options.collection or str(process.get("application", "slurm")),
            expression={k: v for k, v in process.items() if k != "environment"},
        )


def used(tasks: Sequence[Task]) -> dict[str, Any]:
    """What a job used: seconds of all tasks together, the most memory of one of them."""
    seconds = [
        task.seconds
        if task.seconds is not None
        else (task.ended - task.started).total_seconds()
        if task.ended and task.started
        else None
        for task in tasks
    ]
    cpu = [task.cpu_seconds for task in tasks if task.cpu_seconds is not None]
    facts: dict[str, Any] = {
        "tasks": len(tasks),
        "seconds": sum(value for value in seconds if value is not None),
        "cpu_seconds": sum(cpu) if cpu else None,
        "memory": max((task.memory or 0 for task in tasks), default=0) or None,
        "nodes": ",".join(sorted({task.nodes for task in tasks if task.nodes}))[:200] or None,
    }
    return {name: value for name, value in facts.items() if value is not None}
