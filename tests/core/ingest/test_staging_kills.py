"""Staging in a real process that is killed, in the middle of a file and at each step of its end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from catalogue_double import Catalogue
from staging_server import MOMENTS

from cscale_core.addresses import ObjectAddress
from cscale_core.jobs.model import Job, JobSpec, JobStatus
from cscale_core.jobs.store import JobStore
from cscale_core.objects import SMALLEST_PART, ObjectStore
from cscale_core.site import Site
from tests.waiting import soon

SERVER = Path(__file__).with_name("staging_server.py")
#: What a connection holds beside the part that is being filled: buffers of both ends.
BUFFERS = 8 * 2**20


class World:
    """One staging job of a list in a folder, and the processes that work on it."""

    def __init__(self, folder: Path, site: Site, store: ObjectStore, source: Any) -> None:
        self.folder, self.site, self.store, self.source = folder, site, store, source
        self.files: dict[str, bytes] = {}

    def asks_for(self, sizes: dict[str, int], *, stated: bool = True) -> None:
        assets: dict[str, Any] = {}
        for name, size in sizes.items():
            self.files[name] = data = os.urandom(size)
            assets[name] = {"href": self.source.add(f"/{name}.bin", data)}
            if stated:
                digest = hashlib.sha256(data).hexdigest()
                assets[name] |= {"file:size": size, "file:checksum": f"1220{digest}"}
        item = {
            "type": "Feature",
            "stac_version": "1.1.0",
            "id": "scene",
            "collection": "s2",
            "geometry": {"type": "Point", "coordinates": [14.5, 45.8]},
            "bbox": [14.5, 45.8, 14.5, 45.8],
            "properties": {"datetime": "2024-05-01T10:00:00Z"},
            "links": [],
            "assets": assets,
        }
        spec = JobSpec(engine="staging", process={"items": [item], "register": True})
        (self.folder / "site.json").write_text(self.site.model_dump_json(), encoding="utf-8")
        (self.folder / "spec.json").write_text(spec.model_dump_json(), encoding="utf-8")

    async def starts(self, dies_at: str = "") -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            str(SERVER),
            str(self.folder),
            env={**os.environ, "CSCALE_TEST_DIES_AT": dies_at},
        )

    def address(self, name: str) -> ObjectAddress:
        return ObjectAddress("vobucket", f"products/s2/scene/{name}.bin")

    def is_published(self) -> bool:
        return self.store.find(ObjectAddress("vobucket", "products/s2/scene/item.json")) is not None

    def parts(self, name: str) -> int:
        """How many parts of a file are finished."""
        key = self.address(name).key
        client = self.store.client
        found = client.list_multipart_uploads(Bucket="vobucket", Prefix=key).get("Uploads", [])
        if not found:
            return 0
        answer = client.list_parts(Bucket="vobucket", Key=key, UploadId=found[0]["UploadId"])
        return len(answer.get("Parts", ()))

    def job(self) -> Job:
        store = JobStore(self.folder / "jobs.sqlite")
        store.open()
        [job] = store.changes().jobs
        store.close()
        return job

    def is_whole(self) -> None:
        """Everything is there, once, and nothing else."""
        job = self.job()
        assert job.status == JobStatus.FINISHED, job.error
        for name, data in self.files.items():
            assert self.store.get(self.address(name)) == data
            digest = hashlib.sha256(data).hexdigest()
            assert self.store.head(self.address(name)).metadata["sha256"] == digest
        assert len(list(self.store.list("vobucket"))) == len(self.files) + 1
        kept = json.loads(self.store.get(ObjectAddress("vobucket", "products/s2/scene/item.json")))
        assert kept == job.results[0]
        assert [entry["outcome"] for entry in job.usage["registered"]] == ["created"]


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.fixture
def world(
    tmp_path: Path,
    site: Site,
    store: ObjectStore,
    source: Any,
    catalogue: Catalogue,
    serve: Callable[[Any], str],
) -> World:
    for upload in store.client.list_multipart_uploads(Bucket="vobucket").get("Uploads", ()):
        store.abort_upload(ObjectAddress("vobucket", upload["Key"]), upload["UploadId"])
    members = site.model_dump() | {"catalogue": {"url": serve(catalogue.app) + "/stac"}}
    return World(tmp_path, Site.model_validate(members), store, source)


async def test_a_kill_in_the_middle_of_a_large_file_costs_what_was_in_flight(
    world: World, catalogue: Catalogue
) -> None:
    size = 5 * SMALLEST_PART - 12_345
    world.asks_for({"large": size})
    world.source.slow["/large.bin"] = 0.005
    process = await world.starts()
    await soon(
        lambda: asyncio.to_thread(world.parts, "large"),
        "the second part",
        fits=lambda parts: parts >= 2,
    )
    process.send_signal(signal.SIGKILL)
    await process.wait()
    kept = world.parts("large")
    assert 2 <= kept < 5
    assert not world.is_published()
    assert world.job().status == JobStatus.RUNNING

    assert await (await world.starts()).wait() == 0
    world.is_whole()
    assert world.source.gets("/large.bin") == ["", f"bytes={kept * SMALLEST_PART}-"]
    assert world.source.served["/large.bin"] <= size + SMALLEST_PART + BUFFERS
    assert world.store.unfinished_uploads("vobucket") == ()
    assert catalogue.log.count("POST s2/items") == 1


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_kill_at_each_step_of_the_end_fetches_nothing_twice(
    world: World, catalogue: Catalogue, moment: str
) -> None:
    """Without a stated checksum, so that it is the notes that know what was verified."""
    world.asks_for({"large": 2 * SMALLEST_PART + 100}, stated=False)
    assert await (await world.starts(moment)).wait() == -signal.SIGKILL
    published = world.is_published()
    assert published == (moment == "before it is registered")

    assert await (await world.starts()).wait() == 0
    world.is_whole()
    again = 1 if moment == "before the upload is noted" else 0
    assert len(world.source.gets("/large.bin")) == 1 + again
    assert catalogue.log.count("POST s2/items") == 1
    # An upload that nobody noted holds no byte, and nobody can know it.
    assert len(world.store.unfinished_uploads("vobucket")) == again


def bytes_in_uploads(store: ObjectStore) -> int:
    """Bytes of unfinished uploads; one that a kill left before it was noted has none."""
    listed = store.client.list_multipart_uploads(Bucket="vobucket").get("Uploads", ())
    parts = [
        part
        for each in listed
        for part in store.client.list_parts(
            Bucket="vobucket", Key=each["Key"], UploadId=each["UploadId"]
        ).get("Parts", ())
    ]
    return sum(int(part["Size"]) for part in parts)


async def test_an_item_is_published_only_when_all_is_there_however_often_it_is_killed(
    world: World,
) -> None:
    sizes = {"one": 3 * SMALLEST_PART, "two": 2 * SMALLEST_PART + 7, "small": 300_000}
    world.asks_for(sizes)
    for name in sizes:
        world.source.slow[f"/{name}.bin"] = 0.01
    chance = random.Random(4)  # noqa: S311  # when to kill, no secret
    kills = 0
    for _ in range(4):
        process = await world.starts()
        waiting = asyncio.create_task(process.wait())
        # The first second or two goes into imports.
        await asyncio.wait([waiting], timeout=chance.uniform(2.0, 6.0))
        if waiting.done():
            break
        process.send_signal(signal.SIGKILL)
        await waiting
        kills += 1
        # What is published stays so; what is not yet, has to be whole when it is.
        if world.is_published():
            for name, data in world.files.items():
                assert world.store.get(world.address(name)) == data
    assert kills
    world.source.slow.clear()
    assert await (await world.starts()).wait() == 0
    world.is_whole()
    for name, size in sizes.items():
        most = size + kills * (SMALLEST_PART + BUFFERS)
        assert world.source.served[f"/{name}.bin"] <= most
    assert bytes_in_uploads(world.store) == 0
