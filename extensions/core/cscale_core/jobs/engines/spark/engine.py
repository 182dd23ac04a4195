"""Spark jobs: named applications and programs of one's own, on this machine or on Kubernetes.

The site says which of the two is there; a spec names one, the first is the default.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from cscale_core.errors import InvalidInput
from cscale_core.identity.tokens import CredentialSource
from cscale_core.jobs.engine import Engine, JobHandle, Outcome
from cscale_core.jobs.engines.programs import NamedApplication
from cscale_core.jobs.engines.spark.backend import Backend, Work, title_of
from cscale_core.jobs.engines.spark.connect import server_state
from cscale_core.jobs.engines.spark.kubernetes.following import Rhythm
from cscale_core.jobs.engines.spark.kubernetes.running import KubernetesSpark
from cscale_core.jobs.engines.spark.local.running import LocalSpark
from cscale_core.jobs.engines.spark.options import options_of
from cscale_core.jobs.engines.spark.places import output_prefix
from cscale_core.jobs.engines.spark.process import process_of
from cscale_core.jobs.model import BackendState, EngineName, Job, JobSpec
from cscale_core.site import Site
from cscale_core.workflows.applications import APPLICATIONS, Application

#: Stands for the id of a job that is not made yet.
NO_JOB = "j-000000000000-00000000"
#: Seconds for which what is known of the back ends serves.
STATES_SECONDS = 120.0


class SparkEngine(Engine):
    """Runs Spark applications.

    :param folder: holds one work folder for each application on this machine.
    :param tokens: for credentials of pods, where the site says so.
    :param ui_base: path behind the hub that shows a local port, with ``{port}`` in it.
    :param concurrent: applications at a time on this machine.
    :param rhythm: how often is looked at applications in a cluster.
    """

    name: ClassVar[EngineName] = "spark"

    def __init__(
        self,
        site: Site,
        folder: Path,
        tokens: CredentialSource | None = None,
        *,
        ui_base: str = "",
        applications: Mapping[str, Application] = APPLICATIONS,
        concurrent: int = 1,
        rhythm: Rhythm | None = None,
    ) -> None:
        self._site = site
        self._applications = applications
        self.local = LocalSpark(
            site, folder, ui_base=ui_base, applications=applications, concurrent=concurrent
        )
        self._backends: dict[str, Backend] = {}
        for kind in site.spark.kinds:
            if kind == "local":
                self._backends[kind] = self.local
            elif site.spark.kubernetes is not None:
                self._backends[kind] = KubernetesSpark(
                    site, site.spark.kubernetes, tokens, applications=applications, rhythm=rhythm
                )
        self._states: list[BackendState] = []
        self._states_until = 0.0
        self._looking = asyncio.Lock()

    def _backend(self, spec: JobSpec) -> Backend:
        try:
            return self._backends[spec.backend or next(iter(self._backends), "")]
        except KeyError:
            raise InvalidInput(
                f"There is no Spark back end {spec.backend!r} here.",
                hint="Known: " + (", ".join(self._backends) or "none") + ".",
            ) from None

    async def check(self, spec: JobSpec) -> JobSpec:
        """The spec with the application's defaults filled in and the inputs noted.

        :raises InvalidInput: when the process, the options or the place are not right.
        """
        backend = self._backend(spec)
        options = options_of(spec.options)
        process = await asyncio.to_thread(process_of, spec.process, self._applications)
        await asyncio.to_thread(backend.check, process, options)
        output_prefix(self._site, spec, NO_JOB)
        titles = {name: application.title for name, application in self._applications.items()}
        items = process.arguments.get("items", ()) if isinstance(process, NamedApplication) else ()
        return spec.model_copy(
            update={
                "backend": backend.id,
                "title": spec.title or title_of(process, titles),
                "process": process.model_dump(mode="json", exclude_defaults=True),
                "options": options.model_dump(mode="json", exclude_defaults=True),
                "inputs": spec.inputs or [frozen(item) for item in items],
            }
        )

    async def run(self, handle: JobHandle) -> Outcome:
        """Start the application, or find it again, and follow it to its end.

        :raises CScaleError: when it cannot be started.
        """
        job = handle.job
        work = Work(
            job,
            await asyncio.to_thread(process_of, job.spec.process, self._applications),
            options_of(job.spec.options),
            output_prefix(self._site, job.spec, job.id),
        )
        return await self._backend(job.spec).run(handle, work)

    async def estimate(self, spec: JobSpec) -> dict[str, Any] | None:
        """The pods that the job would ask for, and whether they fit; None on this machine.

        :raises CScaleError: when the job would be refused.
        """
        await self.check(spec)
        pods = self._backend(spec).pods(options_of(spec.options))
        return {"pods": pods} if pods else None

    async def backends(self) -> list[BackendState]:
        """The places that run applications, then the Spark Connect servers with their sessions."""
        async with self._looking:
            if time.monotonic() >= self._states_until:
                self._states = list(
                    await asyncio.gather(
                        *(backend.state() for backend in self._backends.values()),
                        *(server_state(server) for server in self._site.spark.connect),
                    )
                )
                self._states_until = time.monotonic() + STATES_SECONDS
            return list(self._states)

    def attend(self, job: Job) -> None:
        """Keep the log fresh while it is read."""
        backend = self._backends.get(job.spec.backend)
        if backend is not None:
            backend.attend(job)

    async def forget(self, job: Job) -> None:
        """Remove what is kept of an ended job; the files in the bucket stay."""
        await self._backends.get(job.spec.backend, self.local).forget(job)

    async def close(self) -> None:
        """Give back connections; jobs go on."""
        for backend in self._backends.values():
            await backend.close()


def frozen(item: dict[str, Any]) -> dict[str, Any]:
    """What is noted of an input: its id, collection, address and checksums by asset."""
    return {
        "id": item.get("id"),
        "collection": item.get("collection"),
        "assets": {
            key: {"href": asset.get("href"), "checksum": asset.get("file:checksum")}
            for key, asset in item.get("assets", {}).items()
        },
    }
