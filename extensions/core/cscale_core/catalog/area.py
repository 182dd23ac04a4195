"""Areas on the Earth: read from what people draw or paste, and footprints of items.

Everything here is in longitude and latitude (EPSG:4326) and leaves with longitudes between -180
and 180, split where it crosses the antimeridian (RFC 7946, section 3.1.9), so that the straight
lines which every catalogue draws between two points are the lines that were meant.

Two ways of crossing are understood: longitudes that go on beyond 180 (as maps draw), and an edge
of more than 180 degrees between two longitudes within the range (as footprints are written).
A rectangle is taken as it is drawn: the world between -170 and 170 is a rectangle too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import antimeridian
import shapely
from shapely import MultiPolygon, box
from shapely.affinity import translate
from shapely.errors import ShapelyError
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from cscale_core.errors import InvalidInput

JSON = dict[str, Any]

LONGEST_TEXT = 2_000_000
MOST_POSITIONS = 50_000
# Readers of WKT and GeoJSON work recursively, that of WKT in native code.
_DEEPEST = 16
_TYPES = {
    "Point",
    "MultiPoint",
    "LineString",
    "MultiLineString",
    "Polygon",
    "MultiPolygon",
    "GeometryCollection",
}
_SRID = re.compile(r"^SRID\s*=\s*(\d+)\s*;", re.IGNORECASE)
_CRS84 = re.compile(r"(CRS84|EPSG:+4326)$", re.IGNORECASE)
# shapely raises all of these on malformed GeoJSON.
_MALFORMED = (ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError)
_HINT = "Give a GeoJSON geometry, Feature or FeatureCollection, or WKT, in longitude and latitude."


def box_area(bbox: tuple[float, ...]) -> BaseGeometry:
    """The area of west, south, east, north; west > east crosses the antimeridian."""
    half = len(bbox) // 2
    west, south, east, north = (bbox[i] for i in (0, 1, half, half + 1))
    if west <= east:
        return box(west, south, east, north)
    return MultiPolygon([box(west, south, 180, north), box(-180, south, east, north)])


def parse_area(given: Any) -> JSON:
    """A GeoJSON geometry from a geometry, Feature, FeatureCollection (their union) or WKT text.

    Heights are dropped, rings closed, and rings that cross themselves made valid without changing
    what they enclose.

    :raises InvalidInput: in a sentence, when it is none of these, empty, or not on the Earth.
    """
    value = _from_text(given) if isinstance(given, str) else given
    if not isinstance(value, dict):
        raise InvalidInput("The area is not a geometry.", hint=_HINT)
    parts = [_usable(part) for part in _geometries(value)]
    if not parts:
        raise InvalidInput("The area is empty.", hint=_HINT)
    area = parts[0] if len(parts) == 1 else shapely.union_all(parts)
    if len(parts) == 1 and value.get("type") in _TYPES:
        plain = _plain(value)
        if not plain.has_z and area.equals_exact(plain, 0):
            return {
                key: value[key] for key in ("type", "coordinates", "geometries") if key in value
            }
    if _jumps(area) and not _is_rectangle(area):
        # Points between, so that whoever reads it again does not take it for a crossing.
        area = shapely.segmentize(area, 120)
    written: JSON = json.loads(json.dumps(mapping(area)))
    return written


def footprint(geometry: Any, bbox: Any = None) -> BaseGeometry | None:
    """The footprint of an item, or None when the geometry is none.

    :param bbox: that of the item; west > east says that its rectangle crosses the antimeridian.
    """
    try:
        read = shape(geometry)
        if read.is_empty:
            return None
        west, _, east, _ = read.bounds
        if not math.isfinite(west + east):
            return None
        if west >= -180 and east <= 180 and east - west <= 180:
            return read
        crossing = isinstance(bbox, list | tuple) and len(bbox) in (4, 6)
        if crossing and bbox[0] > bbox[len(bbox) // 2] and _is_rectangle(read):
            return box_area(tuple(bbox))
        return on_earth(read)
    except _MALFORMED:
        return None


def on_earth(geometry: BaseGeometry) -> BaseGeometry:
    """The same area with longitudes between -180 and 180, split at the antimeridian.

    :raises ValueError: when it is wider than the world and no rectangle.
    """
    west, south, east, north = geometry.bounds
    if west < -180 or east > 180:
        if east - west >= 360:
            if not _is_rectangle(geometry):
                raise ValueError("the area is wider than the world")
            return box(-180, south, 180, north)
        return _shifted(geometry)
    if east - west <= 180 or _is_rectangle(geometry) or not _jumps(geometry):
        return geometry
    if geometry.geom_type == "GeometryCollection":
        return shapely.union_all([on_earth(part) for part in geometry.geoms])
    fixed = antimeridian.fix_shape(mapping(geometry), great_circle=False, fix_winding=True)
    return shape(fixed)


def _from_text(text: str) -> Any:
    if len(text) > LONGEST_TEXT:
        raise InvalidInput(f"The area is longer than {LONGEST_TEXT} characters.")
    text = text.strip()
    try:
        if text.startswith("{"):
            return json.loads(text)
        if match := _SRID.match(text):
            if match[1] != "4326":
                raise InvalidInput(
                    f"The area is in EPSG:{match[1]}.", hint="Give longitude and latitude."
                )
            text = text[match.end() :].strip()
        if _depth(text) > _DEEPEST:
            raise InvalidInput("The area is nested too deeply.")
        return json.loads(json.dumps(mapping(shapely.from_wkt(text))))
    except (ShapelyError, ValueError, RecursionError) as error:
        raise InvalidInput("The area can be read neither as GeoJSON nor as WKT.", hint=_HINT) from (
            error
        )


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest


def _geometries(value: JSON, depth: int = 0) -> Iterator[JSON]:
    """The geometries of a GeoJSON object, those of collections one by one."""
    if depth > _DEEPEST:
        raise InvalidInput("The area is nested too deeply.")
    crs = value.get("crs")
    if crs is not None and not _CRS84.search(_crs_name(crs)):
        raise InvalidInput(
            "The area states a coordinate reference system of its own.",
            hint="GeoJSON is in longitude and latitude (RFC 7946); transform it.",
        )
    kind = value.get("type")
    members: Any = None
    if kind == "FeatureCollection":
        members = value.get("features")
    elif kind == "Feature":
        members = [value.get("geometry")]
    elif kind == "GeometryCollection":
        members = value.get("geometries")
    elif kind in _TYPES:
        yield value
        return
    if not isinstance(members, list):
        raise InvalidInput(f"The area is of no known type: {str(kind)[:40]!r}.", hint=_HINT)
    for member in members:
        if member is None and kind != "GeometryCollection":
            continue  # a Feature without a place (RFC 7946, section 3.2)
        if not isinstance(member, dict):
            raise InvalidInput("The area has a part that is no geometry.", hint=_HINT)
        yield from _geometries(member, depth + 1)


def _crs_name(crs: Any) -> str:
    properties = crs.get("properties") if isinstance(crs, dict) else None
    return str(properties.get("name", "")) if isinstance(properties, dict) else ""


def _plain(value: JSON) -> BaseGeometry:
    try:
        return shape(value)
    except _MALFORMED as error:
        raise InvalidInput("The area has coordinates that cannot be read.", hint=_HINT) from error


def _usable(value: JSON) -> BaseGeometry:
    if _positions(value.get("coordinates")) > MOST_POSITIONS:
        raise InvalidInput(
            f"The area has more than {MOST_POSITIONS} points.", hint="Simplify its outline."
        )
    geometry = shapely.force_2d(_plain(value))
    if geometry.is_empty:
        raise InvalidInput("The area is empty.", hint=_HINT)
    west, south, east, north = geometry.bounds
    if not all(map(math.isfinite, shapely.get_coordinates(geometry).flat)):
        raise InvalidInput("The area has coordinates that are no numbers.", hint=_HINT)
    if south < -90 or north > 90:
        raise InvalidInput(
            "The area has latitudes beyond 90 degrees.",
            hint="Write longitude before latitude, in degrees.",
        )
    if west < -540 or east > 540:
        raise InvalidInput("The area has longitudes beyond 540 degrees.", hint="Write degrees.")
    try:
        geometry = on_earth(geometry)
        if not geometry.is_valid:
            dimensions = shapely.get_dimensions(geometry)
            valid = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
            geometry = shapely.union_all(shapely.get_parts(valid))
            if geometry.is_empty or shapely.get_dimensions(geometry) < dimensions:
                raise InvalidInput(
                    "The area encloses nothing.", hint="Give a ring of at least three places."
                )
    except _MALFORMED as error:
        raise InvalidInput(f"The area cannot be used: {error}.", hint=_HINT) from error
    return geometry


def _positions(coordinates: Any) -> int:
    """How many numbers' lists there are; without recursion, as nobody has looked at it yet."""
    pending, count = [(coordinates, 0)], 0
    while pending:
        node, depth = pending.pop()
        if depth > _DEEPEST:
            raise InvalidInput("The area is nested too deeply.")
        if not isinstance(node, list | tuple):
            continue
        count += 1
        if count > 2 * MOST_POSITIONS:
            break
        pending += [(child, depth + 1) for child in node if isinstance(child, list | tuple)]
    return count


