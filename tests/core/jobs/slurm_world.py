"""A manager with the Slurm engine on the test's Slurm, by any of the ways to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slurm_server import SlurmServer

from cscale_core.clusters import SlurmCluster
from cscale_core.errors import LoginRequired
from cscale_core.jobs.engines.slurm.engine import SlurmEngine
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import Job, JobSpec, JobStatus
from cscale_core.jobs.polling import Pace
from cscale_core.jobs.store import JobStore
from cscale_core.site import Site
from tests.waiting import soon

PACE = Pace(
    prompt=0.05,
    soonest=0.1,
    longest=0.3,
    round=0.2,
    rate=20.0,
    retry=0.2,
    retry_longest=0.5,
    patience=0.3,
)
WAYS = ("ssh", "rest", "socket")


class Tokens:
    """Gives the cluster's token, or none; counts what is asked."""

    def __init__(self, token: str = "") -> None:
        self.value = token
        self.next = token
        self.forgotten = 0

    async def token(self, audience: str) -> str:
        if not self.value:
            raise LoginRequired("no session")
        return self.value

    def forget(self, audience: str) -> None:
        self.forgotten += 1
        self.value = self.next


def cluster(server: SlurmServer, way: str, **changes: Any) -> SlurmCluster:
    """The test's Slurm as the site names it."""
    members: dict[str, Any] = {
        "id": way,
        "title": "Test cluster",
        "kind": "ssh" if way == "ssh" else "rest",
        "user": server.user,
        "folder": str(server.work),
    }
    if way == "ssh":
        members |= {
            "host": "127.0.0.1",
            "port": server.ports["ssh"],
            "identity_file": str(server.folder / "user_key"),
            "known_hosts": str(server.folder / "known_hosts"),
        }
    else:
        socket = f"unix:{server.rest_socket}"
        members |= {
            "url": socket if way == "socket" else f"http://127.0.0.1:{server.ports['rest']}",
            "audience": "slurm",
            "local_folder": str(server.work),
        }
    return SlurmCluster.model_validate({**members, **changes})


class World:
    """A manager on one cluster."""

    def __init__(
        self,
        server: SlurmServer,
        path: Path,
        make_site: Callable[..., Site],
        way: str = "ssh",
        **changes: Any,
    ) -> None:
        self.server = server
        self.path = path
        self.tokens = Tokens(server.token())
        self.site = make_site(slurm=[cluster(server, way, **changes)])
        self.manager = self.new_manager()

    def new_manager(self) -> JobManager:
        self.engine = SlurmEngine(self.site, self.tokens, pace=PACE)
        store = JobStore(self.path / "jobs.sqlite")
        return JobManager(self.site, store, {"slurm": self.engine}, lambda job: None)

    async def restart(self) -> None:
        await self.manager.stop()
        self.manager = self.new_manager()
        await self.manager.start()

    async def submit(self, *command: str, **options: Any) -> Job:
        return await self.manager.submit(spec(*command, **options))

    async def until(self, job_id: str, condition: Callable[[Job], object]) -> Job:
        return await soon(
            lambda: self.manager.get(job_id),
            f"what is awaited of {job_id}",
            270,
            fits=condition,
            beside=lambda: self.log(job_id),
            pause=0.05,
        )

    async def running(self, job_id: str) -> Job:
        return await self.until(job_id, lambda job: job.status == JobStatus.RUNNING)

    async def ended(self, job_id: str) -> Job:
        return await self.until(job_id, lambda job: job.status.ended)

    async def says(self, job_id: str, line: str) -> None:
        """Wait for a line in its log."""
        await soon(
            lambda: self.log(job_id),
            f"the line {line!r}",
            fits=lambda said: line in said,
            pause=0.05,
        )

    async def log(self, job_id: str) -> list[str]:
        return [line.message for line in await self.manager.logs(job_id, limit=10_000)]


def spec(*command: str, **options: Any) -> JobSpec:
    """A job that runs a command; results are left where they are."""
    return JobSpec(
        engine="slurm",
        process={"command": list(command)},
        options={"time": 5, "memory": "50M", "results": False, **options},
    )
