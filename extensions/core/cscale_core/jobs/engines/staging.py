"""Staging jobs: bring files of STAC items into the bucket, inside this server's process.

Doing it again gives the same end (what arrived is not fetched again), so a staging that was cut
off by a restart is simply done again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cscale_core.errors import InvalidInput, UpstreamError
from cscale_core.identity.tokens import TokenSource
from cscale_core.jobs.engine import Engine, JobHandle, Outcome
from cscale_core.jobs.model import EngineName, JobSpec, JobStatus
from cscale_core.site import Site

if TYPE_CHECKING:
    import httpx

CONCURRENT = 2


class StagingProcess(BaseModel):
    """``JobSpec.process`` of a staging job."""

    model_config = ConfigDict(extra="forbid")

    items: list[dict[str, Any]] = Field(min_length=1)
    assets: list[str] | None = None
    register_items: bool = Field(default=False, alias="register")


class StagingEngine(Engine):
    """Runs staging jobs, two at a time."""

    name: ClassVar[EngineName] = "staging"

    def __init__(self, site: Site, http: httpx.AsyncClient, tokens: TokenSource) -> None:
        self._site = site
        self._http = http
        self._tokens = tokens
        self._turn = asyncio.Semaphore(CONCURRENT)

    async def check(self, spec: JobSpec) -> JobSpec:
        """Plan it once, so that what cannot be staged is refused before it is a job.

        :raises InvalidInput: when items, assets or the place are not right.
        """
        await asyncio.to_thread(self._plan, spec)
        return spec

    def _plan(self, spec: JobSpec) -> Any:
        # Imports boto3: only where staging is asked for, and not on the event loop.
        from cscale_core.ingest.staging import plan

        process = _process(spec)
        grant = self._site.grant("products", spec.vo)
        return plan(process.items, process.assets, grant, self._site)

    async def run(self, handle: JobHandle) -> Outcome:
        """Stage, then register if asked.

        :raises CScaleError: as :func:`cscale_core.ingest.staging.stage`.
        """
        if self._turn.locked():
            await handle.update(status=JobStatus.QUEUED, message="waiting for another staging")
        async with self._turn:
            if handle.cancel_requested.is_set():
                return Outcome.canceled("canceled before anything was fetched")
            return await self._stage(handle)

    async def _stage(self, handle: JobHandle) -> Outcome:
        spec = handle.job.spec
        planned = await asyncio.to_thread(self._plan, spec)
        from cscale_core.ingest.staging import StagingCanceled, stage
        from cscale_core.objects import ObjectStore

        await handle.update(status=JobStatus.RUNNING, message="staging")
        await handle.log(
            f"{len(planned.items)} items, {len(planned.files)} files, "
            f"{planned.known_bytes / 2**20:.1f} MiB known"
        )
        for sentence in planned.left_out:
            await handle.log(f"left out: {sentence}", "warning")
        last = (0, 0, "")

        def progress(
            files_done: int,
            files_total: int,
            bytes_done: int,
            bytes_total: int | None,
            message: str,
            /,
        ) -> None:
            nonlocal last
            last = (files_done, bytes_done, message)
            share = bytes_done / bytes_total if bytes_total else files_done / max(1, files_total)
            handle.report(0.95 * share, f"{files_done} of {files_total} files; {message}")

        try:
            items = await stage(
                planned,
                ObjectStore(self._site),
                self._http,
                progress=progress,
                cancelled=handle.cancel_requested.is_set,
            )
        except StagingCanceled as stopped:
            return Outcome.canceled(f"canceled. {stopped.hint}".strip())
        usage = {"files": last[0], "bytes": last[1]}
        message = last[2]
        await handle.log(message)
        if _process(spec).register_items:
            handle.report(0.95, "registering")
            message += "; " + await self._register(handle, items)
        return Outcome(JobStatus.FINISHED, message, results=items, usage=usage)

    async def _register(self, handle: JobHandle, items: list[dict[str, Any]]) -> str:
        from cscale_core.ingest.register import register

        report = await register(items, self._site, self._tokens, self._http)
        outcomes = [outcome.outcome for outcome in report.items]
        failed = [outcome for outcome in report.items if outcome.outcome == "error"]
        for outcome in failed:
            reason = (outcome.error or {}).get("message", "")
            await handle.log(f"{outcome.id} was not registered: {reason}", "error")
        if failed:
            # Kept apart from the end of the staging: the files are there, and said to be.
            await handle.update(results=items)
            raise UpstreamError(
                f"{len(failed)} of {len(items)} items could not be registered in the catalogue.",
                hint="All files are staged and published in the bucket; register them again.",
                retryable=True,
                failed=[outcome.id for outcome in failed],
            )
        counts = {name: outcomes.count(name) for name in dict.fromkeys(outcomes)}
        return "registered: " + ", ".join(f"{count} {name}" for name, count in counts.items())


def _process(spec: JobSpec) -> StagingProcess:
    try:
        return StagingProcess.model_validate(spec.process)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"The staging is not right: {place}: {first['msg']}") from error
