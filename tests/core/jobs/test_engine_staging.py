"""Staging jobs: what the engine adds to staging itself, which has tests of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cscale_core.errors import DamagedData, InvalidInput
from cscale_core.ingest.register import ItemOutcome, RegisterReport
from cscale_core.ingest.staging import StagingCanceled, StagingPaused, StagingPlan
from cscale_core.jobs.engines.staging import StagingEngine
from cscale_core.jobs.engines.staging import engine as engine_module
from cscale_core.jobs.engines.staging.engine import CONCURRENT
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import Job, JobSpec, JobStatus, Transferred
from cscale_core.jobs.store import JobStore
from cscale_core.site import Site
from tests.waiting import soon

ITEM = {
    "type": "Feature",
    "stac_version": "1.1.0",
    "id": "scene",
    "collection": "c",
    "geometry": None,
    "properties": {"datetime": "2019-01-01T00:00:00Z"},
    "links": [],
    "assets": {"B03": {"href": "https://site-b.example/B03.tif", "file:size": 100}},
}


class NoTokens:
    """Nobody asks."""

    async def token(self, audience: str) -> str:
        raise AssertionError


class World:
    """A manager with the staging engine; staging and registration are the test's."""

    def __init__(self, tmp_path: Path, site: Site, http: httpx.AsyncClient) -> None:
        self._path, self._site, self._http = tmp_path, site, http
        self.registered: list[dict[str, Any]] = []
        self.outcome = "created"
        self.engine = StagingEngine(site, http, NoTokens())
        self.manager = self.new_manager()

    def new_manager(self) -> JobManager:
        self.engine = StagingEngine(self._site, self._http, NoTokens())
        store = JobStore(self._path / "jobs.sqlite")
        return JobManager(self._site, store, {"staging": self.engine}, lambda job: None)

    async def register(self, items: list[dict[str, Any]], *_: Any) -> RegisterReport:
        self.registered += items
        outcomes = [
            ItemOutcome.model_validate(
                {"id": item["id"], "collection": "c", "outcome": self.outcome}
            )
            for item in items
        ]
        return RegisterReport(items=outcomes)

    async def ended(self, job_id: str) -> Job:
        return await soon(
            lambda: self.manager.get(job_id),
            f"the end of {job_id}",
            fits=lambda job: job.status.ended,
            pause=0.01,
        )

    async def reaches(self, job_id: str, status: JobStatus) -> None:
        await soon(
            lambda: self.manager.get(job_id),
            f"{job_id} as {status}",
            fits=lambda job: job.status == status,
            pause=0.01,
        )


