"""Errors of the catalogue as one JSON shape: ``code message hint retryable request_id``.

``description`` repeats the message, because the STAC API specification names the member that
way. Nothing of a traceback, a query or a path reaches the client; the log has it under the same
request id.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from stac_fastapi.types.errors import (
    ConflictError,
    ForeignKeyError,
    InvalidQueryParameter,
    NotFoundError,
)
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

CODES = {
    400: "invalid_input",
    401: "login_required",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "invalid_input",
    503: "upstream_error",
    507: "storage_full",
}


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
            json.dumps(body, ensure_ascii=False),
            status_code=self.status,
            headers=self.headers,
            media_type="application/json",
        )


def invalid(message: str, hint: str = "") -> Problem:
    """The request cannot be understood or contradicts itself: 400."""
    return Problem(400, message, hint=hint)


def explain_validation(errors: list[dict[str, Any]], body: Any = None) -> str:
    """One sentence per wrong member, ``properties.datetime: Field required``.

    pydantic reports every branch of "an Item or an ItemCollection"; only the branch that the
    body's own ``type`` names is of interest.
    """
    branches = {"Item", "ItemCollection", "PartialItem", "PartialCollection"}
    kind = body.get("type") if isinstance(body, dict) else None
    wanted = {"Feature": "Item", "FeatureCollection": "ItemCollection"}.get(str(kind), "Item")
    lines: list[str] = []
    for error in errors:
        place = [str(part) for part in error.get("loc", ()) if part not in ("body", "query")]
        if place and place[0] in branches:
            if place[0] in ("Item", "ItemCollection") and place[0] != wanted:
                continue
            place = place[1:]
        message = str(error.get("msg", "")).removeprefix("Value error, ")
        line = f"{'.'.join(place)}: {message}" if place else message
        if line not in lines:
            lines.append(line)
    return "; ".join(lines[:8]) or "the request is not valid"


def add_handlers(app: FastAPI) -> None:
    """Make every expected exception of ``app`` an answer of the one shape.

    What is not expected is answered by the outermost layer, see ``AccessMiddleware``.
    """

    def answer(request: Request, problem: Problem) -> Response:
        return problem.response(request.scope)

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - the registration below says so
        return answer(request, error)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        detail = str(error.detail or HTTPStatus(error.status_code).phrase)
        return answer(request, Problem(error.status_code, detail, headers=error.headers))

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return answer(request, invalid(explain_validation(list(error.errors()), error.body)))

    async def missing(request: Request, error: Exception) -> Response:
        return answer(request, Problem(404, str(error) or "there is no such thing here"))

    async def conflict(request: Request, error: Exception) -> Response:
        hint = "compare with what is stored, and replace it with PUT if yours is newer"
        return answer(request, Problem(409, str(error) or "it exists already", hint=hint))

    async def parameter(request: Request, error: Exception) -> Response:
        return answer(request, invalid(str(error)))

    async def store(request: Request, error: Exception) -> Response:
        reason = getattr(error, "sqlite_errorcode", None)
        if reason == sqlite3.SQLITE_FULL:
            message = "the disk of the catalogue is full; nothing of this request was stored"
            return answer(request, Problem(507, message, hint="tell the operator"))
        if reason in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            message = "the catalogue is busy; nothing of this request was stored"
            return answer(request, Problem(503, message, hint="try again", retryable=True))
        raise error

    for kind, handler in (
        (sqlite3.OperationalError, store),
        (Problem, known),
        (HTTPException, http),
        (RequestValidationError, validation),
        (NotFoundError, missing),
        (ForeignKeyError, missing),
        (ConflictError, conflict),
        (InvalidQueryParameter, parameter),
    ):
        app.add_exception_handler(kind, handler)
