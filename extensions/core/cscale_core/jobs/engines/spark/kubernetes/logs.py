"""Logs of an application's pods, read so that no line is brought twice and none is left out.

The cluster gives each line's time to the nanosecond, and takes whole seconds to begin at. The
cursor of a pod is the time of the last line brought, and how many lines had just that time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from cscale_core.errors import CScaleError, InvalidInput, NotFound
from cscale_core.jobs.engine import JobHandle, LogEntry
from cscale_core.jobs.engines.spark.kubernetes.cluster import Cluster
from cscale_core.jobs.engines.spark.kubernetes.pod_entry import PROGRESS
from cscale_core.jobs.engines.spark.kubernetes.pod_template import CONTAINERS
from cscale_core.jobs.engines.spark.kubernetes.pods import Pod
from cscale_core.jobs.engines.spark.output import log_entry

#: Bytes of one reading, and the most when a single second holds more.
CHUNK = 512 * 1024
LARGEST_CHUNK = 32 * 1024 * 1024
#: Executors whose logs are read.
MOST_EXECUTORS = 20

Stamp = tuple[str, str]


def _stamped(line: str) -> tuple[Stamp, str] | None:
    """The time of a line (seconds and nanoseconds, which sort as text) and what it says."""
    moment, _, said = line.partition(" ")
    second, _, fraction = moment.removesuffix("Z").partition(".")
    try:
        # The zone of the kubelet's times is always Z; anything else is no time.
        datetime.strptime(second, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return (second, fraction.ljust(9, "0")[:9]), said


def _datetime(stamp: Stamp) -> datetime:
    second, fraction = stamp
    return datetime.fromisoformat(f"{second}.{fraction[:6]}+00:00")


def new_lines(
    data: bytes, cursor: list[Any] | None, *, whole: bool
) -> tuple[list[tuple[Stamp, str]], list[Any] | None]:
    """The lines of a reading that were not brought yet, and the cursor after them.

    :param cursor: ``[second, fraction, count]``, or None.
    :param whole: the last line is complete even without a line break.
    """
    text = data.decode("utf-8", "replace")
    if not whole:
        text = text[: text.rfind("\n") + 1]
    last: Stamp = (cursor[0], cursor[1]) if cursor else ("", "")
    count = int(cursor[2]) if cursor else 0
    skip = count
    found: list[tuple[Stamp, str]] = []
    for line in text.split("\n"):
        stamped = _stamped(line)
        if stamped is None:
            continue
        stamp, said = stamped
        if stamp < last:
            continue
        if stamp == last:
            if skip > 0:
                skip -= 1
                continue
            count += 1
        else:
            last, count, skip = stamp, 1, 0
        found.append((stamp, said))
    return found, ([last[0], last[1], count] if last[0] else None)


class PodLogs:
    """The logs of one job's pods; the cursors are in the engine's notes."""

    def __init__(self, handle: JobHandle, cluster: Cluster) -> None:
        self._handle = handle
        self._cluster = cluster
        #: What a named application said last of its progress: done, total, message.
        self.told: tuple[float, str] | None = None

    async def copy(self, pods: Iterable[Pod]) -> None:
        """Bring what is new of the given pods.

        :raises CScaleError: when the cluster does not give it.
        """
        chosen = sorted(pods, key=lambda pod: (pod.role != "driver", pod.name))
        for pod in chosen[: MOST_EXECUTORS + 1]:
            if pod.role in CONTAINERS and pod.began:
                await self._copy(pod)

    async def _copy(self, pod: Pod) -> None:
        cursors: dict[str, list[Any]] = self._handle.state.setdefault("pod_logs", {})
        limit = CHUNK
        while True:
            cursor = cursors.get(pod.name)
            since = f"{cursor[0]}Z" if cursor else ""
            try:
                data = await self._cluster.log(pod.name, CONTAINERS[pod.role], since, limit)
            except (NotFound, InvalidInput):
                # It is gone, or has not begun to write.
                return
            full = len(data) >= limit
            lines, after = new_lines(data, cursor, whole=not full)
            if after is not None and lines:
                cursors[pod.name] = after
                await self._handle.log_lines(self._entries(pod, lines), with_state=True)
            if not full:
                return
            if not lines:
                # The second holds more than was read: nothing new is in reach of this limit.
                if limit >= LARGEST_CHUNK:
                    return
                limit = min(LARGEST_CHUNK, limit * 4)

    def _entries(self, pod: Pod, lines: list[tuple[Stamp, str]]) -> list[LogEntry]:
        entries: list[LogEntry] = []
        prefix = "" if pod.role == "driver" else f"{pod.short}: "
        for stamp, said in lines:
            if not said.strip() or (prefix == "" and self._is_progress(said)):
                continue
            moment, level, message = log_entry(said, _datetime(stamp), quiet=True)
            entries.append((moment, level, prefix + message))
        return entries

    def _is_progress(self, line: str) -> bool:
        if not line.startswith("{") or f'"{PROGRESS}"' not in line:
            return False
        try:
            told = json.loads(line)
            if told["level"] != PROGRESS:
                return False
            self.told = (told["done"] / max(1, told["total"]), str(told["message"])[:200])
        except (ValueError, KeyError, TypeError):
            # A line of the program's that only looks like one.
            return False
        return True

    async def finish(self, pods: Iterable[Pod]) -> None:
        """Bring the rest; what cannot be had is said in the log."""
        try:
            await self.copy(pods)
        except CScaleError as error:
            await self._handle.log(f"the rest of the log was not read: {error.message}", "warning")
