"""Bells that ring when something about a job is new, for those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Bells:
    """One bell for each who listens. Used on the event loop only."""

    def __init__(self) -> None:
        self._bells: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def listening(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set by whatever happens from now on."""
        bell = asyncio.Event()
        self._bells.setdefault(job_id, set()).add(bell)
        try:
            yield bell
        finally:
            self._bells[job_id].discard(bell)
            if not self._bells[job_id]:
                del self._bells[job_id]

    def ring(self, job_id: str) -> None:
        """Something about a job is new."""
        for bell in self._bells.get(job_id, ()):
            bell.set()

    def ring_all(self) -> None:
        """Something may be new about any job."""
        for job_id in self._bells:
            self.ring(job_id)
