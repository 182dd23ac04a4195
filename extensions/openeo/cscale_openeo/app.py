"""The openEO API over HTTP: routes only translate between HTTP and :class:`Service`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from cscale_openeo import capabilities as documents
from cscale_openeo.authentication import User
from cscale_openeo.config import Config
from cscale_openeo.credentials import job_token, same_secret
from cscale_openeo.errors import OpenEOError
from cscale_openeo.object_store import explain
from cscale_openeo.processes import specifications
from cscale_openeo.result_document import result_document
from cscale_openeo.service import Service
from cscale_openeo.store import StoredJob
from cscale_openeo.synchronous import remove

logger = logging.getLogger(__name__)
_CHUNK = 1 << 18


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(_service)]


async def _user(service: ServiceOf, authorization: Annotated[str | None, Header()] = None) -> User:
    return await service.authenticator.user(authorization)


async def _member(
    service: ServiceOf, authorization: Annotated[str | None, Header()] = None
) -> User:
    return await service.authenticator.member(authorization)


AnyUser = Annotated[User, Depends(_user)]
Member = Annotated[User, Depends(_member)]


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise OpenEOError("RequestInvalid", "The request body is no JSON.") from error
    if not isinstance(body, dict):
        raise OpenEOError("RequestInvalid", "The request body must be a JSON object.")
    return body


Body = Annotated[dict[str, Any], Depends(_body)]
Limit = Annotated[int | None, Query(ge=1)]


def _job(job_id: str, user: AnyUser, service: ServiceOf) -> StoredJob:
    # The owner of a job keeps it, also after leaving the VO.
    return service.store.owned(job_id, user.subject)


OwnJob = Annotated[StoredJob, Depends(_job)]

public = APIRouter()
router = APIRouter()


# --- what is here ---------------------------------------------------------------------------------


@public.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether the service answers."""
    return {"status": "ok"}


@public.get("/.well-known/openeo")
async def well_known(service: ServiceOf) -> dict[str, Any]:
    """Versions of the API."""
    return documents.well_known(service.config)


@public.get("/")
async def capabilities(service: ServiceOf) -> dict[str, Any]:
    """What this back end can do."""
    return documents.capabilities(service.config)


@public.get("/conformance")
async def conformance() -> dict[str, Any]:
    """Conformance classes."""
    return {"conformsTo": documents.CONFORMANCE}


@public.get("/file_formats")
async def file_formats() -> dict[str, Any]:
    """Formats of save_result."""
    return documents.file_formats()


@public.get("/udf_runtimes")
async def udf_runtimes() -> dict[str, Any]:
    """Runtimes of run_udf."""
    return documents.udf_runtimes()


@public.get("/service_types")
async def service_types() -> dict[str, Any]:
    """Secondary services: none."""
    return {}


@public.get("/credentials/oidc")
async def oidc(service: ServiceOf) -> dict[str, Any]:
    """How to log in."""
    return documents.oidc_providers(service.config)


@public.get("/processes")
async def processes(service: ServiceOf) -> dict[str, Any]:
    """The processes that can be executed."""
    return {"processes": list(specifications().values()), "links": []}


@public.get("/collections")
async def collections(service: ServiceOf) -> dict[str, Any]:
    """Collections of the catalogue."""
    base = service.config.base_url
    return {
        "collections": await service.collections(),
        "links": [
            {"rel": "self", "href": f"{base}/collections", "type": "application/json"},
            {"rel": "root", "href": f"{base}/", "type": "application/json"},
        ],
    }


@public.get("/collections/{collection_id:path}")
async def collection(collection_id: str, service: ServiceOf) -> dict[str, Any]:
    """One collection, with its dimensions."""
    return await service.collection(collection_id)


# --- the user -------------------------------------------------------------------------------------


@router.get("/me")
async def me(user: AnyUser) -> dict[str, Any]:
    """Who the bearer of the token is."""
    shown: dict[str, Any] = {
        "user_id": user.subject,
        "links": [],
        "cscale:slug": user.slug,
        "cscale:vos": list(user.vos),
    }
    if user.name:
        shown["name"] = user.name
    return shown


@router.post("/validation")
async def validation(user: Member, body: Body, service: ServiceOf) -> dict[str, Any]:
    """All problems of a process."""
    process = body if "process_graph" in body else body.get("process", body)
    return {"errors": await service.validate(process, user.subject)}


@router.post("/result")
async def result(user: Member, body: Body, service: ServiceOf) -> FileResponse:
    """Compute a small process at once."""
    file, kind, folder = await service.compute(user, body)
    return FileResponse(
        file,
        media_type=kind,
        filename=file.name,
        headers={"OpenEO-Costs": "0"},
        background=BackgroundTask(remove, folder),
    )


@router.get("/process_graphs")
async def user_processes(user: AnyUser, service: ServiceOf) -> dict[str, Any]:
    """User-defined processes, without their graphs."""
    found = service.store.processes(user.subject)
    shown = [{k: v for k, v in p.items() if k != "process_graph"} for p in found]
    return {"processes": shown, "links": []}


