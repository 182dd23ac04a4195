"""``POST /result``: small graphs computed at once, in a process of their own, without Spark."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import zipfile
from pathlib import Path

from cscale_core.jobs.spark_submit import passed_environment
from cscale_openeo.config import Config
from cscale_openeo.errors import OpenEOError
from cscale_openeo.joblog import without_secrets
from cscale_openeo.tasks import APPLICATION, EXPLAINED, Task

logger = logging.getLogger(__name__)


async def compute_now(
    config: Config, task: Task, folder: Path, environment: dict[str, str]
) -> tuple[Path, str]:
    """Run a task in a folder that is there for it.

    :returns: the file to send and its media type; several files come as one ZIP.
    :raises OpenEOError: what the run ended with; RequestTimeout after ``sync_seconds``.
    """
    task = task.model_copy(update={"bucket": "", "max_values": config.sync_max_values})
    (folder / "task.json").write_text(task.model_dump_json(), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(APPLICATION),
        "--local",
        "--folder",
        str(folder),
        "--log",
        str(folder / "log.jsonl"),
        env=passed_environment(os.environ) | environment,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(config.sync_seconds):
            _, stderr = await process.communicate()
    except TimeoutError as error:
        raise OpenEOError(
            "RequestTimeout",
            f"The computation took more than {config.sync_seconds} seconds. Use a batch job.",
        ) from error
    finally:
        if process.returncode is None:
            # Also when the client went away: nobody waits for this any more.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode == EXPLAINED:
        explained = json.loads((folder / "error.json").read_text(encoding="utf-8"))
        raise OpenEOError(explained["code"], explained["message"])
    if process.returncode != 0:
        logger.error("a synchronous run crashed: %s", without_secrets(stderr.decode()[-4000:]))
        raise OpenEOError("JobCrashed", "The computation crashed; the service's log says more.")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    files = results["files"]
    if len(files) == 1:
        return folder / "results" / files[0]["name"], str(files[0]["type"])
    archive = folder / "results.zip"
    await asyncio.to_thread(_pack, archive, [folder / "results" / f["name"] for f in files])
    return archive, "application/zip"


def _pack(archive: Path, files: list[Path]) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for file in files:
            target.write(file, file.name)


def remove(folder: Path) -> None:
    """Remove a run's folder with everything in it."""
    shutil.rmtree(folder, ignore_errors=True)
