"""Times and time intervals of STAC: read, written and compared in one way.

Rules: STAC API Item Search ``datetime`` (RFC 3339, OGC API - Features part 1 section 7.15.4), and
as pystac-client allows, dates without a time.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cscale_core.errors import InvalidInput

_DATE = re.compile(r"^(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?$")


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval of time; None stands for an open end."""

    start: datetime | None
    end: datetime | None

    def overlaps(self, other: Interval) -> bool:
        """Whether the two have a moment in common."""
        return not (
            (self.end is not None and other.start is not None and self.end < other.start)
            or (other.end is not None and self.start is not None and other.end < self.start)
        )

    def __str__(self) -> str:
        """As STAC API takes it: a moment, or two with ``/`` between and ``..`` for an open end."""
        if self.start is not None and self.start == self.end:
            return format_time(self.start)
        return "/".join(".." if t is None else format_time(t) for t in (self.start, self.end))


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with ``Z``, fractions of a second only where there are some."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return text + "Z"


def parse_time(text: Any) -> datetime:
    """An RFC 3339 moment as an aware UTC datetime; one without a zone counts as UTC.

    :raises ValueError: when it is not one.
    """
    moment = datetime.fromisoformat(str(text))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is out of range") from error


def _bounds(text: str) -> tuple[datetime, datetime]:
    """First and last moment of a year, month or day; of a moment, itself twice."""
    if match := _DATE.match(text):
        year, month, day = (int(part) if part else None for part in match.groups())
        if year is None:
            raise ValueError(text)
        last_month = month or 12
        first = datetime(year, month or 1, day or 1, tzinfo=UTC)
        last_day = day or calendar.monthrange(year, last_month)[1]
        last = datetime(year, last_month, last_day, 23, 59, 59, 999_999, tzinfo=UTC)
        return first, last
    moment = parse_time(text)
    return moment, moment


def parse_interval(text: str) -> Interval:
    """A moment, a date, or an interval ``a/b`` with ``..`` or nothing for an open end.

    The end of an interval given as a date takes that whole day in.

    :raises InvalidInput: when it cannot be read, or ends before it starts.
    """
    first, slash, second = text.strip().partition("/")
    try:
        if not slash:
            return Interval(*_bounds(first))
        start = None if first in ("", "..") else _bounds(first)[0]
        end = None if second in ("", "..") else _bounds(second)[1]
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"{text!r} is not a time or an interval.",
            hint="Write 2024-05-01/2024-06-30, or RFC 3339 times such as 2024-05-01T00:00:00Z.",
        ) from error
    if start is None and end is None:
        raise InvalidInput("An interval needs a start or an end.")
    if start is not None and end is not None and end < start:
        raise InvalidInput(f"The interval {text!r} ends before it starts.")
    return Interval(start, end)


def item_interval(properties: dict[str, Any]) -> Interval | None:
    """When an item was sensed: ``start_datetime``/``end_datetime``, or ``datetime``; None unknown.

    Source: STAC 1.1 item specification, "datetime" and "Date and Time Range".
    """
    start, end = properties.get("start_datetime"), properties.get("end_datetime")
    for first, last in ((start, end), (properties.get("datetime"),) * 2):
        if first and last:
            try:
                return Interval(parse_time(first), parse_time(last))
            except ValueError:
                # A time that cannot be read is as good as none.
                continue
    return None


def widened(interval: Interval, by: timedelta) -> Interval:
    """The interval with both ends moved outward, for catalogues that round their times."""
    return Interval(
        None if interval.start is None else interval.start - by,
        None if interval.end is None else interval.end + by,
    )
