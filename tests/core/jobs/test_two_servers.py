"""Two servers of one user on one list: real processes, one of which runs the jobs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from servers import LONG, SPEC, Place, Server, place_at

from cscale_core.jobs import lease as lease_module
from cscale_core.jobs.lease import Lease, here, is_gone
from cscale_core.jobs.store import JobStore
from cscale_core.jobs.store.trouble import LeaseLost
from tests.waiting import soon


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with place_at(tmp_path) as made:
        yield made


async def runs_jobs(server: Server) -> None:
    """Wait until a server runs the jobs."""
    await soon(lambda: server.call("runner"), "the lease", LONG, pause=0.05)


async def test_one_of_two_servers_runs_the_jobs_of_both(place: Place) -> None:
    one, two = await place.server(), await place.server()
    assert (await one.call("runner"), await two.call("runner")) == (True, False)
    first = await one.call("submit", spec=SPEC)
    second = await two.call("submit", spec=SPEC)
    for job in (first, second):
        await one.hears(runs=job["id"])
        for server in (one, two):  # events go out at both
            await server.hears(told=job["id"], status="running")
        place.finish(job["id"])
        for server in (one, two):
            await server.hears(told=job["id"], status="finished")
    assert sorted(place.submissions()) == sorted([first["id"], second["id"]])
    for server in (one, two):
        told = [(what["told"], what["revision"]) for what in server.said if "told" in what]
        assert len(told) == len(set(told)), "no revision is told twice"


async def test_what_one_server_writes_the_other_knows_within_a_second(place: Place) -> None:
    one, two = await place.server(), await place.server()
    delays = []
    for number in range(5):
        before = await two.call("submit", spec={**SPEC, "title": str(number)})
        written = await two.hears(told=before["id"], status="created")
        started = await one.hears(runs=before["id"])
        delays.append(started["at"] - written["at"])
        running = await two.hears(told=before["id"], status="running")
        delays.append(running["at"] - started["at"])
    # The clock is the machine's and the same for both. A slow machine may miss it now and then.
    assert sorted(delays)[len(delays) // 2] < 1.0, delays


async def test_wishes_come_through_the_list(place: Place) -> None:
    one, two = await place.server(), await place.server()
    job = await one.call("submit", spec=SPEC)
    await one.hears(runs=job["id"])
    await two.call("pause", job_id=job["id"])
    await one.gets(job["id"], "paused")
    one.said.clear()
    await two.call("resume", job_id=job["id"])
    await one.hears(runs=job["id"])
    await two.call("cancel", job_id=job["id"])
    await one.gets(job["id"], "canceled")
    await two.gets(job["id"], "canceled")
    await two.call("delete", job_id=job["id"])
    await one.hears(deleted=job["id"])
    await two.hears(deleted=job["id"])
    assert place.submissions() == [job["id"]]


async def test_log_line_of_the_other_server_ends_the_wait(place: Place) -> None:
    one, two = await place.server(), await place.server()
    job = await one.call("submit", spec=SPEC)
    await one.hears(runs=job["id"])
    waiting = asyncio.create_task(two.call("log_of", job_id=job["id"], wait=LONG))
    await one.hears(attends=job["id"])
    place.finish(job["id"])
    async with asyncio.timeout(LONG / 2):
        assert [line["message"] for line in await waiting] == ["done"]


async def test_other_server_takes_over_at_once_when_the_runner_is_killed(place: Place) -> None:
    one, two = await place.server(), await place.server()
    jobs = [await server.call("submit", spec=SPEC) for server in (one, two) for _ in range(5)]
    for job in jobs[:7]:
        await one.hears(runs=job["id"])
    await one.killed()
    late = await two.call("submit", spec=SPEC)
    for job in [*jobs, late]:
        await two.hears(runs=job["id"])  # long before the patience of a minute is over
        place.finish(job["id"])
        await two.gets(job["id"], "finished")
    assert sorted(place.submissions()) == sorted(job["id"] for job in [*jobs, late])


@pytest.mark.parametrize("step", ["about to send", "sent", "noted", "before the end is written"])
async def test_runner_killed_at_a_step_hands_over_and_nothing_is_sent_twice(
    place: Place, step: str
) -> None:
    one = await place.server(step)
    two = await place.server()
    job = await two.call("submit", spec=SPEC, idempotency_key="key")
    place.finish(job["id"])
    await one.dies()
    await two.gets(job["id"], "finished")
    assert place.submissions() == [job["id"]]
    assert (await two.call("submit", spec=SPEC, idempotency_key="key"))["id"] == job["id"]


async def test_server_that_stops_hands_over_at_once(place: Place) -> None:
    one, two = await place.server(), await place.server()
    job = await one.call("submit", spec=SPEC)
    await one.hears(runs=job["id"])
    assert one.process.stdin is not None
    one.process.stdin.close()
    assert await one.process.wait() == 0
    await two.hears(runs=job["id"])
    assert place.submissions() == [job["id"]]


async def test_server_that_hangs_loses_the_lease_and_touches_nothing_when_it_wakes(
    place: Place,
) -> None:
    one = await place.server(patience=2.0)
    job = await one.call("submit", spec=SPEC)
    await one.hears(runs=job["id"])
    one.process.send_signal(signal.SIGSTOP)
    two = await place.server(patience=2.0)
    assert not await two.call("runner"), "the process is still there"
    await two.hears(runs=job["id"])
    one.process.send_signal(signal.SIGCONT)
    await soon(lambda: one.call("runner"), "the loss", LONG, fits=lambda runs: not runs, pause=0.05)
    place.finish(job["id"])
    ended = await two.gets(job["id"], "finished")
    assert [phase["status"] for phase in ended["phases"]].count("finished") == 1
    assert await two.call("runner")
    assert place.submissions() == [job["id"]]


async def test_many_submits_of_one_key_at_two_servers_are_one_job(place: Place) -> None:
    one, two = await place.server(), await place.server()

    async def submit(server: Server) -> set[str]:
        return {
            (await server.call("submit", spec=SPEC, idempotency_key="same"))["id"]
            for _ in range(10)
        }

    ids = await asyncio.gather(submit(one), submit(two))
    assert ids[0] == ids[1]
    (job_id,) = ids[0]
    place.finish(job_id)
    await one.gets(job_id, "finished")
    assert place.submissions() == [job_id]


# -- the lease itself ----------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def two_leases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Lease, Lease, Clock, Clock]:
    """Leases of two machines: neither can see the other's process."""
    monkeypatch.setattr(lease_module, "is_gone", lambda process: False)
    clocks = Clock(), Clock()
    leases = [
        Lease(JobStore(tmp_path / "jobs.sqlite"), beat=5, patience=25, clock=clock)
        for clock in clocks
    ]
    return leases[0], leases[1], clocks[0], clocks[1]