def _shifted(geometry: BaseGeometry) -> BaseGeometry:
    """Cut into worlds of 360 degrees and laid over each other."""
    valid = geometry if geometry.is_valid else shapely.make_valid(geometry)
    parts: list[BaseGeometry] = []
    for world in (-1, 0, 1):
        part = valid.intersection(box(360 * world - 180, -90, 360 * world + 180, 90))
        parts += [
            translate(piece, xoff=-360 * world)
            for piece in shapely.get_parts(part)
            if shapely.get_dimensions(piece) == shapely.get_dimensions(valid)
        ]
    return shapely.union_all(parts)


def _is_rectangle(geometry: BaseGeometry) -> bool:
    if geometry.geom_type != "Polygon" or len(geometry.interiors):
        return False
    west, south, east, north = geometry.bounds
    if west == east or south == north:
        return False
    corners = geometry.exterior.coords
    return (
        len(corners) <= 9
        and all(
            (point[0] in (west, east) and south <= point[1] <= north)
            or (point[1] in (south, north) and west <= point[0] <= east)
            for point in corners
        )
        and math.isclose(geometry.area, (east - west) * (north - south))
    )


def _jumps(geometry: BaseGeometry) -> bool:
    """Whether an edge spans more than 180 degrees, other than around the whole world."""
    for part in shapely.get_parts(geometry):
        if part.geom_type == "GeometryCollection":
            if _jumps(part):
                return True
            continue
        lines = [part]
        if part.geom_type == "Polygon":
            lines = [part.exterior, *part.interiors]
        for line in lines:
            longitudes = [point[0] for point in line.coords]
            for one, two in pairwise(longitudes):
                if 180 < abs(two - one) < 360:
                    return True
    return False
