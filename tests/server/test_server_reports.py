"""What a server tells the hub of jobs that ended: each, later when it has to be, and little."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from cscale_core.jobs.model import Job, JobChanges, JobSpec, JobStatus
from cscale_server.reports import BATCH, JobReports
from tests.waiting import soon

BEGUN = datetime(2026, 11, 21, 12, tzinfo=UTC)


def job(number: int, status: JobStatus = JobStatus.FINISHED, **spec: Any) -> Job:
    ended = BEGUN + timedelta(minutes=number) if status.ended else None
    return Job(
        id=f"job-{number}",
        revision=number,
        spec=JobSpec(engine="slurm", title="My thesis", process={"command": ["x"]}, **spec),
        status=status,
        created=BEGUN,
        updated=BEGUN,
        started=BEGUN,
        ended=ended,
        usage={"slurm": {"cpu_seconds": 60}},
    )


@dataclass
class Hub:
    """Takes reports, or answers as it is told."""

    statuses: list[int] = field(default_factory=list)
    asked: list[httpx.Request] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            raise httpx.ConnectError("not there")
        if status == 200:
            self.told += json.loads(request.content)["jobs"]
        return httpx.Response(status, json={})


@dataclass
class Jobs:
    all: list[Job]
    asked_since: list[int] = field(default_factory=list)

    async def changes(self, since: int) -> JobChanges:
        self.asked_since.append(since)
        newer = [each for each in self.all if each.revision > since]
        revision = max((each.revision for each in self.all), default=0)
        return JobChanges(jobs=newer, revision=revision)


def reports(jobs: Jobs, hub: Hub, note: Path) -> JobReports:
    return JobReports(
        jobs.changes,
        httpx.AsyncClient(transport=httpx.MockTransport(hub)),
        "http://hub/api/cscale/jobs",
        "of-the-server",
        note,
        logging.getLogger("test"),
        default_vo="aqua.example",
        first_pause=0.01,
    )


async def told(made: JobReports, enough: Callable[[], bool]) -> None:
    """Run until it is enough, or the reports end by themselves."""
    running = asyncio.create_task(made.run())
    await soon(lambda: enough() or running.done(), "enough of reports", pause=0.01)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_ended_jobs_are_told_with_little_about_them(tmp_path: Path) -> None:
    jobs = Jobs([job(1, vo="water.example"), job(2, JobStatus.RUNNING), job(3)])
    hub = Hub()
    note = tmp_path / "reported.json"
    await told(reports(jobs, hub, note), note.exists)
    assert [each["id"] for each in hub.told] == ["job-1", "job-3"]
    assert hub.told[0] == {
        "id": "job-1",
        "engine": "slurm",
        "vo": "water.example",
        "started": BEGUN.timestamp(),
        "ended": BEGUN.timestamp() + 60,
        "cpu_seconds": 60,
    }
    assert hub.told[1]["vo"] == "aqua.example"
    assert hub.asked[0].headers["Authorization"] == "token of-the-server"
    assert b"thesis" not in hub.asked[0].content


async def test_the_next_server_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    note = tmp_path / "reported.json"
    jobs, hub = Jobs([job(1)]), Hub()
    await told(reports(jobs, hub, note), note.exists)
    jobs.all.append(job(2))
    await told(reports(jobs, hub, note), lambda: len(hub.told) > 1)
    assert [each["id"] for each in hub.told] == ["job-1", "job-2"]
    note.write_text("{", encoding="utf-8")  # cut off in the middle
    await told(reports(jobs, hub, note), lambda: len(hub.told) > 3)
    assert jobs.asked_since == [0, 1, 0]


async def test_a_job_that_ends_later_is_told_when_it_does(tmp_path: Path) -> None:
    jobs, hub = Jobs([]), Hub()
    made = reports(jobs, hub, tmp_path / "reported.json")
    running = asyncio.create_task(made.run())
    await soon(lambda: jobs.asked_since, "a look at the jobs")
    jobs.all.append(job(1))
    made.wake()
    await soon(lambda: hub.told, "a report")
    running.cancel()


async def test_a_hub_that_is_away_is_told_later(tmp_path: Path) -> None:
    jobs, hub = Jobs([job(1)]), Hub(statuses=[0, 503, 429])
    note = tmp_path / "reported.json"
    await told(reports(jobs, hub, note), note.exists)
    assert len(hub.asked) == 4
    assert [each["id"] for each in hub.told] == ["job-1"]


async def test_a_hub_that_takes_none_is_not_asked_again(tmp_path: Path) -> None:
    hub = Hub(statuses=[404])
    made = reports(Jobs([job(1)]), hub, tmp_path / "reported.json")
    async with asyncio.timeout(20):
        await made.run()
    assert len(hub.asked) == 1


async def test_many_are_told_in_parts(tmp_path: Path) -> None:
    hub = Hub()
    note = tmp_path / "reported.json"
    many = Jobs([job(number) for number in range(1, BATCH + 2)])
    await told(reports(many, hub, note), note.exists)
    assert [len(json.loads(each.content)["jobs"]) for each in hub.asked] == [BATCH, 1]


async def test_what_the_hub_refuses_holds_up_nothing(tmp_path: Path) -> None:
    jobs, hub = Jobs([job(1)]), Hub(statuses=[400])
    note = tmp_path / "reported.json"
    made = reports(jobs, hub, note)
    await told(made, note.exists)
    assert hub.told == []
    assert json.loads(note.read_text(encoding="utf-8")) == {"revision": 1}
