"""Which members of items are asked for, and cutting items down to them.

Rule: STAC API Fields Extension 1.0, with dotted names; a name that is no member of an item counts
as one of its properties.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cscale_core.catalog.query import Fields, SearchQuery

_MEMBERS = frozenset(
    ("type", "stac_version", "stac_extensions", "id", "collection", "geometry", "bbox")
) | {"properties", "links", "assets"}
# Without these an item cannot be told from another, checked against the question or merged.
_NEEDED = ("type", "stac_version", "id", "collection", "geometry", "bbox", "links")
_NEEDED_PROPERTIES = (
    *("datetime", "start_datetime", "end_datetime", "title"),
    *("s2:product_uri", "productIdentifier", "s1:product_identifier", "s3:product_name"),
    "landsat:product_id",
)
_KEPT = frozenset(("type", "id", "collection"))
_OURS = "cscale:"


def _path(name: str) -> tuple[str, ...]:
    """``properties.eo:cloud_cover`` and ``eo:cloud_cover`` as where it is in an item."""
    first, dot, rest = name.partition(".")
    if first == "properties":
        # What comes after is one name: names of properties may have dots in them.
        return (first, rest) if dot else (first,)
    if first in _MEMBERS or first.startswith(_OURS):
        return tuple(name.split("."))
    return ("properties", name)


def to_ask(query: SearchQuery, checked: Iterable[str]) -> dict[str, list[str]] | None:
    """What to ask a provider for, so that everything that is done here can be done; None: all.

    :param checked: the properties that are looked at here.
    """
    if query.fields is None or not (query.fields.include or query.fields.exclude):
        return None
    keys = [key.field for key in query.sortby]
    needed: set[tuple[str, ...]] = {(name,) for name in _NEEDED}
    needed |= {_path(name) for name in (*_NEEDED_PROPERTIES, *keys, *checked)}
    exclude = [
        name
        for name in query.fields.exclude
        if not any(part[: len(_path(name))] == _path(name) for part in needed)
    ]
    if not query.fields.include:
        return {"include": [], "exclude": exclude} if exclude else None
    asked = {_path(name) for name in query.fields.include} | needed
    return {"include": sorted(".".join(path) for path in asked), "exclude": exclude}


def trimmed(item: dict[str, Any], fields: Fields | None) -> dict[str, Any]:
    """The item with the members asked for, and always with what names it."""
    if fields is None or not (fields.include or fields.exclude):
        return item
    kept = item
    if fields.include:
        kept = {
            name: value for name, value in item.items() if name in _KEPT or name.startswith(_OURS)
        }
        for name in fields.include:
            _copy(item, kept, _path(name))
    for name in fields.exclude:
        if (path := _path(name)) not in {(member,) for member in _KEPT}:
            kept = _without(kept, path)
    return kept


def _copy(source: Any, target: dict[str, Any], path: tuple[str, ...]) -> None:
    name, *rest = path
    if not isinstance(source, dict) or name not in source:
        return
    if not rest:
        target[name] = source[name]
        return
    inner = target.get(name)
    # What was taken whole already stays whole.
    if inner is source[name]:
        return
    inner = inner if isinstance(inner, dict) else {}
    _copy(source[name], inner, tuple(rest))
    if inner:
        target[name] = inner


def _without(source: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    name, *rest = path
    if name not in source:
        return source
    if not rest:
        return {key: value for key, value in source.items() if key != name}
    inner = source[name]
    return {**source, name: _without(inner, tuple(rest))} if isinstance(inner, dict) else source
