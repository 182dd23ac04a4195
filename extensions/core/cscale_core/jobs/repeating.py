"""Brings a job's own specification into the bucket, so that its results say how to repeat it.

Called when results are about to be published; see :mod:`cscale_core.workflows.results.sidecar`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import InvalidInput
from cscale_core.jobs.model import Job
from cscale_core.objects import ObjectStore
from cscale_core.site import Site
from cscale_core.workflows.results.sidecar import JOB_FILE, sidecar, with_sidecar


async def with_job_document(
    items: list[dict[str, Any]], job: Job, site: Site, store: ObjectStore
) -> list[dict[str, Any]]:
    """The items with ``job.json`` as an asset, after it was written beside the results.

    Doing it again writes nothing. Where the job's owner has no place of their own to write to, the
    items come back as they are.

    :raises CScaleError: when the bucket does not take the file.
    """
    address = _address(job, site)
    if address is None or not items:
        return items
    software: dict[str, str] = {}
    for item in items:
        software |= item.get("properties", {}).get("processing:software") or {}
    document = sidecar(
        job.spec.model_dump(mode="json"),
        job_id=job.id,
        engine_id=job.engine_id,
        created=job.created.isoformat(),
        ended=job.ended.isoformat() if job.ended else "",
        software=software,
    )

    def write() -> None:
        there = store.find(address)
        if there is None or there.metadata.get("sha256") != document.sha256:
            metadata = {"sha256": document.sha256}
            store.put(address, document.data, content_type="application/json", metadata=metadata)

    await asyncio.to_thread(write)
    return with_sidecar(items, document, address, site)


def _address(job: Job, site: Site) -> ObjectAddress | None:
    """In the job's folder of the owner's home, wherever the results themselves are."""
    try:
        home = site.grant("home", job.spec.vo)
    except InvalidInput:
        return None
    return ObjectAddress(home.bucket, f"{home.prefix}jobs/{job.id}/{JOB_FILE}")
