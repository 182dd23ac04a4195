"""The file of the job list: open or not, what hinders, and transactions in it.

Rollback journal (WAL does not work on NFS), a busy time limit, a schema version with migrations,
mode 0600. What was written is never lost to what happens to the file: it is backed up when it is
found in order, and a damaged one is left as it is and shown, read-only, until
:meth:`ListFile.recover`.
"""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from cscale_core.errors import Conflict
from cscale_core.jobs.store import holding, opening
from cscale_core.jobs.store.backup import back_up_if_due, backups_of
from cscale_core.jobs.store.rows import ParsedJobs
from cscale_core.jobs.store.trouble import (
    StoreDamaged,
    StoreTrouble,
    explained,
    is_damage,
    loses_the_file,
)

BUSY_SECONDS = 5.0
#: The same when a file that was locked is tried again: readers wait behind it.
BUSY_AGAIN_SECONDS = 0.2
#: A hindrance is looked at again at most this often.
AGAIN_SECONDS = 1.0

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


class ListFile:
    """One open file, used by one thread at a time.

    :param path: of the file; its folder is made with mode 0700.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        # One thread of its own: a file system that hangs holds up nothing but the list.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="job list")
        self._connection: sqlite3.Connection | None = None
        self._problem: StoreTrouble | None = None
        self._hindrance: StoreTrouble | None = None
        self._parsed = ParsedJobs()
        self._looked = -AGAIN_SECONDS
        self._seen: tuple[int, ...] = ()
        self._times_opened = 0

    async def ask(
        self, method: Callable[Asked, Answer], *args: Asked.args, **options: Asked.kwargs
    ) -> Answer:
        """Call one of the methods in the list's own thread."""
        call = functools.partial(method, *args, **options)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    # -- the file ------------------------------------------------------------------------------

    @property
    def problem(self) -> StoreTrouble | None:
        """Why the list cannot be written now; None when all is well."""
        return self._problem or self._hindrance

    def open(self) -> None:
        """Open or make the file and bring its schema up to date.

        Whatever is the matter with it is no exception: :attr:`problem` says it, reading gives what
        can be read, and writing raises it.
        """
        with self._lock:
            if self._connection is None:
                self._open(BUSY_SECONDS)

    def _open(self, patience: float) -> None:
        self._let_go()
        self._seen = self._identity()
        self._take(opening.open_list(self.path, patience, self._parsed.all()))
        if self._problem is None and self._connection is not None:
            self._connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

    def _take(self, opened: opening.Opened) -> None:
        self._times_opened += 1
        self._connection, self._problem = opened.connection, opened.problem
        self._hindrance = None

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _identity(self) -> tuple[int, ...]:
        try:
            state = self.path.stat()
        except OSError:
            return ()
        return (state.st_ino, state.st_size, state.st_mtime_ns)

    def close(self) -> None:
        """Close the file. Opening again is possible."""
        with self._lock:
            self._let_go()
            self._problem = self._hindrance = None
            self._parsed.clear()

    def look_again(self) -> None:
        """Try again what hinders, once a second; to be called now and then.

        A file that was locked or could not be written is opened again, a damaged one when it has
        changed (another server of the user has recovered it).
        """
        with self._lock:
            if self.problem is None or time.monotonic() - self._looked < AGAIN_SECONDS:
                return
            self._looked = time.monotonic()
            if self._problem is None:
                with suppress(StoreTrouble), self._transaction(write=True) as connection:
                    connection.execute("UPDATE counter SET revision = revision")
            elif self._problem.retryable or self._seen != self._identity():
                self._open(BUSY_AGAIN_SECONDS)

    def recover(self) -> None:
        """Begin a new file with all that is known of a damaged one, which is kept beside it.

        :raises Conflict: when the list is not damaged; nothing was changed.
        :raises StoreTrouble: when the new file cannot be written; nothing was changed.
        """
        with self._lock:
            self.open()
            if not isinstance(self._problem, StoreDamaged):
                raise Conflict("The list of jobs is not damaged; nothing was changed.")
            opening.recover(self.path, BUSY_SECONDS, self._parsed.all())
            self._open(BUSY_SECONDS)
            self._parsed.clear()

    def backups(self) -> list[Path]:
        """The backups that there are, the newest first."""
        return backups_of(self.path)

    def back_up(self) -> None:
        """Make a backup, if the last is a day old and the file is in order."""
        with self._lock:
            if self._connection is not None and self._problem is None:
                back_up_if_due(self._connection, self.path)

    def version(self) -> tuple[int, int]:
        """Becomes another when another process has written, or the file was opened again."""
        with self._lock:
            self.open()
            assert self._connection is not None  # noqa: S101 - opening always gives one
            try:
                number: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.Error as error:
                raise self._failed(error, write=False) from error
            return (self._times_opened, number)

    # -- access --------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, *, write: bool, holder: str = "") -> Iterator[sqlite3.Connection]:
        with self._lock:
            self.open()
            connection = self._connection
            assert connection is not None  # noqa: S101 - opening always gives one
            if write and self._problem is not None:
                raise self._problem.with_traceback(None)
            try:
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                if holder:
                    holding.require(connection, holder)
                yield connection
                connection.execute("COMMIT")
            except (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError):
                raise  # mistakes of ours, not the file's
            except sqlite3.Error as error:
                raise self._failed(error, write=write) from error
            finally:
                # Closed, when the file is damaged.
                with suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
            if write:
                self._hindrance = None

    def _failed(self, error: sqlite3.Error, *, write: bool) -> StoreTrouble:
        if is_damage(error):
            self._let_go()
            self._seen = self._identity()
            self._take(opening.damaged(self.path, self._parsed.all(), str(error)))
            assert self._problem is not None  # noqa: S101 - it is damaged
            return self._problem
        trouble = explained(error, self.path)
        if loses_the_file(error):
            self._let_go()
        elif write:
            self._hindrance = trouble
        return trouble
