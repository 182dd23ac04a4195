"""Following one remote job to its end: what the watch sees, in the job's own words.

A job that ended in error is not started again: back ends take such a start and do nothing
(openeo-geopyspark-driver issue 510). What is offered is a clone, with the options changed that the
log suggests.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from cscale_core.errors import CScaleError, LoginRequired, NotFound, UpstreamError
from cscale_core.jobs.engine import JobHandle, Outcome
from cscale_core.jobs.engines.openeo.explain import explain
from cscale_core.jobs.engines.openeo.failures import code_of
from cscale_core.jobs.engines.openeo.logs import LogPump, RemoteLog, reading_failed
from cscale_core.jobs.engines.openeo.remote import Remote
from cscale_core.jobs.engines.openeo.sightings import Sighting
from cscale_core.jobs.engines.openeo.submission import Submission
from cscale_core.jobs.engines.openeo.terms import Terms
from cscale_core.jobs.model import JobError, JobStatus, utc_now
from cscale_core.jobs.polling import Backoff, Subscription, Watch

_MESSAGES = {
    JobStatus.CREATED: "waiting to be started",
    JobStatus.QUEUED: "waiting at the back end",
    JobStatus.RUNNING: "running at the back end",
}
_CLONE = "Clone it to run it again: a back end ignores a second start of a job that failed."


@dataclass(frozen=True)
class End:
    """The last that was seen of a job; the outcome, when that is all there is to it."""

    sighting: Sighting
    outcome: Outcome | None = None


class Following:
    """Follows one job.

    :ivar handle: the job.
    """

    def __init__(
        self,
        handle: JobHandle,
        remote: Remote,
        watch: Watch[Sighting],
        pump: LogPump,
        terms: Terms,
    ) -> None:
        self.handle = handle
        self._remote = remote
        self._watch = watch
        self._pump = pump
        self._terms = terms
        self._log = RemoteLog(handle, remote)
        self._stopping = False
        self._misses = 0
        self._restarts = 0
        self._sign = ""

    @property
    def _title(self) -> str:
        return self._remote.backend.title

    async def until_end(self, submission: Submission) -> End:
        """Start the job where that is left to do, and follow it until it has ended.

        :raises CScaleError: when the back end refuses to start it.
        """
        handle = self.handle
        fresh = not submission.started and handle.job.status == JobStatus.CREATED
        if fresh and not handle.cancel_requested.is_set() and "creating" in handle.state:
            # Just created, or found: a start does nothing to a job that was started.
            await self._start(submission)
        age = 0.0 if fresh else (utc_now() - handle.job.created).total_seconds()
        subscription = self._watch.follow(handle.job.engine_id, age)
        waker = asyncio.get_running_loop().create_task(self._wake_for_cancel(subscription))
        try:
            return await self._until_end(subscription, submission)
        finally:
            waker.cancel()
            self._watch.leave(subscription)
            self._pump.leave(handle.job.id)

    async def _wake_for_cancel(self, subscription: Subscription[Sighting]) -> None:
        await self.handle.cancel_requested.wait()
        subscription.wake()

    async def _until_end(self, subscription: Subscription[Sighting], submission: Submission) -> End:
        while True:
            if self.handle.cancel_requested.is_set() and not self._stopping:
                outcome = await self._stop()
                if outcome is not None:
                    return End(Sighting("canceled"), outcome)
            waits = subscription.state is None or subscription.state.status == JobStatus.CREATED
            await subscription.news(self._terms.restart if waits else self._terms.stuck / 10)
            if subscription.gone is not None:
                subscription.gone = None
                self._misses += 1
                # One answer may be of a part of the back end that has not heard of it yet.
                if self._misses >= self._terms.misses:
                    return End(Sighting("gone"), self.gone())
                self._watch.hurry(subscription.identifier, self._terms.pace.soonest)
                continue
            self._misses = 0
            if subscription.trouble is not None:
                # The job goes on without us: say so; it is looked for again later.
                hint = subscription.trouble.hint
                text = f"no news of the job: {subscription.trouble.message} {hint}".strip()
                self.handle.report(None, text)
                continue
            if subscription.state is None:
                continue
            end = await self._look(subscription.state, submission)
            if end is not None:
                self._watch.leave(subscription)
                self.handle.report(None, f"ended at {self._title}; reading what it left")
                return end

    async def _start(self, submission: Submission) -> None:
        try:
            started = await submission.start()
        except NotFound:
            # Whether it is gone for good is what the watch finds out.
            return
        if started:
            await self.handle.update(status=JobStatus.QUEUED, message=_MESSAGES[JobStatus.QUEUED])
            self._watch.hurry(self.handle.job.engine_id)

    async def _look(self, sighting: Sighting, submission: Submission) -> End | None:
        """Write down what the back end says; the end when the job has ended."""
        handle = self.handle
        status = sighting.status
        if status == JobStatus.CREATED:
            if handle.cancel_requested.is_set():
                return End(sighting, Outcome.canceled("canceled before it was started"))
            await self._created(submission)
            return None
        if status == JobStatus.CANCELED:
            by_us = handle.cancel_requested.is_set()
            text = "canceled" if by_us else f"canceled at {self._title}, not from here"
            return End(sighting, Outcome.canceled(text))
        if status.ended:
            return End(sighting)
        if status == JobStatus.QUEUED:
            await self._tell_no_log()
        else:
            self._pump.follow(self._log)
        await self._write(sighting, status)
        return None

    async def _write(self, sighting: Sighting, status: JobStatus) -> None:
        handle = self.handle
        message = _MESSAGES[status]
        if sighting.said not in ("queued", "running"):
            message += f" ({sighting.said or 'it does not say how'})"
        if status == JobStatus.RUNNING:
            message = await self._alive(sighting, message)
        if self._stopping:
            message = "canceling"
        await handle.update(
            status=status,
            message=message,
            progress=sighting.progress,
            usage=sighting.usage or handle.job.usage,
            costs=sighting.costs if sighting.costs is not None else handle.job.costs,
        )

    async def _created(self, submission: Submission) -> None:
        """Start it, or again when the back end took the start and did nothing for a while."""
        if not submission.started:
            await self._start(submission)
            return
        if submission.started_since < self._terms.restart * (self._restarts + 1):
            return
        self._restarts += 1
        if self._restarts <= self._terms.restarts:
            await self.handle.log(f"{self._title} did not start the job; asked again", "warning")
            await self._start(submission)
        elif self._restarts == self._terms.restarts + 1:
            text = (
                f"{self._title} takes every request to start this job and does not start it. "
                "Cancel it and submit a clone, perhaps to another back end."
            )
            await self.handle.log(text, "warning")
            self.handle.report(None, text)

    async def _tell_no_log(self) -> None:
        if not self.handle.state.get("told_queued"):
            self.handle.state["told_queued"] = True
            await self.handle.save_state()
            await self.handle.log(
                f"waiting in the queue of {self._title}; it has no log before the job runs"
            )

    # -- signs of life -------------------------------------------------------------------------

    async def _alive(self, sighting: Sighting, message: str) -> str:
        """The message, with a warning when nothing about the job moved for long.

        The moment of the last sign is kept in the job's state: it survives a restart here.
        """
        state = self.handle.state
        sign = f"{sighting.updated}|{sighting.progress}|{state.get('log_cursor', '')}"
        if sign != state.get("sign") or "sign_time" not in state:
            state.update(sign=sign, sign_time=utc_now().isoformat())
            state.pop("told_stuck", None)
            await self.handle.save_state()
            return message
        silent = (utc_now() - datetime.fromisoformat(state["sign_time"])).total_seconds()
        if silent < self._terms.stuck:
            return message
        hours = silent / 3600
        if not state.get("told_stuck"):
            state["told_stuck"] = True
            await self.handle.save_state()
            await self.handle.log(
                f"{self._title} says the job runs, but nothing of it moved for {hours:.0f} h. Back "
                "ends sometimes lose a job so; cancel it and submit a clone if it is not expected.",
                "warning",
            )
        return f"{message}; no sign of life for {hours:.0f} h, perhaps stuck"

    # -- ends ----------------------------------------------------------------------------------

    async def _stop(self) -> Outcome | None:
        """Ask the back end to cancel; the outcome when it does not know the job."""
        identifier = self.handle.job.engine_id
        backoff = Backoff(self._terms.pace.retry, self._terms.pace.retry_longest)
        while True:
            try:
                await self._remote.act(lambda c: c.job(identifier).stop())
                break
            except NotFound:
                return self.gone()
            except (UpstreamError, LoginRequired) as error:
                self.handle.report(None, f"canceling: {error.message}")
                await asyncio.sleep(backoff.failed())
            except CScaleError as error:
                # It may have ended in this moment: what it became is asked next.
                await self.handle.log(f"the back end did not cancel: {error.message}", "warning")
                break
        self._stopping = True
        self._watch.hurry(identifier)
        return None

    def gone(self) -> Outcome:
        if self.handle.cancel_requested.is_set():
            return Outcome.canceled(f"canceled; the job is no longer known at {self._title}")
        return Outcome.lost(
            f"The job {self.handle.job.engine_id} is no longer known at {self._title}.",
            "It was deleted there, by another program or after its time. Submit it again.",
        )

    async def last_log(self) -> None:
        """Copy what is left of the log of a job that has ended."""
        try:
            await self._log.copy(self._remote.acting)
        except CScaleError as error:
            # Some back ends have no log, or lose it: the job matters more.
            if code_of(error) not in ("JobNotFound", "JobNotStarted"):
                await self.handle.log(
                    f"the end of the log could not be read: {error.message}", "warning"
                )

    async def failed(self, sighting: Sighting) -> Outcome:
        """An error at the back end: the last error of its log, what it means, what to do."""
        errors = self._log.errors or await self._error_lines()
        last = errors[-1].strip().splitlines() if errors else []
        reason = last[0][:500] if last else ""
        found = explain(errors, self.handle.job.spec.options)
        message = f"The job failed at {self._title}" + (f": {reason}" if reason else ".")
        hint = f"The job's log has what the back end said. {_CLONE}"
        details: dict[str, object] = {"offer": "clone"}
        if found is not None:
            hint = f"Probably {found.message}. {found.hint} {hint}".replace("  ", " ")
            details["job_options"] = found.options
        error = JobError(code="upstream_error", message=message, hint=hint, details=details)
        return Outcome(
            JobStatus.ERROR, message, usage=sighting.usage, error=error, costs=sighting.costs
        )

    async def _error_lines(self) -> list[str]:
        """The error lines of a log that was copied by an earlier server."""
        identifier = self.handle.job.engine_id
        try:
            entries = await self._remote.act(lambda c: list(c.job(identifier).logs(level="error")))
        except CScaleError:
            # No reason to be had: the error itself is known.
            return []
        return [str(entry.get("message", "")) for entry in entries if not reading_failed(entry)]
