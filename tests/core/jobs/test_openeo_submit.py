"""A job comes to its back end exactly once, wherever its server is killed on the way."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from openeo_double import Double, Refusal
from openeo_world import Tokens, World, backend, finish, spec

from cscale_core.jobs.engine import JobHandle
from cscale_core.jobs.engines.openeo import OpenEOEngine
from cscale_core.jobs.engines.openeo.remote import Remote
from cscale_core.jobs.model import JobStatus
from cscale_core.site import Site
from tests.waiting import soon

pytest.importorskip("openeo", reason="install cscale-hub[lab]")


@pytest.fixture
async def world(
    tmp_path: Path, serve: Callable[[Any], str], make_site: Callable[..., Site]
) -> AsyncIterator[World]:
    double = Double()
    double.url = serve(double.app)
    made = World(tmp_path, make_site(openeo=[backend(double)]), double, Tokens())
    yield made
    await made.manager.stop()


class Killed(BaseException):
    """The server dies here."""


class Killer:
    """Counts the steps of a submit (what is written, what is asked) and dies at one of them.

    :param at: the step, from 0; None: at none.
    :param after: whether the step is still done, and only its answer never known.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None, *, after: bool) -> None:
        self.steps: list[str] = []
        self._at = at
        self._after = after
        self.dead = False
        for owner, name in (
            (JobHandle, "save_state"),
            (JobHandle, "update"),
            (JobHandle, "log"),
            (Remote, "call"),
        ):
            monkeypatch.setattr(owner, name, self._deadly(name, getattr(owner, name)))

    def _deadly(self, name: str, done: Callable[..., Any]) -> Callable[..., Any]:
        async def step(*args: Any, **options: Any) -> Any:
            if self.dead:
                raise Killed
            number = len(self.steps)
            self.steps.append(name)
            if number == self._at and not self._after:
                self.dead = True
                raise Killed
            answer = await done(*args, **options)
            if number == self._at:
                self.dead = True
            if self.dead:
                raise Killed
            return answer

        return step


async def submit_and_die(world: World, killer: Killer) -> None:
    """What the manager does with a new job, up to the moment of death, or until it runs."""
    store = world.manager.store
    store.open()
    job, _ = store.create(spec(backend="here"))
    handle = JobHandle(job, store, {}, lambda job: None)
    engine = OpenEOEngine(world.site, world.tokens, world.terms)
    task = asyncio.create_task(engine.run(handle))
    try:
        await soon(
            lambda: killer.dead or task.done() or handle.job.status == JobStatus.RUNNING,
            "a death or the start",
        )
    finally:
        task.cancel()
        ended = await asyncio.gather(task, return_exceptions=True)
        await engine.close()
        await handle.settle()
        store.close()
    assert isinstance(ended[0], Killed | asyncio.CancelledError), ended


async def steps_of_a_submit(world: World) -> list[str]:
    """The steps of a submit that nobody kills."""
    with pytest.MonkeyPatch.context() as patch:
        killer = Killer(patch, None, after=False)
        await submit_and_die(world, killer)
    return killer.steps


async def test_steps_of_a_submit_are_the_ones_that_are_killed(world: World) -> None:
    steps = await steps_of_a_submit(world)
    assert len(steps) >= 8
    assert steps[:2] == ["save_state", "call"]
    assert world.double.count("POST", "/jobs") == 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(10))
async def test_server_killed_at_any_step_of_a_submit_submits_once(
    world: World, step: int, after: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        await submit_and_die(world, Killer(patch, step, after=after))
    world.manager = world.new_manager()
    await world.manager.start()
    (job,) = (await world.manager.changes()).jobs
    running = await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    (remote,) = world.double.jobs.values()
    assert running.engine_id == remote.id
    finish(remote)
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert world.double.count("POST", "/jobs") == 1


async def test_creation_that_shows_late_in_the_list_is_waited_for(world: World) -> None:
    with pytest.MonkeyPatch.context() as patch:
        await submit_and_die(world, Killer(patch, 1, after=True))
    (remote,) = world.double.jobs.values()
    world.double.switches.list_hides.add(remote.id)
    # Long enough for a machine that has other things to do.
    world.terms = dataclasses.replace(world.terms, settling=6.0)
    world.manager = world.new_manager()
    lists = world.double.count("GET", "/jobs")
    await world.manager.start()
    await soon(lambda: world.double.count("GET", "/jobs") > lists, "another list")
    world.double.switches.list_hides.clear()
    (job,) = (await world.manager.changes()).jobs
    found = await world.until(job.id, lambda job: job.engine_id)
    assert found.engine_id == remote.id
    assert world.double.count("POST", "/jobs") == 1


async def test_creation_is_found_on_a_later_page_and_without_descriptions(world: World) -> None:
    with pytest.MonkeyPatch.context() as patch:
        await submit_and_die(world, Killer(patch, 1, after=True))
    (remote,) = world.double.jobs.values()
    for number in range(6):
        world.double.add(body={"title": f"other {number}", "description": ""}, status="finished")
    world.double.switches.page = 2
    world.double.switches.list_off = ("description",)
    world.manager = world.new_manager()
    await world.manager.start()
    (job,) = (await world.manager.changes()).jobs
    found = await world.until(job.id, lambda job: job.engine_id)
    assert found.engine_id == remote.id


@pytest.mark.parametrize("lost", [1, 2])
async def test_creation_whose_answer_was_lost_is_found_and_not_repeated(
    world: World, lost: int
) -> None:
    world.double.switches.lost_answers = lost
    await world.manager.start()
    job = await world.submit()
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    assert len(world.double.jobs) == 1


async def test_repeated_submit_of_one_key_is_one_job_there(world: World) -> None:
    await world.manager.start()
    jobs = await asyncio.gather(*(world.manager.submit(spec(), "key") for _ in range(5)))
    assert len({job.id for job in jobs}) == 1
    await world.until(jobs[0].id, lambda job: job.status == JobStatus.RUNNING)
    assert world.double.count("POST", "/jobs") == 1


async def test_cancel_while_nobody_knows_whether_it_was_created_stops_it_there(
    world: World,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        await submit_and_die(world, Killer(patch, 1, after=True))
    (remote,) = world.double.jobs.values()
    world.manager = world.new_manager()
    store = world.manager.store
    store.open()
    (job,) = store.changes().jobs
    store.want(job.id, "cancel", "canceling")
    await world.manager.start()
    assert (await world.ended(job.id)).status == JobStatus.CANCELED
    await soon(lambda: remote.status == "canceled", "the cancellation")
    assert remote.starts == 0


async def test_refused_creation_is_not_looked_for_later(world: World) -> None:
    world.double.switches.refuse["create"] = Refusal(400, "ProcessGraphInvalid", "no result node")
    await world.manager.start()
    job = await world.submit()
    assert (await world.ended(job.id)).status == JobStatus.ERROR
    assert world.double.count("GET", "/jobs") == 0
