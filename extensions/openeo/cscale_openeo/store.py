"""Jobs and user-defined processes in SQLite (rollback journal, it may lie on NFS)."""

from __future__ import annotations

import datetime as dt
import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cscale_openeo.errors import OpenEOError

ACTIVE = ("queued", "running")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  slug TEXT NOT NULL,
  vo TEXT NOT NULL,
  status TEXT NOT NULL,
  created TEXT NOT NULL,
  updated TEXT NOT NULL,
  queued TEXT NOT NULL DEFAULT '',
  run INTEGER NOT NULL DEFAULT 0,
  body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_owner ON jobs (owner, created);
CREATE INDEX IF NOT EXISTS jobs_status ON jobs (status, queued);
CREATE TABLE IF NOT EXISTS processes (
  owner TEXT NOT NULL,
  id TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (owner, id)
);
PRAGMA user_version = 1;
"""


def now() -> str:
    """The present instant, RFC 3339 with milliseconds."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class StoredJob:
    """One batch job.

    :param run: number of the last start; each start has a folder of its own.
    :param body: title, description, process, log_level, job_options, error, usage.
    """

    id: str
    owner: str
    slug: str
    vo: str
    status: str = "created"
    created: str = ""
    updated: str = ""
    queued: str = ""
    run: int = 0
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Whether it waits or runs, and so must not be changed."""
        return self.status in ACTIVE


def new_job_id() -> str:
    """``j-YYMMDDHHMMSS`` and 64 random bits: sorts by time, cannot be guessed."""
    return f"j-{dt.datetime.now(dt.UTC):%y%m%d%H%M%S}{secrets.token_hex(8)}"


class Store:
    """The table of jobs. Calls are short; they may come from any thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, timeout=10)
        path.chmod(0o600)
        self._db.row_factory = sqlite3.Row
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._db:
            yield self._db

    @staticmethod
    def _job(row: sqlite3.Row) -> StoredJob:
        values = dict(row)
        values["body"] = json.loads(values["body"])
        return StoredJob(**values)

    def add(self, job: StoredJob) -> None:
        """Store a new job."""
        job.created = job.updated = now()
        with self._transaction() as db:
            db.execute(
                "INSERT INTO jobs"
                " (id, owner, slug, vo, status, created, updated, queued, run, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job.id,
                    job.owner,
                    job.slug,
                    job.vo,
                    job.status,
                    job.created,
                    job.updated,
                    job.queued,
                    job.run,
                    json.dumps(job.body),
                ),
            )

    def save(self, job: StoredJob, expected: tuple[str, ...] | None = None) -> bool:
        """Write a job back.

        :param expected: only if its stored status is one of these; else nothing changes.
        :returns: whether it was written.
        """
        job.updated = now()
        query = "UPDATE jobs SET status=?, updated=?, queued=?, run=?, vo=?, body=? WHERE id=?"
        values: list[Any] = [
            job.status,
            job.updated,
            job.queued,
            job.run,
            job.vo,
            json.dumps(job.body),
            job.id,
        ]
        if expected is not None:
            query += f" AND status IN ({','.join('?' * len(expected))})"
            values += expected
        with self._transaction() as db:
            return db.execute(query, values).rowcount == 1

    def remove(self, identifier: str) -> None:
        """Forget a job."""
        with self._transaction() as db:
            db.execute("DELETE FROM jobs WHERE id=?", (identifier,))

    def get(self, identifier: str) -> StoredJob | None:
        """A job, whoever owns it."""
        with self._transaction() as db:
            row = db.execute("SELECT * FROM jobs WHERE id=?", (identifier,)).fetchone()
        return self._job(row) if row else None

    def owned(self, identifier: str, owner: str) -> StoredJob:
        """A job of this owner.

        :raises OpenEOError: JobNotFound, for another's job as for none.
        """
        job = self.get(identifier)
        if job is None or job.owner != owner:
            raise OpenEOError("JobNotFound", f"The batch job '{identifier}' does not exist.")
        return job

    def page(self, owner: str, limit: int, before: tuple[str, str] | None) -> list[StoredJob]:
        """Jobs of an owner, newest first.

        :param before: (created, id) of the last job of the page before.
        """
        query, values = "SELECT * FROM jobs WHERE owner=?", [owner]
        if before is not None:
            query += " AND (created, id) < (?, ?)"
            values += list(before)
        query += " ORDER BY created DESC, id DESC LIMIT ?"
        with self._transaction() as db:
            rows = db.execute(query, (*values, limit)).fetchall()
        return [self._job(row) for row in rows]

    def with_status(self, status: str) -> list[StoredJob]:
        """Jobs of a status, the longest waiting first."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT * FROM jobs WHERE status=? ORDER BY queued, created", (status,)
            ).fetchall()
        return [self._job(row) for row in rows]

    # --- user-defined processes -----------------------------------------------------------------

    def put_process(self, owner: str, identifier: str, body: dict[str, Any]) -> None:
        """Store or replace a user-defined process."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO processes (owner, id, body) VALUES (?, ?, ?)"
                " ON CONFLICT (owner, id) DO UPDATE SET body=excluded.body",
                (owner, identifier, json.dumps(body)),
            )

    def processes(self, owner: str) -> list[dict[str, Any]]:
        """All user-defined processes of an owner, by id."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT body FROM processes WHERE owner=? ORDER BY id", (owner,)
            ).fetchall()
        return [json.loads(row["body"]) for row in rows]

    def remove_process(self, owner: str, identifier: str) -> bool:
        """Forget a user-defined process; False when there was none."""
        with self._transaction() as db:
            cursor = db.execute("DELETE FROM processes WHERE owner=? AND id=?", (owner, identifier))
            return cursor.rowcount == 1
