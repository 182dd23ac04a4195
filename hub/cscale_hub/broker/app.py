"""The broker over HTTP: two questions, one health check, problem-shaped errors."""

from __future__ import annotations

import logging
import math
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
from fastapi import APIRouter, FastAPI, Header, Query
from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request as HTTPRequest
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from cscale_hub.audit import AuditLog
from cscale_hub.broker.config import BrokerConfig
from cscale_hub.broker.errors import BrokerError, InvalidInputError, LoginRequiredError
from cscale_hub.broker.exchange import SameToken, TokenExchange
from cscale_hub.broker.hub import Hub
from cscale_hub.broker.issue import Broker, Request
from cscale_hub.broker.sts import RoleAssumer
from cscale_hub.metrics import exposition
from cscale_hub.settings import SettingsError

log = logging.getLogger("cscale_hub.broker")

_AUTHORIZATION = re.compile(r"(?:token|bearer) ([!-~]{8,2048})", re.IGNORECASE)
Authorization = Annotated[str, Header()]

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def make_broker(
    config: BrokerConfig, http: httpx.AsyncClient, environment: Mapping[str, str]
) -> Broker:
    """The broker with its upstreams, from the configuration and JupyterHub's variables.

    :raises SettingsError: when a file or a variable is missing.
    """
    missing = [
        name for name in ("JUPYTERHUB_API_URL", "JUPYTERHUB_API_TOKEN") if not environment.get(name)
    ]
    if missing:
        raise SettingsError(f"{missing[0]} is not set; the broker is started by JupyterHub")
    try:
        secret = config.client_secret_file.read_text(encoding="utf-8").strip()
        audit = AuditLog(config.audit_log)
    except OSError as error:
        raise SettingsError(f"The broker cannot start: {error}") from error
    if not secret:
        raise SettingsError(f"{config.client_secret_file} is empty")
    exchange: TokenExchange | SameToken = SameToken()
    if config.token_exchange:
        exchange = TokenExchange(http, config.token_url, config.client_id, secret)
    return Broker(
        config,
        hub=Hub(http, environment["JUPYTERHUB_API_URL"], environment["JUPYTERHUB_API_TOKEN"]),
        exchange=exchange,
        sts=RoleAssumer(http, config.s3.sts_endpoint or config.s3.endpoint, config.s3.role_arn),
        audit=audit,
    )


def create_app(
    config: BrokerConfig,
    environment: Mapping[str, str],
    transport: httpx.AsyncBaseTransport | None = None,
) -> FastAPI:
    """The application; upstream connections live as long as it runs.

    :param environment: ``JUPYTERHUB_API_URL`` and ``JUPYTERHUB_API_TOKEN`` are read from it.
    :param transport: for tests, instead of the network.
    :raises SettingsError: when the broker cannot be configured.
    """
    http = httpx.AsyncClient(
        transport=transport,
        timeout=httpx.Timeout(config.timeout, connect=min(5.0, config.timeout)),
        trust_env=False,
        follow_redirects=False,
    )
    broker = make_broker(config, http, environment)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with http:
            yield

    app = FastAPI(
        title="C-SCALE Hub token broker",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.include_router(_routes(broker), prefix=config.prefix)

    @app.get("/metrics")
    async def metrics() -> Response:
        """For Prometheus, at the broker's own port: the proxy leads to the prefix only."""
        content, media_type = exposition()
        return Response(content, media_type=media_type)

    _handle_errors(app)
    return app


def _routes(broker: Broker) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process answers; asks no upstream."""
        return {"status": "ok"}

    @router.get("/v1/token")
    async def token(
        request: HTTPRequest,
        audience: Annotated[str, Query(max_length=64)],
        authorization: Authorization = "",
    ) -> JSONResponse:
        """An access token for one audience."""
        asked = Request(_bearer(authorization), _request_id(request))
        return _answer(await broker.token(asked, audience), asked.request_id)

    @router.get("/v1/s3")
    async def s3(request: HTTPRequest, authorization: Authorization = "") -> JSONResponse:
        """S3 credentials in the AWS container format."""
        asked = Request(_bearer(authorization), _request_id(request))
        return _answer(await broker.s3_credentials(asked), asked.request_id)

    return router


def _bearer(authorization: str) -> str:
    match = _AUTHORIZATION.fullmatch(authorization)
    if match is None:
        raise LoginRequiredError(
            "No JupyterHub token was sent.",
            hint="Send 'Authorization: token …' with the token of your server.",
        )
    return match.group(1)


def _request_id(request: HTTPRequest) -> str:
    if not hasattr(request.state, "request_id"):
        request.state.request_id = uuid.uuid4().hex
    return str(request.state.request_id)


def _answer(body: dict[str, str], request_id: str) -> JSONResponse:
    return JSONResponse(body, headers=_NO_STORE | {"X-Request-Id": request_id})


def _problem(request: HTTPRequest, error: BrokerError) -> JSONResponse:
    request_id = _request_id(request)
    headers = _NO_STORE | {"X-Request-Id": request_id}
    if error.retry_after:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if error.status == 401:
        headers["WWW-Authenticate"] = "token"
    return JSONResponse(error.body(request_id), error.status, headers)


def _handle_errors(app: FastAPI) -> None:
    """Every error leaves in the problem shape, and none with a traceback."""

    @app.exception_handler(BrokerError)
    async def refused(request: HTTPRequest, error: BrokerError) -> JSONResponse:
        if error.status >= 500:
            cause = type(error.__cause__).__name__ if error.__cause__ else ""
            log.warning("%s: %s %s", _request_id(request), error.message, cause)
        return _problem(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: HTTPRequest, error: RequestValidationError) -> JSONResponse:
        wrong = ", ".join(str(each["loc"][-1]) for each in error.errors())
        return _problem(request, InvalidInputError(f"Missing or not valid: {wrong}."))

    @app.exception_handler(HTTPException)
    async def other(request: HTTPRequest, error: HTTPException) -> JSONResponse:
        problem = InvalidInputError(str(error.detail))
        problem.status = error.status_code
        problem.code = "not_found" if error.status_code == 404 else "invalid_input"
        return _problem(request, problem)

    @app.exception_handler(Exception)
    async def unexpected(request: HTTPRequest, error: Exception) -> JSONResponse:
        log.error("%s: unexpected %s", _request_id(request), type(error).__name__, exc_info=error)
        return _problem(request, BrokerError("The broker failed.", hint="Tell the operator."))
