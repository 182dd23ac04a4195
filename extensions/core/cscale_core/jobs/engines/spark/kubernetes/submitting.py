"""Bringing a job to the cluster once, whatever happens on the way.

The application's name follows from the job's id, so that creating it a second time finds the first.
The Secret belongs to the application and is made after it; the pods wait for it (the kubelet tries
a volume again until its Secret is there), and it is removed with the application by the cluster.
A server that dies between the two is followed by one that makes the Secret.
"""

from __future__ import annotations

import asyncio
import hashlib
import time

from cscale_core.clusters import SparkKubernetes
from cscale_core.errors import Conflict, CScaleError, NotFound, UpstreamError
from cscale_core.identity.tokens import CredentialSource
from cscale_core.jobs.engine import JobHandle
from cscale_core.jobs.engines.spark.kubernetes.client import QuotaExceeded
from cscale_core.jobs.engines.spark.kubernetes.cluster import Cluster
from cscale_core.jobs.engines.spark.kubernetes.handing import RENEW_SECONDS, handed, look_again
from cscale_core.jobs.engines.spark.kubernetes.manifest import Described, encoded
from cscale_core.jobs.engines.spark.kubernetes.states import JOB_LABEL, USER_LABEL, Application
from cscale_core.jobs.model import JobStatus
from cscale_core.jobs.polling import Backoff

#: Seconds between two attempts while the cluster does not answer or has no room.
RETRY_SECONDS = (2.0, 60.0)


class Credentials:
    """What pods reach the object store with, and its renewal."""

    def __init__(self, settings: SparkKubernetes, source: CredentialSource | None) -> None:
        self._settings = settings
        self._source = source
        self._given = ""
        self._due = 0.0
        self._warned = False

    async def data(self) -> dict[str, str]:
        """What goes into the Secret beside the parameters.

        :raises CScaleError: when there is nothing to be had.
        """
        data = await handed(self._settings, self._source)
        self._given = hashlib.sha256(repr(sorted(data.items())).encode()).hexdigest()
        self._due = time.monotonic() + look_again(data, RENEW_SECONDS)
        return data

    async def renew(self, handle: JobHandle, cluster: Cluster, name: str) -> None:
        """Put what is new into the Secret; the pods see it within a minute."""
        if time.monotonic() < self._due:
            return
        before = self._given
        self._due = time.monotonic() + RENEW_SECONDS
        try:
            data = await self.data()
            if data and self._given != before:
                await cluster.patch_secret(name, encoded(data))
            self._warned = False
        except CScaleError as error:
            self._given = before
            if not self._warned:
                self._warned = True
                await handle.log(
                    f"the job's credentials could not be renewed: {error.message}", "warning"
                )


class Submitting:
    """One job on its way to the cluster."""

    def __init__(
        self, handle: JobHandle, cluster: Cluster, described: Described, credentials: Credentials
    ) -> None:
        self._handle = handle
        self._cluster = cluster
        self._described = described
        self._credentials = credentials

    async def application(self) -> Application | None:
        """The job's application, created or found; None when the user no longer wants it.

        :raises NotFound: when it was there before, and the cluster does not know it any more.
        :raises CScaleError: when the cluster refuses it.
        """
        backoff = Backoff(*RETRY_SECONDS)
        while not self._handle.cancel_requested.is_set():
            try:
                application = await self._found_or_created()
                if not application.status.ended:
                    await self._hand_over(application)
                return application
            except CScaleError as error:
                if not error.retryable:
                    raise
                words = "no room yet" if isinstance(error, QuotaExceeded) else "not submitted yet"
                await self._handle.update(
                    status=JobStatus.QUEUED, message=f"{words}: {error.message}"[:300]
                )
            await self._handle.rest(backoff.failed())
        # It may be there although no answer came.
        await self._cluster.delete(self._described.name)
        return None

    async def _found_or_created(self) -> Application:
        name = self._described.name
        if self._handle.job.engine_id:
            return await self._cluster.get(name)
        try:
            application = await self._cluster.create(self._described.application)
        except Conflict:
            application = await self._adopted(name)
        except NotFound as error:
            raise UpstreamError(
                "The cluster has no Spark operator, or not the namespace.",
                hint="Tell the operator; nothing was started.",
                reason=error.message,
            ) from error
        if not application.templated:
            await self._cluster.delete(name)
            raise UpstreamError(
                "The Spark operator of the cluster is older than 2.0 and does not keep what "
                "secures the pods.",
                hint="Tell the operator to renew its definitions (CRDs); nothing was started.",
            )
        await self._handle.update(
            engine_id=name, status=JobStatus.QUEUED, message="submitted to the cluster"
        )
        return application

    async def _adopted(self, name: str) -> Application:
        """The application that is there already, when it is this job's."""
        application = await self._cluster.get(name)
        asked = self._described.application["metadata"]["labels"]
        same = all(application.labels.get(key) == asked[key] for key in (JOB_LABEL, USER_LABEL))
        if not same:
            raise Conflict(
                f"The cluster has another application of the name {name}.",
                hint="It is left alone. Submit the job again.",
            )
        await self._handle.log(f"{name} was submitted before; it is followed")
        return application

    async def _hand_over(self, application: Application) -> None:
        """Make the Secret, unless the application has one."""
        extra = await self._credentials.data()
        manifest = self._described.secret_manifest(application.uid, extra)
        for _ in range(5):
            try:
                await self._cluster.create_secret(manifest)
                return
            except Conflict:
                try:
                    owner = await self._cluster.secret_owner(application.name)
                except NotFound:
                    continue
            if owner == application.uid:
                if extra:
                    await self._cluster.patch_secret(application.name, encoded(extra))
                return
            # Of an application of the same name that is gone: its removal is under way.
            await self._cluster.delete_secret(application.name)
            await asyncio.sleep(0.2)
        raise UpstreamError("The job's parameters could not be handed over.", retryable=True)
