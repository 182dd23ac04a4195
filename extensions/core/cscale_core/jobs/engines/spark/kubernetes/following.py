"""Following an application in the cluster to its end, and telling what becomes of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from cscale_core.clusters import SparkKubernetes
from cscale_core.errors import CScaleError, NotFound, UpstreamError
from cscale_core.jobs.engine import JobHandle, Outcome
from cscale_core.jobs.engines.programs import NamedApplication
from cscale_core.jobs.engines.spark import results
from cscale_core.jobs.engines.spark.backend import Work
from cscale_core.jobs.engines.spark.delivery import delivered
from cscale_core.jobs.engines.spark.figures import figures, progress
from cscale_core.jobs.engines.spark.kubernetes.cluster import Cluster
from cscale_core.jobs.engines.spark.kubernetes.logs import PodLogs
from cscale_core.jobs.engines.spark.kubernetes.pods import Pod, Trouble, failure, trouble
from cscale_core.jobs.engines.spark.kubernetes.states import PASSING, Application
from cscale_core.jobs.engines.spark.kubernetes.submitting import Credentials
from cscale_core.jobs.engines.spark.kubernetes.watching import Applications
from cscale_core.jobs.engines.spark.monitoring import figures_at
from cscale_core.jobs.engines.spark.process import Program
from cscale_core.jobs.model import JobStatus
from cscale_core.jobs.polling import Subscription
from cscale_core.site import Site


@dataclass(frozen=True)
class Rhythm:
    """Seconds: how often is looked, and how long is waited for what does not come.

    :ivar look: between two looks at a job of which the watch has told nothing.
    :ivar attended: the same while somebody reads its log.
    :ivar pods: in a waiting state, before its pods are looked at, and between two such looks.
    :ivar figures: between two questions to Spark's monitoring, and before the first.
    :ivar operator: until an operator that does nothing is told of.
    :ivar abandoned: until an application that no operator took is given up.
    :ivar lasting: until a trouble that does not end by itself ends the job.
    :ivar passing: until a state that should pass is looked into.
    :ivar succeeding: until the end of a program that has succeeded is told to be long.
    """

    look: float = 10.0
    attended: float = 2.0
    pods: float = 15.0
    figures: float = 30.0
    operator: float = 120.0
    abandoned: float = 1800.0
    lasting: float = 600.0
    passing: float = 600.0
    succeeding: float = 3600.0


class Following:
    """One job, whose application is in the cluster."""

    def __init__(
        self,
        handle: JobHandle,
        work: Work,
        cluster: Cluster,
        applications: Applications,
        site: Site,
        settings: SparkKubernetes,
        credentials: Credentials,
        rhythm: Rhythm,
        attended: asyncio.Event,
    ) -> None:
        self._handle = handle
        self._work = work
        self._cluster = cluster
        self._applications = applications
        self._site = site
        self._settings = settings
        self._credentials = credentials
        self._rhythm = rhythm
        self._attended = attended
        self._logs = PodLogs(handle, cluster)
        self._state = ""
        self._since = 0.0
        self._pods: list[Pod] = []
        self._pods_due = 0.0
        self._figures_due = 0.0
        self._trouble: Trouble | None = None
        self._trouble_since = 0.0
        self._over_since = 0.0
        self._warned: set[str] = set()

    async def outcome(self, application: Application) -> Outcome:
        """Follow it to its end."""
        subscription = self._applications.follow(application)
        waker = asyncio.create_task(self._wake_on_cancel(subscription))
        try:
            while True:
                try:
                    outcome = await self._step(subscription)
                    if outcome is not None:
                        return outcome
                except CScaleError as error:
                    # The application goes on without us: say so, and look again later.
                    self._handle.report(None, f"no news of the job: {error.message}"[:300])
                rhythm = self._rhythm
                await subscription.news(rhythm.attended if self._attended.is_set() else rhythm.look)
        finally:
            waker.cancel()
            self._applications.leave(subscription)

    async def _wake_on_cancel(self, subscription: Subscription[Application]) -> None:
        await self._handle.cancel_requested.wait()
        subscription.wake()

    async def _step(self, subscription: Subscription[Application]) -> Outcome | None:
        known = subscription.state
        assert known is not None  # noqa: S101 - it is followed from a known state
        if self._handle.cancel_requested.is_set():
            await self._logs_of(known.name, last=True)
            await self._cluster.delete(known.name)
            return Outcome.canceled()
        if subscription.gone is not None:
            try:
                subscription.state = await self._cluster.get(known.name)
                subscription.gone = None
            except NotFound:
                return await forgotten(self._handle, self._work, self._site, known.name)
            return None
        if subscription.trouble is not None:
            raise subscription.trouble
        return await self._look(known)

    # -- what is known of it -------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _look(self, application: Application) -> Outcome | None:
        """Write down how it is; the outcome when it has ended."""
        now = self._now()
        if application.state != self._state or not self._since:
            self._state, self._since = application.state, now
            self._pods_due = now + self._rhythm.pods
            self._trouble, self._warned = None, set()
        if application.status.ended:
            return await self._ended(application)
        await self._credentials.renew(self._handle, self._cluster, application.name)
        if application.status == JobStatus.RUNNING:
            self._figures_due = self._figures_due or now + self._rhythm.figures / 3
            await self._running(application)
        outcome = await self._waiting_long(application, now - self._since)
        if outcome is not None:
            return outcome
        await self._handle.update(
            status=application.status, message=self._message(application)[:300], ui_path=self._ui()
        )
        return None

    def _ui(self) -> str:
        if self._state != "RUNNING" or not self._settings.ui_url:
            return ""
        return self._settings.ui_url.replace("{name}", self._handle.job.engine_id)

    def _message(self, application: Application) -> str:
        if self._trouble is not None:
            return self._trouble.message
        if "operator" in self._warned:
            return "the Spark operator does not answer"
        if application.state == "RUNNING" and self._logs.told is not None:
            return self._logs.told[1]
        return application.words

    async def _running(self, application: Application) -> None:
        """Bring the log and the figures of a running application."""
        await self._logs_of(application.name)
        told = self._logs.told
        if told is not None:
            self._handle.report(min(1.0, max(0.0, told[0])))
        if application.state != "RUNNING" or self._now() < self._figures_due:
            return
        self._figures_due = self._now() + self._rhythm.figures

        async def get(path: str) -> Any:
            return await self._cluster.monitoring(application, path)

        try:
            found = await figures(get)
        except CScaleError:
            # Its UI is not up yet, or the role does not reach it: the figures of before stay.
            return
        await self._handle.update(usage={**self._handle.job.usage, "spark": found})
        if told is None:
            self._handle.report(progress(found, self._handle.job.progress))

    async def _look_at_pods(self, name: str) -> list[Pod]:
        self._pods = [Pod.of(body) for body in await self._cluster.pods(name)]
        return self._pods

    async def _logs_of(self, name: str, *, last: bool = False) -> None:
        """Bring what is new of the driver's log, and of the executors' when somebody reads it."""
        try:
            pods = await self._look_at_pods(name)
            every = last or self._attended.is_set()
            chosen = [pod for pod in pods if every or pod.role == "driver"]
            await (self._logs.finish(chosen) if last else self._logs.copy(chosen))
        except CScaleError as error:
            if error.code not in self._warned:
                self._warned.add(error.code)
                await self._handle.log(f"the log cannot be read: {error.message}", "warning")

    async def _explained(self, application: Application, pods: list[Pod]) -> Trouble | None:
        """Why it does not go on, by its pods and the events of those that wait."""
        events: list[dict[str, Any]] = []
        waiting = [pod.name for pod in pods if pod.phase == "Pending"][:3]
        for name in (application.name, *waiting):
            try:
                events += await self._cluster.events(name)
            except CScaleError:
                # Events are a courtesy; a role may not see them.
                break
        return trouble(pods, events, self._work.options, self._site.spark.node, self._driver_memory)

    @property
    def _driver_memory(self) -> str:
        return self._site.spark.driver_memory

    # -- what does not come --------------------------------------------------------------------

    async def _waiting_long(self, application: Application, seconds: float) -> Outcome | None:
        """Look into a state that lasts: pods that do not start, an operator that is not there."""
        rhythm, now = self._rhythm, self._now()
        state = application.state
        if state == "":
            if seconds > rhythm.operator and "operator" not in self._warned:
                self._warned.add("operator")
                await self._handle.log(
                    f"the Spark operator has not taken {application.name} for "
                    f"{seconds:.0f} seconds; it may not be running",
                    "warning",
                )
            if seconds > rhythm.abandoned:
                await self._cluster.delete(application.name)
                return Outcome.failed(
                    UpstreamError(
                        "The Spark operator of the cluster does not answer.",
                        hint="Nothing was started, and the application was removed. Tell the "
                        "operator of the cluster, then submit the job again.",
                        retryable=True,
                    )
                )
            return None
        if now < self._pods_due:
            return None
        self._pods_due = now + rhythm.pods
        pods = await self._look_at_pods(application.name)
        if state in ("SUBMITTED", "RUNNING", "PENDING_RERUN", "SUBMISSION_FAILED"):
            await self._tell(await self._explained(application, pods))
        if (
            self._trouble is not None
            and self._trouble.lasting
            and state != "RUNNING"
            and now - self._trouble_since > rhythm.lasting
        ):
            await self._cluster.delete(application.name)
            error = self._trouble.error()
            return Outcome(JobStatus.ERROR, error.message, error=error)
        return await self._without_operator(application, pods, seconds)

    async def _tell(self, found: Trouble | None) -> None:
        if found is not None and (self._trouble is None or self._trouble.code != found.code):
            self._trouble_since = self._now()
            await self._handle.log(f"{found.message} {found.hint}", "warning")
        self._trouble = found

    async def _without_operator(
        self, application: Application, pods: list[Pod], seconds: float
    ) -> Outcome | None:
        """Judge by the driver's pod what the operator should have written down."""
        state, rhythm = application.state, self._rhythm
        if state == "SUCCEEDING" and seconds > rhythm.succeeding:
            if "succeeding" not in self._warned:
                self._warned.add("succeeding")
                await self._handle.log(
                    f"{application.name} has been ending for {seconds:.0f} seconds", "warning"
                )
        elif state not in PASSING and state not in ("RUNNING", "SUCCEEDING"):
            return None
        driver = next((pod for pod in pods if pod.role == "driver"), None)
        over = driver is None or driver.phase in ("Succeeded", "Failed")
        if not over:
            self._warned.discard("driver")
            return None
        if "driver" not in self._warned:
            # The operator may be about to say it.
            self._warned.add("driver")
            self._over_since = self._now()
        if self._now() - self._over_since < rhythm.passing:
            return None
        await self._handle.log(
            f"the operator says {state} of {application.name}, whose driver has ended", "warning"
        )
        if driver is None:
            if state in ("SUBMISSION_FAILED", "PENDING_RERUN", "INVALIDATING", "FAILING"):
                return await self._failed(application)
            return Outcome.lost(
                f"The driver of {application.name} is gone, and the operator did not see its end.",
                f"What it wrote is in {self._work.output}; look there, and submit it again.",
            )
        if driver.phase == "Succeeded":
            return await self._finished(application)
        return await self._failed(application)

    # -- its end -------------------------------------------------------------------------------

    async def _ended(self, application: Application) -> Outcome:
        if application.status == JobStatus.FINISHED:
            return await self._finished(application)
        return await self._failed(application)

    async def _last_figures(self, application: Application) -> dict[str, Any]:
        """Usage with the figures of the history server, where there is one that has them."""
        usage = dict(self._handle.job.usage)
        if self._site.spark.history_url and application.spark_id:
            try:
                usage["spark"] = await figures_at(
                    self._site.spark.history_url, application.spark_id
                )
            except CScaleError as error:
                await self._handle.log(
                    f"the history server has no figures: {error.message}", "debug"
                )
        return usage

    async def _finished(self, application: Application) -> Outcome:
        await self._logs_of(application.name, last=True)
        usage = await self._last_figures(application)
        try:
            items = await delivered(self._handle, self._items)
        except CScaleError as error:
            # The application has ended: this is the job's end too.
            if self._handle.cancel_requested.is_set():
                return Outcome.canceled("canceled while its results were read")
            unread = Outcome.failed(error)
            await self._handle.log(f"it finished; its files are in {self._work.output}", "warning")
            return replace(unread, usage=usage)
        if not items and isinstance(self._work.process, NamedApplication):
            without = CScaleError(
                "The application ended without a result item.",
                hint=f"What it wrote is in {self._work.output}; the job's log says more.",
            )
            return Outcome.failed(without)
        files = sum(len(item["assets"]) for item in items)
        return Outcome(JobStatus.FINISHED, f"{files} files written", items, usage)

    def _items(self, report: results.Report) -> results.Left:
        if isinstance(self._work.process, NamedApplication):
            item = results.own_item(self._work, self._site)
            return results.Left([item] if item else [])
        return results.of_bucket(self._work, self._site, report)

    async def _failed(self, application: Application) -> Outcome:
        await self._logs_of(application.name, last=True)
        found = await self._explained(application, self._pods)
        usage = await self._last_figures(application)
        error = failure(
            application,
            self._pods,
            found,
            self._work.options,
            self._site.spark.node,
            self._driver_memory,
            self._work.process.python if isinstance(self._work.process, Program) else (),
        )
        return Outcome(JobStatus.ERROR, error.message, usage=usage, error=error)


async def forgotten(handle: JobHandle, work: Work, site: Site, name: str) -> Outcome:
    """What becomes of a job whose application the cluster does not know any more."""
    if handle.cancel_requested.is_set():
        return Outcome.canceled("canceled; the cluster does not know the application any more")
    if isinstance(work.process, NamedApplication):
        # The item is the last thing that a named application writes.
        try:
            item = await asyncio.to_thread(results.own_item, work, site)
        except CScaleError:
            item = None
        if item is not None:
            message = "finished; the cluster has removed the application since"
            return Outcome(JobStatus.FINISHED, message, [item], handle.job.usage)
    return Outcome.lost(
        f"The cluster does not know {name} any more, and it left no word.",
        "It was deleted there, or removed long after its end. What it wrote is in "
        f"{work.output}; look there, and submit it again.",
    )
