"""Checking items against the whole question, because some APIs ignore what they do not know.

:class:`ItemFilter` looks at every item of every page, so it decides most of them from the numbers
in their outline alone; geometries are built only for those on the edge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from shapely import MultiPolygon, make_valid, prepare
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from cscale_core.catalog.area import footprint
from cscale_core.catalog.cql import Filter, parse_filter
from cscale_core.catalog.interval import Interval, item_interval, parse_interval, widened
from cscale_core.catalog.query import SearchQuery, area
from cscale_core.errors import InvalidInput

__all__ = ["Filter", "ItemFilter", "parse_filter"]

Item = dict[str, Any]
Box = tuple[float, float, float, float]

# Catalogues that keep whole seconds or milliseconds round our 23:59:59.999999.
_ROUNDING = timedelta(seconds=1)
_OUTSIDE = "outside the question"
_NO_PLACE = "without a usable geometry"


class ItemFilter:
    """Checks items against the question, and counts why some were left out.

    :param collections: what the provider calls the collections asked for; None: as in the query.
    :param filtered_there: the provider took the filter, so an item that does not say enough for
        it (``fields`` may have left the member out) counts as one that meets it.
    :raises InvalidInput: when the filter cannot be applied here, and was not there either.
    """

    def __init__(
        self,
        query: SearchQuery,
        *,
        collections: Collection[str] | None = None,
        filtered_there: bool = False,
    ) -> None:
        self._collections = frozenset(query.collections if collections is None else collections)
        self._ids = frozenset(query.ids)
        self._cloud = query.max_cloud_cover
        self._time: Interval | None = None
        if query.datetime is not None:
            self._time = widened(parse_interval(query.datetime), _ROUNDING)
        self._area = area(query)
        self._boxes: tuple[Box, ...] = ()
        self._filled = query.bbox is not None
        if self._area is not None:
            prepare(self._area)
            self._boxes = _boxes(self._area)
        self._filter = query.condition
        self._filtered_there = filtered_there
        if self._filter is not None and not self._filter.local:
            if not filtered_there:
                raise InvalidInput(f"The filter cannot be applied here: {self._filter.reason}.")
            self._filter = None
        self.left_out: Counter[str] = Counter()

    def takes(self, item: Item) -> bool:
        """Whether the item answers the question."""
        reason = self._reason(item)
        if reason:
            self.left_out[reason] += 1
        return not reason

    def note(self) -> str:
        """What was left out and why, for the provider's report; empty: nothing."""
        return "; ".join(f"{n} {reason} left out" for reason, n in self.left_out.items())

    def _reason(self, item: Item) -> str:
        if self._ids and item["id"] not in self._ids:
            return _OUTSIDE
        if self._collections and item.get("collection") not in self._collections:
            return _OUTSIDE
        properties = item["properties"]
        if self._time is not None:
            sensed = item_interval(properties)
            if sensed is None:
                return "without a readable time"
            if not self._time.overlaps(sensed):
                return _OUTSIDE
        if self._area is not None and (reason := self._misplaced(item, self._area)):
            return reason
        if self._cloud is not None:
            cover = properties.get("eo:cloud_cover")
            if not isinstance(cover, int | float) or isinstance(cover, bool):
                return "without a stated cloud cover"
            if not cover <= self._cloud:
                return "cloudier than asked"
        if self._filter is not None:
            verdict = self._filter.decide(item)
            if verdict is False:
                return "not meeting the filter"
            if verdict is None and not self._filtered_there:
                return "without what the filter asks for"
        return ""

    def _misplaced(self, item: Item, place: BaseGeometry) -> str:
        geometry = item.get("geometry")
        if geometry is None:
            return _NO_PLACE
        plain = _plainly(geometry, self._boxes, self._filled)
        if plain is not None:
            return "" if plain else _OUTSIDE
        there = footprint(geometry, item.get("bbox"))
        if there is None:
            return _NO_PLACE
        return "" if _meet(place, there) else _OUTSIDE


def _boxes(place: BaseGeometry) -> tuple[Box, ...]:
    """The bounding box of every part: together they are the area where that is from a bbox."""
    parts = place.geoms if isinstance(place, MultiPolygon) else [place]
    return tuple(part.bounds for part in parts)


def _plainly(geometry: Any, boxes: tuple[Box, ...], filled: bool) -> bool | None:
    """Whether an outline meets the area, where its corners alone tell; None: they do not.

    :param filled: the boxes are the area itself, so that one corner inside is enough.
    """
    try:
        kind, rings = geometry["type"], geometry["coordinates"]
        if kind == "Polygon":
            ring = rings[0]
        elif kind == "MultiPolygon" and len(rings) == 1:
            ring = rings[0][0]
        else:
            return None
        if len(ring) < 4:
            return None
        longitudes = [point[0] for point in ring]
        latitudes = [point[1] for point in ring]
        west, east = min(longitudes), max(longitudes)
        south, north = min(latitudes), max(latitudes)
        # Also false for what is no number: NaN meets nothing.
        if not (west >= -180 and east <= 180 and east - west <= 180 and south <= north):
            return None
        outside = True
        for left, low, right, high in boxes:
            if west > right or east < left or south > high or north < low:
                continue
            outside = False
            if filled:
                if west >= left and east <= right and south >= low and north <= high:
                    return True
                for x, y in zip(longitudes, latitudes, strict=True):
                    if left <= x <= right and low <= y <= high:
                        return True
    except (TypeError, KeyError, IndexError, ValueError):
        return None
    return False if outside else None


def _meet(place: BaseGeometry, there: BaseGeometry) -> bool:
    try:
        return bool(place.intersects(there))
    except ShapelyError:
        # An outline that crosses itself: what it encloses is known all the same.
        return bool(place.intersects(make_valid(there)))
