"""openEO jobs: batch jobs at any back end of the site, by the official client.

Each job has a task, which waits until the back end's one watch has news of it. A job is found
again by the id the back end gave it, or, if the server died in the moment between, by the mark in
its description.
"""

from __future__ import annotations

import asyncio
import functools
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from cscale_core.backends import OpenEOBackend
from cscale_core.errors import (
    Conflict,
    CScaleError,
    InvalidInput,
    LoginRequired,
    NotFound,
    UpstreamError,
)
from cscale_core.identity.tokens import TokenSource
from cscale_core.jobs.engine import Engine, JobHandle, Outcome
from cscale_core.jobs.engines.openeo import processes
from cscale_core.jobs.engines.openeo.codes import NOT_READY
from cscale_core.jobs.engines.openeo.device_login import DeviceLogin, DeviceLogins
from cscale_core.jobs.engines.openeo.extents import area_of, period_of
from cscale_core.jobs.engines.openeo.failures import code_of
from cscale_core.jobs.engines.openeo.following import Following
from cscale_core.jobs.engines.openeo.health import Health, Service
from cscale_core.jobs.engines.openeo.logs import LogPump
from cscale_core.jobs.engines.openeo.remote import Remote
from cscale_core.jobs.engines.openeo.results import any_expired, items_of_results
from cscale_core.jobs.engines.openeo.sightings import BackendLooker, Sighting
from cscale_core.jobs.engines.openeo.submission import Submission, request_of
from cscale_core.jobs.engines.openeo.terms import Terms
from cscale_core.jobs.model import (
    BackendState,
    EngineName,
    Job,
    JobSpec,
    JobStatus,
    ProcessEntry,
    ProcessFault,
    utc_now,
)
from cscale_core.jobs.polling import Watch
from cscale_core.site import Site


@dataclass(frozen=True)
class BackEnd:
    """Everything the engine has of one back end."""

    remote: Remote
    watch: Watch[Any]
    logs: LogPump
    health: Health
    logins: DeviceLogins

    async def close(self) -> None:
        """Stop watching and give back the threads."""
        await self.logins.close()
        await self.watch.close()
        await self.logs.close()
        self.remote.close()


