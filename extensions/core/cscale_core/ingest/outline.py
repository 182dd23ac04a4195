"""Where a raster lies on the Earth: its outline and box in longitude and latitude.

The edges are followed with points in between, because a straight edge in a projection is a curve
in degrees. An outline that crosses the antimeridian is split there, and one around a pole reaches
it (RFC 7946, sections 3.1.9 and 5.3). Needs rasterio.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import antimeridian
import numpy as np
import shapely
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform
from shapely.geometry import Polygon, mapping, shape
from shapely.geometry.base import BaseGeometry

from cscale_core.catalog.area import on_earth
from cscale_core.errors import DamagedData

JSON = dict[str, Any]

_WGS84 = "EPSG:4326"
_EDGE_POINTS = 21
_DIGITS = 7
# GDAL's own errors are not among rasterio's.
_NOT_TRANSFORMED = (RasterioError, CPLE_BaseError)


def outline(crs: str, bounds: Sequence[float]) -> JSON | None:
    """The outline as a GeoJSON Polygon or MultiPolygon; None where it has no place on the Earth.

    :param crs: an authority code, or WKT.
    :param bounds: left, bottom, right, top in ``crs``.
    :raises DamagedData: when the CRS is not one.
    """
    try:
        system = CRS.from_user_input(crs)
        if system.is_geographic:
            area = on_earth(shapely.box(*bounds))
        else:
            area = _projected(system, bounds)
    except CRSError as error:
        raise DamagedData(f"{crs[:80]!r} is no coordinate reference system.") from error
    except ValueError:
        # Wider than the world.
        return None
    return None if area is None else _written(area)


def box_of(geometry: JSON) -> list[float]:
    """West, south, east, north; west > east when it lies on both sides of the antimeridian."""
    area = shape(geometry)
    west, south, east, north = area.bounds
    parts = list(getattr(area, "geoms", [area]))
    before = [part.bounds[0] for part in parts if part.bounds[2] >= 180 > -part.bounds[0]]
    after = [part.bounds[2] for part in parts if part.bounds[0] <= -180 and part.bounds[2] < 180]
    if len(parts) > 1 and before and after and min(before) > max(after):
        inner = [part.bounds for part in parts if part.bounds[0] > -180 and part.bounds[2] < 180]
        west = min([*before, *(bounds[0] for bounds in inner if bounds[0] > 0)])
        east = max([*after, *(bounds[2] for bounds in inner if bounds[2] <= 0)])
    return [round(value, _DIGITS) for value in (west, south, east, north)]


def together(geometries: Sequence[JSON]) -> JSON:
    """One geometry over several, at least one."""
    if len(geometries) == 1:
        return geometries[0]
    return _written(shapely.union_all([shape(geometry) for geometry in geometries]))


def _projected(system: CRS, bounds: Sequence[float]) -> BaseGeometry | None:
    ring = _on_the_earth(system, *_edge(bounds))
    if len(ring) < 3:
        return None
    north, south = (_holds(system, bounds, latitude) for latitude in (90.0, -90.0))
    if not north and not south and not _crosses(ring):
        return _plain(Polygon(ring))
    fixed: BaseGeometry = antimeridian.fix_polygon(
        Polygon(ring),
        force_north_pole=north,
        force_south_pole=south,
        fix_winding=True,
        great_circle=False,
    )
    return fixed


def _on_the_earth(
    system: CRS, xs: Sequence[float], ys: Sequence[float]
) -> list[tuple[float, float]]:
    """Longitude and latitude of the points that have some."""
    try:
        pairs = list(zip(*transform(system, _WGS84, xs, ys), strict=True))
    except _NOT_TRANSFORMED:
        # One point outside what the projection maps spoils the others: one by one.
        if len(xs) == 1:
            return []
        return [
            point for x, y in zip(xs, ys, strict=True) for point in _on_the_earth(system, [x], [y])
        ]
    return [point for point in pairs if all(map(math.isfinite, point))]


def _plain(area: BaseGeometry) -> BaseGeometry:
    """Without the points that a straight line passes at less than a metre, or a 10,000th."""
    west, south, east, north = area.bounds
    return area.simplify(min(1e-5, 1e-4 * min(east - west, north - south)))


def _edge(bounds: Sequence[float]) -> tuple[list[float], list[float]]:
    """Points along the edge, once around, not closed."""
    left, bottom, right, top = bounds
    along = np.linspace(0, 1, _EDGE_POINTS)[:-1]
    there, back = left + along * (right - left), right - along * (right - left)
    up, down = bottom + along * (top - bottom), top - along * (top - bottom)
    xs = np.concatenate([there, np.full(along.size, right), back, np.full(along.size, left)])
    ys = np.concatenate([np.full(along.size, bottom), up, np.full(along.size, top), down])
    return xs.tolist(), ys.tolist()


def _holds(system: CRS, bounds: Sequence[float], latitude: float) -> bool:
    """Whether a pole is inside; a projection that stretches it to a line does not hold it."""
    try:
        xs, ys = transform(_WGS84, system, [0.0, 90.0], [latitude, latitude])
    except _NOT_TRANSFORMED:
        return False
    if not all(map(math.isfinite, (*xs, *ys))):
        return False
    left, bottom, right, top = bounds
    size = max(abs(right - left), abs(top - bottom))
    one_point = math.hypot(xs[0] - xs[1], ys[0] - ys[1]) < 1e-6 * size
    return one_point and left < xs[0] < right and bottom < ys[0] < top


def _crosses(ring: Sequence[tuple[float, float]]) -> bool:
    following = [*ring[1:], ring[0]]
    return any(abs(one[0] - two[0]) > 180 for one, two in zip(ring, following, strict=True))


def _written(area: BaseGeometry) -> JSON:
    rounded = shapely.transform(area, lambda points: np.round(points, _DIGITS))
    written: JSON = json.loads(json.dumps(mapping(rounded)))
    return written
