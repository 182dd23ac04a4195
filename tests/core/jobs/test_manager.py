"""The manager with an engine of a few lines: life of a job, cancel, restart, real kills."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cscale_core.errors import Conflict, InvalidInput, NotFound, UpstreamError
from cscale_core.jobs.engine import Engine, JobHandle, Outcome
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import Job, JobSpec, JobStatus
from cscale_core.jobs.store import JobStore
from cscale_core.site import Catalogue, S3Site, Site
from tests.waiting import soon

SITE = Site(
    user="u1",
    s3=S3Site(endpoint="http://127.0.0.1:1"),
    catalogue=Catalogue(url="http://127.0.0.1:2"),
)
SPEC = JobSpec(engine="staging", title="t", process={})


class ScriptedEngine(Engine):
    """Runs whatever the test gives it."""

    name = "staging"
    pausable = True

    def __init__(self, script: Callable[[JobHandle], Awaitable[Outcome]]) -> None:
        self.script = script
        self.forgotten: list[str] = []

    async def check(self, spec: JobSpec) -> JobSpec:
        if spec.title == "wrong":
            raise InvalidInput("wrong")
        return spec

    async def run(self, handle: JobHandle) -> Outcome:
        return await self.script(handle)

    async def forget(self, job: Job) -> None:
        self.forgotten.append(job.id)


async def finish(handle: JobHandle) -> Outcome:
    await handle.update(status=JobStatus.RUNNING)
    await handle.log("working")
    return Outcome(JobStatus.FINISHED, "done", [{"id": "r"}], {"seconds": 1})


async def until_canceled(handle: JobHandle) -> Outcome:
    await handle.update(status=JobStatus.RUNNING)
    await handle.cancel_requested.wait()
    return Outcome.canceled()


class World:
    """A manager and what it told."""

    def __init__(self, path: Path, script: Callable[[JobHandle], Awaitable[Outcome]]) -> None:
        self.changes: list[Job] = []
        self.engine = ScriptedEngine(script)
        self.manager = JobManager(
            SITE,
            JobStore(path / "jobs.sqlite"),
            {"staging": self.engine},
            self.changes.append,
        )

    @property
    def tasks(self) -> dict[str, Any]:
        runs = self.manager._list.runs
        return runs._tasks if runs is not None else {}

    async def ended(self, job_id: str) -> Job:
        return await soon(
            lambda: self.manager.get(job_id),
            f"the end of {job_id}",
            fits=lambda job: job.status.ended and job_id not in self.tasks,
            pause=0.01,
        )

    async def reaches(self, job_id: str, status: JobStatus) -> None:
        await soon(
            lambda: self.manager.get(job_id),
            f"{job_id} as {status}",
            fits=lambda job: job.status == status,
            pause=0.01,
        )


async def test_job_runs_to_its_end_and_every_revision_is_told_once(tmp_path: Path) -> None:
    world = World(tmp_path, finish)
    await world.manager.start()
    job = await world.manager.submit(SPEC)
    assert job.status == JobStatus.CREATED
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED
    assert ended.results == [{"id": "r"}]
    assert ended.usage == {"seconds": 1}
    assert ended.progress == 1.0
    assert [change.revision for change in world.changes] == [1, 2, 3]
    assert [line.message for line in await world.manager.logs(job.id)] == ["working", "done"]
    await world.manager.stop()


async def test_job_is_written_before_its_engine_starts(tmp_path: Path) -> None:
    seen: list[str] = []

    async def look(handle: JobHandle) -> Outcome:
        other = JobStore(tmp_path / "jobs.sqlite")
        seen.append(other.get(handle.job.id).status)
        return Outcome(JobStatus.FINISHED)

    world = World(tmp_path, look)
    await world.manager.start()
    await world.ended((await world.manager.submit(SPEC)).id)
    assert seen == ["created"]


async def test_wrong_spec_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, finish)
    await world.manager.start()
    with pytest.raises(InvalidInput):
        await world.manager.submit(SPEC.model_copy(update={"title": "wrong"}))
    with pytest.raises(InvalidInput, match="engine"):
        await world.manager.submit(JobSpec(engine="spark", process={}))
    assert (await world.manager.changes()).jobs == []


async def test_same_key_submits_once(tmp_path: Path) -> None:
    runs: list[str] = []

    async def count(handle: JobHandle) -> Outcome:
        runs.append(handle.job.id)
        return Outcome(JobStatus.FINISHED)

    world = World(tmp_path, count)
    await world.manager.start()
    jobs = await asyncio.gather(*(world.manager.submit(SPEC, "key") for _ in range(5)))
    assert len({job.id for job in jobs}) == 1
    await world.ended(jobs[0].id)
    assert len(runs) == 1


async def test_errors_of_the_engine_are_the_jobs(tmp_path: Path) -> None:
    async def fail(handle: JobHandle) -> Outcome:
        raise UpstreamError("site B is down", hint="later", retryable=True)

    world = World(tmp_path, fail)
    await world.manager.start()
    ended = await world.ended((await world.manager.submit(SPEC)).id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert ended.error.model_dump(exclude={"details"}) == {
        "code": "upstream_error",
        "message": "site B is down",
        "hint": "later",
        "retryable": True,
    }
    assert (await world.manager.logs(ended.id))[-1].level == "error"


async def test_mistake_in_an_engine_ends_the_job_not_the_manager(tmp_path: Path) -> None:
    async def crash(handle: JobHandle) -> Outcome:
        raise ZeroDivisionError("oops")

    world = World(tmp_path, crash)
    await world.manager.start()
    ended = await world.ended((await world.manager.submit(SPEC)).id)
    assert ended.error is not None
    assert ended.error.code == "internal"
    world.engine.script = finish
    assert (await world.ended((await world.manager.submit(SPEC)).id)).status == JobStatus.FINISHED


@pytest.mark.parametrize("results", [[{"id": object()}], "no list"])
async def test_end_that_cannot_be_written_down_is_an_error(tmp_path: Path, results: Any) -> None:
    async def odd(handle: JobHandle) -> Outcome:
        return Outcome(JobStatus.FINISHED, "done", results)

    world = World(tmp_path, odd)
    await world.manager.start()
    ended = await world.ended((await world.manager.submit(SPEC)).id)
    assert ended.error is not None
    assert "mistake of ours" in ended.error.message
    await world.manager.stop()


async def test_mistake_of_a_listener_does_not_end_the_job(tmp_path: Path) -> None:
    world = World(tmp_path, finish)

    def listener(job: Job) -> None:
        raise RuntimeError("listener")

    world.manager._list._on_change = listener
    await world.manager.start()
    assert (await world.ended((await world.manager.submit(SPEC)).id)).status == JobStatus.FINISHED


async def test_cancel_ends_a_running_job_and_an_ended_one_refuses(tmp_path: Path) -> None:
    world = World(tmp_path, until_canceled)
    await world.manager.start()
    job = await world.manager.submit(SPEC)
    await world.reaches(job.id, JobStatus.RUNNING)
    assert (await world.manager.cancel(job.id)).message == "canceling"
    assert (await world.ended(job.id)).status == JobStatus.CANCELED
    with pytest.raises(Conflict):
        await world.manager.cancel(job.id)
    with pytest.raises(NotFound):
        await world.manager.cancel("j-none")


async def test_delete_takes_ended_jobs_only_and_the_engine_forgets_them(tmp_path: Path) -> None:
    world = World(tmp_path, until_canceled)
    await world.manager.start()
    job = await world.manager.submit(SPEC)
    with pytest.raises(Conflict):
        await world.manager.delete(job.id)
    await world.manager.cancel(job.id)
    await world.ended(job.id)
    await world.manager.delete(job.id)
    assert world.engine.forgotten == [job.id]
    assert (await world.manager.changes()).jobs == []


async def test_many_reports_become_few_revisions_and_none_after_the_end(tmp_path: Path) -> None:
    async def busy(handle: JobHandle) -> Outcome:
        for step in range(1000):
            handle.report(step / 1000, f"step {step}")
            await asyncio.sleep(0.001)
        return Outcome(JobStatus.FINISHED, "done")

    world = World(tmp_path, busy)
    await world.manager.start()
    ended = await world.ended((await world.manager.submit(SPEC)).id)
    assert ended.message == "done"
    count = len(world.changes)
    assert 3 <= count <= 12
    await asyncio.sleep(0.6)
    assert len(world.changes) == count


async def test_stopped_server_leaves_the_job_open_and_the_next_one_takes_it_up(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, until_canceled)
    await world.manager.start()
    job = await world.manager.submit(SPEC)
    await world.reaches(job.id, JobStatus.RUNNING)
    await world.manager.stop()
    world = World(tmp_path, finish)
    await world.manager.start()
    assert (await world.ended(job.id)).status == JobStatus.FINISHED


async def test_cancel_that_was_asked_for_holds_over_a_restart(tmp_path: Path) -> None:
    async def deaf(handle: JobHandle) -> Outcome:
        await asyncio.sleep(3600)
        raise AssertionError

    world = World(tmp_path, deaf)
    await world.manager.start()
    job = await world.manager.submit(SPEC)
    await world.manager.cancel(job.id)
    await world.manager.stop()
    world = World(tmp_path, until_canceled)
    await world.manager.start()
    assert (await world.ended(job.id)).status == JobStatus.CANCELED


async def test_engines_notes_survive_a_restart(tmp_path: Path) -> None:
    async def note(handle: JobHandle) -> Outcome:
        handle.state["cursor"] = 5
        await handle.save_state()
        await asyncio.sleep(3600)
        raise AssertionError

    world = World(tmp_path, note)
    await world.manager.start()
    job = await world.manager.submit(SPEC)
    await soon(lambda: world.manager.store.state(job.id), "the note")
    await world.manager.stop()
    seen: list[dict[str, Any]] = []

    async def read(handle: JobHandle) -> Outcome:
        seen.append(handle.state)
        return Outcome(JobStatus.FINISHED)

    world = World(tmp_path, read)
    await world.manager.start()
    await world.ended(job.id)
    assert seen == [{"cursor": 5}]


async def test_only_a_finished_job_with_results_is_published(tmp_path: Path) -> None:
    world = World(tmp_path, until_canceled)
    await world.manager.start()
    running = await world.manager.submit(SPEC)
    with pytest.raises(Conflict, match=r"created|running"):
        await world.manager.publish(running.id)
    world.engine.script = finish
    done = await world.ended((await world.manager.submit(SPEC)).id)
    sharing = await world.manager.publish(done.id)
    assert sharing.spec.process == {"job": done.id, "assets": None, "register": True}
    assert (await world.manager.publish(done.id)).id == sharing.id

    async def nothing(handle: JobHandle) -> Outcome:
        return Outcome(JobStatus.FINISHED)

    world.engine.script = nothing
    empty = await world.ended((await world.manager.submit(SPEC)).id)
    with pytest.raises(Conflict, match="nothing"):
        await world.manager.publish(empty.id)
    await world.manager.stop()


SERVER = """
import asyncio, os, sys
from pathlib import Path
from cscale_core.jobs.engine import Engine, JobHandle, Outcome
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import JobSpec, JobStatus
from cscale_core.jobs.store import JobStore
from cscale_core.site import Catalogue, S3Site, Site

