"""Tiles, values at a point and ranges of rasters, by rio-tiler; a file at a time, in one thread.

Tiles are those of the Web Mercator quad tree (OGC 17-083r4, "WebMercatorQuad"). Needs rasterio and
rio-tiler, which are imported with this module and take seconds: nothing imports it at start.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import Any, cast

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_gcps
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rio_tiler.colormap import cmap as colormaps
from rio_tiler.errors import PointOutsideBounds, RioTilerError
from rio_tiler.models import ImageData
from rio_tiler.reader import part, point, read

from cscale_core.errors import DamagedData, InvalidInput
from cscale_core.tiles.bands import Band, Rendering
from cscale_core.tiles.styles import (
    Legend,
    Limits,
    Style,
    centred,
    class_colours,
    colormap_of,
    known_limits,
    legend,
    rounded,
)

# What they say goes to a log that nobody reads; what matters is an error here.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
warnings.filterwarnings("ignore", module="rio_tiler")

Open = Callable[[Band], AbstractContextManager[Any]]
"""Opens the file of a band as rasterio's data set."""

MAX_ZOOM = 24
_MERCATOR = CRS.from_epsg(3857)
_DEGREES = CRS.from_epsg(4326)
_HALF = math.pi * 6_378_137.0
_NORTHERNMOST = 85.051129
_PREVIEW = 256
"""Pixels of the side of what is looked at for the range of values."""


@dataclass(frozen=True)
class Placed:
    """Where a layer is and how close one can look.

    :ivar bounds: west, south, east, north in degrees.
    """

    bounds: tuple[float, float, float, float]
    min_zoom: int
    max_zoom: int


