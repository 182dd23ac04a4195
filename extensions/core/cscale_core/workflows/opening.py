"""Result items as one xarray Dataset, read when its values are needed.

The rules:

- Each band becomes a variable of its name; of the asset's name where bands are not named
  (``b1``), and of both (``composite_b1``) where assets share names that several bands have.
- Files of the same band at different times lie along ``time`` (an asset's own ``datetime``, else
  its item's). A variable that is known at one time only has no ``time``.
- All lie on one grid: the lattice of the finest raster, the first by time and id where several are
  as fine, over the area of all of them. What lies on another lattice is resampled.
- Where files of one time overlap, the first by item id and asset that has a value gives it.
- Missing values are NaN, and scale and offset are applied: ``number * scale + offset``. Values are
  float32 where the digital numbers have at most 16 bits or are float32 themselves, else float64.

Needs rasterio and xarray; dask only for ``chunks``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.transform import array_bounds
from rasterio.warp import calculate_default_transform
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from cscale_core.errors import InvalidInput
from cscale_core.grids import Grid, native_grid
from cscale_core.ingest.raster_members import driver_of
from cscale_core.raster import Source, read, read_exactly
from cscale_core.site import Site
from cscale_core.workflows.layers import Layer, layers_of, variables
from cscale_core.workflows.reading_places import Places

Items = Sequence[Mapping[str, Any]]


def open_items(
    items: Iterable[Mapping[str, Any]],
    assets: Sequence[str] | None = None,
    chunks: Mapping[str, int] | None = None,
    *,
    crs: str = "",
    resampling: str = "nearest",
    fresh: Callable[[], Items] | None = None,
    site: Site | None = None,
) -> xr.Dataset:
    """The rasters of STAC items as one Dataset with dims (time,) y, x, by the module's rules.

    Each file is read from the mounted bucket when it is there, else from the object store with the
    credentials of this server, else over HTTPS.

    :param assets: keys of the assets to open; None: every raster with the role ``data``.
    :param chunks: sizes of dask's chunks, ``{}`` for one chunk a time; None: without dask.
    :param crs: reproject everything to this CRS, such as ``EPSG:4326``; empty: their own.
    :param resampling: a name of ``rasterio.enums.Resampling``, for what lies on another lattice.
    :param fresh: gives the same items with links that work; asked once, when one has ended.
    :param site: default: the one of this server, if there is one.
    :raises InvalidInput: when there is nothing to open; when the rasters are in several CRS and
        ``crs`` names none.
    :raises DamagedData: when a file cannot be read, here or later when values are asked for.
    """
    given = [dict(item) for item in items]
    if resampling not in Resampling.__members__:
        raise InvalidInput(
            f"{resampling!r} is no way of resampling.",
            hint="Known: " + ", ".join(Resampling.__members__) + ".",
        )
    places = Places(given, fresh, site)
    layers = layers_of(given, assets, places)
    grid = _grid(layers, crs)
    named = variables(layers)
    moments = sorted({layer.moment for group in named.values() for layer in group if _many(group)})
    opened = _Opened(grid, named, moments, resampling, places)
    dataset = xr.open_dataset(
        opened,  # type: ignore[arg-type]  # a backend of one's own takes what it understands
        engine=_Results,
        chunks=None if chunks is None else dict(chunks),
        decode_cf=False,
    )
    return dataset.assign_attrs(_about(given))


def _many(group: Sequence[Layer]) -> bool:
    return len({layer.moment for layer in group}) > 1


def _about(items: Items) -> dict[str, Any]:
    """What the items have in common, as attributes."""
    about: dict[str, Any] = {"items": ", ".join(str(item.get("id", "")) for item in items)}
    for name, key in (("title", "title"), ("job", "cscale:job"), ("history", "processing:lineage")):
        values = {str(item.get("properties", {}).get(key, "")) for item in items}
        if len(values) == 1 and (value := values.pop()):
            about[name] = value
    return about


# -- the grid ------------------------------------------------------------------------------


def _grid(layers: Sequence[Layer], crs: str) -> Grid:
    systems: dict[str, str] = {}
    for layer in layers:
        systems.setdefault(layer.crs, layer.label)
    if not crs and len(systems) > 1:
        named = ", ".join(f"{code} ({label})" for code, label in sorted(systems.items()))
        raise InvalidInput(
            f"The rasters are in several coordinate reference systems: {named}.",
            hint="Name the one that you want, such as crs='EPSG:4326', or open fewer items.",
        )
    target = crs or layers[0].crs
    try:
        placed = [_placed(layer, target) for layer in layers]
        finest = min(placed, key=lambda one: one.transform[0])
        left, bottom, right, top = zip(*(one.bounds for one in placed), strict=True)
        bounds = (min(left), min(bottom), max(right), max(top))
        return native_grid(target, finest.transform, bounds)
    except (CRSError, RasterioError) as error:
        raise InvalidInput(f"The rasters cannot be brought to {target}: {error}") from error
    except ValueError as error:
        raise InvalidInput(f"The rasters cannot share a grid: {error}.") from error


@dataclass(frozen=True)
class _Placed:
    transform: tuple[float, ...]
    bounds: tuple[float, float, float, float]


def _placed(layer: Layer, target: str) -> _Placed:
    """Lattice and bounds of a raster in the CRS that all are brought to."""
    height, width = layer.shape
    if CRS.from_user_input(layer.crs) == CRS.from_user_input(target):
        return _Placed(layer.transform, layer.bounds)
    transform, width, height = calculate_default_transform(
        layer.crs, target, width, height, *layer.bounds
    )
    return _Placed(tuple(transform)[:6], array_bounds(height, width, transform))


# -- xarray's backend ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Opened:
    """What is opened, before anything is read."""

    grid: Grid
    named: Mapping[str, Sequence[Layer]]
    moments: Sequence[np.datetime64]
    resampling: str
    places: Places


class _Results(BackendEntrypoint):
    """The way by which xarray keeps values that were read, and cuts them into dask's chunks."""

    description = "Result items"
    open_dataset_parameters = ("filename_or_obj", "drop_variables")

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
    ) -> xr.Dataset:
        opened: _Opened = filename_or_obj
        grid = opened.grid
        chosen = {name: _variable(opened, group) for name, group in opened.named.items()}
        coordinates: dict[str, Any] = {
            "y": ("y", grid.top - (np.arange(grid.height) + 0.5) * grid.yres, _axis(grid, "y")),
            "x": ("x", grid.left + (np.arange(grid.width) + 0.5) * grid.xres, _axis(grid, "x")),
            "spatial_ref": ((), 0, _reference(grid)),
        }
        if opened.moments:
            coordinates["time"] = ("time", np.array(opened.moments, dtype="datetime64[ns]"))
        return xr.Dataset(chosen, coords=coordinates)


