"""Staging jobs on a real store: rest and resume, cancel, links that end, sources that change."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from catalogue_double import Catalogue, Tokens

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import Forbidden, InvalidInput, UpstreamError
from cscale_core.http import guarded_client
from cscale_core.jobs.engines.staging import StagingEngine
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import Job, JobSpec, JobStatus
from cscale_core.jobs.store import JobStore
from cscale_core.objects import SMALLEST_PART, ObjectStore, Upload
from cscale_core.site import Site
from tests.waiting import soon

#: What a connection holds beside the part that is being filled: buffers of both ends.
BUFFERS = 8 * 2**20


def multihash(data: bytes) -> str:
    return "1220" + hashlib.sha256(data).hexdigest()


def make_item(name: str, assets: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": "s2",
        "geometry": {"type": "Point", "coordinates": [14.5, 45.8]},
        "bbox": [14.5, 45.8, 14.5, 45.8],
        "properties": {"datetime": "2024-05-01T10:00:00Z"},
        "links": [],
        "assets": assets,
    }


def spec_of(*items: dict[str, Any], register: bool = False) -> JobSpec:
    return JobSpec(engine="staging", process={"items": list(items), "register": register})


class World:
    """A manager with the real engine on the real store."""

    def __init__(self, folder: Path, site: Site, store: ObjectStore, http: Any) -> None:
        self._folder, self._http = folder, http
        self.site, self.store = site, store
        self.results: Callable[[str, bool], list[dict[str, Any]]] | None = None
        self.manager = self.new_manager()

    def new_manager(self) -> JobManager:
        async def results(job_id: str, refused: bool) -> list[dict[str, Any]]:
            if self.results is None:
                raise InvalidInput("no job has results here")
            return self.results(job_id, refused)

        self.engine = StagingEngine(
            self.site, self._http, Tokens(), results, part_size=SMALLEST_PART
        )
        jobs = JobStore(self._folder / "jobs.sqlite")
        return JobManager(self.site, jobs, {"staging": self.engine}, lambda job: None)

    async def seen(self, job_id: str, when: Callable[[Job], bool]) -> Job:
        return await soon(
            lambda: self.manager.get(job_id), f"what is awaited of {job_id}", fits=when
        )

    async def ended(self, job_id: str) -> Job:
        return await self.seen(job_id, lambda job: job.status.ended)

    async def arrived(self, job_id: str, count: int) -> Job:
        return await self.seen(
            job_id, lambda job: bool(job.transferred and job.transferred.bytes_done >= count)
        )

    async def paused(self, job_id: str) -> Job:
        await self.manager.pause(job_id)
        return await self.seen(job_id, lambda job: job.status == JobStatus.PAUSED)

    def address(self, item: str, name: str) -> ObjectAddress:
        return ObjectAddress("vobucket", f"products/s2/{item}/{name}")

    def stored(self) -> list[str]:
        return [head.address.key for head in self.store.list("vobucket")]

    def uploads(self) -> list[str]:
        """Ids of the uploads under way."""
        answer = self.store.client.list_multipart_uploads(Bucket="vobucket")
        return [upload["UploadId"] for upload in answer.get("Uploads", ())]


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.fixture
async def world(
    tmp_path: Path,
    site: Site,
    store: ObjectStore,
    catalogue: Catalogue,
    serve: Callable[[Any], str],
) -> AsyncIterator[World]:
    for upload in store.client.list_multipart_uploads(Bucket="vobucket").get("Uploads", ()):
        store.abort_upload(ObjectAddress("vobucket", upload["Key"]), upload["UploadId"])
    members = site.model_dump() | {"catalogue": {"url": serve(catalogue.app) + "/stac"}}
    site = Site.model_validate(members)
    async with guarded_client(site) as http:
        made = World(tmp_path, site, store, http)
        await made.manager.start()
        yield made
        await made.manager.stop()


# -- rest and resume -----------------------------------------------------------------------


async def test_a_paused_staging_goes_on_in_the_middle_of_its_file(
    world: World, source: Any
) -> None:
    data, small = os.urandom(5 * SMALLEST_PART - 999), b"small"
    source.slow["/large.bin"] = 0.01
    item = make_item(
        "rests",
        {
            "small": {"href": source.add("/small.bin", small)},
            "large": {"href": source.add("/large.bin", data), "file:checksum": multihash(data)},
        },
    )
    job = await world.manager.submit(spec_of(item))
    await world.arrived(job.id, 2 * SMALLEST_PART + SMALLEST_PART // 2)
    resting = await world.paused(job.id)
    assert "1 of 2 files" in resting.message
    assert "Resume it" in resting.message
    assert len(world.uploads()) == 1
    assert "products/s2/rests/item.json" not in world.stored()
    asked = len(source.requests)
    await asyncio.sleep(0.3)
    assert len(source.requests) == asked, "it rests"

    await world.manager.resume(job.id)
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED, ended.error
    assert world.store.get(world.address("rests", "large.bin")) == data
    first, second = source.gets("/large.bin")
    begin = int(second.removeprefix("bytes=").rstrip("-"))
    assert first == ""
    assert begin >= 2 * SMALLEST_PART
    assert source.served["/large.bin"] <= len(data) + SMALLEST_PART + BUFFERS
    assert source.gets("/small.bin") == [""], "what was verified is not asked for again"
    assert [method for method, path, _ in source.requests if path == "/small.bin"] == ["GET"]
    assert world.uploads() == []
    assert ended.transferred is not None
    assert ended.transferred.bytes_done == ended.transferred.bytes_total == len(data) + len(small)


async def test_what_is_enough_for_a_part_is_sent_before_it_rests(
    world: World, source: Any, site: Site
) -> None:
    """Parts may be large, and then a pause would cost as much."""
    data = os.urandom(6 * SMALLEST_PART)
    source.slow["/large.bin"] = 0.01
    item = make_item("flushed", {"a": {"href": source.add("/large.bin", data)}})
    world.engine._part_size = 2 * SMALLEST_PART
    job = await world.manager.submit(spec_of(item))
    await world.arrived(job.id, 3 * SMALLEST_PART + 100_000)
    await world.paused(job.id)
    await world.manager.resume(job.id)
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    begin = int(source.gets("/large.bin")[1].removeprefix("bytes=").rstrip("-"))
    assert begin >= 3 * SMALLEST_PART
    assert world.store.get(world.address("flushed", "large.bin")) == data


async def test_a_pause_that_cannot_send_the_last_piece_is_a_pause_all_the_same(
    world: World, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(6 * SMALLEST_PART)
    source.slow["/large.bin"] = 0.01
    item = make_item("hindered", {"a": {"href": source.add("/large.bin", data)}})
    world.engine._part_size = 2 * SMALLEST_PART
    job = await world.manager.submit(spec_of(item))
    await world.arrived(job.id, 3 * SMALLEST_PART + 100_000)

    def refuses(*_: Any) -> None:
        raise UpstreamError("The store is away.")

    with monkeypatch.context() as patched:
        patched.setattr(Upload, "part", refuses)
        await world.paused(job.id)
    await world.manager.resume(job.id)
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert source.gets("/large.bin") == ["", f"bytes={2 * SMALLEST_PART}-"]
    assert world.store.get(world.address("hindered", "large.bin")) == data


async def test_a_server_that_stops_keeps_the_parts_and_the_next_goes_on(
    world: World, source: Any
) -> None:
    data = os.urandom(4 * SMALLEST_PART)
    source.slow["/large.bin"] = 0.01
    item = make_item("stopped", {"a": {"href": source.add("/large.bin", data)}})
    job = await world.manager.submit(spec_of(item))
    await world.arrived(job.id, 2 * SMALLEST_PART + 200_000)
    await world.manager.stop()
    assert len(world.uploads()) == 1
    world.manager = world.new_manager()
    await world.manager.start()
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    # The third part may have come before the stop did.
    first, second = source.gets("/large.bin")
    assert first == ""
    assert second in (f"bytes={2 * SMALLEST_PART}-", f"bytes={3 * SMALLEST_PART}-")
    assert world.store.get(world.address("stopped", "large.bin")) == data


async def test_two_stagings_of_one_file_fetch_it_once(world: World, source: Any) -> None:
    data = os.urandom(3 * SMALLEST_PART)
    source.slow["/large.bin"] = 0.005
    asset = {"href": source.add("/large.bin", data), "file:checksum": multihash(data)}
    spec = spec_of(make_item("both", {"a": asset}))
    jobs = [await world.manager.submit(spec) for _ in range(2)]
    ended = [await world.ended(job.id) for job in jobs]
    assert {job.status for job in ended} == {JobStatus.FINISHED}
    assert source.gets("/large.bin") == [""]
    assert "1 already there" in "".join(job.message for job in ended)
    assert world.uploads() == []


# -- ends that leave nothing ---------------------------------------------------------------


@pytest.mark.parametrize("rested", [False, True])
async def test_a_canceled_staging_leaves_no_upload(
    world: World, source: Any, *, rested: bool
) -> None:
    source.slow["/large.bin"] = 0.01
    item = make_item("canceled", {"a": {"href": source.add("/large.bin", os.urandom(30_000_000))}})
    job = await world.manager.submit(spec_of(item))
    await world.arrived(job.id, SMALLEST_PART + 500_000)
    if rested:
        await world.paused(job.id)
        assert len(world.uploads()) == 1
    await world.manager.cancel(job.id)
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.CANCELED
    assert world.uploads() == []
    assert world.stored() == []


async def test_a_staging_that_fails_leaves_no_upload_not_even_of_its_other_files(
    world: World, source: Any
) -> None:
    source.slow["/large.bin"] = 0.01
    item = make_item(
        "fails",
        {
            "large": {"href": source.add("/large.bin", os.urandom(30_000_000))},
            "gone": {"href": f"{source.url}/wait.bin"},
        },
    )
    source.slow["/wait.bin"] = 0.01
    source.add("/wait.bin", os.urandom(9_000_000))
    source.broken_after["/wait.bin"] = [7_000_000]
    source.on_request = lambda path: (
        source.statuses.__setitem__("/wait.bin", [404])
        if len(source.gets("/wait.bin")) == 2
        else None
    )
    ended = await world.ended((await world.manager.submit(spec_of(item))).id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert "status 404" in ended.error.message
    assert "0 of 2 files" in ended.error.hint
    assert source.served["/large.bin"] > SMALLEST_PART
    assert world.uploads() == []


async def test_what_could_not_be_thrown_away_is_named_and_tried_again_when_the_job_is_deleted(
    world: World, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.slow["/large.bin"] = 0.01
    item = make_item("left", {"a": {"href": source.add("/large.bin", os.urandom(30_000_000))}})
    job = await world.manager.submit(spec_of(item))
    await world.arrived(job.id, SMALLEST_PART + 500_000)

    def refuses(*_: Any) -> None:
        raise UpstreamError("The store is away.")

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "abort_upload", refuses)
        await world.manager.cancel(job.id)
        ended = await world.ended(job.id)
    [left] = world.uploads()
    assert ended.usage["unfinished_uploads"] == [
        {"object": world.address("left", "large.bin").s3, "upload": left}
    ]
    await world.manager.delete(job.id)
    assert world.uploads() == []


async def test_a_store_that_fills_up_in_the_middle_is_told_and_gets_its_room_back(
    full_weed: Any, tmp_path: Path, make_site: Callable[..., Site], source: Any
) -> None:
    site = make_site(
        s3={"endpoint": full_weed.endpoint}, allowed_hosts=[source.url.removeprefix("http://")]
    )
    async with guarded_client(site) as http:
        world = World(tmp_path, site, ObjectStore(site), http)
        await world.manager.start()
        item = make_item("full", {"a": {"href": source.add("/large.bin", os.urandom(60_000_000))}})
        ended = await world.ended((await world.manager.submit(spec_of(item))).id)
        assert ended.error is not None
        assert ended.error.code == "storage_full"
        assert world.uploads() == []
        assert world.stored() == []
        await world.manager.stop()


# -- sources that change -------------------------------------------------------------------


async def rested_at_half(world: World, source: Any, asset: dict[str, Any], name: str) -> Job:
    source.slow["/large.bin"] = 0.01
    job = await world.manager.submit(spec_of(make_item(name, {"a": asset})))
    await world.arrived(job.id, 2 * SMALLEST_PART + 200_000)
    return await world.paused(job.id)


async def test_a_source_that_changed_while_it_rested_is_fetched_anew(
    world: World, source: Any
) -> None:
    old, new = os.urandom(4 * SMALLEST_PART), os.urandom(4 * SMALLEST_PART)
    job = await rested_at_half(world, source, {"href": source.add("/large.bin", old)}, "changed")
    source.add("/large.bin", new)
    await world.manager.resume(job.id)
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert world.store.get(world.address("changed", "large.bin")) == new
    assert len(source.gets("/large.bin")) == 2, "the answer to the second was the whole file"
    assert world.uploads() == []


@pytest.mark.parametrize("stated", [False, True])
async def test_a_source_without_validators_is_believed_only_with_a_checksum(
    world: World, source: Any, *, stated: bool
) -> None:
    data = os.urandom(4 * SMALLEST_PART)
    source.without_etag.add("/large.bin")
    asset = {"href": source.add("/large.bin", data)}
    if stated:
        asset["file:checksum"] = multihash(data)
    job = await rested_at_half(world, source, asset, "vague")
    assert len(world.uploads()) == stated
    await world.manager.resume(job.id)
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert world.store.get(world.address("vague", "large.bin")) == data
    second = source.gets("/large.bin")[1]
    assert second.startswith("bytes=") == stated


async def test_a_mixture_is_found_removed_and_said(world: World, source: Any) -> None:
    """A source that gives another file under the same validator."""
    old, new = os.urandom(4 * SMALLEST_PART), os.urandom(4 * SMALLEST_PART)
    source.without_etag.add("/large.bin")
    asset = {"href": source.add("/large.bin", old), "file:checksum": multihash(old)}
    job = await rested_at_half(world, source, asset, "mixed")
    source.add("/large.bin", new)
    await world.manager.resume(job.id)
    ended = await world.ended(job.id)
    assert ended.error is not None
    assert ended.error.code == "damaged_data"
    assert "taken up again" in ended.error.message
    assert "It was removed from the bucket." in ended.error.hint
    assert world.stored() == []
    assert world.uploads() == []


async def test_where_nobody_may_delete_a_wrong_object_stays_without_its_seal(
    world: World, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = os.urandom(4 * SMALLEST_PART), os.urandom(4 * SMALLEST_PART)
    source.without_etag.add("/large.bin")
    asset = {"href": source.add("/large.bin", old), "file:checksum": multihash(old)}
    job = await rested_at_half(world, source, asset, "member")
    source.add("/large.bin", new)

    def refuses(*_: Any) -> None:
        raise Forbidden("not you")

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "delete", refuses)
        await world.manager.resume(job.id)
        ended = await world.ended(job.id)
    assert ended.error is not None
    assert "could not be removed" in ended.error.hint
    source.add("/large.bin", old)
    source.slow.clear()
    clone = await world.ended((await world.manager.clone(job.id)).id)
    assert clone.status == JobStatus.FINISHED
    assert world.store.get(world.address("member", "large.bin")) == old


async def test_an_upload_that_the_store_forgot_starts_anew(world: World, source: Any) -> None:
    data = os.urandom(4 * SMALLEST_PART)
    job = await rested_at_half(world, source, {"href": source.add("/large.bin", data)}, "forgot")
    [upload] = world.uploads()
    world.store.abort_upload(world.address("forgot", "large.bin"), upload)
    await world.manager.resume(job.id)
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert source.gets("/large.bin") == ["", ""]
    assert world.store.get(world.address("forgot", "large.bin")) == data


# -- results of other jobs -----------------------------------------------------------------


async def test_links_that_end_on_the_way_are_asked_for_again(
    world: World, source: Any, catalogue: Catalogue
) -> None:
    one, two = os.urandom(3 * SMALLEST_PART), os.urandom(2 * SMALLEST_PART)
    source.add("/one.bin", one)
    source.add("/two.bin", two)
    asked: list[tuple[str, bool]] = []

    def results(job_id: str, refused: bool) -> list[dict[str, Any]]:
        asked.append((job_id, refused))
        signed = f"?sig=secret{len(asked)}"
        return [
            make_item(
                "result",
                {
                    name: {"href": f"{source.url}/{name}.bin{signed}", "roles": ["data"]}
                    for name in ("one", "two")
                },
            )
        ]

    world.results = results
    for name in ("one", "two"):
        source.broken_after[f"/{name}.bin"] = [SMALLEST_PART + 1_000_000]
        source.slow[f"/{name}.bin"] = 0.001

    def refuse(path: str) -> None:
        if len(source.gets(path)) == 2:
            source.statuses[path] = [403]

    source.on_request = refuse
    spec = JobSpec(engine="staging", process={"job": "j1", "assets": None, "register": True})
    job = await world.manager.submit(spec)
    assert job.spec.inputs[0]["assets"]["one"]["href"] == f"{source.url}/one.bin"
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED, ended.error
    assert asked[:2] == [("j1", False)] * 2, "one for the check and one for the run"
    assert 1 <= asked[2:].count(("j1", True)) <= 2
    for name, data in (("one", one), ("two", two)):
        assert world.store.get(world.address("result", f"{name}.bin")) == data
        assert all(span.startswith("bytes=") for span in source.gets(f"/{name}.bin")[1:])
        assert source.served[f"/{name}.bin"] < len(data) + SMALLEST_PART, "none of it came twice"
    assert list(catalogue.items) == [("s2", "result")]
    assert "secret" not in ended.model_dump_json()
    assert not any("secret" in line.message for line in await world.manager.logs(job.id))


async def test_a_link_that_stays_refused_is_told(world: World, source: Any) -> None:
    url = source.add("/one.bin", b"data")
    source.statuses["/one.bin"] = [410] * 20
    made = iter(range(20))
    world.results = lambda job_id, refused: [
        make_item("result", {"a": {"href": f"{url}?sig={next(made)}"}})
    ]
    spec = JobSpec(engine="staging", process={"job": "j1"})
    ended = await world.ended((await world.manager.submit(spec)).id)
    assert ended.error is not None
    assert "status 410" in ended.error.message
    assert len(source.gets("/one.bin")) == 2


async def test_thin_items_of_results_are_completed_from_their_files(
    world: World, source: Any, make_tiff: Callable[..., bytes]
) -> None:
    url = source.add("/result.tif", make_tiff())
    world.results = lambda job_id, refused: [
        make_item("thin", {"a": {"href": url, "type": "image/tiff; application=geotiff"}})
    ]
    spec = JobSpec(engine="staging", process={"job": "j1"})
    ended = await world.ended((await world.manager.submit(spec)).id)
    assert ended.status == JobStatus.FINISHED, ended.error
    [item] = ended.results
    assert item["properties"]["proj:code"] == "EPSG:32633"
    assert item["assets"]["a"]["proj:shape"] == [300, 300]
    again = await world.ended((await world.manager.clone(ended.id)).id)
    assert again.results == [item]


# -- registering ---------------------------------------------------------------------------


async def test_a_clone_registers_what_could_not_be_and_fetches_nothing(
    world: World, source: Any, catalogue: Catalogue
) -> None:
    items = [make_item(f"i{n}", {"a": {"href": source.add(f"/{n}.bin", b"data")}}) for n in (1, 2)]
    catalogue.statuses = [400]
    job = await world.manager.submit(spec_of(*items, register=True))
    ended = await world.ended(job.id)
    assert ended.error is not None
    [missing] = ended.error.details["unregistered"]
    assert missing in ended.error.message
    assert {entry["id"]: entry["outcome"] for entry in ended.usage["registered"]} == {
        missing: "error",
        ({"i1", "i2"} - {missing}).pop(): "created",
    }
    assert len(ended.results) == 2
    source.requests.clear()
    catalogue.log.clear()
    clone = await world.manager.clone(job.id)
    assert [entry["id"] for entry in clone.spec.inputs] == [missing]
    ended = await world.ended(clone.id)
    assert ended.status == JobStatus.FINISHED, ended.error
    assert source.requests == []
    assert catalogue.log.count("POST s2/items") == 1
    assert len(catalogue.items) == 2


async def test_a_catalogue_that_is_away_leaves_everything_to_be_registered(
    world: World, source: Any, catalogue: Catalogue
) -> None:
    catalogue.token = "another"
    item = make_item("x", {"a": {"href": source.add("/x.bin", b"data")}})
    ended = await world.ended((await world.manager.submit(spec_of(item, register=True))).id)
    assert ended.error is not None
    assert ended.error.code == "forbidden"
    assert ended.error.details["unregistered"] == ["x"]
    assert [result["id"] for result in ended.results] == ["x"]
    catalogue.token = "good"
    clone = await world.ended((await world.manager.clone(ended.id)).id)
    assert clone.status == JobStatus.FINISHED, clone.error
    assert source.gets("/x.bin") == [""]


# -- before it runs ------------------------------------------------------------------------


async def test_the_estimate_says_what_is_missing_and_what_is_there(
    world: World, source: Any
) -> None:
    data = b"0123456789"
    known = {"href": source.add("/a.bin", data), "file:size": 10, "file:checksum": multihash(data)}
    other = {"href": source.add("/b.bin", data * 2), "file:size": 20}
    await world.ended((await world.manager.submit(spec_of(make_item("x", {"a": known})))).id)
    source.requests.clear()
    spec = spec_of(make_item("x", {"a": known, "b": other}))
    said = await world.manager.estimate(spec)
    assert said == {
        "size": 20,
        "files": 2,
        "bytes": 30,
        "unknown_sizes": 0,
        "present_files": 1,
        "present_bytes": 10,
        "looked_at": 2,
        "room": None,
        "fits": None,
        "left_out": [],
    }
    assert source.requests == [], "sources are not asked"
    vague = spec_of(make_item("y", {"a": {"href": f"{source.url}/a.bin"}}))
    assert (await world.manager.estimate(vague) or {})["size"] is None


async def test_the_store_is_a_place_with_health(world: World) -> None:
    [state] = await world.manager.backends()
    assert (state.engine, state.id, state.online, state.problem) == (
        "staging",
        "object-store",
        True,
        "",
    )
