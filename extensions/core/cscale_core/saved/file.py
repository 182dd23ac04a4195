"""The file of what a person keeps, in the user's data folder.

SQLite with a rollback journal (the folder may be NFS), mode 0600, opened for each transaction:
there are few, and several servers of one person may have the folder. A damaged file is left as it
is. Everything blocks; callers use threads.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cscale_core.errors import Conflict, CScaleError, DamagedData, StorageFull

BUSY_SECONDS = 5.0
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS searches (
  id TEXT PRIMARY KEY, revision INTEGER NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL,
  created TEXT NOT NULL, updated TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS favourites (
  ref TEXT PRIMARY KEY, title TEXT NOT NULL, added TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS notices (
  job TEXT PRIMARY KEY, body TEXT NOT NULL, ended TEXT NOT NULL, seen INTEGER NOT NULL);
PRAGMA user_version = 1;
"""


class SavedFile:
    """One file.

    :param path: is made at the first writing, its folder with mode 0700.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """The file in one transaction; an empty one in memory where there is none to be read.

        :raises Conflict: when another process holds it, or a newer version wrote it.
        :raises StorageFull: when it cannot be written.
        :raises DamagedData: when it is not what was written.
        """
        try:
            with closing(self._connection(write)) as file:
                file.row_factory = sqlite3.Row
                file.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                yield file
                file.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._explained(error) from error
        except OSError as error:
            raise StorageFull(
                f"The folder of what you saved cannot be written: {error.strerror}.",
                hint="Nothing was saved. Make room in your home, and try again.",
            ) from error

    def _connection(self, write: bool) -> sqlite3.Connection:
        if not self.path.exists():
            if not write:
                file = sqlite3.connect(":memory:", isolation_level=None)
                file.executescript(_SCHEMA)
                return file
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
        file = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        version = int(file.execute("PRAGMA user_version").fetchone()[0])
        if version > _VERSION:
            file.close()
            raise Conflict(
                f"{self.path} was written by a newer version of C-SCALE Hub.",
                hint="Nothing was changed in it. Update this server.",
            )
        if version < _VERSION:
            file.executescript(_SCHEMA)
        return file

    def _explained(self, error: sqlite3.Error) -> CScaleError:
        text = str(error)
        if "locked" in text or "busy" in text:
            return Conflict(
                "What you saved is in use by another process.",
                hint="Nothing was changed. Try again.",
                retryable=True,
            )
        if "full" in text or "disk I/O" in text or "readonly" in text:
            return StorageFull(
                f"What you saved cannot be written: {text}.",
                hint="What was saved before is kept. Make room in your home, and try again.",
            )
        return DamagedData(
            f"The file of what you saved is damaged: {text}.",
            hint=f"It was left as it is. Move {self.path} away to begin a new one.",
        )
