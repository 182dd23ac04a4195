"""Items as a map and a list need them: where, when, how cloudy, and by what to ask for the rest.

Ten thousand of them stay below 3 MB, so outlines are drawn as exactly as a map can show them:
coordinates to five decimals (about a metre), of large outlines to four, and outlines of many
corners with fewer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from cscale_core.catalog.interval import item_interval
from cscale_core.catalog.mirrors import MIRRORS_MEMBER

MAX_VERTICES = 60

_DECIMALS = 5
_DECIMALS_OF_LARGE = 4
_LARGE = 0.5
"""Degrees: four decimals are a five-thousandth of that, less than a pixel of a whole screen."""

_FARTHEST_EAST, _FARTHEST_NORTH = 540, 90
"""Degrees: outlines across the antimeridian may go on beyond 180. NaN is no place either."""

# Outlines of more corners than a clipped scene has are drawn with fewer.
_FEW_VERTICES = 10
_TOLERANCE = 0.001
"""Of the extent: how far a simplified outline may be from the true one."""

_UTC = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")


def slim(item: dict[str, Any], ref: str) -> dict[str, Any]:
    """An item with the members ``ref``, ``geometry``, ``datetime``, ``cloud_cover``, ``mirrors``.

    ``geometry`` (GeoJSON in two dimensions) and ``datetime`` (RFC 3339, whole seconds, UTC; the
    start of an interval) are null where the item has none; the last two are left out where the
    item states no cloud cover (percent) and has no mirrors.
    """
    properties = item.get("properties") or {}
    small: dict[str, Any] = {
        "ref": ref,
        "geometry": outline(item.get("geometry")),
        "datetime": _moment(properties),
    }
    cover = properties.get("eo:cloud_cover")
    if isinstance(cover, int | float) and not isinstance(cover, bool) and math.isfinite(cover):
        small["cloud_cover"] = round(cover, 1)
    if mirrors := item.get(MIRRORS_MEMBER):
        small["mirrors"] = len(mirrors)
    return small


def _moment(properties: dict[str, Any]) -> str | None:
    stated = properties.get("datetime")
    if isinstance(stated, str) and (plain := _UTC.fullmatch(stated)):
        return plain[1] + "Z"
    sensed = item_interval(properties)
    if sensed is None or sensed.start is None:
        return None
    return sensed.start.strftime("%Y-%m-%dT%H:%M:%SZ")


def outline(geometry: Any) -> dict[str, Any] | None:
    """A GeoJSON geometry with at most :data:`MAX_VERTICES` vertices, rounded; None for none."""
    if not isinstance(geometry, dict):
        return None
    try:
        if geometry.get("type") != "Polygon" or _vertices(geometry["coordinates"]) > _FEW_VERTICES:
            geometry = mapping(_simplified(shape(geometry)))
        coordinates = geometry["coordinates"]
        decimals = _DECIMALS_OF_LARGE if _is_large(coordinates) else _DECIMALS
        return {"type": geometry["type"], "coordinates": _rounded(coordinates, decimals)}
    except (ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        # shapely raises all of these on malformed GeoJSON.
        return None


def _vertices(rings: Any) -> int:
    return sum(len(ring) for ring in rings)


def _simplified(geometry: BaseGeometry) -> BaseGeometry:
    """A shape of few vertices that looks alike; parts may be drawn as their common hull."""
    if geometry.is_empty or geometry.geom_type == "GeometryCollection":
        geometry = geometry.convex_hull
    west, south, east, north = geometry.bounds
    extent = max(east - west, north - south)
    forms: tuple[Callable[[], BaseGeometry], ...] = (
        lambda: geometry,
        lambda: geometry.convex_hull,
    )
    for form in forms:
        whole = form()
        for factor in (1, 2, 4, 8, 16):
            simple: BaseGeometry = shapely.simplify(whole, extent * _TOLERANCE * factor)
            if shapely.get_num_coordinates(simple) <= MAX_VERTICES:
                return simple
    return geometry.envelope


def _is_large(coordinates: Any) -> bool:
    """Whether the first ring or line of an outline spans more than :data:`_LARGE`."""
    while isinstance(coordinates[0], list | tuple) and isinstance(coordinates[0][0], list | tuple):
        coordinates = coordinates[0]
    if not isinstance(coordinates[0], list | tuple):
        return False
    return any(
        max(point[axis] for point in coordinates) - min(point[axis] for point in coordinates)
        > _LARGE
        for axis in (0, 1)
    )


def _rounded(coordinates: Any, decimals: int) -> Any:
    """Coordinates rounded, heights dropped, neighbours that fell together only once."""
    if isinstance(coordinates[0], int | float):
        x, y = coordinates[:2]
        if not (abs(x) <= _FARTHEST_EAST and abs(y) <= _FARTHEST_NORTH):
            raise ValueError("a coordinate is not on the globe")
        # Adding zero turns -0.0 into 0.0.
        return [round(x, decimals) + 0.0, round(y, decimals) + 0.0]
    rounded = [_rounded(part, decimals) for part in coordinates]
    if not isinstance(rounded[0][0], float) or len(rounded) <= 4:
        return rounded
    kept = rounded[:1]
    kept += [point for before, point in pairwise(rounded) if point != before]
    return kept if len(kept) >= 4 else rounded
