"""Simulated Sentinel-2 scenes of a reservoir whose change is known.

The place and extent are those of the Embalse de Barbate (south-west Spain), the debug area of the
Aqua Monitor notebook. Terrain, land cover, clouds and noise are drawn from a seed; the water level
falls over three years while one new pond fills, so that the truth of every pixel is known. Nothing
here is an observation: every item, title and picture made from it says "simulated".
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rasterio.shutil import copy as raster_copy
from rasterio.transform import Affine, array_bounds
from rasterio.warp import transform_bounds, transform_geom

# Grows when the same seed gives other scenes, so that a folder of an older version is made anew.
VERSION = 1
COLLECTION = "simulated-sentinel-2-l1c"
BBOX = (-5.7077, 36.4022, -5.6765, 36.4315)
START = datetime(2019, 1, 1, tzinfo=UTC)
YEARS = 3
CRS = "EPSG:32630"
NODATA = 0
SCALE = 0.0001
# Ground sampling of each band, metres (Sentinel-2 MSI).
BANDS = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B11": 20}
COMMON_NAMES = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B11": "swir16"}
# Typical top-of-atmosphere reflectances, in the order of BANDS.
WATER = (0.085, 0.070, 0.045, 0.028, 0.012)
COVERS = (
    (0.095, 0.105, 0.095, 0.280, 0.215),  # grassland
    (0.120, 0.140, 0.170, 0.250, 0.330),  # bare soil
    (0.080, 0.078, 0.060, 0.230, 0.135),  # cork oak
)
CLOUD = (0.62, 0.60, 0.59, 0.61, 0.42)
# How far the imagery reaches beyond BBOX, metres.
MARGIN = 120.0
# Width of the shore over which a pixel goes from land to water, metres of water level.
SHORE = 0.55

Float = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Landscape:
    """Terrain and land cover on the 10 m grid; arrays of shape (height, width)."""

    transform: Affine
    terrain: Float
    land: Float  # (band, height, width)
    pond: Float  # depth of the new pond's bed below its final level, metres
    greenness: Float

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.terrain.shape
        return height, width


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Float:
    """Gaussian random field with a correlation length of ``scale`` pixels, standardised."""
    spectrum = np.fft.rfft2(rng.standard_normal(shape))
    fy = np.fft.fftfreq(shape[0])[:, None]
    fx = np.fft.rfftfreq(shape[1])[None, :]
    field = np.fft.irfft2(spectrum * np.exp(-2 * (math.pi * scale) ** 2 * (fy**2 + fx**2)), shape)
    standardised: Float = ((field - field.mean()) / field.std()).astype(np.float32)
    return standardised


def landscape(seed: int) -> Landscape:
    """The valley, its land cover and the bed of the pond to come."""
    rng = np.random.default_rng(seed)
    left, bottom, right, top = transform_bounds("EPSG:4326", CRS, *BBOX)
    left = math.floor((left - MARGIN) / 20) * 20
    top = math.ceil((top + MARGIN) / 20) * 20
    width = math.ceil((right + MARGIN - left) / 20) * 2
    height = math.ceil((top - bottom + MARGIN) / 20) * 2
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = x / width - 0.5, y / height - 0.5
    # A main valley that bends, and a side arm.
    main = np.abs(u + 0.12 * np.sin(5 * v)) * 15
    arm = np.hypot(v - 0.12 - 0.3 * u, np.minimum(u + 0.02, 0)) * 17
    shape = (height, width)
    terrain = np.minimum(main, arm) - 2.6 + 0.7 * _smooth_noise(rng, shape, 9)
    terrain += np.maximum(0, np.abs(v) - 0.42) * 60
    pond = 2.2 - np.hypot((u - 0.36) * 22, (v + 0.27) * 22)
    terrain = np.where(pond > -0.8, np.maximum(terrain, 4.0), terrain)
    cover = _smooth_noise(rng, shape, 14)
    index = np.digitize(cover, (-0.3, 0.75))
    land = np.asarray(COVERS, np.float32)[index].transpose(2, 0, 1)
    texture = 1 + 0.06 * _smooth_noise(rng, shape, 1.5)
    greenness = np.where(index == 1, 0.25, 1.0).astype(np.float32)
    return Landscape(
        transform=Affine(10, 0, left, 0, -10, top),
        terrain=terrain.astype(np.float32),
        land=(land * texture).astype(np.float32),
        pond=pond.astype(np.float32),
        greenness=greenness,
    )


def wetness(place: Landscape, years: float) -> Float:
    """True water fraction of each pixel, 0 to 1, ``years`` after the start.

    The reservoir falls by 2.4 m in three years, with a yearly swing of 0.25 m; the pond fills in
    the same time.
    """
    level = 1.2 - 0.8 * years + 0.25 * math.sin(2 * math.pi * (years + 0.1))
    reservoir = (level - place.terrain) / SHORE + 0.5
    pond = (place.pond - 2.4 + 0.8 * years) / SHORE + 0.5
    fraction: Float = np.clip(np.maximum(reservoir, pond), 0, 1).astype(np.float32)
    return fraction


def acquisitions(per_year: int) -> list[datetime]:
    """Acquisition times: evenly over each year at the platform's usual 11:06 UTC."""
    step = 365.25 / per_year
    return [
        (START + timedelta(days=round((k + 0.4) * step))).replace(hour=11, minute=6, second=k % 60)
        for k in range(per_year * YEARS)
    ]


