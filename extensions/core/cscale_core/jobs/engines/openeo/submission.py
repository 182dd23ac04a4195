"""Bringing a job to a back end exactly once, whatever dies on the way.

Before the request that creates the remote job it is noted that it is about to be sent; the remote
job carries our job's id in its description. Whoever finds such a note without a remote id looks
for that mark before creating anything, and so does a request of which nobody knows how it went
(time-out, broken connection, 5xx). Starting may be repeated: a back end ignores it for a job that
has been started.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from cscale_core.errors import CScaleError, LoginRequired, UpstreamError
from cscale_core.jobs.engine import JobHandle
from cscale_core.jobs.engines.openeo.codes import NO_PLACE, REFUSED, STARTED_BEFORE
from cscale_core.jobs.engines.openeo.failures import code_of
from cscale_core.jobs.engines.openeo.listing import find_marked, mark
from cscale_core.jobs.engines.openeo.remote import Remote
from cscale_core.jobs.model import JobSpec, JobStatus, utc_now
from cscale_core.jobs.polling import Backoff, Pace, first_of

#: Options of ours, and those that are members of the request itself.
_OWN = frozenset({"collection"})
_MEMBERS = ("plan", "budget", "log_level")


def request_of(spec: JobSpec) -> dict[str, Any]:
    """The arguments of the client's ``create_job``."""
    options = {k: v for k, v in spec.options.items() if k not in _OWN and k not in _MEMBERS}
    if spec.vo:
        options.setdefault("vo", spec.vo)
    members = {k: spec.options[k] for k in _MEMBERS if spec.options.get(k) is not None}
    return {
        "process_graph": spec.process["process_graph"],
        "title": spec.title,
        "job_options": options or None,
        **members,
    }


class Submission:
    """Creates and starts the remote job of one of ours.

    :param settling: seconds for which a request that was under way when a server died may still
        bring a job into the list.
    """

    def __init__(self, handle: JobHandle, remote: Remote, pace: Pace, settling: float) -> None:
        self._handle = handle
        self._remote = remote
        self._pace = pace
        self._settling = settling

    # -- create --------------------------------------------------------------------------------

    async def create(self) -> str:
        """The id of the remote job, made or found; empty when the user wants it no longer.

        :raises CScaleError: when the back end refuses the job.
        """
        backoff = self._backoff()
        while True:
            if self._handle.state.get("creating"):
                # A server that died, or a request of which nobody knows how it went.
                found = await self._find()
                if found:
                    return found
            if self._handle.cancel_requested.is_set():
                return ""
            await self._note("creating")
            encouraged = self._remote.encouraged
            try:
                return await self._remote.act(self._post)
            except (UpstreamError, LoginRequired) as error:
                if isinstance(error, LoginRequired) or code_of(error) in REFUSED:
                    await self._unnote("creating")
                text = f"not sent yet: {error.message}"
                await self._wait(backoff.failed(), text, encouraged)
            except CScaleError as error:
                await self._unnote("creating")
                if code_of(error) not in NO_PLACE:
                    raise
                await self._wait_for_place(backoff, error)

    def _post(self, connection: Any) -> str:
        description = mark(self._handle.job.id)
        created = connection.create_job(
            **request_of(self._handle.job.spec), description=description
        )
        return str(created.job_id)

    async def _find(self) -> str:
        """Look for the job until the back end answers; a second one is worse than waiting."""
        backoff = self._backoff()
        while True:
            try:
                found = await find_marked(self._remote, self._handle.job)
            except (UpstreamError, LoginRequired) as error:
                self._handle.report(None, f"looking for the job: {error.message}")
                # Not even a cancel ends this: what may run there has to be found to be stopped.
                await asyncio.sleep(backoff.failed())
                continue
            left = self._settling - self._since("creating")
            if found or left <= 0:
                return found
            await asyncio.sleep(min(left, max(self._settling / 3, 0.01)))

    # -- start ---------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        """Whether the back end took a request to start it."""
        return bool(self._handle.state.get("started"))

    @property
    def started_since(self) -> float:
        """Seconds since that request."""
        return self._since("started")

    async def start(self) -> bool:
        """Start the remote job; False when the user wants it no longer.

        A back end that is full makes it wait here, and be tried again.

        :raises CScaleError: when the back end refuses to start it.
        """
        backoff = self._backoff()
        identifier = self._handle.job.engine_id
        while not self._handle.cancel_requested.is_set():
            encouraged = self._remote.encouraged
            try:
                await self._remote.act(lambda c: c.job(identifier).start())
            except (UpstreamError, LoginRequired) as error:
                text = f"not started yet: {error.message}"
                await self._wait(backoff.failed(), text, encouraged)
                continue
            except CScaleError as error:
                if code_of(error) in NO_PLACE:
                    await self._wait_for_place(backoff, error)
                    continue
                if code_of(error) not in STARTED_BEFORE:
                    raise
            await self._note("started")
            return True
        return False

    # -- both ----------------------------------------------------------------------------------

    def _backoff(self) -> Backoff:
        return Backoff(self._pace.retry, self._pace.retry_longest)

    async def _note(self, name: str) -> None:
        self._handle.state[name] = utc_now().isoformat()
        await self._handle.save_state()

    async def _unnote(self, name: str) -> None:
        self._handle.state.pop(name, None)
        await self._handle.save_state()

    def _since(self, name: str) -> float:
        """Seconds since something was noted; a clock set back counts as no time."""
        try:
            noted = datetime.fromisoformat(str(self._handle.state.get(name)))
        except ValueError:
            return float("inf")
        return max(0.0, (utc_now() - noted).total_seconds())

    async def _wait(self, seconds: float, message: str, encouraged: asyncio.Event) -> None:
        self._handle.report(None, message)
        await first_of([self._handle.cancel_requested, encouraged], seconds)

    async def _wait_for_place(self, backoff: Backoff, error: CScaleError) -> None:
        await self._handle.update(
            status=JobStatus.QUEUED, message=f"waiting here for a free place: {error.message}"
        )
        await self._remote.places.wait(backoff.failed(), self._handle.cancel_requested)
