"""The tables of the job list, and how a file of an earlier version becomes one of this.

Migrations only add: no column that a released version wrote is changed or dropped.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

# One entry a version, never changed after a release; PRAGMA user_version counts those applied.
_SCRIPTS = (
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
    CREATE INDEX jobs_status ON jobs (status);
    CREATE TABLE deleted (revision INTEGER PRIMARY KEY, job_id TEXT NOT NULL);
    CREATE TABLE lease (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        token TEXT NOT NULL,
        process TEXT NOT NULL,
        counter INTEGER NOT NULL
    );
    CREATE TABLE attended (job_id TEXT PRIMARY KEY, counter INTEGER NOT NULL);
    """,
)

VERSION = len(_SCRIPTS)


def version_of(connection: sqlite3.Connection) -> int:
    """The version of an open file; 0: it is empty."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(connection: sqlite3.Connection) -> None:
    """Bring an open file to this version, in one transaction. A newer one is left as it is."""
    if version_of(connection) >= VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")  # of two that start at once, one migrates
    try:
        for version in range(version_of(connection), VERSION):
            for statement in filter(str.strip, _SCRIPTS[version].split(";")):
                connection.execute(statement)
            fill = _FILLS.get(version + 1)
            if fill is not None:
                fill(connection)
            connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def completed(document: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """A job's document with what version 1 did not keep.

    It kept no phases, and the wish to cancel among the engine's notes.
    """
    if "phases" in document:
        return document
    phases = [{"status": "created", "since": document["created"]}]
    if document.get("started"):
        phases.append({"status": "running", "since": document["started"]})
    if document["status"] != phases[-1]["status"]:
        since = document.get("ended") or document["updated"]
        phases.append({"status": document["status"], "since": since})
    wanted = "cancel" if state.get("cancel") and not document.get("ended") else ""
    return {**document, "phases": phases, "wanted": wanted}


def _complete(connection: sqlite3.Connection) -> None:
    rows = connection.execute("SELECT id, state, document FROM jobs").fetchall()
    for identifier, state, document in rows:
        whole = completed(json.loads(document), json.loads(state))
        connection.execute(
            "UPDATE jobs SET document = ? WHERE id = ?", (json.dumps(whole), identifier)
        )


_FILLS: dict[int, Callable[[sqlite3.Connection], None]] = {2: _complete}
