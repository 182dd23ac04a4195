"""Why an application on this machine failed, from what it left in its work folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cscale_core.jobs.engines.spark.options import mebibytes, memory_text
from cscale_core.jobs.engines.spark.output import UNCAUGHT
from cscale_core.jobs.model import JobError

_TAIL = 64 * 1024
_UNRESOLVED = re.compile(rb"unresolved dependenc|UNRESOLVED DEPENDENCIES|download failed", re.I)
_NO_MEMORY = re.compile(rb"OutOfMemoryError|MemoryError\b|Cannot allocate memory")
_UNCAUGHT = re.compile(UNCAUGHT.encode(), re.M)


def said_error(work_dir: Path) -> JobError | None:
    """The error that the application wrote down, if it came to that."""
    try:
        return JobError.model_validate_json((work_dir / "error.json").read_bytes())
    except (OSError, ValueError):
        return None


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return file.read()
    except OSError:
        return b""


def failure(work_dir: Path, code: int, driver_memory: str, late: bool) -> JobError:
    """What an application's exit status and last words mean.

    :param late: its time limit was over, and it was ended for that.
    """
    words = _tail(work_dir / "spark.log")
    details: dict[str, Any] = {"exit_code": code}
    if late:
        return JobError(
            code="time_limit",
            message="The time limit was over before the application ended.",
            hint="Give it more time, or fewer scenes.",
            details=details,
        )
    if _UNRESOLVED.search(words):
        return JobError(
            code="packages_not_found",
            message="The Maven packages could not be had: no repository that can be reached has "
            "them.",
            hint="Give the files as jars, or ask the operator for a repository "
            "(spark.repositories).",
            details=details,
        )
    if code == 137 or _NO_MEMORY.search(words):
        more = memory_text(2 * mebibytes(driver_memory))
        return JobError(
            code="out_of_memory",
            message=f"The Spark application needed more memory than it has ({driver_memory}).",
            hint=f"Try again with driver_memory {more}, fewer scenes or smaller tiles.",
            details={**details, "job_options": {"driver_memory": more}},
        )
    if code == 143:
        return JobError(
            code="stopped",
            message="The Spark application was stopped from outside.",
            hint="Submit the job again.",
            retryable=True,
            details=details,
        )
    uncaught = _UNCAUGHT.findall(words)
    said = uncaught[-1].decode("utf-8", "replace")[:500] if uncaught else ""
    return JobError(
        code="internal",
        message=f"The Spark application ended with status {code}" + (f": {said}" if said else "."),
        hint="The job's log says more.",
        details=details,
    )
