"""A job manager with the Spark engine on a cluster (the double), for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes_double import NAMESPACE, KubernetesDouble
from pydantic import BaseModel

from cscale_core.errors import LoginRequired
from cscale_core.jobs.engines.spark import SparkEngine
from cscale_core.jobs.engines.spark.kubernetes.following import Rhythm
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import Job, JobSpec
from cscale_core.jobs.store import JobStore
from cscale_core.site import Site
from cscale_core.workflows.applications import Application
from tests.waiting import soon

#: The times of the engine, made short.
QUICK = Rhythm(
    look=0.05,
    attended=0.05,
    pods=0.05,
    figures=0.1,
    operator=0.3,
    abandoned=2.0,
    lasting=0.4,
    passing=0.3,
    succeeding=0.3,
)
PROGRAM = {"main": "s3://vobucket/users/utest/code/job.py", "arguments": ["--to", "{output}"]}


class Arguments(BaseModel):
    """What the test's application takes."""

    count: int = 3
    items: list[dict[str, Any]] = []


class Tokens:
    """A new token at each request; its number grows."""

    def __init__(self) -> None:
        self.ended = False
        self.count = 0

    async def token(self, audience: str) -> str:
        if self.ended:
            raise LoginRequired("The session has ended.")
        self.count += 1
        return f"very-secret-{audience}-{self.count}"

    async def s3_credentials(self) -> dict[str, Any]:
        return {
            "AccessKeyId": await self.token("key"),
            "SecretAccessKey": "very-secret",
            "Token": "very-secret",
            "Expiration": "2999-01-01T00:00:00Z",
        }


class World:
    """A manager, its store and its cluster."""

    def __init__(
        self, folder: Path, make_site: Callable[..., Site], double: KubernetesDouble
    ) -> None:
        self.folder = folder
        self.double = double
        self.tokens = Tokens()
        self.settings: dict[str, Any] = {
            "namespace": "spark-{user}",
            "image": "registry.example.eu/spark:1",
            "kubeconfig": str(double.kubeconfig(folder / "kubeconfig")),
            "mount": "/s3",
            "mounts": [{"name": "buckets", "path": "/s3", "host_path": "/var/lib/s3/{user}"}],
            "credentials": "endpoint",
            "credentials_url": "https://broker.example.eu/v1/s3",
            "credentials_audience": "pods",
        }
        self.spark: dict[str, Any] = {
            "kinds": ["kubernetes", "local"],
            "node": {"cpus": 16, "memory": "32g"},
        }
        self._make_site = make_site
        assert NAMESPACE == "spark-utest"

    def site(self) -> Site:
        return self._make_site(spark={**self.spark, "kubernetes": self.settings})

    async def begin(self, rhythm: Rhythm = QUICK) -> JobManager:
        """A new server of the user."""
        site = self.site()
        main = self.folder / "application_spark.py"
        self.engine = SparkEngine(
            site,
            self.folder / "spark",
            self.tokens,
            applications={"test": Application("test", "Test", main, Arguments)},
            rhythm=rhythm,
        )
        store = JobStore(self.folder / "jobs.sqlite")
        self.manager = JobManager(site, store, {"spark": self.engine}, lambda job: None)
        await self.manager.start()
        return self.manager

    async def submit(self, **changes: Any) -> Job:
        body = {"engine": "spark", "process": PROGRAM, "title": "Test", **changes}
        return await self.manager.submit(JobSpec.model_validate(body))

    async def submitted(self, **changes: Any) -> tuple[Job, str]:
        """A job whose application and Secret are in the cluster, and the application's name."""
        job = await self.submit(**changes)
        name = f"cscale-{job.id}"
        await soon(lambda: name in self.double.secrets, "the Secret", pause=0.01)
        return job, name

    async def running(self, **changes: Any) -> tuple[Job, str]:
        job, name = await self.submitted(**changes)
        await self.double.state(name, "RUNNING", driverInfo={"podName": self.double.pod(name)})
        return await self.until(job.id, lambda job: job.status == "running"), name

    async def until(self, job_id: str, condition: Callable[[Job], object]) -> Job:
        return await soon(
            lambda: self.manager.get(job_id), f"what is awaited of {job_id}", fits=condition
        )

    async def ended(self, job_id: str) -> Job:
        return await self.until(job_id, lambda job: job.status.ended)

    async def says(self, job_id: str, words: str) -> None:
        """Wait for a line of its log with these words."""
        await soon(
            lambda: self.said(job_id),
            f"a line with {words!r}",
            fits=lambda said: any(words in line for line in said),
        )

    async def said(self, job_id: str) -> list[str]:
        return [line.message for line in await self.manager.logs(job_id)]
