"""Spark jobs in a cluster: submitted once, every state of the operator, logs, figures, cancel."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from kubernetes_double import Fault, KubernetesDouble
from spark_cluster_world import World

from cscale_core.errors import Forbidden, UpstreamError
from cscale_core.jobs.engines.spark import delivery, results
from cscale_core.jobs.engines.spark.kubernetes import submitting
from cscale_core.jobs.engines.spark.results import Left
from cscale_core.jobs.model import JobStatus
from cscale_core.site import Site
from tests.waiting import soon

ITEM = {"id": "r", "assets": {"a": {"href": "s3://vobucket/x.tif"}}}


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
    # What is in the bucket is tried on a real one, elsewhere.
    monkeypatch.setattr(results, "of_bucket", lambda work, site, report: Left([ITEM]))
    monkeypatch.setattr(results, "own_item", lambda work, site: None)
    monkeypatch.setattr(submitting, "RETRY_SECONDS", (0.05, 0.1))
    made = World(tmp_path, make_site, double)
    await made.begin()
    yield made
    await made.manager.stop()


async def test_program_runs_to_its_results(world: World, double: KubernetesDouble) -> None:
    job, name = await world.submitted()
    assert name == f"cscale-{job.id}"
    assert job.spec.backend == "kubernetes"
    queued = await world.until(job.id, lambda job: job.engine_id == name)
    assert queued.status == JobStatus.QUEUED
    await double.state(name, "SUBMITTED")
    await world.until(job.id, lambda job: job.message == "waiting for its driver")
    pod = double.pod(name)
    double.logs[pod] = [("2026-11-21T00:00:00.000000001Z", "hello")]
    await double.state(name, "RUNNING", driverInfo={"podName": pod})
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    await double.state(name, "SUCCEEDING")
    await double.state(name, "COMPLETED")
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED, ended
    assert ended.results == [ITEM]
    assert (await world.said(job.id)).count("hello") == 1


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        ("SUBMITTED", "queued", "waiting for its driver"),
        ("PENDING_RERUN", "queued", "submitted again soon"),
        ("INVALIDATING", "queued", "submitted again"),
        ("SUBMISSION_FAILED", "queued", "could not submit it: no webhook"),
        ("SUSPENDING", "queued", "being suspended"),
        ("SUSPENDED", "queued", "suspended in the cluster"),
        ("RESUMING", "queued", "being resumed"),
        ("RUNNING", "running", "running"),
        ("SUCCEEDING", "running", "ending"),
        ("FAILING", "running", "failing"),
        ("UNKNOWN", "running", "does not know how its driver is"),
        ("OF_A_LATER_OPERATOR", "queued", "not known here: OF_A_LATER_OPERATOR"),
    ],
)
async def test_states_of_the_operator_in_our_words(
    world: World, double: KubernetesDouble, state: str, status: str, words: str
) -> None:
    job, name = await world.submitted()
    double.pod(name)
    await double.state(name, state, "no webhook")
    seen = await world.until(job.id, lambda job: words in job.message)
    assert seen.status == status
    assert not seen.status.ended


async def test_failed_application_is_an_error(world: World, double: KubernetesDouble) -> None:
    job, name = await world.submitted()
    await double.state(name, "FAILED", "driver container failed with ExitCode: 1, Reason: Error")
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert "status 1" in ended.error.message


# -- submitted once ------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("status", [0, 429, 500, 503])
async def test_lost_answer_does_not_submit_twice(
    world: World, double: KubernetesDouble, status: int, after: bool
) -> None:
    double.faults.append(Fault("POST", "/sparkapplications", status, after=after))
    job, name = await world.submitted()
    await double.state(name, "COMPLETED")
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert len(double.created) == 1
    assert len(double.secrets) == 1


@pytest.mark.parametrize("moment", ["before", "application", "secret", "running", "ended"])
async def test_server_that_dies_in_the_middle_leaves_one_application(
    world: World, double: KubernetesDouble, moment: str
) -> None:
    if moment == "before":
        double.faults.append(Fault("POST", "/sparkapplications", 503, times=10_000))
    elif moment == "application":
        double.faults.append(Fault("POST", "/secrets", 503, times=10_000))
    job = await world.submit()
    name = f"cscale-{job.id}"
    if moment == "before":
        await soon(lambda: double.asked("POST", "/sparkapplications"), "an attempt", pause=0.01)
    elif moment == "application":
        await soon(lambda: double.asked("POST", "/secrets"), "an attempt", pause=0.01)
    else:
        await soon(lambda: name in double.secrets, "the Secret", pause=0.01)
    if moment in ("running", "ended"):
        await double.state(name, "RUNNING", driverInfo={"podName": double.pod(name)})
        await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    await world.manager.stop()
    double.faults.clear()
    if moment == "ended":
        await double.state(name, "COMPLETED")
    await world.begin()
    await soon(lambda: name in double.secrets, "the Secret", pause=0.01)
    if moment != "ended":
        await double.state(name, "COMPLETED")
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED
    assert len(double.created) == 1
    uid = double.applications[name]["metadata"]["uid"]
    assert double.secrets[name]["metadata"]["ownerReferences"][0]["uid"] == uid


async def test_application_of_somebody_else_is_left_alone(
    world: World, double: KubernetesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.faults.append(Fault("POST", "/sparkapplications", 503, times=10_000))
    job = await world.submit()
    name = f"cscale-{job.id}"
    double.applications[name] = {"metadata": {"name": name, "uid": "x", "labels": {}}}
    double.faults.clear()
    ended = await world.ended(job.id)
    assert ended.error is not None
    assert ended.error.code == "conflict"
    assert name in double.applications


async def test_secret_of_an_earlier_application_is_replaced(
    world: World, double: KubernetesDouble
) -> None:
    double.faults.append(Fault("POST", "/sparkapplications", 503, times=10_000))
    job = await world.submit()
    name = f"cscale-{job.id}"
    owner = [{"uid": "of-one-that-is-gone"}]
    double.secrets[name] = {"metadata": {"name": name, "ownerReferences": owner}, "data": {}}
    double.faults.clear()
    await soon(
        lambda: "inputs.json" in double.secrets.get(name, {}).get("data", {}),
        "the inputs",
        pause=0.01,
    )
    uid = double.applications[name]["metadata"]["uid"]
    assert double.secrets[name]["metadata"]["ownerReferences"][0]["uid"] == uid


async def test_operator_too_old_to_secure_pods_gets_no_job(
    world: World, double: KubernetesDouble
) -> None:
    double.old_definition = True
    job = await world.submit()
    ended = await world.ended(job.id)
    assert ended.error is not None
    assert "older than 2.0" in ended.error.message
    assert double.applications == {}


async def test_cluster_without_the_operator_is_said(world: World, double: KubernetesDouble) -> None:
    double.installed = False
    ended = await world.ended((await world.submit()).id)
    assert ended.error is not None
    assert "no Spark operator" in ended.error.message
    state = (await world.manager.backends())[0]
    assert (state.id, state.online) == ("kubernetes", False)


async def test_quota_is_waited_for(world: World, double: KubernetesDouble) -> None:
    message = 'pods "x" is forbidden: exceeded quota: cpu, requested: 4, used: 16, limited: 16'
    double.faults.append(Fault("POST", "/sparkapplications", 403, message, times=10_000))
    job = await world.submit()
    seen = await world.until(job.id, lambda job: "no room yet" in job.message)
    assert seen.status == JobStatus.QUEUED
    double.faults.clear()
    await soon(lambda: len(double.created) == 1, "the application", pause=0.01)


async def test_refusal_is_final_and_says_who_can_help(
    world: World, double: KubernetesDouble
) -> None:
    double.denied.add(("POST", "sparkapplications"))
    ended = await world.ended((await world.submit()).id)
    assert ended.error is not None
    assert ended.error.code == "forbidden"
    assert "tell the operator" in ended.error.hint


# -- following -----------------------------------------------------------------------------------


async def test_one_watch_follows_all_jobs(world: World, double: KubernetesDouble) -> None:
    jobs = [await world.running() for _ in range(5)]
    lists = [
        query
        for method, path, query in double.requests
        if method == "GET" and path.endswith("/sparkapplications")
    ]
    assert len(lists) <= 3
    assert all(query["labelSelector"] == "cscale-hub/user=utest" for query in lists)
    for job, name in jobs:
        await double.state(name, "COMPLETED")
        assert (await world.ended(job.id)).status == JobStatus.FINISHED


async def test_watch_that_is_too_old_lists_anew(world: World, double: KubernetesDouble) -> None:
    job, name = await world.running()
    await double.break_watches()
    double.applications[name]["status"]["applicationState"]["state"] = "COMPLETED"
    double.compact()
    await double.break_watches()
    assert (await world.ended(job.id)).status == JobStatus.FINISHED


async def test_long_list_is_read_by_pages(world: World, double: KubernetesDouble) -> None:
    double.page = 2
    jobs = [await world.running() for _ in range(5)]
    await double.break_watches()
    for _, name in jobs:
        double.applications[name]["status"]["applicationState"]["state"] = "COMPLETED"
    double.compact()
    await double.break_watches()
    for job, _ in jobs:
        assert (await world.ended(job.id)).status == JobStatus.FINISHED


async def test_trouble_of_the_api_does_not_end_a_job(
    world: World, double: KubernetesDouble
) -> None:
    job, name = await world.running()
    double.faults.append(Fault("GET", "/sparkapplications", 503, times=3))
    double.faults.append(Fault("GET", "/pods", 500, times=3))
    await double.break_watches()
    await asyncio.sleep(0.3)
    assert (await world.manager.get(job.id)).status == JobStatus.RUNNING
    await double.state(name, "COMPLETED")
    assert (await world.ended(job.id)).status == JobStatus.FINISHED


async def test_login_that_ended_is_read_anew(world: World, double: KubernetesDouble) -> None:
    job, name = await world.running()
    double.accepted = {"kube-login-0002"}
    double.kubeconfig(world.folder / "kubeconfig", "kube-login-0002")
    await double.break_watches()
    await double.state(name, "COMPLETED")
    assert (await world.ended(job.id)).status == JobStatus.FINISHED


async def test_deleted_application_is_lost(world: World, double: KubernetesDouble) -> None:
    job, name = await world.running()
    await double.remove(name)
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.LOST
    assert ended.error is not None
    assert f"does not know {name} any more" in ended.error.message
    assert f"s3://vobucket/users/utest/jobs/{job.id}/" in ended.error.hint
    assert double.secrets == {}


async def test_application_that_went_while_no_server_ran_is_lost_or_its_item_is_found(
    world: World, double: KubernetesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"application": "test", "arguments": {}}
    one, first = await world.running()
    two, second = await world.running(process=named)
    await world.manager.stop()
    await double.remove(first)
    await double.remove(second)
    monkeypatch.setattr(results, "own_item", lambda work, site: ITEM)
    await world.begin()
    assert (await world.ended(one.id)).status == JobStatus.LOST
    finished = await world.ended(two.id)
    assert finished.status == JobStatus.FINISHED
    assert finished.results == [ITEM]
    assert len(double.created) == 2


async def test_operator_that_takes_nothing_is_told_and_given_up(
    world: World, double: KubernetesDouble
) -> None:
    job, _ = await world.submitted()
    await world.until(job.id, lambda job: job.message == "the Spark operator does not answer")
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert ended.error.retryable
    assert double.applications == {}
    assert any("it may not be running" in line for line in await world.said(job.id))


@pytest.mark.parametrize(
    ("phase", "status"), [("Succeeded", "finished"), ("Failed", "error"), ("", "lost")]
)
async def test_driver_that_ended_unseen_by_the_operator_does_not_run_for_ever(
    world: World, double: KubernetesDouble, phase: str, status: str
) -> None:
    job, name = await world.running()
    double.pods.clear()
    if phase:
        double.pod(name, phase=phase, terminated={"exitCode": int(phase == "Failed")})
    assert (await world.ended(job.id)).status == status


async def test_long_end_is_told(world: World, double: KubernetesDouble) -> None:
    job, name = await world.running()
    await double.state(name, "SUCCEEDING")
    await world.says(job.id, "has been ending for")
    assert (await world.manager.get(job.id)).status == JobStatus.RUNNING


async def test_results_that_cannot_be_read_end_the_job_too(
    world: World, double: KubernetesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> Left:
        raise Forbidden("Reading s3://vobucket: the object store does not allow it.")

    monkeypatch.setattr(results, "of_bucket", refused)
    job, name = await world.running()
    await double.state(name, "COMPLETED")
    ended = await world.ended(job.id)
    assert ended.error is not None
    assert ended.error.code == "forbidden"
    assert any("its files are in s3://" in line for line in await world.said(job.id))


async def test_bucket_that_is_away_for_a_moment_is_waited_for(
    world: World, double: KubernetesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def away(*_: Any) -> Left:
        calls.append(1)
        if len(calls) < 3:
            raise UpstreamError("The object store cannot be reached.", retryable=True)
        return Left([ITEM], ["a.zarr: a Zarr store is a folder of many files"])

    monkeypatch.setattr(results, "of_bucket", away)
    monkeypatch.setattr(delivery, "RETRY_SECONDS", (0.05, 0.1))
    job, name = await world.running()
    await double.state(name, "COMPLETED")
    assert (await world.ended(job.id)).results == [ITEM]
    assert "left out of the result: a.zarr" in "\n".join(await world.said(job.id))


async def test_streams_that_end_at_once_are_not_asked_for_all_the_time(
    world: World, double: KubernetesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cscale_core.jobs.engines.spark.kubernetes.cluster.WATCH_SECONDS", 0)
    job, name = await world.running()
    before = double.asked("GET", "/sparkapplications")
    await asyncio.sleep(2)
    assert double.asked("GET", "/sparkapplications") - before <= 3
    await double.state(name, "COMPLETED")
    assert (await world.ended(job.id)).status == JobStatus.FINISHED


# -- cancel and delete ---------------------------------------------------------------------------


async def test_cancel_deletes_the_application(world: World, double: KubernetesDouble) -> None:
    job, name = await world.running()
    double.faults.append(Fault("DELETE", name, 503))
    await world.manager.cancel(job.id)
    assert (await world.ended(job.id)).status == JobStatus.CANCELED
    assert double.applications == double.secrets == double.pods == {}


async def test_cancel_removes_pods_that_the_operator_gave_no_owner(
    world: World, double: KubernetesDouble
) -> None:
    """As one older than 2.4 does."""
    job, name = await world.running()
    for pod in (double.pod(name), double.pod(name, "executor", "1")):
        del double.pods[pod]["metadata"]["ownerReferences"]
    await world.manager.cancel(job.id)
    assert (await world.ended(job.id)).status == JobStatus.CANCELED
    assert double.applications == double.secrets == double.pods == {}


async def test_cancel_of_what_is_gone_is_canceled(world: World, double: KubernetesDouble) -> None:
    job, name = await world.running()
    double.faults.append(Fault("DELETE", name, 0, after=True))
    await world.manager.cancel(job.id)
    assert (await world.ended(job.id)).status == JobStatus.CANCELED


async def test_cancel_while_the_cluster_is_away_leaves_nothing_behind(
    world: World, double: KubernetesDouble
) -> None:
    double.faults.append(Fault("POST", "/sparkapplications", 503, after=True, times=1))
    double.faults.append(Fault("POST", "/sparkapplications", 503, times=10_000))
    job = await world.submit()
    await soon(
        lambda: double.asked("POST", "/sparkapplications") > 1, "another attempt", pause=0.01
    )
    await world.manager.cancel(job.id)
    assert (await world.ended(job.id)).status == JobStatus.CANCELED
    assert double.applications == {}


async def test_deleted_job_takes_its_application_along(
    world: World, double: KubernetesDouble
) -> None:
    job, name = await world.running()
    await double.state(name, "COMPLETED")
    await world.ended(job.id)
    await world.manager.delete(job.id)
    await soon(lambda: name not in double.applications, "the deletion", pause=0.01)


# -- logs and figures ----------------------------------------------------------------------------


def lines(pod_second: int, count: int, first: int = 0) -> list[tuple[str, str]]:
    return [
        (f"2026-11-21T00:00:{pod_second:02}.{number // 3:09}Z", f"line {first + number}")
        for number in range(count)
    ]


async def test_log_is_brought_once_over_restarts(world: World, double: KubernetesDouble) -> None:
    job, name = await world.running()
    pod = next(iter(double.pods))
    double.logs[pod] = lines(1, 10)
    await world.until(job.id, lambda job: True)
    await world.says(job.id, "line 9")
    await world.manager.stop()
    # More of the same second, and of the same moment as the last line brought.
    double.logs[pod] += [
        ("2026-11-21T00:00:01.000000003Z", "line 10"),
        ("2026-11-21T00:00:01.5Z", "line 11"),
        ("2026-11-21T00:00:02Z", "line 12"),
    ]
    await world.begin()
    await double.state(name, "COMPLETED")
    await world.ended(job.id)
    said = [line for line in await world.said(job.id) if line.startswith("line ")]
    assert said == [f"line {number}" for number in range(13)]


async def test_second_with_more_than_a_reading_is_brought_whole(
    world: World, double: KubernetesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cscale_core.jobs.engines.spark.kubernetes.logs.CHUNK", 200)
    job, name = await world.running()
    double.logs[next(iter(double.pods))] = [*lines(1, 60), *lines(2, 5, 60)]
    await double.state(name, "COMPLETED")
    await world.ended(job.id)
    page = await world.manager.logs(job.id, limit=500)
    said = [line.message for line in page if line.message.startswith("line ")]
    assert said == [f"line {number}" for number in range(65)]


async def test_executors_log_with_their_names_and_levels(
    world: World, double: KubernetesDouble
) -> None:
    job, name = await world.running()
    executor = double.pod(name, "executor", "2")
    double.logs[executor] = [
        ("2026-11-21T00:00:01.1Z", "26/11/21 00:00:01 WARN BlockManager: lost"),
        ("2026-11-21T00:00:01.2Z", "26/11/21 00:00:01 INFO Executor: chatter"),
    ]
    await double.state(name, "COMPLETED")
    await world.ended(job.id)
    found = {line.message: line.level for line in await world.manager.logs(job.id)}
    assert found["executor 2: BlockManager: lost"] == "warning"
    assert found["executor 2: Executor: chatter"] == "debug"


async def test_progress_that_the_application_says(world: World, double: KubernetesDouble) -> None:
    job, _ = await world.running(process={"application": "test", "arguments": {}})
    said = {"time": "2026-11-21T00:00:00+00:00", "level": "progress", "message": "3 of 4 tiles"}
    text = json.dumps({**said, "done": 3, "total": 4})
    double.logs[next(iter(double.pods))] = [("2026-11-21T00:00:01Z", text)]
    seen = await world.until(job.id, lambda job: job.progress == 0.75)
    assert "3 of 4 tiles" in (await world.until(seen.id, lambda j: "tiles" in j.message)).message
    assert not any("tiles" in line for line in await world.said(job.id))


def monitored(completed: int) -> dict[str, Any]:
    return {
        "/applications": [{"id": "spark-1", "name": "n", "attempts": [{"appSparkVersion": "4"}]}],
        "/applications/spark-1/jobs": [
            {
                "status": "RUNNING",
                "numTasks": 12,
                "numSkippedTasks": 2,
                "numActiveTasks": 4,
                "numCompletedTasks": completed,
                "numFailedTasks": 1,
            }
        ],
        "/applications/spark-1/stages": [
            {"status": "ACTIVE", "shuffleReadBytes": 7, "shuffleWriteBytes": 9, "inputBytes": 11}
        ],
        "/applications/spark-1/allexecutors": [
            {"id": "driver", "isActive": True, "maxMemory": 100, "memoryUsed": 5, "totalCores": 0},
            {"id": "1", "isActive": True, "maxMemory": 100, "memoryUsed": 6, "totalCores": 4},
            {"id": "2", "isActive": False, "maxMemory": 100, "memoryUsed": 0, "totalCores": 4},
        ],
        "/applications/spark-1/storage/rdd": [{"id": 1}],
    }


@pytest.mark.parametrize("service", ["ui-svc", ""])
async def test_figures_come_through_the_api_server(
    world: World, double: KubernetesDouble, service: str
) -> None:
    double.monitoring = monitored(5)
    job, name = await world.submitted()
    info = {"podName": double.pod(name), "webUIServiceName": service, "webUIPort": 4041}
    await double.state(name, "RUNNING", driverInfo=info)
    seen = await world.until(job.id, lambda job: "spark" in job.usage)
    figures = seen.usage["spark"]
    assert figures["tasks"] == {"total": 10, "active": 4, "completed": 5, "failed": 1}
    assert figures["shuffle"] == {"read_bytes": 7, "write_bytes": 9, "spilled_bytes": 0}
    assert figures["storage"]["memory_bytes"] == 11
    assert figures["storage"]["memory_limit_bytes"] == 200
    assert figures["executors"] == {"active": 1, "total": 2}
    assert figures["cores"] == 4
    assert (await world.until(job.id, lambda job: job.progress == 0.5)).progress == 0.5
    place = f"/services/{service}:4041/proxy/" if service else f"/pods/{name}-driver:4041/proxy/"
    assert double.asked("GET", place)
    # A later job of Spark's brings new tasks; what was shown does not go back.
    double.monitoring = monitored(2)
    await world.until(job.id, lambda job: job.usage["spark"]["tasks"]["completed"] == 2)
    assert (await world.manager.get(job.id)).progress == 0.5


async def test_role_that_may_not_see_figures_and_logs_is_no_failure(
    world: World, double: KubernetesDouble
) -> None:
    double.denied |= {("GET", "pods/log"), ("GET", "pods/proxy"), ("GET", "events")}
    job, name = await world.running()
    await double.state(name, "COMPLETED")
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert any("the log cannot be read" in line for line in await world.said(job.id))


async def test_history_server_has_the_last_word_on_figures(
    world: World, double: KubernetesDouble, serve: Callable[[Any], str]
) -> None:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    told = monitored(10)
    told["/applications/spark-1"] = told.pop("/applications")[0]

    async def answer(request: Any) -> JSONResponse:
        found = told.get("/" + request.path_params["path"])
        return JSONResponse(found, 200 if found is not None else 404)

    await world.manager.stop()
    world.spark["history_url"] = serve(Starlette(routes=[Route("/api/v1/{path:path}", answer)]))
    await world.begin()
    job, name = await world.running()
    await double.state(name, "COMPLETED", sparkApplicationId="spark-1")
    ended = await world.ended(job.id)
    assert ended.usage["spark"]["tasks"]["completed"] == 10


# -- credentials ---------------------------------------------------------------------------------


async def test_token_is_in_the_secret_and_nowhere_else(
    world: World, double: KubernetesDouble
) -> None:
    job, name = await world.running()
    assert double.handed(name)["token"] == "Bearer very-secret-pods-1"
    assert "very-secret" not in json.dumps(double.created)
    stored = await world.manager.get(job.id)
    assert "very-secret" not in stored.model_dump_json() + str(await world.said(job.id))


async def test_token_is_renewed_while_the_job_runs(
    world: World, double: KubernetesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitting, "RENEW_SECONDS", 0.1)
    job, name = await world.running()
    await soon(
        lambda: double.handed(name)["token"],
        "a new token",
        fits=lambda token: token != "Bearer very-secret-pods-1",
    )
    world.tokens.ended = True
    await world.says(job.id, "could not be renewed")
    assert (await world.manager.get(job.id)).status == JobStatus.RUNNING


async def test_the_persons_credentials_are_in_the_secret_and_renewed(
    world: World, double: KubernetesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitting, "RENEW_SECONDS", 0.1)
    await world.manager.stop()
    world.settings["credentials"] = "server"
    await world.begin()
    job, name = await world.running()
    first = double.handed(name)["s3.json"]
    assert json.loads(first)["SecretAccessKey"] == "very-secret"
    assert "credential_process" in double.handed(name)["aws-config"]
    assert "very-secret" not in json.dumps(double.created)
    await soon(lambda: double.handed(name)["s3.json"] != first, "new credentials", pause=0.01)
    assert (await world.manager.get(job.id)).status == JobStatus.RUNNING


async def test_place_and_limits_of_the_cluster_are_known(world: World) -> None:
    state = (await world.manager.backends())[0]
    assert state.online
    assert state.version == "4.3.0 on Kubernetes v1.36.0"
    assert state.limits["pod_memory"] == "32g"
