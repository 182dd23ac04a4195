"""The results of a job as a STAC Collection (openEO API 1.2, ``GET /jobs/{job_id}/results``)."""

from __future__ import annotations

from typing import Any

from cscale_core import addresses
from cscale_core.addresses import ObjectAddress
from cscale_core.site import Site
from cscale_openeo.links import LinkSigner
from cscale_openeo.store import StoredJob


def result_document(
    job: StoredJob,
    results: dict[str, Any],
    destination: tuple[str, str],
    site: Site,
    links: LinkSigner,
    base_url: str,
) -> dict[str, Any]:
    """The collection: one asset a file, its ``href`` signed, its ``alternate`` s3, mount, HTTPS.

    :param destination: bucket and key prefix of the files.
    """
    bucket, prefix = destination
    items = results.get("items") or []
    assets: dict[str, Any] = {}
    for file in results["files"]:
        address = ObjectAddress(bucket, prefix + file["name"])
        where = addresses.asset_addresses(address, site)
        alternate = {
            "s3": {"href": where["href"], "alternate:name": "S3"},
            **where["alternate"],
        }
        members = {key: value for key, value in file.items() if key != "name" and value is not None}
        assets[file["name"]] = {
            "href": links.file(job.id, file["name"]),
            **members,
            "alternate": alternate,
        }
    derived = [
        {"rel": "derived_from", "href": source["href"], "title": source["id"]}
        for source in results["derived_from"]
        if source["href"]
    ]
    document: dict[str, Any] = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": sorted({uri for item in items for uri in item["stac_extensions"]}),
        "id": job.id,
        "title": job.body.get("title") or job.id,
        "description": job.body.get("description") or f"Results of the openEO batch job {job.id}.",
        "license": "other",
        "openeo:status": job.status,
        "extent": {
            "spatial": {"bbox": [results["bbox"]]},
            "temporal": {"interval": [results["interval"]]},
        },
        "summaries": {"cscale:vo": [job.vo]},
        "created": job.created,
        "updated": results["finished"],
        "assets": assets,
        "links": [
            {
                "rel": "self",
                "href": f"{base_url}/jobs/{job.id}/results",
                "type": "application/json",
            },
            {"rel": "canonical", "href": links.document(job.id), "type": "application/json"},
            *derived,
        ],
    }
    if items:
        # Ready to be published: stable addresses, projection, statistics, lineage.
        document["cscale:items"] = items
    return document
