"""Jobs on a real Slurm: over ssh, slurmrestd on TCP and slurmrestd on a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from slurm_server import SlurmServer
from slurm_world import WAYS, World

from cscale_core.errors import InvalidInput
from cscale_core.jobs.engines.slurm import following
from cscale_core.jobs.model import JobStatus
from cscale_core.site import Site

pytestmark = pytest.mark.slurm


@pytest.fixture(params=WAYS)
async def world(
    request: pytest.FixtureRequest,
    slurm: SlurmServer,
    tmp_path: Path,
    make_site: Callable[..., Site],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    monkeypatch.setattr(following, "LOG_SECONDS", 0.2)
    made = World(slurm, tmp_path, make_site, request.param)
    await made.manager.start()
    yield made
    await made.manager.stop()


async def test_job_runs_to_its_end_and_its_output_is_its_log(world: World) -> None:
    script = "echo hello; echo careful >&2; sleep 1; pwd; echo $CSCALE_JOB_ID"
    job = await world.submit("bash", "-c", script, partition="short", cpus=2)
    assert job.spec.title == "bash"
    assert job.spec.options["time"] == "00:05:00"
    running = await world.running(job.id)
    assert running.engine_id.isdigit()
    assert running.message == "running on n1"
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED, ended
    assert ended.usage["slurm"]["nodes"] == "n1"
    assert ended.usage["slurm"]["seconds"] >= 1
    lines = {line.message: line.level for line in await world.manager.logs(job.id)}
    assert lines["hello"] == "info"
    assert lines["careful"] == "warning"
    assert str(world.server.work / job.id) in lines
    assert job.id in lines
    (script_line,) = [line for line in lines if line.startswith("the batch script")]
    assert f"#SBATCH --job-name=cscale-{job.id}" in script_line
    record = world.server.run("scontrol", "show", "job", running.engine_id)
    assert f"JobName=cscale-{job.id}" in record
    assert "Partition=short" in record
    assert "TimeLimit=00:05:00" in record
    assert "NumCPUs=2" in record
    assert "MinMemoryNode=50M" in record


async def test_gpus_nodes_and_tasks_are_asked_for(world: World) -> None:
    job = await world.submit("true", gpus=2, nodes=1, tasks=2, requeue=False)
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED, ended
    record = world.server.run("scontrol", "show", "job", ended.engine_id)
    assert "gpu:2" in record.partition("TresPerNode=")[2].partition("\n")[0]
    assert "NumTasks=2" in record
    assert "Requeue=0" in record


async def test_arguments_arrive_as_they_are(world: World) -> None:
    strange = ["a b", "it's", '"x"', "$HOME", "`id`", "*", "\\n", "é", "-n", "", "#SBATCH", "a\nb"]
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    job = await world.submit("python3", "-c", program, *strange)
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert json.dumps(strange) in await world.log(job.id)


async def test_failure_says_the_exit_code_and_the_log_has_the_words(world: World) -> None:
    job = await world.submit("bash", "-c", "echo what went wrong >&2; exit 3")
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert ended.error.message == "The job failed with exit code 3."
    assert ended.error.details == {"state": "FAILED", "reason": "NonZeroExitCode", "exit_code": 3}
    assert "what went wrong" in await world.log(job.id)


async def test_too_much_memory_is_explained(world: World) -> None:
    hungry = "x = bytearray(400 * 2**20); import time; time.sleep(30)"
    job = await world.submit("python3", "-c", hungry)
    ended = await world.ended(job.id)
    assert ended.error is not None, ended
    assert ended.error.code == "out_of_memory"
    assert "50M" in ended.error.message
    assert "twice as much" in ended.error.hint


async def test_refused_option_is_told_in_slurms_words_and_nothing_is_left(world: World) -> None:
    job = await world.submit("true", partition="nowhere")
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert ended.error.code == "invalid_input"
    assert "nvalid partition" in ended.error.message
    assert f"cscale-{job.id}" not in world.server.names()


@pytest.mark.parametrize("when", ["queued", "running"])
async def test_cancel_ends_the_job_at_the_cluster(world: World, when: str) -> None:
    options = {"cpus": 8} if when == "running" else {"cpus": 8, "memory": "4000M"}
    other = await world.submit("sleep", "300", cpus=8) if when == "queued" else None
    if other is not None:
        await world.running(other.id)
    job = await world.submit("sleep", "300", **options)
    seen = await world.until(
        job.id, lambda job: job.status == when and "submitted" not in job.message
    )
    if when == "queued":
        assert "waiting" in seen.message
    await world.manager.cancel(job.id)
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.CANCELED
    assert "CANCELLED" in world.server.run("scontrol", "show", "job", seen.engine_id)
    if other is not None:
        await world.manager.cancel(other.id)
        assert (await world.ended(other.id)).status == JobStatus.CANCELED


async def test_canceled_by_somebody_else_at_the_cluster(world: World) -> None:
    job = await world.submit("sleep", "300")
    running = await world.running(job.id)
    world.server.run("scancel", running.engine_id)
    ended = await world.ended(job.id)
    assert (ended.status, ended.message) == (JobStatus.CANCELED, "canceled at Test cluster")


async def test_array_is_one_job_with_a_task_for_each_index(world: World) -> None:
    job = await world.submit(
        "bash", "-c", 'echo "task $0"; [ "$0" != 5 ]', "{task}", array="1-3,5%2", memory="20M"
    )
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert ended.error.message.startswith("1 of 4 tasks failed. Task 5 of the job failed")
    lines = await world.log(job.id)
    assert [line for line in sorted(lines) if "task " in line and line.startswith("[")] == [
        f"[{index}] task {index}" for index in (1, 2, 3, 5)
    ]
    assert ended.usage["slurm"]["tasks"] == 4


async def test_array_shows_how_many_tasks_have_ended(world: World) -> None:
    job = await world.submit("bash", "-c", "sleep $0", "{task}", array="0,60", memory="20M")
    half = await world.until(job.id, lambda job: job.progress == 0.5)
    assert half.status == JobStatus.RUNNING
    assert half.message == "1 of 2 tasks ended, 1 running"
    await world.manager.cancel(job.id)
    assert (await world.ended(job.id)).status == JobStatus.CANCELED


async def test_job_waits_for_another_of_ours(world: World) -> None:
    script = "until [ -e $CSCALE_WORK.go ]; do sleep 0.1; done; echo one > $CSCALE_WORK/../said"
    first = await world.submit("bash", "-c", script)
    second = await world.submit(
        "bash", "-c", "cat $CSCALE_WORK/../said", dependency={"afterok": [first.id]}
    )
    waits = await world.until(second.id, lambda job: "depends" in job.message)
    assert waits.status == JobStatus.QUEUED
    (world.server.work / f"{first.id}.go").touch()
    assert (await world.ended(second.id)).status == JobStatus.FINISHED
    assert (await world.ended(first.id)).status == JobStatus.FINISHED
    assert "one" in await world.log(second.id)


async def test_job_whose_dependency_failed_is_taken_out_of_the_queue(world: World) -> None:
    first = await world.submit("bash", "-c", "sleep 1; false")
    second = await world.submit("true", dependency=f"afterok:{first.id}")
    ended = await world.ended(second.id)
    assert ended.error is not None
    assert ended.error.code == "dependency_failed"
    assert (await world.ended(first.id)).status == JobStatus.ERROR
    assert ended.engine_id not in world.server.run("squeue", "-h")


async def test_dependency_on_a_job_nobody_knows_is_refused(world: World) -> None:
    job = await world.submit("true", dependency={"afterok": ["j-200101000000-00000000"]})
    ended = await world.ended(job.id)
    assert ended.error is not None
    assert "is not known at Test cluster" in ended.error.message


async def test_preempted_job_is_explained(world: World) -> None:
    low = await world.submit("sleep", "300", partition="short", cpus=8)
    await world.running(low.id)
    high = await world.submit("sleep", "300", partition="first", cpus=8)
    ended = await world.ended(low.id)
    assert ended.error is not None
    assert ended.error.code == "preempted"
    assert ended.error.retryable
    await world.running(high.id)
    await world.manager.cancel(high.id)
    await world.ended(high.id)


async def test_node_that_fails_is_explained(world: World) -> None:
    job = await world.submit("sleep", "300", requeue=False)
    await world.running(job.id)
    try:
        world.server.run("scontrol", "update", "nodename=n1", "state=down", "reason=test")
        ended = await world.ended(job.id)
    finally:
        world.server.run("scontrol", "update", "nodename=n1", "state=resume")
    assert ended.error is not None
    assert ended.error.code == "node_failed"
    assert "n1" in ended.error.message


async def test_suspended_job_is_paused(world: World) -> None:
    job = await world.submit("sleep", "300")
    running = await world.running(job.id)
    world.server.run("scontrol", "suspend", running.engine_id)
    await world.until(job.id, lambda job: job.status == JobStatus.PAUSED)
    world.server.run("scontrol", "resume", running.engine_id)
    await world.running(job.id)
    await world.manager.cancel(job.id)
    await world.ended(job.id)


async def test_new_server_takes_the_job_up_and_no_line_is_lost_or_doubled(world: World) -> None:
    job = await world.submit("bash", "-c", "for i in 1 2 3 4; do echo line $i; sleep 0.7; done")
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    await world.says(job.id, "line 1")
    await world.restart()
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED
    lines = [line for line in await world.log(job.id) if line.startswith("line")]
    assert lines == ["line 1", "line 2", "line 3", "line 4"]


async def test_many_jobs_are_watched_by_one_list(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = next(iter(world.engine._clusters.values()))
    asked: list[int] = []
    real = cluster.slurm.jobs

    async def counting(identifiers: list[str]) -> object:
        asked.append(len(identifiers))
        return await real(identifiers)

    monkeypatch.setattr(cluster.slurm, "jobs", counting)
    jobs = [await world.submit("true", memory="20M") for _ in range(6)]
    for job in jobs:
        assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert max(asked) > 1
    assert len(asked) < 60


@pytest.mark.timeout(180)
@pytest.mark.parametrize("world", ["ssh"], indirect=True)
async def test_time_limit_is_explained(world: World) -> None:
    """Slurm looks for time limits twice a minute."""
    job = await world.submit("sleep", "300", time=1)
    running = await world.running(job.id)
    world.server.run("scontrol", "update", f"JobId={running.engine_id}", "TimeLimit=0")
    ended = await world.ended(job.id)
    assert ended.error is not None
    assert ended.error.code == "time_limit"
    assert "00:01:00" in ended.error.message
    assert "option time" in ended.error.hint


async def test_what_cannot_be_asked_is_refused_before_anything_is_written(world: World) -> None:
    for options in ({"time": "soon"}, {"partition": "a b"}, {"memory": "-1"}, {"nice": 3}):
        with pytest.raises(InvalidInput, match="options for Slurm"):
            await world.submit("true", **options)
    assert await world.manager.list() == []
