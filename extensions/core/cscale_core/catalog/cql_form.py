"""One way to write a CQL2 filter, so that every provider understands the same by it.

A date stands for its whole day, as in ``datetime`` of Item Search; where it is compared with a
time it is made exact, because some catalogues take it for midnight. A text that is compared with
a property that holds a time is read as a time.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from cscale_core.catalog.interval import format_time, parse_interval, parse_time

JSON = dict[str, Any]

COMPARISON = frozenset({"=", "<>", "<", "<=", ">", ">="})
# Of two moments or intervals; the others are of two intervals only.
TEMPORAL = frozenset({"t_after", "t_before", "t_disjoint", "t_equals", "t_intersects", "t_during"})
TEMPORAL_INTERVALS = frozenset(
    {
        *("t_contains", "t_finishedBy", "t_finishes", "t_meets", "t_metBy"),
        *("t_overlappedBy", "t_overlaps", "t_startedBy", "t_starts"),
    }
)
# Common metadata that holds a time (STAC 1.1 common metadata, timestamps extension).
_TIMES = frozenset(
    {
        *("datetime", "start_datetime", "end_datetime", "created", "updated"),
        *("published", "expires", "unpublished"),
    }
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:.\-/ ]{0,127}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def normal(node: Any) -> Any:
    """Whole numbers as such, names without ``properties.``, and no ``and`` inside an ``and``.

    The depth is checked before.
    """
    if isinstance(node, dict):
        if set(node) == {"property"}:
            name = str(node["property"]).removeprefix("properties.")
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name[:60]!r} is not the name of a property")
            return {"property": name}
        made = {key: normal(value) for key, value in node.items()}
        return _flat(made) if made.get("op") in ("and", "or") else made
    if isinstance(node, list):
        return [normal(child) for child in node]
    if isinstance(node, float) and node.is_integer() and abs(node) < 2**53:
        return int(node)
    return node


def _flat(node: JSON) -> JSON:
    """The parts of the same operator within, in their order: text cannot tell them apart."""
    parts: list[Any] = []
    for part in node["args"]:
        same = isinstance(part, dict) and part.get("op") == node["op"]
        parts += part["args"] if same else [part]
    return op(node["op"], *parts)


def is_time(node: Any) -> bool:
    """Whether it is a property that holds a time."""
    return isinstance(node, dict) and node.get("property") in _TIMES


def is_name(node: Any) -> bool:
    """Whether it is a property."""
    return isinstance(node, dict) and "property" in node


def _day(node: Any) -> str:
    """The date of a date literal, or of a text that is one; else empty."""
    text = node.get("date") if isinstance(node, dict) else node
    return text if isinstance(text, str) and _DATE.fullmatch(text) else ""


def _moments(text: str) -> tuple[JSON, JSON]:
    """First and last moment of a day."""
    first, _, last = str(parse_interval(text)).partition("/")
    return {"timestamp": first}, {"timestamp": last}


def op(name: str, *args: Any) -> JSON:
    """An operator in CQL2 JSON."""
    return {"op": name, "args": list(args)}


_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "<>": "<>"}


def exact(node: Any) -> Any:
    """Dates that are compared with times as the whole day that they stand for.

    :raises InvalidInput: for a day that is none.
    :raises ValueError: for a time that cannot be read, and an interval that is none.
    """
    if isinstance(node, list):
        return [exact(child) for child in node]
    if not isinstance(node, dict):
        return node
    if "timestamp" in node:
        return {"timestamp": format_time(_time(node["timestamp"]))}
    if "date" in node:
        _moments(str(node["date"]))
        return node
    if "interval" in node:
        return {"interval": _exact_interval(node["interval"])}
    operator, arguments = node.get("op"), node.get("args")
    if operator is None or not isinstance(arguments, list):
        return node
    if operator in COMPARISON and len(arguments) == 2:
        left, right = arguments
        if is_time(right) and not is_time(left):
            operator, left, right = _MIRRORED[operator], right, left
        if is_time(left):
            return _compared_time(operator, left, right)
    if operator == "between" and len(arguments) == 3 and is_time(arguments[0]):
        value, low, high = arguments
        if _day(low) or _day(high) or isinstance(low, str) or isinstance(high, str):
            return op("and", _compared_time(">=", value, low), _compared_time("<=", value, high))
    if operator in TEMPORAL | TEMPORAL_INTERVALS:
        return op(operator, *map(_exact_time, arguments))
    return op(operator, *map(exact, arguments))


def _exact_time(node: Any) -> Any:
    if day := _day(node):
        return {"interval": [moment["timestamp"] for moment in _moments(day)]}
    return exact({"timestamp": node} if isinstance(node, str) else node)


def _time(text: Any) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise ValueError(f"{str(text)[:40]!r} is not a time (RFC 3339)") from error


def _exact_interval(ends: Any) -> list[Any]:
    if not isinstance(ends, list) or len(ends) != 2:
        raise ValueError("an interval has two ends")
    found: list[Any] = []
    for which, end in enumerate(ends):
        text = end
        if isinstance(end, dict):
            text = end.get("timestamp") or end.get("date")
        if day := _day(text):
            found.append(_moments(day)[which]["timestamp"])
        elif isinstance(end, dict) and "property" in end:
            found.append(end)
        elif text == "..":
            found.append(text)
        else:
            found.append(format_time(_time(text)))
    return found


def _compared_time(operator: str, left: JSON, right: Any) -> JSON:
    if day := _day(right):
        first, last = _moments(day)
        if operator == "=":
            return op("and", op(">=", left, first), op("<=", left, last))
        if operator == "<>":
            return op("or", op("<", left, first), op(">", left, last))
        return op(operator, left, first if operator in ("<", ">=") else last)
    if isinstance(right, str):
        return op(operator, left, {"timestamp": format_time(_time(right))})
    return op(operator, left, exact(right))
