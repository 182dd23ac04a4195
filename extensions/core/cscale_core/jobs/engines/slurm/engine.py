"""Slurm jobs: batch scripts at any cluster of the site, followed to their end.

Jobs run without us: what cannot be asked now is asked again later, and a new server finds each by
what was noted of it (:mod:`cscale_core.jobs.engines.slurm.submitting`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import ClassVar

from cscale_core.errors import InvalidInput
from cscale_core.identity.tokens import TokenSource
from cscale_core.jobs.engine import Engine, JobHandle, Outcome
from cscale_core.jobs.engines.programs import NamedApplication
from cscale_core.jobs.engines.slurm.cluster import Cluster
from cscale_core.jobs.engines.slurm.following import Following
from cscale_core.jobs.engines.slurm.options import resources
from cscale_core.jobs.engines.slurm.process import process_of
from cscale_core.jobs.engines.slurm.script import Submission, places, submission
from cscale_core.jobs.engines.slurm.submitting import Submitting, UnknownOutcome
from cscale_core.jobs.model import EngineName, JobSpec, JobStatus
from cscale_core.jobs.polling import Pace
from cscale_core.site import Site
from cscale_core.workflows.applications import APPLICATIONS, Application

#: Stands for the id of a job that is not made yet.
NO_JOB = "j-000000000000-00000000"


class SlurmEngine(Engine):
    """Runs batch jobs at the site's Slurm clusters.

    :param pace: how often a cluster is asked.
    """

    name: ClassVar[EngineName] = "slurm"

    def __init__(
        self,
        site: Site,
        tokens: TokenSource,
        *,
        pace: Pace | None = None,
        applications: Mapping[str, Application] = APPLICATIONS,
    ) -> None:
        self._site = site
        self._applications = applications
        self._clusters = {
            settings.id: Cluster(settings, site, tokens, pace or Pace()) for settings in site.slurm
        }
        #: Jobs on their way to a cluster: what depends on them waits.
        self._unsent: set[str] = set()

    def _cluster(self, spec: JobSpec) -> Cluster:
        try:
            return self._clusters[spec.backend or next(iter(self._clusters), "")]
        except KeyError:
            raise InvalidInput(
                f"There is no Slurm cluster {spec.backend!r} here.",
                hint="Known: " + (", ".join(self._clusters) or "none") + ".",
            ) from None

    def _submission(self, spec: JobSpec, job_id: str, dependency: str = "") -> Submission:
        return submission(
            spec,
            job_id,
            self._site,
            self._cluster(spec).settings,
            dependency=dependency,
            applications=self._applications,
        )

    def render_script(self, spec: JobSpec, job_id: str = NO_JOB) -> str:
        """The script that is submitted for a spec, to be shown; a dependency is left out of it.

        :raises InvalidInput: when it cannot be run.
        """
        return self._submission(spec, job_id).script

    async def check(self, spec: JobSpec) -> JobSpec:
        """The spec with the cluster and its defaults filled in.

        Whether the cluster has what is asked for is judged by Slurm, when the job is submitted.

        :raises InvalidInput: when there is no such cluster, or the spec is not right.
        """
        cluster = self._cluster(spec).settings
        options = resources(spec.options)
        process = await asyncio.to_thread(process_of, spec.process, self._applications)
        chosen = options.model_dump(mode="json", exclude_defaults=True)
        for name in ("partition", "account"):
            if getattr(cluster, name):
                chosen.setdefault(name, getattr(cluster, name))
        if isinstance(process, NamedApplication):
            if options.array:
                raise InvalidInput("A named application is one job and cannot be an array.")
            title = self._applications[process.application].title
        else:
            title = PurePosixPath(process.command[0]).name[:100]
        checked = spec.model_copy(
            update={
                "backend": cluster.id,
                "title": spec.title or title,
                "process": process.model_dump(mode="json", exclude_defaults=True),
                "options": resources(chosen).model_dump(mode="json", exclude_defaults=True),
            }
        )
        await asyncio.to_thread(self._submission, checked, NO_JOB)
        return checked

    async def run(self, handle: JobHandle) -> Outcome:
        """Submit the job, or find it at the cluster, and follow it to its end.

        :raises CScaleError: when it cannot be submitted.
        """
        spec, identifier = handle.job.spec, handle.job.id
        cluster = self._cluster(spec)
        where = places(self._site, cluster.settings, identifier, spec.vo)
        if not handle.job.engine_id:
            self._unsent.add(identifier)
            try:
                found = await Submitting(
                    handle,
                    cluster,
                    where,
                    lambda dependency: self._submission(spec, identifier, dependency),
                    self._unsent.__contains__,
                ).identifier()
            except UnknownOutcome as error:
                return Outcome.failed(error, JobStatus.LOST)
            finally:
                self._unsent.discard(identifier)
            if not found:
                return Outcome.canceled("canceled before it was submitted")
            await handle.update(
                engine_id=found,
                status=JobStatus.QUEUED,
                message=f"submitted to {cluster.title}",
            )
            await handle.log(f"job {found} at {cluster.title}")
        return await Following(handle, cluster, where, self._site).outcome()

    async def close(self) -> None:
        """Give back connections; jobs go on."""
        for cluster in self._clusters.values():
            await cluster.close()
