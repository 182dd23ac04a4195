"""Jobs, their logs and the engines' notes, in one SQLite file, without credentials.

Every change of a job takes the next number of one counter, its *revision*, so a reader asks for
what changed since the last one it saw. Several processes may have the file open; one of them at a
time holds the lease to run the jobs.

All methods block and are safe in threads; async callers use :meth:`JobStore.ask`.
"""

from __future__ import annotations

import builtins
import json
import secrets
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from cscale_core.errors import Conflict, NotFound
from cscale_core.jobs.model import (
    Job,
    JobChanges,
    JobSpec,
    JobStatus,
    LogLine,
    Phase,
    utc_now,
)
from cscale_core.jobs.store import holding, logs
from cscale_core.jobs.store.file import ListFile
from cscale_core.jobs.store.holding import LeaseRow
from cscale_core.jobs.store.logs import LogEntry
from cscale_core.jobs.store.rows import APART, COLUMNS, changed

#: Marks of deletions kept; who asks for an older revision gets the whole list.
DELETION_MARKS = 1_000


def not_ended(job: Job) -> Conflict:
    """Why a job cannot be deleted."""
    return Conflict(f"Job {job.id} is {job.status}.", hint="Cancel it first, then delete it.")


def new_id() -> str:
    """An id that sorts by time and is safe in paths, URLs and object keys."""
    return f"j-{datetime.now(UTC):%y%m%d%H%M%S}-{secrets.token_hex(4)}"


