"""Figures of an application: jobs, stages, tasks, shuffle, storage and executors.

Spark's monitoring API says them while an application runs (its own UI) and afterwards (the history
server); the same members come from the event log that a local application leaves.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cscale_core.errors import UpstreamError

#: Asks for one path below ``/api/v1`` and gives the JSON of the answer.
Get = Callable[[str], Awaitable[Any]]
#: Bytes of an event log that are read; more of it is a history server's work.
LARGEST_LOG = 128 * 1024 * 1024

_JOBS = ("RUNNING", "SUCCEEDED", "FAILED")
_STAGES = {"active": "ACTIVE", "complete": "COMPLETE", "failed": "FAILED"}


async def figures(get: Get, application: str = "") -> dict[str, Any]:
    """The figures of an application.

    :param application: its id; empty: the only one of a UI.
    :raises UpstreamError: when the answers cannot be understood, or as ``get``.
    """
    try:
        about = await get(f"/applications/{application}" if application else "/applications")
        if not application:
            about = about[0]
        base = f"/applications/{about['id']}"
        jobs = await get(f"{base}/jobs")
        stages = await get(f"{base}/stages")
        executors = await get(f"{base}/allexecutors")
        stored = await get(f"{base}/storage/rdd")
        attempts = about.get("attempts") or [{}]
        return {
            "application": str(about["id"]),
            "name": str(about.get("name", "")),
            "version": str(attempts[0].get("appSparkVersion", "")),
            "jobs": {state.lower(): sum(job["status"] == state for job in jobs) for state in _JOBS},
            "stages": {
                name: sum(stage["status"] == state for stage in stages)
                for name, state in _STAGES.items()
            },
            "tasks": {
                "total": sum(job["numTasks"] - job.get("numSkippedTasks", 0) for job in jobs),
                "active": sum(job["numActiveTasks"] for job in jobs),
                "completed": sum(job["numCompletedTasks"] for job in jobs),
                "failed": sum(job["numFailedTasks"] for job in jobs),
            },
            "input_bytes": sum(stage.get("inputBytes", 0) for stage in stages),
            "output_bytes": sum(stage.get("outputBytes", 0) for stage in stages),
            "shuffle": {
                "read_bytes": sum(stage.get("shuffleReadBytes", 0) for stage in stages),
                "write_bytes": sum(stage.get("shuffleWriteBytes", 0) for stage in stages),
                "spilled_bytes": sum(stage.get("diskBytesSpilled", 0) for stage in stages),
            },
            "storage": {
                "memory_bytes": sum(each.get("memoryUsed", 0) for each in executors),
                "memory_limit_bytes": sum(
                    each.get("maxMemory", 0) for each in executors if each.get("isActive")
                ),
                "disk_bytes": sum(each.get("diskUsed", 0) for each in executors),
                "cached": len(stored),
            },
            "executors": {
                "active": sum(
                    bool(each.get("isActive")) and each["id"] != "driver" for each in executors
                ),
                "total": sum(each["id"] != "driver" for each in executors),
            },
            "cores": sum(
                each.get("totalCores", 0) for each in executors if each.get("isActive", True)
            ),
            "task_seconds": sum(stage.get("executorRunTime", 0) for stage in stages) / 1000,
            "gc_seconds": sum(each.get("totalGCTime", 0) for each in executors) / 1000,
        }
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise UpstreamError(
            "Spark's monitoring did not answer as expected.", retryable=True, reason=repr(error)
        ) from error


def progress(told: dict[str, Any], before: float | None) -> float | None:
    """How far the tasks known so far are; never back, as later jobs bring new tasks."""
    tasks = told.get("tasks", {})
    if not tasks.get("total"):
        return before
    return max(before or 0.0, min(0.99, float(tasks["completed"]) / float(tasks["total"])))


def figures_of_log(folder: Path) -> dict[str, Any] | None:
    """The figures of an ended application from its event log; None when there is none to read.

    Blocks.
    """
    logs = [path for path in folder.glob("*") if path.is_file() and not path.name.startswith(".")]
    if len(logs) != 1 or logs[0].stat().st_size > LARGEST_LOG:
        return None
    count = _Counting()
    with logs[0].open("rb") as file:
        for line in file:
            try:
                count.event(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                # The last line of an application that was killed, or an event of a later Spark.
                continue
    return count.figures()


class _Counting:
    """Adds up the events of one application."""

    def __init__(self) -> None:
        self._about = {"application": "", "name": "", "version": ""}
        self._jobs: Counter[str] = Counter()
        self._stages: Counter[str] = Counter()
        self._tasks: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._milliseconds: Counter[str] = Counter()
        self._executors: dict[str, int] = {}
        self._peak = 0
        self._limit = 0

    def event(self, event: dict[str, Any]) -> None:
        kind = str(event.get("Event", "")).rpartition(".")[2].removeprefix("SparkListener")
        handler = getattr(self, f"_{kind.lower()}", None)
        if handler is not None:
            handler(event)

    def _logstart(self, event: dict[str, Any]) -> None:
        self._about["version"] = str(event["Spark Version"])

    def _applicationstart(self, event: dict[str, Any]) -> None:
        self._about["application"] = str(event["App ID"])
        self._about["name"] = str(event["App Name"])

    def _executoradded(self, event: dict[str, Any]) -> None:
        self._executors[str(event["Executor ID"])] = int(event["Executor Info"]["Total Cores"])

    def _blockmanageradded(self, event: dict[str, Any]) -> None:
        self._limit += int(event["Maximum Memory"])

    def _jobstart(self, event: dict[str, Any]) -> None:
        self._jobs["running"] += 1

    def _jobend(self, event: dict[str, Any]) -> None:
        self._jobs["running"] -= 1
        succeeded = event["Job Result"]["Result"] == "JobSucceeded"
        self._jobs["succeeded" if succeeded else "failed"] += 1

    def _stagesubmitted(self, event: dict[str, Any]) -> None:
        self._tasks["total"] += int(event["Stage Info"]["Number of Tasks"])

    def _stagecompleted(self, event: dict[str, Any]) -> None:
        self._stages["failed" if event["Stage Info"].get("Failure Reason") else "complete"] += 1

    def _taskend(self, event: dict[str, Any]) -> None:
        done = event["Task End Reason"]["Reason"] == "Success"
        self._tasks["completed" if done else "failed"] += 1
        metrics = event.get("Task Metrics") or {}
        read = metrics.get("Shuffle Read Metrics") or {}
        self._bytes["read"] += read.get("Remote Bytes Read", 0) + read.get("Local Bytes Read", 0)
        written = metrics.get("Shuffle Write Metrics") or {}
        self._bytes["write"] += written.get("Shuffle Bytes Written", 0)
        self._bytes["spilled"] += metrics.get("Disk Bytes Spilled", 0)
        self._bytes["input"] += (metrics.get("Input Metrics") or {}).get("Bytes Read", 0)
        self._bytes["output"] += (metrics.get("Output Metrics") or {}).get("Bytes Written", 0)
        self._milliseconds["tasks"] += metrics.get("Executor Run Time", 0)
        self._milliseconds["gc"] += metrics.get("JVM GC Time", 0)
        peak = (event.get("Task Executor Metrics") or {}).get("OnHeapStorageMemory", 0)
        self._peak = max(self._peak, int(peak))

    def figures(self) -> dict[str, Any] | None:
        """What was counted; None when there was no application."""
        if not self._about["application"]:
            return None
        executors = [name for name in self._executors if name != "driver"]
        return {
            **self._about,
            "jobs": {name: self._jobs[name] for name in ("running", "succeeded", "failed")},
            "stages": {
                "active": 0,
                **{name: self._stages[name] for name in ("complete", "failed")},
            },
            "tasks": {
                "total": self._tasks["total"],
                "active": 0,
                "completed": self._tasks["completed"],
                "failed": self._tasks["failed"],
            },
            "input_bytes": self._bytes["input"],
            "output_bytes": self._bytes["output"],
            "shuffle": {
                "read_bytes": self._bytes["read"],
                "write_bytes": self._bytes["write"],
                "spilled_bytes": self._bytes["spilled"],
            },
            "storage": {
                "memory_bytes": self._peak,
                "memory_limit_bytes": self._limit,
                "disk_bytes": 0,
                "cached": 0,
            },
            "executors": {"active": 0, "total": len(executors)},
            "cores": sum(self._executors.values()),
            "task_seconds": self._milliseconds["tasks"] / 1000,
            "gc_seconds": self._milliseconds["gc"] / 1000,
        }
