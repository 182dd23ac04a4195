"""Why a job failed, from the error lines of its log, and which option to change.

The options are those of the Spark back ends (openeo-geopyspark-driver: CDSE, openEO Platform,
Terrascope); the values are derived from what the job was run with. On Kubernetes the back end
takes python-memory from executor-memoryOverhead *and* keeps the overhead when only the latter is
given, so that memory for Python is asked for as python-memory, which counts once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Defaults of openeo-geopyspark-driver, where the job names no value.
DEFAULTS = {
    "driver-memory": "8G",
    "driver-memoryOverhead": "2G",
    "executor-memory": "2G",
    "executor-memoryOverhead": "3G",
    "soft-errors": 0.1,
}
#: What one driver or executor may have in all (the driver's default upper limit).
MOST_MEBIBYTES = 64 * 1024

_UNITS = {"": 1 / 2**20, "k": 1 / 2**10, "m": 1, "g": 2**10, "t": 2**20}


@dataclass(frozen=True)
class Explanation:
    """What probably happened, what to do, and the job options to do it with."""

    message: str
    hint: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Kind:
    pattern: re.Pattern[str]
    message: str
    grow: tuple[str, ...] = ()
    hint: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)


def _kind(pattern: str, message: str, *grow: str, hint: str = "", **fixed: Any) -> _Kind:
    options = {name.replace("_", "-"): value for name, value in fixed.items()}
    return _Kind(re.compile(pattern, re.IGNORECASE | re.DOTALL), message, grow, hint, options)


# The first that fits is taken: from the particular to the general.
_KINDS = (
    _kind(
        r"driver.{0,120}(OOMKilled|exit ?code:? ?137|out of memory)"
        r"|(OOMKilled|exit ?code:? ?137).{0,80}driver",
        "the driver was killed because it used more memory than it may",
        "driver-memory",
        "driver-memoryOverhead",
    ),
    _kind(
        r"(Java heap space|OutOfMemoryError|GC overhead limit).{0,300}(driver|collect|broadcast)"
        r"|maxResultSize",
        "the driver ran out of Java memory",
        "driver-memory",
    ),
    _kind(
        r"Java heap space|java\.lang\.OutOfMemoryError|GC overhead limit",
        "a worker ran out of Java memory",
        "executor-memory",
    ),
    _kind(
        r"OOMKilled|exit ?(code|status):? ?137|code 137|exceeding (physical )?memory limits"
        r"|memoryOverhead|Cannot allocate memory|MemoryError|out of memory|\boom\b",
        "a worker was killed because it used more memory than it may (exit code 137)",
        "python-memory",
    ),
    _kind(
        r"ExecutorLostFailure|Executor heartbeat timed out|FetchFailed",
        "workers were lost, most often for want of memory",
        "python-memory",
        "executor-memory",
    ),
    _kind(
        r"soft.?error|(exceeded|too many).{0,40}(failed|errors)",
        "too many input files could not be read",
        hint="Allow a larger part of them to fail",
        soft_errors=0.3,
    ),
    _kind(
        r"max(imum)? (run|execution) ?time|time ?limit|deadline exceeded|job (was )?killed after",
        "the job took longer than the back end allows",
        hint="Cut the area or the period into several jobs, or use more workers",
        max_executors=40,
    ),
    _kind(
        r"(read|connection|connect|request|gateway).{0,20}time(d)?[ -]?out|TimeoutError|ETIMEDOUT",
        "reading the input took too long",
        hint="It may go better at another time; or allow more of the reads to fail",
        soft_errors=0.3,
    ),
    _kind(
        r"NoDataAvailable|no data available|no (matching )?(products|items)"
        r"|empty (collection|cube)",
        "there is no data for this area and period",
        hint="Search the catalogue for what is there before submitting again",
    ),
    _kind(
        r"No space left on device|disk quota|StorageQuotaExceeded",
        "there was no room left for files at the back end",
        hint="Delete old jobs of yours there, or write fewer and smaller files",
    ),
)


def _mebibytes(value: Any) -> float:
    """Mebibytes of ``2G``, ``1800m``; 0 when it is not such a value."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?)(i?b)?\s*", str(value), re.IGNORECASE)
    return float(found[1]) * _UNITS[found[2].lower()] if found else 0.0


def _written(mebibytes: float) -> str:
    rounded = round(mebibytes)
    return f"{rounded // 1024}G" if rounded % 1024 == 0 else f"{rounded}m"


def _present(option: str, options: Mapping[str, Any]) -> Any:
    if options.get(option):
        return options[option]
    if option == "python-memory":
        # What Python has by default is the overhead.
        return options.get("executor-memoryOverhead") or DEFAULTS["executor-memoryOverhead"]
    return DEFAULTS[option]


def _doubled(option: str, options: Mapping[str, Any]) -> str:
    present = _mebibytes(_present(option, options))
    return _written(min(2 * present, MOST_MEBIBYTES / 2)) if present else ""


def explain(lines: Iterable[str], options: Mapping[str, Any]) -> Explanation | None:
    """The probable reason of a failure; None when the lines tell none that is known.

    :param lines: error lines of the log, the latest last.
    :param options: the options the job was run with.
    """
    text = "\n".join(lines)
    for kind in _KINDS:
        if not kind.pattern.search(text):
            continue
        changes = {name: _doubled(name, options) for name in kind.grow} | dict(kind.fixed)
        changes = {name: value for name, value in changes.items() if value != options.get(name)}
        parts = [
            f"{name} = {value} (now {_now(name, options)})"
            for name, value in changes.items()
            if value
        ]
        hint = kind.hint
        if parts:
            hint = f"{hint}: " if hint else "Clone the job with "
            hint += ", ".join(parts)
        return Explanation(kind.message, f"{hint}." if hint else "", changes)
    return None


def _now(option: str, options: Mapping[str, Any]) -> str:
    if options.get(option):
        return str(options[option])
    default = DEFAULTS.get(option)
    return f"the back end's default, often {default}" if default else "the back end's default"
