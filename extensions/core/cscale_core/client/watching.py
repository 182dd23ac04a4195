"""Following jobs through the list of changes: one small question for any number of them."""

from __future__ import annotations

import time
from collections.abc import Iterable

from cscale_core.client.connection import JSON, Connection, ServerAway
from cscale_core.client.job import Job
from cscale_core.errors import CScaleError

#: How long a server that does not answer is waited for, seconds.
PATIENCE = 300.0
SHORTEST, GROWTH, LONGEST = 0.5, 1.3, 3.0


class Watch:
    """Keeps jobs as the server has them.

    :param patience: seconds for which a server that does not answer is waited for.
    :ivar deleted: ids of jobs that are no longer in the list.
    :ivar pause: seconds until it is worth to look again.
    :ivar note: what stands in the way at the moment, in a sentence; empty when nothing.
    """

    def __init__(
        self, connection: Connection, jobs: Iterable[Job], patience: float = PATIENCE
    ) -> None:
        self._connection = connection
        self._jobs = {job.id: job for job in jobs}
        self._since = min((job.revision for job in self._jobs.values()), default=0)
        self._patience = patience
        self._away_since: float | None = None
        self.deleted: set[str] = set()
        self.pause = SHORTEST
        self.note = ""

    def add(self, job: Job) -> None:
        """Keep another job up to date, too."""
        self._since = min(self._since, job.revision) if self._jobs else job.revision
        self._jobs[job.id] = job

    def look(self) -> list[Job]:
        """The jobs that changed.

        :raises ServerAway: when the server has not answered for longer than the patience.
        """
        try:
            changed = self._changed()
        except CScaleError as error:
            if not error.retryable:
                raise
            self._wait_for_server(error)
            return []
        self._away_since, self.note = None, ""
        if changed:
            self.pause = SHORTEST
        else:
            self.pause = min(self.pause * GROWTH, LONGEST)
        return changed

    def _changed(self) -> list[Job]:
        answer = self._connection.call("GET", "jobs", params={"since": self._since})
        known: dict[str, JSON] = {job["id"]: job for job in answer["jobs"]}
        gone = set(answer["deleted"])
        if answer["whole"]:
            gone |= self._jobs.keys() - known.keys()
        self.deleted |= gone & self._jobs.keys()
        self._since = int(answer["revision"])
        return [job for job in self._jobs.values() if self._took(job, known.get(job.id))]

    def _took(self, job: Job, found: JSON | None) -> bool:
        if found is None or found["revision"] == job.revision:
            return False
        job.take(found)
        return True

    def _wait_for_server(self, error: CScaleError) -> None:
        now = time.monotonic()
        if self._away_since is None:
            self._away_since, self.pause = now, SHORTEST
        away = now - self._away_since
        if away > self._patience:
            raise ServerAway(
                f"Your server has not answered for {away:.0f} s: {error.message}",
                hint="Jobs at back ends and clusters go on without it, and staging goes on with "
                "it. Start the server again and wait again: jobs[ID].wait().",
                retryable=True,
            ) from error
        self.note = (
            f"Your server does not answer; waiting for it ({away:.0f} s of at most "
            f"{self._patience:.0f} s). Jobs elsewhere go on."
        )
        self.pause = min(self.pause * GROWTH, LONGEST)
