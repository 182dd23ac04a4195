"""The routes and events of jobs on the real list, with engines that do what a test tells them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect
from traitlets.config import Config

from cscale_core.errors import InvalidInput
from cscale_core.jobs.engine import Engine, JobHandle, Outcome
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import (
    BackendState,
    EngineName,
    Job,
    JobSpec,
    JobStatus,
    Transferred,
    utc_now,
)
from cscale_core.jobs.store import JobStore
from cscale_server.backend import Backend, Surroundings
from cscale_server.routes.jobs import output
from tests.waiting import soon

ITEM = {
    "type": "Feature",
    "id": "scene",
    "collection": "s2",
    "assets": {"B03": {"href": "s3://aquamonitor/products/s2/scene/B03.tif"}},
}
REMOTE = {"engine": "openeo", "title": "A job", "process": {"process_graph": {}}}
COPY = {"engine": "staging", "title": "A copy", "process": {"items": [ITEM]}}
SECRET = "do-not-tell-this"


class Remote(Engine):
    """A back end whose jobs end when the test says so."""

    name: ClassVar[EngineName] = "openeo"

    def __init__(self) -> None:
        self.end = asyncio.Event()
        self.handles: dict[str, JobHandle] = {}
        self.refused: list[bool] = []
        self.attended = 0

    async def check(self, spec: JobSpec) -> JobSpec:
        if spec.options.get("impossible"):
            raise InvalidInput("That cannot be run.")
        return spec

    async def run(self, handle: JobHandle) -> Outcome:
        self.handles[handle.job.id] = handle
        handle.state["token"] = SECRET
        await handle.save_state()
        await handle.update(status=JobStatus.RUNNING, engine_id="remote-1")
        await handle.log("begun")
        while not self.end.is_set():
            if await handle.rest(0.05):
                return Outcome.canceled()
        return Outcome(JobStatus.FINISHED, results=[ITEM], costs=3.5)

    async def estimate(self, spec: JobSpec) -> dict[str, Any] | None:
        return {"costs": 2.5, "duration": "PT5M"} if spec.options.get("known") else None

    async def backends(self) -> list[BackendState]:
        return [
            BackendState(engine="openeo", id="far", title="Far", online=False, checked=utc_now())
        ]

    def attend(self, job: Job) -> None:
        self.attended += 1

    async def fresh_results(self, job: Job, *, refused: bool = False) -> list[dict[str, Any]]:
        self.refused.append(refused)
        return job.results


class Copying(Engine):
    """Staging that moves nothing and says a lot."""

    name: ClassVar[EngineName] = "staging"
    pausable: ClassVar[bool] = True

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def check(self, spec: JobSpec) -> JobSpec:
        return spec

    async def run(self, handle: JobHandle) -> Outcome:
        await handle.update(status=JobStatus.RUNNING)
        done = 0
        while not self.end.is_set():
            if handle.cancel_requested.is_set():
                return Outcome.canceled()
            if handle.pause_requested.is_set():
                return Outcome.paused()
            done += 1
            moved = Transferred(files_done=0, files_total=1, bytes_done=done, bytes_total=None)
            handle.report(None, f"{done} bytes", moved)
            await asyncio.sleep(0.02)
        return Outcome(JobStatus.FINISHED, "all copied")


class JobsBackend(Backend):
    """The list of jobs, and nothing else."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self.remote, self.copying = Remote(), Copying()
        self.jobs = JobManager(
            surroundings.site,
            JobStore(surroundings.data_dir / "jobs.sqlite"),
            {"openeo": self.remote, "staging": self.copying},
            surroundings.on_change,
            on_delete=surroundings.on_delete,
        )

    async def start(self) -> None:
        await self.jobs.start()

    async def stop(self) -> None:
        await self.jobs.stop()


Start = Callable[[], Awaitable[Any]]


@pytest.fixture
def start(start_server: Any, make_site: Any, tmp_path: Path) -> Start:
    """Starts a server; the next one has the same list."""

    async def begin(**traits: Any) -> Any:
        settings = {"backend_class": JobsBackend, "data_dir": str(tmp_path / "list"), **traits}
        server = await start_server(make_site(), Config({"CScaleExtension": settings}))
        await server.extension.backend()
        return server

    (tmp_path / "list").mkdir()
    return begin


@pytest.fixture
async def server(start: Start) -> Any:
    return await start()


async def backend_of(server: Any) -> JobsBackend:
    backend: JobsBackend = await server.extension.backend()
    return backend