def _scene(
    place: Landscape, when: datetime, rng: np.random.Generator, clouds: Float
) -> tuple[Float, Bool, Bool]:
    """Reflectance (band, height, width), cloud mask and seen mask (False outside the swath)."""
    years = (when - START).total_seconds() / (365.25 * 86400)
    season = math.cos(2 * math.pi * (years - 0.2))
    land = place.land.copy()
    land[3] *= 1 + 0.18 * season * place.greenness
    land[2] *= 1 - 0.12 * season * place.greenness
    land[4] *= 1 - 0.08 * season * place.greenness
    wet = wetness(place, years)
    water = np.asarray(WATER, np.float32)[:, None, None]
    values = land * (1 - wet) + water * wet
    # Clouds drift with the wind from scene to scene; the share differs from day to day.
    share = float(np.clip(rng.beta(0.8, 1.9), 0, 1))
    drift = np.roll(clouds, (int(rng.integers(0, 400)), int(rng.integers(0, 400))), (0, 1))
    drift = drift[: wet.shape[0], : wet.shape[1]]
    threshold = np.quantile(drift, 1 - share) if share > 0.02 else np.inf
    thickness = np.clip((drift - threshold) / 0.35, 0, 1).astype(np.float32)
    shadow = np.roll(thickness, (9, -6), (0, 1)) * (1 - thickness)
    values *= 1 - 0.45 * shadow
    values = values * (1 - thickness) + np.asarray(CLOUD, np.float32)[:, None, None] * thickness
    values += rng.normal(0, 0.003, values.shape) + values * rng.normal(0, 0.01, values.shape)
    seen = np.ones(wet.shape, np.bool_)
    if rng.random() < 0.45:  # the edge of the swath crosses the area
        y, x = np.mgrid[0 : wet.shape[0], 0 : wet.shape[1]]
        seen = x + 0.25 * y > rng.uniform(0.1, 0.4) * wet.shape[1]
    return values.astype(np.float32), thickness > 0.3, seen


def _write_cog(path: Path, numbers: npt.NDArray[np.uint16], transform: Affine, band: str) -> None:
    profile = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": 1,
        "height": numbers.shape[0],
        "width": numbers.shape[1],
        "crs": CRS,
        "transform": transform,
        "nodata": NODATA,
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(numbers, 1)
            dataset.set_band_description(1, band)
            dataset.update_tags(SIMULATED="YES")
        with memory.open() as dataset:
            raster_copy(
                dataset, path, driver="COG", compress="DEFLATE", predictor="YES", blocksize=256
            )


def _thumbnail(path: Path, values: Float, seen: Bool) -> None:
    rgb = np.clip(values[[2, 1, 0], ::2, ::2] / 0.3, 0, 1) ** 0.7 * 255
    rgb[:, ~seen[::2, ::2]] = 0
    profile = {"driver": "PNG", "dtype": "uint8", "count": 3}
    with warnings.catch_warnings():
        # A thumbnail has no place on the map, and needs none.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        size = {"height": rgb.shape[1], "width": rgb.shape[2]}
        with rasterio.open(path, "w", **size, **profile) as dataset:
            dataset.write(rgb.astype(np.uint8))


def _asset(
    path: Path, band: str | None, shape: tuple[int, int], transform: Affine
) -> dict[str, Any]:
    data = path.read_bytes()
    asset: dict[str, Any] = {
        "href": f"./{path.parent.name}/{path.name}",
        "file:size": len(data),
        "file:checksum": "1220" + hashlib.sha256(data).hexdigest(),
    }
    if band is None:
        return asset | {
            "type": "image/png",
            "roles": ["thumbnail"],
            "title": "True colour (simulated)",
        }
    return asset | {
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data", "reflectance"],
        "title": f"{band} (simulated)",
        "gsd": BANDS[band],
        "bands": [{"name": band, "eo:common_name": COMMON_NAMES[band]}],
        "nodata": NODATA,
        "data_type": "uint16",
        "raster:scale": SCALE,
        "raster:offset": 0.0,
        "proj:shape": list(shape),
        "proj:transform": list(transform)[:6],
    }


