"""The row that says which server of the user runs the jobs."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from cscale_core.jobs.store.trouble import LeaseLost


@dataclass(frozen=True)
class LeaseRow:
    """Who runs the jobs: a token of the server, a description of its process, and its pulse."""

    token: str
    process: str
    counter: int


def read(connection: sqlite3.Connection) -> LeaseRow | None:
    """The row; None while nobody holds the lease."""
    row = connection.execute("SELECT token, process, counter FROM lease").fetchone()
    return LeaseRow(*row) if row is not None and row[0] else None


def take(connection: sqlite3.Connection, token: str, process: str, seen: LeaseRow | None) -> bool:
    """Become the holder, unless anything happened to the row since it was seen."""
    if read(connection) != seen:
        return False
    connection.execute(
        "INSERT OR REPLACE INTO lease VALUES"
        " (1, ?, ?, coalesce((SELECT counter FROM lease), 0) + 1)",
        (token, process),
    )
    return True


def renew(connection: sqlite3.Connection, token: str) -> bool:
    """One more beat of the pulse; False when another holds the lease."""
    beaten = connection.execute("UPDATE lease SET counter = counter + 1 WHERE token = ?", (token,))
    return beaten.rowcount == 1


def release(connection: sqlite3.Connection, token: str) -> None:
    """Let another have it."""
    connection.execute("UPDATE lease SET token = '' WHERE token = ?", (token,))


def require(connection: sqlite3.Connection, token: str) -> None:
    """Refuse what a task wants to write whose server no longer holds the lease.

    :raises LeaseLost: when another holds it.
    """
    row = read(connection)
    if row is None or row.token != token:
        raise LeaseLost(
            "Another server of yours runs the jobs now.",
            hint="It follows them from where they are; nothing was lost.",
            retryable=True,
        )
