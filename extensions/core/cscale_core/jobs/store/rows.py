"""Rows of the table of jobs, and the jobs that they are.

A job that was parsed once is kept by its revision, within a bound, so that a list of a thousand
is read again without parsing it.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from cscale_core.jobs.model import Job, JobStatus, Phase

_logger = logging.getLogger(__name__)

COLUMNS = "id, revision, spec, results, document"

#: Large members with columns of their own: progress does not rewrite megabytes of items.
APART = {"spec", "results"}

#: Characters of JSON whose jobs are kept parsed.
KEPT = 64 * 2**20

_CHUNK = 500
_MEMBERS = frozenset(Job.model_fields)


class ParsedJobs:
    """Jobs of rows; each is parsed once a revision while there is room to keep it."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, tuple[Job, int]] = OrderedDict()
        self._size = 0

    def job(self, row: Sequence[Any]) -> Job:
        """The job of a row of :data:`COLUMNS`. It is shared: nobody may change it."""
        identifier, revision, spec, results, document = row
        kept = self._jobs.get(identifier)
        if kept is not None and kept[0].revision == revision:
            self._jobs.move_to_end(identifier)
            return kept[0]
        members = {name: value for name, value in json.loads(document).items() if name in _MEMBERS}
        job = Job.model_validate(
            {**members, "spec": json.loads(spec), "results": json.loads(results)}
        )
        self.drop(identifier)
        size = len(spec) + len(results) + len(document)
        self._jobs[identifier] = (job, size)
        self._size += size
        while self._size > KEPT and len(self._jobs) > 1:
            self.drop(next(iter(self._jobs)))
        return job

    def drop(self, identifier: str) -> None:
        """Forget a job."""
        kept = self._jobs.pop(identifier, None)
        if kept is not None:
            self._size -= kept[1]

    def all(self) -> list[Job]:
        """What is kept."""
        return [job for job, _ in self._jobs.values()]

    def clear(self) -> None:
        """Forget everything."""
        self._jobs.clear()
        self._size = 0

    def after(self, connection: sqlite3.Connection, revision: int) -> list[Job]:
        """Jobs that changed after a revision, the latest change last.

        A job that cannot be understood (of a newer version) is left out and named in the log.
        """
        found = connection.execute(
            "SELECT id, revision FROM jobs WHERE revision > ? ORDER BY revision", (revision,)
        ).fetchall()
        jobs: dict[str, Job] = {}
        absent = []
        for identifier, number in found:
            kept = self._jobs.get(identifier)
            if kept is not None and kept[0].revision == number:
                jobs[identifier] = kept[0]
            else:
                absent.append(identifier)
        for row in _rows(connection, absent):
            try:
                jobs[row[0]] = self.job(row)
            except (ValueError, ValidationError) as error:
                _logger.warning("job %s is not understood: %s", row[0], error)
        return [jobs[identifier] for identifier, _ in found if identifier in jobs]


def _rows(connection: sqlite3.Connection, identifiers: list[str]) -> Iterable[Sequence[Any]]:
    for start in range(0, len(identifiers), _CHUNK):
        chosen = json.dumps(identifiers[start : start + _CHUNK])
        yield from connection.execute(
            f"SELECT {COLUMNS} FROM jobs WHERE id IN (SELECT value FROM json_each(?))",  # noqa: S608 - constant columns
            (chosen,),
        )


def changed(old: Job, changes: dict[str, Any], now: datetime) -> Job:
    """A job with members changed; its revision and ``updated`` are still the old ones.

    ``started``, ``ended`` and ``phases`` follow the status. No time is before an earlier one of
    the job: a clock that was set back, here or at a back end, makes no duration negative.
    """
    status = JobStatus(changes.get("status", old.status))
    now = max(now, old.updated, *(phase.since for phase in old.phases))
    changes = {**changes, "status": status}
    if status == JobStatus.RUNNING and old.started is None:
        changes.setdefault("started", now)
    if status.ended and old.ended is None:
        changes.setdefault("ended", now)
    if status != old.status:
        changes["phases"] = [*old.phases, Phase(status=status, since=now)]
    if status.ended:
        changes["wanted"] = ""
    kept = {name: getattr(old, name) for name in Job.model_fields}
    job = Job.model_validate({**kept, **changes})
    if job.started is not None:
        job.started = max(job.started, job.created)
    if job.ended is not None:
        job.ended = max(job.ended, job.started or job.created)
    return job
