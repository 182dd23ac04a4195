"""Splitting an area: by a regular grid in degrees or metres, or by tiles that are given.

A grid lies on the whole Earth, not on the area: the same place is in the same tile of the same
name whatever area was asked for. Every tile is clipped to the area; those outside are left out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.geometry import MultiPolygon, Polygon, box, mapping, shape
from shapely.geometry.base import BaseGeometry

from cscale_core.catalog.area import box_area, on_earth, parse_area
from cscale_core.errors import InvalidInput

JSON = dict[str, Any]
GridSize = float | str | tuple[float, str]

MOST_TILES = 10_000
LONGEST_ID = 80
_LONLAT = "EPSG:4326"
# Square degrees below which what is left of a clipped tile is a touch, not a part (about 1 m²).
_TOUCH = 1e-10
# So far from the middle of its zone, in degrees, is UTM of use.
_UTM_REACH = 9.0
_POINTS_OF_AN_EDGE = 16
_METRES = re.compile(r"^\s*([\d.]+)\s*(km|m)\s*$")
_DEGREES = re.compile(r"^\s*([\d.]+)\s*(?:°|deg(?:rees?)?)\s*$")
_MGRS = re.compile(r"^(?:T)?(\d{1,2})([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])$")
_BANDS = "CDEFGHJKLMNPQRSTUVWX"
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
_SQUARE = 100_000.0
_CYCLE = 2_000_000.0


@dataclass(frozen=True)
class Tile:
    """A part of an area.

    :ivar id: its name, the same each time.
    :ivar geometry: GeoJSON (CRS84), clipped to the area.
    :ivar bbox: west, south, east, north of that, degrees.
    """

    id: str
    geometry: JSON
    bbox: tuple[float, float, float, float]


def split(area: Any, *, grid: GridSize | None = None, tiles: Any = None) -> list[Tile]:
    """The parts of an area, in the order of the grid, or of the tiles.

    :param area: GeoJSON, WKT, west-south-east-north, or anything with ``__geo_interface__``.
    :param grid: a number or ``"0.5 degrees"``; ``"20 km"`` (in the UTM zone of the area); or a
        size with a CRS, ``(20_000, "EPSG:3035")``, in units of the CRS.
    :param tiles: GeoJSON features (an ``id`` each, or a property ``id``, ``name`` or ``tile``), a
        mapping of ids to geometries or boxes, or names of MGRS squares such as ``29SQB``.
    :raises InvalidInput: when one of them is not understood, or nothing is left.
    """
    if (grid is None) == (tiles is None):
        raise InvalidInput("Say how to split the area: by grid or by tiles, one of them.")
    whole = _polygons(_area(area))
    if whole.is_empty:
        raise InvalidInput("The area has no extent: points and lines cannot be split.")
    parts = _gridded(whole, grid) if grid is not None else _given(tiles)
    shapely.prepare(whole)
    found: list[Tile] = []
    names: set[str] = set()
    for name, part in parts:
        clipped = _clipped(part, whole)
        if clipped.area <= _TOUCH:
            continue
        if name in names:
            raise InvalidInput(f"Two tiles are called {name!r}; each needs a name of its own.")
        names.add(name)
        found.append(Tile(name, _geojson(clipped), clipped.bounds))
        if len(found) > MOST_TILES:
            raise InvalidInput(
                f"That would be more than {MOST_TILES:,} tiles.", hint="Take larger ones."
            )
    if not found:
        raise InvalidInput("No tile lies in the area.")
    return found


def _clipped(part: BaseGeometry, whole: BaseGeometry) -> BaseGeometry:
    """What a part has in common with the area, written the same way whatever the area is."""
    inside = part if whole.covers(part) else _polygons(shapely.intersection(whole, part))
    return shapely.normalize(inside)


def _area(given: Any) -> BaseGeometry:
    interface = getattr(given, "__geo_interface__", given)
    if isinstance(interface, Sequence) and not isinstance(interface, str):
        numbers = tuple(interface)
        if len(numbers) != 4 or not all(isinstance(each, int | float) for each in numbers):
            raise InvalidInput("A box is four numbers: west, south, east, north, in degrees.")
        return box_area(tuple(map(float, numbers)))
    return shape(parse_area(interface))


def _polygons(geometry: BaseGeometry) -> BaseGeometry:
    """What has an extent of it."""
    if isinstance(geometry, Polygon | MultiPolygon):
        return geometry
    parts = [
        part for part in getattr(geometry, "geoms", ()) if isinstance(part, Polygon | MultiPolygon)
    ]
    return shapely.union_all(parts) if parts else Polygon()


def _geojson(geometry: BaseGeometry) -> JSON:
    written: JSON = json.loads(json.dumps(mapping(geometry)))
    return written


# -- a grid ------------------------------------------------------------------------------------


def _gridded(area: BaseGeometry, grid: GridSize) -> Iterator[tuple[str, BaseGeometry]]:
    size, crs = _size(grid, area)
    if crs == _LONLAT:
        return _degrees(area, size)
    return _projected(area, size, crs)


def _size(grid: GridSize, area: BaseGeometry) -> tuple[float, str]:
    """The size of a cell and the CRS it is in."""
    if isinstance(grid, tuple):
        size, crs = float(grid[0]), str(grid[1])
    elif isinstance(grid, str):
        if match := _METRES.match(grid):
            size = float(match[1]) * (1000 if match[2] == "km" else 1)
            crs = _utm(area)
        elif match := _DEGREES.match(grid):
            size, crs = float(match[1]), _LONLAT
        else:
            raise InvalidInput(
                f"The grid {grid!r} is not understood.",
                hint='Such as 0.5 (degrees), "20 km", or (20_000, "EPSG:3035").',
            )
    else:
        size, crs = float(grid), _LONLAT
    if not (math.isfinite(size) and size > 0):
        raise InvalidInput("The size of a grid is larger than nothing.")
    return size, crs


def _degrees(area: BaseGeometry, size: float) -> Iterator[tuple[str, BaseGeometry]]:
    for column, row in _cells(area, size):
        west, south = round(column * size, 9), round(row * size, 9)
        east, north = round((column + 1) * size, 9), round((row + 1) * size, 9)
        name = f"{_hemisphere(south, 'NS')}{_hemisphere(west, 'EW')}"
        yield name, box(max(west, -180), max(south, -90), min(east, 180), min(north, 90))


def _hemisphere(value: float, letters: str) -> str:
    return f"{letters[value < 0]}{abs(value):.9g}"


def _projected(area: BaseGeometry, size: float, crs: str) -> Iterator[tuple[str, BaseGeometry]]:
    west, south, east, north = area.bounds
    step = max(east - west, north - south) / _POINTS_OF_AN_EDGE
    flat = _transformed(shapely.segmentize(area, step), _LONLAT, crs)
    code = crs.rpartition(":")[2]
    for column, row in _cells(flat, size):
        left, bottom = column * size, row * size
        cell = box(left, bottom, left + size, bottom + size)
        round_earth = _transformed(
            shapely.segmentize(cell, size / _POINTS_OF_AN_EDGE), crs, _LONLAT
        )
        yield f"{code}E{left:.9g}N{bottom:.9g}", on_earth(round_earth)


def _cells(area: BaseGeometry, size: float) -> Iterator[tuple[int, int]]:
    """Columns and rows of the cells that an area has a part in, from the south-west on."""
    left, bottom, right, top = area.bounds
    columns = range(math.floor(left / size), math.ceil(right / size))
    rows = range(math.floor(bottom / size), math.ceil(top / size))
    if len(columns) * len(rows) > 50 * MOST_TILES:
        raise InvalidInput(
            f"The grid has {len(columns) * len(rows):,} cells around the area.",
            hint="Take larger ones.",
        )
    shapely.prepare(area)
    for row in rows:
        for column in columns:
            cell = box(column * size, row * size, (column + 1) * size, (row + 1) * size)
            if area.intersects(cell):
                yield column, row


def _utm(area: BaseGeometry) -> str:
    """The UTM zone in which the middle of an area lies.

    :raises InvalidInput: when the area is too wide for one zone.
    """
    west, south, east, north = area.bounds
    middle, parallel = (west + east) / 2, (south + north) / 2
    zone = min(int((middle + 180) // 6) + 1, 60)
    centre = zone * 6 - 183
    if max(east - centre, centre - west) > _UTM_REACH or max(abs(south), abs(north)) > 84:
        raise InvalidInput(
            "The area is too large for one UTM zone.",
            hint='Name a CRS, such as (20_000, "EPSG:3035") for Europe, or give degrees.',
        )
    return f"EPSG:{(32600 if parallel >= 0 else 32700) + zone}"


def _transformed(geometry: BaseGeometry, source: str, target: str) -> BaseGeometry:
    try:
        from rasterio.crs import CRS
        from rasterio.errors import CRSError
        from rasterio.warp import transform
    except ImportError as error:
        raise InvalidInput(
            "Grids in metres need rasterio, which is not installed here.",
            hint="It is in every server of the hub; or give the size in degrees.",
        ) from error
    try:
        ends = CRS.from_user_input(source), CRS.from_user_input(target)
    except (CRSError, ValueError) as error:
        raise InvalidInput(f"The CRS of the grid is not known: {error}.") from error

    def move(points: Any) -> Any:
        x, y = transform(*ends, points[:, 0].tolist(), points[:, 1].tolist())
        return shapely.get_coordinates(shapely.points(x, y))

    return shapely.make_valid(shapely.transform(geometry, move))


# -- tiles that are given ------------------------------------------------------------------------


def _given(tiles: Any) -> Iterator[tuple[str, BaseGeometry]]:
    interface = getattr(tiles, "__geo_interface__", tiles)
    if isinstance(interface, Mapping) and interface.get("type") == "FeatureCollection":
        interface = interface["features"]
    if isinstance(interface, Mapping):
        for name, geometry in interface.items():
            yield _name(name), _polygons(_area(geometry))
        return
    if isinstance(interface, str) or not isinstance(interface, Sequence):
        raise InvalidInput("The tiles are not understood.", hint="Give GeoJSON features.")
    for number, tile in enumerate(interface):
        if isinstance(tile, str):
            yield _name(tile), mgrs_square(tile)
        else:
            feature = getattr(tile, "__geo_interface__", tile)
            yield _name_of(feature, number), _polygons(_area(feature))


def _name_of(feature: Any, number: int) -> str:
    if not isinstance(feature, Mapping):
        raise InvalidInput(f"Tile {number} is not a GeoJSON feature.")
    properties = feature.get("properties") or {}
    for value in (feature.get("id"), *(properties.get(key) for key in ("id", "name", "tile"))):
        if value is not None:
            return _name(value)
    raise InvalidInput(
        f"Tile {number} has no name.", hint="Give each feature an id: jobs are found again by it."
    )


def _name(value: Any) -> str:
    name = " ".join(str(value).split())
    if not name or len(name) > LONGEST_ID:
        raise InvalidInput(f"A tile's name has 1 to {LONGEST_ID} characters, not {value!r}.")
    return name


def mgrs_square(name: str) -> BaseGeometry:
    """The square of 100 km of the Military Grid Reference System, in longitude and latitude.

    Rules of the lettering: NGA.STND.0037 (the universal grids), appendix B. It is the square on
    its zone's grid; where zones meet squares overlap.

    :raises InvalidInput: when there is no such square.
    """
    match = _MGRS.match(name.strip().upper())
    zone = int(match[1]) if match else 0
    if match is None or not 1 <= zone <= 60:
        raise InvalidInput(
            f"{name!r} is not the name of a square of 100 km, such as 29SQB.",
            hint="Give other tiles as GeoJSON features with an id each.",
        )
    columns = _COLUMNS[(zone - 1) % 3]
    if match[3] not in columns:
        raise InvalidInput(f"There is no column {match[3]} in zone {zone}: {name!r}.")
    easting = (columns.index(match[3]) + 1) * _SQUARE
    shift = 0 if zone % 2 else 5
    northing = ((_ROWS.index(match[4]) - shift) % len(_ROWS)) * _SQUARE
    north = match[2] >= "N"
    crs = f"EPSG:{(32600 if north else 32700) + zone}"
    southern = _BANDS.index(match[2]) * 8 - 80
    northern = 84 if match[2] == "X" else southern + 8
    for cycle in range(5):
        bottom = northing + cycle * _CYCLE
        cell = box(easting, bottom, easting + _SQUARE, bottom + _SQUARE)
        square = _transformed(shapely.segmentize(cell, _SQUARE / _POINTS_OF_AN_EDGE), crs, _LONLAT)
        _, low, _, high = square.bounds
        # A square has a part in its band; rows repeat every 2,000 km, bands are 890 km high.
        if high > southern and low < northern:
            return on_earth(square)
    raise InvalidInput(f"There is no row {match[4]} in band {match[2]}: {name!r}.")
