"""A CQL2 condition applied to items, as a filtering provider would apply it.

The cql2 library compares; what it does not do in its release 0.6 is done around it:

- Logic is three-valued: a property that is missing or null, or of a type that cannot be compared,
  makes a comparison unknown (the library raises for the whole condition).
- ``in`` and ``between`` are taken apart into comparisons (the library finds no time between two
  times, and nothing in a list of expressions).
- ``casei`` and ``accenti`` fold as Unicode says; places are compared by shapely.

What stays doubtful (division by a property, functions) is refused by :class:`Doubtful`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import shapely
from cql2 import Expr
from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from cscale_core.catalog.area import box_area, footprint, parse_area
from cscale_core.catalog.cql_form import (
    COMPARISON,
    TEMPORAL,
    TEMPORAL_INTERVALS,
    exact,
    is_name,
    is_time,
    op,
)

JSON = dict[str, Any]
Item = dict[str, Any]
Verdict = bool | None
Decide = Callable[[Item], Verdict]

_SPATIAL: dict[str, Callable[[BaseGeometry, BaseGeometry], Any]] = {
    "s_contains": shapely.contains,
    "s_crosses": shapely.crosses,
    "s_disjoint": shapely.disjoint,
    "s_equals": shapely.equals,
    "s_intersects": shapely.intersects,
    "s_overlaps": shapely.overlaps,
    "s_touches": shapely.touches,
    "s_within": shapely.within,
}
_ARRAY = frozenset({"a_containedBy", "a_contains", "a_equals", "a_overlaps"})
_ATOMS = frozenset({"like", *COMPARISON, *TEMPORAL, *TEMPORAL_INTERVALS, *_ARRAY})
_FOLDS = frozenset({"casei", "accenti"})
# Of two times that properties hold: the same comparison as the library makes it of moments.
_OF_TIMES = {
    "=": ("t_equals", True),
    "<>": ("t_equals", False),
    "<": ("t_before", True),
    ">=": ("t_before", False),
    ">": ("t_after", True),
    "<=": ("t_after", False),
}


class Doubtful(Exception):
    """This part of a condition is not applied here; the message says why."""


def condition(node: Any) -> Decide:
    """The condition as a function of an item.

    :raises Doubtful: when the answer could be another than a filtering provider's.
    """
    if isinstance(node, bool):
        return lambda _: node
    operator, arguments = str(node["op"]), node["args"]
    if operator in ("and", "or"):
        return _joined([condition(argument) for argument in arguments], operator == "or")
    if operator == "not":
        inner = condition(arguments[0])
        return lambda item: None if (verdict := inner(item)) is None else not verdict
    if operator == "isNull":
        return _is_null(arguments)
    if operator == "in":
        return _is_in(arguments)
    if operator == "between":
        if len(arguments) != 3:
            raise Doubtful("between has a wrong number of arguments")
        value, low, high = arguments
        return _joined([condition(op(">=", value, low)), condition(op("<=", value, high))], False)
    if len(arguments) != 2:
        raise Doubtful(f"{operator} has a wrong number of arguments")
    if operator in _SPATIAL:
        return _placed(_SPATIAL[operator], *arguments)
    if operator in COMPARISON and any(map(is_time, arguments)) and all(map(is_name, arguments)):
        name, positive = _OF_TIMES[operator]
        return condition(op(name, *arguments) if positive else op("not", op(name, *arguments)))
    if operator not in _ATOMS:
        raise Doubtful(f"{operator} is a function that is not known here")
    return _atom(operator, arguments)


def _joined(parts: list[Decide], wanted: bool) -> Decide:
    """Three-valued ``or`` (``wanted`` true) or ``and`` (false)."""

    def decide(item: Item) -> Verdict:
        unknown = False
        for part in parts:
            verdict = part(item)
            if verdict is wanted:
                return wanted
            unknown = unknown or verdict is None
        return None if unknown else not wanted

    return decide


def _is_null(arguments: list[Any]) -> Decide:
    if len(arguments) != 1 or not isinstance(arguments[0], dict):
        raise Doubtful("isNull is asked of something other than a property")
    name = arguments[0].get("property")
    if not isinstance(name, str):
        raise Doubtful("isNull is asked of something other than a property")
    return lambda item: _value(item, name) is None


def _is_in(arguments: list[Any]) -> Decide:
    if len(arguments) != 2 or not isinstance(arguments[1], list):
        raise Doubtful("in is asked of something other than a list")
    value, options = arguments
    if isinstance(value, dict) and set(value) == {"property"} and not is_time(value):
        plain = [option for option in options if isinstance(option, str | int | float)]
        if len(plain) == len(options):
            return _among(value["property"], plain)
    return _joined([condition(exact(op("=", value, option))) for option in options], True)


def _among(name: str, options: list[Any]) -> Decide:
    """``in`` for a property and plain values, where comparing one by one would take long."""
    texts = frozenset(option for option in options if isinstance(option, str))
    truths = frozenset(option for option in options if isinstance(option, bool))
    numbers = frozenset(
        option
        for option in options
        if isinstance(option, int | float) and not isinstance(option, bool)
    )
    alike = sum(map(bool, (texts, truths, numbers))) == 1

    def decide(item: Item) -> Verdict:
        value = _value(item, name)
        for kind, values in ((str, texts), (bool, truths), (int | float, numbers)):
            if isinstance(value, kind):
                return value in values or (False if values and alike else None)
        return None

    return decide


def _value(item: Item, name: str) -> Any:
    """A member of an item by the name that queryables use; None: missing or null."""
    if name in ("id", "collection", "geometry"):
        return item.get(name)
    properties = item["properties"]
    if name in properties:
        return properties[name]
    value: Any = properties
    for part in name.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _placed(
    predicate: Callable[[BaseGeometry, BaseGeometry], Any], left: Any, right: Any
) -> Decide:
    swapped = isinstance(right, dict) and "property" in right
    asked, fixed = (right, left) if swapped else (left, right)
    if not isinstance(asked, dict) or asked.get("property") != "geometry":
        raise Doubtful("places are compared with the geometry of the items only")
    if not isinstance(fixed, dict) or not {"type", "bbox"} & set(fixed):
        raise Doubtful("a place in the filter is no geometry")
    area = _box(fixed["bbox"]) if "bbox" in fixed else shape(parse_area(fixed))
    shapely.prepare(area)

    def decide(item: Item) -> Verdict:
        there = footprint(item.get("geometry"), item.get("bbox"))
        if there is None:
            return None
        try:
            return bool(predicate(area, there) if swapped else predicate(there, area))
        except ShapelyError:
            # An outline that crosses itself: what it encloses is known all the same.
            there = shapely.make_valid(there)
            return bool(predicate(area, there) if swapped else predicate(there, area))

    return decide


def _box(bbox: Any) -> BaseGeometry:
    numbers = isinstance(bbox, list) and all(type(value) in (int, float) for value in bbox)
    if not numbers or len(bbox) not in (4, 6):
        raise Doubtful("a bounding box in the filter has neither four nor six numbers")
    return box_area(tuple(bbox))


def _atom(operator: str, arguments: list[Any]) -> Decide:
    """One comparison, made by the library on plain values under names of our own."""
    if operator in TEMPORAL_INTERVALS and not all(map(_is_interval, arguments)):
        raise Doubtful(f"{operator} is defined for two intervals only")
    if operator == "t_during" and not _is_interval(arguments[1]):
        raise Doubtful("t_during is defined for an interval only")
    if operator == "like" and not isinstance(arguments[1], str):
        folded = isinstance(arguments[1], dict) and arguments[1].get("op") in _FOLDS
        if not folded:
            raise Doubtful("like is asked of a pattern that is no text")
    if None in arguments:
        return lambda _: None
    lists = operator in _ARRAY
    wanted: list[tuple[str, tuple[str, ...]]] = []
    expression = Expr(op(operator, *(_plain(argument, wanted, lists) for argument in arguments)))

    def decide(item: Item) -> Verdict:
        values: JSON = {}
        for number, (name, folds) in enumerate(wanted):
            value = _value(item, name)
            # Anything else would be read as an expression.
            if lists and isinstance(value, list):
                if not all(isinstance(member, str | int | float) for member in value):
                    return None
            elif not isinstance(value, str | int | float):
                return None
            values[f"p{number}"] = _folded(value, folds)
        try:
            return bool(expression.matches({"properties": values}))
        except Exception:
            # cql2 raises plain Exception when the values are of kinds that cannot be compared.
            return None

    return decide


def _is_interval(argument: Any) -> bool:
    return isinstance(argument, dict) and "interval" in argument


def _plain(node: Any, wanted: list[tuple[str, tuple[str, ...]]], lists: bool) -> Any:
    """An argument with its properties under names of our own, which ``wanted`` keeps."""
    if isinstance(node, list):
        if not lists or not all(isinstance(member, str | int | float) for member in node):
            raise Doubtful("a list in the filter holds something other than texts and numbers")
        return node
    if isinstance(node, bool | str):
        return node
    if isinstance(node, int | float):
        if abs(node) >= 2**53:
            raise Doubtful(f"{node} has more digits than are kept")
        return node
    if not isinstance(node, dict):
        raise Doubtful("null is used as a value")
    if "property" in node:
        return _placeholder(node["property"], (), wanted)
    if "timestamp" in node:
        return node
    if "interval" in node:
        return {"interval": [_plain(end, wanted, lists) for end in node["interval"]]}
    if "date" in node:
        raise Doubtful("a date is compared with something that may be a time: write TIMESTAMP")
    operator, arguments = node.get("op"), node.get("args")
    if operator in _FOLDS and isinstance(arguments, list) and len(arguments) == 1:
        return _fold(node, (), wanted)
    if (
        operator in ("+", "-", "*", "/", "%")
        and isinstance(arguments, list)
        and len(arguments) == 2
    ):
        divisor = arguments[1]
        if operator in ("/", "%") and (
            not isinstance(divisor, int | float) or isinstance(divisor, bool) or not divisor
        ):
            raise Doubtful("a value is divided by something that may be zero")
        return op(operator, *(_plain(argument, wanted, lists) for argument in arguments))
    raise Doubtful(f"{operator or 'a place'} cannot be compared here")


def _placeholder(
    name: str, folds: tuple[str, ...], wanted: list[tuple[str, tuple[str, ...]]]
) -> JSON:
    if name == "geometry":
        raise Doubtful("a geometry is compared as a value")
    wanted.append((name, folds))
    return {"property": f"p{len(wanted) - 1}"}


def _fold(node: Any, folds: tuple[str, ...], wanted: list[tuple[str, tuple[str, ...]]]) -> Any:
    if isinstance(node, str):
        return _folded(node, folds)
    if isinstance(node, dict) and "property" in node:
        return _placeholder(node["property"], folds, wanted)
    if isinstance(node, dict) and node.get("op") in _FOLDS and len(node["args"]) == 1:
        return _fold(node["args"][0], (node["op"], *folds), wanted)
    raise Doubtful("casei and accenti are for texts")


def _folded(value: Any, folds: tuple[str, ...]) -> Any:
    """A text without its case or accents (CQL2, "Case-insensitive Comparison")."""
    if isinstance(value, str):
        for fold in folds:
            if fold == "casei":
                value = value.casefold()
            else:
                apart = unicodedata.normalize("NFD", value)
                value = "".join(c for c in apart if not unicodedata.combining(c))
    return value
