"""The batch application: one run of one task, by ``spark-submit`` or plainly (``--local``).

``application.py --folder RUN`` reads ``RUN/task.json`` and leaves ``results.json`` or
``error.json`` there, besides ``progress.json`` and the job's log. Exit status: 0 finished, 3 the
task ended with an explained error, anything else is a crash.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    # spark-submit puts the script's folder first; our modules are found as a package.
    del sys.path[0]

from cscale_core.jobs.spark_wrapper import write_atomically
from cscale_openeo.errors import OpenEOError
from cscale_openeo.joblog import JobLog
from cscale_openeo.running import Parts, RunPlan, Window, compute_part, here, run
from cscale_openeo.tasks import EXPLAINED, Task


def attempt(plan: RunPlan, window: Window) -> tuple[Window, dict[str, Any] | None, Any]:
    """Compute one part in a Spark task; an explained failure travels as a value."""
    try:
        return window, compute_part(plan, window), None
    except OpenEOError as error:
        return window, None, (error.code, error.message)


def on_spark(name: str) -> Callable[[RunPlan, list[Window]], Parts]:
    """Compute parts as Spark tasks, in waves so that finished parts never pile up in memory."""

    def computer(plan: RunPlan, windows: list[Window]) -> Parts:
        from pyspark import SparkConf, SparkContext

        context = SparkContext.getOrCreate(SparkConf().setAppName(name))
        context.setLogLevel("WARN")
        shared = context.broadcast(plan)
        wave = max(4, 2 * context.defaultParallelism)
        try:
            for start in range(0, len(windows), wave):
                batch = windows[start : start + wave]
                tasks = context.parallelize(batch, len(batch))
                for window, outputs, failure in tasks.map(
                    lambda window: attempt(shared.value, window)
                ).collect():
                    if failure is not None:
                        raise OpenEOError(*failure)
                    yield window, outputs
        finally:
            context.stop()

    return computer


def uploader(task: Task) -> Callable[[Path], None] | None:
    """What puts finished files into the bucket; None when the task names none."""
    if not task.bucket:
        return None
    from cscale_openeo.object_store import job_client, upload

    client = job_client(task.s3_endpoint, task.s3_region)

    def put(path: Path) -> None:
        upload(client, path, task.bucket, task.key_prefix + path.name)
        path.unlink()

    return put


def main(arguments: list[str] | None = None) -> int:
    """Run the task of a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--local", action="store_true", help="without Spark")
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    task = Task.model_validate_json((folder / "task.json").read_text(encoding="utf-8"))
    log = JobLog(options.log, task.log_level)
    computer = here if options.local else on_spark(f"openEO {task.job}")
    try:
        run(task, folder, log, computer, uploader(task))
    except OpenEOError as error:
        log.error(error.message, code=error.code)
        write_atomically(folder / "error.json", json.dumps(error.as_dict()))
        return EXPLAINED
    return 0


if __name__ == "__main__":
    sys.exit(main())
