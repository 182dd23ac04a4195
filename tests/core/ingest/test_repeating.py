"""From a published result the run can be repeated, and nothing secret is in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from cscale_core.addresses import ObjectAddress, parse
from cscale_core.backends import OpenEOBackend
from cscale_core.http import guarded_client
from cscale_core.ingest.completing import complete_item
from cscale_core.ingest.staging import plan, stage
from cscale_core.jobs.engines.openeo.results import items_of_results
from cscale_core.jobs.model import Job, JobSpec, JobStatus, utc_now
from cscale_core.jobs.repeating import with_job_document
from cscale_core.objects import ObjectStore
from cscale_core.site import Site

PLACE = OpenEOBackend(id="b", title="A back end", url="https://openeo.example/1.2")
GRAPH = {
    "load": {"process_id": "load_collection", "arguments": {"id": "S2", "bands": ["B03"]}},
    "save": {"process_id": "save_result", "arguments": {"format": "GTiff"}, "result": True},
}
INPUTS = [
    {
        "id": "scene",
        "collection": "S2",
        "assets": {"B03": {"href": "s3://vobucket/products/S2/scene/B03.tif", "checksum": "12ab"}},
    }
]


def job(**members: Any) -> Job:
    now = utc_now()
    spec = JobSpec(
        engine="openeo",
        title="Water",
        vo="vo.example.eu",
        **{"process": {"process_graph": GRAPH}, "inputs": INPUTS, **members},
    )
    return Job(
        id="j1",
        revision=1,
        spec=spec,
        status=JobStatus.FINISHED,
        created=now,
        updated=now,
        ended=now,
        engine_id="j-2601",
    )


def remote_results(url: str) -> dict[str, Any]:
    """What many back ends say: signed links and little else."""
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "processing:software": {"driver": "0.1"},
        "extent": {"temporal": {"interval": [["2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"]]}},
        "assets": {
            "openEO_2020-06-01Z.tif": {
                "href": f"{url}?X-Amz-Signature=hidden&expires=1",
                "type": "image/tiff; application=geotiff",
                "roles": ["data"],
                "datetime": "2020-06-01T00:00:00Z",
                "eo:bands": [{"name": "B03", "common_name": "green"}],
            },
            "job-results.json": {"href": f"{url}?sig=hidden", "roles": ["metadata"]},
        },
        "links": [
            {"rel": "derived_from", "href": "https://c.example/items/scene?token=hidden"},
            {"rel": "canonical", "href": "https://openeo.example/jobs/j/results/hidden?expires=9"},
        ],
    }


async def publish(items: list[dict[str, Any]], site: Site, store: ObjectStore) -> dict[str, Any]:
    async with guarded_client(site) as http:
        (item,) = await stage(
            plan(items, None, site.grants[0], site),
            store,
            http,
            finish=partial(complete_item, site=site),
        )
    return item


def published_texts(store: ObjectStore) -> dict[str, str]:
    return {
        head.address.key: store.get(head.address).decode("utf-8", "replace")
        for head in store.list("vobucket", "products/")
    }


async def test_published_item_says_all_and_its_job_runs_again(
    site: Site, store: ObjectStore, source: Any, make_tiff: Callable[..., bytes]
) -> None:
    url = source.add("/results/openEO_2020-06-01Z.tif", make_tiff())
    done = job()
    items = items_of_results(remote_results(url), done, PLACE, site)
    item = await publish(await with_job_document(items, done, site, store), site, store)
    assert item["id"] == "water-j1-2020-06-01"
    assert set(item["assets"]) == {"openEO", "job"}
    assert item["properties"]["datetime"] == "2020-06-01T00:00:00Z"
    raster = item["assets"]["openEO"]
    assert raster["proj:code"] == "EPSG:32633"
    assert raster["bands"][0]["name"] == "B03"
    assert raster["bands"][0]["eo:common_name"] == "green"
    assert raster["data_type"] == "uint16"
    assert raster["file:checksum"].startswith("1220")
    assert item["properties"]["processing:expression"] == {
        "format": "openeo",
        "expression": {"process_graph": GRAPH},
    }
    assert item["properties"]["processing:software"] == {"driver": "0.1"}
    assert item["properties"]["cscale:job"] == "j1"
    links = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert f"{site.catalogue.url}/collections/S2/items/scene" in links
    assert "https://c.example/items/scene" in links
    assert item["assets"]["job"]["roles"] == ["metadata"]
    address = parse(item["assets"]["job"]["href"], site)
    assert address is not None
    data = store.get(address)
    assert item["assets"]["job"]["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest()
    document = json.loads(data)
    assert JobSpec.model_validate(document["spec"]) == done.spec
    assert document["software"] == {"driver": "0.1"}
    texts = published_texts(store)
    assert len(texts) == 3
    assert not any("hidden" in text for text in texts.values())


@pytest.mark.parametrize(
    "process",
    [
        {"process_graph": {"load": {"arguments": {"url": "https://h/c?X-Amz-Signature=hidden"}}}},
        {"process_graph": GRAPH, "environment": {"ACCESS_TOKEN": "hidden"}},
        {"process_graph": GRAPH, "command": ["run", "--password=hidden", "--key-file", "k"]},
    ],
)
async def test_nothing_secret_of_the_job_is_published(
    site: Site,
    store: ObjectStore,
    source: Any,
    make_tiff: Callable[..., bytes],
    process: dict[str, Any],
) -> None:
    url = source.add("/results/openEO_2020-06-01Z.tif", make_tiff())
    href = "https://archive.example/B03.tif?X-Amz-Signature=hidden&X-Amz-Expires=60"
    signed = [{"id": "s", "collection": "S2", "assets": {"B03": {"href": href}}}]
    done = job(process=process, inputs=signed)
    items = items_of_results(remote_results(url), done, PLACE, site)
    await publish(await with_job_document(items, done, site, store), site, store)
    texts = published_texts(store)
    assert not any("hidden" in text for text in texts.values())
    (document,) = (text for key, text in texts.items() if key.endswith("job.json"))
    JobSpec.model_validate(json.loads(document)["spec"])


async def test_the_same_job_is_written_once(
    site: Site, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = job()
    item: dict[str, Any] = {"id": "i", "properties": {}, "assets": {}}
    first = await with_job_document([item], done, site, store)
    assert item["assets"] == {}
    monkeypatch.setattr(store, "put", None)
    assert await with_job_document([item], done, site, store) == first
    address = ObjectAddress("vobucket", "users/utest/jobs/j1/job.json")
    assert first[0]["assets"]["job"]["href"] == address.s3
    homeless = site.model_copy(update={"grants": site.grants[:1]})
    assert await with_job_document([item], done, homeless, store) == [item]
