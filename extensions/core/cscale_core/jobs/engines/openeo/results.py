"""The results of a remote job as a STAC item, and the links in it, which may expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cscale_core import addresses
from cscale_core.backends import OpenEOBackend
from cscale_core.jobs.model import Job
from cscale_core.site import Site

#: A link that ends sooner than this is asked for again.
MARGIN = timedelta(minutes=5)


def items_of_results(
    metadata: dict[str, Any], job: Job, backend: OpenEOBackend, site: Site
) -> list[dict[str, Any]]:
    """One STAC item of a job's results (``GET /jobs/{id}/results``, a STAC Collection).

    Assets that lie in our object store (by ``href`` or an ``alternate``) get all three addresses;
    others keep the back end's, which may expire. What the back end says of an asset (projection,
    bands, size, checksum) is kept.
    """
    # rasterio, for the outline: only when a job has finished.
    from cscale_core.workflows import results

    assets: dict[str, dict[str, Any]] = {}
    times: list[str] = []
    for name, asset in (metadata.get("assets") or {}).items():
        if "metadata" in (asset.get("roles") or ()) or not asset.get("href"):
            continue
        stem = PurePosixPath(name).stem
        key = stem if stem and stem not in assets else name
        alternates = (asset.get("alternate") or {}).values()
        hrefs = [str(other.get("href", "")) for other in alternates] + [str(asset["href"])]
        own = next(filter(None, (addresses.parse(href, site) for href in hrefs)), None)
        kept = {k: v for k, v in asset.items() if k not in ("href", "alternate")}
        place = addresses.asset_addresses(own, site) if own else {"href": asset["href"]}
        assets[key] = {"roles": ["data"], "title": key, **kept, **place}
        if asset.get("datetime"):
            times.append(str(asset["datetime"]))
    if not assets:
        return []
    extent = metadata.get("extent") or {}
    boxes = (extent.get("spatial") or {}).get("bbox") or [None]
    intervals = (extent.get("temporal") or {}).get("interval") or [[None, None]]
    start, end = (str(moment) if moment else "" for moment in intervals[0])
    start, end = start or min(times, default=""), end or max(times, default="")
    period = None
    if start and end:
        period = (datetime.fromisoformat(start), datetime.fromisoformat(end))
    item = results.described_item(
        assets,
        identifier=results.item_id(job.spec.title, job.id),
        collection=str(job.spec.options.get("collection", "openeo-results")),
        site=site,
        title=job.spec.title,
        period=period,
        bbox=boxes[0] if boxes[0] and len(boxes[0]) == 4 else None,
        lineage=results.Lineage(
            engine="openeo",
            job_id=job.id,
            expression=job.spec.process["process_graph"],
            inputs=job.spec.inputs,
            software={},
            description=f"Batch job {job.engine_id} at {backend.title} ({backend.url}).",
        ),
    )
    derived = [link for link in metadata.get("links", ()) if link.get("rel") == "derived_from"]
    item["links"] += derived
    return [item]


def expiry(href: str) -> datetime | None:
    """When a signed link ends; None when it does not say.

    Knows ``expires`` in seconds since 1970 (openeo-python-driver, S3 version 2), and
    ``X-Amz-Date`` with ``X-Amz-Expires`` (S3 version 4).
    """
    query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(href).query).items()}
    try:
        if "x-amz-expires" in query:
            signed = datetime.strptime(query["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return signed + timedelta(seconds=int(query["x-amz-expires"]))
        if "expires" in query:
            return datetime.fromtimestamp(int(query["expires"]), UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        return None
    return None


def any_expired(items: list[dict[str, Any]], now: datetime) -> bool:
    """Whether a link to an asset has ended, or will in a few minutes."""
    hrefs = (str(asset.get("href", "")) for item in items for asset in item["assets"].values())
    return any(end <= now + MARGIN for end in map(expiry, hrefs) if end)