@router.get("/process_graphs/{process_graph_id}")
async def user_process(process_graph_id: str, user: AnyUser, service: ServiceOf) -> dict[str, Any]:
    """One user-defined process."""
    for process in service.store.processes(user.subject):
        if process["id"] == process_graph_id:
            return process
    raise OpenEOError(
        "ProcessGraphNotFound", f"User-defined process '{process_graph_id}' does not exist."
    )


@router.put("/process_graphs/{process_graph_id}")
async def put_user_process(
    process_graph_id: str, user: Member, body: Body, service: ServiceOf
) -> Response:
    """Store a user-defined process."""
    service.put_process(user, process_graph_id, body)
    return Response(status_code=200)


@router.delete("/process_graphs/{process_graph_id}", status_code=204)
async def delete_user_process(process_graph_id: str, user: AnyUser, service: ServiceOf) -> Response:
    """Remove a user-defined process."""
    if not service.store.remove_process(user.subject, process_graph_id):
        raise OpenEOError(
            "ProcessGraphNotFound", f"User-defined process '{process_graph_id}' does not exist."
        )
    return Response(status_code=204)


# --- batch jobs -----------------------------------------------------------------------------------


@router.post("/jobs", status_code=201)
async def create_job(user: Member, body: Body, service: ServiceOf) -> Response:
    """Store a job and freeze its inputs."""
    job = await service.create_job(user, body)
    return Response(
        status_code=201,
        headers={
            "Location": f"{service.config.base_url}/jobs/{job.id}",
            "OpenEO-Identifier": job.id,
        },
    )


@router.get("/jobs")
async def jobs(
    user: AnyUser, service: ServiceOf, limit: Limit = None, page: str = ""
) -> dict[str, Any]:
    """The user's jobs, newest first."""
    return service.page(user, limit, page)


@router.get("/jobs/{job_id}")
async def job(job: OwnJob, service: ServiceOf) -> dict[str, Any]:
    """One job."""
    return service.describe(job, full=True)


@router.patch("/jobs/{job_id}", status_code=204)
async def patch_job(user: Member, job: OwnJob, body: Body, service: ServiceOf) -> Response:
    """Change a job that neither waits nor runs."""
    await service.patch_job(user, job, body)
    return Response(status_code=204)


@router.delete("/jobs/{job_id}", status_code=204)
async def delete_job(job: OwnJob, service: ServiceOf) -> Response:
    """Stop and remove a job with its results."""
    await service.manager.delete(job)
    return Response(status_code=204)


@router.get("/jobs/{job_id}/estimate")
async def estimate(job: OwnJob, service: ServiceOf) -> dict[str, Any]:
    """A rough guess of the time."""
    return service.estimate(job)


@router.get("/jobs/{job_id}/logs")
async def logs(
    job: OwnJob, service: ServiceOf, offset: str = "", limit: Limit = None, level: str = "debug"
) -> dict[str, Any]:
    """Log entries of a job."""
    return service.logs(job, offset, limit, level)


@router.post("/jobs/{job_id}/results", status_code=202)
async def start_job(user: Member, job: OwnJob, service: ServiceOf) -> Response:
    """Queue a job; no effect when it is queued or running.

    A job that ended (canceled, error, finished) runs again, on the inputs frozen at first.
    """
    if job.vo not in user.vos:
        raise OpenEOError("PermissionsInsufficient", f"You are no longer a member of {job.vo}.")
    service.manager.queue(job)
    return Response(status_code=202)


@router.delete("/jobs/{job_id}/results", status_code=204)
async def cancel_job(job: OwnJob, service: ServiceOf) -> Response:
    """Cancel a job; no effect when it neither waits nor runs."""
    await service.manager.cancel(job)
    return Response(status_code=204)


def _document(service: Service, job: StoredJob) -> dict[str, Any]:
    if job.status == "error":
        error = job.body.get("error") or {}
        raise OpenEOError(
            str(error.get("code", "JobCrashed")),
            str(error.get("message", "The job ended with an error.")),
            status=424,
        )
    results = service.manager.results(job)
    if job.status != "finished" or results is None:
        raise OpenEOError(
            "JobNotFinished",
            f"Batch job has not finished computing the results yet (it is {job.status}). "
            "Please try again later.",
        )
    return result_document(
        job,
        results,
        service.manager.destination(job),
        service.site,
        service.links,
        service.config.base_url,
    )


@router.get("/jobs/{job_id}/results")
async def results(job: OwnJob, service: ServiceOf) -> JSONResponse:
    """The results as a STAC Collection with signed links."""
    return JSONResponse(_document(service, job), headers={"OpenEO-Costs": "0"})


# --- signed links ---------------------------------------------------------------------------------


def _linked_job(service: Service, job_id: str) -> StoredJob:
    job = service.store.get(job_id)
    if job is None:
        raise OpenEOError("JobNotFound", f"The batch job '{job_id}' does not exist.")
    return job