async def made(server: Any, spec: dict[str, Any], **more: Any) -> str:
    answer = await server.api("POST", "jobs", json={**spec, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def until_status(server: Any, job_id: str, *wanted: str) -> dict[str, Any]:
    async def look() -> dict[str, Any]:
        job: dict[str, Any] = (await server.api("GET", f"jobs/{job_id}")).json()
        return job

    return await soon(
        look,
        f"a job that is {' or '.join(wanted)}",
        fits=lambda job: job["status"] in wanted,
        pause=0.05,
    )


async def listed(server: Any, since: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = (await server.api("GET", f"jobs?since={since}")).json()
    return answer


# -- the list ------------------------------------------------------------------------------------


async def test_the_list_shows_how_a_job_is_and_what_can_be_done_with_it(server: Any) -> None:
    job_id = await made(server, REMOTE)
    await until_status(server, job_id, "running")
    (job,) = (await listed(server))["jobs"]
    assert job["engine_id"] == "remote-1"
    assert job["owner"] == "utest"
    assert [phase["status"] for phase in job["phases"]] == ["created", "running"]
    assert job["wanted"] == ""
    assert set(job["actions"]) == {"cancel", "clone"}
    (await backend_of(server)).remote.end.set()
    await until_status(server, job_id, "finished")
    (job,) = (await listed(server))["jobs"]
    assert (job["costs"], job["result_count"]) == (3.5, 1)
    assert set(job["actions"]) == {"clone", "publish", "delete"}
    assert "process" not in job["spec"]


async def test_only_what_changed_is_told_and_what_was_deleted(server: Any) -> None:
    (await backend_of(server)).remote.end.set()
    first, second = await made(server, REMOTE), await made(server, REMOTE)
    for job_id in (first, second):
        await until_status(server, job_id, "finished")
    whole = await listed(server)
    assert whole["whole"]
    assert {job["id"] for job in whole["jobs"]} == {first, second}
    assert await listed(server, whole["revision"]) == {
        "jobs": [],
        "deleted": [],
        "revision": whole["revision"],
        "whole": False,
    }
    assert (await server.api("DELETE", f"jobs/{first}")).status_code == 204
    after = await listed(server, whole["revision"])
    assert (after["jobs"], after["deleted"]) == ([], [first])
    assert after["revision"] > whole["revision"]


async def test_a_copy_rests_and_goes_on(server: Any) -> None:
    job_id = await made(server, COPY)
    await until_status(server, job_id, "running")
    paused = await server.api("POST", f"jobs/{job_id}/pause")
    assert paused.status_code == 200
    await until_status(server, job_id, "paused")
    (job,) = (await listed(server))["jobs"]
    assert set(job["actions"]) == {"cancel", "resume", "clone"}
    assert job["transferred"]["bytes_done"] > 0
    assert (await server.api("POST", f"jobs/{job_id}/resume")).status_code == 200
    await until_status(server, job_id, "running")
    (await backend_of(server)).copying.end.set()
    await until_status(server, job_id, "finished")
    assert (await server.api("POST", f"jobs/{job_id}/resume")).status_code == 409
    assert (await server.api("POST", f"jobs/{job_id}/pause")).status_code == 409


async def test_what_cannot_rest_says_so(server: Any) -> None:
    job_id = await made(server, REMOTE)
    answer = await server.api("POST", f"jobs/{job_id}/pause")
    assert answer.status_code == 409
    assert answer.json()["code"] == "conflict"
    assert answer.json()["hint"]


async def test_a_clone_has_what_was_changed_and_is_made_once(server: Any) -> None:
    job_id = await made(server, REMOTE, options={"memory": "1g", "queue": "short"})
    body = {"changes": {"title": "Again", "options": {"memory": "2g", "queue": None}}}
    headers = {"Idempotency-Key": "once"}
    answers = [
        await server.api("POST", f"jobs/{job_id}/clone", json=body, headers=headers)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    clone = answers[0].json()
    assert clone["id"] == answers[1].json()["id"] != job_id
    assert answers[0].headers["Location"].endswith(f"/cscale/api/v1/jobs/{clone['id']}")
    assert clone["cloned_from"] == job_id
    assert clone["spec"]["title"] == "Again"
    assert clone["spec"]["options"] == {"memory": "2g"}
    assert clone["spec"]["process"] == REMOTE["process"]
    for wrong in ({"changes": {"engine": "spark"}}, {"changes": {"title": 1}}, {"sugested": True}):
        answer = await server.api("POST", f"jobs/{job_id}/clone", json=wrong)
        assert answer.status_code == 422, wrong
        assert answer.json()["details"]["fields"]


async def test_publishing_is_a_copy_in_the_list_and_the_same_one_when_asked_again(
    server: Any,
) -> None:
    job_id = await made(server, REMOTE)
    early = await server.api("POST", f"jobs/{job_id}/publish")
    assert early.status_code == 409
    (await backend_of(server)).remote.end.set()
    await until_status(server, job_id, "finished")
    first = await server.api("POST", f"jobs/{job_id}/publish")
    again = await server.api("POST", f"jobs/{job_id}/publish")
    assert first.status_code == 201
    job = first.json()
    assert job["spec"]["engine"] == "staging"
    assert job["spec"]["process"]["job"] == job_id
    assert again.json()["id"] == job["id"]
    assert first.headers["Location"].endswith(job["id"])
    assert "items" not in job["spec"]["process"]


# -- before a job, and the file of the list --------------------------------------------------------


async def test_what_a_job_would_cost_is_told_where_it_is_known(server: Any) -> None:
    known = await server.api("POST", "jobs/estimate", json={**REMOTE, "options": {"known": 1}})
    assert known.json() == {
        "known": True,
        "costs": 2.5,
        "duration": "PT5M",
        "size": None,
        "pods": [],
    }
    unknown = (await server.api("POST", "jobs/estimate", json=REMOTE)).json()
    assert (unknown["known"], unknown["costs"]) == (False, None)
    assert (await listed(server))["jobs"] == []


async def test_a_script_is_of_slurm_only(server: Any) -> None:
    answer = await server.api("POST", "jobs/script", json=REMOTE)
    assert answer.status_code == 422


async def test_the_places_that_run_jobs_are_told(server: Any) -> None:
    (place,) = (await server.api("GET", "jobs/backends")).json()["backends"]
    assert (place["engine"], place["id"], place["online"]) == ("openeo", "far", False)


async def test_a_damaged_list_is_said_and_a_new_one_made_when_asked_for(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "list" / "jobs.sqlite").write_bytes(b"this is no list of jobs" * 200)
    server = await start()
    status = (await server.api("GET", "status")).json()
    assert not status["ready"]
    store = (await server.api("GET", "jobs/store")).json()
    assert not store["writable"]
    assert store["problem"]["message"]
    assert (await server.api("POST", "jobs", json=REMOTE)).status_code >= 400
    assert (await listed(server))["jobs"] == []
    recovered = await server.api("POST", "jobs/store/recover")
    assert recovered.status_code == 200, recovered.text
    assert recovered.json()["writable"]
    await made(server, REMOTE)
    assert (await server.api("GET", "status")).json()["ready"]
    assert (await server.api("POST", "jobs/store/recover")).status_code == 409


# -- logs and results ------------------------------------------------------------------------------


async def test_lines_from_a_level_on(server: Any) -> None:
    job_id = await made(server, REMOTE)
    await until_status(server, job_id, "running")
    handle = (await backend_of(server)).remote.handles[job_id]
    for level in ("debug", "info", "warning", "error"):
        await handle.log(f"a line of {level}", level)
    answer = (await server.api("GET", f"jobs/{job_id}/logs?level=warning")).json()
    assert [line["level"] for line in answer["logs"]] == ["warning", "error"]
    assert answer["next"] == answer["logs"][-1]["id"]
    assert (await server.api("GET", f"jobs/{job_id}/logs?level=loud")).status_code == 422
    assert (await server.api("GET", f"jobs/{job_id}/logs?wait=-1")).status_code == 422


async def test_a_question_for_lines_is_held_until_one_comes(server: Any) -> None:
    job_id = await made(server, REMOTE)
    await until_status(server, job_id, "running")
    backend = await backend_of(server)
    known = (await server.api("GET", f"jobs/{job_id}/logs?wait=20.0")).json()["next"]
    asked = asyncio.create_task(server.api("GET", f"jobs/{job_id}/logs?after={known}&wait=20"))
    await asyncio.sleep(0.5)
    assert not asked.done()
    before = time.monotonic()
    await backend.remote.handles[job_id].log("at last")
    answer = (await asked).json()
    assert time.monotonic() - before < 10
    assert [line["message"] for line in answer["logs"]] == ["at last"]
    asked = asyncio.create_task(
        server.api("GET", f"jobs/{job_id}/logs?after={answer['next']}&wait=20")
    )
    await asyncio.sleep(0.3)
    backend.remote.end.set()
    before = time.monotonic()
    await asked
    assert time.monotonic() - before < 10
    assert backend.remote.attended


async def test_a_question_is_held_no_longer_than_somebody_listens(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    gone: list[str] = []

    async def logs(job_id: str, *, wait: float, **_: Any) -> list[Any]:
        waits.append(wait)
        try:
            await asyncio.sleep(60 if wait == output.LONGEST_WAIT else 0)
        except asyncio.CancelledError:
            gone.append(job_id)
            raise
        return []

    monkeypatch.setattr((await backend_of(server)).jobs, "logs", logs)
    answer = await server.api("GET", "jobs/a/logs?after=7&wait=0.5")
    assert answer.json() == {"logs": [], "next": 7}
    asked = asyncio.create_task(server.api("GET", "jobs/b/logs?wait=9999"))
    await soon(lambda: len(waits) == 2, "the second question")
    asked.cancel()
    await soon(lambda: gone == ["b"], "the end of the question", 30)
    assert waits == [0.5, output.LONGEST_WAIT]


async def test_results_are_fresh_and_a_refused_link_is_told_on(server: Any, tmp_path: Path) -> None:
    job_id = await made(server, REMOTE)
    assert (await server.api("GET", f"jobs/{job_id}/results")).status_code == 409
    backend = await backend_of(server)
    backend.remote.end.set()
    await until_status(server, job_id, "finished")
    found = (await server.api("GET", f"jobs/{job_id}/results")).json()
    await server.api("GET", f"jobs/{job_id}/results?refused=true")
    assert backend.remote.refused == [False, True]
    mount = found["features"][0]["assets"]["B03"]["alternate"]["mount"]["href"]
    assert mount == str(tmp_path / "home/s3/aquamonitor/products/s2/scene/B03.tif")
    assert (await server.api("GET", f"jobs/{job_id}/results?refused=perhaps")).status_code == 422


# -- events ----------------------------------------------------------------------------------------


class Socket:
    """The socket that every front end keeps open, and what came over it."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self.events: list[dict[str, Any]] = []
        self.times: list[float] = []
        self._connection = connection
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while (message := await self._connection.read_message()) is not None:
            event = json.loads(message)
            if event["schema_id"].endswith("/job/v1"):
                self.events.append(event)
                self.times.append(time.monotonic())

    @property
    def last(self) -> str:
        """The status that the last event told."""
        return str(self.events[-1]["status"]) if self.events else ""

    def close(self) -> None:
        self._reading.cancel()
        self._connection.close()


@pytest.fixture
async def subscribe() -> AsyncIterator[Callable[[Any], Awaitable[Socket]]]:
    opened: list[Socket] = []

    async def connect(server: Any) -> Socket:
        url = str(server.http.base_url).replace("http", "ws", 1) + "api/events/subscribe"
        opened.append(Socket(await websocket_connect(url + "?token=only-for-tests")))
        return opened[-1]

    yield connect
    for socket in opened:
        socket.close()


async def test_a_deletion_is_told_as_the_last_event_of_a_job(server: Any, subscribe: Any) -> None:
    (await backend_of(server)).remote.end.set()
    socket = await subscribe(server)
    job_id = await made(server, REMOTE)
    await until_status(server, job_id, "finished")
    await server.api("DELETE", f"jobs/{job_id}")
    await soon(lambda: socket.last == "deleted", "the deletion as an event")
    last = socket.events[-1]
    assert (last["id"], last["progress"], last["message"]) == (job_id, None, "")
    assert last["revision"] == (await listed(server))["revision"]
    revisions = [event["revision"] for event in socket.events]
    assert revisions == sorted(set(revisions))


async def test_what_another_server_does_to_the_list_is_told_too(
    server: Any, subscribe: Any, tmp_path: Path
) -> None:
    (await backend_of(server)).remote.end.set()
    job_id = await made(server, REMOTE)
    await until_status(server, job_id, "finished")
    socket = await subscribe(server)
    other = JobStore(tmp_path / "list" / "jobs.sqlite")
    other.open()
    try:
        other.update(job_id, message="somebody was here")
        await soon(
            lambda: [e for e in socket.events if e["message"] == "somebody was here"],
            "the change as an event",
            20,
        )
        other.delete(job_id)
        await soon(lambda: socket.last == "deleted", "the deletion as an event", 20)
    finally:
        other.close()
    assert socket.events[-1]["id"] == job_id


async def test_events_are_few_and_the_last_is_told_and_none_tells_a_secret(
    server: Any, subscribe: Any
) -> None:
    socket = await subscribe(server)
    other = await made(server, REMOTE, process={"process_graph": {"password": SECRET}})
    job_id = await made(server, COPY)
    await asyncio.sleep(3)
    (await backend_of(server)).copying.end.set()
    ended = await until_status(server, job_id, "finished")
    await soon(lambda: socket.last == "finished", "the end as an event")
    assert socket.events[-1]["revision"] == ended["revision"]
    times = [
        when
        for event, when in zip(socket.events, socket.times, strict=True)
        if event["id"] == job_id
    ]
    assert 3 <= len(times) <= 2 * (times[-1] - times[0]) + 2
    assert {event["id"] for event in socket.events} == {job_id, other}
    known = {"schema_id", "schema_version", "metadata", "id", "revision", "status"}
    for event in socket.events:
        names = {name for name in event if not name.startswith("__")}
        assert names <= known | {"progress", "message"}, names
    assert SECRET not in json.dumps(socket.events)


async def test_who_was_away_asks_for_what_was_missed(
    start: Start, subscribe: Any, tmp_path: Path
) -> None:
    """The server is restarted while the list changes; nothing is replayed, nothing is missed."""
    first = await start()
    socket = await subscribe(first)
    kept, gone = await made(first, REMOTE), await made(first, REMOTE)
    for job_id in (kept, gone):
        await until_status(first, job_id, "running")
    await first.api("POST", f"jobs/{gone}/cancel")
    await until_status(first, gone, "canceled")
    known = (await listed(first))["revision"]
    await soon(
        lambda: {event["id"] for event in socket.events} == {kept, gone}, "events of both jobs"
    )
    socket.close()
    await first.stop()

    # What another server of the same person does meanwhile.
    store = JobStore(tmp_path / "list" / "jobs.sqlite")
    store.open()
    store.delete(gone)
    store.update(kept, message="somebody was here")
    store.close()

    second = await start()
    missed = await listed(second, known)
    assert [job["id"] for job in missed["jobs"]] == [kept]
    assert missed["deleted"] == [gone]
    again = await subscribe(second)
    await until_status(second, kept, "running")
    (await backend_of(second)).remote.end.set()
    await soon(lambda: again.last == "finished", "the end as an event")
    assert all(event["revision"] > known for event in again.events)
    assert not [event for event in again.events if event["id"] == gone]


# -- activity --------------------------------------------------------------------------------------


async def test_a_copy_that_runs_here_is_activity_and_a_remote_job_is_not(server: Any) -> None:
    app = server.app.web_app
    job_id = await made(server, REMOTE)
    await until_status(server, job_id, "running")
    assert "cscale_last_activity" not in app.settings
    copy = await made(server, COPY)
    await soon(lambda: "cscale_last_activity" in app.settings, "activity")
    before = app.settings["cscale_last_activity"]
    await soon(lambda: app.settings["cscale_last_activity"] > before, "later activity")
    assert app.last_activity() >= app.settings["cscale_last_activity"]
    await server.api("POST", f"jobs/{copy}/pause")
    await until_status(server, copy, "paused")
    resting = app.settings["cscale_last_activity"]
    await asyncio.sleep(1)
    assert app.settings["cscale_last_activity"] == resting


async def test_a_copy_that_another_server_runs_is_no_activity_here(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JobManager, "runs_jobs", False)
    copy = await made(server, COPY)
    await until_status(server, copy, "running")
    await asyncio.sleep(1)
    assert "cscale_last_activity" not in server.app.web_app.settings


async def test_a_copy_holds_the_server_for_so_long_and_no_longer(start: Any) -> None:
    server = await start(longest_staging=1.5 / 3600)
    app = server.app.web_app
    copy = await made(server, COPY)
    await until_status(server, copy, "running")
    await soon(lambda: "cscale_last_activity" in app.settings, "activity")
    await asyncio.sleep(2)
    last = app.settings["cscale_last_activity"]
    await asyncio.sleep(1.5)
    assert (await server.api("GET", f"jobs/{copy}")).json()["status"] == "running"
    assert app.settings["cscale_last_activity"] == last
