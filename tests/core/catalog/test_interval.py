"""Times and intervals as STAC writes them: read, written, compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cscale_core.catalog.interval import (
    Interval,
    format_time,
    item_interval,
    parse_interval,
    parse_time,
    widened,
)
from cscale_core.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2024-05-01T10:00:00Z", "2024-05-01T10:00:00Z"),
        ("2024-05-01T10:00:00+02:00", "2024-05-01T08:00:00Z"),
        ("2024-05-01T10:00:00", "2024-05-01T10:00:00Z"),
        ("2024-02-29", "2024-02-29T00:00:00Z/2024-02-29T23:59:59.999999Z"),
        ("2024-02", "2024-02-01T00:00:00Z/2024-02-29T23:59:59.999999Z"),
        ("2024", "2024-01-01T00:00:00Z/2024-12-31T23:59:59.999999Z"),
        ("2024-05-01/2024-06-30", "2024-05-01T00:00:00Z/2024-06-30T23:59:59.999999Z"),
        ("2024-05-01T00:00:00Z/..", "2024-05-01T00:00:00Z/.."),
        ("../2024", "../2024-12-31T23:59:59.999999Z"),
        ("/2024-05-01T00:00:00Z", "../2024-05-01T00:00:00Z"),
        (" 2024-05-01T00:00:00Z/ ", "2024-05-01T00:00:00Z/.."),
    ],
)
def test_intervals_are_read_and_written_in_one_way(text: str, written: str) -> None:
    interval = parse_interval(text)
    assert str(interval) == written
    assert parse_interval(written) == interval


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "../..",
        "/",
        "x",
        "2024-13",
        "2024-02-30",
        "2024-05-02/2024-05-01",
        "a/b/c",
        "2024-05-01/x",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
    ],
)
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_interval(text)


MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ENDS = st.none() | MOMENTS


def _interval(start: datetime | None, end: datetime | None) -> Interval:
    if start is not None and end is not None and end < start:
        start, end = end, start
    return Interval(start, end)


@given(MOMENTS)
def test_a_moment_comes_back_as_it_was(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment


@given(ENDS, ENDS, ENDS, ENDS, MOMENTS)
def test_two_intervals_overlap_where_they_share_a_moment(
    a: datetime | None, b: datetime | None, c: datetime | None, d: datetime | None, at: datetime
) -> None:
    one, other = _interval(a, b), _interval(c, d)
    point = Interval(at, at)
    assert one.overlaps(other) is other.overlaps(one)
    if one.overlaps(point) and other.overlaps(point):
        assert one.overlaps(other)
    shared_start = max(filter(None, (one.start, other.start)), default=None)
    shared_end = min(filter(None, (one.end, other.end)), default=None)
    empty = shared_start is not None and shared_end is not None and shared_end < shared_start
    assert one.overlaps(other) is not empty


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"datetime": "2024-05-01T10:00:00Z"}, "2024-05-01T10:00:00Z"),
        (
            {
                "datetime": None,
                "start_datetime": "2024-05-01T10:00:00Z",
                "end_datetime": "2024-05-01T11:00:00Z",
            },
            "2024-05-01T10:00:00Z/2024-05-01T11:00:00Z",
        ),
        (
            {
                "datetime": "2024-05-01T10:30:00Z",
                "start_datetime": "2024-05-01T10:00:00Z",
                "end_datetime": "2024-05-01T11:00:00Z",
            },
            "2024-05-01T10:00:00Z/2024-05-01T11:00:00Z",
        ),
        ({"datetime": "2024-05-01T10:00:00Z", "start_datetime": None}, "2024-05-01T10:00:00Z"),
        (
            {"datetime": "2024-05-01T10:00:00Z", "start_datetime": "x", "end_datetime": "y"},
            "2024-05-01T10:00:00Z",
        ),
        ({}, None),
        ({"datetime": None}, None),
        ({"datetime": "yesterday"}, None),
        ({"datetime": 17}, None),
        ({"datetime": ["2024-05-01"]}, None),
        ({"start_datetime": "2024-05-01T10:00:00Z"}, None),
    ],
)
def test_when_an_item_was_sensed(properties: dict[str, Any], expected: str | None) -> None:
    sensed = item_interval(properties)
    assert (None if sensed is None else str(sensed)) == expected


def test_widening_keeps_open_ends_open() -> None:
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    second = timedelta(seconds=1)
    assert widened(Interval(moment, None), second) == Interval(moment - second, None)
    assert widened(Interval(None, moment), second) == Interval(None, moment + second)
