"""A job manager with the openEO engine, its back end (the double) and its tokens, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from openeo_double import Double, RemoteJob

from cscale_core.backends import OpenEOBackend
from cscale_core.errors import LoginRequired
from cscale_core.jobs.engines.openeo import OpenEOEngine
from cscale_core.jobs.engines.openeo.terms import Terms
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import Job, JobSpec, JobStatus
from cscale_core.jobs.polling import Pace
from cscale_core.jobs.store import JobStore
from cscale_core.site import Site
from tests.waiting import soon

GRAPH = {"add": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}

#: The times of the engine, made short.
QUICK = Terms(
    pace=Pace(
        prompt=0.02,
        soonest=0.05,
        longest=0.1,
        round=0.05,
        rate=1000,
        burst=1000,
        retry=0.05,
        retry_longest=0.2,
        patience=0.1,
    ),
    logs=0.05,
    attended_logs=0.05,
    details=0.1,
    settling=0.3,
    restart=0.3,
)


class Tokens:
    """A new token at each request; its number grows."""

    def __init__(self, user: str = "u") -> None:
        self.user = user
        self.ended = False
        self.count = 0

    async def token(self, audience: str) -> str:
        if self.ended:
            raise LoginRequired("The session has ended.")
        self.count += 1
        return f"{self.user}-{audience}-{self.count}"


class KeptTokens(Tokens):
    """The same token until it is told to forget it, as the broker's are kept."""

    kept = ""

    async def token(self, audience: str) -> str:
        self.kept = self.kept or await super().token(audience)
        return self.kept

    def forget(self, audience: str) -> None:
        self.kept = ""


class World:
    """One server of a user; :meth:`restart` is another one on the same folder."""

    def __init__(
        self, folder: Path, site: Site, double: Double, tokens: Tokens, terms: Terms = QUICK
    ) -> None:
        self.double = double
        self.tokens = tokens
        self.site = site
        self.folder = folder
        self.terms = terms
        self.changes: list[Job] = []
        self.manager = self.new_manager()

    def new_manager(self) -> JobManager:
        self.engine = OpenEOEngine(self.site, self.tokens, self.terms)
        store = JobStore(self.folder / "jobs.sqlite")
        return JobManager(self.site, store, {"openeo": self.engine}, self.changes.append)

    async def restart(self) -> None:
        """Stop the server, and start another one."""
        await self.manager.stop()
        self.manager = self.new_manager()
        await self.manager.start()

    async def submit(self, **changes: Any) -> Job:
        return await self.manager.submit(spec(**changes))

    async def running(self, **changes: Any) -> tuple[Job, RemoteJob]:
        """A job that runs, here and there."""
        job = await self.submit(**changes)
        job = await self.until(job.id, lambda job: job.status == JobStatus.RUNNING)
        return job, self.double.jobs[job.engine_id]

    async def until(self, job_id: str, condition: Callable[[Job], object]) -> Job:
        return await soon(
            lambda: self.manager.get(job_id), f"what is awaited of {job_id}", fits=condition
        )

    async def ended(self, job_id: str) -> Job:
        return await self.until(job_id, lambda job: job.status.ended)

    async def lines(self, job_id: str, level: str = "") -> list[str]:
        lines = await self.manager.logs(job_id, limit=5000)
        return [line.message for line in lines if not level or line.level == level]


def spec(**changes: Any) -> JobSpec:
    return JobSpec.model_validate(
        {"engine": "openeo", "title": "Add", "process": {"process_graph": GRAPH}, **changes}
    )


def backend(double: Double, **members: Any) -> OpenEOBackend:
    return OpenEOBackend.model_validate(
        {"id": "here", "title": "Back end", "url": double.url, "audience": "openeo", **members}
    )


def finish(remote: RemoteJob) -> None:
    """End a job well, with one file in our bucket and one of the job's own."""
    remote.to(
        "finished",
        results={
            "assets": {
                "slope.tif": {
                    "href": "https://elsewhere.example/signed/slope.tif?expires=1",
                    "alternate": {"s3": {"href": "s3://vobucket/users/utest/jobs/x/slope.tif"}},
                    "type": "image/tiff; application=geotiff",
                    "roles": ["data"],
                    "proj:code": "EPSG:32630",
                    "proj:bbox": [240000, 4030000, 243000, 4033000],
                    "proj:shape": [100, 100],
                    "file:size": 5,
                },
                "job.json": {"href": "https://elsewhere.example/job.json", "roles": ["metadata"]},
            },
            "links": [{"rel": "derived_from", "href": "https://elsewhere.example/item"}],
        },
        usage={"cpu": {"value": 3, "unit": "cpu-seconds"}},
        costs=2.5,
    )
