"""Results of Slurm jobs: brought to the bucket and described, over every way to the files."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio
from slurm_server import SlurmServer
from slurm_world import World

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import StorageFull, UpstreamError
from cscale_core.jobs.engines.slurm import collect, following
from cscale_core.jobs.model import Job, JobSpec, JobStatus
from cscale_core.objects import ObjectHead
from cscale_core.site import Site
from cscale_core.workflows.results.files import asset_key

pytestmark = pytest.mark.slurm

WRITE = """
import os, pathlib, numpy, rasterio
out = pathlib.Path(os.environ["CSCALE_OUTPUT"])
(out / "more").mkdir()
transform = rasterio.transform.from_origin(500000, 4200000, 10, 10)
with rasterio.open(out / "slope map.tif", "w", driver="GTiff", width=8, height=4, count=2,
                   dtype="float32", crs="EPSG:32629", transform=transform) as dataset:
    dataset.write(numpy.arange(64, dtype="float32").reshape(2, 4, 8))
    dataset.descriptions = ("a", "b")
(out / "more" / "table.csv").write_text("a,b\\n1,2\\n")
(out / "plain.tif").write_text("not a raster")
(out / ".hidden").write_text("no result")
(out / "empty.txt").write_text("")
"""


class Bucket:
    """Takes files as the object store would."""

    files: dict[str, bytes]
    failures: list[Exception]
    mount: Path

    def __init__(self, site: Site) -> None:
        self.site = site

    def put_file(self, address: ObjectAddress, path: Path, *, content_type: str) -> str:
        if Bucket.failures:
            raise Bucket.failures.pop()
        Bucket.files[address.s3] = path.read_bytes()
        return ""

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectHead]:
        for path in sorted((Bucket.mount / bucket / prefix).rglob("*")):
            if path.is_file():
                key = str(path.relative_to(Bucket.mount / bucket))
                yield ObjectHead(ObjectAddress(bucket, key), path.stat().st_size, "", None)

    def head(self, address: ObjectAddress) -> ObjectHead:
        size = (Bucket.mount / address.bucket / address.key).stat().st_size
        return ObjectHead(address, size, "", None)

    def get(self, address: ObjectAddress, *, start: int, length: int) -> bytes:
        data = (Bucket.mount / address.bucket / address.key).read_bytes()
        return data[start : start + length]


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> type[Bucket]:
    Bucket.files, Bucket.failures = {}, []
    monkeypatch.setattr(collect, "ObjectStore", Bucket)
    monkeypatch.setattr(following, "LOG_SECONDS", 0.2)
    monkeypatch.setattr(following, "RETRY_SECONDS", (0.05, 0.1))
    return Bucket


async def done(world: World, program: str = WRITE, **options: Any) -> Job:
    spec = JobSpec(
        engine="slurm",
        title="Slope of things",
        process={"command": [sys.executable, "-c", program]},
        options={"memory": "500M", **options},
        inputs=[{"id": "S1", "collection": "c"}],
    )
    await world.manager.start()
    job = await world.manager.submit(spec)
    return await world.ended(job.id)


@pytest.fixture
async def make_world(
    slurm: SlurmServer, tmp_path: Path, make_site: Callable[..., Site]
) -> AsyncIterator[Callable[..., World]]:
    made: list[World] = []

    def make(way: str, **changes: Any) -> World:
        made.append(World(slurm, tmp_path, make_site, way, **changes))
        return made[-1]

    yield make
    for world in made:
        await world.manager.stop()


def check(job: Job) -> dict[str, Any]:
    """The item of a job that ran :data:`WRITE`."""
    assert job.status == JobStatus.FINISHED, job
    assert job.message == "3 files"
    (item,) = job.results
    assert item["id"] == f"slope-of-things-{job.id}"
    assert item["collection"] == "slurm"
    assert item["properties"]["cscale:job"] == job.id
    assert [link["title"] for link in item["links"]] == ["S1"]
    assert set(item["assets"]) == {"slope_map", "more_table", "plain"}
    raster = item["assets"]["slope_map"]
    assert raster["proj:code"] == "EPSG:32629"
    assert raster["proj:shape"] == [4, 8]
    assert [band["name"] for band in raster["bands"]] == ["a", "b"]
    assert raster["bands"][1]["statistics"]["maximum"] == 63
    assert item["assets"]["more_table"]["type"] == "text/csv"
    assert "proj:code" not in item["assets"]["plain"]
    assert item["geometry"]["type"] == "Polygon"
    return dict(item)


@pytest.mark.parametrize("way", ["ssh", "rest"])
async def test_files_are_brought_to_the_bucket_and_described(
    make_world: Callable[..., World], way: str, bucket: type[Bucket], tmp_path: Path
) -> None:
    job = await done(make_world(way))
    item = check(job)
    prefix = f"s3://vobucket/users/utest/jobs/{job.id}/"
    assert set(bucket.files) == {
        prefix + name for name in ("slope map.tif", "more/table.csv", "plain.tif")
    }
    asset = item["assets"]["slope_map"]
    assert asset["href"] == prefix + "slope map.tif"
    assert asset["file:size"] == len(bucket.files[asset["href"]])
    brought = tmp_path / "brought.tif"
    brought.write_bytes(bucket.files[asset["href"]])
    with rasterio.open(brought) as dataset:
        assert dataset.read(1)[0, 3] == 3


async def test_files_on_a_mounted_bucket_are_there_already(
    make_world: Callable[..., World], slurm: SlurmServer, bucket: type[Bucket]
) -> None:
    mount = slurm.folder / "buckets"
    job = await done(make_world("ssh", mount=str(mount)))
    item = check(job)
    assert bucket.files == {}
    assert (mount / f"vobucket/users/utest/jobs/{job.id}/slope map.tif").is_file()
    asset = item["assets"]["slope_map"]
    assert asset["href"] == f"s3://vobucket/users/utest/jobs/{job.id}/slope map.tif"
    assert asset["alternate"]["mount"]["href"] == asset["href"].replace("s3:/", "/s3")


async def test_files_of_a_cluster_that_shows_none_are_read_from_its_mounted_bucket(
    make_world: Callable[..., World], slurm: SlurmServer, bucket: type[Bucket]
) -> None:
    bucket.mount = slurm.folder / "buckets"
    check(await done(make_world("rest", mount=str(bucket.mount), local_folder="")))


async def test_bucket_that_does_not_answer_is_tried_again(
    make_world: Callable[..., World], bucket: type[Bucket]
) -> None:
    bucket.failures = [UpstreamError("away", retryable=True)] * 2
    check(await done(make_world("ssh")))


@pytest.mark.parametrize("trouble", ["full", "too much", "unseen", "no place"])
async def test_results_that_cannot_be_brought_stay_and_are_named(
    make_world: Callable[..., World], bucket: type[Bucket], trouble: str
) -> None:
    world = make_world(
        "rest" if trouble == "unseen" else "ssh",
        **{"too much": {"results_limit": 10}, "unseen": {"local_folder": ""}}.get(trouble, {}),
    )
    if trouble == "full":
        bucket.failures = [StorageFull("no room")]
    if trouble == "no place":
        world.site = world.site.model_copy(update={"grants": ()})
        world.manager = world.new_manager()
    job = await done(world)
    assert job.status == JobStatus.FINISHED
    assert job.results == []
    folder = f"{world.server.work}/{job.id}/output"
    assert job.message == f"finished; results are in {folder}"
    assert any("the results stay" in line and folder in line for line in await world.log(job.id))


async def test_job_that_leaves_nothing_has_just_finished(make_world: Callable[..., World]) -> None:
    job = await done(make_world("ssh"), "pass")
    assert (job.status, job.message, job.results) == (JobStatus.FINISHED, "finished", [])


def test_keys_of_assets_are_names_and_different() -> None:
    taken: list[str] = []
    for path in ("a b.tif", "a_b.tif", "é.tif", "x/y.z.csv", "a b.csv"):
        taken.append(asset_key(path, taken))
    assert taken == ["a_b", "a_b_2", "file", "x_y.z", "a_b_3"]
