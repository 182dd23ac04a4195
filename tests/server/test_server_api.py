"""The REST API: who may, what is refused and how, and that answers are as OpenAPI says."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from jupyter_server.auth import Authorizer
from tornado.websocket import websocket_connect
from traitlets.config import Config

from cscale_core.errors import (
    Conflict,
    CScaleError,
    DamagedData,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    StorageFull,
    UpstreamError,
    UpstreamTimeout,
)
from cscale_core.ingest.register import ItemOutcome, RegisterReport
from cscale_core.jobs.model import (
    BackendState,
    Job,
    JobChanges,
    JobSpec,
    JobStatus,
    LogLine,
    StoreState,
)
from cscale_server import notices, openapi, routes
from cscale_server.backend import Backend, Surroundings
from cscale_server.problems import STATUS
from cscale_server.routes import ROUTES, base
from tests.server import catalog_doubles, sharing_doubles
from tests.server.panel_doubles import ONE, MemoryLayers, MemoryOpenEO, memory_storage, saved_store
from tests.waiting import soon

OPENAPI_FILE = Path(openapi.__file__).parents[1] / "openapi.yaml"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ITEM = {
    "type": "Feature",
    "id": "scene",
    "collection": "s2",
    "assets": {"B03": {"href": "s3://aquamonitor/products/s2/scene/B03.tif"}},
}
SPEC = {"engine": "openeo", "title": "A job", "process": {"process_graph": {}}}
BODIES: dict[str, Any] = {
    "catalog/search": {"bbox": [0, 0, 1, 1]},
    "catalog/histogram": {"datetime": "2024-05-01/2024-05-31"},
    "stage": {"items": [ITEM]},
    "register": {"items": [ITEM]},
    "catalog/code": {"kind": "duckdb", "refs": ["site-a|s2|scene"]},
    "saved/searches": {"name": "Water", "query": {"collections": ["s2"]}},
    "saved/searches/some": {"name": "Water", "query": {}, "revision": 1},
    "notices/seen": {"jobs": ["job-1"]},
    "saved/favourites": {"ref": "site-a|s2|scene"},
    "layers/series": {"layers": ["item|site-a|s2|scene"], "longitude": 0, "latitude": 0},
    "storage/links": {"bucket": "b", "key": "k"},
    "storage/uploads": {"bucket": "b", "key": "k", "size": 1},
    "jobs": SPEC,
    "jobs/estimate": SPEC,
    "jobs/script": SPEC,
    "jobs/validate": SPEC,
    "workflows/composite/spec": {
        "engine": "openeo",
        "parameters": {
            "bbox": [0, 0, 1, 1],
            "period": ["2024-01-01", "2024-02-01"],
            "collection": "s2",
        },
    },
    "shared/notebooks": {
        "path": sharing_doubles.FILE,
        "vo": "aqua.example",
        "title": "An analysis",
    },
}


class FakeJobs:
    """A list of jobs that keeps them in memory and runs nothing."""

    problem = None

    def __init__(self, surroundings: Surroundings) -> None:
        self._tell = surroundings.on_change
        self.kept: dict[str, Job] = {}
        self.failure: Exception | None = None

    async def submit(self, spec: JobSpec, idempotency_key: str = "") -> Job:
        if self.failure is not None:
            raise self.failure
        for job in self.kept.values():
            if idempotency_key and job.idempotency_key == idempotency_key:
                return job
        number = len(self.kept) + 1
        job = Job(
            id=f"job-{number}",
            revision=number,
            spec=spec,
            created=NOW,
            updated=NOW,
            results=[ITEM],
            idempotency_key=idempotency_key,
        )
        self.kept[job.id] = job
        self._tell(job)
        return job

    async def get(self, job_id: str) -> Job:
        if job_id not in self.kept:
            raise NotFound(f"There is no job {job_id}.")
        return self.kept[job_id]

    async def changes(self, since: int = 0) -> JobChanges:
        jobs = [job for job in self.kept.values() if job.revision > since]
        newest = max((job.revision for job in jobs), default=since)
        return JobChanges(jobs=jobs, revision=newest, whole=since == 0)

    def actions(self, job: Job) -> list[str]:
        return ["clone"]

    async def cancel(self, job_id: str) -> Job:
        job = await self.get(job_id)
        if job.status.ended:
            raise Conflict(f"Job {job_id} has ended.")
        change = {"status": JobStatus.CANCELED, "revision": job.revision + 1}
        self.kept[job_id] = job.model_copy(update=change)
        self._tell(self.kept[job_id])
        return self.kept[job_id]

    async def delete(self, job_id: str) -> None:
        job = await self.get(job_id)
        if not job.status.ended:
            raise Conflict(f"Job {job_id} has not ended.")
        del self.kept[job_id]

    async def pause(self, job_id: str) -> Job:
        await self.get(job_id)
        raise Conflict("It cannot rest.")

    async def resume(self, job_id: str) -> Job:
        await self.get(job_id)
        raise Conflict("It does not rest.")

    async def clone(self, job_id: str, **more: Any) -> Job:
        return await self.submit((await self.get(job_id)).spec, more["idempotency_key"])

    async def logs(
        self, job_id: str, after: int = 0, limit: int = 500, level: str = "", wait: float = 0
    ) -> Any:
        await self.get(job_id)
        lines = [
            LogLine(id=number, time=NOW, level="info", message=f"line {number}")
            for number in range(1, 11)
        ]
        return lines[after : after + limit]

    async def results(self, job_id: str, refused: bool = False) -> list[dict[str, Any]]:
        job = await self.get(job_id)
        if not job.status.ended:
            raise Conflict(f"Job {job_id} has no results yet.")
        return job.results

    async def publish(self, job_id: str, idempotency_key: str = "") -> Job:
        return await self.submit((await self.get(job_id)).spec, idempotency_key)

    async def estimate(self, spec: JobSpec) -> dict[str, Any] | None:
        return None

    async def faults(self, spec: JobSpec) -> list[Any] | None:
        return None

    async def script(self, spec: JobSpec) -> str:
        return "#!/bin/bash"

    async def backends(self) -> list[BackendState]:
        return [BackendState(engine="openeo", id="one", title="One", online=True, checked=NOW)]

    async def store_state(self) -> StoreState:
        return StoreState(writable=True)

    async def recover(self) -> StoreState:
        raise Conflict("The list is not damaged.")


class FakeBackend(Backend):
    """Everything the routes stand on, without networks."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self.jobs = FakeJobs(surroundings)  # type: ignore[assignment]
        self.federation = catalog_doubles.MemoryFederation()
        self.catalog = catalog_doubles.catalog(surroundings.site, self.federation)
        self.memory_openeo = MemoryOpenEO()
        self.sharing = sharing_doubles.sharing(surroundings.tokens, aqua="curator").service

    async def start(self) -> None:
        """Nothing to open."""

    async def layers(self) -> Any:
        return MemoryLayers()

    async def storage(self) -> Any:
        return memory_storage()

    def openeo(self) -> Any:
        return self.memory_openeo

    @staticmethod
    async def report() -> RegisterReport:
        return RegisterReport(items=[ItemOutcome(id="scene", collection="s2", outcome="created")])

    async def register(self, items: list[dict[str, Any]]) -> RegisterReport:
        return await self.report()


