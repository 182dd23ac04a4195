"""Log lines of jobs, in an open list: bounded, read by cursor and by level."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import datetime

from cscale_core.errors import InvalidInput
from cscale_core.jobs.model import LogLine

#: Lines kept of one job's log; the oldest go first.
LOG_LINES = 5_000
#: Characters kept of one line.
LOG_LINE_LENGTH = 8_000
#: From the least to the most.
LEVELS = ("debug", "info", "warning", "error")

LogEntry = tuple[datetime, str, str]


def append(connection: sqlite3.Connection, identifier: str, lines: Iterable[LogEntry]) -> None:
    """Add (time, level, message) lines; the oldest beyond :data:`LOG_LINES` go."""
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
        "DELETE FROM logs WHERE job_id = ? AND id <= ?", (identifier, last + len(rows) - LOG_LINES)
    )


def read(
    connection: sqlite3.Connection, identifier: str, after: int, limit: int, level: str
) -> list[LogLine]:
    """Lines after a cursor, oldest first.

    :param level: the least that is given.
    :raises InvalidInput: when there is no such level.
    """
    if level not in LEVELS:
        raise InvalidInput(f"There is no level {level!r}.", hint=f"Known: {', '.join(LEVELS)}.")
    rows = connection.execute(
        "SELECT id, time, level, message FROM logs WHERE job_id = ? AND id > ?"
        " AND level IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT ?",
        (identifier, after, json.dumps(LEVELS[LEVELS.index(level) :]), limit),
    )
    return [
        LogLine.model_validate({"id": row[0], "time": row[1], "level": row[2], "message": row[3]})
        for row in rows
    ]


def _shortened(message: str) -> str:
    if len(message) <= LOG_LINE_LENGTH:
        return message
    return message[:LOG_LINE_LENGTH] + f" … ({len(message)} characters)"
