"""Sentinel-2 items as rich as those of the public archives, about 4.5 KB of JSON each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

COLLECTION = "sentinel-2-l2a"
NEWEST = datetime(2024, 12, 31, 10, 56, 21, tzinfo=UTC)
_BANDS = {
    "blue": ("B02", 10, 0.493),
    "green": ("B03", 10, 0.56),
    "red": ("B04", 10, 0.665),
    "nir": ("B08", 10, 0.833),
    "swir16": ("B11", 20, 1.614),
    "swir22": ("B12", 20, 2.202),
}


def _asset(base: str, key: str) -> dict[str, Any]:
    band, resolution, wavelength = _BANDS[key]
    pixels = 109_800 // resolution
    return {
        "href": f"{base}/{band}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "eo:bands": [{"name": band, "common_name": key, "center_wavelength": wavelength}],
        "gsd": resolution,
        "proj:shape": [pixels, pixels],
        "proj:transform": [resolution, 0, 199_980, 0, -resolution, 4_100_040],
        "raster:bands": [
            {"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1},
        ],
        "roles": ["data", "reflectance"],
    }


def item(archive: str, number: int, url: str) -> dict[str, Any]:
    """The item of one number: the higher the number, the older; no two archives share one."""
    sensed = NEWEST - timedelta(minutes=7 * number)
    stamp = sensed.strftime("%Y%m%dT%H%M%S")
    tile = f"T{10 + number % 50}{chr(65 + number // 50 % 26)}{archive[-2:].upper():X>2}"
    name = f"S2A_MSIL2A_{stamp}_N0511_R{number % 143 + 1:03}_{tile}_{stamp}"
    base = f"https://data.example.eu/{archive}/{name}"
    # No two alike: outlines that repeat would be compressed better than real ones.
    west = round(-6.5 + number % 40 * 0.01 + number % 997 * 0.0001, 5)
    south = round(36.0 + number % 30 * 0.01 + number % 991 * 0.0001, 5)
    ring = [
        [west, south],
        [west + 1.2, south + 0.02],
        [west + 1.19, south + 1.01],
        [west - 0.01, south + 0.99],
        [west, south],
    ]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": name,
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west - 0.01, south, west + 1.2, south + 1.01],
        "properties": {
            "datetime": sensed.isoformat().replace("+00:00", "Z"),
            "created": "2025-01-02T03:04:05.678Z",
            "updated": "2025-01-02T03:04:05.678Z",
            "platform": "sentinel-2a",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "eo:cloud_cover": number * 37 % 1000 / 10,
            "proj:epsg": 32629,
            "view:sun_azimuth": 142.03417,
            "view:sun_elevation": 48.27135,
            "s2:processing_baseline": "05.11",
            "s2:product_type": "S2MSI2A",
            "s2:nodata_pixel_percentage": 0.000116,
            "grid:code": f"MGRS-{tile[1:]}",
        },
        "links": [
            {"rel": "self", "href": f"{url}/collections/{COLLECTION}/items/{name}"},
            {"rel": "collection", "href": f"{url}/collections/{COLLECTION}"},
            {"rel": "parent", "href": f"{url}/collections/{COLLECTION}"},
            {"rel": "root", "href": f"{url}/"},
            {
                "rel": "thumbnail",
                "href": f"{base}/preview.jpg",
                "type": "image/jpeg",
                "title": "Thumbnail",
            },
        ],
        "assets": {key: _asset(base, key) for key in _BANDS}
        | {
            "thumbnail": {"href": f"{base}/preview.jpg", "roles": ["thumbnail"]},
            "metadata": {"href": f"{base}/MTD_MSIL2A.xml", "roles": ["metadata"]},
        },
    }
