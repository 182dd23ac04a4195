"""Making items usable where that is certain, and saying so; archives publish invalid ones.

What is repaired here has one possible meaning only: a bounding box that follows from the geometry,
a ring whose last point was left out, a time whose form is not RFC 3339. Nothing is guessed: not
the order of coordinates, not a missing time. An item that was changed says what was done in its
member ``cscale:repaired``; one that cannot be used is left out and counted, with the reason.

Source of the rules: STAC 1.1 item specification, GeoJSON (RFC 7946).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from cscale_core.catalog.interval import format_time, parse_time

REPAIRED_MEMBER = "cscale:repaired"
"""The item member that says what was repaired."""

_OLDEST_VERSION = "1.0.0"
_DEEPEST = 6
_NUMBERS = frozenset({int, float})
_FARTHEST = 1e9


def repair(item: Any) -> str:
    """Make an item usable, in place.

    :returns: why it cannot be used; empty when it can, repaired or as it came.
    """
    if not isinstance(item, dict):
        return "not an object"
    done: list[str] = []
    if reason := _identified(item, done) or _described(item, done):
        return reason
    _placed(item, done)
    _dated(item["properties"], done)
    _linked(item, done)
    if done:
        item[REPAIRED_MEMBER] = done
    return ""


def _identified(item: dict[str, Any], done: list[str]) -> str:
    if item.get("type") != "Feature":
        return "not a Feature"
    identifier = item.get("id")
    if isinstance(identifier, int) and not isinstance(identifier, bool):
        item["id"] = str(identifier)
        done.append("the id was a number")
    elif not isinstance(identifier, str) or not identifier:
        return "without an id"
    if not isinstance(item.get("collection"), str | None):
        return "with a collection that is no name"
    return ""


def _described(item: dict[str, Any], done: list[str]) -> str:
    if not isinstance(item.get("properties"), dict):
        return "without properties"
    assets = item.get("assets")
    if assets is None:
        item["assets"] = {}
        done.append("there was no list of assets")
    elif not isinstance(assets, dict):
        return "without usable assets"
    else:
        bad = []
        for key, asset in assets.items():
            if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
                bad.append(key)
        if bad:
            for key in bad:
                del assets[key]
            done.append(f"{len(bad)} assets without an address were left out")
    if not isinstance(item.get("stac_version"), str):
        item["stac_version"] = _OLDEST_VERSION
        done.append("the version of STAC was not stated")
    if not isinstance(item.get("stac_extensions", []), list):
        item["stac_extensions"] = []
        done.append("the list of extensions was none")
    return ""


def _placed(item: dict[str, Any], done: list[str]) -> None:
    """Geometry and bounding box; one that cannot be read is taken for none."""
    geometry = item.get("geometry")
    if not isinstance(geometry, dict):
        if geometry is not None:
            done.append("the geometry was none")
        item["geometry"] = None
        if item.pop("bbox", None) is not None:
            done.append("a bounding box without a geometry was left out")
        return
    if _closed(geometry):
        done.append("a ring was not closed")
    if not _is_bbox(item.get("bbox")):
        bounds = _bounds(geometry)
        if bounds is not None:
            item["bbox"] = bounds
            done.append("the bounding box was missing or wrong")


def _closed(geometry: dict[str, Any]) -> bool:
    """Close the rings of polygons; whether there was one to close (RFC 7946, section 3.1.6)."""
    coordinates = geometry.get("coordinates")
    if geometry.get("type") == "Polygon":
        polygons = [coordinates]
    elif geometry.get("type") == "MultiPolygon" and isinstance(coordinates, list):
        polygons = coordinates
    else:
        return False
    changed = False
    for polygon in polygons:
        for ring in polygon if isinstance(polygon, list) else ():
            if isinstance(ring, list) and len(ring) >= 3 and ring[0] != ring[-1]:
                ring.append(ring[0])
                changed = True
    return changed


def _is_bbox(value: Any) -> bool:
    if not isinstance(value, list) or len(value) not in (4, 6):
        return False
    return all(map(_is_number, value)) and value[1] <= value[len(value) // 2 + 1]


def _bounds(geometry: dict[str, Any]) -> list[float] | None:
    """west, south, east, north of all points; None where they do not tell.

    A geometry that spans more than half of the world may cross the antimeridian: not certain.
    """
    pending: list[tuple[Any, int]] = [(geometry.get("coordinates"), 0)]
    longitudes: list[float] = []
    latitudes: list[float] = []
    while pending:
        node, depth = pending.pop()
        if not isinstance(node, list) or depth > _DEEPEST:
            return None
        if node and isinstance(node[0], list):
            pending += [(child, depth + 1) for child in node]
        elif len(node) >= 2 and all(_is_number(value) for value in node[:2]):
            longitudes.append(node[0])
            latitudes.append(node[1])
        else:
            return None
    if not longitudes or max(longitudes) - min(longitudes) > 180:
        return None
    return [min(longitudes), min(latitudes), max(longitudes), max(latitudes)]


def _is_number(value: Any) -> bool:
    # Comparing instead of math.isfinite: whole numbers may be too large for that.
    return type(value) in _NUMBERS and -_FARTHEST < value < _FARTHEST


def _dated(properties: dict[str, Any], done: list[str]) -> None:
    """Times in RFC 3339, and an interval where ``datetime`` holds one, as resto writes it."""
    moment = properties.get("datetime")
    if isinstance(moment, str) and "/" in moment:
        start, _, end = moment.partition("/")
        properties.setdefault("start_datetime", start)
        properties.setdefault("end_datetime", end)
        properties["datetime"] = None
        done.append("the time was an interval")
    elif moment == "":
        properties["datetime"] = None
        done.append("the time was empty")
    elif "datetime" not in properties and all(
        properties.get(name) for name in ("start_datetime", "end_datetime")
    ):
        properties["datetime"] = None
        done.append("datetime beside an interval was missing")
    for name in ("datetime", "start_datetime", "end_datetime"):
        text = properties.get(name)
        if not isinstance(text, str) or _is_rfc3339(text):
            continue
        try:
            properties[name] = format_time(parse_time(text))
        except ValueError:
            # Not a time: it is left as it is, and whoever asks for a time leaves the item out.
            continue
        done.append(f"{name} was not in the form of RFC 3339")


def _is_rfc3339(text: str) -> bool:
    return len(text) >= 20 and text[10] in "Tt" and (text[-1] in "Zz" or text[-6] in "+-")


def _linked(item: dict[str, Any], done: list[str]) -> None:
    links = item.get("links")
    if not isinstance(links, list):
        item["links"] = links = []
        done.append("there was no list of links")
    usable = [
        link for link in links if isinstance(link, dict) and isinstance(link.get("href"), str)
    ]
    if len(usable) < len(links):
        item["links"] = usable
        done.append("links without an address were left out")
    if item.get("collection") is None and (name := _collection(usable)):
        item["collection"] = name
        done.append("the collection was stated in a link only")


def _collection(links: list[dict[str, Any]]) -> str:
    """The collection's id, where its address tells: ``…/collections/ID``."""
    for link in links:
        if link.get("rel") == "collection":
            try:
                path = urlsplit(link["href"]).path
            except ValueError:
                # An address that cannot be read tells nothing.
                return ""
            before, _, last = path.rstrip("/").rpartition("/")
            return unquote(last) if before.endswith("/collections") else ""
    return ""
