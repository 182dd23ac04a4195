"""Notices of jobs that have ended, kept until somebody has seen them.

Who was away when a job ended is told at the next visit. Everything blocks; callers use threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, Field

from cscale_core.catalog.interval import format_time
from cscale_core.jobs.model import EngineName, Job, JobStatus
from cscale_core.saved.file import SavedFile

#: Whoever cancels a job knows that it has ended.
TOLD = frozenset({JobStatus.FINISHED, JobStatus.ERROR, JobStatus.LOST})
MOST = 500
"""Notices that are kept; the oldest go first."""

_LENGTH = 300


class Notice(BaseModel):
    """A job has ended."""

    job: str
    title: str
    engine: EngineName
    status: JobStatus
    message: str = Field(description="How it ended, in one sentence.")
    hint: str = Field(description="What can be done; empty when nothing has to be.")
    results: int = Field(description="Result items.")
    ended: datetime
    seen: bool = False


def notice_of(job: Job) -> Notice | None:
    """The notice of a job; None when nobody is told of it."""
    if job.status not in TOLD or job.ended is None:
        return None
    error = job.error
    return Notice(
        job=job.id,
        title=job.spec.title,
        engine=job.spec.engine,
        status=job.status,
        message=(error.message if error else job.message)[:_LENGTH],
        hint=(error.hint if error else "")[:_LENGTH],
        results=len(job.results),
        ended=job.ended,
    )


class NoticeStore:
    """The notices of one person."""

    def __init__(self, file: SavedFile) -> None:
        self._file = file

    def add(self, notice: Notice) -> bool:
        """Keep a notice; whether it is to be told, which it is until it was seen."""
        with self._file.transaction(write=True) as file:
            known = file.execute("SELECT seen FROM notices WHERE job = ?", (notice.job,)).fetchone()
            if known is not None:
                return not known["seen"]
            file.execute(
                "INSERT INTO notices VALUES (?, ?, ?, 0)",
                (notice.job, notice.model_dump_json(), format_time(notice.ended)),
            )
            file.execute(
                "DELETE FROM notices WHERE job NOT IN "
                "(SELECT job FROM notices ORDER BY ended DESC, job LIMIT ?)",
                (MOST,),
            )
        return True

    def list(self, *, unseen: bool = False) -> list[Notice]:
        """All notices, or those that nobody has seen, the latest first."""
        with self._file.transaction() as file:
            rows = file.execute("SELECT * FROM notices ORDER BY ended DESC, job").fetchall()
        return [
            Notice.model_validate_json(row["body"]).model_copy(update={"seen": bool(row["seen"])})
            for row in rows
            if not (unseen and row["seen"])
        ]

    def see(self, jobs: Sequence[str]) -> None:
        """Somebody has seen the notices of these jobs; a job that has none does not matter."""
        with self._file.transaction(write=True) as file:
            file.executemany("UPDATE notices SET seen = 1 WHERE job = ?", [(job,) for job in jobs])

    def remove(self, job: str) -> None:
        """The job is not in the list any more."""
        with self._file.transaction(write=True) as file:
            file.execute("DELETE FROM notices WHERE job = ?", (job,))
