"""A process with a list of jobs and the staging engine, to be killed by the tests.

``python staging_server.py FOLDER``: ``site.json`` and ``spec.json`` lie in the folder, and the list
of jobs is made there. It submits the spec once, brings every job to its end, and stops. With
``CSCALE_TEST_DIES_AT`` it kills itself in the moment that the name stands for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cscale_core.http import guarded_client
from cscale_core.ingest import pouring, staging
from cscale_core.ingest.notes import StagingNotes
from cscale_core.jobs.engines.staging import StagingEngine
from cscale_core.jobs.engines.staging import engine as engine_module
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import JobSpec
from cscale_core.jobs.store import JobStore
from cscale_core.objects import SMALLEST_PART, ObjectStore, Upload
from cscale_core.site import Site

#: Where a name stands for: the function that is never called, or never returns.
MOMENTS: dict[str, tuple[Any, str]] = {
    "before the upload is noted": (StagingNotes, "began"),
    "before it is completed": (Upload, "complete"),
    "before it is sealed": (pouring, "seal"),
    "while it is sealed": (ObjectStore, "copy"),
    "before the end of a file is noted": (StagingNotes, "done"),
    "before an item is published": (staging, "_publish"),
    "before it is registered": (engine_module, "register"),
}


class Tokens:
    """A token for the catalogue."""

    async def token(self, audience: str) -> str:
        return "good"


def _dies(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(folder: Path) -> None:
    """Bring every job to its end."""
    if moment := os.environ.get("CSCALE_TEST_DIES_AT"):
        owner, name = MOMENTS[moment]
        dies: Callable[..., Any] = _dies
        setattr(owner, name, dies)
    site = Site.model_validate_json((folder / "site.json").read_text(encoding="utf-8"))
    spec = JobSpec.model_validate_json((folder / "spec.json").read_text(encoding="utf-8"))
    async with guarded_client(site) as http:
        engine = StagingEngine(site, http, Tokens(), part_size=SMALLEST_PART)
        manager = JobManager(
            site, JobStore(folder / "jobs.sqlite"), {"staging": engine}, lambda job: None
        )
        await manager.start()
        await manager.submit(spec, "once")
        while not all(job.status.ended for job in await manager.list()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await manager.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
