"""openEO jobs at back ends with the documented defects, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from openeo_double import Double, Refusal
from openeo_world import QUICK, Tokens, World, backend, finish

from cscale_core.jobs.model import JobStatus
from cscale_core.site import Site
from tests.waiting import soon

pytest.importorskip("openeo", reason="install cscale-hub[lab]")


Maker = Callable[..., Awaitable[World]]


@pytest.fixture
async def make_world(
    tmp_path: Path, serve: Callable[[Any], str], make_site: Callable[..., Site]
) -> AsyncIterator[Maker]:
    """Starts a world with the quick terms, some of them changed."""
    made: list[World] = []

    async def make(**terms: Any) -> World:
        double = Double()
        double.url = serve(double.app)
        site = make_site(openeo=[backend(double)])
        world = World(tmp_path, site, double, Tokens(), replace(QUICK, **terms))
        await world.manager.start()
        made.append(world)
        return world

    yield make
    for world in made:
        await world.manager.stop()


@pytest.fixture
async def world(make_world: Maker) -> World:
    return await make_world()


# -- the list of jobs ------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [0, 4])
async def test_many_jobs_are_watched_by_lists_and_not_one_by_one(
    make_world: Maker, page: int
) -> None:
    world = await make_world(details=3600.0)
    world.double.switches.page = page
    jobs = [await world.submit(title=f"job {number}") for number in range(12)]
    for job in jobs:
        await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    world.double.requests.clear()
    await soon(lambda: world.double.count("GET", "/jobs") >= 10, "ten lists")
    described = [path for _, _, path, _ in world.double.requests if path.startswith("/jobs/r")]
    assert [path for path in described if not path.endswith("/logs")] == []
    oldest = await world.manager.get(jobs[0].id)
    finish(world.double.jobs[oldest.engine_id])
    assert (await world.ended(oldest.id)).status == JobStatus.FINISHED
    running = [
        job for job in (await world.manager.changes()).jobs if job.status == JobStatus.RUNNING
    ]
    assert len(running) == 11


async def test_job_that_a_cut_list_does_not_show_is_described(world: World) -> None:
    world.double.switches.cut = 2
    jobs = [(await world.running(title=f"job {number}")) for number in range(5)]
    oldest, remote = jobs[0]
    remote.progress = 25
    await world.until(oldest.id, lambda job: job.progress == 0.25)
    finish(remote)
    assert (await world.ended(oldest.id)).status == JobStatus.FINISHED


async def test_deleted_job_that_the_list_shows_as_finished_is_lost(world: World) -> None:
    first, remote = await world.running(title="first")
    second, _ = await world.running(title="second")
    del world.double.jobs[remote.id]
    world.double.switches.ghosts[remote.id] = "finished"
    assert (await world.ended(first.id)).status == JobStatus.LOST
    assert (await world.manager.get(second.id)).status == JobStatus.RUNNING


async def described_at_the_end(world: World, number: int) -> int:
    """Descriptions of a job that finishes beside one that goes on."""
    running, remote = await world.running(title=f"job {number}")
    # Two are followed, so the list is the cheaper way.
    await soon(lambda: world.double.count("GET", "/jobs") > 1, "the second list")
    lists = world.double.count("GET", "/jobs")
    await soon(lambda: world.double.count("GET", "/jobs") > lists + 1, "two more lists")
    described = world.double.count("GET", f"/jobs/{remote.id}")
    finish(remote)
    if "usage" in world.double.switches.list_off:
        remote.usage, remote.costs = None, None
    ended = await world.ended(running.id)
    assert ended.status == JobStatus.FINISHED
    assert ended.results
    return world.double.count("GET", f"/jobs/{remote.id}") - described


async def test_finished_job_is_described_as_long_as_that_tells_more_than_the_list(
    make_world: Maker,
) -> None:
    world = await make_world(details=3600.0)
    await world.running(title="goes on")
    described = [await described_at_the_end(world, number) for number in range(4)]
    assert 0 not in described
    jobs = [job for job in (await world.manager.changes()).jobs if job.status == JobStatus.FINISHED]
    assert {job.costs for job in jobs} == {2.5}


@pytest.mark.parametrize("how", ["list shows usage", "no usage at all"])
async def test_finished_job_is_not_described_where_the_list_tells_all(
    make_world: Maker, how: str
) -> None:
    world = await make_world(details=3600.0)
    if how == "list shows usage":
        world.double.switches.list_also = ("usage", "costs")
    else:
        world.double.switches.list_off = ("usage",)  # nor does the description, see above
    await world.running(title="goes on")
    described = [await described_at_the_end(world, number) for number in range(4)]
    assert described[2:] == [0, 0]
    assert (described[0] == 0) == (how == "list shows usage")
    if how == "list shows usage":
        jobs = [
            job for job in (await world.manager.changes()).jobs if job.status == JobStatus.FINISHED
        ]
        assert [job.usage["cpu"]["value"] for job in jobs] == [3, 3, 3, 3]


async def test_deleted_job_that_the_list_shows_as_finished_is_lost_also_when_nothing_is_described(
    make_world: Maker,
) -> None:
    world = await make_world(details=3600.0)
    world.double.switches.list_off = ("usage",)
    await world.running(title="goes on")
    for number in range(2):
        await described_at_the_end(world, number)
    ghost, remote = await world.running(title="ghost")
    described = world.double.count("GET", f"/jobs/{remote.id}")
    world.double.switches.ghosts[remote.id] = "finished"
    del world.double.jobs[remote.id]
    assert (await world.ended(ghost.id)).status == JobStatus.LOST
    assert world.double.count("GET", f"/jobs/{remote.id}") == described


async def test_unknown_for_a_moment_is_not_lost(make_world: Maker) -> None:
    world = await make_world(misses=1000)
    running, remote = await world.running()
    del world.double.jobs[remote.id]
    asked = world.double.count("GET", f"/jobs/{remote.id}")
    await soon(
        lambda: world.double.count("GET", f"/jobs/{remote.id}") > asked + 2,
        "three more descriptions",
    )
    world.double.jobs[remote.id] = remote
    finish(remote)
    assert (await world.ended(running.id)).status == JobStatus.FINISHED


async def test_job_is_lost_only_when_it_is_unknown_twice(world: World) -> None:
    running, remote = await world.running()
    del world.double.jobs[remote.id]
    world.double.requests.clear()
    assert (await world.ended(running.id)).status == JobStatus.LOST
    assert world.double.count("GET", f"/jobs/{remote.id}") >= 2


async def test_progress_is_found_where_the_list_lacks_it(world: World) -> None:
    world.double.switches.list_off = ("progress", "updated", "description")
    first, remote = await world.running(title="first")
    await world.running(title="second")
    remote.progress = 70
    await world.until(first.id, lambda job: job.progress == 0.7)


async def test_unknown_progress_stays_unknown(world: World) -> None:
    running, remote = await world.running()
    remote.progress = 0
    remote.say("a line")
    await soon(lambda: world.double.count("GET", "/logs") > 1, "the second look at the log")
    assert (await world.manager.get(running.id)).progress is None


# -- starting --------------------------------------------------------------------------------------


async def test_start_that_is_taken_and_forgotten_is_asked_again_and_then_told(
    world: World,
) -> None:
    world.double.switches.start_ignored = True
    job = await world.submit()
    told = await world.until(job.id, lambda job: "does not start it" in job.message)
    remote = world.double.jobs[told.engine_id]
    assert remote.starts == 1 + QUICK.restarts
    assert len(world.double.jobs) == 1
    world.double.switches.start_ignored = False
    remote.to("running")
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)


async def test_job_waits_here_until_the_back_end_has_a_place(world: World) -> None:
    world.double.switches.places = 1
    first, remote = await world.running(title="first")
    second = await world.submit(title="second")
    waiting = await world.until(second.id, lambda job: "free place" in job.message)
    assert waiting.status == JobStatus.QUEUED
    finish(remote)
    assert (await world.ended(first.id)).status == JobStatus.FINISHED
    await world.until(second.id, lambda job: job.status == JobStatus.RUNNING)
    assert len(world.double.jobs) == 2


async def test_job_that_waits_here_for_a_place_can_be_canceled(world: World) -> None:
    world.double.switches.places = 1
    await world.running(title="first")
    second = await world.submit(title="second")
    await world.until(second.id, lambda job: "free place" in job.message)
    await world.manager.cancel(second.id)
    assert (await world.ended(second.id)).status == JobStatus.CANCELED


async def test_job_deleted_elsewhere_while_it_waits_here_is_lost(world: World) -> None:
    world.double.switches.places = 1
    _, first = await world.running(title="first")
    second = await world.submit(title="second")
    waiting = await world.until(second.id, lambda job: "free place" in job.message)
    del world.double.jobs[waiting.engine_id]
    first.to("canceled")
    assert (await world.ended(second.id)).status == JobStatus.LOST


@pytest.mark.parametrize("act", ["create", "start"])
async def test_what_costs_too_much_is_explained(world: World, act: str) -> None:
    world.double.switches.refuse[act] = Refusal(402, "PaymentRequired", "No credits left.")
    ended = await world.ended((await world.submit()).id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert ended.error.code == "forbidden"
    assert "No credits left." in ended.error.message
    assert "top up your account" in ended.error.hint


async def test_queued_job_says_that_there_is_no_log_yet(world: World) -> None:
    world.double.switches.starts_as = "queued"
    job = await world.submit()
    await world.until(job.id, lambda job: job.status == JobStatus.QUEUED and job.engine_id)
    await world.restart()
    (remote,) = world.double.jobs.values()
    world.double.requests.clear()
    await soon(lambda: world.double.count("GET", remote.id) > 5, "six descriptions")
    said = [line for line in await world.lines(job.id) if "no log before the job runs" in line]
    assert len(said) == 1
    assert world.double.count("GET", "/logs") == 0


# -- the log ---------------------------------------------------------------------------------------


async def test_log_that_cannot_be_read_is_a_warning_and_not_the_reason(world: World) -> None:
    running, remote = await world.running()
    remote.say("one")
    world.double.switches.log_fails = True
    await soon(lambda: world.double.count("GET", "/logs") > 3, "the fourth look at the log")
    remote.say("two")
    world.double.switches.log_fails = False
    remote.to("error")
    ended = await world.ended(running.id)
    assert "Log collection" not in ended.message
    lines = await world.lines(running.id)
    assert [line for line in lines if line in ("one", "two")] == ["one", "two"]
    warnings = await world.lines(running.id, "warning")
    assert [("could not read all" in line) for line in warnings] == [True]


@pytest.mark.parametrize("fails", [True, False])
async def test_reason_of_a_failure_is_never_the_log_that_could_not_be_read(
    world: World, fails: bool
) -> None:
    world.double.switches.log_fails = fails
    running, remote = await world.running()
    if not fails:
        remote.say("band B99 is not there", "error")
    remote.to("error")
    ended = await world.ended(running.id)
    assert ended.message == "The job failed at Back end" + (
        "." if fails else ": band B99 is not there"
    )


@pytest.mark.parametrize(
    "switches",
    [
        {"log_offset_ignored": True},
        {"log_ids": False},
        {"log_ids": False, "log_offset_ignored": True},
        {"log_page": 2, "log_linked": True},
    ],
)
async def test_each_line_of_a_log_comes_once(world: World, switches: dict[str, Any]) -> None:
    for name, value in switches.items():
        setattr(world.double.switches, name, value)
    running, remote = await world.running()
    for number in range(9):
        remote.say(f"line {number}")
        await asyncio.sleep(0.03)
    finish(remote)
    await world.ended(running.id)
    lines = [line for line in await world.lines(running.id) if line.startswith("line")]
    assert lines == [f"line {number}" for number in range(9)]


async def test_log_longer_than_a_page_without_links_is_read_to_its_end(world: World) -> None:
    world.double.switches.log_page = 100
    running, remote = await world.running()
    for number in range(250):
        remote.say(f"line {number}")
    finish(remote)
    await world.ended(running.id)
    assert sum(line.startswith("line") for line in await world.lines(running.id)) == 250


async def test_log_goes_on_where_an_earlier_server_stopped(world: World) -> None:
    running, remote = await world.running()
    remote.say("one")
    asked = world.double.count("GET", "/logs")
    await soon(lambda: world.double.count("GET", "/logs") > asked + 1, "two more looks at the log")
    await world.manager.stop()
    remote.say("two")
    await world.restart()
    finish(remote)
    await world.ended(running.id)
    lines = await world.lines(running.id)
    assert [line for line in lines if line in ("one", "two")] == ["one", "two"]


async def test_log_is_copied_soon_when_somebody_reads_it(make_world: Maker) -> None:
    world = await make_world(logs=3600.0)
    running, remote = await world.running()
    remote.say("a line")
    looks = world.double.count("GET", remote.id)
    await soon(lambda: world.double.count("GET", remote.id) > looks + 3, "four more looks")
    assert world.double.count("GET", "/logs") == 0
    world.engine.attend(running)
    await soon(lambda: world.double.count("GET", "/logs") > 1, "the second look at the log")
    assert "a line" in await world.lines(running.id)


@pytest.mark.parametrize(
    ("line", "option", "value"),
    [
        ("Container exited with exit code: 137 (OOMKilled)", "python-memory", "6G"),
        ("java.lang.OutOfMemoryError: Java heap space", "executor-memory", "4G"),
        ("Spark driver was OOMKilled", "driver-memory", "16G"),
        ("requests: Read timed out", "soft-errors", 0.3),
    ],
)
async def test_failure_is_explained_with_the_option_to_change(
    world: World, line: str, option: str, value: object
) -> None:
    running, remote = await world.running()
    remote.say(line, "error")
    remote.to("error")
    ended = await world.ended(running.id)
    assert ended.error is not None
    assert ended.error.details["job_options"][option] == value
    assert f"{option} = {value}" in ended.error.hint


# -- trouble ---------------------------------------------------------------------------------------


async def test_storm_of_503_costs_few_requests_and_no_job(make_world: Maker) -> None:
    world = await make_world(pace=replace(QUICK.pace, retry=0.2, retry_longest=10.0))
    double = world.double
    jobs = [await world.running(title=f"job {number}") for number in range(5)]
    double.switches.storm = -1
    double.requests.clear()
    await asyncio.sleep(1.5)
    assert len(double.requests) <= 10
    double.switches.storm = 0
    for job, remote in jobs:
        finish(remote)
        assert (await world.ended(job.id)).status == JobStatus.FINISHED
    await world.manager.stop()


async def test_submit_in_a_storm_waits_and_creates_one_job(world: World) -> None:
    world.double.switches.storm = 6
    job = await world.submit()
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    assert len(world.double.jobs) == 1


async def test_submit_while_the_session_is_over_waits_for_the_login(world: World) -> None:
    world.tokens.ended = True
    job = await world.submit()
    await world.until(job.id, lambda job: "not sent yet" in job.message)
    world.tokens.ended = False
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    assert len(world.double.jobs) == 1


async def test_job_that_runs_without_a_sign_of_life_is_told_to_be_perhaps_stuck(
    make_world: Maker,
) -> None:
    world = await make_world(stuck=0.5)
    running, remote = await world.running()
    stuck = await world.until(running.id, lambda job: "perhaps stuck" in job.message)
    assert stuck.status == JobStatus.RUNNING
    remote.progress = 50
    await world.until(running.id, lambda job: job.progress == 0.5 and "stuck" not in job.message)
    warnings = await world.lines(running.id, "warning")
    assert [("nothing of it moved" in line) for line in warnings][:1] == [True]


async def test_silence_is_counted_over_restarts(make_world: Maker) -> None:
    world = await make_world(stuck=3600.0)
    running, _ = await world.running()
    store = world.manager.store
    await soon(lambda: "sign_time" in store.state(running.id), "the note of the last sign")
    await world.manager.stop()
    state = store.state(running.id)
    store.set_state(running.id, {**state, "sign_time": "2026-01-01T00:00:00+00:00"})
    store.close()
    await world.restart()
    await world.until(running.id, lambda job: "perhaps stuck" in job.message)


# -- results ---------------------------------------------------------------------------------------


async def test_expired_links_are_signed_anew_when_asked_for(world: World) -> None:
    running, remote = await world.running()
    remote.to("finished", assets={"a.tif": {"type": "image/tiff"}})
    job = await world.ended(running.id)
    href = job.results[0]["assets"]["a"]["href"]
    asked = world.double.count("GET", "/results")
    assert await world.engine.fresh_results(job) == job.results
    assert world.double.count("GET", "/results") == asked
    world.double.expire_links()
    async with httpx.AsyncClient(trust_env=False) as http:
        refused = await http.get(href)
        assert refused.status_code == 410
        assert refused.json()["code"] == "ResultLinkExpired"
        (item,) = await world.engine.fresh_results(job, refused=True)
        assert (await http.get(item["assets"]["a"]["href"])).status_code == 200


async def test_links_that_say_they_have_ended_are_signed_anew_without_being_tried(
    world: World,
) -> None:
    world.double.switches.link_seconds = 1
    running, remote = await world.running()
    remote.to("finished", assets={"a.tif": {"type": "image/tiff"}})
    job = await world.ended(running.id)
    world.double.switches.link_seconds = 3600
    (item,) = await world.engine.fresh_results(job)
    assert item["assets"]["a"]["href"] != job.results[0]["assets"]["a"]["href"]


async def test_results_that_are_not_ready_at_once_are_asked_for_again(world: World) -> None:
    running, remote = await world.running()
    remote.not_ready = 2
    finish(remote)
    ended = await world.ended(running.id)
    assert ended.status == JobStatus.FINISHED
    assert len(ended.results) == 1


async def test_job_is_finished_also_when_its_results_cannot_be_read(world: World) -> None:
    running, remote = await world.running()
    world.double.switches.refuse["results"] = Refusal(500, "Internal", "storage is down")
    finish(remote)
    ended = await world.ended(running.id)
    assert ended.status == JobStatus.FINISHED
    assert ended.results == []
    assert "ask for them again" in ended.message
    world.double.switches.refuse.clear()
    assert len(await world.engine.fresh_results(ended)) == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        {"extent": {"temporal": {"interval": [["yesterday", "today"]]}}},
        {"extent": {"temporal": {"interval": [5]}}},
        {"assets": ["a.tif"]},
    ],
)
async def test_job_is_finished_also_when_its_results_make_no_sense(
    world: World, nonsense: dict[str, Any]
) -> None:
    running, remote = await world.running()
    finish(remote)
    assert remote.results is not None
    remote.results |= nonsense
    ended = await world.ended(running.id)
    assert ended.status == JobStatus.FINISHED
    assert ended.results == []
    assert any("not understood" in line for line in await world.lines(running.id, "warning"))


async def test_job_at_a_back_end_that_is_offered_no_longer_is_lost_and_not_failed(
    world: World,
) -> None:
    running, _ = await world.running()
    world.site = world.site.model_copy(update={"openeo": ()})
    await world.restart()
    ended = await world.ended(running.id)
    assert ended.status == JobStatus.LOST
