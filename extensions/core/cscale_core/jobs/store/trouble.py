"""What can be the matter with the file of the job list, said so that the user can act."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cscale_core.errors import Conflict, CScaleError, DamagedData, InvalidInput, StorageFull


class StoreTrouble(CScaleError):
    """The list cannot be written now. Nothing that was written before is lost."""


class StoreLocked(StoreTrouble, Conflict):
    """Another process holds the file."""


class StoreFull(StoreTrouble, StorageFull):
    """No room for the file."""


class StoreReadOnly(StoreTrouble):
    """The file can be read and not be written."""


class StoreDamaged(StoreTrouble, DamagedData):
    """The file is not what was written."""


class StoreNewer(StoreTrouble, InvalidInput):
    """A later version of this program wrote the file."""


class LeaseLost(Conflict):
    """Another server of the user runs the jobs now; this one's tasks may write no more."""


def locked() -> StoreLocked:
    """Another process holds the lock for longer than is waited."""
    return StoreLocked(
        "The list of your jobs is in use by another process.",
        hint="Nothing was lost, and nothing new was written. It is tried again by itself; if it "
        "lasts, look for another server or program of yours that holds the file.",
        retryable=True,
    )


def newer(path: Path) -> StoreNewer:
    """The file has a version that is not known here."""
    return StoreNewer(
        f"The job list {path} was written by a newer version of C-SCALE Hub.",
        hint="What can be read of it is shown; nothing was changed in the file. Update this "
        "server to go on with it.",
    )


def read_only(path: Path, reason: object) -> StoreReadOnly:
    """The file or its folder may not be written."""
    return StoreReadOnly(
        f"The list of your jobs in {path.parent} can only be read: {reason}.",
        hint="Every job that was written is kept and shown, and jobs at remote back ends go on. "
        "Make the folder writable again; it is tried again by itself.",
        retryable=True,
    )


def explained(error: sqlite3.Error, path: Path) -> StoreTrouble:
    """What an error of SQLite means, except damage."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return locked()
    if "full" in text:
        return StoreFull(
            "There is no room on the disk for the list of your jobs.",
            hint="Every job that was written is kept, and jobs that run go on; what was just "
            "asked for was not written. Free some space in your home; the ends of jobs are "
            "written as soon as there is room.",
            retryable=True,
        )
    if "readonly" in text or "read-only" in text or "unable to open" in text:
        return read_only(path, text)
    return StoreTrouble(
        f"The list of your jobs cannot be used: {text}.",
        hint="Nothing that was written is lost. Look at the permissions and the free space of "
        "your home; it is tried again by itself.",
        retryable=True,
    )


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is not what was written."""
    ours = (sqlite3.OperationalError, sqlite3.IntegrityError, sqlite3.ProgrammingError)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, ours)


def loses_the_file(error: sqlite3.Error) -> bool:
    """Whether the open file is no longer the one at its path, or cannot be relied on."""
    name = getattr(error, "sqlite_errorname", "")
    return name == "SQLITE_READONLY_DBMOVED" or name.startswith("SQLITE_IOERR")
