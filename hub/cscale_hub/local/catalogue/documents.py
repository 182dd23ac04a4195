"""What may be stored: checks of items and collections, and what is indexed of an item.

Documents are kept as they were sent, so that what is read back can be compared with what was
registered; only links that the server makes itself (self, root, parent, ...) are left out.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import jsonpatch
import shapely
from pydantic import ValidationError
from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from stac_pydantic import Collection, Item

from cscale_hub.local.catalogue.problems import Problem, explain_validation, invalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INFERRED_LINKS = frozenset(
    {"self", "root", "parent", "collection", "items", "item", "child"}
    | {"http://www.opengis.net/def/rel/ogc/1.0/queryables"}
)
IDENTIFIER = re.compile(r"[^/?#%\\,\s\x00-\x1f\x7f]{1,255}")


@dataclass(frozen=True, slots=True)
class Footing:
    """Where and when an item is: a valid WGS 84 geometry and a closed interval in time."""

    geometry: BaseGeometry
    start: datetime
    end: datetime


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_json(body: bytes) -> Any:
    """The JSON value of a request body; NaN and Infinity are refused (RFC 8259 has none).

    :raises Problem: 400.
    """
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise invalid(f"the body is not JSON: {error}") from error


def check_identifier(value: Any, what: str) -> str:
    """An id that can stand in an address and in a comma-separated list.

    :raises Problem: 400.
    """
    if not isinstance(value, str) or not IDENTIFIER.fullmatch(value):
        raise invalid(
            f"the id of the {what} must be 1 to 255 characters without / ? # % \\ comma or space"
        )
    if value in (".", ".."):
        raise invalid(f"{value!r} cannot be the id of the {what}")
    return value


def moment(value: Any, name: str) -> datetime | None:
    """An RFC 3339 time in UTC; None for null or absent.

    :raises Problem: 400 when it is not a string with a time zone.
    """
    if value is None:
        return None
    try:
        parsed = datetime.fromisoformat(value.upper())
    except (AttributeError, ValueError) as error:
        raise invalid(f"properties.{name}: {value!r} is not an RFC 3339 time") from error
    if parsed.tzinfo is None:
        raise invalid(f"properties.{name}: {value!r} has no time zone")
    return parsed.astimezone(UTC)


def microseconds(value: datetime) -> int:
    """Whole microseconds since 1970-01-01 UTC, exact."""
    return (value - EPOCH) // timedelta(microseconds=1)


def footing(item: Mapping[str, Any]) -> Footing:
    """Where and when a checked item is.

    A range given by ``start_datetime`` and ``end_datetime`` counts before ``datetime``, as in
    pgstac. Self-crossing rings are repaired for the index only; the document keeps them.

    :raises Problem: 400 when geometry or times cannot be used.
    """
    properties = item["properties"]
    start = moment(properties.get("start_datetime"), "start_datetime")
    end = moment(properties.get("end_datetime"), "end_datetime")
    nominal = moment(properties.get("datetime"), "datetime")
    if start is None or end is None:
        start = end = nominal
    if start is None or end is None:
        raise invalid("properties.datetime: a time, or start_datetime and end_datetime, is needed")
    if end < start:
        raise invalid("properties.end_datetime lies before start_datetime")
    if not item.get("geometry"):
        raise invalid("geometry: an item of this catalogue has a footprint, it cannot be null")
    return Footing(footprint(item["geometry"], "geometry"), start, end)


def footprint(document: Mapping[str, Any], name: str) -> BaseGeometry:
    """A usable geometry of a GeoJSON object in WGS 84 degrees.

    :raises Problem: 400.
    """
    try:
        geometry = shapely.force_2d(shape(document))
        if not shapely.is_valid(geometry):
            geometry = shapely.make_valid(geometry)
    except (ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise invalid(f"{name}: not a GeoJSON geometry ({type(error).__name__})") from error
    if geometry.is_empty:
        raise invalid(f"{name}: the geometry is empty")
    west, south, east, north = geometry.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise invalid(
            f"{name}: coordinates must be longitude and latitude in degrees (WGS 84)",
            "reproject it, and cut it at the antimeridian (RFC 7946, section 3.1.9)",
        )
    return geometry


def check_item(body: Any, collection_id: str, item_id: str | None = None) -> dict[str, Any]:
    """An item ready to be stored in a collection.

    :param item_id: the id that the address names, when it names one.
    :raises Problem: 400 with what is wrong.
    """
    if not isinstance(body, dict) or body.get("type") != "Feature":
        raise invalid("type: an item is a GeoJSON Feature")
    try:
        Item.model_validate(body)
    except ValidationError as error:
        raise invalid(explain_validation(list(error.errors()), body)) from error  # type: ignore[arg-type]
    check_identifier(body["id"], "item")
    if item_id is not None and body["id"] != item_id:
        raise invalid(f"the item is {body['id']!r}, the address says {item_id!r}")
    if body.get("collection") not in (None, collection_id):
        raise invalid(
            f"the item belongs to {body['collection']!r}, the address says {collection_id!r}"
        )
    item = {**body, "collection": collection_id, "links": own_links(body)}
    footing(item)
    return item


def check_items(body: Any, collection_id: str) -> list[dict[str, Any]]:
    """The items of a Feature or a FeatureCollection, ready to be stored.

    :raises Problem: 400 with what is wrong; nothing is stored then.
    """
    if isinstance(body, dict) and body.get("type") == "FeatureCollection":
        features = body.get("features")
        if not isinstance(features, list) or not features:
            raise invalid("features: a list with at least one item")
        items = [check_item(feature, collection_id) for feature in features]
        if len({item["id"] for item in items}) != len(items):
            raise invalid("features: two items have the same id")
        return items
    return [check_item(body, collection_id)]


def check_collection(body: Any, collection_id: str | None = None) -> dict[str, Any]:
    """A collection ready to be stored.

    :param collection_id: the id that the address names, when it names one.
    :raises Problem: 400 with what is wrong.
    """
    if not isinstance(body, dict):
        raise invalid("a collection is a JSON object")
    try:
        Collection.model_validate(body)
    except ValidationError as error:
        raise invalid(explain_validation(list(error.errors()), body)) from error  # type: ignore[arg-type]
    check_identifier(body["id"], "collection")
    if collection_id is not None and body["id"] != collection_id:
        raise invalid(f"the collection is {body['id']!r}, the address says {collection_id!r}")
    return {**body, "links": own_links(body)}


def own_links(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The links of a document that the server does not make itself."""
    return [link for link in document.get("links", []) if link.get("rel") not in INFERRED_LINKS]