def _item(
    name: str, when: datetime, place: Landscape, cloud_cover: float, assets: dict[str, Any]
) -> dict[str, Any]:
    height, width = place.shape
    bounds = array_bounds(height, width, place.transform)
    left, bottom, right, top = bounds
    ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
    geometry = transform_geom(
        CRS, "EPSG:4326", {"type": "Polygon", "coordinates": [ring]}, precision=7
    )
    longitudes, latitudes = zip(*geometry["coordinates"][0], strict=True)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
            "https://stac-extensions.github.io/file/v2.1.0/schema.json",
        ],
        "id": name,
        "collection": COLLECTION,
        "geometry": geometry,
        "bbox": [min(longitudes), min(latitudes), max(longitudes), max(latitudes)],
        "properties": {
            "datetime": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "title": "Simulated Sentinel-2 scene, Embalse de Barbate",
            "description": "Simulated for demonstrations; not an observation.",
            "platform": "simulated",
            "constellation": "simulated",
            "instruments": ["msi"],
            "gsd": 10,
            "eo:cloud_cover": round(cloud_cover, 2),
            "proj:code": CRS,
            "proj:shape": [height, width],
            "proj:transform": list(place.transform)[:6],
            "proj:bbox": list(bounds),
        },
        "links": [],
        "assets": assets,
    }


def simulate(
    folder: Path,
    *,
    seed: int = 20190101,
    per_year: int = 15,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Write scenes as COGs with one STAC item each, and the truth, into ``folder``.

    A folder made earlier with the same seed and number is taken as it is.

    :returns: the items, hrefs relative to the folder.
    """
    items_file = folder / "items.json"
    made_from = {"version": VERSION, "seed": seed, "per_year": per_year}
    if items_file.exists():
        found = json.loads(items_file.read_text(encoding="utf-8"))
        if found.get("simulated") == made_from:
            features: list[dict[str, Any]] = found["features"]
            return features
    folder.mkdir(parents=True, exist_ok=True)
    place = landscape(seed)
    height, width = place.shape
    rng = np.random.default_rng(seed + 1)
    clouds = _smooth_noise(rng, (height + 400, width + 400), 22)
    clouds += 0.35 * _smooth_noise(rng, clouds.shape, 5)
    items = []
    times = acquisitions(per_year)
    for number, when in enumerate(times):
        name = f"SIM_S2_MSIL1C_{when:%Y%m%dT%H%M%S}_BARBATE"
        scene_folder = folder / name
        scene_folder.mkdir(exist_ok=True)
        values, cloudy, seen = _scene(place, when, rng, clouds)
        numbers = np.clip(np.rint(values / SCALE), 1, 65535)
        numbers[:, ~seen] = NODATA
        assets: dict[str, Any] = {}
        for index, (band, resolution) in enumerate(BANDS.items()):
            factor = resolution // 10
            plane = numbers[index]
            transform = place.transform
            if factor > 1:
                blocks = plane.reshape(height // factor, factor, width // factor, factor)
                plane = np.where((blocks == NODATA).any((1, 3)), NODATA, blocks.mean((1, 3)))
                transform = transform @ Affine.scale(factor)
            path = scene_folder / f"{band}.tif"
            _write_cog(path, np.rint(plane).astype(np.uint16), transform, band)
            assets[band] = _asset(path, band, (plane.shape[0], plane.shape[1]), transform)
        thumbnail = scene_folder / "thumbnail.png"
        _thumbnail(thumbnail, values, seen)
        assets["thumbnail"] = _asset(thumbnail, None, place.shape, place.transform)
        items.append(_item(name, when, place, 100 * float(cloudy[seen].mean()), assets))
        progress(number + 1, len(times))
    np.savez_compressed(
        folder / "truth.npz",
        wetness=np.stack([wetness(place, year + 0.5) for year in range(YEARS)]),
        transform=np.asarray(list(place.transform)[:6]),
        crs=np.asarray(CRS),
    )
    document = {"type": "FeatureCollection", "simulated": made_from, "features": items}
    items_file.write_text(json.dumps(document), encoding="utf-8")
    return items
