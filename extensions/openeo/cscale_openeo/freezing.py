"""Freezing a job's inputs: each load searches the catalogue once, at submit, and keeps the items.

The run reads what is written here and never the catalogue, so an outage of the catalogue cannot
stop a job and a second run reads the same files.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cscale_core.grids import stated_lattice
from cscale_openeo import graph as graphs
from cscale_openeo.catalogue import CatalogueClient
from cscale_openeo.errors import OpenEOError
from cscale_openeo.stac_collections import bands_of, bands_of_item

Bounds = tuple[float, float, float, float, str]


def _invalid(parameter: str, reason: str) -> OpenEOError:
    return OpenEOError(
        "ProcessParameterInvalid",
        f"The value passed for parameter '{parameter}' in process 'load_collection' is invalid: "
        f"{reason}",
    )


def _positions(coordinates: Any) -> Iterable[tuple[float, float]]:
    if coordinates and isinstance(coordinates[0], int | float):
        yield float(coordinates[0]), float(coordinates[1])
    else:
        for member in coordinates:
            yield from _positions(member)


def spatial_bounds(extent: Any) -> Bounds:
    """(west, south, east, north, CRS) of a bounding box object or GeoJSON.

    :raises OpenEOError: ProcessParameterInvalid.
    """
    if not isinstance(extent, dict):
        raise _invalid("spatial_extent", "a bounding box or GeoJSON polygons are expected.")
    if "type" in extent:
        if extent["type"] == "FeatureCollection":
            geometries = [feature.get("geometry") or {} for feature in extent.get("features", [])]
        else:
            geometries = [extent.get("geometry") or {} if extent["type"] == "Feature" else extent]
        points = [
            point
            for geometry in geometries
            if geometry.get("type") in ("Polygon", "MultiPolygon")
            for point in _positions(geometry["coordinates"])
        ]
        if not points:
            raise _invalid("spatial_extent", "the GeoJSON has no polygon.")
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        return min(xs), min(ys), max(xs), max(ys), "EPSG:4326"
    try:
        west, south, east, north = (float(extent[k]) for k in ("west", "south", "east", "north"))
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid("spatial_extent", "west, south, east and north must be numbers.") from error
    if east <= west or north <= south:
        raise _invalid("spatial_extent", "east must be greater than west, north than south.")
    crs = extent.get("crs") or 4326
    return west, south, east, north, f"EPSG:{crs}" if str(crs).isdigit() else str(crs)


def wgs84_box(extent: Any) -> list[float]:
    """The extent's bounding box in WGS 84, for the search.

    :raises OpenEOError: ProcessParameterInvalid.
    """
    west, south, east, north, crs = spatial_bounds(extent)
    if crs != "EPSG:4326":
        import pyproj

        try:
            transformer = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
            west, south, east, north = transformer.transform_bounds(west, south, east, north, 21)
        except pyproj.exceptions.ProjError as error:
            raise _invalid("spatial_extent", f"the CRS {crs!r} is not known.") from error
    if not (
        -180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90
    ):
        raise _invalid("spatial_extent", "longitudes and latitudes are out of range.")
    return [west, south, east, north]


def instant(value: Any, parameter: str = "temporal_extent") -> dt.datetime | None:
    """A date or date-time as an instant in UTC; None for an open end.

    :raises OpenEOError: ProcessParameterInvalid.
    """
    if value is None or value == "..":
        return None
    try:
        moment = dt.datetime.fromisoformat(str(value).replace("Z", "+00:00").replace("z", "+00:00"))
    except ValueError as error:
        raise _invalid(parameter, f"{value!r} is neither a date nor a date-time.") from error
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def temporal_bounds(extent: Any) -> tuple[dt.datetime | None, dt.datetime | None]:
    """Start (included) and end (excluded).

    :raises OpenEOError: ProcessParameterInvalid.
    """
    if not isinstance(extent, list) or len(extent) != 2:
        raise _invalid("temporal_extent", "a list of start and end is expected.")
    start, end = instant(extent[0]), instant(extent[1])
    if start is None and end is None:
        raise _invalid("temporal_extent", "start and end cannot both be open.")
    if start is not None and end is not None and end <= start:
        raise _invalid("temporal_extent", "the end must be later than the start.")
    return start, end


def _stamp(moment: dt.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def item_time(item: dict[str, Any]) -> dt.datetime:
    """When the item was acquired: ``datetime``, else ``start_datetime``."""
    properties = item.get("properties", {})
    moment = instant(properties.get("datetime") or properties.get("start_datetime"))
    if moment is None:
        raise OpenEOError("InputUnreadable", f"Item {item.get('id')} has no time.")
    return moment


_OPERATORS: dict[str, Any] = {
    "eq": lambda value, other: value == other,
    "neq": lambda value, other: value != other,
    "lt": lambda value, other: value < other,
    "lte": lambda value, other: value <= other,
    "gt": lambda value, other: value > other,
    "gte": lambda value, other: value >= other,
}


def property_filter(name: str, condition: Any) -> Any:
    """A test of one item property from a ``properties`` condition of load_collection.

    :raises OpenEOError: ProcessParameterUnsupported for conditions of more than one comparison;
        no filter is dropped in silence.
    """
    graph = condition.get("process_graph", {}) if isinstance(condition, dict) else {}
    if len(graph) == 1:
        node = next(iter(graph.values()))
        arguments = node.get("arguments", {})
        value = {"from_parameter": "value"}
        if node["process_id"] in _OPERATORS:
            compare = _OPERATORS[node["process_id"]]
            x, y = arguments.get("x"), arguments.get("y")
            if x == value and not isinstance(y, dict):
                return lambda found: found is not None and bool(compare(found, y))
            if y == value and not isinstance(x, dict):
                return lambda found: found is not None and bool(compare(x, found))
        if node["process_id"] == "between" and arguments.get("x") == value:
            low, high = arguments["min"], arguments["max"]
            return lambda found: found is not None and low <= found <= high
    raise OpenEOError(
        "ProcessParameterUnsupported",
        f"The condition on property {name!r} is not served; use one comparison with a number.",
    )


def _usable_href(asset: dict[str, Any], local: Path | None) -> str | None:
    """The address to read an asset from: object store first, then HTTP(S)."""
    candidates = [asset.get("href", "")]
    candidates += [a.get("href", "") for a in (asset.get("alternate") or {}).values()]
    for scheme in ("s3", "https", "http"):
        for href in candidates:
            if urlsplit(href).scheme == scheme:
                return str(href)
    if local is not None:
        for href in candidates:
            path = Path(unquote(urlsplit(href).path) if href.startswith("file:") else href)
            if path.is_absolute() and path.resolve().is_relative_to(local.resolve()):
                return str(path)
    return None


_KEPT_ASSET = (
    "type",
    "nodata",
    "data_type",
    "bands",
    "raster:bands",
    "raster:scale",
    "raster:offset",
    "file:size",
    "file:checksum",
)


def frozen_item(
    item: dict[str, Any], bands: list[str], local: Path | None = None
) -> dict[str, Any] | None:
    """What a run needs of an item; None when it lacks one of the bands."""
    properties = item.get("properties", {})
    assets: dict[str, Any] = {}
    for band in bands:
        found = _asset_of(item, band)
        if found is None:
            return None
        asset, number = found
        href = _usable_href(asset, local)
        if href is None:
            return None
        kept = {key: asset[key] for key in _KEPT_ASSET if key in asset}
        kept["href"] = href
        if number > 1:
            kept["band"] = number
        if lattice := stated_lattice(properties, asset):
            kept["proj:code"], kept["proj:transform"] = lattice
        assets[band] = kept
    own = next((link["href"] for link in item.get("links", []) if link.get("rel") == "self"), "")
    return {
        "id": item["id"],
        "collection": item.get("collection", ""),
        "datetime": _stamp(item_time(item)),
        "bbox": item.get("bbox"),
        "href": own,
        "assets": assets,
    }


def _asset_of(item: dict[str, Any], band: str) -> tuple[dict[str, Any], int] | None:
    """The asset that has a band, and the band's number in it, counted from 1.

    An asset of that name comes first, then one that has this band alone, then any other.
    """
    assets = item.get("assets", {})
    if band in assets:
        return assets[band], 1
    found: list[tuple[int, dict[str, Any], int]] = []
    for asset in assets.values():
        names = [entry.get("name") for entry in asset.get("bands") or asset.get("eo:bands") or []]
        if band in names:
            found.append((len(names), asset, names.index(band) + 1))
    if not found:
        return None
    _, asset, number = min(found, key=lambda entry: entry[0])
    return asset, number


async def freeze_load(
    node: dict[str, Any],
    catalogue: CatalogueClient,
    maximum: int,
    local: Path | None = None,
) -> dict[str, Any]:
    """Search one load and keep its items.

    :returns: ``{"collection", "bands", "common_names", "items", "skipped"}``, items sorted by
        (datetime, id); ``skipped`` are ids of items that lack a requested band.
    :raises OpenEOError: CollectionNotFound, ProcessParameterInvalid, UpstreamUnavailable.
    """
    arguments = node["arguments"]
    collection = await catalogue.collection(str(arguments["id"]))
    box = wgs84_box(arguments.get("spatial_extent"))
    start, end = temporal_bounds(arguments.get("temporal_extent"))
    conditions = {
        name: property_filter(name, condition)
        for name, condition in (arguments.get("properties") or {}).items()
    }
    interval = f"{_stamp(start) if start else '..'}/{_stamp(end) if end else '..'}"
    found = await catalogue.search(str(arguments["id"]), box, interval, maximum)

    known = bands_of(collection)
    if not known and found:
        known = bands_of_item(found[0])
    bands = _requested_bands(arguments.get("bands"), known)
    items, skipped = [], []
    for item in found:
        moment = item_time(item)
        if (end is not None and moment >= end) or (start is not None and moment < start):
            continue  # STAC intervals include their end, openEO's do not
        properties = item.get("properties", {})
        if not all(test(properties.get(name)) for name, test in conditions.items()):
            continue
        kept = frozen_item(item, bands, local)
        if kept is None:
            skipped.append(str(item["id"]))
        else:
            items.append(kept)
    items.sort(key=lambda entry: (entry["datetime"], entry["id"]))
    return {
        "collection": str(arguments["id"]),
        "bands": bands,
        "common_names": {b["name"]: b["common_name"] for b in known if "common_name" in b},
        "items": items,
        "skipped": skipped,
    }


def _requested_bands(requested: Any, known: list[dict[str, Any]]) -> list[str]:
    names = [band["name"] for band in known]
    if not requested:
        if not names:
            raise _invalid("bands", "the collection does not describe its bands; name them.")
        return names
    common = {b["common_name"]: b["name"] for b in known if "common_name" in b}
    result = []
    for band in requested:
        name = band if band in names or not names else common.get(band)
        if name is None:
            raise _invalid("bands", f"there is no band {band!r} among {', '.join(names)}.")
        result.append(str(name))
    return result


async def freeze(
    graph: graphs.Graph, catalogue: CatalogueClient, maximum: int, local: Path | None = None
) -> dict[str, Any]:
    """The frozen inputs of a graph: node name -> see :func:`freeze_load`."""
    return {
        name: await freeze_load(graph[name], catalogue, maximum, local)
        for name in graphs.loads(graph)
    }


def digest(frozen: dict[str, Any]) -> str:
    """SHA-256 of the frozen inputs, so that a changed file is noticed."""
    text = json.dumps(frozen, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
