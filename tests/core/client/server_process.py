"""A user's server with the real extension and the real list of jobs, whose engines only play.

Run as ``python server_process.py FOLDER PORT``; it writes ``FOLDER/ready`` when it answers. What a
job does is in its process, under ``play``: see :class:`Playing`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, ClassVar

from jupyter_server.serverapp import ServerApp
from tornado.httpserver import HTTPServer
from traitlets.config import Config

from cscale_core.errors import Forbidden, InvalidInput
from cscale_core.jobs.engine import Engine, JobHandle, Outcome
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import (
    BackendState,
    EngineName,
    Job,
    JobError,
    JobSpec,
    JobStatus,
    Transferred,
    utc_now,
)
from cscale_core.jobs.store import JobStore
from cscale_server.backend import Backend

TOKEN = "only-for-tests"
BASE_URL = "/user/u%40test/"


class Playing(Engine):
    """Does what ``process["play"]`` says.

    ``hold``: run until a file of this name is in the folder; ``queue``: wait for this one first;
    ``fails``: fail while the option ``memory`` is below it, and suggest one more; ``breaks``: fail
    for good with this code; ``says``: lines of the log; ``progress``: state it; ``refuse_at``: a
    back end where the job is refused.
    """

    pausable: ClassVar[bool] = True

    def __init__(self, name: EngineName, folder: Path) -> None:
        self.name = name  # type: ignore[misc]
        self._folder = folder

    async def check(self, spec: JobSpec) -> JobSpec:
        play = spec.process.get("play", {})
        if play.get("invalid"):
            raise InvalidInput("This cannot be run.", hint="Change it.")
        if play.get("refuse_at") == spec.backend and spec.backend:
            raise Forbidden(f"You may not use {spec.backend}.")
        return spec.model_copy(update={"backend": spec.backend or "near"})

    async def run(self, handle: JobHandle) -> Outcome:
        job = handle.job
        play = job.spec.process.get("play", {})
        if job.status == JobStatus.CREATED:
            await handle.update(status=JobStatus.QUEUED)
        if ended := await self._until(handle, play.get("queue")):
            return ended
        if job.status != JobStatus.RUNNING:
            await handle.update(status=JobStatus.RUNNING, started=utc_now(), message="computing")
            lines = play.get("says", ())
            await handle.log_lines([(utc_now(), "info", line) for line in lines])
        if "progress" in play:
            moved = Transferred(
                files_done=1, files_total=3, bytes_done=1 << 20, bytes_total=3 << 20
            )
            handle.report(play["progress"], "a third is there", moved)
        if ended := await self._until(handle, play.get("hold")):
            return ended
        memory = handle.job.spec.options.get("memory", 0)
        if memory < play.get("fails", 0):
            error = JobError(
                code="out_of_memory",
                message="The job ran out of memory.",
                hint=f"Set memory to {memory + 1}.",
                details={"job_options": {"memory": memory + 1}},
            )
            return Outcome(JobStatus.ERROR, error.message, error=error)
        if "breaks" in play:
            error = JobError(code=play["breaks"], message="It broke <b>for good</b>.")
            return Outcome(JobStatus.ERROR, error.message, error=error)
        return Outcome(JobStatus.FINISHED, "done", results=[self._item(handle.job, "first")])

    async def _until(self, handle: JobHandle, name: str | None) -> Outcome | None:
        while name and not (self._folder / name).exists():
            if handle.pause_requested.is_set():
                return Outcome.paused()
            if await handle.rest(0.05):
                return Outcome.canceled()
        return None

    def _item(self, job: Job, signature: str) -> dict[str, Any]:
        href = f"https://backend.example/{job.id}/change.tif?sig={signature}"
        return {
            "type": "Feature",
            "stac_version": "1.1.0",
            "id": f"{job.id}-result",
            "geometry": None,
            "properties": {"datetime": "2024-01-01T00:00:00Z"},
            "links": [],
            "assets": {"change": {"href": href, "title": "<i>Change</i>", "file:size": 2048}},
        }

    async def fresh_results(self, job: Job, *, refused: bool = False) -> list[dict[str, Any]]:
        return [self._item(job, "anew" if refused else "kept")]

    async def estimate(self, spec: JobSpec) -> dict[str, Any] | None:
        return {"costs": 4.0, "duration": "PT5M"}

    async def backends(self) -> list[BackendState]:
        if self.name != "openeo":
            return []
        places = [("near", True, ""), ("far", True, ""), ("down", False, "It is being repaired.")]
        return [
            BackendState(
                engine="openeo", id=name, title=name, online=online, checked=utc_now(), problem=why
            )
            for name, online, why in places
        ]


class PlayingBackend(Backend):
    """Jobs without anything to run them on, and nothing else."""

    async def start(self) -> None:
        here = self._surroundings
        engines: dict[EngineName, Engine] = {
            name: Playing(name, here.data_dir) for name in ("openeo", "spark", "slurm", "staging")
        }
        here.data_dir.mkdir(parents=True, exist_ok=True)
        store = JobStore(here.data_dir / "jobs.sqlite")
        self.jobs = JobManager(here.site, store, engines, here.on_change)
        self._open.push_async_callback(self.jobs.stop)
        await self.jobs.start()


async def serve(folder: Path, port: int) -> None:
    config = Config(
        {
            "ServerApp": {
                "jpserver_extensions": {"cscale_server": True},
                "allow_unauthenticated_access": False,
                "reraise_server_extension_failures": True,
            },
            "IdentityProvider": {"token": TOKEN},
            "NotebookNotary": {"db_file": ":memory:"},
            "CScaleExtension": {"backend_class": PlayingBackend, "data_dir": str(folder / "data")},
        }
    )
    app = ServerApp.instance(
        config=config,
        root_dir=str(folder),
        base_url=BASE_URL,
        port=port,
        open_browser=False,
        allow_root=True,
    )
    app.init_signal = lambda: None
    app.initialize(argv=[], new_httpserver=False)
    server = HTTPServer(app.web_app)
    server.listen(port, "127.0.0.1")
    await app.extension_manager.start_all_extensions()
    (folder / "ready").write_text("")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
