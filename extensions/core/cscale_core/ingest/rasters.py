"""Whether a GeoTIFF can really be read: its header, a block of its smallest overview, its last one.

A cut or damaged file passes every other check when nobody stated its size or checksum. Only the
GeoTIFF driver is let near the bytes: other formats of GDAL (VRT) may name files of this machine.
Needs rasterio. These functions block.
"""

from __future__ import annotations

from typing import Any

import rasterio
from rasterio.io import MemoryFile
from rasterio.windows import Window

from cscale_core.errors import DamagedData

_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MAX_RETRY": "3",
    # A presigned URL is signed for GET alone.
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    "VSI_CACHE": "NO",
}


def is_geotiff(media_type: str, name: str) -> bool:
    """Whether an asset says that it is a GeoTIFF, by media type or by name."""
    return media_type.lower().startswith("image/tiff") or name.lower().endswith((".tif", ".tiff"))


def _read_some(dataset: Any, column: int, row: int) -> None:
    height, width = dataset.block_shapes[0]
    dataset.read(
        1,
        window=Window(
            column, row, min(width, dataset.width - column), min(height, dataset.height - row)
        ),
    )


def _probe(source: Any) -> None:
    with rasterio.Env(**_OPTIONS):
        with rasterio.open(source, driver="GTiff") as dataset:
            overviews = dataset.overviews(1)
            height, width = dataset.block_shapes[0]
            _read_some(
                dataset,
                (dataset.width - 1) // width * width,
                (dataset.height - 1) // height * height,
            )
        if overviews:
            with rasterio.open(
                source, driver="GTiff", overview_level=len(overviews) - 1
            ) as dataset:
                _read_some(dataset, 0, 0)


def check_bytes(data: bytes, name: str) -> None:
    """Read parts of a GeoTIFF that is in memory.

    :raises DamagedData: when it is not one or cannot be decoded.
    """
    try:
        with MemoryFile(data, ext=".tif") as file:
            _probe(file.name)
    except rasterio.errors.RasterioError as error:
        raise _damaged(name, error) from error


def check_url(url: str, name: str) -> None:
    """Read parts of a GeoTIFF behind a presigned URL of the object store.

    It is tried twice, as a failing network looks like a damaged file here.

    :raises DamagedData: when it is not one or cannot be decoded.
    """
    try:
        try:
            _probe(f"/vsicurl/{url}")
        except rasterio.errors.RasterioError:
            _probe(f"/vsicurl/{url}")
    except rasterio.errors.RasterioError as error:
        # GDAL's text holds the signed address, so it is not told.
        raise _damaged(name, None) from error


def _damaged(name: str, error: Exception | None) -> DamagedData:
    return DamagedData(
        f"{name} says it is a GeoTIFF and cannot be read as one.",
        hint="The file is damaged at the source or was cut short; tell the provider.",
        reason=str(error or "not readable")[:300],
    )
