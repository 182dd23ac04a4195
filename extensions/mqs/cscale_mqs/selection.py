"""The Fields extension: which members of an item an answer holds.

Source: STAC API Fields extension 1.0, "Includes and excludes". What is in both lists is included;
an item always keeps ``type``, ``id`` and ``collection``, without which nothing could be done with
it. An empty selection is the whole item, which the extension allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cscale_core.catalog.query import Fields

_ALWAYS = ("type", "id", "collection")


def selected(item: dict[str, Any], fields: Fields | None) -> dict[str, Any]:
    """The item with the wanted members only; members are named ``a`` or ``a.b``."""
    if fields is None or not (fields.include or fields.exclude):
        return item
    wanted = [_path(name, item) for name in (*_ALWAYS, *fields.include)]
    excluded = [
        path
        for path in (_path(name, item) for name in fields.exclude)
        if not any(other[: len(path)] == path for other in wanted)
    ]
    return _without(_only(item, wanted) if fields.include else item, excluded)


def _path(name: str, item: Mapping[str, Any]) -> tuple[str, ...]:
    """Where a name leads. Keys of assets have points in them too (``B04.tif``), so a member that
    is there under the whole name is meant first."""
    first, point, rest = name.partition(".")
    if not point or name in item:
        return (name,)
    inner = item.get(first)
    return (first, *_path(rest, inner if isinstance(inner, Mapping) else {}))


def _only(value: Mapping[str, Any], paths: Iterable[tuple[str, ...]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    deeper: dict[str, list[tuple[str, ...]]] = {}
    for path in paths:
        if path[0] not in value:
            continue
        if len(path) == 1:
            found[path[0]] = value[path[0]]
        else:
            deeper.setdefault(path[0], []).append(path[1:])
    for name, inner in deeper.items():
        if name not in found and isinstance(value[name], Mapping):
            found[name] = _only(value[name], inner)
    return found


def _without(value: Mapping[str, Any], paths: Iterable[tuple[str, ...]]) -> dict[str, Any]:
    left = dict(value)
    for path in paths:
        if len(path) == 1:
            left.pop(path[0], None)
        elif isinstance(left.get(path[0]), Mapping):
            left[path[0]] = _without(left[path[0]], [path[1:]])
    return left
