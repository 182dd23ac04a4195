"""Results as STAC items that others can use: projection, bands, statistics, checksums, lineage.

One description for every engine's output, so that a published result can be loaded again by
openEO's ``load_stac`` (which wants ``proj:code`` and two of ``proj:shape``, ``proj:transform`` and
``proj:bbox``, and band names) and by Spark applications. Needs rasterio.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_bounds

from cscale_core import addresses
from cscale_core.errors import DamagedData, InvalidInput
from cscale_core.site import Site

STAC_VERSION = "1.1.0"
EXTENSIONS = (
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    addresses.ALTERNATE_EXTENSION,
)
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"

_PROJECTION = ("proj:code", "proj:shape", "proj:transform", "proj:bbox")
_EDGE_POINTS = 21


@dataclass(frozen=True)
class ResultFile:
    """One raster of a result.

    :param key: asset key, such as ``slope``.
    :param path: where it can be read now (a local file).
    :param href: its address: ``s3://``, HTTPS or a path; those in our store get all three.
    :param title: for people.
    :param bands: names of its bands; empty: as in the file, else ``b1``, ``b2``, …
    """

    key: str
    path: Path
    href: str
    title: str = ""
    bands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lineage:
    """Where a result comes from (STAC Processing Extension v1.2.0).

    :param engine: ``spark``, ``openeo``; also part of ``processing:expression``.
    :param job_id: the job's id in the user's list.
    :param expression: what was computed: a process graph, or an application's arguments.
    :param inputs: STAC items, or at least their ``id`` and ``collection``.
    :param software: name to version.
    """

    engine: str
    job_id: str
    expression: dict[str, Any] = field(default_factory=dict)
    inputs: Sequence[Mapping[str, Any]] = ()
    software: Mapping[str, str] = field(default_factory=dict)
    description: str = ""


def multihash(path: Path) -> str:
    """SHA-256 of a file as multihash in hexadecimal (STAC File Extension v2.1.0)."""
    with path.open("rb") as file:
        return "1220" + hashlib.file_digest(file, "sha256").hexdigest()


def raster_metadata(path: str | Path, bands: Sequence[str] = ()) -> dict[str, Any]:
    """What a raster's header and pixels say: projection, bands with statistics, resolution.

    The file is read block by block, so memory does not grow with its size.

    :param bands: names of the bands; empty: the descriptions in the file, else ``b1``, ``b2``, …
    :raises DamagedData: when it cannot be read, or has no CRS.
    """
    try:
        with rasterio.open(path) as dataset:
            if dataset.crs is None:
                raise DamagedData(f"{path} has no coordinate reference system.")
            if bands and len(bands) != dataset.count:
                raise InvalidInput(f"{path} has {dataset.count} bands, {len(bands)} were named.")
            names = [
                (bands[i] if bands else "") or dataset.descriptions[i] or f"b{i + 1}"
                for i in range(dataset.count)
            ]
            epsg = dataset.crs.to_epsg()
            facts: dict[str, Any] = {
                "proj:code": f"EPSG:{epsg}" if epsg else None,
                "proj:shape": [dataset.height, dataset.width],
                "proj:transform": list(dataset.transform)[:6],
                "proj:bbox": list(dataset.bounds),
                "data_type": dataset.dtypes[0],
                "raster:spatial_resolution": abs(dataset.transform.a),
                "bands": [
                    {"name": name, "statistics": _statistics(dataset, index + 1)}
                    for index, name in enumerate(names)
                ],
            }
            if not epsg:
                facts["proj:wkt2"] = dataset.crs.to_wkt(version="WKT2_2019")
            if dataset.nodata is not None:
                nodata = dataset.nodata
                facts["nodata"] = "nan" if math.isnan(nodata) else nodata
    except rasterio.errors.RasterioError as error:
        raise DamagedData(f"{path} cannot be read as a raster.", reason=str(error)) from error
    return facts


def _statistics(dataset: Any, band: int) -> dict[str, float]:
    count, total, squares = 0, 0.0, 0.0
    lowest, highest = math.inf, -math.inf
    for _, window in dataset.block_windows(band):
        values = dataset.read(band, window=window, masked=True).compressed().astype("float64")
        values = values[np.isfinite(values)]
        if values.size:
            count += values.size
            total += float(values.sum())
            squares += float((values * values).sum())
            lowest = min(lowest, float(values.min()))
            highest = max(highest, float(values.max()))
    pixels = dataset.width * dataset.height
    if not count:
        return {"valid_percent": 0.0}
    mean = total / count
    return {
        "minimum": lowest,
        "maximum": highest,
        "mean": mean,
        "stddev": math.sqrt(max(0.0, squares / count - mean * mean)),
        "valid_percent": round(100 * count / pixels, 3),
    }


def footprint(crs: str, bounds: Sequence[float]) -> tuple[dict[str, Any], list[float]]:
    """Outline (with points along its edges) and bbox in longitude and latitude.

    :param bounds: left, bottom, right, top in ``crs``.
    """
    left, bottom, right, top = bounds
    along = np.linspace(0, 1, _EDGE_POINTS)[:-1]
    xs = np.concatenate(
        [
            left + along * (right - left),
            np.full(along.size, right),
            right - along * (right - left),
            np.full(along.size, left),
        ]
    )
    ys = np.concatenate(
        [
            np.full(along.size, bottom),
            bottom + along * (top - bottom),
            np.full(along.size, top),
            top - along * (top - bottom),
        ]
    )
    longitudes, latitudes = transform_points(crs, "EPSG:4326", xs.tolist(), ys.tolist())
    ring = [[round(x, 7), round(y, 7)] for x, y in zip(longitudes, latitudes, strict=True)]
    bbox = [round(value, 7) for value in transform_bounds(crs, "EPSG:4326", *bounds)]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}, bbox


def _derived_from(inputs: Sequence[Mapping[str, Any]], site: Site) -> list[dict[str, str]]:
    links = []
    for item in inputs:
        href = next(
            (str(link["href"]) for link in item.get("links", ()) if link.get("rel") == "self"),
            "",
        )
        if not href:
            href = (
                f"{site.catalogue.url.rstrip('/')}/collections/{item.get('collection', '')}"
                f"/items/{item['id']}"
            )
        links.append(
            {
                "rel": "derived_from",
                "href": href,
                "type": "application/geo+json",
                "title": str(item["id"]),
            }
        )
    return links


def _period(inputs: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    times = [
        str(moment)
        for item in inputs
        for key in ("start_datetime", "datetime", "end_datetime")
        if (moment := item.get("properties", {}).get(key))
    ]
    return (min(times), max(times)) if times else None


def item_id(title: str, job_id: str) -> str:
    """An id that says what it is and is the same for the same job: safe in URLs and keys."""
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60]
    return f"{name}-{job_id}" if name else job_id


def result_item(
    files: Sequence[ResultFile],
    *,
    identifier: str,
    collection: str,
    site: Site,
    lineage: Lineage,
    title: str = "",
    period: tuple[datetime, datetime] | None = None,
    created: datetime | None = None,
) -> dict[str, Any]:
    """The STAC item (1.1.0) of a job's rasters.

    :param files: at least one; all are read, for statistics and checksums.
    :param period: what time the result speaks of; default: the inputs' first and last moment, or
        the time of computation.
    :param created: when the result was computed; default: now.
    :raises DamagedData: when a file cannot be read.
    :raises InvalidInput: when there are no files, or two have the same key.
    """
    if len({file.key for file in files}) != len(files):
        raise InvalidInput("Two result files have the same name.")
    assets = {}
    for file in files:
        address = addresses.parse(file.href, site)
        assets[file.key] = {
            **(addresses.asset_addresses(address, site) if address else {"href": file.href}),
            "type": COG_TYPE,
            "roles": ["data"],
            "title": file.title or file.key,
            **raster_metadata(file.path, file.bands),
            "file:size": file.path.stat().st_size,
            "file:checksum": multihash(file.path),
        }
    return described_item(
        assets,
        identifier=identifier,
        collection=collection,
        site=site,
        lineage=lineage,
        title=title,
        period=period,
        created=created,
    )


def described_item(
    assets: dict[str, dict[str, Any]],
    *,
    identifier: str,
    collection: str,
    site: Site,
    lineage: Lineage,
    title: str = "",
    period: tuple[datetime, datetime] | None = None,
    created: datetime | None = None,
    bbox: Sequence[float] | None = None,
) -> dict[str, Any]:
    """The item around assets that already say what they are.

    :param assets: at least one, with the members of the projection extension where known.
    :param bbox: where the result lies, for assets that do not say it.
    :raises InvalidInput: when there are no assets.
    """
    if not assets:
        raise InvalidInput("The job left no file to describe.")
    computed = _text(created or datetime.now(UTC))
    placed = [
        asset
        for asset in assets.values()
        if asset.get("proj:bbox") and (asset.get("proj:code") or asset.get("proj:wkt2"))
    ]
    outlines = [
        footprint(str(asset.get("proj:code") or asset["proj:wkt2"]), asset["proj:bbox"])
        for asset in placed
    ]
    same_grid = len(placed) == len(assets) and all(
        asset.get(key) == placed[0].get(key) for asset in placed for key in _PROJECTION
    )
    boxes = [box for _, box in outlines] or ([list(bbox)] if bbox else [])
    geometry: dict[str, Any] | None = None
    whole: list[float] | None = None
    if boxes:
        whole = [
            min(box[0] for box in boxes),
            min(box[1] for box in boxes),
            max(box[2] for box in boxes),
            max(box[3] for box in boxes),
        ]
        west, south, east, north = whole
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        geometry = outlines[0][0] if same_grid else {"type": "Polygon", "coordinates": [ring]}
    if period is not None:
        start, end = map(_text, period)
    else:
        start, end = _period(lineage.inputs) or (computed, computed)
    properties: dict[str, Any] = {
        "title": title or identifier,
        "datetime": None,
        "start_datetime": start,
        "end_datetime": end,
        "created": computed,
        "updated": computed,
        "processing:datetime": computed,
        "processing:software": dict(lineage.software),
        "processing:lineage": lineage.description or f"Computed by {lineage.engine}.",
        "cscale:job": lineage.job_id,
        "cscale:engine": lineage.engine,
    }
    if lineage.expression:
        properties["processing:expression"] = {
            "format": lineage.engine,
            "expression": lineage.expression,
        }
    if same_grid:
        properties.update({key: placed[0][key] for key in _PROJECTION if key in placed[0]})
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": list(EXTENSIONS),
        "id": identifier,
        "collection": collection,
        "geometry": geometry,
        "properties": properties,
        "links": _derived_from(lineage.inputs, site),
        "assets": assets,
    }
    if whole is not None:
        item["bbox"] = whole
    return item


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
