"""The job list on disk: one SQLite file in the user's home, which may be NFS.

Rollback journal (WAL does not work on NFS), a busy time limit, a schema version with migrations,
mode 0600, no credentials. Every change of a job takes the next number of one counter, its
*revision*, so a reader asks for what changed since the last one it saw. A damaged file is moved
aside and the store stays read-only until :meth:`JobStore.start_anew`: a job list is never quietly
replaced by an empty one.

All methods block and are safe in threads; async callers use ``asyncio.to_thread``.
"""

from __future__ import annotations

import builtins
import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cscale_core.errors import (
    Conflict,
    CScaleError,
    DamagedData,
    InvalidInput,
    NotFound,
    StorageFull,
)
from cscale_core.jobs.model import (
    Job,
    JobChanges,
    JobSpec,
    JobStatus,
    LogLine,
    Phase,
    utc_now,
)

BUSY_SECONDS = 5.0
#: Lines kept of one job's log; the oldest go first.
LOG_LINES = 5_000
#: Characters kept of one line.
LOG_LINE_LENGTH = 8_000

# One script a version, never changed after a release; PRAGMA user_version counts those applied.
_MIGRATIONS = (
    """
    CREATE TABLE counter (revision INTEGER NOT NULL);
    INSERT INTO counter VALUES (0);
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        revision INTEGER NOT NULL UNIQUE,
        status TEXT NOT NULL,
        idempotency_key TEXT UNIQUE,
        spec TEXT NOT NULL,
        results TEXT NOT NULL DEFAULT '[]',
        state TEXT NOT NULL DEFAULT '{}',
        document TEXT NOT NULL
    );
    CREATE TABLE logs (
        job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        id INTEGER NOT NULL,
        time TEXT NOT NULL,
        level TEXT NOT NULL,
        message TEXT NOT NULL,
        PRIMARY KEY (job_id, id)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE counter ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN asked TEXT;
    ALTER TABLE jobs ADD COLUMN publishes TEXT;
    CREATE INDEX jobs_publishes ON jobs (publishes);
    CREATE TABLE deleted (revision INTEGER PRIMARY KEY, job_id TEXT NOT NULL);
    """,
)

#: Marks of deletions kept; who asks for an older revision gets the whole list.
DELETION_MARKS = 1_000
#: From the least to the most.
LEVELS = ("debug", "info", "warning", "error")

# Large members with columns of their own, so that progress does not rewrite megabytes of items.
_APART = {"spec", "results"}


def new_id() -> str:
    """An id that sorts by time and is safe in paths, URLs and object keys."""
    return f"j-{datetime.now(UTC):%y%m%d%H%M%S}-{secrets.token_hex(4)}"


