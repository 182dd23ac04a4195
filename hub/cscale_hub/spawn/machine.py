"""One machine: what it has free now, and how far a profile can hold a process to its size.

The limits are those an account without rights can set on its own processes, so they protect
against accidents and not against intent: processors are chosen by affinity, which a process can
widen again; memory is bounded for each process (RLIMIT_DATA: what it can write, thread stacks
included), not for all of a server's processes together. Graphics processors are not limited at
all. On Kubernetes the same profile is enforced by the cluster.
"""

from __future__ import annotations

import math
import os
import resource
import zlib
from collections.abc import Callable
from pathlib import Path

from cscale_hub.profiles import Profile, size_bytes

_MEMINFO = Path("/proc/meminfo")
_GIB = 2**30


def free_memory(meminfo: Path = _MEMINFO) -> int | None:
    """Bytes that programs can still get without swapping; None where the system does not tell."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def available(profile: Profile) -> str:
    """What this machine has for a server of this size now, in words."""
    processors = len(os.sched_getaffinity(0))
    memory = free_memory()
    shared = f"{processors} shared processor{'s' if processors > 1 else ''}"
    free = f"{memory / _GIB:.1f} GiB of memory and " if memory is not None else ""
    said = f"{free}{shared} on this machine."
    if profile.gpu:
        said += " No graphics processor is kept for you here."
    if memory is not None and profile.memory and memory < size_bytes(profile.memory):
        said += " That is less memory than this server may take."
    return said


def processors_for(cpu: float, owner: str, present: set[int]) -> set[int]:
    """The processors for one person's server: a whole number, spread over the machine by name."""
    ordered = sorted(present)
    wanted = min(len(ordered), math.ceil(cpu))
    first = zlib.crc32(owner.encode()) % len(ordered)
    return {ordered[(first + step) % len(ordered)] for step in range(wanted)}


def limiter(profile: Profile, owner: str) -> Callable[[], None]:
    """What the server's process does before it begins; its children inherit it."""
    chosen = processors_for(profile.cpu, owner, os.sched_getaffinity(0)) if profile.cpu else None
    most = None
    if profile.memory:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = size_bytes(profile.memory)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)

    def apply() -> None:
        if chosen is not None:
            os.sched_setaffinity(0, chosen)
        if most is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    return apply
