"""Which HTTP status an error has, and how every error looks on the wire. The only such place.

A problem is ``{code, message, hint, retryable, request_id}`` and, where there are facts to tell,
``details``. It never holds a traceback.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import ValidationError

from cscale_core.errors import (
    Conflict,
    CScaleError,
    DamagedData,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    StorageFull,
    UpstreamError,
    UpstreamTimeout,
)


class MalformedBody(InvalidInput):
    """The body of the request is not JSON at all."""


class BodyTooLarge(InvalidInput):
    """The body of the request is larger than the server takes."""


class NotConfigured(CScaleError):
    """A part of the site that was not set up here was asked for."""

    code = "not_configured"


STATUS: dict[type[CScaleError], int] = {
    MalformedBody: HTTPStatus.BAD_REQUEST,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    LoginRequired: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    DamagedData: HTTPStatus.UNPROCESSABLE_ENTITY,
    StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    UpstreamTimeout: HTTPStatus.GATEWAY_TIMEOUT,
    UpstreamError: HTTPStatus.BAD_GATEWAY,
    NotConfigured: HTTPStatus.SERVICE_UNAVAILABLE,
    CScaleError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

# Errors that come from the web framework itself (no such route, no XSRF cookie, not logged in).
_CODES = {
    HTTPStatus.BAD_REQUEST: InvalidInput.code,
    HTTPStatus.UNAUTHORIZED: LoginRequired.code,
    HTTPStatus.FORBIDDEN: Forbidden.code,
    HTTPStatus.NOT_FOUND: NotFound.code,
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.CONFLICT: Conflict.code,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: InvalidInput.code,
}


def status_of(error: CScaleError) -> int:
    """The HTTP status of an error: that of the nearest class in :data:`STATUS`."""
    return next(int(STATUS[kind]) for kind in type(error).__mro__ if kind in STATUS)


def problem(error: CScaleError, request_id: str) -> dict[str, Any]:
    """The body of the answer for an explained failure."""
    return {**error.as_dict(), "request_id": request_id}


def plain_problem(status: int, message: str, request_id: str) -> dict[str, Any]:
    """The body of the answer for a failure the web framework reports."""
    known = status in _CODES
    return {
        "code": _CODES[HTTPStatus(status)] if known else CScaleError.code,
        "message": message,
        "hint": "",
        "retryable": False,
        "request_id": request_id,
    }


def unexpected_problem(request_id: str) -> dict[str, Any]:
    """The body of the answer for a fault of ours: the log has the rest, under the request id."""
    return {
        "code": CScaleError.code,
        "message": "Something went wrong in the server.",
        "hint": f"The server's log tells more under the request id {request_id}.",
        "retryable": False,
        "request_id": request_id,
    }


def invalid_fields(error: ValidationError) -> InvalidInput:
    """A validation error in words: one readable path and sentence per field."""
    fields = [
        {"field": ".".join(str(part) for part in entry["loc"]) or "body", "message": entry["msg"]}
        for entry in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    sentence = "; ".join(f"{entry['field']}: {entry['message']}" for entry in fields[:5])
    return InvalidInput(
        f"The request is not valid: {sentence}.",
        hint="Correct the named fields and send the request again.",
        fields=fields,
    )
