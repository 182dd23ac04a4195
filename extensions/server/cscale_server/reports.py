"""Tells the hub of jobs that have ended, for the accounting of the virtual organisation.

Titles, inputs and results stay here: the hub learns the engine, the VO, the times and the CPU
seconds of a job. What was told is noted by revision of the list, so that jobs which ended while
this server was off, or while the hub did not answer, are told later; the hub takes each once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from cscale_core.errors import CScaleError
from cscale_core.jobs.measured import cpu_seconds
from cscale_core.jobs.model import Job, JobChanges

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
BATCH = 100
# The hub does not know the address, or this server may not use it: asking again changes nothing.
_NEVER = frozenset({401, 403, 404, 405})


class HubUnreachable(Exception):
    """The hub did not take what was told; it is told again."""


class JobReports:
    """The reports of one server.

    :param changes: what changed in the list of jobs after a revision.
    :param url: where the hub takes reports.
    :param note: the file that holds the revision up to which the hub was told.
    :param default_vo: the VO of jobs that name none.
    """

    def __init__(
        self,
        changes: Callable[[int], Awaitable[JobChanges]],
        http: httpx.AsyncClient,
        url: str,
        token: str,
        note: Path,
        log: logging.Logger,
        *,
        default_vo: str = "",
        spark_default: str = "local",
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._changes = changes
        self._http = http
        self._url = url
        self._headers = {"Authorization": f"token {token}"}
        self._note = note
        self._log = log
        self._default_vo = default_vo
        self._spark_default = spark_default
        self._first_pause = first_pause
        self._news = asyncio.Event()
        self._news.set()  # what ended while this server was off

    def wake(self) -> None:
        """A job has ended. To be called in the loop of :meth:`run`."""
        self._news.set()

    async def run(self) -> None:
        """Tell the hub until cancelled, or until it says that it never wants to know."""
        pause = self._first_pause
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                if not await self._tell():
                    return
                pause = self._first_pause
            except (HubUnreachable, CScaleError) as error:
                self._log.info("Ended jobs are told to the hub later: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                self._news.set()

    async def _tell(self) -> bool:
        """Whether the hub wants to know more later.

        :raises HubUnreachable: when it does not answer.
        """
        changed = await self._changes(await asyncio.to_thread(self._told))
        ended = [job for job in changed.jobs if job.status.ended and job.ended is not None]
        for batch in _batches([self._report(job) for job in ended]):
            try:
                answer = await self._http.post(
                    self._url, json={"jobs": batch}, headers=self._headers, timeout=20.0
                )
            except httpx.HTTPError as error:
                raise HubUnreachable(type(error).__name__) from error
            if answer.status_code in _NEVER:
                self._log.info("The hub takes no reports of jobs (%d)", answer.status_code)
                return False
            if answer.status_code >= 500 or answer.status_code == 429:
                raise HubUnreachable(f"it answered {answer.status_code}")
            if answer.is_error:
                self._log.warning("The hub did not take %d jobs: %s", len(batch), answer.text[:200])
        await asyncio.to_thread(
            self._note.write_text, json.dumps({"revision": changed.revision}), encoding="utf-8"
        )
        return True

    def _report(self, job: Job) -> dict[str, Any]:
        assert job.ended is not None  # noqa: S101 - only such are reported
        return {
            "id": job.id,
            "engine": job.spec.engine,
            "vo": job.spec.vo or self._default_vo,
            "started": (job.started or job.ended).timestamp(),
            "ended": job.ended.timestamp(),
            "cpu_seconds": cpu_seconds(job, self._spark_default),
        }

    def _told(self) -> int:
        """The revision up to which the hub was told; 0 when nobody knows."""
        try:
            noted = json.loads(self._note.read_text(encoding="utf-8"))
            return max(0, int(noted["revision"]))
        except (OSError, ValueError, TypeError, KeyError):
            return 0  # told again from the beginning: the hub takes each job once


def _batches(reports: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    for start in range(0, len(reports), BATCH):
        yield reports[start : start + BATCH]
