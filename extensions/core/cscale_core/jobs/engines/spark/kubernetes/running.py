"""Spark on Kubernetes as one of the engine's back ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from cscale_core.clusters import SparkKubernetes
from cscale_core.errors import CScaleError, InvalidInput, NotFound
from cscale_core.identity.tokens import CredentialSource
from cscale_core.jobs.engine import JobHandle, Outcome
from cscale_core.jobs.engines.programs import NamedApplication
from cscale_core.jobs.engines.spark.backend import Backend, Work
from cscale_core.jobs.engines.spark.kubernetes.client import Kubernetes
from cscale_core.jobs.engines.spark.kubernetes.cluster import Cluster
from cscale_core.jobs.engines.spark.kubernetes.following import Following, Rhythm, forgotten
from cscale_core.jobs.engines.spark.kubernetes.manifest import (
    application_name,
    check_places,
    describe,
    namespace_of,
)
from cscale_core.jobs.engines.spark.kubernetes.submitting import Credentials, Submitting
from cscale_core.jobs.engines.spark.kubernetes.watching import Applications
from cscale_core.jobs.engines.spark.options import SparkOptions
from cscale_core.jobs.engines.spark.places import View
from cscale_core.jobs.engines.spark.process import Process
from cscale_core.jobs.engines.spark.resources import check_fits, limits, pods
from cscale_core.jobs.model import BackendState, Job, utc_now
from cscale_core.site import Site
from cscale_core.workflows.applications import Application

#: Seconds for which a log that was read is kept fresh.
ATTENDED_SECONDS = 60.0


class KubernetesSpark(Backend):
    """Spark applications in one namespace of a cluster.

    :param rhythm: how often is looked at jobs.
    """

    id = "kubernetes"

    def __init__(
        self,
        site: Site,
        settings: SparkKubernetes,
        tokens: CredentialSource | None,
        *,
        applications: Mapping[str, Application],
        rhythm: Rhythm | None = None,
    ) -> None:
        self._site = site
        self._settings = settings
        self._tokens = tokens
        self._known = applications
        self._modules = {
            name: f"cscale_core.workflows.{application.main.stem}"
            for name, application in applications.items()
        }
        self._rhythm = rhythm or Rhythm()
        self._cluster = Cluster(
            Kubernetes(settings.kubeconfig, settings.context),
            namespace_of(settings, site.user),
            site.user,
        )
        self._applications = Applications(self._cluster)
        self._attended: dict[str, asyncio.Event] = {}
        self._inattention: dict[str, asyncio.TimerHandle] = {}

    def check(self, process: Process, options: SparkOptions) -> None:
        """Refuse what does not fit on a node, and files that pods cannot see."""
        spark = self._site.spark
        check_fits(options, spark.node, spark.driver_memory)
        if not isinstance(process, NamedApplication):
            check_places(process, View(self._site, self._settings.mount))
        elif not self._settings.applications:
            raise InvalidInput(
                f"{self._settings.title} runs no named applications.",
                hint="The operator can use an image that has cscale-hub[spark].",
            )

    def pods(self, options: SparkOptions) -> list[dict[str, Any]]:
        """The driver and executors, with what they really ask for."""
        node = self._site.spark.node
        return [pod.shown(node) for pod in pods(options, self._site.spark.driver_memory)]

    async def state(self) -> BackendState:
        """Whether applications can be listed, and what fits on a node."""
        started = time.monotonic()
        version, problem = "", ""
        try:
            cluster = await self._cluster.version()
            version = f"{self._settings.spark_version} on Kubernetes {cluster}"
        except NotFound:
            problem = "The cluster has no Spark operator, or not the namespace."
        except CScaleError as error:
            problem = error.message
        return BackendState(
            engine="spark",
            id=self.id,
            title=self._settings.title,
            online=not problem,
            checked=utc_now(),
            seconds=time.monotonic() - started,
            version=version,
            limits=limits(self._site.spark.node),
            problem=problem,
        )

    async def run(self, handle: JobHandle, work: Work) -> Outcome:
        """Submit the job, or find it in the cluster, and follow it to its end."""
        described = await asyncio.to_thread(
            describe, work, self._site, self._settings, self._modules
        )
        credentials = Credentials(self._settings, self._tokens)
        submitting = Submitting(handle, self._cluster, described, credentials)
        try:
            application = await submitting.application()
        except NotFound:
            return await forgotten(handle, work, self._site, described.name)
        if application is None:
            return Outcome.canceled("canceled before it started")
        attended = self._attended.setdefault(handle.job.id, asyncio.Event())
        try:
            return await Following(
                handle,
                work,
                self._cluster,
                self._applications,
                self._site,
                self._settings,
                credentials,
                self._rhythm,
                attended,
            ).outcome(application)
        finally:
            self._attended.pop(handle.job.id, None)
            if timer := self._inattention.pop(handle.job.id, None):
                timer.cancel()

    def attend(self, job: Job) -> None:
        """Look often for a minute, at the executors' logs too."""
        event = self._attended.get(job.id)
        if event is None:
            return
        event.set()
        if timer := self._inattention.pop(job.id, None):
            timer.cancel()
        loop = asyncio.get_running_loop()
        self._inattention[job.id] = loop.call_later(ATTENDED_SECONDS, event.clear)

    async def forget(self, job: Job) -> None:
        """Remove the application, its pods and its Secret from the cluster, where they still are.

        Where the cluster does not answer it removes them itself, some time after the end.
        """
        if not job.engine_id:
            return
        try:
            await self._cluster.delete(application_name(job.id))
        except CScaleError:
            return

    async def close(self) -> None:
        """Stop watching, and close the connections; applications go on."""
        await self._applications.close()
        await self._cluster.close()
