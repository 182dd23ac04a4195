"""Backups of the job list, beside it: the last two, made when the list was found in order."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

_logger = logging.getLogger(__name__)

KEPT = 2
SECONDS_BETWEEN = 24 * 3600.0
#: Room that a backup leaves on the disk.
ROOM_LEFT = 16 * 2**20


def backups_of(path: Path) -> list[Path]:
    """The backups of a list that there are, the newest first."""
    return [one for one in _places(path) if one.exists()]


def back_up_if_due(connection: sqlite3.Connection, path: Path, *, now: bool = False) -> None:
    """Make a backup once a day, of a list in order that has jobs.

    What hinders it is said in the log: a list without a backup is better than no list.

    :param now: also when one was made today, before the file is changed in its form.
    """
    try:
        if not (now or _is_due(path)) or not _has_jobs(connection):
            return
        needed = path.stat().st_size
        free = shutil.disk_usage(path.parent).free
        if free < needed + ROOM_LEFT:
            _logger.warning(
                "no backup of the job list %s: it needs %d bytes, and %d are free",
                path,
                needed + ROOM_LEFT,
                free,
            )
            return
        _make(connection, path)
    except (OSError, sqlite3.Error) as error:
        _logger.warning("no backup of the job list %s: %s", path, error)


def write_copy(connection: sqlite3.Connection, target: Path) -> None:
    """Write all of a list into a new file of the user's alone, and onto the disk."""
    target.unlink(missing_ok=True)
    try:
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(target, isolation_level=None)) as copy:
            # No journal: half a copy is thrown away, and the disk is waited for once, at the end.
            copy.execute("PRAGMA journal_mode = OFF")
            copy.execute("PRAGMA synchronous = OFF")
            connection.backup(copy)
        _to_disk(target, os.O_RDWR)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _make(connection: sqlite3.Connection, path: Path) -> None:
    fresh = path.with_name(f"{path.name}.backup-new")
    write_copy(connection, fresh)
    places = _places(path)
    for older, newer in zip(reversed(places[1:]), reversed(places[:-1]), strict=True):
        if newer.exists():
            newer.replace(older)
    fresh.replace(places[0])
    _to_disk(path.parent, os.O_RDONLY)


def _places(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}.backup-{number}") for number in range(1, KEPT + 1)]


def _is_due(path: Path) -> bool:
    newest = _places(path)[0]
    if not newest.exists():
        return True
    age = time.time() - newest.stat().st_mtime
    return not 0 <= age < SECONDS_BETWEEN  # one from the future tells nothing


def _has_jobs(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM jobs)").fetchone()[0])


def _to_disk(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
