"""Which mounts this machine has below a folder, and making and removing binds.

What is mounted is read from ``/proc/self/mountinfo``, which touches no mount. Everything that may
hang with its object store runs in processes of its own, with a time limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

_LIMIT = 10.0
_MOUNTS = Path("/proc/self/mountinfo")


class MountFailed(Exception):
    """A command failed or hung; the message says which."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line of mountinfo.

    :ivar device: major and minor number: the same for all binds of one mount, another after the
        file system was mounted anew.
    """

    device: str
    path: Path
    kind: str
    read_only: bool


def mounted_below(folder: Path, source: Path = _MOUNTS) -> dict[Path, Mounted]:
    """What is mounted at or below a folder by path; of several on one path the one on top."""
    found: dict[Path, Mounted] = {}
    for line in source.read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(" - ")
        parts = left.split(" ")
        # Three octal digits stand for blanks and such (proc(5)).
        path = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), parts[4]))
        if path == folder or folder in path.parents:
            options = parts[5].split(",")
            found[path] = Mounted(parts[2], path, right.split(" ")[0], "ro" in options)
    return found


async def run(*command: str | Path) -> None:
    """Run a command that may hang.

    :raises MountFailed: when it fails, or has not ended in time; it is killed then, and left to
        itself where even that does not end it.
    """
    words = list(map(str, command))
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_LIMIT):
            _, said = await process.communicate()
    except TimeoutError as error:
        process.kill()
        raise MountFailed(f"{' '.join(words)} has not ended in {_LIMIT:.0f} s") from error
    if process.returncode:
        raise MountFailed(f"{' '.join(words)}: {said.decode('utf-8', 'replace').strip()}")


async def bind(source: Path, target: Path, *, writable: bool) -> None:
    """Show a folder at another one.

    What may only be read is made so before it is at its place: a mount that other containers see is
    copied to them as it is in that moment, and what is changed about it later is not
    (mount_namespaces(7)).

    :raises MountFailed: when it is not there, or cannot be bound; nothing is left bound then.
    """
    await run("mkdir", "-p", target)
    if writable:
        await run("mount", "--bind", source, target)
        return
    staged = Path(tempfile.mkdtemp(prefix="place-"))
    try:
        await run("mount", "--bind", source, staged)
        try:
            await run("mount", "-o", "remount,bind,ro", staged)
            await run("mount", "--bind", staged, target)
        finally:
            await unbind(staged)
    finally:
        with contextlib.suppress(OSError):
            staged.rmdir()


async def unbind(target: Path) -> None:
    """Take one mount away, also where what is behind it is dead."""
    await run("umount", "--lazy", "--no-canonicalize", target)