class Scripted(Engine):
    name = "staging"
    async def check(self, spec): return spec
    async def run(self, handle):
        print("run", handle.job.id, flush=True)
        if {die!r} == "in engine":
            os.kill(os.getpid(), 9)
        await asyncio.sleep(3600)

async def main():
    site = Site(user="u", s3=S3Site(endpoint="http://127.0.0.1:1"),
                catalogue=Catalogue(url="http://127.0.0.1:2"))
    told = lambda job: print("told", job.id, flush=True)
    if {die!r} == "before engine":
        told = lambda job: os.kill(os.getpid(), 9)
    manager = JobManager(site, JobStore(Path({path!r})), {{"staging": Scripted()}}, told)
    await manager.start()
    await manager.submit(JobSpec(engine="staging", title="t", process={{}}), "key")
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.mark.parametrize("die", ["before engine", "in engine"])
async def test_killed_server_loses_no_job_and_the_next_starts_it_once(
    tmp_path: Path, die: str
) -> None:
    path = tmp_path / "jobs.sqlite"
    program = textwrap.dedent(SERVER).format(die=die, path=str(path))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await process.wait() == -signal.SIGKILL

    runs: list[str] = []

    async def count(handle: JobHandle) -> Outcome:
        runs.append(handle.job.id)
        return Outcome(JobStatus.FINISHED)

    world = World(tmp_path, count)
    await world.manager.start()
    (job,) = (await world.manager.changes()).jobs
    # The client, which had no answer, submits again with the same key.
    again = await world.manager.submit(SPEC, "key")
    assert again.id == job.id
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert runs == [job.id]
    await world.manager.stop()


async def test_event_loop_is_never_blocked_by_the_store(tmp_path: Path) -> None:
    world = World(tmp_path, finish)
    await world.manager.start()
    real = world.manager.store.update
    threads = set[threading.Thread]()

    def update(identifier: str, **changes: Any) -> Job:
        threads.add(threading.current_thread())
        return real(identifier, **changes)

    world.manager.store.update = update  # type: ignore[method-assign]
    job = await world.manager.submit(SPEC)
    await world.ended(job.id)
    assert threads
    assert threading.current_thread() not in threads
