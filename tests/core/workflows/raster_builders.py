"""Builders of small GeoTIFFs and the items that name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.transform import Affine

CRS = "EPSG:32630"
LEFT, TOP, PIXEL = 240_000.0, 4_035_000.0, 30.0


def write(
    path: Path,
    values: Any,
    *,
    left: float = LEFT,
    top: float = TOP,
    pixel: float = PIXEL,
    crs: str = CRS,
    names: tuple[str, ...] = (),
    cog: bool = False,
    **profile: Any,
) -> Path:
    """A GeoTIFF of an array (rows, columns) or (bands, rows, columns), of the array's type."""
    array = np.asarray(values)
    array = array[np.newaxis] if array.ndim == 2 else array
    scale, offset = profile.pop("scale", 1.0), profile.pop("offset", 0.0)
    plain = path.with_suffix(".plain.tif") if cog else path
    with rasterio.open(
        plain,
        "w",
        driver="GTiff",
        count=array.shape[0],
        height=array.shape[1],
        width=array.shape[2],
        dtype=str(array.dtype),
        crs=crs,
        transform=Affine(pixel, 0, left, 0, -pixel, top),
        **profile,
    ) as dataset:
        dataset.write(array)
        if names:
            dataset.descriptions = names
        dataset.scales = (scale,) * array.shape[0]
        dataset.offsets = (offset,) * array.shape[0]
    if cog:
        rasterio.shutil.copy(plain, path, driver="COG")
        plain.unlink()
    return path


def item(identifier: str, moment: str, **assets: dict[str, Any]) -> dict[str, Any]:
    """A bare item around assets."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": identifier,
        "collection": "c",
        "geometry": None,
        "properties": {"datetime": moment},
        "links": [],
        "assets": assets,
    }


def asset(path: Path | str, **members: Any) -> dict[str, Any]:
    """An asset of a GeoTIFF that says nothing of its pixels."""
    return {
        "href": str(path),
        "type": "image/tiff; application=geotiff",
        "roles": ["data"],
    } | members
