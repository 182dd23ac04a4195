"""A server of a few lines, run as a process of its own: a manager with an engine that counts.

The engine submits to a "back end" that is a file with one line a submission, as a real one does:
it notes that it is about to, looks for a job of its id where it may have been sent before, sends
it, and notes the id that it got. Orders come on standard input as JSON, answers go to standard
output: ``{"call": "submit" | "cancel" | "pause" | "resume" | "delete" | "get" | …}``. What the
server tells its listeners goes out too.

``python server_double.py LIST REMOTE STEP``: with a step, the process kills itself there.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from cscale_core.jobs.engine import Engine, JobHandle, Outcome
from cscale_core.jobs.lease import Lease
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import EngineName, Job, JobSpec, JobStatus
from cscale_core.jobs.store import JobStore
from cscale_core.site import Catalogue, S3Site, Site

STEPS = (
    "in check",
    "before the row",
    "after the row",
    "told",
    "engine begins",
    "about to send",
    "sent",
    "noted",
    "running",
    "ended there",
    "before the end is written",
    "after the end is written",
)
SITE = Site(
    user="u1",
    s3=S3Site(endpoint="http://127.0.0.1:1"),
    catalogue=Catalogue(url="http://127.0.0.1:2"),
)
_step = sys.argv[3] if len(sys.argv) > 3 else ""


def die_at(step: str) -> None:
    if step == _step:
        os.kill(os.getpid(), signal.SIGKILL)


class Counting(Engine):
    """Submits to a file; a job there ends when a file with its id is there, ``ID.done``."""

    name: ClassVar[EngineName] = "staging"
    pausable: ClassVar[bool] = True

    def __init__(self, remote: Path) -> None:
        self.remote = remote

    async def check(self, spec: JobSpec) -> JobSpec:
        die_at("in check")
        return spec.model_copy(update={"title": spec.title or "counted"})

    def _sent(self, job_id: str) -> bool:
        return self.remote.exists() and job_id in self.remote.read_text().split()

    def attend(self, job: Job) -> None:
        say(attends=job.id)

    async def run(self, handle: JobHandle) -> Outcome:
        die_at("engine begins")
        job_id = handle.job.id
        if not handle.job.engine_id:
            if handle.cancel_requested.is_set() and not handle.state.get("sending"):
                return Outcome.canceled()
            if not (handle.state.get("sending") and self._sent(job_id)):
                handle.state["sending"] = True
                await handle.save_state()
                die_at("about to send")
                with self.remote.open("a") as file:
                    file.write(f"{job_id}\n")
                die_at("sent")
            await handle.update(engine_id=f"remote-{job_id}")
            die_at("noted")
        await handle.update(status=JobStatus.RUNNING)
        die_at("running")
        say(runs=job_id)
        while not self.remote.with_name(f"{job_id}.done").exists():
            if handle.pause_requested.is_set():
                return Outcome.paused()
            if await handle.rest(0.02):
                return Outcome.canceled()
        die_at("ended there")
        return Outcome(JobStatus.FINISHED, "done", [{"id": "r"}])


def say(**what: Any) -> None:
    print(json.dumps({"at": time.monotonic(), **what}, default=str), flush=True)


class DyingStore(JobStore):
    """A list whose server dies around some of its writes."""

    def create(self, *args: Any, **options: Any) -> Any:
        die_at("before the row")
        made = super().create(*args, **options)
        die_at("after the row")
        return made

    def update(self, identifier: str, **options: Any) -> Any:
        ends = JobStatus(options.get("status", "created")).ended
        if ends:
            die_at("before the end is written")
        job = super().update(identifier, **options)
        if ends:
            die_at("after the end is written")
        return job


def heard(job: Any) -> None:
    die_at("told")
    say(told=job.id, revision=job.revision, status=job.status, wanted=job.wanted)


async def main() -> None:
    store = DyingStore(Path(sys.argv[1]))
    manager = JobManager(
        SITE,
        store,
        {"staging": Counting(Path(sys.argv[2]))},
        heard,
        on_delete=lambda job_id, revision: say(deleted=job_id),
        lease=Lease(store, beat=0.2, patience=float(os.environ.get("PATIENCE", "60"))),
    )
    await manager.start()
    say(started=True, runner=manager.runs_jobs)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        name = order.pop("call")
        if name == "runner":
            say(answer=manager.runs_jobs)
            continue
        if "spec" in order:
            order["spec"] = JobSpec.model_validate(order["spec"])
        try:
            if name == "log_of":
                lines = await manager.logs(**order)
                say(answer=[line.model_dump(mode="json") for line in lines])
                continue
            answer = await getattr(manager, name)(**order)
        except Exception as error:
            say(answer=None, error=f"{type(error).__name__}: {error}")
        else:
            say(answer=answer.model_dump(mode="json") if hasattr(answer, "model_dump") else answer)
    await manager.stop()


if __name__ == "__main__":
    asyncio.run(main())
