"""What a raster says of itself, as members of a STAC 1.1 asset: projection, bands, statistics.

Sources: STAC common metadata 1.1 (``bands``, ``data_type``, ``nodata``, ``statistics``, ``unit``),
Projection Extension v2.0.0, Raster Extension v2.0.0, Electro-Optical Extension v2.0.0. Needs
rasterio. These functions block.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from cscale_core.errors import DamagedData, InvalidInput

PROJECTION_EXTENSION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
RASTER_EXTENSION = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
EO_EXTENSION = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"

COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
GEOTIFF_TYPE = "image/tiff; application=geotiff"
#: The formats of GDAL that are opened, by suffix. Others (VRT) may name files of this machine.
DRIVERS = {
    ".tif": "GTiff",
    ".tiff": "GTiff",
    ".jp2": "JP2OpenJPEG",
    ".nc": "netCDF",
}

# STAC common metadata 1.1, "Data Types".
_DATA_TYPES = {"complex64": "cfloat32", "complex128": "cfloat64"}
# Electro-Optical Extension v2.0.0, "Common Band Names".
_COMMON_NAMES = frozenset(
    {"pan", "coastal", "blue", "green", "green05", "yellow", "red", "rededge", "rededge071"}
    | {"rededge075", "rededge078", "nir", "nir08", "nir09", "cirrus", "swir16", "swir22"}
    | {"lwir", "lwir11", "lwir12"}
)
# A raster of at most this many pixels a side needs neither tiles nor overviews to be a COG.
_SMALL = 512
_MOST_VARIABLES = 50


def is_raster(name: str, media_type: str = "") -> bool:
    """Whether a file is one that :func:`raster_members` reads, by its media type or its name."""
    said = media_type.partition(";")[0].strip().lower()
    return said in ("image/tiff", "image/jp2") or Path(name).suffix.lower() in DRIVERS


def driver_of(name: str) -> str:
    """The one format of GDAL in which a file of this name is opened."""
    return DRIVERS.get(Path(name.partition("?")[0]).suffix.lower(), "GTiff")


def raster_members(
    name: str | Path, bands: Sequence[str] = (), *, statistics: bool = True
) -> dict[str, Any]:
    """``type`` and the members of the projection, raster and EO extensions.

    The pixels are read block by block, so memory does not grow with the file's size.

    :param name: a path, or a name of GDAL's virtual file systems.
    :param bands: names of the bands; empty: the descriptions in the file, else ``b1``, ``b2``, …
    :param statistics: of all pixels; without them only the header is read. netCDF has none.
    :raises DamagedData: when it cannot be read, or has no place in a CRS.
    """
    driver = driver_of(str(name))
    try:
        with warnings.catch_warnings():
            # Said by the error below.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            if driver == "netCDF":
                return _netcdf_members(str(name))
            return _image_members(name, driver, bands, statistics=statistics)
    except rasterio.errors.RasterioError as error:
        signed = "?" in str(name)
        raise DamagedData(
            f"{_shown(name)} cannot be read as a raster.", reason="" if signed else str(error)
        ) from error


def _image_members(
    name: str | Path, driver: str, bands: Sequence[str], *, statistics: bool
) -> dict[str, Any]:
    with rasterio.open(name, driver=driver) as dataset:
        if not _is_placed(dataset):
            raise DamagedData(f"{_shown(name)} has no place in a coordinate reference system.")
        if bands and len(bands) != dataset.count:
            raise InvalidInput(
                f"{_shown(name)} has {dataset.count} bands, {len(bands)} were named."
            )
        return {
            "type": "image/jp2" if driver == "JP2OpenJPEG" else geotiff_type(dataset),
            **_place(dataset),
            **_pixels(dataset, bands, statistics=statistics),
        }


def _shown(name: str | Path) -> str:
    return str(name).partition("?")[0]


def geotiff_type(dataset: Any) -> str:
    """The media type of an open GeoTIFF: that of a COG only when it is laid out as one.

    GDAL notes the layout when it writes one. Other files are one when they are tiled, have
    overviews where they are large, and every header comes before the pixels (OGC 21-026).
    """
    if dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG":
        return COG_TYPE
    large = max(dataset.width, dataset.height) > _SMALL
    overviews = dataset.overviews(1)
    if large and not (dataset.profile.get("tiled") and overviews):
        return GEOTIFF_TYPE
    first = _offset(dataset, "BLOCK_OFFSET_0_0")
    headers = [_offset(dataset, "IFD_OFFSET")]
    headers += [_offset(dataset, "IFD_OFFSET", level) for level in range(len(overviews))]
    known = [header for header in headers if header is not None]
    ordered = len(known) == len(headers) and known == sorted(known)
    return COG_TYPE if ordered and first is not None and known[-1] < first else GEOTIFF_TYPE


def _offset(dataset: Any, tag: str, overview: int | None = None) -> int | None:
    found = dataset.get_tag_item(tag, "TIFF", bidx=1, ovr=overview)
    return int(found) if found else None


def _is_placed(dataset: Any) -> bool:
    return dataset.crs is not None and not dataset.transform.is_identity


def _place(dataset: Any) -> dict[str, Any]:
    code = dataset.crs.to_epsg()
    members: dict[str, Any] = {
        "proj:code": f"EPSG:{code}" if code else None,
        "proj:shape": [dataset.height, dataset.width],
        "proj:transform": list(dataset.transform)[:6],
        "proj:bbox": list(dataset.bounds),
    }
    if not code:
        members["proj:wkt2"] = dataset.crs.to_wkt(version="WKT2_2019")
    if dataset.crs.is_projected:
        metres = float(dataset.crs.linear_units_factor[1])
        members["raster:spatial_resolution"] = round(abs(dataset.transform.a) * metres, 6)
    return members


def _pixels(dataset: Any, names: Sequence[str], *, statistics: bool) -> dict[str, Any]:
    """What all bands share stands at the asset, the rest at each band."""
    bands = []
    for index in range(dataset.count):
        name = (names[index] if names else "") or dataset.descriptions[index] or f"b{index + 1}"
        band: dict[str, Any] = {
            "name": name,
            "data_type": _data_type(dataset.dtypes[index]),
            **_meaning(dataset, index),
        }
        if name.lower() in _COMMON_NAMES:
            band["eo:common_name"] = name.lower()
        if statistics:
            band["statistics"] = _statistics(dataset, index + 1)
        bands.append(band)
    members: dict[str, Any] = {}
    for key in ("data_type", "nodata", "unit", "raster:scale", "raster:offset"):
        values = [band.get(key) for band in bands]
        if values[0] is not None and all(value == values[0] for value in values):
            members[key] = values[0]
            for band in bands:
                del band[key]
    return members | {"bands": bands}


def _data_type(numpy_name: str) -> str:
    return _DATA_TYPES.get(numpy_name, numpy_name)


def _meaning(dataset: Any, index: int) -> dict[str, Any]:
    """How digital numbers become values: nodata, scale, offset, unit, where the file says so."""
    members: dict[str, Any] = {}
    nodata = dataset.nodatavals[index]
    if nodata is not None:
        members["nodata"] = nodata if math.isfinite(nodata) else str(float(nodata))
    scale, offset = dataset.scales[index], dataset.offsets[index]
    if scale != 1 or offset != 0:
        members |= {"raster:scale": scale, "raster:offset": offset}
    if dataset.units[index]:
        members["unit"] = dataset.units[index]
    return members


def _statistics(dataset: Any, band: int) -> dict[str, float]:
    """Of the digital numbers, as they lie in the file; missing and infinite ones left out."""
    count, total, squares = 0, 0.0, 0.0
    lowest, highest = math.inf, -math.inf
    for _, window in dataset.block_windows(band):
        values = dataset.read(band, window=window, masked=True).compressed()
        if np.iscomplexobj(values):
            return {"valid_percent": 100.0}
        values = values.astype("float64")
        values = values[np.isfinite(values)]
        if values.size:
            count += values.size
            total += float(values.sum())
            squares += float((values * values).sum())
            lowest = min(lowest, float(values.min()))
            highest = max(highest, float(values.max()))
    if not count:
        return {"valid_percent": 0.0}
    mean = total / count
    return {
        "minimum": lowest,
        "maximum": highest,
        "mean": mean,
        "stddev": math.sqrt(max(0.0, squares / count - mean * mean)),
        "valid_percent": round(100 * count / (dataset.width * dataset.height), 3),
    }


def _netcdf_members(name: str) -> dict[str, Any]:
    """The place of the first variable that has one, and a band for each that lies there too."""
    with rasterio.open(name, driver="netCDF") as dataset:
        variables = [str(one) for one in dataset.subdatasets[:_MOST_VARIABLES]] or [str(name)]
    place: dict[str, Any] = {}
    bands: list[dict[str, Any]] = []
    for variable in variables:
        with rasterio.open(variable, driver="netCDF") as dataset:
            if not _is_placed(dataset) or not dataset.count:
                continue
            here = _place(dataset)
            place = place or here
            if here == place:
                title = str(dataset.tags(1).get("NETCDF_VARNAME") or variable.rpartition(":")[2])
                data_type = _data_type(dataset.dtypes[0])
                bands.append({"name": title, "data_type": data_type, **_meaning(dataset, 0)})
    if not place:
        raise DamagedData(f"{_shown(name)} has no place in a coordinate reference system.")
    return {"type": "application/x-netcdf", **place, "bands": bands}
