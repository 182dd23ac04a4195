"""Bounds of a CQL2 filter, checked before the parser sees it.

The parser works recursively in native code: deep nesting would overflow its stack and end the
process. These bounds are far from that, and far from what anybody writes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

LONGEST_TEXT = 8192
LONGEST_JSON = 1_000_000
DEEPEST = 24
MOST_OPERATORS = 1000
MOST_NODES = 200_000

_BRACKET = 2
_LOGIC = ("and", "or", "not")
_VALUES = frozenset({"+", "-", "*", "/", "%", "^", "div", "casei", "accenti"})
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")
_TOKEN = re.compile(
    r"\b(?:AND|OR|NOT|IS|IN|LIKE|BETWEEN)\b|[<>=!]+|[-+*/^%]|[(\[{]|[)\]}]|,", re.IGNORECASE
)


def check_text(text: str) -> None:
    """Length, operators and depth of CQL2 text.

    :raises ValueError: when it is beyond the bounds.
    """
    if not text:
        raise ValueError("it is empty")
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"it is longer than {LONGEST_TEXT} characters")
    if _depth(_QUOTED.sub("''", text)) > 2 * DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST}")


def _depth(text: str) -> int:
    """How deep the parser goes: operators one after another nest as brackets do, half as deep.

    :raises ValueError: when there are too many operators.
    """
    operators = deepest = betweens = 0
    # Operators since the last word that joins conditions, for each open bracket, and the sum.
    levels, depth = [0], 0
    for token in _TOKEN.findall(text):
        word = token.upper()
        if word in "([{":
            levels.append(_BRACKET)
            depth += _BRACKET
        elif word in ")]}":
            depth -= levels.pop() if len(levels) > 1 else 0
        elif word in ("AND", "OR", ",") and not (word == "AND" and betweens):
            joined = _BRACKET if len(levels) > 1 else 0
            depth -= levels[-1] - joined
            levels[-1] = joined
        else:
            # The word AND after BETWEEN belongs to it.
            betweens += (word == "BETWEEN") - (word == "AND")
            levels[-1] += 1
            depth += 1
            operators += 1
        deepest = max(deepest, depth)
    if operators > MOST_OPERATORS:
        raise ValueError(f"it has more than {MOST_OPERATORS} operators")
    return deepest


def nodes(document: Any) -> Iterator[Any]:
    """Every value of a JSON document, without recursion."""
    pending = [document]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, dict):
            pending += node.values()
        elif isinstance(node, list):
            pending += node


def check_tree(document: Any) -> None:
    """Depth and size of CQL2 JSON, and that conditions stand where they belong.

    :raises ValueError: when they do not, or it is beyond the bounds.
    """
    pending: list[tuple[Any, int, bool]] = [(document, 0, True)]
    nodes = operators = 0
    while pending:
        node, depth, is_condition = pending.pop()
        nodes += 1
        if depth > 2 * DEEPEST:  # an operator and its list of arguments are two levels
            raise ValueError(f"it is nested deeper than {DEEPEST}")
        if nodes > MOST_NODES:
            raise ValueError("it is too large")
        if (
            is_condition
            and not isinstance(node, dict)
            and (depth == 0 or not isinstance(node, bool))
        ):
            raise ValueError("a condition is expected, not a value")
        if isinstance(node, list):
            pending += [(child, depth + 1, False) for child in node]
            continue
        if not isinstance(node, dict):
            if isinstance(node, float) and not math.isfinite(node):
                raise ValueError("a number in it is not finite")
            if not isinstance(node, str | int | float | None):
                raise ValueError("it holds something that is not JSON")
            continue
        operator = node.get("op")
        operators += operator is not None
        if operators > MOST_OPERATORS:
            raise ValueError(f"it has more than {MOST_OPERATORS} operators")
        if operator is not None and not isinstance(operator, str):
            raise ValueError("the name of an operator is no text")
        if is_condition and (operator is None or operator in _VALUES):
            raise ValueError("a condition is expected, not a value")
        arguments: Any = node.get("args")
        if operator is not None and not isinstance(arguments, list):
            raise ValueError(f"{operator} has no list of arguments")
        if operator in _LOGIC and not _fits(operator, len(arguments)):
            raise ValueError(f"{operator} has a wrong number of arguments")
        logic = operator in _LOGIC
        pending += [
            (child, depth + 1, False)
            for key, child in node.items()
            if not (logic and key == "args")
        ]
        if logic:
            pending += [(child, depth + 2, True) for child in arguments]


def _fits(operator: str, count: int) -> bool:
    return count == 1 if operator == "not" else count > 0
