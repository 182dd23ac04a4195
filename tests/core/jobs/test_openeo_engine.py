"""openEO jobs against a small back end over real HTTP, by the official client."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from cscale_core.backends import OpenEOBackend
from cscale_core.errors import InvalidInput, LoginRequired
from cscale_core.jobs.engines.openeo import OpenEOEngine
from cscale_core.jobs.engines.openeo.results import items_of_results
from cscale_core.jobs.engines.openeo.terms import Terms
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import Job, JobSpec, JobStatus, utc_now
from cscale_core.jobs.polling import Pace
from cscale_core.jobs.store import JobStore
from cscale_core.site import Site

pytest.importorskip("openeo", reason="install cscale-hub[lab]")
QUICK = Terms(
    pace=Pace(
        soonest=0.05,
        longest=0.1,
        round=0.05,
        rate=1000,
        burst=1000,
        retry=0.05,
        retry_longest=0.2,
        patience=0.1,
    ),
    logs=0.05,
    attended_logs=0.05,
    details=0.1,
    settling=0.3,
    restart=0.5,
)
GRAPH = {"add": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}


class BackEnd:
    """The parts of the openEO API that a batch job needs; the test turns the switches."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.tokens: list[str] = []
        self.down = False
        self.url = ""
        self.app = FastAPI()
        numbers = itertools.count(1)
        app = self.app

        @app.middleware("http")
        async def guard(request: Request, call_next: Any) -> Response:
            if self.down:
                return error(503, "Maintenance", "down for maintenance")
            if request.url.path.startswith("/jobs"):
                self.tokens.append(request.headers.get("authorization", ""))
                if "bad" in self.tokens[-1]:
                    return error(403, "TokenInvalid", "expired")
            answer: Response = await call_next(request)
            return answer

        def error(status: int, code: str, message: str) -> JSONResponse:
            return JSONResponse({"code": code, "message": message, "id": "r1"}, status)

        def missing() -> JSONResponse:
            return error(404, "JobNotFound", "The job does not exist.")

        @app.get("/")
        def capabilities() -> dict[str, Any]:
            ends = ["/jobs", "/jobs/{job_id}", "/jobs/{job_id}/results", "/jobs/{job_id}/logs"]
            return {
                "api_version": "1.2.0",
                "backend_version": "1",
                "stac_version": "1.1.0",
                "id": "t",
                "title": "T",
                "description": "T",
                "endpoints": [
                    {"path": path, "methods": ["GET", "POST", "DELETE"]} for path in ends
                ],
                "links": [],
            }

        @app.post("/jobs")
        async def create(request: Request) -> Response:
            body = await request.json()
            if body.get("title") == "refused":
                return error(400, "ProcessUnsupported", "Process 'x' is not available.")
            identifier = f"r{next(numbers)}"
            self.jobs[identifier] = {
                **body,
                "id": identifier,
                "status": "created",
                "created": "2026-01-01T00:00:00Z",
            }
            headers = {
                "OpenEO-Identifier": identifier,
                "Location": f"{self.url}/jobs/{identifier}",
            }
            return Response(status_code=201, headers=headers)

        @app.get("/jobs")
        def listing() -> dict[str, Any]:
            brief = ("id", "title", "status", "created")
            return {
                "jobs": [{k: job[k] for k in brief} for job in self.jobs.values()],
                "links": [],
            }

        @app.get("/jobs/{job}")
        def describe(job: str) -> Any:
            return self.jobs.get(job) or missing()

        @app.post("/jobs/{job}/results")
        def start(job: str) -> Response:
            self.jobs[job]["status"] = "running"
            return Response(status_code=202)

        @app.delete("/jobs/{job}/results")
        def stop(job: str) -> Response:
            if self.jobs[job]["status"] == "finished":
                return error(400, "JobNotRunning", "It has finished.")
            self.jobs[job]["status"] = "canceled"
            return Response(status_code=204)

        @app.get("/jobs/{job}/results")
        def results(job: str) -> dict[str, Any]:
            document: dict[str, Any] = self.jobs[job]["results"]
            return document

        @app.get("/jobs/{job}/logs")
        def logs(job: str, offset: str = "", level: str = "") -> Any:
            lines = self.jobs[job].get("log", [])
            if level:
                lines = [line for line in lines if line["level"] == level]
            after = [line["id"] for line in lines].index(offset) + 1 if offset else 0
            return {"logs": lines[after:], "links": []}