def _variable(opened: _Opened, group: Sequence[Layer]) -> xr.Variable:
    array = _Array(opened, group)
    first = group[0]
    attributes = {"long_name": first.title, "asset": first.asset}
    if first.unit:
        attributes["units"] = first.unit
    data = indexing.LazilyIndexedArray(array)
    size = {"y": min(1024, array.shape[-2]), "x": min(1024, array.shape[-1]), "time": 1}
    return xr.Variable(
        array.dims,
        data,
        attributes,
        {
            "grid_mapping": "spatial_ref",
            "_FillValue": array.dtype.type(np.nan),
            "preferred_chunks": {name: size[name] for name in array.dims},
        },
    )


class _Array(BackendArray):
    """One variable; a question for a part of it reads that part of the files."""

    def __init__(self, opened: _Opened, group: Sequence[Layer]) -> None:
        grid = opened.grid
        self._opened = opened
        self._slots: list[list[Layer]] = [list(group)]
        self.dims: tuple[str, ...] = ("y", "x")
        self.shape: tuple[int, ...] = (grid.height, grid.width)
        if _many(group):
            slots = [[one for one in group if one.moment == when] for when in opened.moments]
            self._slots = slots
            self.dims = ("time", *self.dims)
            self.shape = (len(slots), *self.shape)
        single = all(layer.single for layer in group)
        self.dtype = np.dtype("float32" if single else "float64")

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[int | slice, ...]) -> Any:
        *when, rows, columns = key
        row, height, of_rows = _span(rows, self.shape[-2])
        column, width, of_columns = _span(columns, self.shape[-1])
        window = self._opened.grid.window(column, row, width, height)
        chosen: Any = self._slots
        if when:
            chosen = self._slots[when[0]]
            if isinstance(when[0], int | np.integer):
                return self._slot(chosen, window)[of_rows, of_columns]
            values = np.empty((len(chosen), height, width), self.dtype)
            for number, slot in enumerate(chosen):
                values[number] = self._slot(slot, window)
            return values[:, of_rows, of_columns]
        return self._slot(chosen[0], window)[of_rows, of_columns]

    def _slot(self, layers: Sequence[Layer], window: Grid) -> Any:
        values = np.full((window.height, window.width), np.nan, self.dtype)
        for layer in layers:
            gaps = np.isnan(values)
            if not gaps.any():
                break
            if layer.crs == window.crs and not _touch(layer.bounds, window):
                continue
            found = self._opened.places.open(
                layer.item, layer.asset, functools.partial(self._file, layer, window)
            )
            values[gaps] = found[gaps]
        return values

    def _file(self, layer: Layer, window: Grid, href: str) -> Any:
        source: Source = replace(layer.source, href=href)
        exactly = read if layer.single else read_exactly
        return exactly(source, window, self._opened.resampling, driver_of(href))


def _span(key: int | slice, size: int) -> tuple[int, int, int | slice]:
    """First element, how many, and what is taken of them."""
    if not isinstance(key, slice):
        return int(key), 1, 0
    start, stop, step = key.indices(size)
    count = len(range(start, stop, step))
    if count == 0:
        return 0, 0, slice(0, 0)
    last = start + (count - 1) * step
    return min(start, last), abs(last - start) + 1, slice(None, None, step)


def _touch(bounds: tuple[float, float, float, float], window: Grid) -> bool:
    left, bottom, right, top = window.bounds
    # One pixel more, for resampling.
    return (
        bounds[0] < right + window.xres
        and bounds[2] > left - window.xres
        and bounds[1] < top + window.yres
        and bounds[3] > bottom - window.yres
    )


def _axis(grid: Grid, axis: str) -> dict[str, str]:
    if CRS.from_user_input(grid.crs).is_geographic:
        name, units = (
            ("longitude", "degrees_east") if axis == "x" else ("latitude", "degrees_north")
        )
        return {"axis": axis.upper(), "standard_name": name, "units": units}
    return {"axis": axis.upper(), "standard_name": f"projection_{axis}_coordinate", "units": "m"}


def _reference(grid: Grid) -> dict[str, str]:
    """CF's grid mapping (section 5.6) as rioxarray, odc-geo and GDAL read it."""
    wkt = CRS.from_user_input(grid.crs).to_wkt()
    a, b, c, d, e, f = grid.transform
    return {"crs_wkt": wkt, "spatial_ref": wkt, "GeoTransform": f"{c} {a} {b} {f} {d} {e}"}
