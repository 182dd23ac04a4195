"""The processes of a federation: which they are, and how they are ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

FEDERATION_VARIABLE = "CSCALE_FEDERATION"


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (``proc(5)``); None when there is none.

    Together with the process id it names a process for ever; an id alone is used again.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def federation_processes(data: Path) -> list[int]:
    """Processes of this user that belong to the federation with this data folder.

    The launcher puts ``CSCALE_FEDERATION`` into the environment of everything it starts, and
    children inherit it, so jobs and kernels are found whatever became of their parents.
    """
    return processes_with(FEDERATION_VARIABLE, str(data))


def processes_with(variable: str, value: str) -> list[int]:
    """Other processes of this user that were started with a variable of this value."""
    mark = f"{variable}={value}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # another user's, or it ended meanwhile
        if mark in variables and start_ticks(int(entry.name)) is not None:
            found.append(int(entry.name))
    return found


def end_processes(pids: Iterable[int], grace: float = 5.0) -> list[int]:
    """Ask processes to end, then kill those that are left after ``grace`` seconds.

    :returns: the ones that are still there (another user's, or stuck in the kernel).
    """
    started = {pid: start_ticks(pid) for pid in pids}
    alive = {pid for pid, ticks in started.items() if ticks is not None}

    def still(pid: int) -> bool:
        return start_ticks(pid) == started[pid]

    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 3.0)):
        for pid in alive:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                continue  # gone, or not ours: told by the result
        until = time.monotonic() + patience
        while (alive := {pid for pid in alive if still(pid)}) and time.monotonic() < until:
            time.sleep(0.1)
        if not alive:
            return []
    return sorted(alive)


def user_servers(data: Path) -> list[int]:
    """Users' servers among the processes of a federation, without their kernels and jobs."""
    found = []
    for pid in federation_processes(data):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended while we looked
        if b"jupyterhub.singleuser" in command:
            found.append(pid)
    return found
