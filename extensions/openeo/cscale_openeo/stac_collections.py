"""Collections of the catalogue as openEO wants them: with bands and ``cube:dimensions``."""

from __future__ import annotations

from typing import Any

DATACUBE_EXTENSION = "https://stac-extensions.github.io/datacube/v2.2.0/schema.json"


def bands_of(collection: dict[str, Any]) -> list[dict[str, Any]]:
    """The bands, each ``{"name", "common_name"?, ...}``, in the collection's order.

    From ``item_assets``, the summaries (STAC 1.1 ``bands`` or ``eo:bands``) or existing
    ``cube:dimensions``, whichever says something first.
    """
    found: dict[str, dict[str, Any]] = {}
    for key, asset in (collection.get("item_assets") or {}).items():
        roles = asset.get("roles") or []
        bands = asset.get("bands") or asset.get("eo:bands") or []
        if roles and "data" not in roles and "reflectance" not in roles:
            continue
        if len(bands) == 1:
            name = str(bands[0].get("name") or key)
            found.setdefault(name, _band(name, bands[0]))
        elif not bands and "data" in roles:
            found.setdefault(key, {"name": key})
    if found:
        return list(found.values())
    summaries = collection.get("summaries") or {}
    for bands in (collection.get("bands"), summaries.get("bands"), summaries.get("eo:bands")):
        for band in bands or []:
            if band.get("name"):
                found.setdefault(str(band["name"]), _band(str(band["name"]), band))
        if found:
            return list(found.values())
    for dimension in (collection.get("cube:dimensions") or {}).values():
        if dimension.get("type") == "bands":
            return [{"name": str(value)} for value in dimension.get("values", [])]
    return []


def _band(name: str, band: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name}
    for key in ("common_name", "center_wavelength", "full_width_half_max", "gsd", "description"):
        value = band.get(key, band.get(f"eo:{key}"))
        if value is not None:
            described[key] = value
    return described


def bands_of_item(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The bands of an item's assets, for collections that describe none."""
    found: dict[str, dict[str, Any]] = {}
    for key, asset in item.get("assets", {}).items():
        bands = asset.get("bands") or asset.get("eo:bands") or []
        if len(bands) > 1 and "data" not in (asset.get("roles") or []):
            continue  # a picture in red, green and blue
        for band in bands:
            name = str(band.get("name") or (key if len(bands) == 1 else ""))
            if name:
                found.setdefault(name, _band(name, band))
        if not bands and "data" in (asset.get("roles") or []):
            found.setdefault(key, {"name": key})
    return list(found.values())


def _numbers(values: list[Any]) -> list[Any]:
    return values if len(values) == 4 else [values[0], values[1], values[3], values[4]]


def openeo_collection(
    collection: dict[str, Any], base_url: str, bands: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The collection for ``GET /collections/{id}``.

    :param bands: overrides what the collection itself says.
    """
    identifier = str(collection["id"])
    known = bands if bands is not None else bands_of(collection)
    extent = collection.get("extent") or {}
    boxes = (extent.get("spatial") or {}).get("bbox") or [[-180, -90, 180, 90]]
    intervals = (extent.get("temporal") or {}).get("interval") or [[None, None]]
    west, south, east, north = _numbers(boxes[0])
    dimensions: dict[str, Any] = {
        "x": {"type": "spatial", "axis": "x", "extent": [west, east], "reference_system": 4326},
        "y": {"type": "spatial", "axis": "y", "extent": [south, north], "reference_system": 4326},
        "t": {"type": "temporal", "extent": list(intervals[0])},
    }
    summaries = dict(collection.get("summaries") or {})
    if known:
        dimensions["bands"] = {"type": "bands", "values": [band["name"] for band in known]}
        summaries["eo:bands"] = known
    links = [
        link
        for link in collection.get("links", [])
        if link.get("rel") in ("license", "about", "derived_from", "cite-as", "describedby")
    ]
    links += [
        {"rel": "self", "href": f"{base_url}/collections/{identifier}", "type": "application/json"},
        {"rel": "root", "href": f"{base_url}/", "type": "application/json"},
        {"rel": "parent", "href": f"{base_url}/collections", "type": "application/json"},
    ]
    result: dict[str, Any] = {
        "type": "Collection",
        "stac_version": collection.get("stac_version", "1.0.0"),
        "stac_extensions": sorted({*collection.get("stac_extensions", []), DATACUBE_EXTENSION}),
        "id": identifier,
        "title": collection.get("title") or identifier,
        "description": collection.get("description") or identifier,
        "license": collection.get("license") or "other",
        "extent": {"spatial": {"bbox": boxes}, "temporal": {"interval": intervals}},
        "cube:dimensions": dimensions,
        "summaries": summaries,
        "links": links,
    }
    for key in ("keywords", "providers", "assets", "item_assets", "sci:citation", "sci:doi"):
        if collection.get(key):
            result[key] = collection[key]
    return result