def tile_bounds(z: int, x: int, y: int) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of a tile in EPSG:3857.

    :raises InvalidInput: when there is no such tile.
    """
    count = 2**z if 0 <= z <= MAX_ZOOM else 0
    if not (0 <= x < count and 0 <= y < count):
        raise InvalidInput(f"There is no tile {z}/{x}/{y}.")
    side = 2 * _HALF / count
    left, top = -_HALF + x * side, _HALF - y * side
    return left, top - side, left + side, top


def settled(rendering: Rendering, opened: Open) -> Rendering:
    """A rendering of which all is known, from the header of its file where the item is silent."""
    if all(band.data_type and band.scale is not None for band in rendering.bands) and (
        rendering.kind != "unknown"
    ):
        return rendering
    bands: list[Band] = []
    kind = rendering.kind
    for band in rendering.bands:
        with _straight(opened(band)) as dataset:
            if band.number > dataset.count:
                raise InvalidInput(f"{band.asset} has {dataset.count} bands, not {band.number}.")
            if kind == "unknown":
                if dataset.count >= 3 and set(dataset.dtypes[:3]) == {"uint8"}:
                    bands = [_told(replace(band, number=n), dataset) for n in (1, 2, 3)]
                    kind = "colours"
                    break
                kind = "values"
            bands.append(_told(band, dataset))
    return replace(rendering, kind=kind, bands=tuple(bands))


def _told(band: Band, dataset: Any) -> Band:
    """A band with what the header says where the item does not."""
    place = band.number - 1
    scale, offset = float(dataset.scales[place]), float(dataset.offsets[place])
    stated = (scale, offset) != (1.0, 0.0)
    return replace(
        band,
        data_type=band.data_type or str(dataset.dtypes[place]),
        scale=scale if band.scale is None and stated else band.scale,
        offset=offset if band.offset is None and stated else band.offset,
        unit=band.unit or str(dataset.units[place] or "")[:50],
    )


def placed(rendering: Rendering, opened: Open) -> Placed:
    """Where the first band of a rendering is.

    :raises InvalidInput: when it has no place.
    """
    with _straight(opened(rendering.bands[0])) as dataset:
        crs = _crs(dataset, rendering)
        west, south, east, north = transform_bounds(crs, _DEGREES, *dataset.bounds, densify_pts=21)
        pixels = max(dataset.width, dataset.height)
    south, north = max(south, -_NORTHERNMOST), min(north, _NORTHERNMOST)
    width = (east - west) % 360 or 360.0
    height = (_mercator(north) - _mercator(south)) * 360.0
    # One tile has 256 pixels: how many tiles the whole world takes at this resolution.
    finest = math.log2(max(1.0, pixels / 256 * 360.0 / max(width, height, 1e-9)))
    max_zoom = min(MAX_ZOOM, max(0, math.ceil(finest)))
    coarsest = finest - math.log2(max(1.0, pixels / 256))
    return Placed((west, south, east, north), max(0, min(max_zoom, int(coarsest) - 1)), max_zoom)


def _mercator(latitude: float) -> float:
    """Where a latitude lies, in heights of the whole Mercator world."""
    return math.asinh(math.tan(math.radians(latitude))) / (2 * math.pi)


def limits_of(rendering: Rendering, style: Style, opened: Open) -> tuple[Limits, ...]:
    """The range of values of each band: as asked for, as the item tells, else as its pixels are."""
    if rendering.kind == "classes":
        return ()
    count = 3 if rendering.kind == "colours" else 1
    if style.limits:
        return style.limits * count if len(style.limits) == 1 else style.limits[:count]
    known = known_limits(rendering)
    if not known:
        known = tuple(_seen(band, opened) for band in rendering.bands)
    if rendering.kind == "colours":
        return known
    return (known[0] if rendering.index else centred(rounded(known[0])),)


def _seen(band: Band, opened: Open) -> Limits:
    """Between which values nearly all pixels lie (percentiles 2 and 98), of a small copy."""
    with _straight(opened(band)) as dataset, _understood(band):
        image = read(
            dataset, indexes=[band.number], max_size=_PREVIEW, nodata=_nodata(band, dataset)
        )
    values = _scaled(image.array[0], band).compressed()
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (2, 98))
    return float(low), float(high)


def tile(
    rendering: Rendering,
    limits: Sequence[Limits],
    colormap: str,
    place: tuple[int, int, int],
    opened: Open,
    *,
    size: int = 256,
) -> bytes | None:
    """A tile as PNG; None where the layer has nothing.

    :param place: z, x, y.
    :raises DamagedData: when a file cannot be read.
    """
    bounds = tile_bounds(*place)
    read_bands = []
    for bands in _by_file(rendering):
        with _straight(opened(bands[0])) as dataset:
            if not _overlaps(dataset, rendering, bounds):
                return None
            with _understood(bands[0]):
                image = part(
                    dataset,
                    bounds,
                    height=size,
                    width=size,
                    bounds_crs=_MERCATOR,
                    dst_crs=_MERCATOR,
                    indexes=[band.number for band in bands],
                    nodata=_nodata(bands[0], dataset),
                    resampling_method="nearest" if rendering.kind == "classes" else "bilinear",
                    reproject_method="nearest" if rendering.kind == "classes" else "bilinear",
                )
        read_bands += [_scaled(image.array[place], band) for place, band in enumerate(bands)]
    data = _combined(rendering, read_bands)
    return None if data.mask.all() else _picture(rendering, data, limits, colormap)


def _by_file(rendering: Rendering) -> list[list[Band]]:
    """The bands in their order, those of one file together: it is opened and decoded once."""
    return [list(bands) for _, bands in groupby(rendering.bands, key=lambda band: band.asset)]


@cache
def empty_tile(size: int) -> bytes:
    """A tile in which nothing is."""
    nothing = np.ma.array(np.zeros((3, size, size), dtype="uint8"), mask=True)
    return bytes(ImageData(nothing).render(img_format="PNG"))


def _picture(rendering: Rendering, data: Any, limits: Sequence[Limits], colormap: str) -> bytes:
    if rendering.kind == "classes":
        table: Any = {
            value: (*_rgb(colour), 255)
            for value, (colour, _) in class_colours(rendering.bands[0].classes).items()
        }
        image = ImageData(data.astype("int32"))
    else:
        table = colormaps.get(colormap) if rendering.kind == "values" else None
        image = ImageData(data).post_process(in_range=tuple(limits))
    return bytes(image.render(img_format="PNG", colormap=table, zlevel=1))


def value_at(
    rendering: Rendering, longitude: float, latitude: float, opened: Open
) -> tuple[float | None, ...]:
    """The value of each band at a point, of an index its own; None where there is none."""
    found: list[Any] = []
    for bands in _by_file(rendering):
        with _straight(opened(bands[0])) as dataset:
            _crs(dataset, rendering)
            try:
                with _understood(bands[0]):
                    seen = point(
                        dataset,
                        (longitude, latitude),
                        indexes=[band.number for band in bands],
                        coord_crs=_DEGREES,
                        nodata=_nodata(bands[0], dataset),
                    )
            except _Outside:
                return (None,) * (1 if rendering.index else len(rendering.bands))
        found += [_scaled(seen.array[i].reshape(1, 1), band) for i, band in enumerate(bands)]
    data = _combined(rendering, found)
    return tuple(
        None if hidden else float(number)
        for number, hidden in zip(data.data.ravel(), data.mask.ravel(), strict=True)
    )


def legend_of(rendering: Rendering, limits: Sequence[Limits], style: Style) -> Legend:
    """What the colours mean."""
    if rendering.kind != "values":
        return legend(rendering, limits, "", ())
    name = colormap_of(rendering, limits, style.colormap)
    table = colormaps.get(name)
    colours = ["#{:02x}{:02x}{:02x}".format(*table[number][:3]) for number in range(256)]
    return legend(rendering, limits, name, colours)


@contextmanager
def _straight(opening: AbstractContextManager[Any]) -> Iterator[Any]:
    """A data set with a place of its own; radar scenes have the places of some points instead.

    The points are fitted by one affine transformation: good to look at, not to measure.
    """
    with opening as dataset:
        points, crs = dataset.gcps
        if dataset.crs is not None or not points:
            yield dataset
            return
        with WarpedVRT(
            dataset,
            src_crs=crs,
            src_transform=from_gcps(points),
            nodata=dataset.nodata,
            add_alpha=dataset.nodata is None,
        ) as placed:
            yield placed


class _Outside(Exception):
    """The point is not in the file."""


@contextmanager
def _understood(band: Band) -> Iterator[None]:
    """rio-tiler's errors in our words."""
    try:
        yield
    except PointOutsideBounds as error:
        raise _Outside from error
    except RioTilerError as error:
        raise DamagedData(f"{band.asset} cannot be shown: {error}.") from error