class JobStore:
    """Jobs, their logs and the engines' notes.

    :param path: the database file; its folder is made with mode 0700.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: CScaleError | None = None
        self._marker = path.with_name(path.name + ".damaged")
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._cache: dict[str, Job] = {}

    # -- opening -------------------------------------------------------------------------------

    def open(self) -> None:
        """Open or make the file and bring its schema up to date.

        A damaged file, or one of a newer version, is no exception: :attr:`problem` says what is
        the matter, reading gives an empty list, and writing raises it.
        """
        with self._lock:
            if self._connection is not None or self.problem is not None:
                return
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._marker.exists():
                self.problem = self._damage(self._marker.read_text(encoding="utf-8").strip())
                return
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self.path.chmod(0o600)
            connection = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA journal_mode = DELETE")
                connection.execute("PRAGMA foreign_keys = ON")
                check = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if check != "ok":
                    raise sqlite3.DatabaseError(check)
                self._migrate(connection)
            except sqlite3.OperationalError as error:
                connection.close()
                raise _explained(error) from error
            except sqlite3.DatabaseError as error:
                connection.close()
                self._set_aside(error)
                return
            if self._readable():
                self._connection = connection
            else:
                connection.close()

    def _readable(self) -> bool:
        return self.problem is None

    def close(self) -> None:
        """Close the file. Opening again is possible."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._cache.clear()

    def start_anew(self) -> None:
        """Begin an empty list after a damaged one; the damaged file stays where it was moved.

        :raises Conflict: when the present list is not damaged.
        """
        with self._lock:
            if not self._marker.exists():
                raise Conflict("The job list is not damaged; nothing was changed.")
            self._marker.unlink()
            self.problem = None
            self.open()

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")  # of two that start at once, one migrates
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(_MIGRATIONS):
            self.problem = InvalidInput(
                f"The job list {self.path} was written by a newer version of C-SCALE Hub.",
                hint="Update this server; nothing was changed in the file.",
            )
        for script in _MIGRATIONS[version:]:
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
        if version < len(_MIGRATIONS):
            connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
        connection.execute("COMMIT")

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        """Move the damaged file and its journal away, and note it so that a restart still knows."""
        backup = self.path.with_name(
            f"{self.path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
        )
        for suffix in ("-journal", ""):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(backup.with_name(backup.name + suffix))
        self._marker.write_text(f"{backup}\n", encoding="utf-8")
        self.problem = self._damage(str(backup), error)

    def _damage(self, backup: str, error: Exception | None = None) -> DamagedData:
        return DamagedData(
            "The list of your jobs is damaged and was moved aside.",
            hint=f"It is kept as {backup}. Jobs at remote back ends go on; to begin an empty "
            f"list, delete {self._marker}.",
            reason=str(error or ""),
        )

    # -- access --------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self.problem is not None:
                raise self.problem
            if self._connection is None:
                self.open()
                if self.problem is not None:
                    raise self.problem
            connection = self._connection
            assert connection is not None  # noqa: S101 - open() gave one or a problem
            try:
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    yield connection
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise _explained(error) from error
            except sqlite3.IntegrityError:
                raise
            except sqlite3.DatabaseError as error:
                connection.close()
                self._connection = None
                self._cache.clear()
                self._set_aside(error)
                raise self._damage("", error) if self.problem is None else self.problem from error

    @staticmethod
    def _next_revision(connection: sqlite3.Connection) -> int:
        connection.execute("UPDATE counter SET revision = revision + 1")
        revision: int = connection.execute("SELECT revision FROM counter").fetchone()[0]
        return revision

    def _job(self, row: Sequence[Any]) -> Job:
        identifier, revision, spec, results, document = row
        cached = self._cache.get(identifier)
        if cached is None or cached.revision != revision:
            cached = Job.model_validate(
                {**json.loads(document), "spec": json.loads(spec), "results": json.loads(results)}
            )
            self._cache[identifier] = cached
        return cached

    _COLUMNS = "id, revision, spec, results, document"

    def _find(self, connection: sqlite3.Connection, identifier: str) -> Job:
        row = connection.execute(
            f"SELECT {self._COLUMNS} FROM jobs WHERE id = ?",  # noqa: S608 - constant columns
            (identifier,),
        ).fetchone()
        if row is None:
            raise NotFound(f"There is no job {identifier}.")
        return self._job(row)

    # -- jobs ----------------------------------------------------------------------------------

    def create(
        self,
        spec: JobSpec,
        idempotency_key: str = "",
        *,
        asked: str = "",
        owner: str = "",
        cloned_from: str = "",
        publishes: str = "",
    ) -> tuple[Job, bool]:
        """Write a new job, or find the one that was made with the same key.

        :param asked: fingerprint of what was asked for under the key; empty: the spec itself.
        :param publishes: id of the job whose results this one shares; one that is under way or
            has finished is found instead of written.
        :returns: the job, and whether it is new.
        :raises Conflict: when the key was used for something else.
        """
        with self._transaction(write=True) as connection:
            known = self._keyed(connection, idempotency_key, asked, spec)
            if known is None and publishes:
                known = self._publication(connection, publishes)
            if known is not None:
                return known, False
            now = utc_now()
            job = Job(
                id=new_id(),
                revision=self._next_revision(connection),
                spec=spec,
                created=now,
                updated=now,
                phases=[Phase(status=JobStatus.CREATED, since=now)],
                owner=owner,
                cloned_from=cloned_from,
                idempotency_key=idempotency_key,
            )
            connection.execute(
                "INSERT INTO jobs (id, revision, status, idempotency_key, spec, document, asked,"
                " publishes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job.id,
                    job.revision,
                    job.status,
                    idempotency_key or None,
                    spec.model_dump_json(),
                    job.model_dump_json(exclude=_APART),
                    asked or None,
                    publishes or None,
                ),
            )
        return job, True

    def keyed(self, idempotency_key: str, asked: str) -> Job | None:
        """The job that was made with a key.

        :raises Conflict: when the key was used for something else.
        """
        with self._transaction(write=False) as connection:
            return self._keyed(connection, idempotency_key, asked, None)

    def _keyed(
        self, connection: sqlite3.Connection, key: str, asked: str, spec: JobSpec | None
    ) -> Job | None:
        row = connection.execute(
            f"SELECT {self._COLUMNS}, asked FROM jobs WHERE idempotency_key = ?",  # noqa: S608
            (key or None,),
        ).fetchone()
        if row is None:
            return None
        job = self._job(row[:-1])
        # A job of an earlier version has no fingerprint.
        same = row[-1] == asked if row[-1] and asked else spec is None or job.spec == spec
        if not same:
            raise Conflict(
                "This idempotency key was used for another job.",
                hint="Use a new key for a new job.",
                job_id=job.id,
            )
        return job

    def _publication(self, connection: sqlite3.Connection, job_id: str) -> Job | None:
        rows = connection.execute(
            f"SELECT {self._COLUMNS} FROM jobs WHERE publishes = ? ORDER BY revision DESC",  # noqa: S608
            (job_id,),
        )
        jobs = map(self._job, rows)
        return next(
            (job for job in jobs if not job.status.ended or job.status == JobStatus.FINISHED), None
        )

    def get(self, identifier: str) -> Job:
        """One job.

        :raises NotFound: when there is none.
        """
        with self._transaction(write=False) as connection:
            return self._find(connection, identifier)

    def list(self, since: int = 0) -> builtins.list[Job]:
        """Jobs that changed after a revision, the latest change last; all for 0.

        While :attr:`problem` is set the list is empty.
        """
        if self.problem is not None:
            return []
        with self._transaction(write=False) as connection:
            rows = connection.execute(
                f"SELECT {self._COLUMNS} FROM jobs WHERE revision > ? ORDER BY revision",  # noqa: S608
                (since,),
            )
            return [self._job(row) for row in rows]

    def changes(self, since: int = 0) -> JobChanges:
        """What changed after a revision; see :class:`JobChanges`."""
        if self.problem is not None:
            return JobChanges(jobs=[], revision=0, whole=True)
        with self._transaction(write=False) as connection:
            revision, forgotten = connection.execute(
                "SELECT revision, forgotten FROM counter"
            ).fetchone()
            whole = since <= 0 or since < forgotten or since > revision
            rows = connection.execute(
                f"SELECT {self._COLUMNS} FROM jobs WHERE revision > ? ORDER BY revision",  # noqa: S608
                (0 if whole else since,),
            )
            jobs = [self._job(row) for row in rows]
            marks = connection.execute(
                "SELECT job_id FROM deleted WHERE revision > ? ORDER BY revision", (since,)
            )
            deleted = [] if whole else [row[0] for row in marks]
        return JobChanges(jobs=jobs, deleted=deleted, revision=revision, whole=whole)

    def want(self, identifier: str, wish: Literal["", "cancel", "pause"], message: str) -> Job:
        """Note what the user wants of a job that has not ended.

        :raises NotFound: when there is none.
        :raises Conflict: when it has ended.
        """
        with self._transaction(write=False) as connection:
            job = self._find(connection, identifier)
        if job.status.ended:
            raise Conflict(f"Job {identifier} has ended as {job.status}.")
        return self.update(identifier, wanted=wish, message=message)

    def update(self, identifier: str, **changes: Any) -> Job:
        """Change members of a job; the revision grows unless nothing changes.

        An ended job keeps its status. ``started`` and ``ended`` follow the status.

        :raises NotFound: when there is none.
        :raises Conflict: when the status of an ended job would change.
        """
        with self._transaction(write=True) as connection:
            old = self._find(connection, identifier)
            status = JobStatus(changes.get("status", old.status))
            if old.status.ended and status != old.status:
                raise Conflict(f"Job {identifier} has ended as {old.status}.")
            if status == JobStatus.RUNNING and old.started is None:
                changes.setdefault("started", utc_now())
            if status.ended and old.ended is None:
                changes.setdefault("ended", utc_now())
            if status != old.status:
                changes["phases"] = [*old.phases, Phase(status=status, since=utc_now())]
            if status.ended or (status == JobStatus.PAUSED and old.wanted == "pause"):
                changes["wanted"] = ""
            kept = {name: getattr(old, name) for name in Job.model_fields}
            candidate = Job.model_validate({**kept, **changes, "status": status})
            if candidate == old:
                return old
            candidate.revision = self._next_revision(connection)
            candidate.updated = utc_now()
            connection.execute(
                "UPDATE jobs SET revision = ?, status = ?, document = ? WHERE id = ?",
                (
                    candidate.revision,
                    candidate.status,
                    candidate.model_dump_json(exclude=_APART),
                    identifier,
                ),
            )
            if candidate.results != old.results:
                connection.execute(
                    "UPDATE jobs SET results = ? WHERE id = ?",
                    (json.dumps(candidate.results), identifier),
                )
        return candidate

    def delete(self, identifier: str) -> Job:
        """Remove an ended job and its log; returns what it was.

        :raises NotFound: when there is none.
        :raises Conflict: when it has not ended.
        """
        with self._transaction(write=True) as connection:
            job = self._find(connection, identifier)
            if not job.status.ended:
                raise Conflict(
                    f"Job {identifier} is {job.status}.", hint="Cancel it first, then delete it."
                )
            connection.execute("DELETE FROM jobs WHERE id = ?", (identifier,))
            connection.execute(
                "INSERT INTO deleted VALUES (?, ?)", (self._next_revision(connection), identifier)
            )
            beyond = connection.execute(
                "SELECT revision FROM deleted ORDER BY revision DESC LIMIT 1 OFFSET ?",
                (DELETION_MARKS,),
            ).fetchone()
            if beyond is not None:
                connection.execute("DELETE FROM deleted WHERE revision <= ?", beyond)
                connection.execute("UPDATE counter SET forgotten = ?", beyond)
            self._cache.pop(identifier, None)
        return job

    # -- engines' notes ------------------------------------------------------------------------

    def state(self, identifier: str) -> dict[str, Any]:
        """What the engine noted of a job (cursors, markers). Not part of the job, no revision."""
        with self._transaction(write=False) as connection:
            row = connection.execute(
                "SELECT state FROM jobs WHERE id = ?", (identifier,)
            ).fetchone()
        if row is None:
            raise NotFound(f"There is no job {identifier}.")
        state: dict[str, Any] = json.loads(row[0])
        return state

    def set_state(self, identifier: str, state: dict[str, Any]) -> None:
        """Replace the engine's notes."""
        with self._transaction(write=True) as connection:
            connection.execute(
                "UPDATE jobs SET state = ? WHERE id = ?", (json.dumps(state), identifier)
            )

    # -- logs ----------------------------------------------------------------------------------

    def append_logs(
        self,
        identifier: str,
        lines: Iterable[tuple[datetime, str, str]],
        state: dict[str, Any] | None = None,
    ) -> None:
        """Add (time, level, message) lines; the oldest beyond :data:`LOG_LINES` go.

        Lines of a job that was deleted meanwhile are dropped.

        :param state: replaces the engine's notes in the same transaction.
        """
        with self._transaction(write=True) as connection:
            if not connection.execute("SELECT 1 FROM jobs WHERE id = ?", (identifier,)).fetchone():
                return
            if state is not None:
                connection.execute(
                    "UPDATE jobs SET state = ? WHERE id = ?", (json.dumps(state), identifier)
                )
            last = connection.execute(
                "SELECT coalesce(max(id), 0) FROM logs WHERE job_id = ?", (identifier,)
            ).fetchone()[0]
            rows = [
                (identifier, last + 1 + index, time.isoformat(), level, _shortened(message))
                for index, (time, level, message) in enumerate(lines)
            ]
            if not rows:
                return
            connection.executemany("INSERT INTO logs VALUES (?, ?, ?, ?, ?)", rows)
            connection.execute(
                "DELETE FROM logs WHERE job_id = ? AND id <= ?",
                (identifier, last + len(rows) - LOG_LINES),
            )

    def logs(
        self, identifier: str, after: int = 0, limit: int = 500, level: str = "debug"
    ) -> builtins.list[LogLine]:
        """Lines after a cursor, oldest first.

        :param level: the least that is given.
        :raises NotFound: when there is no such job.
        :raises InvalidInput: when there is no such level.
        """
        if level not in LEVELS:
            raise InvalidInput(f"There is no level {level!r}.", hint=f"Known: {', '.join(LEVELS)}.")
        shown = LEVELS[LEVELS.index(level) :]
        with self._transaction(write=False) as connection:
            self._find(connection, identifier)
            rows = connection.execute(
                "SELECT id, time, level, message FROM logs WHERE job_id = ? AND id > ?"
                " AND level IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT ?",
                (identifier, after, json.dumps(shown), limit),
            ).fetchall()
        return [
            LogLine.model_validate(
                {"id": row[0], "time": row[1], "level": row[2], "message": row[3]}
            )
            for row in rows
        ]


def _shortened(message: str) -> str:
    if len(message) <= LOG_LINE_LENGTH:
        return message
    return message[:LOG_LINE_LENGTH] + f" … ({len(message)} characters)"


def _explained(error: sqlite3.OperationalError) -> CScaleError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return Conflict(
            "The list of your jobs is in use by another process.",
            hint="Is another server of yours running? Try again.",
            retryable=True,
        )
    if "full" in text:
        return StorageFull(
            "There is no room on the disk for the list of your jobs.",
            hint="Free some space in your home; nothing was lost.",
            retryable=True,
        )
    return CScaleError(
        f"The list of your jobs cannot be used: {text}.",
        hint="Look at the permissions and the free space of your home.",
        retryable=True,
    )
