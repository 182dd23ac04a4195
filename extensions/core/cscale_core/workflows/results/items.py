"""Results as STAC items that others can use: place, time, lineage around what the files say.

A published result can be loaded again by openEO's ``load_stac`` (which wants ``proj:code`` and two
of ``proj:shape``, ``proj:transform`` and ``proj:bbox``, band names, and the role ``data``), by
Spark applications and in notebooks. Needs rasterio.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cscale_core.catalog.interval import format_time, parse_time
from cscale_core.errors import InvalidInput
from cscale_core.ingest.item_members import extensions_of, place_of, shared_projection
from cscale_core.ingest.outline import box_of, outline
from cscale_core.site import Site
from cscale_core.workflows.results.files import ResultFile, described
from cscale_core.workflows.results.provenance import (
    Lineage,
    derived_from,
    period_of,
    processing_properties,
)

STAC_VERSION = "1.1.0"
# The time at the end of a file's name, as openEO back ends write it: 2020-01-01, 2020-01-01Z, …
_STAMP = re.compile(r"[_-]?(\d{4})-?(\d\d)-?(\d\d)(T\d{6})?Z?$")


def item_id(title: str, job_id: str) -> str:
    """An id that says what it is and is the same for the same job: safe in URLs and keys."""
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60]
    return f"{name}-{job_id}" if name else job_id


def result_item(files: Sequence[ResultFile], *, site: Site, **about: Any) -> dict[str, Any]:
    """The STAC item (1.1.0) of a job's rasters; ``about`` as :func:`described_item` has it.

    :param files: at least one; all are read, for statistics and checksums.
    :raises DamagedData: when a file cannot be read.
    :raises InvalidInput: when there are no files, or two have the same key.
    """
    return described_item(_assets(files, site), site=site, **about)


def result_items(files: Sequence[ResultFile], *, site: Site, **about: Any) -> list[dict[str, Any]]:
    """As :func:`result_item`, with an item of its own for each moment that files speak of."""
    return described_items(_assets(files, site), site=site, **about)


def _assets(files: Sequence[ResultFile], site: Site) -> dict[str, dict[str, Any]]:
    if len({file.key for file in files}) != len(files):
        raise InvalidInput("Two result files have the same name.")
    assets = {}
    for file in files:
        assets[file.key] = described(file, site)
        if file.moment is not None:
            assets[file.key]["datetime"] = _text(file.moment)
    return assets


def described_items(
    assets: Mapping[str, dict[str, Any]], *, identifier: str, **about: Any
) -> list[dict[str, Any]]:
    """Items around assets: those that state a ``datetime`` lie in one item for each of them.

    The other assets make the first item, which speaks of the whole period. In the item of a moment
    an asset's key loses the time, so that it is the same in all of them, and loaders find one band
    over time.
    """
    whole: dict[str, dict[str, Any]] = {}
    moments: dict[datetime, dict[str, dict[str, Any]]] = {}
    for key, asset in assets.items():
        moment = moment_of(asset)
        if moment is None:
            whole[key] = asset
            continue
        there = moments.setdefault(moment, {})
        plain = without_stamp(key, moment)
        name = plain if plain and plain not in there else key
        there[name] = {member: value for member, value in asset.items() if member != "datetime"}
    first = [described_item(whole, identifier=identifier, **about)] if whole or not moments else []
    return first + [
        described_item(
            moments[moment],
            identifier=f"{identifier}-{_stamp(moment)}",
            **{**about, "moment": moment},
        )
        for moment in sorted(moments)
    ]


def described_item(
    assets: Mapping[str, dict[str, Any]],
    *,
    identifier: str,
    collection: str,
    site: Site,
    lineage: Lineage,
    title: str = "",
    period: tuple[datetime, datetime] | None = None,
    moment: datetime | None = None,
    created: datetime | None = None,
    bbox: Sequence[float] | None = None,
    area: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The item around assets that already say what they are.

    :param assets: at least one, with the members of the projection extension where known.
    :param period: what time the result speaks of; default: the inputs' first and last moment, or
        the time of computation.
    :param moment: the one time it speaks of, in place of a period.
    :param created: when the result was computed; default: now.
    :param bbox: where the result lies, for assets that do not say it.
    :param area: the same as a GeoJSON geometry, where no box is known either.
    :raises InvalidInput: when there are no assets.
    """
    if not assets:
        raise InvalidInput("The job left no file to describe.")
    computed = _text(created or datetime.now(UTC))
    properties: dict[str, Any] = {
        "title": title or identifier,
        **_time(lineage, period, moment, computed),
        "created": computed,
        "updated": computed,
        **processing_properties(lineage, computed),
        **shared_projection(assets),
    }
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": identifier,
        "collection": collection,
        "geometry": _geometry(assets, bbox, area),
        "properties": properties,
        "links": derived_from(lineage.inputs, site),
        "assets": {key: {"created": computed, **asset} for key, asset in assets.items()},
    }
    if item["geometry"] is not None:
        item["bbox"] = box_of(item["geometry"])
    item["stac_extensions"] = extensions_of(item)
    return item


def _time(
    lineage: Lineage,
    period: tuple[datetime, datetime] | None,
    moment: datetime | None,
    computed: str,
) -> dict[str, Any]:
    if moment is not None:
        return {"datetime": _text(moment)}
    start, end = (
        (_text(period[0]), _text(period[1]))
        if period is not None
        else period_of(lineage.inputs) or (computed, computed)
    )
    return {"datetime": None, "start_datetime": start, "end_datetime": end}


def _geometry(
    assets: Mapping[str, Mapping[str, Any]],
    bbox: Sequence[float] | None,
    area: Mapping[str, Any] | None,
) -> dict[str, Any] | None:
    known = place_of(assets)
    if known is not None:
        return known
    if bbox is not None:
        return outline("EPSG:4326", _unwrapped(bbox))
    return dict(area) if area is not None else None


def _unwrapped(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    """The box with its east beyond 180 where it crosses the antimeridian."""
    west, south, east, north = bbox
    return (west, south, east + 360 if west > east else east, north)


def moment_of(asset: Mapping[str, Any]) -> datetime | None:
    """The ``datetime`` that an asset states of itself (UTC)."""
    try:
        return parse_time(asset["datetime"])
    except (KeyError, ValueError):
        return None


def without_stamp(key: str, moment: datetime) -> str:
    """An asset's key without this time at its end."""
    match = _STAMP.search(key)
    if match is None or "".join(match.groups()[:3]) != moment.strftime("%Y%m%d"):
        return key
    return key[: match.start()]


def _stamp(moment: datetime) -> str:
    midnight = (moment.hour, moment.minute, moment.second) == (0, 0, 0)
    return moment.strftime("%Y-%m-%d" if midnight else "%Y%m%dT%H%M%SZ")


def _text(moment: datetime) -> str:
    """RFC 3339 in UTC; a time without a zone counts as UTC."""
    return format_time(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
