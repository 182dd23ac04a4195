"""A job in plain words: its status, how long it has taken, how much was moved, what can be done."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cscale_core.jobs.model import JobStatus

UNKNOWN = "progress unknown"

#: What each status means to somebody who waits.
MEANINGS = {
    "created": "written down, not yet sent",
    "queued": "waiting for its turn",
    "running": "running",
    "paused": "resting until it is resumed",
    "finished": "finished",
    "canceled": "canceled",
    "error": "failed",
    "lost": "lost: nobody knows how it went",
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEP = 1024


def duration(length: timedelta | None) -> str:
    """Such as ``42 s``, ``3 min 05 s``, ``2 h 07 min``, ``3 d 4 h``; a dash when not known."""
    if length is None:
        return "–"
    seconds = max(0, int(length.total_seconds()))
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min {seconds % _MINUTE:02} s"
    if seconds < _DAY:
        return f"{seconds // _HOUR} h {seconds % _HOUR // _MINUTE:02} min"
    return f"{seconds // _DAY} d {seconds % _DAY // _HOUR} h"


def size(count: int) -> str:
    """Bytes such as ``512 B``, ``1.4 GiB``."""
    if count < _STEP:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        value /= _STEP
        if value < _STEP:
            return f"{value:.1f} {unit}"
    return f"{value / _STEP:.1f} TiB"


def how_far(status: str, progress: float | None, unknown: str = UNKNOWN) -> str:
    """How far a job is: never a number that nobody stated, and nothing while it waits."""
    if progress is not None:
        return f"{progress:.0%}"
    return unknown if status == JobStatus.RUNNING else ""


def moment(text: str | None) -> datetime | None:
    """A time as the API writes it."""
    return datetime.fromisoformat(text) if text else None


def ago(when: datetime, now: datetime | None = None) -> str:
    """Roughly how long ago something was."""
    seconds = max(0, int(((now or datetime.now(UTC)) - when).total_seconds()))
    for length, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def counted(number: int, what: str) -> str:
    """Such as ``1 file``, ``1,200 files``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def listed(names: Iterable[str]) -> str:
    """Such as ``a, b and c``."""
    *most, last = list(names) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def no_log_yet(status: JobStatus | str, level: str) -> str:
    """Why a job has no log lines at this moment."""
    if status in (JobStatus.CREATED, JobStatus.QUEUED):
        return f"No log yet: the job is {status}, and the back end writes a log when it runs."
    more = "" if level == "debug" else ' There may be some below it: level="debug".'
    if status == JobStatus.RUNNING:
        return f"No log yet: the job runs and has written nothing of level {level}.{more}"
    return f"The job left no log of level {level}.{more}"
