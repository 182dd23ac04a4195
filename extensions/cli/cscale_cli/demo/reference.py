"""Aqua Monitor in plain NumPy, written on its own: what both engines are compared with.

Whole scenes are read and warped at once, the slope comes from :func:`numpy.polyfit` pixel by
pixel. It shares the grid rule with the engines (:mod:`cscale_core.grids`), and nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject, transform_bounds

from cscale_core.errors import InvalidInput
from cscale_core.grids import Grid, native_grid, resampled, stated_lattice

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AquaMonitor:
    """What the algorithm gives; arrays of shape (height, width), float64, NaN = no data.

    :param composites: (interval, band, height, width), bands swir, nir, green, reflectance.
    :param counts: (interval, height, width), valid images.
    :param slope: change of rescaled MNDWI over the first interval's length, not masked.
    :param keep: pixels that satisfy all four conditions.
    """

    grid: Grid
    composites: Floats
    counts: Floats
    slope: Floats
    keep: npt.NDArray[np.bool_]

    @property
    def change(self) -> Floats:
        return np.where(self.keep, self.slope, np.nan)


def area_grid(
    item: dict[str, Any],
    bands: Sequence[str],
    bbox: Sequence[float],
    resolution: float = 30.0,
) -> Grid:
    """The output grid: the finest lattice that the item's bands state, over the area.

    :raises InvalidInput: when the item states none.
    """
    lattices = [stated_lattice(item["properties"], item["assets"][band]) for band in bands]
    stated = [lattice for lattice in lattices if lattice is not None]
    if not stated:
        raise InvalidInput(f"Item {item['id']} does not say where its pixels lie (proj:transform).")
    crs, transform = min(stated, key=lambda lattice: lattice[1][0])
    bounds = transform_bounds("EPSG:4326", crs, *bbox)
    return resampled(native_grid(crs, transform, bounds), resolution)


def _warped(href: str, asset: dict[str, Any], grid: Grid) -> npt.NDArray[np.float32]:
    # STAC 1.1 states these on the asset, Raster Extension v1 in its first band.
    stated = (asset.get("raster:bands") or [{}])[0] | asset
    scale = np.float32(stated.get("raster:scale", stated.get("scale", 1)))
    offset = np.float32(stated.get("raster:offset", stated.get("offset", 0)))
    with rasterio.open(href) as dataset:
        numbers = dataset.read(1).astype("float32")
        numbers[numbers == stated.get("nodata", 0)] = np.nan
        values = np.full((grid.height, grid.width), np.nan, "float32")
        reproject(
            numbers,
            values,
            src_transform=dataset.transform,
            src_crs=dataset.crs,
            src_nodata=np.nan,
            dst_transform=Affine(*grid.transform),
            dst_crs=grid.crs,
            dst_nodata=np.nan,
            resampling=Resampling.cubic,
            XSCALE=min(1.0, dataset.transform.a / grid.xres),
            YSCALE=min(1.0, -dataset.transform.e / grid.yres),
        )
    return values * scale + offset


def aqua_monitor(
    items: Sequence[dict[str, Any]],
    hrefs: dict[tuple[str, str], str],
    bands: Sequence[str],
    bbox: Sequence[float],
    intervals: Sequence[tuple[date, date]],
    min_images: int,
) -> AquaMonitor:
    """Run the algorithm on whole scenes.

    :param hrefs: where rasterio finds the asset of (item id, asset key).
    :param bands: asset keys of swir, nir, green.
    :param intervals: half-open [start, end) in UTC.
    """
    ordered = sorted(items, key=lambda item: (item["properties"]["datetime"], item["id"]))
    grid = area_grid(ordered[0], bands, bbox)
    shape = (grid.height, grid.width)
    composites = np.full((len(intervals), 3, *shape), np.nan)
    counts = np.zeros((len(intervals), *shape))
    for index, (start, end) in enumerate(intervals):
        chosen = [
            item
            for item in ordered
            if start <= date.fromisoformat(item["properties"]["datetime"][:10]) < end
        ]
        for band_index, band in enumerate(bands):
            stack = np.stack(
                [_warped(hrefs[item["id"], band], item["assets"][band], grid) for item in chosen]
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # pixels never seen stay NaN
                composites[index, band_index] = np.nanquantile(stack, 0.2, axis=0)
            if band_index == 2:
                counts[index] = np.isfinite(stack).sum(axis=0)
    swir, green = composites[:, 0], composites[:, 2]
    mndwi = (green - swir) / (green + swir)
    rescaled = (mndwi + 0.6) / 1.2
    slope = _slopes(rescaled, [start for start, _ in intervals])
    total_days = (intervals[-1][1] - intervals[0][0]).days
    threshold = 0.025 * 15 * 365.25 / total_days
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        lowest, highest = np.nanmin(mndwi, axis=0), np.nanmax(mndwi, axis=0)
    keep = (
        (np.abs(slope) >= threshold)
        & (lowest < 0.5)
        & (highest > -0.05)
        & (counts >= min_images).all(axis=0)
    )
    return AquaMonitor(grid, composites, counts, slope, keep)


def _slopes(values: Floats, labels: Sequence[date]) -> Floats:
    days = np.array([(label - labels[0]).days for label in labels], float)
    steps = days / days[1]
    slopes = np.full(values.shape[1:], np.nan)
    for row, column in np.ndindex(*slopes.shape):
        series = values[:, row, column]
        valid = np.isfinite(series)
        if valid.sum() >= 2:
            slopes[row, column] = np.polyfit(steps[valid], series[valid], 1)[0]
    return slopes
