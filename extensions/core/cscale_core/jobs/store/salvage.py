"""What can be read of a damaged job list, joined with its backups and what was still in memory.

The damaged file is read and never written. Of a job that several sources have, the one with the
highest revision is taken. A job that only a backup has is taken too, unless the damaged list still
says that it was deleted: a job too many can be deleted, one too few is lost.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cscale_core.jobs.model import Job
from cscale_core.jobs.store.rows import APART
from cscale_core.jobs.store.schema import completed, migrate

_logger = logging.getLogger(__name__)

#: Numbers of rows tried in vain, one after the other, before it is thought that none follow.
_GAP = 20_000

_JOB_COLUMNS = (
    "id",
    "revision",
    "status",
    "idempotency_key",
    "spec",
    "results",
    "state",
    "document",
    "asked",
    "publishes",
)

LogRow = tuple[int, str, str, str]


@dataclass
class Salvage:
    """Rows of jobs by id, their log lines, and what is known of deletions."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, list[LogRow]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    revision: int = 0

    def join(self, other: Salvage) -> int:
        """Take what another has more, or newer; returns how many jobs only it has."""
        added = 0
        for identifier, row in other.jobs.items():
            mine = self.jobs.get(identifier)
            if mine is None and identifier not in self.deleted:
                added += 1
            elif mine is None or mine["revision"] >= row["revision"]:
                continue
            self.jobs[identifier] = row
        for identifier, lines in other.logs.items():
            known = {line[0]: line for line in lines}
            known.update({line[0]: line for line in self.logs.get(identifier, [])})
            self.logs[identifier] = [known[number] for number in sorted(known)]
        self.deleted |= other.deleted
        self.revision = max(self.revision, other.revision)
        return added

    def remember(self, jobs: Iterable[Job]) -> None:
        """Take what was in memory where it is newer."""
        seen = Salvage()
        for job in jobs:
            mine = self.jobs.get(job.id, {})
            seen.jobs[job.id] = {
                "asked": None,
                "publishes": None,
                "state": "{}",
                **mine,
                "id": job.id,
                "revision": job.revision,
                "status": job.status.value,
                "idempotency_key": job.idempotency_key or None,
                "spec": job.spec.model_dump_json(),
                "results": json.dumps(job.results),
                "document": job.model_dump_json(exclude=APART),
            }
            seen.revision = max(seen.revision, job.revision)
        self.join(seen)


def read_open(source: sqlite3.Connection) -> Salvage:
    """The same of a file that is open: one that may not be written, or of a newer version."""
    found = Salvage()
    _read(source, found)
    return found


def read_file(path: Path, *, first_page_of: Path | None = None) -> Salvage:
    """Read row by row what can be read of a file, whatever is the matter with it.

    :param first_page_of: a backup, whose first page (which says where the tables are) is tried
        where the file's own is no use.
    """
    found = Salvage()
    try:
        # Immutable: no lock is asked for and no journal played back, so nothing is written.
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as source:
            _read(source, found)
    except sqlite3.Error as error:
        _logger.warning("job list %s: %s", path, error)
    if not found.jobs and first_page_of is not None:
        try:
            with closing(sqlite3.connect(":memory:")) as source:
                source.deserialize(_with_first_page(path, first_page_of))
                _read(source, found)
        except (OSError, sqlite3.Error, OverflowError, MemoryError) as error:
            _logger.warning("job list %s with the first page of a backup: %s", path, error)
    return found


