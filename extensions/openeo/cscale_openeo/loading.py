"""From frozen items to cubes: the pixel grid of a load, and reading a part of it.

Grid rule (:mod:`cscale_core.grids`): the native pixels of the first item by (datetime, id), of the
finest among the requested bands, cut to the requested area; resampled from the same upper-left
corner when a ``resample_spatial`` was pushed into the load.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from rasterio.crs import CRS
from rasterio.warp import transform_bounds, transform_geom

from cscale_core.errors import DamagedData
from cscale_core.grids import Grid, native_grid
from cscale_core.raster import ObjectStoreAccess, Source, gdal_environment, read
from cscale_openeo.cube_processes import RESAMPLING, coordinates, resampled_grid
from cscale_openeo.errors import OpenEOError
from cscale_openeo.freezing import spatial_bounds

_READERS = 4


@dataclass(frozen=True)
class LoadPlan:
    """What a loading node reads.

    :param slices: (time, items of that time), sorted; more than one item is a mosaic, first wins.
    """

    grid: Grid
    method: str
    bands: tuple[str, ...]
    slices: tuple[tuple[np.datetime64, tuple[dict[str, Any], ...]], ...]
    polygon: dict[str, Any] | None
    common_names: dict[str, str]


def plan_load(
    node: dict[str, Any], frozen: dict[str, Any], access: ObjectStoreAccess | None
) -> LoadPlan:
    """The plan of a loading node from its arguments and its frozen inputs.

    :raises OpenEOError: NoDataAvailable without items; InputUnreadable when a header is not.
    """
    items = frozen["items"]
    if not items:
        raise OpenEOError("NoDataAvailable", "There is no data for the given extents.")
    bands = tuple(frozen["bands"])
    crs, transform = _lattice(items[0], bands, access)
    west, south, east, north, extent_crs = spatial_bounds(node["arguments"]["spatial_extent"])
    bounds = transform_bounds(extent_crs, crs, west, south, east, north)
    try:
        grid = native_grid(crs, transform, bounds)
    except ValueError as error:
        raise OpenEOError(
            "ProcessParameterInvalid", f"The area cannot be used: {error}."
        ) from error
    method = "near"
    if "resample" in node:
        grid = resampled_grid(grid, node["resample"])
        method = node["resample"].get("method") or "near"
    slices: dict[np.datetime64, list[dict[str, Any]]] = {}
    for item in items:
        slices.setdefault(np.datetime64(item["datetime"].rstrip("Z"), "ns"), []).append(item)
    extent = node["arguments"]["spatial_extent"]
    polygon = None
    if "type" in extent:
        polygon = transform_geom("EPSG:4326", grid.crs, _geometry(extent))
    return LoadPlan(
        grid,
        RESAMPLING[method],
        bands,
        tuple((time, tuple(group)) for time, group in sorted(slices.items())),
        polygon,
        dict(frozen.get("common_names", {})),
    )


def _geometry(extent: dict[str, Any]) -> dict[str, Any]:
    if extent["type"] == "Feature":
        geometry: dict[str, Any] = extent["geometry"]
        return geometry
    if extent["type"] == "FeatureCollection":
        return {
            "type": "GeometryCollection",
            "geometries": [feature["geometry"] for feature in extent["features"]],
        }
    return extent


def _lattice(
    item: dict[str, Any], bands: tuple[str, ...], access: ObjectStoreAccess | None
) -> tuple[str, tuple[float, ...]]:
    """CRS and transform of the finest of the bands, from the item's metadata or the file."""
    found: list[tuple[float, str, tuple[float, ...]]] = []
    for band in bands:
        asset = item["assets"][band]
        code, transform = asset.get("proj:code"), asset.get("proj:transform")
        if not code or not transform:
            code, transform = _header(asset["href"], access)
        found.append((abs(float(transform[0])), str(code), tuple(map(float, transform[:6]))))
    best = min(found, key=lambda entry: entry[0])
    return best[1], best[2]


def _header(href: str, access: ObjectStoreAccess | None) -> tuple[str, tuple[float, ...]]:
    try:
        with gdal_environment(access), rasterio.open(href) as dataset:
            code = CRS.from_user_input(dataset.crs).to_epsg()
            return f"EPSG:{code}", tuple(dataset.transform)[:6]
    except rasterio.errors.RasterioError as error:
        raise OpenEOError("InputUnreadable", f"{href} cannot be read: {error}") from error


def load_cube(
    plan: LoadPlan, part: Grid | None = None, access: ObjectStoreAccess | None = None
) -> xr.DataArray:
    """Read a part of a load (all of it by default) as a cube (t, bands, y, x) of float32.

    :raises OpenEOError: InputUnreadable when a file is damaged or missing.
    """
    grid = part or plan.grid
    shape = (len(plan.slices), len(plan.bands), grid.height, grid.width)
    values = np.full(shape, np.nan, np.float32)

    def fill(target: tuple[int, int]) -> None:
        t, b = target
        for item in plan.slices[t][1]:
            asset = item["assets"][plan.bands[b]]
            with gdal_environment(access):
                source = Source.from_asset(asset, band=int(asset.get("band", 1)))
                layer = read(source, grid, plan.method)
            gaps = np.isnan(values[t, b])
            values[t, b][gaps] = layer[gaps]

    targets = [(t, b) for t in range(shape[0]) for b in range(shape[1])]
    try:
        with ThreadPoolExecutor(_READERS) as pool:
            for _ in pool.map(fill, targets):
                pass
    except DamagedData as error:
        reason = str(error.details.get("reason", ""))
        raise OpenEOError("InputUnreadable", f"{error.message} {error.hint} ({reason})") from error
    if plan.polygon is not None:
        _cut(values, grid, plan.polygon)
    return xr.DataArray(
        values,
        dims=("t", "bands", "y", "x"),
        coords={
            "t": np.array([time for time, _ in plan.slices], dtype="datetime64[ns]"),
            "bands": np.asarray(plan.bands),
            **coordinates(grid),
        },
        attrs={
            "crs": grid.crs,
            "xres": grid.xres,
            "yres": grid.yres,
            "common_names": plan.common_names,
        },
    )


def _cut(values: Any, grid: Grid, polygon: dict[str, Any]) -> None:
    from rasterio.features import geometry_mask
    from rasterio.transform import Affine

    outside = geometry_mask([polygon], (grid.height, grid.width), Affine(*grid.transform))
    values[..., outside] = np.nan