def test_lease_is_taken_only_when_its_pulse_stands_still(
    two_leases: tuple[Lease, Lease, Clock, Clock],
) -> None:
    one, two, here_clock, there_clock = two_leases
    assert one.look()
    for _ in range(10):  # the other's clock runs ten times as fast: the pulse is what counts
        here_clock.now += 6
        there_clock.now += 20
        assert one.look()
        assert not two.look()
    there_clock.now += 24
    assert not two.look()
    there_clock.now += 2
    assert two.look()
    assert not one.look()
    assert not one.held


def test_runner_that_was_away_writes_nothing_any_more(
    two_leases: tuple[Lease, Lease, Clock, Clock],
) -> None:
    one, two, _, there_clock = two_leases
    assert one.look()
    assert not two.look()
    there_clock.now += 30
    assert two.look()
    store = one._store
    job_id = "j-any"
    for write in (
        lambda: store.update(job_id, holder=one.token, message="x"),
        lambda: store.set_state(job_id, {}, holder=one.token),
        lambda: store.append_logs(job_id, [], {}, holder=one.token),
        lambda: store.rest(job_id, "x", asked=True, holder=one.token),
    ):
        with pytest.raises(LeaseLost):
            write()
    one.release()
    assert two.look(), "what is not held is not given back"


def test_lease_that_is_given_back_is_free_at_once(
    two_leases: tuple[Lease, Lease, Clock, Clock],
) -> None:
    one, two, _, _ = two_leases
    assert one.look()
    assert not two.look()
    one.release()
    assert two.look()
    assert not one.look()


def test_process_is_gone_only_when_that_is_certain() -> None:
    me = here()
    assert not is_gone(me)
    assert is_gone(me.replace(f'"pid": {os.getpid()}', '"pid": 4194305'))
    assert is_gone(me.replace('"started": "', '"started": "1')), "the number was used again"
    elsewhere = me.replace('"pid": ', '"pid": 99').replace('"host": "', '"host": "not-')
    assert not is_gone(elsewhere)