class OpenEOEngine(Engine):
    """Runs openEO batch jobs at the site's back ends.

    :param terms: how often back ends are asked, and when a job is thought stuck.
    """

    name: ClassVar[EngineName] = "openeo"

    def __init__(self, site: Site, tokens: TokenSource, terms: Terms | None = None) -> None:
        self._site = site
        self._terms = terms or Terms()
        self._backends: dict[str, BackEnd] = {}
        for backend in site.openeo:
            pace = self._terms.pace.at_least_every(backend.every)
            remote = Remote(backend, tokens, pace)
            watch = Watch(BackendLooker(remote, self._terms.details), pace)
            self._backends[backend.id] = BackEnd(
                remote,
                watch,
                LogPump(remote, pace, self._terms.logs, self._terms.attended_logs),
                Health(remote),
                DeviceLogins(remote, functools.partial(_logged_in, remote, watch)),
            )

    def _backend(self, identifier: str) -> BackEnd:
        try:
            return self._backends[identifier]
        except KeyError:
            raise InvalidInput(
                f"There is no openEO back end {identifier!r} here.",
                hint="Known: " + (", ".join(self._backends) or "none") + ".",
            ) from None

    # -- the engine's protocol -----------------------------------------------------------------

    async def check(self, spec: JobSpec) -> JobSpec:
        """The spec with the back end named, and the area and the period that the graph loads.

        The graph itself is judged by the back end, when the job is created there.

        :raises InvalidInput: when there is no such back end, or no process graph, or a place is
            named for the results, which the back end keeps.
        """
        graph = spec.process.get("process_graph")
        if not isinstance(graph, dict) or not graph:
            raise InvalidInput('An openEO job has a process {"process_graph": {…}} with nodes.')
        if not all(isinstance(node, dict) and "process_id" in node for node in graph.values()):
            raise InvalidInput("Every node of a process graph names its process_id.")
        if spec.output:
            raise InvalidInput(
                "An openEO back end keeps the results of a job itself; it takes no output.",
                hint="Leave it out, and publish the job or stage its results when it has finished.",
            )
        backend = spec.backend or next(iter(self._backends), "")
        self._backend(backend)
        changes: dict[str, Any] = {"backend": backend, "title": spec.title or "openEO job"}
        if spec.area is None:
            changes["area"] = await asyncio.to_thread(area_of, graph)
        if not spec.period:
            changes["period"] = period_of(graph)
        return spec.model_copy(update=changes)

    async def run(self, handle: JobHandle) -> Outcome:
        """Create and start the job at the back end, or find it there, and follow it to its end.

        :raises CScaleError: when it cannot be created or started.
        """
        try:
            backend = self._backend(handle.job.spec.backend)
        except InvalidInput as error:
            if not handle.job.engine_id:
                raise
            return Outcome.lost(error.message, "The job itself may go on there.")
        terms = self._terms
        submission = Submission(handle, backend.remote, terms.pace, terms.settling)
        if not handle.job.engine_id:
            if handle.cancel_requested.is_set() and not handle.state.get("creating"):
                return Outcome.canceled("canceled before it was sent")
            identifier = await submission.create()
            if not identifier:
                return Outcome.canceled("canceled before it was sent")
            title = backend.remote.backend.title
            await handle.update(engine_id=identifier, message=f"created at {title}")
            await handle.log(f"job {identifier} at {title}")
        following = Following(handle, backend.remote, backend.watch, backend.logs, terms)
        try:
            end = await following.until_end(submission)
            if end.outcome is not None:
                if end.outcome.status == JobStatus.CANCELED:
                    await following.last_log()
                return end.outcome
            if end.sighting.status == JobStatus.ERROR:
                await following.last_log()
                return await following.failed(end.sighting)
            _, outcome = await asyncio.gather(
                following.last_log(), self._finished(following, backend, end.sighting)
            )
            return outcome
        finally:
            backend.remote.places.freed()

    async def _finished(
        self, following: Following, backend: BackEnd, sighting: Sighting
    ) -> Outcome:
        """The results of a job that has finished; the job is finished also without them."""
        handle = following.handle
        finished = functools.partial(
            Outcome, JobStatus.FINISHED, usage=sighting.usage, costs=sighting.costs
        )
        try:
            items = await self._items(handle.job, backend, tries=self._terms.result_tries)
        except NotFound as error:
            if code_of(error) == "JobNotFound":
                return following.gone()
            title = backend.remote.backend.title
            return finished(f"finished; its results are not at {title} any more")
        except CScaleError as error:
            await handle.log(f"the results could not be read: {error.message}", "warning")
            return finished("finished; its results could not be read yet, ask for them again")
        files = sum(len(item["assets"]) for item in items)
        return finished("1 file" if files == 1 else f"{files} files", results=items)

    async def close(self) -> None:
        """Stop watching; requests under way end by themselves, jobs are not touched."""
        await asyncio.gather(*(backend.close() for backend in self._backends.values()))

    # -- results -------------------------------------------------------------------------------

    async def _items(self, job: Job, backend: BackEnd, tries: int = 1) -> list[dict[str, Any]]:
        """Result items with fresh links; what is not ready, or fails, is asked for again."""
        pace = self._terms.pace
        for left in reversed(range(tries)):
            try:
                metadata = await backend.remote.act(
                    lambda c: c.job(job.engine_id).get_results().get_metadata(force=True)
                )
                break
            except (Conflict, UpstreamError, LoginRequired) as error:
                final = isinstance(error, Conflict) and not error.retryable
                if left == 0 or final:
                    raise
                wait = pace.retry / 2 if code_of(error) in NOT_READY else pace.retry
                await asyncio.sleep(wait * (tries - left))
        place = backend.remote.backend
        try:
            return await asyncio.to_thread(items_of_results, metadata, job, place, self._site)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UpstreamError(
                f"{place.title} describes the results in a way that is not understood: {error}",
                hint="The files are there; get them at the back end.",
            ) from error

    async def fresh_results(self, job: Job, *, refused: bool = False) -> list[dict[str, Any]]:
        """The result items of a finished job with links that work now.

        Links to our own object store do not end. Those of the back end may be signed: when one
        has ended, or is about to, the results are asked for again, which signs them anew.

        :param refused: a link was refused (410 ``ResultLinkExpired``, 403), whatever it says.
        :raises Conflict: when the job has not finished.
        :raises CScaleError: when the back end does not give the results.
        """
        if job.status != JobStatus.FINISHED:
            raise Conflict(f"Job {job.id} is {job.status}; it has no results.")
        if job.results and not refused and not any_expired(job.results, utc_now()):
            return job.results
        return await self._items(job, self._backend(job.spec.backend), tries=2)

    # -- beside the protocol -------------------------------------------------------------------

    async def backends(self) -> list[BackendState]:
        """Every back end with its health and capabilities, kept for some minutes."""
        asked = list(self._backends.values())
        seen = await asyncio.gather(*(place.health.state() for place in asked))
        return [_state(place.remote.backend, one) for place, one in zip(asked, seen, strict=True)]

    def attend(self, job: Job) -> None:
        """Somebody reads the job's log: copy it often for the next minute."""
        backend = self._backends.get(job.spec.backend)
        if backend is not None and not job.status.ended:
            backend.logs.attend(job.id)

    async def estimate(self, spec: JobSpec) -> dict[str, Any] | None:
        """What the back end thinks the job costs: ``costs``, ``duration``, ``size`` where known.

        Estimates are of remote jobs, so one is made and removed again; it is never started.
        None where the back end does not estimate.

        :raises CScaleError: when the back end refuses the job, or does not answer.
        """
        checked = await self.check(spec)
        backend = self._backend(checked.backend)
        state = await backend.health.state()
        if state.online and not state.offers("GET", "/jobs/{job_id}/estimate"):
            return None
        create = functools.partial(_created_for_estimate, checked)
        identifier: str = await backend.remote.act(create)
        try:
            answer = await backend.remote.act(lambda c: _estimated(c, identifier))
        except CScaleError as error:
            if code_of(error) in ("FeatureUnsupported", "EstimateComplexity"):
                return None
            raise
        finally:
            with suppress(CScaleError):  # a job that is never started costs nothing
                await backend.remote.act(lambda c: c.job(identifier).delete())
        known = {name: answer[name] for name in _ESTIMATED if answer.get(name) is not None}
        return known or None

    async def faults(self, spec: JobSpec) -> list[ProcessFault] | None:
        """What the back end finds wrong with the graph; None where it does not validate.

        :raises CScaleError: when the spec is no openEO job, or the back end does not answer.
        """
        checked = await self.check(spec)
        backend = self._backend(checked.backend)
        state = await backend.health.state()
        if state.online and not state.offers("POST", "/validation"):
            return None
        graph = checked.process["process_graph"]
        return await backend.remote.act(lambda c: processes.faults(c, graph))

    async def processes(self, backend: str) -> list[ProcessEntry]:
        """The processes that a back end knows, the user's own first.

        :raises InvalidInput: when there is no such back end.
        :raises CScaleError: when it does not answer.
        """
        place = self._backend(backend)
        own = (await place.health.state()).offers("GET", "/process_graphs")
        return await place.remote.act(lambda c: processes.known_processes(c, own=own))

    async def own_process(self, backend: str, name: str) -> dict[str, Any]:
        """A process that the user keeps at a back end, whole.

        :raises NotFound: when there is none.
        """
        place = self._backend(backend)
        return await place.remote.act(lambda c: processes.own_process(c, name))

    # -- logging in ----------------------------------------------------------------------------

    async def begin_login(self, backend: str, *, keep: bool = False) -> DeviceLogin:
        """Begin to log in at a back end by a code that the user types at its identity provider.

        For back ends for which the hub has no token. How it went is told by :meth:`login`; jobs
        that wait for it go on by themselves.

        :param keep: keep the login in the user's home (mode 0600) beyond the life of this server,
            as ``openeo-auth`` does; the user has to ask for it. Otherwise it stays in memory.
        :raises InvalidInput: when there is no such back end, or one does not log in so there.
        :raises CScaleError: when it, or its identity provider, does not answer.
        """
        return await self._backend(backend).logins.begin(keep=keep)

    def login(self, backend: str) -> DeviceLogin | None:
        """The login begun last at a back end, as it is now; None: none was begun.

        :raises InvalidInput: when there is no such back end.
        """
        return self._backend(backend).logins.login


