"""What is done with a job: cancel, pause, resume, clone, publish."""

from __future__ import annotations

from http import HTTPStatus

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.errors import Conflict, InvalidInput, NotFound
from cscale_core.jobs.model import Job
from cscale_server.job_models import CloneRequest
from cscale_server.routes.jobs.answers import IDEMPOTENCY, JobAnswers
from cscale_server.routes.table import UPSTREAM, Operation, Route


class CancelHandler(JobAnswers):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self, job_id: str) -> None:
        self.require_owner()
        backend = await self.extension.backend()
        self.answer_job(await backend.jobs.cancel(job_id))


class PauseHandler(JobAnswers):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self, job_id: str) -> None:
        self.require_owner()
        backend = await self.extension.backend()
        self.answer_job(await backend.jobs.pause(job_id))


class ResumeHandler(JobAnswers):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self, job_id: str) -> None:
        self.require_owner()
        backend = await self.extension.backend()
        self.answer_job(await backend.jobs.resume(job_id))


class CloneHandler(JobAnswers):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self, job_id: str) -> None:
        self.require_owner()
        request = await self.body(CloneRequest)
        backend = await self.extension.backend()
        job = await backend.jobs.clone(
            job_id,
            suggested=request.suggested,
            changes=request.changes.model_dump(exclude_unset=True),
            idempotency_key=self.idempotency_key,
        )
        self.answer_new(job)


class PublishHandler(JobAnswers):
    auth_resource = "cscale:register"

    @web.authenticated
    @authorized
    async def post(self, job_id: str) -> None:
        self.require_owner()
        backend = await self.extension.backend()
        self.answer_new(await backend.jobs.publish(job_id, self.idempotency_key))


ROUTES: tuple[Route, ...] = (
    Route(
        "jobs/{job_id}/cancel",
        CancelHandler,
        (Operation("post", "Stop a job", Job, errors=(NotFound, Conflict, *UPSTREAM)),),
    ),
    Route(
        "jobs/{job_id}/pause",
        PauseHandler,
        (Operation("post", "Let a job rest", Job, errors=(NotFound, Conflict, *UPSTREAM)),),
    ),
    Route(
        "jobs/{job_id}/resume",
        ResumeHandler,
        (
            Operation(
                "post", "Let a job that rests go on", Job, errors=(NotFound, Conflict, *UPSTREAM)
            ),
        ),
    ),
    Route(
        "jobs/{job_id}/clone",
        CloneHandler,
        (
            Operation(
                "post",
                "Submit a job again, also with changes, as a new one",
                Job,
                request=CloneRequest,
                status=HTTPStatus.CREATED,
                parameters=(IDEMPOTENCY,),
                errors=(NotFound, Conflict, InvalidInput, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "jobs/{job_id}/publish",
        PublishHandler,
        (
            Operation(
                "post",
                "Share a job's results in the community's catalogue, by a staging job; the same "
                "one while it is under way and when it has finished",
                Job,
                status=HTTPStatus.CREATED,
                parameters=(IDEMPOTENCY,),
                errors=(NotFound, Conflict, *UPSTREAM),
            ),
        ),
    ),
)
