"""A catalogue search, as both stores take it: what to find, in which order, from where on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from cql2 import Expr, ParseError
from shapely.geometry.base import BaseGeometry

from cscale_hub.local.catalogue.problems import invalid

FIELD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:.\-]{0,127}")

# What both stores evaluate; anything else is refused, never left out (CQL2, OGC 21-065r2).
LOGIC = {"and", "or", "not", "isNull", "like", "between", "in", "casei"}
COMPARISON = {"=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "^", "%"}
SPATIAL = {
    *("contains", "crosses", "disjoint", "equals", "intersects", "overlaps", "touches", "within"),
}
TEMPORAL = {
    *("after", "before", "contains", "disjoint", "during", "equals", "finishedBy", "finishes"),
    *("intersects", "meets", "metBy", "overlappedBy", "overlaps", "startedBy", "starts"),
}
ARRAY = ["containedBy", "contains", "equals", "overlaps"]
OPERATORS = frozenset(
    LOGIC
    | COMPARISON
    | {f"s_{name}" for name in SPATIAL}
    | {f"t_{name}" for name in TEMPORAL}
    | {f"a_{name}" for name in ARRAY}
)


@dataclass(frozen=True, slots=True)
class SortKey:
    """One member to sort by: ``datetime``, ``id``, ``collection`` or a property's name."""

    field: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Search:
    """What to find. Absent conditions are None; all given ones must hold."""

    collections: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    area: BaseGeometry | None = None
    period: tuple[datetime | None, datetime | None] | None = None
    filter: dict[str, Any] | None = None
    sort: tuple[SortKey, ...] = ()
    limit: int = 10
    token: str | None = None

    @property
    def order(self) -> tuple[SortKey, ...]:
        """The whole order: newest first unless asked otherwise, then by id and collection."""
        keys = self.sort or (SortKey("datetime", True),)
        named = {key.field for key in keys}
        rest = (SortKey("id", False), SortKey("collection", False))
        return (*keys, *(key for key in rest if key.field not in named))


@dataclass(frozen=True, slots=True)
class Page:
    """Some found items, the token of the next page if there is one, and how many match."""

    items: list[dict[str, Any]]
    next: str | None
    matched: int


class Backend(Protocol):
    """Where documents are kept. Methods raise stac-fastapi's ``NotFoundError`` (404) and
    ``ConflictError`` (409); a write has reached the disk when its method returns."""

    name: str

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def ping(self) -> None: ...
    async def collections(self) -> list[dict[str, Any]]: ...
    async def collection(self, collection_id: str) -> dict[str, Any]: ...
    async def item(self, collection_id: str, item_id: str) -> dict[str, Any]: ...
    async def search(self, search: Search) -> Page: ...
    async def queryables(self, collection_id: str | None) -> dict[str, Any]: ...
    async def create_items(self, collection_id: str, items: list[dict[str, Any]]) -> None: ...
    async def replace_item(self, collection_id: str, item: dict[str, Any]) -> None: ...
    async def patch_item(self, collection_id: str, item_id: str, patch: Any) -> dict[str, Any]: ...
    async def delete_item(self, collection_id: str, item_id: str) -> None: ...
    async def create_collection(self, collection: dict[str, Any]) -> None: ...
    async def replace_collection(self, collection: dict[str, Any]) -> None: ...
    async def patch_collection(self, collection_id: str, patch: Any) -> dict[str, Any]: ...
    async def delete_collection(self, collection_id: str) -> None: ...


def sort_key(field: str, descending: bool) -> SortKey:
    """A sort key from the name a client uses (``properties.`` may stand before it).

    :raises Problem: 400 for a name that cannot be a property.
    """
    name = field.strip().removeprefix("properties.")
    if not FIELD.fullmatch(name):
        raise invalid(f"sortby: {field!r} is not a property")
    return SortKey(name, descending)


def parse_filter(expression: str | dict[str, Any], language: str) -> dict[str, Any]:
    """A CQL2 filter as checked CQL2 JSON.

    :param language: ``cql2-text`` or ``cql2-json``.
    :raises Problem: 400 with the place of the error.
    """
    try:
        if language == "cql2-json" and isinstance(expression, str):
            expression = json.loads(expression)
            if not isinstance(expression, dict):
                raise ValueError("CQL2 JSON is an object")
        parsed = Expr(expression)
        parsed.validate()
        document = parsed.to_json()
    except (ParseError, ValueError, RecursionError) as error:
        raise invalid(f"filter: {error}") from error
    except Exception as error:  # cql2 raises plain Exception and its own ValidationError
        raise invalid(f"filter: not a CQL2 condition ({type(error).__name__})") from error
    unknown = sorted(_operators(document) - OPERATORS)
    if unknown:
        raise invalid(f"filter: {', '.join(unknown)} cannot be evaluated by this catalogue")
    return document


def _operators(node: Any) -> set[str]:
    if isinstance(node, dict):
        found = {str(node["op"])} if "op" in node else set()
        return found.union(*(_operators(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(_operators(value) for value in node))
    return set()
