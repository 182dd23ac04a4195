"""What the engine wants of a place that runs Spark applications: this machine, or a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from cscale_core.jobs.engine import JobHandle, Outcome
from cscale_core.jobs.engines.programs import NamedApplication
from cscale_core.jobs.engines.spark.options import SparkOptions
from cscale_core.jobs.engines.spark.process import Process, Program
from cscale_core.jobs.model import BackendState, Job, JobSpec
from cscale_core.site import Site
from cscale_core.workflows.applications import ApplicationRun


@dataclass(frozen=True)
class Work:
    """One job, read: what it runs, with what, and where its files go.

    :ivar output: ``s3://`` prefix, with a slash at the end.
    """

    job: Job
    process: Process
    options: SparkOptions
    output: str

    @property
    def spec(self) -> JobSpec:
        return self.job.spec

    @property
    def expression(self) -> dict[str, Any]:
        """What was computed, for the lineage of the results."""
        return {key: inner for key, inner in self.spec.process.items() if key != "environment"}

    @property
    def collection(self) -> str:
        """Of the result item."""
        if isinstance(self.process, NamedApplication):
            return self.options.collection or self.process.application
        return self.options.collection or "spark"

    def application_run(self, site: Site) -> ApplicationRun:
        """The parameters of a named application."""
        assert isinstance(self.process, NamedApplication)  # noqa: S101 - asked for these only
        return ApplicationRun(
            job_id=self.job.id,
            title=self.spec.title,
            arguments=self.process.arguments,
            output=self.output,
            collection=self.collection,
            site=site,
        )


class Backend(ABC):
    """One place that runs applications."""

    #: ``local`` or ``kubernetes``; how a spec names it.
    id: str

    @abstractmethod
    def check(self, process: Process, options: SparkOptions) -> None:
        """Refuse what cannot run here. Blocks for a moment.

        :raises InvalidInput: with what could.
        """

    @abstractmethod
    async def run(self, handle: JobHandle, work: Work) -> Outcome:
        """As :meth:`cscale_core.jobs.engine.Engine.run`."""

    @abstractmethod
    def pods(self, options: SparkOptions) -> list[dict[str, Any]]:
        """What the job would ask a cluster for; empty where nothing is asked."""

    @abstractmethod
    async def state(self) -> BackendState:
        """How it is; never raises."""

    @abstractmethod
    async def forget(self, job: Job) -> None:
        """Remove what is kept of an ended job; the files in the bucket stay."""

    def attend(self, job: Job) -> None:  # noqa: B027 - a default, not an abstract
        """Somebody reads the job's log."""

    async def close(self) -> None:  # noqa: B027 - a default, not an abstract
        """Give back what is held; jobs go on."""


def title_of(process: Process, titles: dict[str, str]) -> str:
    """A title for a job that has none.

    :param titles: of the named applications.
    """
    if isinstance(process, Program):
        return process.main.rpartition("/")[2][:100]
    return titles[process.application]
