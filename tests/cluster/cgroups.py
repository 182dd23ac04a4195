"""A control group for one node: another node's kubelet would end the pods of a common one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TOP = Path("/sys/fs/cgroup")
_OWN = ("cpuset.cpus", "cpuset.mems")


def make(name: str) -> None:
    """Make the group in every hierarchy (cgroups(7): one in version 2, many in version 1)."""
    for top in _hierarchies():
        group = top / name
        group.mkdir(exist_ok=True)
        # A cpuset of version 1 begins empty, and takes no process then.
        for setting in _OWN:
            if top != _TOP and (group / setting).is_file():
                (group / setting).write_text((top / setting).read_text(encoding="ascii"))


def remove(name: str) -> None:
    """Remove the group and those below it, which have no processes any more."""
    for top in _hierarchies():
        for folder, _, _ in os.walk(top / name, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def _hierarchies() -> list[Path]:
    if (_TOP / "cgroup.controllers").is_file():
        return [_TOP]
    return [each for each in sorted(_TOP.iterdir()) if (each / "cgroup.procs").is_file()]
