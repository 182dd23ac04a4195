"""The job list's openEO engine against our own openEO service on real Spark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openeo_builders import child, load_node, node, par, ref
from openeo_servers import BUCKET, VO, Issuer, Running

from cscale_core.backends import OpenEOBackend
from cscale_core.identity.slug import user_slug
from cscale_core.jobs.engines.openeo import OpenEOEngine
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import Job, JobSpec, JobStatus
from cscale_core.jobs.store import JobStore
from cscale_core.site import Site
from tests.waiting import soon

pytestmark = pytest.mark.spark

ALICE = "a" * 64 + "@egi.eu"


class Tokens:
    """The issuer's tokens of one user."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def token(self, audience: str) -> str:
        return self._issuer.token(ALICE)


def graph(body: str) -> dict[str, Any]:
    """The mean of a year, by a UDF."""
    udf = (
        "from openeo.udf import XarrayDataCube\n"
        "def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:\n"
        f"    {body}\n"
        "    return XarrayDataCube(cube.get_array().mean('t'))\n"
    )
    load = load_node()
    load["arguments"]["temporal_extent"] = ["2019-01-01", "2020-01-01"]
    reducer = child(u=node("run_udf", data=par("data"), runtime="Python", udf=udf))
    return {
        "load": load,
        "coarse": node("resample_spatial", data=ref("load"), resolution=30, method="near"),
        "mean": node("reduce_dimension", data=ref("coarse"), dimension="t", reducer=reducer),
        "save": node("save_result", True, data=ref("mean"), format="GTiff"),
    }


async def until(manager: JobManager, job: Job, condition: Callable[[Job], object]) -> Job:
    what = f"what is awaited of {job.spec.title}"
    return await soon(lambda: manager.get(job.id), what, 240, fits=condition, pause=0.2)


async def test_jobs_of_our_own_service_are_followed_to_their_ends(
    service: Running, issuer: Issuer, tmp_path: Path
) -> None:
    place = OpenEOBackend(id="own", title="Own", url=service.url, audience="openeo")
    site = Site.model_validate(
        {
            "user": user_slug(ALICE),
            "vos": [VO],
            "s3": {"endpoint": "http://127.0.0.1:9"},
            "catalogue": {"url": "http://127.0.0.1:9"},
            "grants": [
                {"bucket": BUCKET, "prefix": "", "access": "rw", "vo": VO, "purpose": "products"}
            ],
            "openeo": [place],
        }
    )

    def new_manager() -> tuple[JobManager, OpenEOEngine]:
        engine = OpenEOEngine(site, Tokens(issuer))
        store = JobStore(tmp_path / "jobs.sqlite")
        return JobManager(site, store, {"openeo": engine}, lambda job: None), engine

    def spec(title: str, body: str) -> JobSpec:
        process = {"process_graph": graph(body)}
        return JobSpec(engine="openeo", title=title, vo=VO, process=process)

    manager, engine = new_manager()
    await manager.start()
    (state,) = await engine.backends()
    assert state.online
    estimate = await engine.estimate(spec("estimate", "pass"))
    assert estimate is not None
    assert estimate["duration"].startswith("PT")
    good = await manager.submit(spec("good", "pass"))
    bad = await manager.submit(spec("bad", "raise ValueError('no such thing')"))
    late = await manager.submit(spec("late", "import time; time.sleep(200)"))
    await until(manager, late, lambda job: job.engine_id and job.status != JobStatus.CREATED)
    await manager.cancel(late.id)
    assert (await until(manager, late, lambda job: job.status.ended)).status == JobStatus.CANCELED

    # Another server takes the others up.
    await manager.stop()
    manager, engine = new_manager()
    await manager.start()
    good = await until(manager, good, lambda job: job.status.ended)
    bad = await until(manager, bad, lambda job: job.status.ended)
    assert good.status == JobStatus.FINISHED, good
    (asset,) = (asset for item in good.results for asset in item["assets"].values())
    assert asset["href"].startswith(f"s3://{BUCKET}/users/{user_slug(ALICE)}/jobs/")
    assert bad.status == JobStatus.ERROR
    assert bad.error is not None
    assert "no such thing" in bad.error.message
    lines = [line.message for line in await manager.logs(good.id, limit=5000)]
    own = [line for line in lines if not line.startswith(("job ", "waiting in the queue"))]
    assert len(own) > 1
    await manager.stop()
