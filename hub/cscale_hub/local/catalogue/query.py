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

# What both stores evaluate, with the number of arguments; anything else is refused, never left
# out (CQL2, OGC 21-065r2).
SPATIAL = ("contains", "crosses", "disjoint", "equals", "intersects", "overlaps", "touches")
TEMPORAL = (
    *("after", "before", "contains", "disjoint", "during", "equals", "finishedBy", "finishes"),
    *("intersects", "meets", "metBy", "overlappedBy", "overlaps", "startedBy", "starts"),
)
ARRAY = ("containedBy", "contains", "equals", "overlaps")
CONDITIONS = {
    "and": (2, 1000),
    "or": (2, 1000),
    "not": (1, 1),
    "isNull": (1, 1),
    "like": (2, 2),
    "in": (2, 2),
    "between": (3, 3),
    **dict.fromkeys(("=", "<>", "<", "<=", ">", ">="), (2, 2)),
    **{f"s_{name}": (2, 2) for name in (*SPATIAL, "within")},
    **{f"t_{name}": (2, 2) for name in TEMPORAL},
    **{f"a_{name}": (2, 2) for name in ARRAY},
}
VALUES = {"casei": (1, 1), "-": (1, 2), **dict.fromkeys(("+", "*", "/", "^", "%"), (2, 2))}
# The parser works recursively in native code: deep nesting would overflow its stack and end the
# service. These bounds are far from that, and far from what anybody writes.
LONGEST_FILTER = 8192
DEEPEST_FILTER = 24
MOST_OPERATORS = 1000
QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")


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
        if isinstance(expression, str):
            _check_text(expression)
            if language == "cql2-json":
                expression = json.loads(expression)
        if not isinstance(expression, str | dict):
            raise ValueError("CQL2 JSON is an object")
        if isinstance(expression, dict):
            _check_tree(expression)
        document: dict[str, Any] = Expr(expression).to_json()
        _check_tree(document)
    except (ParseError, ValueError, RecursionError) as error:
        raise invalid(f"filter: {error}") from error
    except Exception as error:  # cql2 raises plain Exception for JSON that it does not take
        raise invalid(f"filter: not a CQL2 condition ({error})"[:500]) from error
    return document


def _check_text(text: str) -> None:
    if len(text) > LONGEST_FILTER:
        raise ValueError(f"longer than {LONGEST_FILTER} characters")
    text = QUOTED.sub("''", text)
    if sum(map(text.count, "+-*/^%=<>")) > MOST_OPERATORS:
        raise ValueError(f"more than {MOST_OPERATORS} operators")
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > DEEPEST_FILTER:
        raise ValueError(f"nested deeper than {DEEPEST_FILTER}")


def _check_tree(document: Any) -> None:
    """Operators, their arguments, and the depth; without recursion, see ``DEEPEST_FILTER``."""
    pending: list[tuple[Any, int, bool]] = [(document, 0, True)]
    while pending:
        node, depth, is_condition = pending.pop()
        if depth > 2 * DEEPEST_FILTER:  # an operator and its list of arguments are two levels
            raise ValueError(f"nested deeper than {DEEPEST_FILTER}")
        children: list[Any] = []
        inner = False
        if isinstance(node, dict):
            operator = node.get("op")
            if operator is not None:
                inner = operator in ("and", "or", "not")
                _check_operator(str(operator), node.get("args"))
            if is_condition and operator not in CONDITIONS:
                raise ValueError("a condition is expected, not a value")
            children = list(node.values())
        elif isinstance(node, list):
            children, inner = node, is_condition
        elif is_condition and depth == 0:
            raise ValueError("a condition is expected, not a value")
        pending += [
            (child, depth + 1, inner and isinstance(child, dict | list)) for child in children
        ]


def _check_operator(operator: str, arguments: Any) -> None:
    bounds = CONDITIONS.get(operator) or VALUES.get(operator)
    if bounds is None:
        raise ValueError(f"{operator} cannot be evaluated by this catalogue")
    if not isinstance(arguments, list) or not bounds[0] <= len(arguments) <= bounds[1]:
        raise ValueError(f"{operator} has a wrong number of arguments")
