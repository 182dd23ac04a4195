"""Opening the file of the job list, in whatever state it is found.

There is always something to read afterwards. Where the file cannot be used as it is (damaged,
locked, of a newer version, on a disk that may not be written), it is left untouched, and what can
be read of it, or of its backups, is shown from memory beside a problem that says so.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cscale_core.jobs.model import Job
from cscale_core.jobs.store import salvage
from cscale_core.jobs.store.backup import back_up_if_due, backups_of, write_copy
from cscale_core.jobs.store.schema import VERSION, migrate, version_of
from cscale_core.jobs.store.trouble import (
    StoreDamaged,
    StoreTrouble,
    explained,
    is_damage,
    locked,
    newer,
    read_only,
)

#: Revisions are counted on from far beyond, so that no reader takes an old one for a new one.
_LEAP = 1_000_000


@dataclass
class Opened:
    """An open list: the file itself, or with a problem perhaps what is shown instead of it."""

    connection: sqlite3.Connection
    problem: StoreTrouble | None = None


def open_list(path: Path, patience: float, remembered: Iterable[Job] = ()) -> Opened:
    """Open the file, or make it, and bring it to this version; never raises for its state.

    :param patience: seconds to wait for another process's lock.
    :param remembered: jobs that were read before the file was damaged.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if backups_of(path) and (not path.exists() or path.stat().st_size == 0):
            return damaged(path, remembered, "it is empty")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
    except OSError as error:
        if not path.exists():
            return _from_backups(path, of_system(error, path))
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return _read_only(path, patience, remembered)
    connection = sqlite3.connect(
        path, timeout=patience, isolation_level=None, check_same_thread=False
    )
    try:
        return _checked(connection, path, remembered)
    except sqlite3.Error as error:
        connection.close()
        if is_damage(error):
            return damaged(path, remembered, str(error))
        return _from_backups(path, explained(error, path))


def _checked(connection: sqlite3.Connection, path: Path, remembered: Iterable[Job]) -> Opened:
    # Rollback journal: a write-ahead log does not work on NFS.
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA foreign_keys = ON")
    _check(connection)
    version = version_of(connection)
    if version > VERSION:
        return _copied(connection, newer(path))
    if version == 0 and backups_of(path):
        connection.close()
        return damaged(path, remembered, "it is empty")
    if version:
        back_up_if_due(connection, path, now=version < VERSION)
    try:
        migrate(connection)
    except sqlite3.OperationalError as error:
        return _copied(connection, explained(error, path))
    return Opened(connection)


def _read_only(path: Path, patience: float, remembered: Iterable[Job]) -> Opened:
    problem = read_only(path, "it may not be written")
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=ro",
        uri=True,
        timeout=patience,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _check(connection)
        if version_of(connection) == VERSION:
            return Opened(connection, problem)
        return _copied(connection, problem)
    except sqlite3.Error as error:
        connection.close()
        if is_damage(error):
            return damaged(path, remembered, str(error))
        return _from_backups(path, explained(error, path))


def _check(connection: sqlite3.Connection) -> None:
    check = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if check != "ok":
        raise sqlite3.DatabaseError(check)


def _copied(connection: sqlite3.Connection, problem: StoreTrouble) -> Opened:
    with closing(connection):
        return Opened(salvage.in_memory(salvage.read_open(connection)), problem)


def _from_backups(path: Path, problem: StoreTrouble) -> Opened:
    """What the newest backup has, until the file itself can be read."""
    found = salvage.Salvage()
    for backup in backups_of(path)[:1]:
        found = salvage.read_file(backup)
        problem.hint += f" Shown is the backup of {_day(backup)}."
    return Opened(salvage.in_memory(found), problem)


def damaged(path: Path, remembered: Iterable[Job], reason: str) -> Opened:
    """What is left of a damaged file and its backups, to be read only."""
    backups = backups_of(path)
    found = salvage.Salvage()
    if path.exists():
        found = salvage.read_file(path, first_page_of=next(iter(backups), None))
    found.remember(remembered)
    count = len(found.jobs)
    sentences = [f"Of the file {count} jobs could be read."]
    for backup in backups:
        before = set(found.jobs)
        if found.join(salvage.read_file(backup)):
            sentences.append(f"{len(found.jobs) - len(before)} are of the backup {backup}.")
            note = f"taken from the backup of {_day(backup)}, as the list of jobs was damaged"
            for identifier in set(found.jobs) - before:
                lines = found.logs.setdefault(identifier, [])
                number = lines[-1][0] + 1 if lines else 1
                lines.append((number, datetime.now(UTC).isoformat(), "warning", note))
    problem = StoreDamaged(
        "The list of your jobs is damaged, and can only be read.",
        hint=" ".join(sentences)
        + f" The damaged file is kept as it is, {path}; jobs at remote back ends go on. Recover "
        "the list: a new file is written from what is shown, beside the damaged one, and the "
        "open jobs are followed again.",
        reason=reason,
        path=str(path),
        jobs=len(found.jobs),
        backups=[str(backup) for backup in backups],
    )
    return Opened(salvage.in_memory(found), problem)


def recover(path: Path, patience: float, remembered: Iterable[Job]) -> None:
    """Write a new file from what can be read of a damaged one, which is kept beside it.

    :raises StoreTrouble: when it cannot be written; then nothing was changed.
    """
    try:
        with _alone(path):
            opened = open_list(path, patience, remembered)
            with closing(opened.connection):
                if not isinstance(opened.problem, StoreDamaged):
                    return  # another server of the user was faster
                opened.connection.execute(
                    "UPDATE counter SET revision = revision + ?, forgotten = revision + ?",
                    (_LEAP, _LEAP),
                )
                fresh = path.with_name(f"{path.name}.recovered-new")
                write_copy(opened.connection, fresh)
            _put_aside(path)
            fresh.replace(path)
    except sqlite3.Error as error:
        raise explained(error, path) from error
    except OSError as error:
        raise of_system(error, path) from error


def _put_aside(path: Path) -> None:
    """A second name for the damaged file. There is a file at the path in every moment."""
    if not path.exists() or path.stat().st_size == 0:
        return
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    try:
        aside.hardlink_to(path)
    except OSError:
        path.rename(aside)  # a file system without links
    # A journal that stayed would be played back into the new file.
    with suppress(FileNotFoundError):
        path.with_name(f"{path.name}-journal").rename(aside.with_name(f"{aside.name}-journal"))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One recovers at a time; the lock ends with the process."""
    with path.with_name(f"{path.name}.recovering").open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise locked() from error
        try:
            yield
        finally:
            Path(file.name).unlink(missing_ok=True)


def of_system(error: OSError, path: Path) -> StoreTrouble:
    """What an error of the operating system means."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return explained(sqlite3.OperationalError("database or disk is full"), path)
    return read_only(path, error.strerror or error)


def _day(backup: Path) -> str:
    return f"{datetime.fromtimestamp(backup.stat().st_mtime, UTC):%Y-%m-%d %H:%M} UTC"