class Tokens:
    """A new token at each request."""

    def __init__(self) -> None:
        self.value = "good"
        self.count = 0

    async def token(self, audience: str) -> str:
        if self.value == "none":
            raise LoginRequired("log in again")
        self.count += 1
        return f"{self.value}-{audience}-{self.count}"


class World:
    """A manager with the engine under test, its back end and its tokens."""

    def __init__(self, tmp_path: Path, site: Site, back_end: BackEnd) -> None:
        self.back_end = back_end
        self.tokens = Tokens()
        self._tmp_path = tmp_path
        self.site = site
        self.manager = self.new_manager()

    def new_manager(self) -> JobManager:
        engine = OpenEOEngine(self.site, self.tokens, QUICK)
        store = JobStore(self._tmp_path / "jobs.sqlite")
        return JobManager(self.site, store, {"openeo": engine}, lambda job: None)

    async def until(self, job_id: str, condition: Callable[[Job], object]) -> Job:
        for _ in range(1000):
            job = await self.manager.get(job_id)
            if condition(job):
                return job
            await asyncio.sleep(0.02)
        raise AssertionError(f"did not come to it: {job}")

    async def ended(self, job_id: str) -> Job:
        return await self.until(job_id, lambda job: job.status.ended)


@pytest.fixture
async def world(
    tmp_path: Path,
    serve: Callable[[Any], str],
    make_site: Callable[..., Site],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    back_end = BackEnd()
    back_end.url = serve(back_end.app)
    backend = OpenEOBackend(id="here", title="Back end", url=back_end.url, audience="openeo")
    made = World(tmp_path, make_site(openeo=[backend]), back_end)
    await made.manager.start()
    yield made
    await made.manager.stop()


def spec(**changes: Any) -> JobSpec:
    return JobSpec.model_validate(
        {"engine": "openeo", "title": "Add", "process": {"process_graph": GRAPH}, **changes}
    )


def finish(world: World, remote: str, **more: Any) -> None:
    world.back_end.jobs[remote].update(
        status="finished",
        results={
            "type": "Collection",
            "extent": {
                "spatial": {"bbox": [[-6, 36, -5, 37]]},
                "temporal": {"interval": [["2019-01-01T00:00:00Z", "2022-01-01T00:00:00Z"]]},
            },
            "assets": {
                "slope.tif": {
                    "href": "https://elsewhere.example/signed/slope.tif?expires=1",
                    "alternate": {"s3": {"href": "s3://vobucket/users/utest/jobs/x/slope.tif"}},
                    "type": "image/tiff; application=geotiff",
                    "roles": ["data"],
                    "proj:code": "EPSG:32630",
                    "proj:bbox": [240000, 4030000, 243000, 4033000],
                    "proj:shape": [100, 100],
                    "file:size": 5,
                },
                "job.json": {"href": "https://elsewhere.example/job.json", "roles": ["metadata"]},
            },
            "links": [{"rel": "derived_from", "href": "https://elsewhere.example/item"}],
        },
        usage={"cpu": {"value": 3, "unit": "cpu-seconds"}},
        **more,
    )


async def test_job_goes_to_the_back_end_and_its_results_come_back_as_an_item(
    world: World,
) -> None:
    job = await world.manager.submit(spec(vo="vo.example.eu", options={"tile": 64}))
    running = await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    remote = world.back_end.jobs[running.engine_id]
    assert remote["process"]["process_graph"] == GRAPH
    assert remote["job_options"] == {"tile": 64, "vo": "vo.example.eu"}
    remote["progress"] = 40
    await world.until(job.id, lambda job: job.progress == 0.4)
    finish(world, running.engine_id)
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED
    assert ended.usage["usage"]["cpu"]["value"] == 3
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


async def test_each_request_carries_a_token_of_its_own(world: World) -> None:
    job = await world.manager.submit(spec())
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    finish(world, "r1")
    await world.ended(job.id)
    assert all(token.startswith("Bearer oidc/egi/good-openeo-") for token in world.back_end.tokens)
    assert len(set(world.back_end.tokens)) == len(world.back_end.tokens)


async def test_log_lines_come_once_each_in_order(world: World) -> None:
    job = await world.manager.submit(spec())
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    log = world.back_end.jobs["r1"].setdefault("log", [])
    for number in range(6):
        log.append({"id": f"l{number}", "level": "info", "message": f"line {number}"})
        await asyncio.sleep(0.05)
    log.append({"id": "l9", "level": "warning", "message": "last", "time": "2026-01-01T00:00:00Z"})
    finish(world, "r1")
    await world.ended(job.id)
    lines = await world.manager.logs(job.id)
    said = [line.message for line in lines if line.message.startswith(("line", "last"))]
    assert said == [f"line {number}" for number in range(6)] + ["last"]
    assert [line.time.year for line in lines if line.message == "last"] == [2026]


async def test_refusal_of_the_back_end_is_the_jobs_error(world: World) -> None:
    ended = await world.ended((await world.manager.submit(spec(title="refused"))).id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert ended.error.code == "invalid_input"
    assert "Process 'x' is not available." in ended.error.message


async def test_failed_job_says_the_last_error_of_its_log(world: World) -> None:
    job = await world.manager.submit(spec())
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    world.back_end.jobs["r1"].update(
        status="error", log=[{"id": "1", "level": "error", "message": "no memory left\ntrace"}]
    )
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.ERROR
    assert ended.message == "The job failed at Back end: no memory left"


async def test_cancel_reaches_the_back_end(world: World) -> None:
    job = await world.manager.submit(spec())
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    await world.manager.cancel(job.id)
    assert (await world.ended(job.id)).status == JobStatus.CANCELED
    assert world.back_end.jobs["r1"]["status"] == "canceled"


async def test_cancel_that_comes_too_late_leaves_the_results(world: World) -> None:
    job = await world.manager.submit(spec())
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    finish(world, "r1")
    await world.manager.cancel(job.id)
    assert (await world.ended(job.id)).status == JobStatus.FINISHED


async def test_job_deleted_at_the_back_end_is_lost_and_says_so(world: World) -> None:
    job = await world.manager.submit(spec())
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    del world.back_end.jobs["r1"]
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.LOST
    assert ended.error is not None
    assert "no longer known" in ended.error.message


@pytest.mark.parametrize("trouble", ["down", "bad token", "login ended"])
async def test_trouble_on_the_way_does_not_end_a_running_job(world: World, trouble: str) -> None:
    job = await world.manager.submit(spec())
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    if trouble == "down":
        world.back_end.down = True
    else:
        world.tokens.value = "bad" if trouble == "bad token" else "none"
    seen = await world.until(job.id, lambda job: "no news" in job.message)
    assert seen.status == JobStatus.RUNNING
    world.back_end.down, world.tokens.value = False, "good"
    finish(world, "r1")
    assert (await world.ended(job.id)).status == JobStatus.FINISHED


async def test_restarted_server_finds_the_job_by_its_id(world: World) -> None:
    job = await world.manager.submit(spec())
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    await world.manager.stop()
    finish(world, "r1")
    world.manager = world.new_manager()
    await world.manager.start()
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert set(world.back_end.jobs) == {"r1"}


async def test_job_created_just_before_the_server_died_is_not_created_twice(
    world: World,
) -> None:
    job = await world.manager.submit(spec())
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    await world.manager.stop()
    store = JobStore(world.manager.store.path)
    store.update(job.id, engine_id="", status=JobStatus.CREATED)
    store.close()
    world.back_end.jobs["other"] = {**world.back_end.jobs["r1"], "id": "other", "description": ""}
    world.manager = world.new_manager()
    await world.manager.start()
    found = await world.until(job.id, lambda job: job.engine_id)
    assert found.engine_id == "r1"
    assert set(world.back_end.jobs) == {"r1", "other"}


async def test_job_that_was_never_created_is_created_after_the_restart(world: World) -> None:
    world.manager.store.open()
    job, _ = world.manager.store.create(spec(backend="here"))
    world.manager.store.set_state(job.id, {"creating": True})
    await world.manager.stop()
    world.manager = world.new_manager()
    await world.manager.start()
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    assert set(world.back_end.jobs) == {"r1"}


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
        await world.manager.submit(spec(**changes))


def test_results_without_files_give_no_item(make_site: Callable[..., Site]) -> None:
    now = utc_now()
    job = Job(id="j", revision=1, spec=spec(), created=now, updated=now)
    backend = OpenEOBackend(id="b", title="B", url="http://127.0.0.1:9")
    assert items_of_results({"assets": {}}, job, backend, make_site()) == []
