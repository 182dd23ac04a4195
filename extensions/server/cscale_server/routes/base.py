"""The REST API below ``cscale/api/v1``: handlers that only translate HTTP, and their table.

Every verb is decorated in the concrete class: ``authorized`` keeps the resource it saw first, so
in a shared base class it would check one handler's resource for another.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from uuid import uuid4

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from tornado import web

from cscale_core.addresses import localise
from cscale_core.catalog.query import SearchQuery
from cscale_core.errors import (
    Conflict,
    CScaleError,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
)
from cscale_core.ingest.register import RegisterReport
from cscale_core.jobs.model import Job, JobSpec
from cscale_core.site import Site
from cscale_server import problems
from cscale_server.models import (
    JobList,
    JobSummary,
    Logs,
    RegisterRequest,
    Results,
    SearchAnswer,
    StageRequest,
    Status,
)

if TYPE_CHECKING:
    from cscale_server.app import CScaleExtension

PREFIX = "cscale/api/v1"
MAX_BODY = 32 * 1024 * 1024
"""Bytes of the largest request body: a thousand rich STAC items are a fifth of that."""

OWNER_VARIABLE = "JUPYTERHUB_USER"

_M = TypeVar("_M", bound=BaseModel)


class CScaleHandler(APIHandler):
    """Bodies in, problems out. Holds no verbs; see the module's docstring."""

    def initialize(self, extension: CScaleExtension) -> None:
        """Called by tornado for each request, before anything else."""
        self.extension = extension

    @property
    def request_id(self) -> str:
        """Names this request in answers and in the log."""
        if not hasattr(self, "_request_id"):
            self._request_id = uuid4().hex
        return self._request_id

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("X-Request-ID", self.request_id)
        self.set_header("Cache-Control", "no-store")

    async def prepare(self) -> None:  # type: ignore[override]
        await super().prepare()
        if len(self.request.body) > MAX_BODY:
            raise problems.BodyTooLarge(
                f"The request has more than {MAX_BODY // 1024**2} MiB.",
                hint="Send fewer items at a time.",
            )

    # -- in ----------------------------------------------------------------------------------

    def body(self, model: type[_M]) -> _M:
        """The body as a model.

        :raises MalformedBody: when it is not a JSON object.
        :raises InvalidInput: when fields are missing, unknown or wrong.
        """
        try:
            data = json.loads(self.request.body or b"{}")
        except ValueError as error:
            raise problems.MalformedBody(
                f"The body is not JSON: {error}.", hint="Send a JSON object."
            ) from error
        if not isinstance(data, dict):
            raise problems.MalformedBody("The body is not a JSON object.")
        try:
            return model.model_validate(data)
        except ValidationError as error:
            raise problems.invalid_fields(error) from error

    def number(self, name: str, fallback: int, largest: int = 2**53) -> int:
        """A whole number from the query string, between 0 and ``largest``."""
        text = self.get_query_argument(name, str(fallback))
        if not re.fullmatch(r"\d{1,16}", text) or int(text) > largest:
            raise InvalidInput(f"{name}: a whole number from 0 to {largest} is expected.")
        return int(text)

    def require_owner(self) -> None:
        """Only the owner changes things: they are done with the owner's credentials.

        On a server shared through JupyterHub others are authorized too, and may look.
        """
        owner = os.environ.get(OWNER_VARIABLE, "")
        if owner and self.current_user.username != owner:
            raise Forbidden(
                "Only the owner of this server can do that.",
                hint="It would be done with the owner's login. Use your own server for it.",
            )

    # -- out ---------------------------------------------------------------------------------

    def answer(self, content: Any, status: int = HTTPStatus.OK) -> None:
        """Finish with JSON; pydantic models and dataclasses are taken as they are."""
        self.set_status(status)
        self.finish(to_json(content))

    def answer_job(self, job: Job, status: int = HTTPStatus.OK) -> None:
        """Finish with a job; its result items get the addresses of this server."""
        self.answer(self._localised(job), status)

    def _localised(self, job: Job) -> Job:
        site = self.extension.require_site()
        return job.model_copy(update={"results": [localise(item, site) for item in job.results]})

    def log_exception(self, *exc_info: Any) -> None:
        error = exc_info[1]
        if isinstance(error, CScaleError):
            self.log.info(
                "%s %s: %s: %s [%s]",
                self.request.method,
                self.request.path,
                error.code,
                error.message,
                self.request_id,
            )
        elif isinstance(error, web.HTTPError):
            super().log_exception(*exc_info)
        else:
            self.log.error(
                "%s %s failed [%s]",
                self.request.method,
                self.request.path,
                self.request_id,
                exc_info=exc_info,
            )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, CScaleError):
            self.set_status(problems.status_of(error))
            body = problems.problem(error, self.request_id)
        elif isinstance(error, web.HTTPError):
            message = error.log_message or HTTPStatus(status_code).phrase
            body = problems.plain_problem(status_code, message, self.request_id)
        else:
            body = problems.unexpected_problem(self.request_id)
        self.finish(to_json(body))


class StatusHandler(CScaleHandler):
    auth_resource = "cscale:status"
    _track_activity = False  # polled: a forgotten tab must not keep the server alive

    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.answer(self.extension.status())


