"""Staging jobs: files of STAC items are brought into the bucket, inside this server's process.

What the next run needs (:mod:`cscale_core.ingest.notes`) is kept in the job's state, so that a
staging that was paused, or cut off by a restart or a kill, goes on where it stopped, also in the
middle of a file. Registering is part of the job. Doing it again gives the same end: what arrived is
not fetched again, and what is registered stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from cscale_core.errors import CScaleError, Forbidden, InvalidInput, UpstreamError
from cscale_core.identity.tokens import TokenSource
from cscale_core.ingest.completing import complete_item
from cscale_core.ingest.files import PlannedFile
from cscale_core.ingest.notes import StagingNotes, abort_noted
from cscale_core.ingest.pace import bytes_in_words
from cscale_core.ingest.register import register
from cscale_core.ingest.staging import (
    StagingCanceled,
    StagingPaused,
    StagingPlan,
    plan,
    stage,
)
from cscale_core.ingest.transfer import OneAtATime
from cscale_core.jobs.engine import Engine, JobHandle, Outcome
from cscale_core.jobs.engines.staging.estimate import estimate
from cscale_core.jobs.engines.staging.process import (
    UNREGISTERED,
    frozen_inputs,
    only_unregistered,
    staging_process,
)
from cscale_core.jobs.model import (
    BackendState,
    EngineName,
    Job,
    JobSpec,
    JobStatus,
    Transferred,
    utc_now,
)
from cscale_core.objects import PART_SIZE, ObjectStore
from cscale_core.site import Site

if TYPE_CHECKING:
    import httpx

_logger = logging.getLogger(__name__)

CONCURRENT = 2

ResultsOf = Callable[[str, bool], Awaitable[list[dict[str, Any]]]]
"""Result items of a job; True: a link was refused, so they have to be made anew."""

_NOTES = "staging"
_LEFT = "unfinished_uploads"
#: The registering is the last twentieth of a job.
_STAGED = 0.95
_SEEN_SECONDS = 120.0
_LOOK_SECONDS = 5.0


class StagingEngine(Engine):
    """Runs staging jobs, two at a time.

    :param results: gives the result items of another job; None: such stagings are refused.
    :param part_size: bytes of one part of an upload, at least 5 MiB.
    """

    name: ClassVar[EngineName] = "staging"
    pausable: ClassVar[bool] = True

    def __init__(
        self,
        site: Site,
        http: httpx.AsyncClient,
        tokens: TokenSource,
        results: ResultsOf | None = None,
        *,
        part_size: int = PART_SIZE,
    ) -> None:
        self._site = site
        self._http = http
        self._tokens = tokens
        self._results = results
        self._part_size = part_size
        self._store = ObjectStore(site)
        self._turn = asyncio.Semaphore(CONCURRENT)
        self._one_at_a_time = OneAtATime()
        self._seen: tuple[float, BackendState] | None = None

    # -- before it runs ------------------------------------------------------------------------

    async def check(self, spec: JobSpec) -> JobSpec:
        """Plan it once, so that what cannot be staged is refused before it is a job.

        :raises InvalidInput: when items, assets or the place are not right.
        """
        planned = await self._planned(spec)
        return spec.model_copy(update={"inputs": frozen_inputs(planned)})

    async def _planned(self, spec: JobSpec, *, refused: bool = False) -> StagingPlan:
        process = staging_process(spec)
        grant = self._site.grant("products", spec.vo)
        items = process.items
        if process.job:
            if self._results is None:
                raise InvalidInput("The results of other jobs cannot be staged here.")
            items = await self._results(process.job, refused)
            if not items:
                raise InvalidInput(f"Job {process.job} left nothing that can be staged.")
        return await asyncio.to_thread(plan, items, process.assets, grant, self._site)

    async def estimate(self, spec: JobSpec) -> dict[str, Any] | None:
        """Files and bytes to bring, what is there already, and the room that is left.

        :raises InvalidInput: as :meth:`check`.
        """
        return await estimate(await self._planned(spec), self._store)

    async def backends(self) -> list[BackendState]:
        """The object store, looked at every two minutes at most."""
        if self._seen is None or time.monotonic() - self._seen[0] > _SEEN_SECONDS:
            self._seen = (time.monotonic(), await self._looked_at())
        return [self._seen[1]]

    async def _looked_at(self) -> BackendState:
        begun, problem = time.monotonic(), ""
        try:
            grant = self._site.grant("products")
            async with asyncio.timeout(_LOOK_SECONDS):
                await asyncio.to_thread(self._store.reach, grant.bucket, grant.prefix)
        except TimeoutError:
            problem = f"The object store did not answer within {_LOOK_SECONDS:.0f} seconds."
        except Forbidden:
            # It answers; what it allows is seen when something is written.
            problem = ""
        except CScaleError as error:
            problem = error.message
        return BackendState(
            engine="staging",
            id="object-store",
            title=f"Object store at {urlsplit(self._site.s3.endpoint).netloc}",
            online=not problem,
            checked=utc_now(),
            seconds=round(time.monotonic() - begun, 3),
            estimates=True,
            problem=problem,
        )

    # -- running -------------------------------------------------------------------------------

    async def run(self, handle: JobHandle) -> Outcome:
        """Stage, then register if asked.

        :raises CScaleError: as :func:`cscale_core.ingest.staging.stage`.
        """

        async def save(notes: dict[str, Any]) -> None:
            handle.state[_NOTES] = notes
            await handle.save_state()

        notes = StagingNotes(handle.state.get(_NOTES), save)
        try:
            return await self._in_turn(handle, notes)
        except CScaleError as error:
            # It will not go on, so nothing unseen may stay in the store.
            if left := await notes.discard(self._store):
                error.details[_LEFT] = left
            raise
        except Exception:
            await notes.discard(self._store)
            raise

    async def _in_turn(self, handle: JobHandle, notes: StagingNotes) -> Outcome:
        turn = asyncio.create_task(self._turn.acquire())
        if self._turn.locked():
            await handle.update(status=JobStatus.QUEUED, message="waiting for another staging")
        wishes = [
            asyncio.create_task(wish.wait())
            for wish in (handle.cancel_requested, handle.pause_requested)
        ]
        try:
            await asyncio.wait([turn, *wishes], return_when=asyncio.FIRST_COMPLETED)
            if handle.cancel_requested.is_set():
                return await self._canceled(notes, "Nothing more was fetched.")
            if handle.pause_requested.is_set():
                return Outcome.paused("paused before it began to fetch")
            outcome = await self._stage(handle, notes)
            while outcome.status == JobStatus.PAUSED and not handle.pause_requested.is_set():
                # Resumed before it had come to rest.
                outcome = await self._stage(handle, notes)
            return outcome
        finally:
            for task in (turn, *wishes):
                task.cancel()
            await asyncio.gather(turn, *wishes, return_exceptions=True)
            if not turn.cancelled():
                self._turn.release()

    async def _canceled(self, notes: StagingNotes, kept: str) -> Outcome:
        outcome = Outcome.canceled(f"canceled. {kept}".strip())
        left = await notes.discard(self._store)
        return replace(outcome, usage={_LEFT: left}) if left else outcome

    async def _stage(self, handle: JobHandle, notes: StagingNotes) -> Outcome:
        spec = handle.job.spec
        planned = await self._planned(spec)
        await handle.update(status=JobStatus.RUNNING, message="staging")
        await handle.log(
            f"{len(planned.items)} items, {len(planned.files)} files, "
            f"{bytes_in_words(planned.known_bytes)} known"
        )
        for sentence in planned.left_out:
            await handle.log(f"left out: {sentence}", "warning")
        last = _Progress(handle)
        process = staging_process(spec)
        renew = finish = None
        if process.job:
            # Some back ends describe their results so thinly that nobody could load them.
            finish = partial(complete_item, site=self._site)
            renew = _FreshLinks(handle, planned, partial(self._planned, spec, refused=True))
        try:
            items = await stage(
                planned,
                self._store,
                self._http,
                progress=last,
                cancelled=handle.cancel_requested.is_set,
                paused=handle.pause_requested.is_set,
                notes=notes,
                renew=renew,
                finish=finish,
                one_at_a_time=self._one_at_a_time,
                part_size=self._part_size,
            )
        except StagingCanceled as stopped:
            return await self._canceled(notes, stopped.hint)
        except StagingPaused as stopped:
            return Outcome.paused(f"paused. {stopped.hint}")
        finally:
            # A report may still wait for its turn, and the end does not.
            await last.write()
        await handle.log(last.message)
        usage = last.usage
        message = last.message
        if process.register_items:
            handle.report(_STAGED, "registering")
            message += "; " + await self._register(handle, items, usage)
        await self._tidy(handle)
        return Outcome(JobStatus.FINISHED, message, results=items, usage=usage)

    @staticmethod
    async def _tidy(handle: JobHandle) -> None:
        handle.state.pop(_NOTES, None)
        await handle.save_state()

    # -- registering ---------------------------------------------------------------------------

    async def _register(
        self, handle: JobHandle, items: list[dict[str, Any]], usage: dict[str, Any]
    ) -> str:
        """Register the staged items; what became of each is put in ``usage``.

        :raises CScaleError: when some are not registered; files and items are kept and said to be.
        """
        missing = [item["id"] for item in items]
        try:
            report = await register(items, self._site, self._tokens, self._http)
            usage["registered"] = [
                outcome.model_dump(mode="json", exclude_none=True) for outcome in report.items
            ]
            failed = [outcome for outcome in report.items if outcome.outcome == "error"]
            for outcome in failed:
                reason = (outcome.error or {}).get("message", "")
                await handle.log(f"{outcome.id} was not registered: {reason}", "error")
            if failed:
                missing = [outcome.id for outcome in failed]
                raise UpstreamError(
                    f"{len(failed)} of {len(items)} items could not be registered in the "
                    f"catalogue: {', '.join(missing[:5])}" + ("…" if len(failed) > 5 else "."),
                    retryable=True,
                )
        except CScaleError as error:
            error.hint = (
                "All files are staged and published in the bucket. Clone this job to register "
                f"what is missing; nothing is fetched again. {error.hint}"
            ).strip()
            error.details[UNREGISTERED] = missing
            await handle.update(results=items, usage=usage)
            await self._tidy(handle)
            raise
        outcomes = [outcome.outcome for outcome in report.items]
        counts = {name: outcomes.count(name) for name in dict.fromkeys(outcomes)}
        return "registered: " + ", ".join(f"{count} {name}" for name, count in counts.items())

    def clone(self, job: Job, *, suggested: bool = False) -> JobSpec:
        """The same again; of a job that could not register everything, the registering alone."""
        spec = super().clone(job, suggested=suggested)
        if (rest := only_unregistered(job)) is not None:
            spec.process, spec.inputs = rest, []
        return spec

    # -- afterwards ----------------------------------------------------------------------------

    async def forget(self, job: Job) -> None:
        """Try once more to throw away uploads that could not be when the job ended."""
        details: Mapping[str, Any] = job.error.details if job.error is not None else {}
        for left in [*details.get(_LEFT, ()), *job.usage.get(_LEFT, ())]:
            try:
                await asyncio.to_thread(abort_noted, self._store, left["object"], left["upload"])
            except CScaleError as error:
                # The job is gone from the list; the operator's rule for old uploads remains.
                _logger.warning("an upload of job %s is left behind: %s", job.id, error)


class _Progress:
    """Reports a staging's progress as the job's, and remembers the last of it."""

    def __init__(self, handle: JobHandle) -> None:
        self._handle = handle
        self._transferred: Transferred | None = None
        self.message = ""

    def __call__(
        self,
        files_done: int,
        files_total: int,
        bytes_done: int,
        bytes_total: int | None,
        message: str,
        /,
    ) -> None:
        self.message = message
        self._transferred = Transferred(
            files_done=files_done,
            files_total=files_total,
            bytes_done=bytes_done,
            bytes_total=bytes_total,
        )
        share = bytes_done / bytes_total if bytes_total else files_done / max(1, files_total)
        self._handle.report(
            _STAGED * share,
            f"{files_done} of {files_total} files; {message}",
            self._transferred,
        )

    @property
    def usage(self) -> dict[str, Any]:
        """Files and bytes that are there."""
        moved = self._transferred
        return {"files": moved.files_done, "bytes": moved.bytes_done} if moved else {}

    async def write(self) -> None:
        """Write the last of it, whatever happens next."""
        if self._transferred is not None:
            try:
                await self._handle.update(transferred=self._transferred)
            except CScaleError as error:
                _logger.warning("progress of job %s not written: %s", self._handle.job.id, error)


class _FreshLinks:
    """Asks the job whose results are staged for its links again, once for all that were refused.

    :param anew: plans the staging again, with links that were just made.
    """

    def __init__(
        self,
        handle: JobHandle,
        planned: StagingPlan,
        anew: Callable[[], Awaitable[StagingPlan]],
    ) -> None:
        self._handle = handle
        self._anew = anew
        self._order = asyncio.Lock()
        self._links = {file.address: file.source for file in planned.files}

    async def __call__(self, file: PlannedFile, refused: str) -> str | None:
        """Another address of a file; None where there is none."""
        async with self._order:
            if self._links.get(file.address) == refused:
                await self._handle.log(f"the link to {file.label} was refused: asking for new ones")
                planned = await self._anew()
                self._links |= {file.address: file.source for file in planned.files}
            link = self._links.get(file.address)
        return link if isinstance(link, str) and link != refused else None