#: Members of an estimate that are passed on (openEO API 1.2).
_ESTIMATED = ("costs", "duration", "size", "downloads_included", "expires")


def _logged_in(remote: Remote, watch: Watch[Any]) -> None:
    """Let everything that waits for the login of a back end try again now."""
    remote.encouraged.set()
    remote.encouraged = asyncio.Event()
    watch.encourage()


def _logins(backend: OpenEOBackend, offered: tuple[str, ...]) -> tuple[str, ...]:
    """What of the logins that a back end offers is used there, or that the hub's is."""
    if backend.by_the_hub:
        return ("hub",)
    return tuple(name for name in offered if name != "oidc" or backend.by_code)


def _state(backend: OpenEOBackend, seen: Service) -> BackendState:
    return BackendState(
        engine="openeo",
        id=seen.id,
        title=seen.title,
        online=seen.online,
        checked=seen.checked,
        seconds=seen.seconds,
        version=f"openEO {seen.api_version}" if seen.api_version else "",
        logins=_logins(backend, seen.logins),
        estimates=seen.offers("GET", "/jobs/{job_id}/estimate"),
        limits=seen.limits,
        problem=seen.problem,
    )


def _created_for_estimate(spec: JobSpec, connection: Any) -> str:
    created = connection.create_job(**request_of(spec), description="C-SCALE estimate")
    return str(created.job_id)


def _estimated(connection: Any, identifier: str) -> dict[str, Any]:
    answer: dict[str, Any] = connection.get(
        f"/jobs/{identifier}/estimate", expected_status=200
    ).json()
    return answer