def in_memory(found: Salvage) -> sqlite3.Connection:
    """A list of this version in memory with what was found."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    migrate(connection)
    connection.execute("BEGIN")
    keys: set[str] = set()
    # The latest first: of two jobs under one key or one revision, it keeps them.
    numbers: set[int] = set()
    spare = found.revision
    for row in sorted(found.jobs.values(), key=lambda row: -row["revision"]):
        values = dict(row)
        document = completed(json.loads(values["document"]), json.loads(values["state"]))
        values["document"] = json.dumps(document)
        if values["idempotency_key"] in keys:
            values["idempotency_key"] = None
        if values["revision"] in numbers:
            spare += 1
            values["revision"] = spare
        numbers.add(values["revision"])
        keys.add(values["idempotency_key"] or "")
        connection.execute(
            f"INSERT INTO jobs ({', '.join(_JOB_COLUMNS)})"  # noqa: S608 - constant columns
            f" VALUES ({', '.join('?' * len(_JOB_COLUMNS))})",
            [values[name] for name in _JOB_COLUMNS],
        )
        connection.executemany(
            "INSERT INTO logs VALUES (?, ?, ?, ?, ?)",
            [(row["id"], *line) for line in found.logs.get(row["id"], [])],
        )
    connection.execute("UPDATE counter SET revision = ?, forgotten = ?", (spare, spare))
    connection.execute("COMMIT")
    return connection


def _with_first_page(path: Path, backup: Path) -> bytes:
    with backup.open("rb") as file:
        head = file.read(100)
        size = int.from_bytes(head[16:18], "big")
        size = 65536 if size == 1 else size
        file.seek(0)
        page = file.read(size)
    data = bytearray(path.read_bytes())
    data[: len(page)] = page
    # How many pages there are is the file's own business.
    data[28:32] = (len(data) // size).to_bytes(4, "big")
    return bytes(data)


def _read(source: sqlite3.Connection, found: Salvage) -> None:
    known = {row[1] for row in source.execute("PRAGMA table_info(jobs)")}
    names = [name for name in _JOB_COLUMNS if name in known]
    for row in _table(source, "jobs", ", ".join(names)):
        values: dict[str, Any] = dict.fromkeys(_JOB_COLUMNS)
        values.update(zip(names, row, strict=True))
        if _sound(values):
            found.jobs[values["id"]] = values
            found.revision = max(found.revision, values["revision"])
    for identifier in found.jobs:
        found.logs[identifier] = _log(source, identifier)
    for (revision,) in _all(source, "SELECT revision FROM counter"):
        if isinstance(revision, int):
            found.revision = max(found.revision, revision)
    found.deleted = {
        row[0] for row in _all(source, "SELECT job_id FROM deleted") if isinstance(row[0], str)
    }


def _sound(values: dict[str, Any]) -> bool:
    """Whether a row is one: what lies in a damaged page may be anything."""
    if not isinstance(values["revision"], int):
        return False
    try:
        for name in ("spec", "results", "state", "document"):
            json.loads(values[name])
    except (TypeError, ValueError):
        return False
    return bool(json.loads(values["document"]).get("id") == values["id"])


def _table(source: sqlite3.Connection, table: str, columns: str) -> Iterator[Sequence[Any]]:
    """Rows of a table: from the front as far as it goes, then one by one over the gaps."""
    query = f"SELECT rowid, {columns} FROM {table} NOT INDEXED WHERE rowid"  # noqa: S608
    last = 0
    misses = 0
    while misses < _GAP:
        try:
            for row in source.execute(f"{query} > ? ORDER BY rowid", (last,)):
                last, misses = row[0], 0
                yield row[1:]
            return
        except (sqlite3.Error, UnicodeDecodeError, OverflowError):
            last += 1
            misses += 1
        while misses < _GAP:
            try:
                row = source.execute(f"{query} = ?", (last,)).fetchone()
            except (sqlite3.Error, UnicodeDecodeError, OverflowError):
                row = None
            if row is not None:
                misses = 0
                yield row[1:]
                break
            last += 1
            misses += 1


def _log(source: sqlite3.Connection, identifier: str) -> list[LogRow]:
    """The lines of a job from both ends, up to what is damaged between."""
    lines: dict[int, LogRow] = {}
    for order in ("ASC", "DESC"):
        query = f"SELECT id, time, level, message FROM logs WHERE job_id = ? ORDER BY id {order}"  # noqa: S608
        lines.update((row[0], row) for row in _all(source, query, (identifier,)))
    return [lines[number] for number in sorted(lines)]


def _all(
    source: sqlite3.Connection, query: str, values: Sequence[Any] = ()
) -> Iterator[tuple[Any, ...]]:
    try:
        yield from source.execute(query, values)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        _logger.debug("of the job list: %s", error)
