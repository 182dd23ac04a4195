"""The job beside its results: a document from which the run can be repeated, without secrets.

An item says in short what was computed; this file holds the whole specification as it was
submitted, so that :class:`~cscale_core.jobs.model.JobSpec` can be made of its member ``spec``.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cscale_core.addresses import ObjectAddress, asset_addresses
from cscale_core.ingest.checksums import FILE_EXTENSION, sha256_multihash
from cscale_core.ingest.unsigned import without_secrets
from cscale_core.site import Site

JOB_FILE = "job.json"
JOB_ASSET = "job"
_VERSION = 1


@dataclass(frozen=True)
class Sidecar:
    """The document in the bytes that are stored; the same job gives the same bytes."""

    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def asset(self, address: ObjectAddress, site: Site) -> dict[str, Any]:
        """The asset of the document at an address of our store."""
        return {
            **asset_addresses(address, site),
            "type": "application/json",
            "roles": ["metadata"],
            "title": "The job that computed this, to be repeated",
            "file:size": len(self.data),
            "file:checksum": sha256_multihash(self.sha256),
        }


def sidecar(
    spec: Mapping[str, Any],
    *,
    job_id: str,
    engine_id: str = "",
    created: str = "",
    ended: str = "",
    software: Mapping[str, str] | None = None,
) -> Sidecar:
    """The document of a job.

    :param spec: JobSpec as JSON values; signatures and secrets in it are left out.
    :param engine_id: the engine's own id of the job.
    """
    document = {
        "type": "cscale-job",
        "version": _VERSION,
        "id": job_id,
        "engine_id": engine_id,
        "created": created,
        "ended": ended,
        "software": dict(software or {}),
        "spec": without_secrets(spec),
    }
    return Sidecar(json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode())


def with_sidecar(
    items: Sequence[Mapping[str, Any]], document: Sidecar, address: ObjectAddress, site: Site
) -> list[dict[str, Any]]:
    """Copies of the items with the document among their assets."""
    changed = []
    for item in items:
        one = copy.deepcopy(dict(item))
        one["assets"][JOB_ASSET] = document.asset(address, site)
        extensions = one.setdefault("stac_extensions", [])
        if FILE_EXTENSION not in extensions:
            extensions.append(FILE_EXTENSION)
        changed.append(one)
    return changed