class JobStore(ListFile):
    """Jobs, their logs and the engines' notes."""

    @staticmethod
    def _next_revision(connection: sqlite3.Connection) -> int:
        connection.execute("UPDATE counter SET revision = revision + 1")
        revision: int = connection.execute("SELECT revision FROM counter").fetchone()[0]
        return revision

    def _find(self, connection: sqlite3.Connection, identifier: str) -> Job:
        row = connection.execute(
            f"SELECT {COLUMNS} FROM jobs WHERE id = ?",  # noqa: S608 - constant columns
            (identifier,),
        ).fetchone()
        if row is None:
            raise NotFound(f"There is no job {identifier}.")
        return self._parsed.job(row)

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
                    job.model_dump_json(exclude=APART),
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
            f"SELECT {COLUMNS}, asked FROM jobs WHERE idempotency_key = ?",  # noqa: S608
            (key or None,),
        ).fetchone()
        if row is None:
            return None
        job = self._parsed.job(row[:-1])
        # A job of version 1 has no fingerprint.
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
            f"SELECT {COLUMNS} FROM jobs WHERE publishes = ? ORDER BY revision DESC",  # noqa: S608
            (job_id,),
        )
        jobs = map(self._parsed.job, rows)
        return next(
            (job for job in jobs if not job.status.ended or job.status == JobStatus.FINISHED), None
        )

    def get(self, identifier: str) -> Job:
        """One job.

        :raises NotFound: when there is none.
        """
        with self._transaction(write=False) as connection:
            return self._find(connection, identifier)

    def with_state(self, identifier: str) -> tuple[Job, dict[str, Any]]:
        """One job and what its engine noted of it, as of one moment.

        :raises NotFound: when there is none.
        """
        with self._transaction(write=False) as connection:
            return self._find(connection, identifier), self._state(connection, identifier)

    def list(self, since: int = 0) -> builtins.list[Job]:
        """Jobs that changed after a revision, the latest change last; all for 0."""
        with self._transaction(write=False) as connection:
            return self._parsed.after(connection, since)

    def revisions(self) -> tuple[int, dict[str, int]]:
        """The revision of the list, and of each job. No job is parsed."""
        with self._transaction(write=False) as connection:
            revision: int = connection.execute("SELECT revision FROM counter").fetchone()[0]
            return revision, dict(connection.execute("SELECT id, revision FROM jobs"))

    def open_jobs(self) -> builtins.list[Job]:
        """Jobs that have not ended, the latest change last."""
        ended = json.dumps([status.value for status in JobStatus if status.ended])
        with self._transaction(write=False) as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM jobs"  # noqa: S608 - constant columns
                " WHERE status NOT IN (SELECT value FROM json_each(?)) ORDER BY revision",
                (ended,),
            ).fetchall()
            return [self._parsed.job(row) for row in rows]

    def changes(self, since: int = 0) -> JobChanges:
        """What changed after a revision; see :class:`JobChanges`."""
        with self._transaction(write=False) as connection:
            revision, forgotten = connection.execute(
                "SELECT revision, forgotten FROM counter"
            ).fetchone()
            if since == revision > 0:
                return JobChanges(jobs=[], revision=revision)
            whole = since <= 0 or since < forgotten or since > revision
            jobs = self._parsed.after(connection, 0 if whole else since)
            marks = connection.execute(
                "SELECT job_id FROM deleted WHERE revision > ? ORDER BY revision", (since,)
            )
            deleted = [] if whole else [row[0] for row in marks]
        # The jobs are as they were read: checking them again is the dearest part of a long list.
        return JobChanges.model_construct(
            jobs=jobs, deleted=deleted, revision=revision, whole=whole
        )

    def want(self, identifier: str, wish: Literal["", "cancel", "pause"], message: str) -> Job:
        """Note what the user wants of a job that has not ended.

        :raises NotFound: when there is none.
        :raises Conflict: when it has ended.
        """
        with self._transaction(write=True) as connection:
            job = self._find(connection, identifier)
            if job.status.ended:
                raise Conflict(f"Job {identifier} has ended as {job.status}.")
            return self._write(connection, job, {"wanted": wish, "message": message})

    def resume(self, identifier: str) -> Job:
        """Take back the wish that a job rests, and let one that rests wait for its turn.

        :raises NotFound: when there is none.
        :raises Conflict: when it neither rests nor is about to.
        """
        with self._transaction(write=True) as connection:
            job = self._find(connection, identifier)
            resting = job.status == JobStatus.PAUSED
            if job.wanted == "cancel" or not (resting or job.wanted == "pause"):
                state = "being canceled" if job.wanted == "cancel" else job.status.value
                raise Conflict(f"Job {identifier} is {state}; only a paused job can go on.")
            changes: dict[str, Any] = {"wanted": "", "message": "going on"}
            if resting:
                changes["status"] = JobStatus.QUEUED
            return self._write(connection, job, changes)

    def rest(self, identifier: str, message: str, *, asked: bool, holder: str = "") -> Job:
        """Write that a job rests.

        :param asked: it was asked to; when that was taken back, or it shall end, it is queued.
        :raises LeaseLost: when another than ``holder`` holds the lease.
        """
        with self._transaction(write=True, holder=holder) as connection:
            job = self._find(connection, identifier)
            if job.wanted == "cancel" or (asked and job.wanted != "pause"):
                return self._write(connection, job, {"status": JobStatus.QUEUED})
            logs.append(connection, identifier, [(utc_now(), "info", message)])
            changes = {"status": JobStatus.PAUSED, "wanted": "", "message": message}
            return self._write(connection, job, changes)

    def update(
        self,
        identifier: str,
        *,
        lines: Iterable[LogEntry] = (),
        holder: str = "",
        **changes: Any,
    ) -> Job:
        """Change members of a job; the revision grows unless nothing changes.

        An ended job keeps its status. ``started``, ``ended`` and ``phases`` follow the status.

        :param lines: of its log, in the same transaction.
        :param holder: what must hold the lease.
        :raises NotFound: when there is none.
        :raises Conflict: when the status of an ended job would change.
        :raises LeaseLost: when another holds the lease.
        """
        with self._transaction(write=True, holder=holder) as connection:
            old = self._find(connection, identifier)
            status = JobStatus(changes.get("status", old.status))
            if old.status.ended and status != old.status:
                raise Conflict(f"Job {identifier} has ended as {old.status}.")
            logs.append(connection, identifier, lines)
            return self._write(connection, old, changes)

    def _write(self, connection: sqlite3.Connection, old: Job, changes: dict[str, Any]) -> Job:
        now = utc_now()
        job = changed(old, changes, now)
        if job == old:
            return old
        job.revision = self._next_revision(connection)
        job.updated = max(now, old.updated)
        connection.execute(
            "UPDATE jobs SET revision = ?, status = ?, document = ? WHERE id = ?",
            (job.revision, job.status, job.model_dump_json(exclude=APART), job.id),
        )
        if job.results != old.results:
            connection.execute(
                "UPDATE jobs SET results = ? WHERE id = ?", (json.dumps(job.results), job.id)
            )
        return job

    def delete(self, identifier: str) -> Job:
        """Remove an ended job and its log; the job as it was, with the revision of its deletion.

        :raises NotFound: when there is none.
        :raises Conflict: when it has not ended.
        """
        with self._transaction(write=True) as connection:
            job = self._find(connection, identifier)
            if not job.status.ended:
                raise not_ended(job)
            revision = self._next_revision(connection)
            connection.execute("DELETE FROM jobs WHERE id = ?", (identifier,))
            connection.execute("DELETE FROM attended WHERE job_id = ?", (identifier,))
            connection.execute("INSERT INTO deleted VALUES (?, ?)", (revision, identifier))
            beyond = connection.execute(
                "SELECT revision FROM deleted ORDER BY revision DESC LIMIT 1 OFFSET ?",
                (DELETION_MARKS,),
            ).fetchone()
            if beyond is not None:
                connection.execute("DELETE FROM deleted WHERE revision <= ?", beyond)
                connection.execute("UPDATE counter SET forgotten = ?", beyond)
            self._parsed.drop(identifier)
        return job.model_copy(update={"revision": revision})

    # -- engines' notes ------------------------------------------------------------------------

    def state(self, identifier: str) -> dict[str, Any]:
        """What the engine noted of a job (cursors, markers). Not part of the job, no revision.

        :raises NotFound: when there is no such job.
        """
        with self._transaction(write=False) as connection:
            return self._state(connection, identifier)

    @staticmethod
    def _state(connection: sqlite3.Connection, identifier: str) -> dict[str, Any]:
        row = connection.execute("SELECT state FROM jobs WHERE id = ?", (identifier,)).fetchone()
        if row is None:
            raise NotFound(f"There is no job {identifier}.")
        state: dict[str, Any] = json.loads(row[0])
        return state

    def set_state(self, identifier: str, state: dict[str, Any], holder: str = "") -> None:
        """Replace the engine's notes.

        :raises LeaseLost: when another than ``holder`` holds the lease.
        """
        with self._transaction(write=True, holder=holder) as connection:
            self._set_state(connection, identifier, state)

    @staticmethod
    def _set_state(connection: sqlite3.Connection, identifier: str, state: dict[str, Any]) -> None:
        connection.execute(
            "UPDATE jobs SET state = ? WHERE id = ?", (json.dumps(state), identifier)
        )

    # -- logs ----------------------------------------------------------------------------------

    def append_logs(
        self,
        identifier: str,
        lines: Iterable[LogEntry],
        state: dict[str, Any] | None = None,
        holder: str = "",
    ) -> None:
        """Add (time, level, message) lines; those of a job that was deleted are dropped.

        :param state: replaces the engine's notes in the same transaction.
        :raises LeaseLost: when another than ``holder`` holds the lease.
        """
        with self._transaction(write=True, holder=holder) as connection:
            if not connection.execute("SELECT 1 FROM jobs WHERE id = ?", (identifier,)).fetchone():
                return
            if state is not None:
                self._set_state(connection, identifier, state)
            logs.append(connection, identifier, lines)

    def logs(
        self, identifier: str, after: int = 0, limit: int = 500, level: str = "debug"
    ) -> builtins.list[LogLine]:
        """Lines after a cursor, oldest first.

        :param level: the least that is given.
        :raises NotFound: when there is no such job.
        :raises InvalidInput: when there is no such level.
        """
        with self._transaction(write=False) as connection:
            self._find(connection, identifier)
            return logs.read(connection, identifier, after, limit, level)

    def attend(self, identifier: str) -> None:
        """Note that somebody reads a job's log, for the server that runs the job."""
        with self._transaction(write=True) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO attended VALUES"
                " (?1, coalesce((SELECT counter FROM attended WHERE job_id = ?1), 0) + 1)",
                (identifier,),
            )

    def attended(self) -> dict[str, int]:
        """How often that was noted, by job."""
        with self._transaction(write=False) as connection:
            return dict(connection.execute("SELECT job_id, counter FROM attended"))

    # -- the lease -----------------------------------------------------------------------------

    def lease(self) -> LeaseRow | None:
        """Who holds the lease to run the jobs; None: nobody."""
        with self._transaction(write=False) as connection:
            return holding.read(connection)

    def take_lease(self, token: str, process: str, seen: LeaseRow | None) -> bool:
        """Take the lease, unless something happened to it since it was seen."""
        with self._transaction(write=True) as connection:
            return holding.take(connection, token, process, seen)

    def renew_lease(self, token: str) -> bool:
        """Show that the holder lives; False when another holds the lease."""
        with self._transaction(write=True) as connection:
            return holding.renew(connection, token)

    def release_lease(self, token: str) -> None:
        """Let another server have the lease."""
        with self._transaction(write=True) as connection:
            holding.release(connection, token)
