"""Errors of the service as one JSON shape: ``code message hint retryable request_id``.

``description`` repeats the message, because the STAC API specification names the member that
way. Nothing of a traceback or an inner address reaches the client; the log has it under the same
request id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from cscale_core.errors import (
    CScaleError,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
)

CODES = {
    400: "invalid_input",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "invalid_input",
    502: "upstream_error",
    503: "busy",
    504: "upstream_timeout",
}
# The first that fits counts: UpstreamTimeout is an UpstreamError.
_STATUS: Sequence[tuple[type[CScaleError], int]] = (
    (InvalidInput, 400),
    (NotFound, 404),
    (Forbidden, 403),
    (LoginRequired, 403),
    (UpstreamTimeout, 504),
    (UpstreamError, 502),
)


class Problem(Exception):
    """A failure that is explained to the client."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        hint: str = "",
        retryable: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint
        self.retryable = retryable
        self.headers = dict(headers or {})

    def response(self, scope: Scope) -> Response:
        """The HTTP answer to the request of ``scope``."""
        body = {
            "code": CODES.get(self.status, "internal"),
            "message": self.message,
            "description": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "request_id": scope.get("state", {}).get("request_id", ""),
        }
        return Response(
            json.dumps(body, ensure_ascii=True),
            status_code=self.status,
            headers=self.headers,
            media_type="application/json",
        )


FAILURE = Problem(
    500, "The service failed on this request.", hint="Its log tells more under the request id."
)


def invalid(message: str, hint: str = "") -> Problem:
    """The request cannot be understood or contradicts itself: 400."""
    return Problem(400, message, hint=hint)


def explained(error: CScaleError) -> Problem:
    """The answer that one of the core's errors becomes."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return Problem(status, error.message, hint=error.hint, retryable=error.retryable)


def explain_validation(errors: Sequence[Any]) -> str:
    """One sentence per wrong member, ``bbox: Input should be a valid number``."""
    lines: list[str] = []
    for error in errors:
        place = [str(part) for part in error.get("loc", ()) if part not in ("body", "query")]
        message = str(error.get("msg", "")).removeprefix("Value error, ")
        line = f"{place[0]}: {message}" if place else message
        if line not in lines:
            lines.append(line)
    return "; ".join(lines[:8]) or "The request is not valid."


def add_handlers(app: FastAPI) -> None:
    """Make every expected exception of ``app`` an answer of the one shape.

    What is not expected is answered by the outermost layer, see :mod:`cscale_mqs.middleware`.
    """

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - the registration below says so
        return error.response(request.scope)

    async def core(request: Request, error: Exception) -> Response:
        assert isinstance(error, CScaleError)  # noqa: S101
        return explained(error).response(request.scope)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        detail = str(error.detail or HTTPStatus(error.status_code).phrase)
        return Problem(error.status_code, detail, headers=error.headers).response(request.scope)

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return invalid(explain_validation(error.errors())).response(request.scope)

    for kind, handler in (
        (Problem, known),
        (CScaleError, core),
        (HTTPException, http),
        (RequestValidationError, validation),
    ):
        app.add_exception_handler(kind, handler)
