"""Looking at the processes of a federation from outside."""

from __future__ import annotations

import os
from pathlib import Path


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that name the folder, this one left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it ended while we looked
        if str(folder) in command:
            found.append(command)
    return found


def mounts_below(folder: Path) -> list[str]:
    """Lines of the mount table whose mount point is below the folder."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line for line in lines if f" {folder}" in line]


def environment_of_server(data: Path, user: str) -> dict[str, str]:
    """The environment of a user's server, from /proc."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        pairs = dict(pair.split("=", 1) for pair in environment.split("\0") if "=" in pair)
        here = pairs.get("CSCALE_SITE_FILE", "").startswith(str(data))
        if here and "singleuser" in command and pairs.get("JUPYTERHUB_USER") == user:
            return pairs
    raise LookupError(f"no server of {user} runs")
