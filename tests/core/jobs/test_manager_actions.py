"""What can be done with jobs beside submitting: rest, clone, publish, logs, results, the file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cscale_core.errors import Conflict, CScaleError, DamagedData, InvalidInput, NotFound
from cscale_core.jobs import running, sharing
from cscale_core.jobs.engine import Engine, JobHandle, Outcome
from cscale_core.jobs.engines.slurm.engine import SlurmEngine
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import (
    BackendState,
    EngineName,
    Job,
    JobError,
    JobSpec,
    JobStatus,
    StoreState,
    utc_now,
)
from cscale_core.jobs.store import JobStore
from cscale_core.jobs.store import file as file_module
from cscale_core.site import Site
from tests.waiting import soon

SITE = Site.model_validate(
    {
        "user": "u1",
        "s3": {"endpoint": "http://127.0.0.1:1"},
        "catalogue": {"url": "http://127.0.0.1:2"},
        "grants": [
            {"bucket": "b", "access": "rw", "vo": "vo.a", "purpose": "products"},
            {"bucket": "b", "access": "rw", "vo": "vo.b", "purpose": "home"},
        ],
        "slurm": [
            {"id": "hpc", "title": "HPC", "kind": "ssh", "host": "login", "folder": "/work/{user}"}
        ],
    }
)
SPEC = JobSpec(engine="spark", title="t", process={"n": 1}, options={"memory": "1g", "cores": 2})
LONG = 30.0

Script = Callable[[JobHandle], Awaitable[Outcome]]


async def finish(handle: JobHandle) -> Outcome:
    await handle.update(status=JobStatus.RUNNING)
    return Outcome(JobStatus.FINISHED, "done", [{"id": "r"}])


class Scripted(Engine):
    """Runs what the test gives; cannot rest."""

    name: ClassVar[EngineName] = "staging"

    def __init__(self, script: Script = finish) -> None:
        self.script = script
        self.runs: list[str] = []
        self.attended: list[str] = []
        self.fresh: list[bool] = []

    async def check(self, spec: JobSpec) -> JobSpec:
        if spec.process.get("wrong"):
            raise InvalidInput("wrong")
        return spec

    async def run(self, handle: JobHandle) -> Outcome:
        self.runs.append(handle.job.id)
        return await self.script(handle)

    def attend(self, job: Job) -> None:
        self.attended.append(job.id)

    async def fresh_results(self, job: Job, *, refused: bool = False) -> list[dict[str, Any]]:
        self.fresh.append(refused)
        return [{**item, "signed": True} for item in job.results]

    async def estimate(self, spec: JobSpec) -> dict[str, Any] | None:
        await self.check(spec)
        return {"costs": 5.0, "vo": spec.vo}

    async def backends(self) -> list[BackendState]:
        return [BackendState(engine=self.name, id="x", title="X", online=True, checked=utc_now())]


class Resting(Scripted):
    """Runs what the test gives; can rest."""

    name: ClassVar[EngineName] = "spark"
    pausable: ClassVar[bool] = True


class World:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[Job] = []
        self.deleted: list[tuple[str, int]] = []
        self.staging = Scripted()
        self.spark = Resting()
        self.manager = self.new_manager()

    def new_manager(self) -> JobManager:
        engines: dict[EngineName, Engine] = {
            "staging": self.staging,
            "spark": self.spark,
            "slurm": SlurmEngine(SITE, None),  # type: ignore[arg-type]  # no tokens are asked for
        }
        return JobManager(
            SITE,
            JobStore(self.path),
            engines,
            self.told.append,
            on_delete=lambda *what: self.deleted.append(what),
        )

    async def until(self, job: Job | str, status: JobStatus) -> Job:
        job_id = job if isinstance(job, str) else job.id
        return await soon(
            lambda: self.manager.get(job_id),
            f"{job_id} as {status}",
            LONG,
            fits=lambda now: now.status == status,
            pause=0.01,
        )

    async def ended(self, spec: JobSpec = SPEC) -> Job:
        return await self.until(await self.manager.submit(spec), JobStatus.FINISHED)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(sharing, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(file_module, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(file_module, "BUSY_SECONDS", 0.2)
    monkeypatch.setattr(running, "AGAIN_SECONDS", (0.05, 0.2))
    made = World(tmp_path / "data" / "jobs.sqlite")
    await made.manager.start()
    yield made
    await made.manager.stop()


async def until_told(handle: JobHandle) -> Outcome:
    """Ends or rests as the user wants."""
    await handle.update(status=JobStatus.RUNNING)
    while True:
        if handle.pause_requested.is_set():
            return Outcome.paused()
        if await handle.rest(0.01):
            return Outcome.canceled()


# -- rest ----------------------------------------------------------------------------------------


async def test_paused_job_rests_over_a_restart_until_it_is_resumed(world: World) -> None:
    world.spark.script = until_told
    job = await world.until(await world.manager.submit(SPEC), JobStatus.RUNNING)
    assert (await world.manager.pause(job.id)).wanted == "pause"
    resting = await world.until(job, JobStatus.PAUSED)
    assert (resting.wanted, resting.ended) == ("", None)
    assert (await world.manager.pause(job.id)).status == JobStatus.PAUSED
    await world.manager.stop()
    world.manager = world.new_manager()
    await world.manager.start()
    await asyncio.sleep(0.2)
    assert world.spark.runs == [job.id]
    assert (await world.manager.resume(job.id)).status == JobStatus.QUEUED
    await world.until(job, JobStatus.RUNNING)
    await world.manager.cancel(job.id)
    ended = await world.until(job, JobStatus.CANCELED)
    assert world.spark.runs == [job.id] * 2
    assert [phase.status for phase in ended.phases] == [
        "created", "running", "paused", "queued", "running", "canceled",
    ]  # fmt: skip


async def test_resting_job_is_canceled_by_its_engine(world: World) -> None:
    world.spark.script = until_told
    job = await world.manager.submit(SPEC)
    await world.manager.pause(job.id)
    await world.until(job, JobStatus.PAUSED)
    await world.manager.cancel(job.id)
    await world.until(job, JobStatus.CANCELED)


async def test_job_that_is_resumed_before_it_rests_goes_on(world: World) -> None:
    noticed, go = asyncio.Event(), asyncio.Event()

    async def slow_to_rest(handle: JobHandle) -> Outcome:
        if len(world.spark.runs) > 1:
            return await finish(handle)
        await handle.pause_requested.wait()
        noticed.set()
        await go.wait()
        return Outcome.paused()

    world.spark.script = slow_to_rest
    job = await world.manager.submit(SPEC)
    await world.manager.pause(job.id)
    await noticed.wait()
    await world.manager.resume(job.id)
    go.set()
    ended = await world.until(job, JobStatus.FINISHED)
    assert JobStatus.PAUSED not in [phase.status for phase in ended.phases]


async def test_what_cannot_rest_or_go_on_says_so(world: World) -> None:
    world.staging.script = until_told
    fixed = await world.manager.submit(JobSpec(engine="staging", process={}))
    with pytest.raises(Conflict, match="cannot rest"):
        await world.manager.pause(fixed.id)
    with pytest.raises(Conflict, match="paused"):
        await world.manager.resume(fixed.id)
    done = await world.ended()
    for call in (world.manager.pause, world.manager.resume, world.manager.cancel):
        with pytest.raises(Conflict):
            await call(done.id)
        with pytest.raises(NotFound):
            await call("j-none")


async def test_actions_are_what_is_accepted(world: World) -> None:
    actions = world.manager.actions
    world.spark.script = until_told
    job = await world.until(await world.manager.submit(SPEC), JobStatus.RUNNING)
    assert actions(job) == ["cancel", "pause", "clone"]
    assert actions(await world.manager.pause(job.id)) == ["cancel", "resume", "clone"]
    assert actions(await world.until(job, JobStatus.PAUSED)) == ["cancel", "resume", "clone"]
    assert actions(await world.manager.cancel(job.id)) == ["clone"]
    assert actions(await world.until(job, JobStatus.CANCELED)) == ["clone", "delete"]
    world.spark.script = finish
    assert actions(await world.ended()) == ["clone", "publish", "delete"]


# -- clone and publish ---------------------------------------------------------------------------


async def test_clone_repeats_a_job_with_its_frozen_inputs(world: World) -> None:
    inputs = [{"id": "i", "assets": {"B04": {"href": "s3://b/x", "checksum": "1220ab"}}}]
    job = await world.ended(SPEC.model_copy(update={"inputs": inputs}))
    clone = await world.manager.clone(job.id)
    assert clone.id != job.id
    assert (clone.spec, clone.cloned_from) == (job.spec, job.id)
    changed = await world.manager.clone(
        job.id, changes={"options": {"memory": "4g", "cores": None}, "title": "again", "vo": "vo.c"}
    )
    assert changed.spec.options == {"memory": "4g"}
    assert (changed.spec.title, changed.spec.vo) == ("again", "vo.c")
    assert changed.spec.inputs == inputs


async def test_clone_takes_the_options_that_the_failure_suggested(world: World) -> None:
    async def fail(handle: JobHandle) -> Outcome:
        error = JobError(code="x", message="m", details={"job_options": {"memory": "8g"}})
        return Outcome(JobStatus.ERROR, "out of memory", error=error)

    world.spark.script = fail
    job = await world.until(await world.manager.submit(SPEC), JobStatus.ERROR)
    world.spark.script = finish
    clone = await world.manager.clone(job.id, suggested=True, changes={"options": {"cores": 1}})
    assert clone.spec.options == {"memory": "8g", "cores": 1}


async def test_clone_with_a_key_is_one_job_even_when_its_original_is_gone(world: World) -> None:
    job = await world.ended()
    one = await world.manager.clone(job.id, idempotency_key="k")
    assert (await world.manager.clone(job.id, idempotency_key="k")).id == one.id
    with pytest.raises(Conflict, match="key"):
        await world.manager.clone(job.id, idempotency_key="k", changes={"title": "other"})
    await world.manager.delete(job.id)
    assert (await world.manager.clone(job.id, idempotency_key="k")).id == one.id


async def test_clone_that_cannot_be_is_refused(world: World) -> None:
    job = await world.ended()
    with pytest.raises(InvalidInput, match="engine"):
        await world.manager.clone(job.id, changes={"engine": "openeo"})
    with pytest.raises(InvalidInput, match="title"):
        await world.manager.clone(job.id, changes={"title": 5})
    with pytest.raises(InvalidInput, match="options"):
        await world.manager.clone(job.id, changes={"options": 5})
    with pytest.raises(InvalidInput, match="wrong"):
        await world.manager.clone(job.id, changes={"process": {"wrong": True}})
    with pytest.raises(NotFound):
        await world.manager.clone("j-none")


async def test_failed_publication_is_followed_by_a_new_one(world: World) -> None:
    async def fail(handle: JobHandle) -> Outcome:
        raise CScaleError("the catalogue is down")

    job = await world.ended()
    world.staging.script = fail
    first = await world.manager.publish(job.id)
    await world.until(first, JobStatus.ERROR)
    world.staging.script = until_told
    second = await world.manager.publish(job.id)
    assert second.id != first.id
    assert second.spec.vo == job.spec.vo
    both = await asyncio.gather(*(world.manager.publish(job.id) for _ in range(5)))
    assert {one.id for one in both} == {second.id}


async def test_staging_that_was_registered_is_not_published_again(world: World) -> None:
    process = {"items": [], "register": True}
    staged = await world.ended(JobSpec(engine="staging", process=process))
    with pytest.raises(Conflict, match="already"):
        await world.manager.publish(staged.id)
    assert "publish" not in world.manager.actions(staged)
    private = await world.ended(JobSpec(engine="staging", process={"items": []}))
    assert "publish" in world.manager.actions(private)


async def test_same_key_gives_the_same_job_while_its_engine_would_refuse_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await world.manager.submit(SPEC, "key")

    async def down(spec: JobSpec) -> JobSpec:
        raise CScaleError("the back end is down")

    monkeypatch.setattr(world.spark, "check", down)
    assert (await world.manager.submit(SPEC, "key")).id == job.id
    with pytest.raises(Conflict, match="key"):
        await world.manager.submit(SPEC.model_copy(update={"title": "other"}), "key")


async def test_vo_is_named_where_the_place_of_the_results_tells(world: World) -> None:
    assert (await world.manager.submit(SPEC)).spec.vo == "vo.b"
    assert (await world.manager.submit(JobSpec(engine="staging", process={}))).spec.vo == "vo.a"
    named = await world.manager.submit(SPEC.model_copy(update={"vo": "vo.c"}))
    assert (named.spec.vo, named.owner) == ("vo.c", "u1")


# -- logs and results ----------------------------------------------------------------------------


async def test_waiting_for_a_log_line_ends_with_it(world: World) -> None:
    go = asyncio.Event()

    async def talk(handle: JobHandle) -> Outcome:
        await handle.log("first")
        await go.wait()
        await handle.log("noise", "debug")
        await handle.log("second", "warning")
        return await until_told(handle)

    world.spark.script = talk
    job = await world.manager.submit(SPEC)
    (first,) = await world.manager.logs(job.id, wait=LONG)
    began = time.monotonic()
    waiting = asyncio.create_task(
        world.manager.logs(job.id, after=first.id, level="info", wait=LONG)
    )
    await asyncio.sleep(0.05)
    go.set()
    (second,) = await waiting
    assert (second.message, second.level) == ("second", "warning")
    assert time.monotonic() - began < LONG / 2
    assert job.id in world.spark.attended
    waiting = asyncio.create_task(world.manager.logs(job.id, after=99, wait=LONG))
    await asyncio.sleep(0.05)
    await world.manager.cancel(job.id)
    assert await waiting == []
    assert time.monotonic() - began < LONG / 2
    assert await world.manager.logs(job.id, after=99, wait=0.1) == []
    with pytest.raises(NotFound):
        await world.manager.logs("j-none", wait=LONG)


async def test_results_are_fresh_and_only_of_jobs_that_ended(world: World) -> None:
    world.spark.script = until_told
    job = await world.manager.submit(SPEC)
    with pytest.raises(Conflict, match="no results yet"):
        await world.manager.results(job.id)
    await world.manager.cancel(job.id)
    await world.until(job, JobStatus.CANCELED)
    assert await world.manager.results(job.id) == []
    world.spark.script = finish
    done = await world.ended()
    assert await world.manager.results(done.id, refused=True) == [{"id": "r", "signed": True}]
    assert world.spark.fresh == [True]


async def test_estimate_script_and_backends_are_the_engines(world: World) -> None:
    assert await world.manager.estimate(SPEC) == {"costs": 5.0, "vo": "vo.b"}
    with pytest.raises(InvalidInput, match="wrong"):
        await world.manager.estimate(SPEC.model_copy(update={"process": {"wrong": True}}))
    command = JobSpec(engine="slurm", process={"command": ["hostname", "-f"]})
    assert (await world.manager.script(command)).startswith("#!")
    with pytest.raises(InvalidInput, match="batch script"):
        await world.manager.script(SPEC)
    with pytest.raises(InvalidInput, match="no engine openeo"):
        await world.manager.estimate(JobSpec(engine="openeo", process={}))
    assert {state.engine for state in await world.manager.backends()} >= {"staging", "spark"}


async def test_deletion_is_told_and_kept(world: World) -> None:
    job = await world.ended()
    seen = (await world.manager.changes()).revision
    await world.manager.delete(job.id)
    assert world.deleted == [(job.id, seen + 1)]
    assert (await world.manager.changes(seen)).deleted == [job.id]
    await asyncio.sleep(0.2)
    assert world.deleted == [(job.id, seen + 1)]


# -- the file ------------------------------------------------------------------------------------


@contextlib.contextmanager
def no_room(world: World) -> Any:
    """What is written finds no room."""
    connection = world.manager.store._connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    usual = connection.execute("PRAGMA max_page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    yield
    connection.execute(f"PRAGMA max_page_count = {usual}")


async def test_end_that_could_not_be_written_is_written_when_there_is_room(world: World) -> None:
    go = asyncio.Event()

    async def long_results(handle: JobHandle) -> Outcome:
        await handle.update(status=JobStatus.RUNNING)
        await go.wait()
        return Outcome(JobStatus.FINISHED, "done", [{"id": "r" * 200_000}])

    world.spark.script = long_results
    job = await world.until(await world.manager.submit(SPEC), JobStatus.RUNNING)
    with no_room(world):
        go.set()
        # What is small is still written now and then, which ends the problem for a moment.
        seen: list[StoreState] = []
        async with asyncio.timeout(LONG):
            while not seen or seen[-1].writable:
                seen.append(await world.manager.store_state())
        assert seen[-1].problem is not None
        assert seen[-1].problem.code == "storage_full"
        assert (await world.manager.get(job.id)).status == JobStatus.RUNNING
    await world.until(job, JobStatus.FINISHED)
    assert world.spark.runs == [job.id]
    assert (await world.manager.store_state()).problem is None


async def test_job_whose_note_could_not_be_written_goes_on_when_there_is_room(
    world: World,
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def noting(handle: JobHandle) -> Outcome:
        begun.set()
        await go.wait()
        handle.state["long"] = "x" * 200_000
        try:
            await handle.save_state()
        except CScaleError as error:
            raise InvalidInput("in the words of the engine") from error
        return await finish(handle)

    world.spark.script = noting
    job = await world.manager.submit(SPEC)
    await begun.wait()
    with no_room(world):
        go.set()
        await soon(lambda: world.manager.problem, "the problem", LONG)
        await asyncio.sleep(0.2)
        assert not (await world.manager.get(job.id)).status.ended
    await world.until(job, JobStatus.FINISHED)
    assert len(world.spark.runs) == 2
    lines = await world.manager.logs(job.id)
    assert any("could not be written" in line.message for line in lines)


async def test_list_that_is_locked_at_the_start_is_taken_up_when_it_is_free(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.spark.script = until_told
    job = await world.until(await world.manager.submit(SPEC), JobStatus.RUNNING)
    await world.manager.stop()
    other = sqlite3.connect(world.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    world.manager = world.new_manager()
    await world.manager.start()
    assert world.manager.problem is not None
    assert world.manager.problem.retryable
    with pytest.raises(Conflict, match="in use"):
        await world.manager.submit(SPEC)
    caplog.set_level(logging.INFO)
    other.execute("ROLLBACK")
    await soon(lambda: len(world.spark.runs) == 2, "the second run", LONG)
    assert world.manager.problem is None
    await world.manager.cancel(job.id)
    await world.until(job, JobStatus.CANCELED)


async def test_damaged_list_is_shown_and_recovered_and_its_jobs_go_on(world: World) -> None:
    world.spark.script = until_told
    job = await world.until(await world.manager.submit(SPEC), JobStatus.RUNNING)
    with pytest.raises(Conflict, match="not damaged"):
        await world.manager.recover()
    await world.manager.stop()
    store = JobStore(world.path)
    store.open()  # makes the backup
    store.close()
    world.path.write_bytes(b"not a database, surely" * 1000)
    world.manager = world.new_manager()
    await world.manager.start()
    state = await world.manager.store_state()
    assert not state.writable
    assert state.problem is not None
    assert state.problem.code == "damaged_data"
    assert len(state.backups) == 1
    assert [shown.id for shown in (await world.manager.changes()).jobs] == [job.id]
    with pytest.raises(DamagedData):
        await world.manager.cancel(job.id)
    assert world.spark.runs == [job.id]
    assert (await world.manager.recover()).writable
    await soon(lambda: len(world.spark.runs) == 2, "the second run", LONG)
    await world.manager.cancel(job.id)
    await world.until(job, JobStatus.CANCELED)


async def test_list_damaged_while_a_job_runs_is_recovered_with_its_end(world: World) -> None:
    go = asyncio.Event()

    async def ends(handle: JobHandle) -> Outcome:
        await handle.update(status=JobStatus.RUNNING)
        await go.wait()
        return Outcome(JobStatus.FINISHED, "done")

    world.spark.script = ends
    job = await world.until(await world.manager.submit(SPEC), JobStatus.RUNNING)
    connection = world.manager.store._connection
    assert connection is not None
    data = bytearray(world.path.read_bytes())
    data[4096:] = b"\x07" * (len(data) - 4096)
    world.path.write_bytes(data)
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA shrink_memory")
    go.set()
    await soon(lambda: isinstance(world.manager.problem, DamagedData), "the damage", LONG)
    assert (await world.manager.get(job.id)).status == JobStatus.RUNNING
    assert (await world.manager.recover()).writable
    await world.until(job, JobStatus.FINISHED)


async def test_engine_that_writes_without_the_lease_is_cancelled_not_failed(world: World) -> None:
    ends: list[str] = []

    async def busy(handle: JobHandle) -> Outcome:
        try:
            while True:
                await handle.log("x")
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        except CScaleError:
            ends.append("failed")
            raise

    world.spark.script = busy
    job = await world.manager.submit(SPEC)
    assert await world.manager.logs(job.id, wait=LONG)
    other = JobStore(world.path)
    assert other.take_lease("another server", '{"pid": 1}', other.lease())
    await soon(lambda: ends and not world.manager.runs_jobs, "the end of the engine", LONG)
    assert ends == ["cancelled"]
    assert not (await world.manager.get(job.id)).status.ended