@pytest.fixture
async def server(start_server: Any, make_site: Any) -> Any:
    started = await start_server(make_site(openeo=(ONE,)), with_backend())
    await started.extension.backend()
    sharing_doubles.write_notebook(started.home)
    return started


def with_backend(**more: Any) -> Config:
    return Config({"CScaleExtension": {"backend_class": FakeBackend}, **more})


TOKEN_HEADER = {"Authorization": "token only-for-tests"}
SCENE = "site-a%7Cs2%7Cscene"
LAYER = f"item%7C{SCENE}"


NAMES = {
    "job_id": "job-1",
    "layer": LAYER,
    "z": "10",
    "x": "495",
    "y": "401",
    "upload": "up",
    "backend": "one",
    "process": "mine",
    "workflow": "composite",
    "search": "some",
    "notebook": sharing_doubles.NOTEBOOK,
}
#: Names of things; the others are places in one.
MISSING = ("job_id", "ref", "layer", "upload", "backend", "workflow", "search")
#: What a route cannot be asked without.
QUERIES = {
    "layers/{layer}/point": "?longitude=0&latitude=0",
    "saved/favourites": "?ref=site-a",
    "storage/folders": "?bucket=b&prefix=k/",
    "storage/objects": "?bucket=b&key=k",
    "storage/usage": "?bucket=b",
}