@public.get("/results/{job_id}")
async def linked_results(
    job_id: str, expires: int, signature: str, service: ServiceOf
) -> JSONResponse:
    """The results document behind the canonical link."""
    service.links.check(job_id, "", expires, signature)
    return JSONResponse(_document(service, _linked_job(service, job_id)))


@public.api_route("/results/{job_id}/files/{name}", methods=["GET", "HEAD"])
async def linked_file(
    request: Request, job_id: str, name: str, expires: int, signature: str, service: ServiceOf
) -> Response:
    """One result file, streamed from the object store; ranges are passed on."""
    service.links.check(job_id, name, expires, signature)
    job = _linked_job(service, job_id)
    known = {file["name"] for file in (service.manager.results(job) or {}).get("files", [])}
    if name not in known:
        raise OpenEOError("FileNotFound", f"File '{name}' does not exist.")
    bucket, prefix = service.manager.destination(job)
    client = await service.manager.client(job)
    wanted: dict[str, Any] = {"Bucket": bucket, "Key": prefix + name}
    if "range" in request.headers:
        wanted["Range"] = request.headers["range"]

    def ask() -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if request.method == "HEAD":
                return client.head_object(**wanted)
            return client.get_object(**wanted)
        except (BotoCoreError, ClientError) as error:
            raise explain(error, name) from error

    answer = await anyio.to_thread.run_sync(ask)
    headers = {
        "Content-Length": str(answer["ContentLength"]),
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "private, no-transform",
    }
    if answer.get("ContentRange"):
        headers["Content-Range"] = answer["ContentRange"]
    if answer.get("ETag"):
        headers["ETag"] = answer["ETag"]
    status = 206 if answer.get("ContentRange") else 200
    media = _media_type(name)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media)
    return StreamingResponse(
        _chunks(answer["Body"]), status_code=status, headers=headers, media_type=media
    )


def _media_type(name: str) -> str:
    return {
        ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
        ".nc": "application/x-netcdf",
        ".json": "application/json",
    }.get(Path(name).suffix, "application/octet-stream")


async def _chunks(body: Any) -> AsyncIterator[bytes]:
    try:
        while block := await anyio.to_thread.run_sync(body.read, _CHUNK):
            yield block
    finally:
        body.close()


# --- for jobs, on loopback only -------------------------------------------------------------------

internal = APIRouter()


@internal.get("/internal/credentials/{job_id}")
async def job_credentials(
    job_id: str, service: ServiceOf, authorization: Annotated[str, Header()] = ""
) -> JSONResponse:
    """Keys for a running job, in the AWS container-credentials format.

    Not below the public prefix, so the hub's proxy does not lead here.
    """
    job = service.job_for_credentials(job_id)
    token_file = service.manager.folder(job_id).token if job is not None else None
    if (
        job is None
        or token_file is None
        or not token_file.exists()
        or not same_secret(authorization, job_token(token_file))
    ):
        raise OpenEOError("PermissionsInsufficient", "No credentials for this request.")
    bucket, _ = service.manager.destination(job)
    keys = await service.credentials.credentials(bucket, job.slug, job.id)
    return JSONResponse(keys, headers={"Cache-Control": "no-store"})


# --- the application ------------------------------------------------------------------------------


def _failure(error: OpenEOError) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    if error.status == 503:
        headers = {"Retry-After": "10"}
    return JSONResponse(error.as_dict(), status_code=error.status, headers=headers)


def create_app(config: Config) -> FastAPI:
    """The ASGI application."""
    service = Service(config)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title=config.title, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.service = service
    # openEO clients in browsers come from anywhere; nothing here rests on cookies.
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["Location", "OpenEO-Identifier", "OpenEO-Costs", "Link"],
    )

    @app.middleware("http")
    async def explained(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        try:
            return await call_next(request)
        except Exception:
            # Never a traceback to the client; the log has it, found by the id.
            error = OpenEOError("Internal", "Server error. The service's log says more.")
            logger.exception("%s: %s %s failed", error.id, request.method, request.url.path)
            return _failure(error)

    @app.exception_handler(OpenEOError)
    async def openeo_error(_request: Request, error: OpenEOError) -> JSONResponse:
        if error.status >= 500:
            logger.warning("%s: %s %s", error.id, error.code, error.message)
        return _failure(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return _failure(OpenEOError("RequestInvalid", f"{where}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def http_error(_request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return _failure(OpenEOError("NotFound", "Resource not found."))
        if error.status_code == 405:
            return _failure(OpenEOError("FeatureUnsupported", "Feature not supported."))
        return _failure(OpenEOError("RequestInvalid", str(error.detail), status=error.status_code))

    app.include_router(public, prefix=config.prefix)
    app.include_router(router, prefix=config.prefix)
    app.include_router(internal)
    app.add_api_route(config.prefix, capabilities, methods=["GET"])
    return app
