"""How a route is described: the one table from which tornado's handlers and OpenAPI are made."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel

from cscale_core.errors import CScaleError, LoginRequired, UpstreamError, UpstreamTimeout
from cscale_server.routes.base import CScaleHandler

PATH_PARAMETERS = {
    "job_id": "The id of a job.",
    "layer": "The name of a layer: item|PROVIDER|COLLECTION|ID, job|JOB|ITEM or object|BUCKET|KEY, "
    "its parts percent-encoded, itself percent-encoded as one segment of a path.",
    "backend": "The id of an openEO back end.",
    "process": "The id of a process.",
    "workflow": "The name of a workflow.",
    "search": "The id of a saved search.",
    "upload": "The id of an upload.",
    "z": "Zoom level of a tile.",
    "x": "Column of a tile, from the west.",
    "y": "Row of a tile, from the north.",
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
    required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One verb of one route, as OpenAPI tells it."""

    method: Literal["get", "post", "put", "delete"]
    summary: str
    answer: Any
    """Type of the body of the good answer, in JSON; None: there is none."""
    lines: type[BaseModel] | None = None
    """Type of each line, where the good answer is also given as lines of JSON."""
    media_types: tuple[str, ...] = ()
    """Of the good answer, where it is not JSON."""
    request: type[BaseModel] | None = None
    content: str = ""
    """Media type of the body that is sent, where it is not JSON."""
    status: int = HTTPStatus.OK
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[type[CScaleError], ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A path below ``PREFIX``; names in braces stand for one segment each."""

    path: str
    handler: type[CScaleHandler]
    operations: tuple[Operation, ...]