def _crs(dataset: Any, rendering: Rendering) -> CRS:
    if dataset.crs is None or dataset.transform.is_identity:
        raise InvalidInput(
            f"{rendering.title} has no place on the map: its file names no coordinate system."
        )
    return dataset.crs


def _overlaps(
    dataset: Any, rendering: Rendering, bounds: tuple[float, float, float, float]
) -> bool:
    left, bottom, right, top = transform_bounds(
        _crs(dataset, rendering), _MERCATOR, *dataset.bounds, densify_pts=21
    )
    return bool(left < bounds[2] and right > bounds[0] and bottom < bounds[3] and top > bounds[1])


def _nodata(band: Band, dataset: Any) -> float | None:
    """The number that stands for no value; of floating-point numbers NaN where none is said."""
    if band.nodata is not None:
        return band.nodata
    if dataset.nodata is None and dataset.dtypes[band.number - 1].startswith("float"):
        return math.nan
    return cast("float | None", dataset.nodata)


def _scaled(array: Any, band: Band) -> Any:
    """Physical values, float64, masked where there are none."""
    values = np.ma.masked_invalid(array.astype("float64"))
    values.mask = np.ma.getmaskarray(values)
    if band.scale is not None or band.offset is not None:
        values = values * (1.0 if band.scale is None else band.scale) + (band.offset or 0.0)
    return values


def _combined(rendering: Rendering, bands: Sequence[Any]) -> Any:
    """The array (bands, rows, columns) that is shown."""
    if not rendering.index:
        stacked = np.ma.stack(bands)
        # A pixel of a picture that lacks one of its colours is none.
        mask = np.ma.getmaskarray(stacked).any(axis=0)
        return np.ma.array(stacked.data, mask=np.broadcast_to(mask, stacked.shape))
    first, second = bands
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.ma.masked_invalid((first - second) / (first + second))
    return np.ma.array(values.data[np.newaxis], mask=np.ma.getmaskarray(values)[np.newaxis])


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