def filled(path: str, **names: str) -> str:
    """The path of a route with names of things that are there."""
    known = NAMES | {"ref": "site-a%7Cs2" if "collections" in path else SCENE} | names
    return path.format(**known) + QUERIES.get(path, "")


def every_call() -> list[tuple[str, str]]:
    return [
        (operation.method, filled(route.path)) for route in ROUTES for operation in route.operations
    ]


def is_problem(body: Any) -> bool:
    return {"code", "message", "hint", "retryable", "request_id"} <= body.keys()


async def call(server: Any, method: str, path: str, **kwargs: Any) -> Any:
    if method in ("post", "put") and "json" not in kwargs and "content" not in kwargs:
        kwargs["json"] = BODIES.get(path.partition("?")[0], {})
    return await server.api(method, path, **kwargs)


# -- loading -----------------------------------------------------------------------------------


def test_importing_the_extension_imports_nothing_heavy() -> None:
    code = (
        "import sys, cscale_server; cscale_server._jupyter_server_extension_points();"
        "import cscale_server.contents;"
        "heavy = {'rasterio', 'openeo', 'boto3', 'botocore', 'leafmap', 'pandas', 'xarray',"
        " 'pystac_client', 'geopandas', 'pyspark'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_what_is_loaded_at_start_is_what_search_and_jobs_need() -> None:
    code = (
        "import sys, cscale_server; cscale_server._jupyter_server_extension_points();"
        "from cscale_server import backend; backend._import_parts();"
        "heavy = {'leafmap', 'geopandas', 'openeo', 'rio_tiler', 'pandas', 'xarray', 'odc',"
        " 'duckdb', 'pystac', 'pyspark', 'matplotlib', 'ipyleaflet', 'kubernetes_asyncio'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


async def test_kernels_inherit_the_way_to_credentials(server: Any) -> None:
    assert os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"].startswith("http://127.0.0.1:")
    assert os.environ["CSCALE_TOKEN_URL"].startswith("http://127.0.0.1:")
    assert Path(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).exists()
    assert os.environ["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:9"


async def test_without_a_site_jupyter_works_and_the_api_explains(start_server: Any) -> None:
    server = await start_server(None)
    status = (await server.api("GET", "status")).json()
    assert status["ready"] is False
    assert "CSCALE_SITE_FILE" in status["detail"]
    answer = await server.api("GET", "jobs")
    assert answer.status_code == 503
    assert answer.json()["code"] == "not_configured"
    assert (await server.contents("GET", "")).status_code == 200


async def test_a_backend_that_cannot_start_is_explained(
    start_server: Any, make_site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: Any) -> None:
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(FakeBackend, "start", fail)
    server = await start_server(make_site(), with_backend())
    answer = await server.api("GET", "jobs")
    assert answer.status_code == 503
    assert "The disk is full." in answer.json()["message"]
    status = (await server.api("GET", "status")).json()
    assert (status["ready"], status["detail"]) == (False, "The disk is full.")


# -- who may -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), every_call())
async def test_nothing_is_open_without_a_login(server: Any, method: str, path: str) -> None:
    answer = await call(server, method, path, headers={"Authorization": "token wrong"})
    assert answer.status_code == 403
    assert is_problem(answer.json())
    assert not server.extension._starting.result().jobs.kept


class Denying(Authorizer):
    """Says no, and remembers to what."""

    asked: list[tuple[str, str]] = []  # noqa: RUF012

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        self.asked.append((action, resource))
        return False


async def test_the_authorizer_is_asked_for_every_verb_of_every_handler(
    start_server: Any, make_site: Any
) -> None:
    config = with_backend(ServerApp={"authorizer_class": Denying})
    server = await start_server(make_site(), config)
    Denying.asked.clear()
    checked = 0
    for pattern, handler, _ in routes.handlers(server.extension):
        path = pattern.removeprefix("cscale/api/v1").lstrip("/")
        path = path.replace("([^/]+)", "x").replace("(?:/(.*))?", "unknown")
        for method in ("get", "post", "put", "patch", "delete", "head"):
            if method not in vars(handler):
                continue
            answer = await call(server, method, path)
            assert answer.status_code == 403, (method, path)
            assert is_problem(answer.json())
            expected = ("read" if method == "get" else "write", handler.auth_resource)
            assert Denying.asked[-1] == expected, (method, path)
            checked += 1
    assert checked == len(every_call()) + 5
    assert all(resource.startswith("cscale:") for _, resource in Denying.asked)


QUESTIONS = ("catalog/search", "catalog/histogram", "catalog/code", "layers/series")
WRITES = [(m, p) for m, p in every_call() if m != "get" and p not in QUESTIONS]


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_on_a_shared_server_only_the_owner_changes_things(
    server: Any, method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", "the-owner")
    answer = await call(server, method, path)
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"
    assert "owner" in answer.json()["message"]
    assert (await server.api("GET", "jobs")).status_code == 200


async def test_a_browser_needs_the_xsrf_token(server: Any) -> None:
    server.http.headers.pop("Authorization")
    await server.http.get("login")
    await server.http.get("api/me?token=only-for-tests")
    assert (await server.api("GET", "jobs")).status_code == 200
    answer = await server.api("POST", "jobs", json=SPEC)
    assert answer.status_code == 403
    assert "_xsrf" in answer.json()["message"]
    token = server.http.cookies.get("_xsrf")
    answer = await server.api("POST", "jobs", json=SPEC, headers={"X-XSRFToken": token})
    assert answer.status_code == 201


# -- bodies and errors ---------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"{", b"[]", b'"text"', b"\xff"])
async def test_a_body_that_is_no_object_is_400(server: Any, content: bytes) -> None:
    answer = await server.api("POST", "jobs", content=content)
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_input"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("jobs", {"process": {}}, "engine"),
        ("jobs", {**SPEC, "engine": "abacus"}, "engine"),
        ("jobs", {**SPEC, "unknown": 1}, "unknown"),
        ("catalog/search", {"bbox": [1]}, "bbox"),
        ("catalog/search", {"limit": 0}, "limit"),
        ("catalog/search", {"cursor": 1}, "cursor"),
        ("stage", {}, "body"),
        ("stage", {"items": []}, "items"),
        ("stage", {"items": [ITEM], "query": {}}, "body"),
        ("stage", {"refs": [SCENE], "query": {}}, "body"),
        ("stage", {"refs": []}, "refs"),
        ("stage", {"query": {"limit": "many"}}, "query.limit"),
        ("register", {"items": "none"}, "items"),
    ],
)
async def test_wrong_fields_are_named(server: Any, path: str, body: Any, field: str) -> None:
    answer = await server.api("POST", path, json=body)
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "invalid_input"
    assert [entry["field"] for entry in problem["details"]["fields"]] == [field]
    assert field in problem["message"]


async def test_a_body_that_is_too_large_is_refused(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MAX_BODY", 100)
    answer = await server.api("POST", "catalog/search", json={"ids": ["x" * 200]})
    assert answer.status_code == 413
    assert answer.json()["code"] == "invalid_input"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (InvalidInput, 422),
        (LoginRequired, 401),
        (Forbidden, 403),
        (NotFound, 404),
        (Conflict, 409),
        (DamagedData, 422),
        (UpstreamError, 502),
        (UpstreamTimeout, 504),
        (StorageFull, 507),
        (CScaleError, 500),
    ],
)
async def test_each_kind_of_failure_has_its_status(
    server: Any, kind: type[CScaleError], status: int
) -> None:
    error = kind("It went wrong.", hint="Try this.", retryable=True, fact=1)
    (await server.extension.backend()).jobs.failure = error
    answer = await server.api("POST", "jobs", json=SPEC)
    assert answer.status_code == status
    assert answer.json() == {
        "code": kind.code,
        "message": "It went wrong.",
        "hint": "Try this.",
        "retryable": True,
        "details": {"fact": 1},
        "request_id": answer.headers["X-Request-ID"],
    }


def test_every_error_of_the_core_has_a_status() -> None:
    def below(kind: type[CScaleError]) -> set[type[CScaleError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    of_core = {kind for kind in below(CScaleError) if kind.__module__ == "cscale_core.errors"}
    assert of_core <= STATUS.keys()


async def test_a_fault_of_ours_goes_to_the_log_and_not_to_the_browser(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (await server.extension.backend()).jobs.failure = RuntimeError("inner detail")
    answer = await server.api("POST", "jobs", json=SPEC)
    assert answer.status_code == 500
    assert "inner detail" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json()["request_id"] in caplog.text
    assert "inner detail" in caplog.text


@pytest.mark.parametrize("path", ["", "nothing", "jobs/a/b/c", "jobs/job-1/dance"])
async def test_an_unknown_path_is_a_problem_in_json(server: Any, path: str) -> None:
    answer = await server.api("GET", path)
    assert answer.status_code == 404
    assert is_problem(answer.json())


async def test_a_wrong_verb_is_a_problem_in_json(server: Any) -> None:
    answer = await server.api("PUT", "jobs", json={})
    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize("query", ["since=-1", "since=x", "since=99999999999999999"])
async def test_a_cursor_that_is_no_number_is_refused(server: Any, query: str) -> None:
    assert (await server.api("GET", f"jobs?{query}")).status_code == 422


# -- jobs --------------------------------------------------------------------------------------


async def test_a_job_goes_its_way(server: Any) -> None:
    made = await server.api("POST", "jobs", json=SPEC)
    assert made.status_code == 201
    assert made.headers["Location"] == "/user/u%40test/cscale/api/v1/jobs/job-1"
    listed = (await server.api("GET", "jobs?since=0")).json()
    assert [job["id"] for job in listed["jobs"]] == ["job-1"]
    assert "process" not in listed["jobs"][0]["spec"]
    assert (await server.api("GET", f"jobs?since={listed['revision']}")).json()["jobs"] == []
    lines = (await server.api("GET", "jobs/job-1/logs?after=3&limit=2")).json()
    assert [line["id"] for line in lines["logs"]] == [4, 5]
    assert lines["next"] == 5
    assert (await server.api("GET", "jobs/job-1/results")).status_code == 409
    assert (await server.api("DELETE", "jobs/job-1")).status_code == 409
    assert (await server.api("POST", "jobs/job-1/cancel")).json()["status"] == "canceled"
    assert (await server.api("POST", "jobs/job-1/cancel")).status_code == 409
    assert (await server.api("DELETE", "jobs/job-1")).status_code == 204
    assert (await server.api("DELETE", "jobs/job-1")).status_code == 404
    assert (await server.api("GET", "jobs/job-1")).status_code == 404


async def test_nobody_reads_that_a_job_has_ended_before_the_mounts_show_its_files(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    visible = asyncio.Event()

    async def refresh() -> None:
        asked.append("refresh")
        await visible.wait()

    await server.api("POST", "jobs", json=SPEC)
    monkeypatch.setattr(server.extension, "refresh_mounts", refresh)
    await server.api("GET", "jobs/job-1")
    assert asked == []
    backend = await server.extension.backend()
    ended = backend.jobs.kept["job-1"].model_copy(update={"status": JobStatus.FINISHED})
    backend.jobs.kept["job-1"] = ended
    reading = asyncio.create_task(server.api("GET", "jobs/job-1"))
    await asyncio.sleep(0.3)
    assert not reading.done()
    visible.set()
    assert (await reading).json()["status"] == "finished"
    await server.api("GET", "jobs/job-1")
    assert asked == ["refresh"]


async def test_a_login_by_code_is_the_owners_and_its_state_is_told(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "jobs/backends/one/login"
    assert (await server.api("GET", path)).json() == {"login": None}
    begun = await server.api("POST", path, json={"keep": True})
    assert begun.status_code == 201
    assert begun.json()["user_code"] == "ABCD-EFGH"
    told = (await server.api("GET", path)).json()["login"]
    assert (told["state"], told["kept"]) == ("pending", True)
    monkeypatch.setenv("JUPYTERHUB_USER", "the-owner")
    for ending in ("login", "processes", "processes/mine"):
        answer = await server.api("GET", f"jobs/backends/one/{ending}")
        assert answer.status_code == 403, ending


async def test_a_workflow_makes_a_job_of_the_chosen_items(server: Any) -> None:
    offered = {
        one["name"]: one for one in (await server.api("GET", "workflows")).json()["workflows"]
    }
    assert offered["aqua-monitor"]["engines"] == ["openeo", "spark"]
    assert offered["aqua-monitor"]["items"] == ["spark"]
    body = {
        "engine": "spark",
        "parameters": {
            "bbox": [0, 0, 1, 1],
            "intervals": [["2019-01-01", "2020-01-01"], ["2020-01-01", "2021-01-01"]],
            "collection": "s2",
        },
        "refs": ["site-a|s2|scene"],
    }
    made = await server.api("POST", "workflows/aqua-monitor/spec", json=body)
    assert made.status_code == 200, made.text
    assert [item["id"] for item in made.json()["process"]["arguments"]["items"]] == ["scene"]
    assert made.json()["title"] == "Aqua Monitor"
    none = await server.api("POST", "workflows/aqua-monitor/spec", json=body | {"refs": None})
    assert none.status_code == 422
    assert (await server.api("GET", "jobs")).json()["jobs"] == []
    submitted = await server.api("POST", "jobs", json=made.json())
    assert submitted.status_code == 201


async def test_an_ended_job_is_told_once_and_to_who_comes_later(server: Any) -> None:
    told: list[Any] = []

    async def listen(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        told.append(data)

    server.app.event_logger.add_listener(schema_id=notices.SCHEMA_ID, listener=listen)
    await server.api("POST", "jobs", json=SPEC)
    backend = await server.extension.backend()
    running = backend.jobs.kept["job-1"]
    ended = running.model_copy(
        update={"status": JobStatus.FINISHED, "ended": NOW, "message": "2 files", "revision": 9}
    )
    for job in (running, ended, ended):
        await asyncio.to_thread(server.extension._changed, job)
    await soon(lambda: told, "news of the job's end")
    assert told == [
        {
            "job": "job-1",
            "title": "A job",
            "engine": "openeo",
            "status": "finished",
            "message": "2 files",
            "hint": "",
            "results": 1,
        }
    ]
    (kept,) = (await server.api("GET", "notices?unseen=true")).json()["notices"]
    assert (kept["job"], kept["seen"]) == ("job-1", False)
    seen = await server.api("POST", "notices/seen", json={"jobs": ["job-1"]})
    assert seen.status_code == 204
    assert (await server.api("GET", "notices?unseen=true")).json()["notices"] == []
    await asyncio.to_thread(server.extension._deleted, "job-1", 10)

    async def forgotten() -> bool:
        return (await server.api("GET", "notices")).json()["notices"] == []

    await soon(forgotten, "the end of the notice", pause=0.1)
    assert len(told) == 1


async def test_a_search_is_kept_changed_and_forgotten(server: Any) -> None:
    body = {"name": "Water", "query": {"collections": ["s2"]}, "view": {"zoom": 3}}
    made = await server.api("POST", "saved/searches", json=body)
    assert made.status_code == 201
    path = f"saved/searches/{made.json()['id']}"
    change = body | {"name": "Lakes", "revision": 1}
    assert (await server.api("PUT", path, json=change)).json()["revision"] == 2
    again = await server.api("PUT", path, json=change)
    assert (again.status_code, again.json()["details"]["revision"]) == (409, 2)
    (kept,) = (await server.api("GET", "saved/searches")).json()["searches"]
    assert (kept["name"], kept["view"]) == ("Lakes", {"zoom": 3})
    wrong = await server.api("POST", "saved/searches", json=body | {"query": {"limit": 0}})
    assert wrong.status_code == 422
    assert (await server.api("DELETE", path)).status_code == 204
    assert (await server.api("DELETE", path)).status_code == 404


async def test_favourites_outlive_the_backend(server: Any) -> None:
    body = {"ref": "site-a|s2|scene", "title": "Scene"}
    assert (await server.api("PUT", "saved/favourites", json=body)).status_code == 200
    backend = await server.extension.backend()
    backend.saved = type(backend.saved)(backend.saved._file)
    (kept,) = (await server.api("GET", "saved/favourites")).json()["favourites"]
    assert (kept["ref"], kept["title"]) == ("site-a|s2|scene", "Scene")
    gone = await server.api("DELETE", "saved/favourites", params={"ref": body["ref"]})
    assert gone.status_code == 204
    assert (await server.api("GET", "saved/favourites")).json()["favourites"] == []


async def test_code_is_made_for_items_and_for_jobs(server: Any) -> None:
    body = {"kind": "gdal", "refs": ["site-a|s2|scene"], "bbox": [0, 0, 1, 1]}
    made = (await server.api("POST", "catalog/code", json=body)).json()
    assert (made["kind"], made["language"]) == ("gdal", "python")
    assert "'site-a|s2|scene'" in made["code"]
    wrong = await server.api("POST", "catalog/code", json=body | {"bbox": [0, 0, 1]})
    assert wrong.status_code == 422
    missing = await server.api("POST", "catalog/code", json=body | {"refs": ["site-a|s2|none"]})
    assert missing.status_code == 404
    await server.api("POST", "jobs", json=SPEC)
    submit = (await server.api("GET", "jobs/job-1/code?kind=submit")).json()["code"]
    assert "jobs.submit" in submit
    assert (await server.api("GET", "jobs/job-1/code?kind=other")).status_code == 422


async def test_a_back_end_tells_how_many_jobs_of_mine_are_there(server: Any) -> None:
    for spec in (SPEC | {"backend": "one"}, SPEC | {"backend": "one"}, SPEC | {"backend": "two"}):
        await server.api("POST", "jobs", json=spec)
    kept = (await server.extension.backend()).jobs.kept
    kept["job-2"] = kept["job-2"].model_copy(update={"status": JobStatus.RUNNING})
    (one,) = (await server.api("GET", "jobs/backends")).json()["backends"]
    assert (one["id"], one["queued"], one["running"]) == ("one", 1, 1)


async def test_the_same_key_again_is_the_same_job(server: Any) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await server.api("POST", "stage", json=BODIES["stage"], headers=headers)
    again = await server.api("POST", "stage", json=BODIES["stage"], headers=headers)
    assert first.json()["id"] == again.json()["id"]


async def test_results_have_the_addresses_of_this_server(server: Any, tmp_path: Path) -> None:
    await server.api("POST", "jobs", json=SPEC)
    await server.api("POST", "jobs/job-1/cancel")
    found = (await server.api("GET", "jobs/job-1/results")).json()
    mount = found["features"][0]["assets"]["B03"]["alternate"]["mount"]["href"]
    assert mount == str(tmp_path / "home/s3/aquamonitor/products/s2/scene/B03.tif")


async def test_what_a_search_finds_can_be_staged(server: Any) -> None:
    body = {"query": {"ids": ["scene"]}, "assets": ["B03"], "register": False}
    job = (await server.api("POST", "stage", json=body)).json()
    assert job["spec"]["engine"] == "staging"
    assert job["spec"]["process"]["items"][0]["id"] == "scene"
    assert job["spec"]["process"]["register"] is False
    nothing = await server.api("POST", "stage", json={"query": {"ids": ["none"]}})
    assert nothing.status_code == 422


async def test_polling_does_not_keep_the_server_alive(server: Any) -> None:
    settings = server.app.web_app.settings
    await server.api("POST", "catalog/search", json={})
    before = settings["api_last_activity"]
    for path in (
        "status",
        "catalog/providers",
        "jobs",
        "jobs/backends",
        "jobs/store",
        "jobs/job-1",
        "jobs/job-1/logs",
    ):
        await server.api("GET", path)
    assert settings["api_last_activity"] == before
    await server.api("POST", "catalog/search", json={})
    assert settings["api_last_activity"] > before


async def test_events_reach_the_socket_that_front_ends_keep_open(server: Any) -> None:
    url = str(server.http.base_url).replace("http", "ws", 1) + "api/events/subscribe"
    socket = await websocket_connect(url + "?token=only-for-tests")
    await server.api("POST", "jobs", json=SPEC)
    event = json.loads(await socket.read_message())
    socket.close()
    assert event["schema_id"] == "https://schema.c-scale.eu/cscale/job/v1"
    assert {name: event[name] for name in ("id", "revision", "status", "progress", "message")} == {
        "id": "job-1",
        "revision": 1,
        "status": "created",
        "progress": None,
        "message": "",
    }


# -- OpenAPI -----------------------------------------------------------------------------------


def test_the_committed_openapi_is_that_of_the_code() -> None:
    assert OPENAPI_FILE.read_text(encoding="utf-8") == openapi.text(), (
        "run: python -m cscale_server.openapi > extensions/server/openapi.yaml"
    )


@pytest.fixture
def conforms() -> Callable[[Any, str, str], None]:
    """Checks an answer against the committed document."""
    document = yaml.safe_load(OPENAPI_FILE.read_text(encoding="utf-8"))

    def check(answer: Any, method: str, path: str) -> None:
        described = document["paths"][f"/{path}"][method]["responses"]
        assert str(answer.status_code) in described, (method, path, answer.text)
        content = described[str(answer.status_code)].get("content")
        if content is None:
            assert answer.content == b""
            return
        kind = answer.headers["Content-Type"].partition(";")[0]
        if "schema" not in content[kind]:
            return
        schema = {**content[kind]["schema"], "components": document["components"]}
        bodies = [answer.text] if kind == "application/json" else answer.text.splitlines()
        for body in bodies:
            jsonschema.Draft202012Validator(schema).validate(json.loads(body))

    return check


async def test_answers_are_as_openapi_says(server: Any, conforms: Any, tmp_path: Path) -> None:
    await server.api("POST", "jobs", json=SPEC)
    (await server.extension.backend()).saved = saved_store(tmp_path)
    order = sorted(
        ((o, r) for r in ROUTES for o in r.operations), key=lambda pair: pair[0].method == "delete"
    )
    for operation, route in order:
        answer = await call(server, operation.method, filled(route.path))
        conforms(answer, operation.method, route.path)
        assert answer.status_code in (operation.status, 409), (operation.method, route.path)
    await server.api("POST", "jobs", json=SPEC)
    await server.api("POST", "jobs/job-1/cancel")
    for operation, route in order:
        if "{" in route.path:
            gone = dict.fromkeys(MISSING, "missing") | {"notebook": sharing_doubles.MISSING}
            path = filled(route.path, **gone)
            body = BODIES.get(filled(route.path), {})
            answer = await call(server, operation.method, path, json=body)
            assert answer.status_code == 404, (operation.method, route.path)
            conforms(answer, operation.method, route.path)
    search = "catalog/search"
    conforms(await server.api("POST", search, json={"limit": -1}), "post", search)
    conforms(await server.api("POST", search, content=b"{"), "post", search)
    whole = await server.api("POST", search, json={}, headers={"Accept": "application/json"})
    conforms(whole, "post", search)


async def test_an_event_of_every_status_fits_the_schema(server: Any) -> None:
    schema = server.app.event_logger.schemas.get("https://schema.c-scale.eu/cscale/job/v1")
    for status in (*JobStatus, "deleted"):
        schema.validate(
            {"id": "j", "revision": 1, "status": str(status), "progress": 0.5, "message": "m"}
        )