def patched(document: dict[str, Any], patch: Any) -> Any:
    """The document after a JSON Patch (RFC 6902, a list) or a merge patch (RFC 7396, an object).

    :raises Problem: 400 for a patch that cannot be applied, 409 when its ``test`` fails.
    """
    if isinstance(patch, dict):
        return _merged(document, patch)
    try:
        return jsonpatch.JsonPatch(patch).apply(copy.deepcopy(document))
    except jsonpatch.JsonPatchTestFailed as error:
        raise Problem(409, "the document is not what the patch tests for") from error
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError) as error:
        raise invalid(f"the patch cannot be applied: {error}") from error


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


def boxes(bbox: Sequence[float]) -> BaseGeometry:
    """The area of a STAC bbox of four or six numbers; one that crosses 180 degrees is two boxes.

    Heights are not compared: footprints here have none.
    """
    west, south, east, north = bbox if len(bbox) == 4 else (*bbox[0:2], *bbox[3:5])
    if west <= east:
        return _box(west, south, east, north)
    return shapely.union_all([_box(west, south, 180, north), _box(-180, south, east, north)])


def _box(west: float, south: float, east: float, north: float) -> BaseGeometry:
    """A box; without width or height a line or point, for which intersections are defined."""
    if west < east and south < north:
        return shapely.box(west, south, east, north)
    if west == east and south == north:
        return shapely.Point(west, south)
    return shapely.LineString([(west, south), (east, north)])
