"""How a route is described: the one table from which tornado's handlers and OpenAPI are made."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel

from cscale_core.errors import CScaleError, LoginRequired, UpstreamError, UpstreamTimeout
from cscale_server.routes.base import CScaleHandler

LINES = "application/x-ndjson"
"""Media type of answers that are given line by line, each line a JSON object."""

PATH_PARAMETERS = {
    "job_id": "The id of a job.",
    "ref": "The reference of an item (PROVIDER|COLLECTION|ID, its parts percent-encoded) or of a "
    "collection (PROVIDER|COLLECTION), itself percent-encoded as one segment of a path.",
    "notebook": "The reference of a shared notebook (VO|AUTHOR|NAME), percent-encoded as one "
    "segment of a path.",
}

UPSTREAM: tuple[type[CScaleError], ...] = (LoginRequired, UpstreamError, UpstreamTimeout)
"""What can go wrong wherever another service is asked."""


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
    """Type of the body of the good answer, in JSON; None: there is none."""
    lines: type[BaseModel] | None = None
    """Type of each line, where the good answer is also given as lines of JSON."""
    media_types: tuple[str, ...] = ()
    """Of the good answer, where it is not JSON."""
    request: type[BaseModel] | None = None
    status: int = HTTPStatus.OK
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[type[CScaleError], ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A path below ``PREFIX``; ``{job_id}``, ``{ref}`` and ``{notebook}`` are one segment each."""

    path: str
    handler: type[CScaleHandler]
    operations: tuple[Operation, ...]
