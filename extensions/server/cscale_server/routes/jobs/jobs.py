"""The list of jobs and one job: what there is, a new one, one whole, forgetting one."""

from __future__ import annotations

from http import HTTPStatus

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.errors import Conflict, NotFound
from cscale_core.jobs.model import Job, JobSpec
from cscale_server.job_models import JobList, JobSummary
from cscale_server.routes.jobs.answers import IDEMPOTENCY, JobAnswers
from cscale_server.routes.table import UPSTREAM, Operation, Parameter, Route


class JobsHandler(JobAnswers):
    auth_resource = "cscale:jobs"

    @property
    def _track_activity(self) -> bool:  # type: ignore[override]
        return self.request.method != "GET"  # the list is polled, see StatusHandler

    @web.authenticated
    @authorized
    async def get(self) -> None:
        since = self.number("since", 0)
        jobs = (await self.extension.backend()).jobs
        changes = await jobs.changes(since)
        self.answer(
            JobList(
                jobs=[JobSummary.of(job, jobs.actions(job)) for job in changes.jobs],
                deleted=changes.deleted,
                revision=changes.revision,
                whole=changes.whole,
            )
        )

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        spec = await self.body(JobSpec)
        backend = await self.extension.backend()
        self.answer_new(await backend.jobs.submit(spec, self.idempotency_key))


class JobHandler(JobAnswers):
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
        jobs = (await self.extension.backend()).jobs
        before = (await jobs.get(job_id)).revision
        await jobs.delete(job_id)
        self.extension.tell_deleted(job_id, (await jobs.changes(before)).revision)
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


_SINCE = Parameter(
    "since",
    "query",
    {"type": "integer", "minimum": 0, "default": 0},
    "The revision of the list that was got last; 0: the whole list.",
)

ROUTES: tuple[Route, ...] = (
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
                parameters=(IDEMPOTENCY,),
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
)
