"""openEO jobs: batch jobs at any back end of the site, by the official client.

The client blocks, so it runs in a few threads of its own; the bearer token is asked for at each
request, so a job may outlive any token. A job is found again by the id the back end gave it, or,
if the server died in the moment between, by the mark in its description.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cscale_core import addresses
from cscale_core.errors import (
    CScaleError,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
)
from cscale_core.identity.tokens import TokenSource
from cscale_core.jobs.engine import JobHandle, LogEntry, Outcome
from cscale_core.jobs.model import EngineName, Job, JobError, JobSpec, JobStatus, utc_now
from cscale_core.site import OpenEOBackend, Site

THREADS = 4
REQUEST_SECONDS = 60
#: The identity provider's id in the bearer (openEO API 1.2, ``Bearer oidc/PROVIDER/TOKEN``).
OIDC_PROVIDER = "egi"

_STATUS = {
    "created": JobStatus.CREATED,
    "queued": JobStatus.QUEUED,
    "running": JobStatus.RUNNING,
    "canceled": JobStatus.CANCELED,
    "finished": JobStatus.FINISHED,
    "error": JobStatus.ERROR,
}
_MESSAGES = {
    JobStatus.CREATED: "waiting to be started",
    JobStatus.QUEUED: "waiting at the back end",
    JobStatus.RUNNING: "running at the back end",
}
_T = TypeVar("_T")


def poll_seconds(elapsed: float) -> float:
    """How long to wait before the next look: quick at first, at most a minute."""
    return min(60.0, max(1.0, elapsed / 20))


def mark(job_id: str) -> str:
    """The words in a remote job's description by which it is found again."""
    return f"C-SCALE job {job_id}"


def translated(error: Exception, backend: OpenEOBackend) -> CScaleError:
    """Our error for one of the client's (``OpenEoApiError``, ``requests``)."""
    if isinstance(error, CScaleError):
        return error
    import requests

    if isinstance(error, requests.Timeout):
        return UpstreamTimeout(f"{backend.title} did not answer in time.", retryable=True)
    if isinstance(error, requests.RequestException):
        return UpstreamError(
            f"{backend.title} cannot be reached.", retryable=True, reason=type(error).__name__
        )
    status = getattr(error, "http_status_code", None)
    if status is None:
        return UpstreamError(
            f"{backend.title} gave an answer that is not understood: {error}",
            reason=type(error).__name__,
        )
    code = str(getattr(error, "code", "") or "")
    said = str(getattr(error, "message", "") or error)
    facts = {"status": status, "openeo_code": code}
    if status == 401 or code in ("TokenInvalid", "AuthenticationRequired"):
        return LoginRequired(
            f"{backend.title} does not accept the login: {said}",
            hint="Log in to the hub again.",
            **facts,
        )
    if status in (402, 403):
        return Forbidden(f"{backend.title} does not allow it: {said}", **facts)
    if status == 404:
        return NotFound(f"{backend.title}: {said}", **facts)
    if 400 <= status < 500 and status != 429:
        return InvalidInput(f"{backend.title} refuses the job: {said}", **facts)
    return UpstreamError(f"{backend.title} failed: {said}", retryable=True, **facts)


