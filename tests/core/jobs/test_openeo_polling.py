"""How often a service is asked, and that nothing makes it more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cscale_core.errors import CScaleError, NotFound, UpstreamError
from cscale_core.jobs.polling import (
    Backoff,
    Durations,
    Limiter,
    Looked,
    Looker,
    Pace,
    Places,
    Watch,
)

QUICK = Pace(
    prompt=0.01,
    soonest=0.02,
    longest=0.05,
    round=0.02,
    rate=10_000,
    burst=10_000,
    retry=0.02,
    retry_longest=0.05,
    patience=0.0,
)


class Service(Looker[str]):
    """Says of each job what the test put there."""

    def __init__(self, price: int = 1) -> None:
        self.said: dict[str, str] = {}
        self.gone: set[str] = set()
        self.fails: Exception | None = None
        self.price = price
        self.looks: list[tuple[list[str], list[str]]] = []
        self.done: float | None = None

    def phase(self, state: str) -> str:
        return state

    def progress(self, state: str) -> float | None:
        return self.done

    def cost(self, jobs: int) -> int:
        return min(jobs, self.price)

    async def look(self, due: Sequence[str], followed: Sequence[str]) -> Looked[str]:
        self.looks.append((list(due), list(followed)))
        if self.fails is not None:
            raise self.fails
        return Looked(
            found={name: said for name, said in self.said.items() if name not in self.gone},
            gone={name: NotFound("gone") for name in self.gone},
        )


def test_job_is_asked_for_less_often_as_it_grows_old() -> None:
    pace = Pace()
    ages = (0, 4, 16, 80, 240, 480, 86_400)
    assert [pace.alone(age) for age in ages] == [5.0, 8.0, 9.5, 9.5, 12.0, 24.0, 60.0]


def test_job_is_asked_for_more_often_when_its_end_is_near_and_less_when_it_is_far() -> None:
    pace = Pace()
    assert pace.alone(480, left=20) == 10.0
    assert pace.alone(480, left=0) == 6.0
    assert pace.alone(80, left=70) == 35.0
    assert pace.alone(80, left=1e6) == 38.0
    assert pace.alone(3600, left=1e6) == 60.0
    assert pace.alone(5, left=0) == 5.0


def test_a_back_end_of_our_own_is_looked_at_more_often_while_its_jobs_are_young() -> None:
    pace = Pace().at_least_every(2.0)
    assert [pace.alone(age) for age in (0, 10, 60, 240, 3600)] == [2.0, 2.0, 3.0, 12.0, 60.0]
    assert Pace().at_least_every(None) == Pace()
    assert Pace().at_least_every(30.0) == Pace()


def test_durations_expect_a_quarter_of_those_that_came_so_far() -> None:
    durations = Durations()
    for seconds in (10, 100, 110, 120, 130, 140, 150, 160):
        durations.add("running", seconds)
    assert durations.left("running", 20) == 90
    assert durations.left("running", 125) is None  # four came this far
    assert durations.left("running", 118) == pytest.approx(12)
    assert durations.left("queued", 5) is None


def test_round_over_many_jobs_costs_no_more_than_asking_for_each() -> None:
    pace = Pace()
    old, young = pace.alone(3600), pace.alone(0)
    assert pace.together([old] * 1000, 1) == 2.0  # half of the rate
    assert pace.together([old] * 32, 1) == pace.round / 2
    assert pace.together([old] * 4, 1) == pytest.approx(15.0)
    assert pace.together([old], 1) == 60.0
    assert pace.together([old] * 5 + [young], 1) == young


@given(st.lists(st.floats(0, 1e6), max_size=1000), st.integers(1, 200))
def test_rounds_stay_below_the_rate_whatever_is_followed(ages: list[float], cost: int) -> None:
    pace = Pace()
    waits = [pace.alone(age) for age in ages]
    assert cost / pace.together(waits, cost) <= 0.5 * pace.rate + 1e-9


def test_back_off_doubles_with_jitter_up_to_a_bound_and_begins_anew() -> None:
    backoff = Backoff(5.0, 300.0)
    waits = [backoff.failed() for _ in range(60)]
    assert 2.5 <= waits[0] <= 5.0
    assert 5.0 <= waits[1] <= 10.0
    assert all(150.0 <= wait <= 300.0 for wait in waits[10:])
    assert len({round(wait, 3) for wait in waits[10:]}) > 10
    backoff.succeeded()
    assert backoff.failed() <= 5.0


async def test_limiter_lets_a_burst_through_and_then_holds_the_rate() -> None:
    limiter = Limiter(rate=50.0, burst=5.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    moments = []
    for _ in range(15):
        await limiter.turn()
        moments.append(loop.time() - began)
    assert moments[-1] >= 10 / 50.0 * 0.95


async def test_minute_with_a_burst_in_it_keeps_the_rate() -> None:
    pace = Pace()
    assert pace.burst + 60 * pace.filling <= 60 * pace.rate


async def test_watching_waits_for_what_users_asked_beside_it() -> None:
    limiter = Limiter(rate=0.001, burst=4.0)
    acts = Limiter(rate=1000.0, burst=10.0, beside=limiter)
    await limiter.turn()
    for _ in range(2):
        await acts.turn()
    await limiter.turn()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await limiter.turn()


async def test_what_can_wait_leaves_half_of_the_turns_to_the_others() -> None:
    limiter = Limiter(rate=0.001, burst=6.0)
    for _ in range(3):
        await limiter.spare()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await limiter.spare()
    for _ in range(3):
        await limiter.turn()


async def test_only_a_change_wakes_a_job() -> None:
    service = Service()
    watch = Watch(service, QUICK)
    service.said = {"a": "running", "b": "running"}
    first, second = watch.follow("a"), watch.follow("b")
    assert await first.news(5)
    assert await second.news(5)
    service.said["a"] = "finished"
    assert await first.news(5)
    assert first.state == "finished"
    assert not await second.news(0.2)
    assert len(service.looks) > 3
    await watch.close()


async def test_jobs_that_are_dearer_together_are_asked_for_when_each_is_due() -> None:
    service = Service(price=100)
    watch = Watch(service, Pace(soonest=0.05, longest=10.0, slowing=0.001, rate=1000))
    service.said = {"old": "running", "new": "running"}
    old, new = watch.follow("old", age=3600), watch.follow("new")
    assert await old.news(5)
    assert await new.news(5)
    assert all(due for due, _ in service.looks)
    assert sum("old" in due for due, _ in service.looks) == 1
    await watch.close()


async def test_trouble_is_told_once_and_ends_with_the_next_answer() -> None:
    service = Service()
    watch = Watch(service, QUICK)
    service.said = {"a": "running"}
    job = watch.follow("a")
    await job.news(5)
    service.fails = UpstreamError("down", retryable=True)
    assert await job.news(5)
    assert isinstance(job.trouble, CScaleError)
    assert not await job.news(0.3)
    service.fails = None
    assert await job.news(5)
    assert job.trouble is None
    assert job.state == "running"
    await watch.close()


async def test_trouble_that_passes_soon_is_not_told() -> None:
    service = Service()
    watch = Watch(service, Pace(**{**QUICK.__dict__, "patience": 60.0}))
    service.said = {"a": "running"}
    job = watch.follow("a")
    await job.news(5)
    service.fails = UpstreamError("down", retryable=True)
    looks = len(service.looks)
    while len(service.looks) < looks + 4:
        assert not await job.news(0.05)
    await watch.close()
    assert job.trouble is None


async def test_mistake_in_looking_does_not_leave_jobs_unwatched() -> None:
    service = Service()
    watch = Watch(service, QUICK)
    service.said = {"a": "running"}
    job = watch.follow("a")
    await job.news(5)
    service.fails = KeyError("jobs")
    assert await job.news(5)
    service.fails, service.said = None, {"a": "finished"}
    assert await job.news(5)
    assert job.state == "finished"
    await watch.close()


async def test_watch_rests_when_nothing_is_followed_and_wakes_again() -> None:
    service = Service()
    watch = Watch(service, QUICK)
    service.said = {"a": "running"}
    job = watch.follow("a")
    await job.news(5)
    watch.leave(job)
    await asyncio.sleep(0.1)
    looks = len(service.looks)
    await asyncio.sleep(0.2)
    assert len(service.looks) == looks
    again = watch.follow("a")
    assert await again.news(5)
    await watch.close()


async def test_place_that_is_free_goes_to_who_came_first() -> None:
    places = Places()
    came: list[str] = []
    ended = asyncio.Event()

    async def wait(name: str) -> None:
        await places.wait(60, ended)
        came.append(name)

    tasks = [asyncio.create_task(wait(name)) for name in "abc"]
    await asyncio.sleep(0)
    for expected in ("a", "b"):
        places.freed()
        while expected not in came:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert came == ["a", "b"]
    ended.set()
    await asyncio.gather(*tasks)
    assert came == ["a", "b", "c"]


async def test_intervals_of_a_watch_have_jitter() -> None:
    service = Service()
    loop = asyncio.get_running_loop()
    moments: list[float] = []
    look = service.look

    async def timed(due: Sequence[str], followed: Sequence[str]) -> Looked[str]:
        moments.append(loop.time())
        return await look(due, followed)

    service.look = timed  # type: ignore[method-assign]
    watch = Watch(service, Pace(**{**QUICK.__dict__, "round": 0.1}))
    for name in "abc":
        watch.follow(name, age=100)
    while len(moments) < 8:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    await watch.close()
    between = [later - earlier for earlier, later in pairwise(moments)]
    assert min(between) >= 0.035
    assert max(between) - min(between) > 0.002


@pytest.mark.parametrize("how", ["progress", "durations"])
async def test_far_end_makes_a_job_be_asked_for_less(how: str) -> None:
    service = Service()
    pace = Pace(soonest=0.02, longest=60.0, round=0.05, slowing=1e9, rate=1e4, burst=1e4)
    watch = Watch(service, pace)
    service.said = {"a": "running"}
    if how == "progress":
        service.done = 0.001
    else:
        for _ in range(5):
            watch.durations.add("running", 3600.0)
    job = watch.follow("a")
    assert await job.news(5)
    await asyncio.sleep(1.0)
    looks = len(service.looks)
    await watch.close()
    # By its age alone it is asked for 20 times a second.
    assert looks <= 10


async def test_what_was_asked_of_a_job_is_looked_for_at_once() -> None:
    service = Service()
    pace = Pace(prompt=0.01, soonest=600.0, longest=600.0, round=600.0, rate=1e4, burst=1e4)
    for name in ("a", "b"):
        service.said[name] = "running"
    watch = Watch(service, pace)
    jobs = [watch.follow(name, age=3600) for name in service.said]
    for job in jobs:
        assert await job.news(5)
    service.said["a"] = "canceled"
    watch.hurry("a")
    assert await jobs[0].news(5)
    assert jobs[0].state == "canceled"
    await watch.close()


async def test_watch_remembers_how_long_phases_took() -> None:
    service = Service()
    watch = Watch(service, QUICK)
    service.said = {"a": "queued"}
    job = watch.follow("a")
    for said in ("running", "finished"):
        await job.news(5)
        await asyncio.sleep(0.1)
        service.said = {"a": said}
    await job.news(5)
    await watch.close()
    for phase in ("queued", "running"):
        for _ in range(4):
            watch.durations.add(phase, 1e6)
        left = watch.durations.left(phase, 0.0)
        assert left is not None
        assert left >= 0.1


async def test_new_login_ends_the_wait_for_the_next_attempt() -> None:
    service = Service()
    watch = Watch(service, Pace(**{**QUICK.__dict__, "retry": 600.0, "retry_longest": 600.0}))
    service.said = {"a": "running"}
    service.fails = UpstreamError("down", retryable=True)
    job = watch.follow("a")
    assert await job.news(5)
    assert job.trouble is not None
    service.fails = None
    watch.encourage()
    assert await job.news(5)
    assert job.trouble is None
    await watch.close()
