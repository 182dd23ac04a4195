"""The order of items: keys to sort and merge by, and to check what a provider says is sorted.

A key is a tuple that grows in the order asked for. Members that are missing or null come last,
whatever the direction. Of members that hold times, the moments are compared, not the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import total_ordering
from typing import Any

from cscale_core.catalog.interval import parse_time
from cscale_core.catalog.query import SortKey

Item = dict[str, Any]
Key = tuple[Any, ...]

_TIMES = frozenset(
    ("datetime", "start_datetime", "end_datetime", "created", "updated", "published", "expires")
)
_MEMBERS = frozenset(("id", "collection"))
_LAST: Key = (1, 0, 0)


@total_ordering
class _Descending:
    """A text that comes before smaller ones."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __lt__(self, other: _Descending) -> bool:
        return other.value < self.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


def moment_of(item: Item) -> float | None:
    """When an item was sensed, as a POSIX time: ``datetime``, else the start; None: unknown."""
    properties = item["properties"]
    for name in ("datetime", "start_datetime"):
        value = properties.get(name)
        if value:
            return _seconds(value)
    return None


def _seconds(value: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else parse_time(value)).timestamp()
    except (ValueError, TypeError, OverflowError):
        # A time that cannot be read is as good as none.
        return None


def _value(item: Item, field: str) -> Any:
    if field in _MEMBERS:
        return item.get(field)
    if field == "datetime":
        return moment_of(item)
    value = item["properties"].get(field)
    return _seconds(value) if field in _TIMES else value


def _part(value: Any, descending: bool) -> Key:
    if isinstance(value, bool | int | float):
        return 0, 0, -value if descending else value
    if isinstance(value, str):
        return 0, 1, _Descending(value) if descending else value
    # Lists and objects have no order that two archives would agree on.
    return _LAST


def key_of(order: Sequence[SortKey]) -> Callable[[Item], Key]:
    """The function that gives an item's key."""
    if len(order) == 1 and order[0].field == "datetime":
        sign = -1.0 if order[0].descending else 1.0

        def by_time(item: Item) -> Key:
            moment = moment_of(item)
            return (1, 0.0) if moment is None else (0, sign * moment)

        return by_time
    keys = [(key.field, key.descending) for key in order]

    def by_members(item: Item) -> Key:
        return tuple(_part(_value(item, field), descending) for field, descending in keys)

    return by_members
