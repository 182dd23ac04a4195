"""Batch jobs on real Spark with the official client: results, cancel, crash, kill -9."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openeo
import pytest
import rasterio
from openeo.rest.auth.auth import BearerAuth
from openeo_builders import LABELS, Scene, aqua_monitor_graph, child, load_node, node, par, ref
from openeo_servers import BUCKET, Issuer, Running
from test_openeo_graph_execution import numpy_aqua_monitor

from cscale_core.errors import NotFound
from cscale_core.identity.slug import user_slug
from cscale_core.jobs.spark_submit import SparkProcess
from tests.waiting import until

pytestmark = pytest.mark.spark

ALICE, BOB, BOTH, STRANGER = (f"{digit * 64}@egi.eu" for digit in "abcd")


def connect(service: Running, issuer: Issuer, subject: str) -> openeo.Connection:
    connection = openeo.connect(service.url)
    connection.auth = BearerAuth(f"oidc/egi/{issuer.token(subject)}")
    return connection


def sleeping_graph(seconds: float) -> dict[str, Any]:
    """A job that takes its time, in a UDF."""
    udf = (
        "import time\n"
        "from openeo.udf import XarrayDataCube\n"
        "def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:\n"
        f"    time.sleep({seconds})\n"
        "    return XarrayDataCube(cube.get_array().mean('t'))\n"
    )
    load = load_node()
    load["arguments"]["temporal_extent"] = ["2019-01-01", "2020-01-01"]
    return {
        "load": load,
        "coarse": node("resample_spatial", data=ref("load"), resolution=30, method="near"),
        "slow": node(
            "reduce_dimension",
            data=ref("coarse"),
            dimension="t",
            reducer=child(u=node("run_udf", data=par("data"), runtime="Python", udf=udf)),
        ),
        "save": node("save_result", True, data=ref("slow"), format="GTiff"),
    }


def processes_of(service: Running, job: str, run: int = 1) -> list[int]:
    try:
        folder = service.data_dir / "jobs" / job / f"run-{run}" / "spark"
        return SparkProcess.attach(folder)._members()
    except NotFound:
        return []  # it has not noted itself yet


def test_aqua_monitor_as_a_batch_job(
    service: Running, issuer: Issuer, scenes: list[Scene], tmp_path: Path
) -> None:
    connection = connect(service, issuer, ALICE)
    job = connection.create_job(aqua_monitor_graph(), title="Aqua Monitor", log_level="debug")
    searches = len(service.catalogue.searches)
    service.catalogue.broken = True  # the inputs are frozen: a run does not need the catalogue
    try:
        started = time.monotonic()
        job.start()
        seen = set()

        def ended() -> bool:
            shown = job.describe()
            seen.add((shown["status"], shown.get("progress")))
            return shown["status"] in ("finished", "error", "canceled")

        until(ended, "the end of the job", 240)
        print(f"job took {time.monotonic() - started:.1f} s: {job.describe().get('usage')}")
    finally:
        service.catalogue.broken = False
    assert job.status() == "finished", job.logs()
    assert len(service.catalogue.searches) == searches
    assert any(status == "running" for status, _ in seen)
    messages = [entry.message for entry in job.logs()]
    assert any("cut into" in message for message in messages)
    assert not job.logs(level="error")

    folder = tmp_path / "results"
    job.get_results().download_files(folder)
    truth = numpy_aqua_monitor(scenes)
    with rasterio.open(folder / "slope.tif") as dataset:
        np.testing.assert_allclose(dataset.read(1), truth["slope"], rtol=0, atol=1e-5)
    with rasterio.open(folder / "keep.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), truth["keep"].astype(np.float32))
    for index, year in enumerate((2019, 2020, 2021)):
        with rasterio.open(folder / f"composite_{year}-01-01.tif") as dataset:
            assert dataset.descriptions == ("swir", "nir", "green")
            np.testing.assert_allclose(dataset.read(), truth["composite"][index], atol=1e-6)

    document = job.get_results().get_metadata()
    asset = document["assets"]["slope.tif"]
    key = f"users/{user_slug(ALICE)}/jobs/{job.job_id}/slope.tif"
    assert asset["alternate"]["s3"]["href"] == f"s3://{BUCKET}/{key}"
    assert asset["alternate"]["mount"]["href"] == f"/s3/{BUCKET}/{key}"
    head = service.store.client.head_object(Bucket=BUCKET, Key=key)
    assert head["ContentLength"] == asset["file:size"]
    assert asset["proj:code"] == "EPSG:32630"
    assert asset["bands"][0]["statistics"]["valid_percent"] > 50
    whole, *years = document["cscale:items"]
    assert set(whole["assets"]) == {"slope", "keep", "change"}
    assert [item["properties"]["datetime"][:10] for item in years] == LABELS
    for item in (whole, *years):
        assert item["properties"]["cscale:job"] == job.job_id
        assert len([link for link in item["links"] if link["rel"] == "derived_from"]) == len(scenes)
    assert all(set(item["assets"]) == {"composite", "count"} for item in years)

    # Links need no token, allow ranges, cannot be changed, and end.
    with httpx.Client(trust_env=False) as http:
        part = http.get(asset["href"], headers={"Range": "bytes=0-3"})
        assert part.status_code == 206
        assert part.content[:2] in (b"II", b"MM")
        assert http.get(asset["href"].replace("slope.tif", "keep.tif")).status_code == 403
        canonical = next(x["href"] for x in document["links"] if x["rel"] == "canonical")
        assert http.get(canonical).json()["assets"].keys() == document["assets"].keys()
    with rasterio.open(f"/vsicurl/{asset['href']}") as dataset:
        assert dataset.count == 1

    # No secret got out of the service's hands.
    run = service.data_dir / "jobs" / job.job_id / "run-1"
    texts = [path.read_text(errors="replace") for path in run.rglob("*") if path.is_file()]
    texts += [(run.parent / "log.jsonl").read_text(), service.log.read_text(), json.dumps(document)]
    for text in texts:
        assert service.store.secret_key not in text
        assert "canary-of-the-environment" not in text

    objects = {o["Key"] for o in _objects(service, key.rpartition("/")[0])}
    assert len(objects) == len(document["assets"])
    job.delete()
    assert not _objects(service, key.rpartition("/")[0])
    assert not run.exists()


def _objects(service: Running, prefix: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.store.client.list_objects_v2(
        Bucket=BUCKET, Prefix=prefix + "/"
    ).get("Contents", [])
    return found


def test_a_failing_udf_is_explained_and_the_job_can_be_corrected(
    service: Running, issuer: Issuer
) -> None:
    connection = connect(service, issuer, BOB)
    graph = sleeping_graph(0)
    broken = json.loads(json.dumps(graph).replace("cube.get_array()", "cube.no_such_thing()"))
    job = connection.create_job(broken)
    job.start()
    until(lambda: job.status() in ("finished", "error"), "the end of the job", 120)
    assert job.status() == "error"
    (error,) = job.logs(level="error")
    assert error["code"] == "UDFFailed"
    assert "no_such_thing" in error.message
    assert "line 5 of the UDF" in error.message
    response = httpx.get(
        f"{service.url}/jobs/{job.job_id}/results",
        headers={"Authorization": f"Bearer oidc/egi/{issuer.token(BOB)}"},
        trust_env=False,
    )
    assert response.status_code == 424
    assert response.json()["code"] == "UDFFailed"

    headers = issuer.bearer(BOB)
    patched = httpx.patch(
        f"{service.url}/jobs/{job.job_id}",
        headers=headers,
        json={"process": {"process_graph": graph}},
        trust_env=False,
    )
    assert patched.status_code == 204
    job.start()
    until(lambda: job.status() in ("finished", "error"), "the end of the job", 120)
    assert job.status() == "finished", job.logs()


def test_cancel_ends_every_process(service: Running, issuer: Issuer) -> None:
    connection = connect(service, issuer, ALICE)
    job = connection.create_job(sleeping_graph(120))
    waiting = connection.create_job(sleeping_graph(0))
    job.start()
    until(lambda: job.status() == "running", "the start of the job", 30)
    waiting.start()
    until(lambda: len(processes_of(service, job.job_id)) >= 2, "processes of the job")
    assert waiting.status() == "queued"  # one at a time for each user
    response = httpx.patch(
        f"{service.url}/jobs/{job.job_id}",
        headers=issuer.bearer(ALICE),
        json={"title": "x"},
        trust_env=False,
    )
    assert response.json()["code"] == "JobLocked"
    waiting.stop()
    assert waiting.status() == "canceled"
    job.stop()
    assert job.status() == "canceled"
    assert processes_of(service, job.job_id) == []
    waiting.delete()
    job.delete()


def test_killed_service_finds_its_jobs_again(service: Running, issuer: Issuer) -> None:
    connection = connect(service, issuer, ALICE)
    job = connection.create_job(sleeping_graph(4))
    queued = connection.create_job(sleeping_graph(0))
    job.start()
    queued.start()
    until(lambda: job.status() == "running", "the start of the job", 30)
    until(lambda: len(processes_of(service, job.job_id)) >= 2, "processes of the job")
    service.kill()
    assert len(processes_of(service, job.job_id)) >= 2
    service.start()
    assert job.status() == "running"
    until(lambda: job.status() in ("finished", "error"), "the end of the job", 120)
    assert job.status() == "finished", job.logs()
    assert any("restarted" in entry.message for entry in job.logs())
    until(lambda: queued.status() in ("finished", "error"), "the end of the second job", 120)
    assert queued.status() == "finished", queued.logs()
    for ended in (job, queued):
        ended.delete()


def test_stopped_service_leaves_nothing_running_and_loses_no_job(
    service: Running, issuer: Issuer
) -> None:
    connection = connect(service, issuer, BOB)
    job = connection.create_job(sleeping_graph(3))
    job.start()
    until(lambda: len(processes_of(service, job.job_id)) >= 2, "processes of the job")
    before = time.monotonic()
    service.stop()
    assert time.monotonic() - before < 5
    assert processes_of(service, job.job_id) == []
    service.start()
    until(lambda: job.status() in ("finished", "error"), "the end of the job", 120)
    assert job.status() == "finished", job.logs()
    assert any("start anew" in entry.message for entry in job.logs())
    job.delete()


def test_a_killed_application_is_an_error_not_a_lost_job(service: Running, issuer: Issuer) -> None:
    import os
    import signal

    connection = connect(service, issuer, BOB)
    job = connection.create_job(sleeping_graph(120))
    job.start()
    until(lambda: job.status() == "running", "the start of the job", 30)
    until(lambda: len(processes_of(service, job.job_id)) >= 2, "processes of the job")
    for pid in processes_of(service, job.job_id):
        os.kill(pid, signal.SIGKILL)
    until(lambda: job.status() == "error", "the error", 30)
    (error,) = job.logs(level="error")
    assert error["code"] == "JobCrashed"
    job.delete()
