"""Routes of the one list of jobs, and of staging and registration, which fill it and follow it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.addresses import localise
from cscale_core.errors import Conflict, InvalidInput, NotFound
from cscale_core.ingest.register import RegisterReport
from cscale_core.jobs.model import Job, JobSpec
from cscale_server.models import (
    Item,
    JobList,
    JobSummary,
    Logs,
    RegisterRequest,
    Results,
    StageRequest,
)
from cscale_server.routes.base import PREFIX, CScaleHandler
from cscale_server.routes.table import UPSTREAM, Operation, Parameter, Route

if TYPE_CHECKING:
    from cscale_server.catalog.service import Catalog


class _JobAnswers(CScaleHandler):
    """Answers with jobs. Holds no verbs."""

    def answer_job(self, job: Job, status: int = HTTPStatus.OK) -> None:
        """Finish with a job; its result items get the addresses of this server."""
        self.answer(self._localised(job), status)

    def _localised(self, job: Job) -> Job:
        site = self.extension.require_site()
        return job.model_copy(update={"results": [localise(item, site) for item in job.results]})


class StageHandler(_JobAnswers):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        request = await self.body(StageRequest)
        backend = await self.extension.backend()
        items = await self._chosen(request, backend.catalog)
        spec = JobSpec(
            engine="staging",
            title=request.title or f"Stage {len(items)} item" + ("s" if len(items) > 1 else ""),
            vo=request.vo,
            process={
                "items": items,
                "assets": request.assets,
                "register": request.register_items,
            },
        )
        job = await backend.jobs.submit(spec, self.request.headers.get("Idempotency-Key", ""))
        self.set_header("Location", f"{self.base_url}{PREFIX}/jobs/{job.id}")
        self.answer_job(job, HTTPStatus.CREATED)

    @staticmethod
    async def _chosen(request: StageRequest, catalog: Catalog) -> list[Item]:
        if request.refs is not None:
            return await catalog.items(request.refs)
        if request.query is None:
            return request.items or []
        # Without ``fields``: what is staged is whole.
        found = await catalog.search(request.query.model_copy(update={"fields": None}))
        if not found.items:
            failed = [report.id for report in found.providers if report.error]
            raise InvalidInput(
                "The search finds nothing, so there is nothing to stage."
                + (f" These did not answer: {', '.join(failed)}." if failed else ""),
                hint="Widen the area, the dates or the list of collections.",
            )
        return list(found.items)


class RegisterHandler(CScaleHandler):
    auth_resource = "cscale:register"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        request = await self.body(RegisterRequest)
        backend = await self.extension.backend()
        self.answer(await backend.register(request.items))


class JobsHandler(_JobAnswers):
    auth_resource = "cscale:jobs"

    @property
    def _track_activity(self) -> bool:  # type: ignore[override]
        return self.request.method != "GET"  # the list is polled, see StatusHandler

    @web.authenticated
    @authorized
    async def get(self) -> None:
        since = self.number("since", 0)
        backend = await self.extension.backend()
        jobs = await backend.jobs.list(since=since)
        revision = max((job.revision for job in jobs), default=since)
        self.answer(JobList(jobs=[JobSummary.of(job) for job in jobs], revision=revision))

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        spec = await self.body(JobSpec)
        backend = await self.extension.backend()
        job = await backend.jobs.submit(spec, self.request.headers.get("Idempotency-Key", ""))
        self.set_header("Location", f"{self.base_url}{PREFIX}/jobs/{job.id}")
        self.answer_job(job, HTTPStatus.CREATED)


class JobHandler(_JobAnswers):
    auth_resource = "cscale:jobs"

    @property
    def _track_activity(self) -> bool:  # type: ignore[override]
        return self.request.method != "GET"

    @web.authenticated
    @authorized
    async def get(self, job_id: str) -> None:
        backend = await self.extension.backend()
        job = await backend.jobs.get(job_id)
        await self.extension.show_files(job)
        self.answer_job(job)

    @web.authenticated
    @authorized
    async def delete(self, job_id: str) -> None:
        self.require_owner()
        backend = await self.extension.backend()
        await backend.jobs.delete(job_id)
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


class CancelHandler(_JobAnswers):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self, job_id: str) -> None:
        self.require_owner()
        backend = await self.extension.backend()
        self.answer_job(await backend.jobs.cancel(job_id))


class LogsHandler(CScaleHandler):
    auth_resource = "cscale:jobs"
    _track_activity = False  # polled, see StatusHandler

    @web.authenticated
    @authorized
    async def get(self, job_id: str) -> None:
        after, limit = self.number("after", 0), self.number("limit", 500, largest=5000)
        backend = await self.extension.backend()
        lines = await backend.jobs.logs(job_id, after=after, limit=limit)
        self.answer(Logs(logs=lines, next=lines[-1].id if lines else after))


class ResultsHandler(_JobAnswers):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def get(self, job_id: str) -> None:
        backend = await self.extension.backend()
        job = await backend.jobs.get(job_id)
        if not job.status.ended:
            raise Conflict(
                f"Job {job_id} is {job.status.value}: it has no results yet.",
                hint="Ask again when it has finished.",
                retryable=True,
            )
        self.answer(Results(features=self._localised(job).results))


class PublishHandler(CScaleHandler):
    auth_resource = "cscale:register"

    @web.authenticated
    @authorized
    async def post(self, job_id: str) -> None:
        self.require_owner()
        backend = await self.extension.backend()
        report = await backend.jobs.publish(job_id)
        await self.extension.refresh_mounts()
        self.answer(report)


_IDEMPOTENCY = Parameter(
    "Idempotency-Key",
    "header",
    {"type": "string", "maxLength": 200},
    "The same key again gives the job that was made the first time.",
)
_SINCE = Parameter(
    "since", "query", {"type": "integer", "minimum": 0, "default": 0}, "A revision of the list."
)
_AFTER = Parameter(
    "after", "query", {"type": "integer", "minimum": 0, "default": 0}, "id of the last line known."
)
_LIMIT = Parameter(
    "limit",
    "query",
    {"type": "integer", "minimum": 0, "maximum": 5000, "default": 500},
    "Lines at most.",
)

ROUTES: tuple[Route, ...] = (
    Route(
        "stage",
        StageHandler,
        (
            Operation(
                "post",
                "Bring items into the bucket, as a job",
                Job,
                request=StageRequest,
                status=HTTPStatus.CREATED,
                parameters=(_IDEMPOTENCY,),
                errors=(NotFound, Conflict, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "register",
        RegisterHandler,
        (
            Operation(
                "post",
                "Write staged items to the community's catalogue",
                RegisterReport,
                request=RegisterRequest,
                errors=UPSTREAM,
            ),
        ),
    ),
    Route(
        "jobs",
        JobsHandler,
        (
            Operation("get", "Jobs that changed", JobList, parameters=(_SINCE,)),
            Operation(
                "post",
                "Submit a job",
                Job,
                request=JobSpec,
                status=HTTPStatus.CREATED,
                parameters=(_IDEMPOTENCY,),
                errors=(Conflict, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "jobs/{job_id}",
        JobHandler,
        (
            Operation("get", "One job, whole", Job, errors=(NotFound,)),
            Operation(
                "delete",
                "Forget a job that has ended; its results stay in the bucket",
                None,
                status=HTTPStatus.NO_CONTENT,
                errors=(NotFound, Conflict),
            ),
        ),
    ),
    Route(
        "jobs/{job_id}/cancel",
        CancelHandler,
        (Operation("post", "Stop a job", Job, errors=(NotFound, Conflict, *UPSTREAM)),),
    ),
    Route(
        "jobs/{job_id}/logs",
        LogsHandler,
        (Operation("get", "Log lines", Logs, parameters=(_AFTER, _LIMIT), errors=(NotFound,)),),
    ),
    Route(
        "jobs/{job_id}/results",
        ResultsHandler,
        (Operation("get", "Result items", Results, errors=(NotFound, Conflict)),),
    ),
    Route(
        "jobs/{job_id}/publish",
        PublishHandler,
        (
            Operation(
                "post",
                "Write a job's result items to the community's catalogue",
                RegisterReport,
                errors=(NotFound, Conflict, *UPSTREAM),
            ),
        ),
    ),
)
