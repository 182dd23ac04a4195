"""Job events: few enough, and never without the last one."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from cscale_core.jobs.model import Job, JobSpec, JobStatus
from cscale_server.events import INTERVAL, JobEvents

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(revision: int, status: JobStatus = JobStatus.RUNNING, name: str = "a") -> Job:
    return Job(
        id=name,
        revision=revision,
        spec=JobSpec(engine="spark", process={}),
        status=status,
        created=NOW,
        updated=NOW,
    )


@pytest.fixture
def sent() -> list[dict[str, Any]]:
    return []


@pytest.fixture
async def events(sent: list[dict[str, Any]]) -> JobEvents:
    return JobEvents(sent.append, asyncio.get_running_loop())


async def test_the_first_change_is_told_at_once(events: JobEvents, sent: Any) -> None:
    events.changed(job(1))
    await asyncio.sleep(0.05)
    assert [event["revision"] for event in sent] == [1]


async def test_many_changes_become_two_a_second_and_the_last_is_never_lost(
    events: JobEvents, sent: Any
) -> None:
    began = time.monotonic()
    for revision in range(1, 101):
        events.changed(job(revision))
        await asyncio.sleep(0.012)
    events.changed(job(101, JobStatus.FINISHED))
    await asyncio.sleep(INTERVAL + 0.1)
    assert len(sent) <= 1 + (time.monotonic() - began) / INTERVAL
    assert (sent[-1]["revision"], sent[-1]["status"]) == (101, "finished")


async def test_jobs_do_not_wait_for_each_other(events: JobEvents, sent: Any) -> None:
    events.changed(job(1, name="a"))
    events.changed(job(2, name="b"))
    await asyncio.sleep(0.05)
    assert {event["id"] for event in sent} == {"a", "b"}


async def test_a_change_that_was_overtaken_is_dropped(events: JobEvents, sent: Any) -> None:
    events.changed(job(5, JobStatus.FINISHED))
    events.changed(job(4))
    await asyncio.sleep(INTERVAL + 0.1)
    assert [event["revision"] for event in sent] == [5]


async def test_changes_come_from_any_thread(events: JobEvents, sent: Any) -> None:
    threads = [
        threading.Thread(target=events.changed, args=(job(n, name=f"job-{n}"),)) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    await asyncio.sleep(0.1)
    assert len(sent) == 20


async def test_the_end_of_the_server_sends_what_waits(events: JobEvents, sent: Any) -> None:
    events.changed(job(1))
    events.changed(job(2, JobStatus.FINISHED))
    await asyncio.sleep(0.05)
    events.flush()
    assert sent[-1]["status"] == "finished"


async def test_a_long_message_is_shortened(events: JobEvents, sent: Any) -> None:
    events.changed(job(1).model_copy(update={"message": "x" * 5000}))
    await asyncio.sleep(0.05)
    assert len(sent[0]["message"]) <= 300
