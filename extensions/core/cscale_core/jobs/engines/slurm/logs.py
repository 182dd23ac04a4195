"""The output of a job's tasks, brought into its log as it grows."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import datetime

from cscale_core.jobs.engine import JobHandle, LogEntry
from cscale_core.jobs.engines.slurm.script import Places
from cscale_core.jobs.engines.slurm.states import Task
from cscale_core.jobs.engines.slurm.transport import Files
from cscale_core.jobs.model import JobStatus, utc_now

#: Bytes of one file that are read at a time.
CHUNK = 64 * 1024
#: Tasks of an array whose output is read at one look.
TASKS = 25
_LEVELS = ("debug", "info", "warning", "error")
_OF_SLURM = re.compile(r"^(?:slurmstepd|slurmd|srun)\S*: (?:(error|fatal): )?(.*)$")


def log_entries(text: str, level: str, prefix: str = "") -> list[LogEntry]:
    """Lines of output as log lines.

    JSON objects with ``level`` and ``message`` are the application's own words; Slurm's own lines
    have their level; the rest has that of its stream.
    """
    entries: list[LogEntry] = []
    now = utc_now()
    for line in text.splitlines():
        if not line.strip():
            continue
        moment, rank, message = now, level, line.rstrip()
        if line.startswith("{"):
            try:
                said = json.loads(line)
                moment = datetime.fromisoformat(str(said["time"]))
                message, rank = str(said["message"]), str(said["level"])
            except (ValueError, KeyError, TypeError):
                # Some other program's JSON: kept as it is.
                moment, message, rank = now, line.rstrip(), level
        elif match := _OF_SLURM.match(line):
            rank = "error" if match[1] else "info"
        entries.append((moment, rank if rank in _LEVELS else level, prefix + message))
    return entries


class OutputLog:
    """Copies what a job's tasks write into the job's log.

    How far each file was read is kept in the job's state, so a new server goes on there.
    """

    def __init__(self, handle: JobHandle, files: Files, where: Places) -> None:
        self._handle = handle
        self._files = files
        self._where = where

    @property
    def _read(self) -> dict[str, int]:
        offsets: dict[str, int] = self._handle.state.setdefault("log_offsets", {})
        return offsets

    @property
    def _closed(self) -> list[int]:
        """Tasks of an array whose whole output was read."""
        closed: list[int] = self._handle.state.setdefault("log_closed", [])
        return closed

    def _due(self, tasks: Sequence[Task]) -> list[Task]:
        begun = [task for task in tasks if task.status != JobStatus.QUEUED]
        return [task for task in begun if task.index is None or task.index not in self._closed][
            :TASKS
        ]

    async def copy(self, tasks: Sequence[Task]) -> bool:
        """Bring what is new; False when all that is there was read.

        :raises CScaleError: when the files cannot be read now, or not at all.
        """
        due = self._due(tasks)
        if not due:
            return False
        names = {
            self._where.stream(kind, task.index): (task, kind)
            for task in due
            for kind in ("out", "err")
        }
        found = await self._files.tails({name: self._read.get(name, 0) for name in names}, CHUNK)
        entries: list[LogEntry] = []
        more, grown = False, set()
        for name, data in found.items():
            task, kind = names[name]
            ended = task.status.ended
            whole = data if ended and len(data) < CHUNK else data[: data.rfind(b"\n") + 1]
            # A line longer than a chunk is cut.
            whole = whole or (data if len(data) >= CHUNK else b"")
            if not whole:
                continue
            grown.add(task.index)
            self._read[name] = self._read.get(name, 0) + len(whole)
            more = more or len(data) >= CHUNK
            prefix = "" if task.index is None else f"[{task.index}] "
            level = "info" if kind == "out" else "warning"
            entries += log_entries(whole.decode("utf-8", "replace"), level, prefix)
        for task in due:
            if task.index is not None and task.status.ended and task.index not in grown:
                self._closed.append(task.index)
                for kind in ("out", "err"):
                    self._read.pop(self._where.stream(kind, task.index), None)
                more = True
        if entries or more:
            await self._written(entries)
        return more or bool(entries)

    async def _written(self, entries: list[LogEntry]) -> None:
        """Write the lines and how far was read; a server that stops waits for both."""

        async def write() -> None:
            await self._handle.log_lines(entries)
            await self._handle.save_state()

        writing = asyncio.ensure_future(write())
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise

    async def drain(self, tasks: Sequence[Task]) -> None:
        """Bring all that is left of an ended job."""
        while await self.copy(tasks):
            pass

    async def last_words(self, task: Task, length: int = 4096) -> str:
        """The end of a task's standard error."""
        name = self._where.stream("err", task.index)
        size = await self._files.tails({name: 0}, 2**20)
        return size.get(name, b"")[-length:].decode("utf-8", "replace")
