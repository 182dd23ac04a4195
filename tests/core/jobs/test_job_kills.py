"""kill -9 of the server at every step of a submit: one job, submitted once, with its true end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from server_double import STEPS
from servers import SPEC, Place, place_at


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with place_at(tmp_path) as made:
        yield made


@pytest.mark.parametrize("step", STEPS)
async def test_server_killed_at_a_step_of_submit_submits_once(place: Place, step: str) -> None:
    server = await place.server(step)
    assert server.process.stdin is not None
    submitting = asyncio.create_task(server.call("submit", spec=SPEC, idempotency_key="key"))
    if STEPS.index(step) > STEPS.index("running"):
        place.finish((await submitting)["id"])
    await server.dies()
    submitting.cancel()

    server = await place.server()
    # The client, which perhaps had no answer, submits again with the same key.
    job = await server.call("submit", spec=SPEC, idempotency_key="key")
    assert (await server.call("submit", spec=SPEC, idempotency_key="key"))["id"] == job["id"]
    place.finish(job["id"])
    ended = await server.gets(job["id"], "finished")
    assert place.submissions() == [job["id"]]
    assert len((await server.call("changes"))["jobs"]) == 1
    assert ended["results"] == [{"id": "r"}]
    lines = [line["message"] for line in (await server.call("log_of", job_id=job["id"]))]
    assert lines == ["done"], "the end is written once, with its line"


async def test_killed_again_and_again_it_still_submits_once(place: Place) -> None:
    job_id = ""
    for step in STEPS[4:9]:
        server = await place.server(step) if not job_id else await place.starting(step)
        if not job_id:
            job_id = (await server.call("submit", spec=SPEC))["id"]
        await server.dies()
    server = await place.server()
    place.finish(job_id)
    await server.gets(job_id, "finished")
    assert place.submissions() == [job_id]


@pytest.mark.parametrize("wish", ["cancel", "pause"])
async def test_wish_holds_over_a_kill(place: Place, wish: str) -> None:
    server = await place.server()
    job = await server.call("submit", spec=SPEC)
    await server.hears(runs=job["id"])
    assert (await server.call(wish, job_id=job["id"]))["wanted"] == wish
    await server.killed()
    server = await place.server()
    await server.gets(job["id"], "canceled" if wish == "cancel" else "paused")
    if wish == "pause":
        await server.killed()
        server = await place.server()
        assert (await server.call("get", job_id=job["id"]))["status"] == "paused"
        await server.call("resume", job_id=job["id"])
        await server.hears(runs=job["id"])
        place.finish(job["id"])
        await server.gets(job["id"], "finished")
    assert place.submissions() == [job["id"]]
