"""openEO jobs against a back end over real HTTP, by the official client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from openeo_double import Double, Refusal
from openeo_world import GRAPH, KeptTokens, Tokens, World, backend, finish, spec

from cscale_core.backends import OpenEOBackend
from cscale_core.errors import Conflict, InvalidInput
from cscale_core.jobs.engines.openeo.results import items_of_results
from cscale_core.jobs.engines.openeo.sightings import Sighting
from cscale_core.jobs.model import Job, JobStatus, utc_now
from cscale_core.jobs.store import JobStore
from cscale_core.site import Site

pytest.importorskip("openeo", reason="install cscale-hub[lab]")


@pytest.fixture
async def world(
    tmp_path: Path, serve: Callable[[Any], str], make_site: Callable[..., Site]
) -> AsyncIterator[World]:
    double = Double()
    double.url = serve(double.app)
    made = World(tmp_path, make_site(openeo=[backend(double)]), double, Tokens())
    await made.manager.start()
    yield made
    await made.manager.stop()


async def test_job_goes_to_the_back_end_and_its_results_come_back_as_an_item(
    world: World,
) -> None:
    running, remote = await world.running(vo="vo.example.eu", options={"tile": 64})
    assert remote.body["process"]["process_graph"] == GRAPH
    assert remote.body["job_options"] == {"tile": 64, "vo": "vo.example.eu"}
    remote.progress = 40
    await world.until(running.id, lambda job: job.progress == 0.4)
    finish(remote)
    ended = await world.ended(running.id)
    assert ended.status == JobStatus.FINISHED
    assert ended.usage["cpu"]["value"] == 3
    assert ended.costs == 2.5
    (item,) = ended.results
    assert set(item["assets"]) == {"slope"}
    asset = item["assets"]["slope"]
    assert asset["href"] == "s3://vobucket/users/utest/jobs/x/slope.tif"
    assert asset["alternate"]["mount"]["href"] == "/s3/vobucket/users/utest/jobs/x/slope.tif"
    assert asset["file:size"] == 5
    assert item["properties"]["proj:code"] == "EPSG:32630"
    assert item["properties"]["start_datetime"] == "2019-01-01T00:00:00Z"
    assert -6 < item["bbox"][0] < -5.5
    assert item["geometry"]["type"] == "Polygon"
    assert {"rel": "derived_from", "href": "https://elsewhere.example/item"} in item["links"]


async def test_plan_budget_and_log_level_are_members_of_the_request(world: World) -> None:
    options = {"plan": "free", "budget": 5, "log_level": "warning", "driver-memory": "4G"}
    _, remote = await world.running(options=options)
    assert remote.body["job_options"] == {"driver-memory": "4G"}
    assert [remote.body[name] for name in ("plan", "budget", "log_level")] == ["free", 5, "warning"]


async def test_each_request_carries_a_token_of_its_own(world: World) -> None:
    running, remote = await world.running()
    finish(remote)
    await world.ended(running.id)
    bearers = world.double.bearers
    assert all(bearer.startswith("Bearer oidc/egi/u-openeo-") for bearer in bearers)
    assert len(set(bearers)) == len(bearers)


async def test_costs_so_far_are_told_while_a_job_runs(world: World) -> None:
    running, remote = await world.running()
    remote.costs, remote.usage = 1.5, {"cpu": {"value": 1, "unit": "cpu-seconds"}}
    seen = await world.until(running.id, lambda job: job.costs == 1.5)
    assert seen.status == JobStatus.RUNNING
    assert seen.usage == remote.usage
    remote.say("no memory", "error")
    remote.to("error", costs=3)
    ended = await world.ended(running.id)
    assert (ended.status, ended.costs) == (JobStatus.ERROR, 3.0)


@pytest.mark.parametrize("nonsense", ["free", -1, True, [], float("1e400")])
async def test_costs_that_are_no_figure_are_left_out(world: World, nonsense: Any) -> None:
    assert Sighting.of({"status": "running", "costs": nonsense, "usage": "much"}) == Sighting(
        "running"
    )


async def test_server_that_stops_leaves_remote_jobs_alone(world: World) -> None:
    running, remote = await world.running()
    asked = len(world.double.requests)
    await world.manager.stop()
    assert world.double.count("DELETE") == 0
    assert remote.status == "running"
    left = {task.get_name() for task in asyncio.all_tasks()} & {"watch", "openeo logs"}
    assert left == set()
    await asyncio.sleep(0.3)
    assert len(world.double.requests) <= asked + 4  # those under way in threads
    await world.restart()
    assert (await world.manager.get(running.id)).status == JobStatus.RUNNING


async def test_place_for_the_results_is_refused(world: World) -> None:
    with pytest.raises(InvalidInput, match="keeps the results"):
        await world.submit(output="s3://vobucket/users/utest/mine/")


async def test_area_and_period_of_a_job_are_those_its_graph_loads(world: World) -> None:
    extent = {"west": -6, "south": 36, "east": -5, "north": 37}
    arguments = {"id": "S2", "spatial_extent": extent, "temporal_extent": ["2019-01-01", None]}
    graph = {"load": {"process_id": "load_collection", "arguments": arguments, "result": True}}
    checked = await world.engine.check(spec(process={"process_graph": graph}))
    assert checked.area is not None
    assert checked.area["type"] == "Polygon"
    assert checked.period == "2019-01-01T00:00:00Z/.."
    point = {"type": "Point", "coordinates": [1, 2]}
    stated = spec(process={"process_graph": graph}, area=point, period="2020-01-01/2021-01-01")
    checked = await world.engine.check(stated)
    assert (checked.area, checked.period) == (point, "2020-01-01/2021-01-01")


async def test_log_lines_come_once_each_in_order(world: World) -> None:
    running, remote = await world.running()
    for number in range(6):
        remote.say(f"line {number}")
        await asyncio.sleep(0.05)
    remote.say("last", "warning", time="2020-01-01T00:00:00Z")
    finish(remote)
    await world.ended(running.id)
    lines = await world.manager.logs(running.id)
    said = [line.message for line in lines if line.message.startswith(("line", "last"))]
    assert said == [f"line {number}" for number in range(6)] + ["last"]
    assert [line.time.year for line in lines if line.message == "last"] == [2020]


async def test_refusal_of_the_back_end_is_the_jobs_error(world: World) -> None:
    refusal = Refusal(400, "ProcessUnsupported", "Process 'x' is not available.")
    world.double.switches.refuse["create"] = refusal
    ended = await world.ended((await world.submit()).id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert ended.error.code == "invalid_input"
    assert "Process 'x' is not available." in ended.error.message
    assert "use another back end" in ended.error.hint


async def test_failed_job_says_the_last_error_of_its_log(world: World) -> None:
    running, remote = await world.running()
    remote.say("no such band\ntrace", "error")
    remote.to("error")
    ended = await world.ended(running.id)
    assert ended.status == JobStatus.ERROR
    assert ended.message == "The job failed at Back end: no such band"


async def test_cancel_reaches_the_back_end(world: World) -> None:
    running, remote = await world.running()
    await world.manager.cancel(running.id)
    assert (await world.ended(running.id)).status == JobStatus.CANCELED
    assert remote.status == "canceled"


async def test_cancel_that_comes_too_late_leaves_the_results(world: World) -> None:
    running, remote = await world.running()
    finish(remote)
    await world.manager.cancel(running.id)
    assert (await world.ended(running.id)).status == JobStatus.FINISHED


async def test_job_deleted_at_the_back_end_is_lost_and_says_so(world: World) -> None:
    running, remote = await world.running()
    del world.double.jobs[remote.id]
    ended = await world.ended(running.id)
    assert ended.status == JobStatus.LOST
    assert ended.error is not None
    assert "no longer known" in ended.error.message


@pytest.mark.parametrize("trouble", ["down", "bad token", "login ended"])
async def test_trouble_on_the_way_does_not_end_a_running_job(world: World, trouble: str) -> None:
    running, remote = await world.running()
    switches = world.double.switches
    if trouble == "down":
        switches.storm = -1
    elif trouble == "bad token":
        switches.no_login = True
    else:
        world.tokens.ended = True
    seen = await world.until(running.id, lambda job: "no news" in job.message)
    assert seen.status == JobStatus.RUNNING
    switches.storm, switches.no_login, world.tokens.ended = 0, False, False
    finish(remote)
    assert (await world.ended(running.id)).status == JobStatus.FINISHED


async def test_token_that_expires_in_the_middle_is_renewed_once_and_nobody_notices(
    tmp_path: Path, serve: Callable[[Any], str], make_site: Callable[..., Site]
) -> None:
    double = Double()
    double.url = serve(double.app)
    tokens = KeptTokens()
    world = World(tmp_path, make_site(openeo=[backend(double)]), double, tokens)
    await world.manager.start()
    running, remote = await world.running()
    assert tokens.count == 1
    double.switches.oldest_token = 2
    finish(remote)
    ended = await world.ended(running.id)
    await world.manager.stop()
    assert ended.status == JobStatus.FINISHED
    assert tokens.count == 2
    assert not any("no news" in job.message for job in world.changes)


async def test_restarted_server_finds_the_job_by_its_id(world: World) -> None:
    running, remote = await world.running()
    await world.manager.stop()
    finish(remote)
    await world.restart()
    assert (await world.ended(running.id)).status == JobStatus.FINISHED
    assert len(world.double.jobs) == 1


async def test_job_created_just_before_the_server_died_is_not_created_twice(
    world: World,
) -> None:
    running, remote = await world.running()
    await world.manager.stop()
    store = JobStore(world.manager.store.path)
    store.update(running.id, engine_id="", status=JobStatus.CREATED)
    store.close()
    other = world.double.add(body={**remote.body, "description": ""}, status="running")
    await world.restart()
    found = await world.until(running.id, lambda job: job.engine_id)
    assert found.engine_id == remote.id
    assert set(world.double.jobs) == {remote.id, other.id}


async def test_job_that_was_never_created_is_created_after_the_restart(world: World) -> None:
    job, _ = world.manager.store.create(spec(backend="here"))
    world.manager.store.set_state(job.id, {"creating": True})
    await world.restart()
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    assert len(world.double.jobs) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"backend": "nowhere"},
        {"process": {}},
        {"process": {"process_graph": {}}},
        {"process": {"process_graph": {"a": {"arguments": {}}}}},
    ],
)
async def test_job_that_makes_no_sense_is_refused(world: World, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await world.submit(**changes)


def test_results_without_files_give_no_item(make_site: Callable[..., Site]) -> None:
    now = utc_now()
    job = Job(id="j", revision=1, spec=spec(), created=now, updated=now)
    place = OpenEOBackend(id="b", title="B", url="http://127.0.0.1:9")
    assert items_of_results({"assets": {}}, job, place, make_site()) == []


async def test_estimate_is_of_a_job_that_is_never_started(world: World) -> None:
    estimate = await world.engine.estimate(spec())
    assert estimate == {"costs": 12.5, "duration": "PT2H", "size": 1000}
    assert world.double.jobs == {}
    assert world.double.count("POST", "/results") == 0


@pytest.mark.parametrize("how", ["not listed", "refused"])
async def test_back_end_without_estimates_gives_none(world: World, how: str) -> None:
    if how == "not listed":
        world.double.switches.estimates = False
    else:
        world.double.switches.refuse["estimate"] = Refusal(500, "EstimateComplexity")
    assert await world.engine.estimate(spec()) is None
    assert world.double.jobs == {}


async def test_clone_of_a_failed_job_is_a_new_remote_job(world: World) -> None:
    running, remote = await world.running(options={"python-memory": "3G"})
    remote.say("Container exited with exit code: 137", "error")
    remote.to("error")
    failed = await world.ended(running.id)
    assert failed.error is not None
    assert failed.error.details["offer"] == "clone"
    clone = await world.manager.submit(world.engine.clone(failed, suggested=True))
    again = await world.until(clone.id, lambda job: job.status == JobStatus.RUNNING)
    assert again.engine_id != failed.engine_id
    assert world.double.jobs[again.engine_id].body["job_options"] == {"python-memory": "6G"}
    assert remote.starts == 1


async def test_unfinished_job_has_no_fresh_results(world: World) -> None:
    running, _ = await world.running()
    with pytest.raises(Conflict):
        await world.engine.fresh_results(running)