@pytest.fixture
async def world(
    tmp_path: Path, make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    async with httpx.AsyncClient() as http:
        made = World(tmp_path, make_site(), http)
        monkeypatch.setattr(engine_module, "register", made.register)
        await made.manager.start()
        yield made
        await made.manager.stop()


def staging(monkeypatch: pytest.MonkeyPatch, body: Callable[..., Any]) -> None:
    async def stage(plan: StagingPlan, store: Any, http: Any, **callbacks: Any) -> Any:
        return await body(plan, **callbacks)

    monkeypatch.setattr(engine_module, "stage", stage)


def spec(**process: Any) -> JobSpec:
    return JobSpec(engine="staging", process={"items": [ITEM], **process})


async def test_staged_items_are_the_results_and_are_registered_when_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stage(
        plan: StagingPlan, progress: Any, cancelled: Any, **_: Any
    ) -> list[dict[str, Any]]:
        progress(1, 1, 100, 100, "B03 arrived")
        return [planned.item for planned in plan.items]

    staging(monkeypatch, stage)
    ended = await world.ended((await world.manager.submit(spec())).id)
    assert ended.status == JobStatus.FINISHED
    assert [item["id"] for item in ended.results] == ["scene"]
    assert ended.usage == {"files": 1, "bytes": 100}
    assert ended.transferred == Transferred(
        files_done=1, files_total=1, bytes_done=100, bytes_total=100
    )
    assert world.registered == []
    ended = await world.ended((await world.manager.submit(spec(register=True))).id)
    assert "1 created" in ended.message
    assert ended.usage["registered"] == [
        {"id": "scene", "collection": "c", "outcome": "created", "note": ""}
    ]
    assert [item["id"] for item in world.registered] == ["scene"]


async def test_progress_is_that_of_the_bytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    go = asyncio.Event()

    async def stage(
        plan: StagingPlan, progress: Any, cancelled: Any, **_: Any
    ) -> list[dict[str, Any]]:
        progress(0, 1, 40, 100, "fetching B03")
        await go.wait()
        return [ITEM]

    staging(monkeypatch, stage)
    job = await world.manager.submit(spec())
    seen = await soon(
        lambda: world.manager.get(job.id), "progress", fits=lambda seen: seen.progress
    )
    assert seen.progress == pytest.approx(0.38)
    assert seen.message == "0 of 1 files; fetching B03"
    go.set()
    assert (await world.ended(job.id)).progress == 1.0


async def test_cancel_says_what_was_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stage(
        plan: StagingPlan, progress: Any, cancelled: Any, **_: Any
    ) -> list[dict[str, Any]]:
        while not cancelled():  # noqa: ASYNC110 - a plain question, as stage() asks it
            await asyncio.sleep(0.01)
        raise StagingCanceled("canceled", hint="1 of 2 files are kept.")

    staging(monkeypatch, stage)
    job = await world.manager.submit(spec())
    await asyncio.sleep(0.1)
    await world.manager.cancel(job.id)
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.CANCELED
    assert "1 of 2 files are kept." in ended.message
    assert ended.error is None


async def test_failure_keeps_its_code_and_its_hint(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stage(
        plan: StagingPlan, progress: Any, cancelled: Any, **_: Any
    ) -> list[dict[str, Any]]:
        raise DamagedData("B03 is not what was promised", hint="0 of 1 files are kept.")

    staging(monkeypatch, stage)
    ended = await world.ended((await world.manager.submit(spec())).id)
    assert ended.error is not None
    assert (ended.error.code, ended.error.hint) == ("damaged_data", "0 of 1 files are kept.")


async def test_failed_registration_is_an_error_that_keeps_the_staged_items(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stage(
        plan: StagingPlan, progress: Any, cancelled: Any, **_: Any
    ) -> list[dict[str, Any]]:
        return [ITEM]

    staging(monkeypatch, stage)
    world.outcome = "error"
    ended = await world.ended((await world.manager.submit(spec(register=True))).id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert ended.error.retryable
    assert ended.error.details["unregistered"] == ["scene"]
    assert "scene" in ended.error.message
    assert "Clone this job" in ended.error.hint
    assert [item["id"] for item in ended.results] == ["scene"]
    assert ended.usage["registered"][0]["outcome"] == "error"


async def test_staging_that_was_cut_off_is_done_again_after_a_restart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []

    async def stage(
        plan: StagingPlan, progress: Any, cancelled: Any, **_: Any
    ) -> list[dict[str, Any]]:
        runs.append(1)
        if len(runs) == 1:
            await asyncio.sleep(3600)
        return [ITEM]

    staging(monkeypatch, stage)
    job = await world.manager.submit(spec())
    await soon(lambda: runs, "the first run", 240)
    await world.manager.stop()
    world.manager = world.new_manager()
    await world.manager.start()
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert len(runs) == 2


async def test_a_staging_that_waits_for_its_turn_hears_what_the_user_wants(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()

    async def stage(plan: StagingPlan, **_: Any) -> list[dict[str, Any]]:
        await go.wait()
        return [ITEM]

    staging(monkeypatch, stage)
    manager = world.manager
    running = [await manager.submit(spec()) for _ in range(CONCURRENT)]
    canceled, rested = await manager.submit(spec()), await manager.submit(spec())
    await world.reaches(canceled.id, JobStatus.QUEUED)
    await manager.cancel(canceled.id)
    await manager.pause(rested.id)
    assert (await world.ended(canceled.id)).status == JobStatus.CANCELED
    await world.reaches(rested.id, JobStatus.PAUSED)
    await manager.resume(rested.id)
    go.set()
    for job in (*running, rested):
        assert (await world.ended(job.id)).status == JobStatus.FINISHED


async def test_one_that_is_resumed_before_it_rests_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[bool] = []

    async def stage(plan: StagingPlan, paused: Any, **_: Any) -> list[dict[str, Any]]:
        runs.append(paused())
        if len(runs) == 1:
            while not paused():  # noqa: ASYNC110 - a plain question, as stage() asks it
                await asyncio.sleep(0.01)
            await world.manager.resume(job.id)
            raise StagingPaused("paused")
        return [ITEM]

    staging(monkeypatch, stage)
    job = await world.manager.submit(spec())
    await world.reaches(job.id, JobStatus.RUNNING)
    await world.manager.pause(job.id)
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert runs == [False, False]


async def test_inputs_are_frozen_without_what_signs_their_addresses(world: World) -> None:
    asset = {
        "href": "https://site-b.example/B03.tif?X-Amz-Signature=secret&part=2",
        "file:checksum": "1220" + "ab" * 32,
    }
    checked = await world.engine.check(spec(items=[{**ITEM, "assets": {"B03": asset}}]))
    assert checked.inputs == [
        {
            "id": "scene",
            "collection": "c",
            "assets": {
                "B03": {
                    "href": "https://site-b.example/B03.tif?part=2",
                    "checksum": asset["file:checksum"],
                }
            },
        }
    ]


async def test_the_place_tells_when_it_cannot_be_reached(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    [state] = await world.engine.backends()
    assert not state.online
    assert "object store" in state.problem
    assert await world.engine.backends() == [state], "it is not asked again at once"


@pytest.mark.parametrize(
    ("process", "said"),
    [
        ({"items": []}, "items"),
        ({"assets": ["B99"]}, "B99"),
        ({"colour": 1}, "colour"),
        ({"job": "another"}, "either items, or a job"),
        ({"items": [], "job": "another"}, "other jobs cannot be staged here"),
        ({"items": [{**ITEM, "assets": {"B03": {"href": "ftp://x/y"}}}]}, "no file"),
    ],
)
async def test_staging_that_cannot_work_is_refused_before_it_is_a_job(
    world: World, process: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        await world.manager.submit(spec(**process))
    assert (await world.manager.changes()).jobs == []
