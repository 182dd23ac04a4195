"""The area and the period that a process graph is about, from what it loads.

They are shown and searched for in the list of jobs; what is computed follows from the graph alone.
So whatever is not understood here (parameters, other shapes) is left out and never an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cscale_core.catalog.area import box_area, parse_area
from cscale_core.errors import CScaleError

#: Processes that name an extent, with the arguments for space and time; the first group that says
#: something counts, for what is loaded is about as large as what is computed.
_LOADING = {
    "load_collection": ("spatial_extent", "temporal_extent"),
    "load_stac": ("spatial_extent", "temporal_extent"),
}
_FILTERING = {
    "filter_bbox": ("extent", ""),
    "filter_spatial": ("geometries", ""),
    "filter_temporal": ("", "extent"),
}

Graph = dict[str, Any]


def area_of(graph: Graph) -> dict[str, Any] | None:
    """A GeoJSON geometry (CRS84) of all that a graph loads; None when it does not say."""
    from shapely import union_all
    from shapely.geometry import mapping, shape

    for group in (_LOADING, _FILTERING):
        found = [
            area for extent in _arguments(graph, group, 0) if (area := _area(extent)) is not None
        ]
        if len(found) == 1:
            return found[0]
        if found:
            return dict(mapping(union_all([shape(area) for area in found])))
    return None


def period_of(graph: Graph) -> str:
    """The interval from the first to the last moment that a graph loads; empty: not stated."""
    for group in (_LOADING, _FILTERING):
        intervals = [
            interval
            for extent in _arguments(graph, group, 1)
            if (interval := _interval(extent)) is not None
        ]
        if intervals:
            starts, ends = zip(*intervals, strict=True)
            start = None if None in starts else min(starts)
            end = None if None in ends else max(ends)
            return "" if start is None and end is None else f"{_written(start)}/{_written(end)}"
    return ""


def _arguments(graph: Graph, group: dict[str, tuple[str, str]], which: int) -> Iterator[Any]:
    for node in graph.values():
        name = group.get(str(node.get("process_id")), ("", ""))[which]
        arguments = node.get("arguments")
        if name and isinstance(arguments, dict) and arguments.get(name) is not None:
            yield arguments[name]


def _area(extent: Any) -> dict[str, Any] | None:
    if not isinstance(extent, dict):
        return None
    try:
        if "type" in extent:
            return parse_area(extent)
        west, south, east, north = (
            float(extent[side]) for side in ("west", "south", "east", "north")
        )
        if not all(map(math.isfinite, (west, south, east, north))):
            return None
        crs = extent.get("crs") or 4326
        if str(crs).upper() not in ("4326", "EPSG:4326"):
            # rasterio: only for boxes in other coordinates.
            from rasterio.warp import transform_bounds

            west, south, east, north = transform_bounds(crs, 4326, west, south, east, north)
        from shapely.geometry import mapping

        return parse_area(dict(mapping(box_area((west, south, east, north)))))
    except (CScaleError, KeyError, TypeError, ValueError):
        return None


def _interval(extent: Any) -> tuple[datetime | None, datetime | None] | None:
    if not isinstance(extent, list) or len(extent) != 2:
        return None
    try:
        start, end = (_moment(value) for value in extent)
    except (TypeError, ValueError):
        return None
    return start, end


def _moment(value: Any) -> datetime | None:
    """A moment in UTC; None is an open end."""
    if value is None:
        return None
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _written(moment: datetime | None) -> str:
    return ".." if moment is None else moment.isoformat().replace("+00:00", "Z")