class SiteHandler(CScaleHandler):
    auth_resource = "cscale:site"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.answer(self.extension.require_site())


class SearchHandler(CScaleHandler):
    auth_resource = "cscale:search"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        query = self.body(SearchQuery)
        backend = await self.extension.backend()
        found = await backend.search(query)
        site = self.extension.require_site()
        self.answer(
            SearchAnswer(
                items=[localise(item, site) for item in found.items], providers=found.providers
            )
        )


class StageHandler(CScaleHandler):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        request = self.body(StageRequest)
        backend = await self.extension.backend()
        items = request.items or []
        if request.query is not None:
            items = list((await backend.search(request.query)).items)
            if not items:
                raise InvalidInput(
                    "The search finds nothing, so there is nothing to stage.",
                    hint="Widen the area, the dates or the list of collections.",
                )
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


class RegisterHandler(CScaleHandler):
    auth_resource = "cscale:register"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        request = self.body(RegisterRequest)
        backend = await self.extension.backend()
        self.answer(await backend.register(request.items))


class JobsHandler(CScaleHandler):
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
        spec = self.body(JobSpec)
        backend = await self.extension.backend()
        job = await backend.jobs.submit(spec, self.request.headers.get("Idempotency-Key", ""))
        self.set_header("Location", f"{self.base_url}{PREFIX}/jobs/{job.id}")
        self.answer_job(job, HTTPStatus.CREATED)


class JobHandler(CScaleHandler):
    auth_resource = "cscale:jobs"

    @property
    def _track_activity(self) -> bool:  # type: ignore[override]
        return self.request.method != "GET"

    @web.authenticated
    @authorized
    async def get(self, job_id: str) -> None:
        backend = await self.extension.backend()
        self.answer_job(await backend.jobs.get(job_id))

    @web.authenticated
    @authorized
    async def delete(self, job_id: str) -> None:
        self.require_owner()
        backend = await self.extension.backend()
        await backend.jobs.delete(job_id)
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


class CancelHandler(CScaleHandler):
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


class ResultsHandler(CScaleHandler):
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


class UnknownHandler(CScaleHandler):
    """What is not in the table: a problem in JSON instead of Jupyter's page."""

    auth_resource = "cscale:status"

    @web.authenticated
    @authorized
    async def get(self, path: str | None) -> None:
        self._refuse(path)

    @web.authenticated
    @authorized
    async def post(self, path: str | None) -> None:
        self._refuse(path)

    @web.authenticated
    @authorized
    async def put(self, path: str | None) -> None:
        self._refuse(path)

    @web.authenticated
    @authorized
    async def patch(self, path: str | None) -> None:
        self._refuse(path)

    @web.authenticated
    @authorized
    async def delete(self, path: str | None) -> None:
        self._refuse(path)

    def _refuse(self, path: str | None) -> None:
        raise web.HTTPError(HTTPStatus.NOT_FOUND, f"There is no {PREFIX}/{path or ''}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the query string or a header."""

    name: str
    place: Literal["query", "header"]
    schema: dict[str, Any]
    description: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One verb of one route, as OpenAPI tells it."""

    method: Literal["get", "post", "delete"]
    summary: str
    answer: Any
    """Type of the body of the good answer; None: there is none."""
    request: type[BaseModel] | None = None
    status: int = HTTPStatus.OK
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[type[CScaleError], ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A path below :data:`PREFIX`; ``{job_id}`` stands for one segment."""

    path: str
    handler: type[CScaleHandler]
    operations: tuple[Operation, ...]


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
_UPSTREAM: tuple[type[CScaleError], ...] = (LoginRequired, UpstreamError, UpstreamTimeout)

ROUTES: tuple[Route, ...] = (
    Route("status", StatusHandler, (Operation("get", "Readiness and mounts", Status),)),
    Route("site", SiteHandler, (Operation("get", "What this place offers to this user", Site),)),
    Route(
        "search",
        SearchHandler,
        (
            Operation(
                "post",
                "Search every provider at once; one that fails is reported, never lost",
                SearchAnswer,
                request=SearchQuery,
                errors=_UPSTREAM,
            ),
        ),
    ),
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
                errors=(Conflict, *_UPSTREAM),
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
                errors=_UPSTREAM,
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
                errors=(Conflict, *_UPSTREAM),
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
        (Operation("post", "Stop a job", Job, errors=(NotFound, Conflict, *_UPSTREAM)),),
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
                errors=(NotFound, Conflict, *_UPSTREAM),
            ),
        ),
    ),
)


def handlers(extension: CScaleExtension) -> list[tuple[str, type[CScaleHandler], dict[str, Any]]]:
    """The table as tornado takes it; the base URL is put before it by Jupyter Server."""
    arguments = {"extension": extension}
    table: list[tuple[str, type[CScaleHandler], dict[str, Any]]] = [
        (f"{PREFIX}/" + route.path.replace("{job_id}", r"([^/]+)"), route.handler, arguments)
        for route in ROUTES
    ]
    return [*table, (f"{PREFIX}(?:/(.*))?", UnknownHandler, arguments)]
