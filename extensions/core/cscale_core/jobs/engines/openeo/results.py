"""The results of a remote job as STAC items, and the links in them, which may expire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from cscale_core import addresses
from cscale_core.backends import OpenEOBackend
from cscale_core.catalog.interval import parse_time
from cscale_core.errors import InvalidInput
from cscale_core.ingest.older_members import modern_asset
from cscale_core.ingest.unsigned import expiry
from cscale_core.jobs.model import Job
from cscale_core.site import Site

#: A link that ends sooner than this is asked for again.
MARGIN = timedelta(minutes=5)


def items_of_results(
    metadata: dict[str, Any], job: Job, backend: OpenEOBackend, site: Site
) -> list[dict[str, Any]]:
    """STAC items of a job's results (``GET /jobs/{id}/results``, a STAC Collection).

    Files of different moments lie in items of their own. Assets that lie in our object store (by
    ``href`` or an ``alternate``) get all three addresses; others keep the back end's, which may
    expire. What the back end says of an asset (projection, bands, size, checksum) is kept, in the
    words of STAC 1.1; what it does not say is read from the file when the results are published.
    """
    # rasterio, for the outline: only when a job has finished.
    from cscale_core.workflows.results.items import described_items, item_id
    from cscale_core.workflows.results.provenance import Lineage, foreign_links, stated_period

    assets: dict[str, dict[str, Any]] = {}
    for name, asset in (metadata.get("assets") or {}).items():
        if "metadata" in (asset.get("roles") or ()) or not asset.get("href"):
            continue
        stem = PurePosixPath(name).stem
        key = stem if stem and stem not in assets else name
        assets[key] = _asset(key, asset, site)
    if not assets:
        return []
    extent = metadata.get("extent") or {}
    items = described_items(
        assets,
        identifier=item_id(job.spec.title, job.id),
        collection=str(job.spec.options.get("collection", "openeo-results")),
        site=site,
        title=job.spec.title,
        period=_period(extent, assets) or stated_period(job.spec.period),
        created=_computed(metadata),
        bbox=_box(extent),
        area=job.spec.area,
        lineage=Lineage(
            engine="openeo",
            job_id=job.id,
            expression={"process_graph": job.spec.process["process_graph"]},
            inputs=job.spec.inputs,
            software=_software(metadata),
            description=f"Batch job {job.engine_id} at {backend.title} ({backend.url}).",
        ),
    )
    derived = foreign_links(metadata.get("links"))
    for item in items:
        known = {link["href"] for link in item["links"]}
        item["links"] += [link for link in derived if link["href"] not in known]
    return items


def _asset(key: str, asset: dict[str, Any], site: Site) -> dict[str, Any]:
    """The asset with our three addresses where the file lies in our store."""
    alternates = (asset.get("alternate") or {}).values()
    hrefs = [str(other.get("href", "")) for other in alternates] + [str(asset["href"])]
    own = next(filter(None, (_own(href, site) for href in hrefs)), None)
    kept = {k: v for k, v in modern_asset(asset).items() if k not in ("href", "alternate")}
    place = addresses.asset_addresses(own, site) if own else {"href": asset["href"]}
    return {"roles": ["data"], "title": key, **kept, **place}


def _own(href: str, site: Site) -> addresses.ObjectAddress | None:
    try:
        return addresses.parse(href, site)
    except InvalidInput:
        # Ours by its beginning, and names no object; the back end's own address is kept.
        return None


def _period(
    extent: Mapping[str, Any], assets: Mapping[str, Mapping[str, Any]]
) -> tuple[datetime, datetime] | None:
    """What the back end says, open ends from the times of the files."""
    interval = ((extent.get("temporal") or {}).get("interval") or [[None, None]])[0]
    times = [parse_time(asset["datetime"]) for asset in assets.values() if asset.get("datetime")]
    start = parse_time(interval[0]) if interval[0] else min(times, default=None)
    end = parse_time(interval[1]) if interval[1] else max(times, default=None)
    return (start, end) if start and end else None


def _computed(metadata: Mapping[str, Any]) -> datetime | None:
    stated = metadata.get("updated") or metadata.get("created")
    return parse_time(stated) if stated else None


def _box(extent: Mapping[str, Any]) -> list[float] | None:
    """The first box of the extent, without heights."""
    box = ((extent.get("spatial") or {}).get("bbox") or [None])[0]
    if not isinstance(box, list) or len(box) not in (4, 6):
        return None
    if not all(isinstance(value, int | float) for value in box):
        return None
    return box if len(box) == 4 else [box[0], box[1], box[3], box[4]]


def _software(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The versions that the back end states (Processing Extension), at the collection or above."""
    places = [metadata, metadata.get("properties"), *(metadata.get("providers") or ())]
    found: dict[str, str] = {}
    for place in places:
        stated = place.get("processing:software") if isinstance(place, dict) else None
        for name, version in stated.items() if isinstance(stated, dict) else ():
            found[str(name)] = str(version)
    return found


def any_expired(items: list[dict[str, Any]], now: datetime) -> bool:
    """Whether a link to an asset has ended, or will in a few minutes."""
    hrefs = (str(asset.get("href", "")) for item in items for asset in item["assets"].values())
    return any(end <= now + MARGIN for end in map(expiry, hrefs) if end)
