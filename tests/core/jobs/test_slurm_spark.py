"""A named application, Aqua Monitor on Spark, as a batch job where the buckets are mounted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from slurm_server import SlurmServer
from slurm_world import World

from cscale_core.jobs.engines.slurm import following
from cscale_core.jobs.model import JobSpec, JobStatus
from cscale_core.site import Site
from cscale_core.workflows.aqua_monitor import output_names

sys.path.insert(0, str(Path(__file__).parents[1] / "workflows"))
import aqua_scenes

pytestmark = [pytest.mark.slurm, pytest.mark.spark]


async def test_named_application_runs_on_the_cluster_and_its_item_is_the_result(
    slurm: SlurmServer,
    tmp_path: Path,
    make_site: Callable[..., Site],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "LOG_SECONDS", 0.2)
    mount = slurm.folder / "mounted"
    scenes = mount / "vobucket" / "products"
    scenes.mkdir(parents=True)
    items = aqua_scenes.write_scenes(scenes)
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = "s3://" + str(Path(asset["href"]).relative_to(mount))
    parameters = {
        "bbox": aqua_scenes.bbox(),
        "intervals": [(date(year, 1, 1), date(year + 1, 1, 1)) for year in (2019, 2020, 2021)],
        "min_images": 4,
        "collection": "synthetic",
    }
    world = World(slurm, tmp_path, make_site, mount=str(mount), python=sys.executable)
    await world.manager.start()
    job = await world.manager.submit(
        JobSpec(
            engine="slurm",
            process={
                "application": "aqua-monitor",
                "arguments": {"parameters": parameters, "items": items},
            },
            options={"memory": "3500M", "cpus": 2, "time": 10, "driver_memory": "700m"},
        )
    )
    assert job.spec.title == "Aqua Monitor"
    seen = await world.until(job.id, lambda job: job.progress or job.status.ended)
    assert "tiles" in seen.message or "done" in seen.message or "writing" in seen.message
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED, (ended, await world.log(job.id))
    (item,) = ended.results
    names = output_names(("2019-01-01", "2020-01-01", "2021-01-01"))
    assert set(item["assets"]) == set(names)
    slope = item["assets"]["slope"]
    assert slope["href"] == f"s3://vobucket/users/utest/jobs/{job.id}/slope.tif"
    assert (mount / slope["href"].removeprefix("s3://")).stat().st_size == slope["file:size"]
    assert item["assets"]["keep"]["bands"][0]["statistics"]["mean"] > 0
    await world.manager.stop()