class _Remote:
    """One back end: its connection, made at first use, and calls in threads."""

    def __init__(
        self, backend: OpenEOBackend, tokens: TokenSource, pool: ThreadPoolExecutor
    ) -> None:
        self.backend = backend
        self._tokens = tokens
        self._pool = pool
        self._connection: Any = None
        self._lock = threading.Lock()

    async def call(self, ask: Callable[[Any], _T]) -> _T:
        """Run ``ask(connection)`` in a thread.

        :raises CScaleError: for whatever went wrong.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, functools.partial(self._do, ask, loop))
        except Exception as error:
            raise translated(error, self.backend) from error

    def _do(self, ask: Callable[[Any], _T], loop: asyncio.AbstractEventLoop) -> _T:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect(loop)
        return ask(self._connection)

    def _connect(self, loop: asyncio.AbstractEventLoop) -> Any:
        # Half a second and 28 MB: only where openEO is used.
        import openeo
        import requests
        from openeo.rest.auth.auth import OpenEoApiAuthBase

        tokens, audience = self._tokens, self.backend.audience

        class FreshToken(OpenEoApiAuthBase):  # type: ignore[misc]  # openeo is untyped
            def __call__(self, req: Any) -> Any:
                future = asyncio.run_coroutine_threadsafe(tokens.token(audience), loop)
                req.headers["Authorization"] = f"Bearer oidc/{OIDC_PROVIDER}/{future.result(30)}"
                return req

        session = requests.Session()
        # No proxy stands between this machine and itself.
        session.trust_env = not _is_loopback(self.backend.url)
        connection = openeo.connect(
            self.backend.url, session=session, default_timeout=REQUEST_SECONDS, auto_validate=False
        )
        if audience:
            connection.auth = FreshToken()
        return connection


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class OpenEOEngine:
    """Runs openEO batch jobs at the site's back ends."""

    name: EngineName = "openeo"

    def __init__(self, site: Site, tokens: TokenSource) -> None:
        self._site = site
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="openeo")
        self._remotes = {
            backend.id: _Remote(backend, tokens, self._pool) for backend in site.openeo
        }

    def _remote(self, spec: JobSpec) -> _Remote:
        try:
            return self._remotes[spec.backend]
        except KeyError:
            raise InvalidInput(
                f"There is no openEO back end {spec.backend!r} here.",
                hint="Known: " + (", ".join(self._remotes) or "none") + ".",
            ) from None

    async def check(self, spec: JobSpec) -> JobSpec:
        """The spec with the back end named.

        The graph itself is judged by the back end, when the job is created there.

        :raises InvalidInput: when there is no such back end, or no process graph.
        """
        graph = spec.process.get("process_graph")
        if not isinstance(graph, dict) or not graph:
            raise InvalidInput('An openEO job has a process {"process_graph": {…}} with nodes.')
        if not all(isinstance(node, dict) and "process_id" in node for node in graph.values()):
            raise InvalidInput("Every node of a process graph names its process_id.")
        backend = spec.backend or next(iter(self._remotes), "")
        checked = spec.model_copy(update={"backend": backend, "title": spec.title or "openEO job"})
        self._remote(checked)
        return checked

    async def run(self, handle: JobHandle) -> Outcome:
        """Create and start the job at the back end, or find it there, and follow it to its end.

        :raises CScaleError: when it cannot be created or started.
        """
        remote = self._remote(handle.job.spec)
        if not handle.job.engine_id:
            if handle.cancel_requested.is_set() and not handle.state.get("creating"):
                return Outcome.canceled("canceled before it was sent")
            identifier = await self._create(handle, remote)
            await handle.update(engine_id=identifier, message=f"created at {remote.backend.title}")
            await handle.log(f"job {identifier} at {remote.backend.title}")
        return await self._follow(handle, remote)

    async def _create(self, handle: JobHandle, remote: _Remote) -> str:
        job = handle.job
        if handle.state.get("creating"):
            # An earlier server died around the creation: it may be there.
            found = await self._found(handle, remote)
            if found:
                return found
        handle.state["creating"] = True
        await handle.save_state()
        options = {k: v for k, v in job.spec.options.items() if k != "collection"}
        if job.spec.vo:
            options.setdefault("vo", job.spec.vo)

        def create(connection: Any) -> str:
            created = connection.create_job(
                job.spec.process["process_graph"],
                title=job.spec.title,
                description=mark(job.id),
                job_options=options or None,
            )
            return str(created.job_id)

        return await remote.call(create)

    async def _found(self, handle: JobHandle, remote: _Remote) -> str:
        """Look for the job until the back end answers; a second one is worse than waiting."""
        while True:
            try:
                return await remote.call(functools.partial(_find_marked, handle.job))
            except (UpstreamError, LoginRequired) as error:
                handle.report(None, f"looking for the job: {error.message}")
                await asyncio.sleep(5.0)

    async def _stop(self, handle: JobHandle, remote: _Remote) -> None:
        try:
            await remote.call(lambda c: c.job(handle.job.engine_id).stop())
        except (NotFound, UpstreamError, LoginRequired):
            raise
        except CScaleError as error:
            # It may have ended in this moment: what it became is asked next.
            await handle.log(f"the back end did not cancel: {error.message}", "warning")

    async def _follow(self, handle: JobHandle, remote: _Remote) -> Outcome:
        loop = asyncio.get_running_loop()
        began = loop.time()
        stopping = False
        while True:
            try:
                if handle.cancel_requested.is_set() and not stopping:
                    await self._stop(handle, remote)
                    stopping = True
                described = await remote.call(lambda c: c.job(handle.job.engine_id).describe())
                outcome = await self._look(handle, remote, described)
                if outcome is not None:
                    return outcome
            except NotFound:
                return _gone(handle, remote.backend)
            except (UpstreamError, LoginRequired) as error:
                # The job goes on without us: say so, and look again later.
                handle.report(None, f"no news of the job: {error.message}")
            elapsed = loop.time() - began
            if handle.cancel_requested.is_set():
                await asyncio.sleep(1.0)
            else:
                await handle.pause(poll_seconds(elapsed))

    async def _look(
        self, handle: JobHandle, remote: _Remote, described: dict[str, Any]
    ) -> Outcome | None:
        """Write down what the back end says; the outcome when the job has ended."""
        said = str(described.get("status", ""))
        status = _STATUS.get(said, JobStatus.QUEUED)
        if status == JobStatus.CREATED:
            if handle.cancel_requested.is_set():
                return Outcome.canceled("canceled before it was started")
            await remote.call(lambda c: c.job(handle.job.engine_id).start())
            status = JobStatus.QUEUED
        await self._copy_logs(handle, remote)
        usage = _usage(described)
        if not status.ended:
            progress = described.get("progress")
            await handle.update(
                status=status,
                message=_MESSAGES[status],
                progress=progress / 100 if isinstance(progress, int | float) else None,
                usage=usage or handle.job.usage,
            )
            return None
        if status == JobStatus.CANCELED:
            by_us = handle.cancel_requested.is_set()
            return Outcome.canceled("canceled" if by_us else "canceled at the back end")
        if status == JobStatus.ERROR:
            return await self._failed(handle, remote, usage)
        metadata = await remote.call(
            lambda c: c.job(handle.job.engine_id).get_results().get_metadata()
        )
        items = await asyncio.to_thread(
            items_of_results, metadata, handle.job, remote.backend, self._site
        )
        files = sum(len(item["assets"]) for item in items)
        return Outcome(JobStatus.FINISHED, f"{files} files", items, usage)

    async def _copy_logs(self, handle: JobHandle, remote: _Remote) -> None:
        cursor = handle.state.get("log_cursor") or None
        try:
            entries = await remote.call(
                lambda c: list(c.job(handle.job.engine_id).logs(offset=cursor))
            )
        except NotFound:
            raise
        except CScaleError:
            # Some back ends have no log before a job runs, or lose it: the job matters more.
            return
        fresh = [entry for entry in entries if str(entry.get("id", "")) != cursor]
        if fresh:
            await handle.log_lines(map(_log_entry, fresh))
            handle.state["log_cursor"] = str(fresh[-1].get("id", ""))
            await handle.save_state()

    async def _failed(self, handle: JobHandle, remote: _Remote, usage: dict[str, Any]) -> Outcome:
        """An error at the back end, with the last error of its log as reason."""
        reason = ""
        try:
            errors = await remote.call(
                lambda c: list(c.job(handle.job.engine_id).logs(level="error"))
            )
            reason = str(errors[-1].get("message", "")).strip().splitlines()[0] if errors else ""
        except (CScaleError, IndexError):
            # No reason to be had: the error itself is known.
            reason = ""
        title = remote.backend.title
        error = JobError(
            code="upstream_error",
            message=f"The job failed at {title}" + (f": {reason[:500]}" if reason else "."),
            hint="The job's log has what the back end said.",
        )
        return Outcome(JobStatus.ERROR, error.message, usage=usage, error=error)

    async def forget(self, job: Job) -> None:
        """Nothing is kept here; the job stays at its back end until that removes it."""

    async def close(self) -> None:
        """Give back the threads; a request under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _gone(handle: JobHandle, backend: OpenEOBackend) -> Outcome:
    if handle.cancel_requested.is_set():
        return Outcome.canceled(f"canceled; the job is no longer known at {backend.title}")
    return Outcome.lost(
        f"The job {handle.job.engine_id} is no longer known at {backend.title}.",
        "It was deleted there, by another program or after its time. Submit it again.",
    )


def _find_marked(job: Job, connection: Any) -> str:
    """The id of the remote job that was made for ours, or an empty string."""
    for listed in connection.list_jobs(limit=100):
        description = listed.get("description")
        if description is None and listed.get("title") == job.spec.title:
            description = connection.job(listed["id"]).describe().get("description")
        if mark(job.id) in str(description or ""):
            return str(listed["id"])
    return ""


def _usage(described: dict[str, Any]) -> dict[str, Any]:
    return {name: described[name] for name in ("usage", "costs") if described.get(name) is not None}


def _log_entry(entry: dict[str, Any]) -> LogEntry:
    level = str(entry.get("level", "info")).lower()
    try:
        moment = datetime.fromisoformat(str(entry["time"]))
    except (KeyError, ValueError):
        # "time" is optional: the moment it was read.
        moment = utc_now()
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=utc_now().tzinfo)
    known = level if level in ("debug", "info", "warning", "error") else "info"
    return moment, known, str(entry.get("message", ""))


def items_of_results(
    metadata: dict[str, Any], job: Job, backend: OpenEOBackend, site: Site
) -> list[dict[str, Any]]:
    """One STAC item of a job's results (``GET /jobs/{id}/results``, a STAC Collection).

    Assets that lie in our object store (by ``href`` or an ``alternate``) get all three addresses;
    others keep the back end's, which may expire. What the back end says of an asset (projection,
    bands, size, checksum) is kept.
    """
    # rasterio, for the outline: only when a job has finished.
    from cscale_core.workflows import results

    assets: dict[str, dict[str, Any]] = {}
    times: list[str] = []
    for name, asset in (metadata.get("assets") or {}).items():
        if "metadata" in (asset.get("roles") or ()) or not asset.get("href"):
            continue
        stem = PurePosixPath(name).stem
        key = stem if stem and stem not in assets else name
        alternates = (asset.get("alternate") or {}).values()
        hrefs = [str(other.get("href", "")) for other in alternates] + [str(asset["href"])]
        own = next(filter(None, (addresses.parse(href, site) for href in hrefs)), None)
        kept = {k: v for k, v in asset.items() if k not in ("href", "alternate")}
        place = addresses.asset_addresses(own, site) if own else {"href": asset["href"]}
        assets[key] = {"roles": ["data"], "title": key, **kept, **place}
        if asset.get("datetime"):
            times.append(str(asset["datetime"]))
    if not assets:
        return []
    extent = metadata.get("extent") or {}
    boxes = (extent.get("spatial") or {}).get("bbox") or [None]
    intervals = (extent.get("temporal") or {}).get("interval") or [[None, None]]
    start, end = (str(moment) if moment else "" for moment in intervals[0])
    start, end = start or min(times, default=""), end or max(times, default="")
    period = None
    if start and end:
        period = (datetime.fromisoformat(start), datetime.fromisoformat(end))
    item = results.described_item(
        assets,
        identifier=results.item_id(job.spec.title, job.id),
        collection=str(job.spec.options.get("collection", "openeo-results")),
        site=site,
        title=job.spec.title,
        period=period,
        bbox=boxes[0] if boxes[0] and len(boxes[0]) == 4 else None,
        lineage=results.Lineage(
            engine="openeo",
            job_id=job.id,
            expression=job.spec.process["process_graph"],
            inputs=job.spec.inputs,
            software={},
            description=f"Batch job {job.engine_id} at {backend.title} ({backend.url}).",
        ),
    )
    derived = [link for link in metadata.get("links", ()) if link.get("rel") == "derived_from"]
    item["links"] += derived
    return [item]
