"""Which of several servers of one user runs the jobs: the one that holds the lease in the list.

The holder shows that it lives by counting a number in the list up. Another server takes the lease
when that number has stood still for long enough by its *own monotonic* clock, so that neither a
clock that is set nor clocks that differ between machines matter; and at once when it can see that
the holder's process is gone: the same machine since the same boot, the same set of processes, and
no process of that number and start time.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path

from cscale_core.jobs.store import JobStore
from cscale_core.jobs.store.holding import LeaseRow

_logger = logging.getLogger(__name__)

#: Seconds between two signs of life.
BEAT = 5.0
#: Seconds without one after which the lease is taken.
PATIENCE = 25.0

_PROC = Path("/proc")


class Lease:
    """The lease of one list as one server sees it. Blocking; used in the list's own thread."""

    def __init__(
        self,
        store: JobStore,
        *,
        beat: float = BEAT,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.token = secrets.token_hex(8)
        self.held = False
        self._store = store
        self._beat = beat
        self._patience = patience
        self._clock = clock
        self._beaten = 0.0
        self._seen: LeaseRow | None = None
        self._since = 0.0

    def look(self) -> bool:
        """Take, keep or lose the lease, as it is; returns whether this server runs the jobs.

        :raises StoreTrouble: when the list cannot be written; what was held is still held.
        """
        row = self._store.lease()
        if self.held:
            self.held = row is not None and row.token == self.token and self._kept()
            if not self.held:
                _logger.warning("another server took over the jobs of %s", self._store.path)
            return self.held
        if row is not None and not self._abandoned(row):
            return False
        self.held = self._store.take_lease(self.token, here(), row)
        self._beaten = self._clock()
        return self.held

    def _kept(self) -> bool:
        if self._clock() - self._beaten < self._beat:
            return True
        if not self._store.renew_lease(self.token):
            return False
        self._beaten = self._clock()
        return True

    def _abandoned(self, row: LeaseRow) -> bool:
        if is_gone(row.process):
            return True
        if row != self._seen:
            self._seen, self._since = row, self._clock()
            return False
        return self._clock() - self._since >= self._patience

    def release(self) -> None:
        """Let another server have it at once.

        :raises StoreTrouble: when the list cannot be written.
        """
        if self.held:
            self.held = False
            self._store.release_lease(self.token)


@functools.cache
def _surroundings() -> dict[str, str]:
    """What tells whether a process number means the same to two processes."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = str((_PROC / "self/ns/pid").readlink())
    except OSError:
        boot = space = ""  # not Linux: only the number in the list tells
    return {"host": socket.gethostname(), "boot": boot, "space": space}


def here() -> str:
    """This process, described so that another can see whether it is gone."""
    pid = os.getpid()
    return json.dumps({**_surroundings(), "pid": pid, "started": _started(pid)})


def is_gone(process: str) -> bool:
    """Whether it is certain that a described process is no more."""
    described = json.loads(process)
    ours = _surroundings()
    if not ours["boot"] or any(described.get(name) != ours[name] for name in ours):
        return False
    return bool(_started(described["pid"]) != described["started"])


def _started(pid: int) -> str:
    """When a process began, in ticks since the boot; empty: there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # After the name in brackets, which may hold anything: state is field 3, the start 22.
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]
