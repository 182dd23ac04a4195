"""What went wrong in a cluster, from pods and events, and what the user can do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from kubernetes_double import KubernetesDouble
from spark_cluster_world import World

from cscale_core.jobs.engines.spark import results
from cscale_core.jobs.engines.spark.results import Left
from cscale_core.jobs.model import Job, JobError, JobStatus
from cscale_core.site import Site


@pytest.fixture
async def double() -> AsyncIterator[KubernetesDouble]:
    made = KubernetesDouble()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def world(
    tmp_path: Path,
    make_site: Callable[..., Site],
    double: KubernetesDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    monkeypatch.setattr(results, "of_bucket", lambda work, site, report: Left([]))
    made = World(tmp_path, make_site, double)
    await made.begin()
    yield made
    await made.manager.stop()


async def failed(world: World, job: Job) -> JobError:
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    return ended.error


async def test_driver_out_of_memory_suggests_more(world: World, double: KubernetesDouble) -> None:
    job, name = await world.submitted(options={"driver_memory": "2g"})
    killed = {"exitCode": 137, "reason": "OOMKilled"}
    double.pod(name, phase="Failed", terminated=killed)
    await double.state(name, "FAILED", "driver container failed with ExitCode: 137")
    error = await failed(world, job)
    assert error.code == "out_of_memory"
    assert "2g heap, 819m overhead" in error.message
    assert error.details["job_options"] == {"driver_memory_overhead": "2867m"}
    clone = await world.manager.clone(job.id, suggested=True)
    assert clone.spec.options["driver_memory_overhead"] == "2867m"
    assert clone.spec.options["driver_memory"] == "2g"


@pytest.mark.parametrize(
    ("options", "suggested"),
    [
        ({"executor_memory": "4g"}, {"executor_memory_overhead": "5734m"}),
        # What the node has left.
        ({"executor_memory": "20g"}, {"executor_memory_overhead": "12g"}),
        # It is as large as the node: fewer tasks at a time.
        ({"executor_memory": "22g", "executor_cores": 4}, {"executor_cores": 2}),
        ({"executor_memory": "22g", "executor_cores": 1}, {}),
    ],
)
async def test_executor_out_of_memory_suggests_what_fits(
    world: World, double: KubernetesDouble, options: dict[str, Any], suggested: dict[str, Any]
) -> None:
    job, name = await world.submitted(options=options)
    double.pod(name, phase="Failed", terminated={"exitCode": 1, "reason": "Error"})
    double.pod(
        name, "executor", "1", phase="Failed", terminated={"exitCode": 137, "reason": "OOMKilled"}
    )
    await double.state(name, "FAILED", "driver container failed with ExitCode: 1, Reason: Error")
    error = await failed(world, job)
    assert error.code == "out_of_memory"
    assert error.message.startswith("The executor 1 needed more memory")
    assert error.details["job_options"] == suggested
    if not suggested:
        assert "No node has more memory" in error.hint


@pytest.mark.parametrize(
    ("waiting", "code", "words"),
    [
        (("ImagePullBackOff", 'Back-off pulling image "x"'), "image", "Back-off pulling"),
        (("ErrImagePull", "not found"), "image", "ErrImagePull"),
        (("InvalidImageName", ""), "image", "InvalidImageName"),
        (("CreateContainerConfigError", 'secret "keys" not found'), "container", '"keys"'),
    ],
)
async def test_container_that_cannot_start_is_told_then_ends_the_job(
    world: World, double: KubernetesDouble, waiting: tuple[str, str], code: str, words: str
) -> None:
    job, name = await world.submitted()
    double.pod(name, phase="Pending", waiting=waiting)
    await double.state(name, "SUBMITTED")
    seen = await world.until(job.id, lambda job: words in job.message)
    assert seen.status in (JobStatus.QUEUED, JobStatus.ERROR)
    error = await failed(world, job)
    assert error.code == code
    assert "ell the operator" in error.hint
    assert name not in double.applications


async def test_no_room_on_the_nodes_is_told_and_waited_for(
    world: World, double: KubernetesDouble
) -> None:
    job, name = await world.submitted(options={"driver_memory": "8g", "driver_cores": 8})
    said = "0/3 nodes are available: 3 Insufficient memory. preemption: 0/3 nodes are available"
    double.pod(name, phase="Pending", unschedulable=said)
    await double.state(name, "SUBMITTED")
    seen = await world.until(job.id, lambda job: "Insufficient memory" in job.message)
    assert "8 processors and 11468m; the largest has 16 and 32g" in seen.message
    double.pods.clear()
    pod = double.pod(name)
    await double.state(name, "RUNNING", driverInfo={"podName": pod})
    seen = await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    await world.until(job.id, lambda job: job.message == "running")


async def test_volume_that_is_not_mounted_is_told(world: World, double: KubernetesDouble) -> None:
    job, name = await world.submitted()
    pod = double.pod(name, phase="Pending", waiting=("ContainerCreating", ""))
    double.event(pod, "Scheduled", "assigned")
    double.event(pod, "FailedMount", 'MountVolume.SetUp failed for volume "buckets"')
    await double.state(name, "SUBMITTED")
    await world.until(job.id, lambda job: 'volume "buckets"' in job.message)
    assert (await failed(world, job)).code == "mount"


async def test_quota_that_stops_the_driver_is_told(world: World, double: KubernetesDouble) -> None:
    job, name = await world.submitted()
    double.event(name, "SparkApplicationSubmissionFailed", "pods is forbidden: exceeded quota: cpu")
    await double.state(name, "SUBMISSION_FAILED", "exceeded quota: cpu")
    await world.until(job.id, lambda job: "no room left" in job.message)
    await double.state(name, "FAILED", "pods is forbidden: exceeded quota: cpu")
    error = await failed(world, job)
    assert error.code == "quota_exceeded"


@pytest.mark.parametrize(
    ("reason", "code", "retryable"),
    [("Evicted", "evicted", True), ("DeadlineExceeded", "time_limit", False)],
)
async def test_driver_that_was_removed_from_its_node(
    world: World, double: KubernetesDouble, reason: str, code: str, retryable: bool
) -> None:
    job, name = await world.submitted()
    double.pod(name, phase="Failed", reason=reason, message="The node was low on ephemeral-storage")
    await double.state(name, "FAILED", "driver container status missing")
    error = await failed(world, job)
    assert (error.code, error.retryable) == (code, retryable)


async def test_error_that_the_application_wrote_is_the_jobs(
    world: World, double: KubernetesDouble
) -> None:
    job, name = await world.submitted(process={"application": "test", "arguments": {}})
    words = {"code": "damaged_data", "message": "a.tif is cut", "hint": "stage again"}
    ended = {"exitCode": 1, "reason": "Error", "message": json.dumps(words)}
    double.pod(name, phase="Failed", terminated=ended)
    await double.state(name, "FAILED", "driver container failed with ExitCode: 1, Reason: Error")
    error = await failed(world, job)
    assert (error.code, error.hint) == ("damaged_data", "stage again")


async def test_requirements_that_cannot_be_installed_are_said(
    world: World, double: KubernetesDouble
) -> None:
    job, name = await world.submitted(process={"main": "/s3/vobucket/a.py", "python": ["x>=1"]})
    pod = double.pod(name, phase="Failed")
    double.pods[pod]["status"]["initContainerStatuses"] = [
        {"name": "python-requirements", "state": {"terminated": {"exitCode": 1}}}
    ]
    await double.state(name, "FAILED", "driver container status missing")
    error = await failed(world, job)
    assert error.code == "requirements"
    assert "x>=1" in error.message
