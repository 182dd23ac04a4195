"""Builder of a few synthetic scenes with their STAC items, for Aqua Monitor's tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import Affine
from rasterio.warp import transform_bounds

CRS = "EPSG:32630"
TRANSFORM = (10.0, 0.0, 240_003.0, 0.0, -10.0, 4_035_007.0)
WIDTH, HEIGHT = 330, 300
BANDS = ("B11", "B08", "B03")
DATES = [f"{year}-{month:02d}-15" for year in (2019, 2020, 2021) for month in (1, 4, 7, 10)]


def bbox() -> tuple[float, float, float, float]:
    """An area inside the scenes, in degrees."""
    a, _, c, _, e, f = TRANSFORM
    west, south, east, north = transform_bounds(
        CRS, "EPSG:4326", c + 25 * a, f + (HEIGHT - 40) * e, c + (WIDTH - 30) * a, f + 20 * e
    )
    return (west, south, east, north)


def write_scenes(folder: Path) -> list[dict[str, Any]]:
    """Twelve dates of three bands: a shore that moves, noise, clouds and missing pixels."""
    random = np.random.default_rng(20260102)
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    base = {"B11": 0.20, "B08": 0.25, "B03": 0.10}
    wet = {"B11": 0.03, "B08": 0.04, "B03": 0.09}
    items = []
    for index, day in enumerate(DATES):
        year = index // 4
        shore = 120 + 45 * year + 20 * np.sin(rows / 25)
        water = columns < shore
        cloud = np.hypot(columns - 40 - 23 * index, rows - 150 - 9 * (index % 4)) < 35
        missing = (rows + 2 * columns) < 40 + 30 * (index % 3)
        assets: dict[str, Any] = {}
        for band in BANDS:
            value = np.where(water, wet[band], base[band])
            value = value + random.normal(0, 0.004, value.shape)
            value = np.where(cloud, 0.8, value)
            numbers = np.clip(np.round((value + 0.1) * 10_000), 1, 65_000).astype("uint16")
            numbers[missing] = 0
            path = folder / f"S{index}" / f"{band}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            with rasterio.open(
                path,
                "w",
                driver="COG",
                width=WIDTH,
                height=HEIGHT,
                count=1,
                dtype="uint16",
                crs=CRS,
                transform=Affine(*TRANSFORM),
                nodata=0,
                compress="DEFLATE",
            ) as dataset:
                dataset.write(numbers, 1)
            assets[band] = {
                "href": str(path),
                "nodata": 0,
                "raster:scale": 0.0001,
                "raster:offset": -0.1,
                "bands": [{"name": band}],
            }
        a, _, c, _, e, f = TRANSFORM
        items.append(
            {
                "type": "Feature",
                "stac_version": "1.1.0",
                "id": f"S{index}",
                "collection": "synthetic",
                "properties": {
                    "datetime": datetime.fromisoformat(f"{day}T11:00:00")
                    .replace(tzinfo=UTC)
                    .isoformat(),
                    "proj:code": CRS,
                    "proj:transform": list(TRANSFORM),
                    "proj:bbox": [c, f + HEIGHT * e, c + WIDTH * a, f],
                },
                "links": [{"rel": "self", "href": f"http://127.0.0.1/items/S{index}"}],
                "assets": assets,
            }
        )
    return items
