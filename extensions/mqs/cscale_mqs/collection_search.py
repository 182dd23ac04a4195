"""Collection search over the federation's list of collections: area, time, words, pages.

Source: STAC API Collection Search 1.0.0-rc.1 and its free-text extension ("Basic": any of the
terms, in title, description or keywords, whatever the case).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cscale_core.catalog.interval import Interval, parse_interval, parse_time
from cscale_core.errors import InvalidInput
from cscale_mqs.problems import invalid

_WORLD = (-180.0, -90.0, 180.0, 90.0)


def matching(
    collections: Iterable[Mapping[str, Any]],
    *,
    bbox: Sequence[float] | None = None,
    datetime: str | None = None,
    words: Sequence[str] | None = None,
) -> list[Mapping[str, Any]]:
    """The collections that answer the question; what one does not state does not speak against it.

    :param collections: STAC collection documents.
    :param bbox: west, south, east, north (or six numbers); west > east crosses the antimeridian.
    :param words: any of them must be in the texts.
    :raises Problem: 400 for an area or time that is none.
    """
    boxes = _boxes(bbox) if bbox else []
    if bbox and not boxes:
        raise invalid("bbox: west, south, east, north in degrees, south before north")
    wanted = None
    if datetime:
        try:
            wanted = parse_interval(datetime.upper())
        except InvalidInput as error:
            raise invalid(error.message, error.hint) from error
    terms = [word.strip().casefold() for word in words or () if word.strip()]
    return [
        each
        for each in collections
        if (not boxes or _anywhere(each, boxes))
        and (wanted is None or _sometime(each, wanted))
        and (not terms or _says(each, terms))
    ]


def _boxes(bbox: Sequence[float]) -> list[tuple[float, float, float, float]]:
    """The area as boxes that do not cross the antimeridian; none when it is not an area."""
    if len(bbox) not in (4, 6):
        return []
    half = len(bbox) // 2
    west, south, east, north = bbox[0], bbox[1], bbox[half], bbox[half + 1]
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        return []
    if west <= east:
        return [(west, south, east, north)]
    return [(west, south, 180.0, north), (-180.0, south, east, north)]


def _extent(collection: Mapping[str, Any], kind: str, member: str) -> list[Any]:
    extent = collection.get("extent")
    part = extent.get(kind) if isinstance(extent, Mapping) else None
    found = part.get(member) if isinstance(part, Mapping) else None
    return found if isinstance(found, list) else []


def _anywhere(
    collection: Mapping[str, Any], boxes: Sequence[tuple[float, float, float, float]]
) -> bool:
    stated = _extent(collection, "spatial", "bbox")
    theirs: list[tuple[float, float, float, float]] = []
    for each in stated:
        try:
            theirs += _boxes([float(number) for number in each])
        except (TypeError, ValueError):
            # A box that is none states nothing.
            continue
    return any(
        one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]
        for one in theirs or [_WORLD]
        for other in boxes
    )


def _sometime(collection: Mapping[str, Any], wanted: Interval) -> bool:
    intervals = []
    for each in _extent(collection, "temporal", "interval"):
        try:
            start, end = (parse_time(moment) if moment else None for moment in each)
        except (ValueError, TypeError):
            # A time that cannot be read states nothing.
            continue
        intervals.append(Interval(start, end))
    return not intervals or any(wanted.overlaps(each) for each in intervals)


def _says(collection: Mapping[str, Any], terms: Sequence[str]) -> bool:
    keywords = collection.get("keywords")
    texts = [collection.get(name) for name in ("id", "title", "description")]
    texts += keywords if isinstance(keywords, list) else []
    text = "\n".join(each for each in texts if isinstance(each, str)).casefold()
    return any(term in text for term in terms)
