"""When a login is renewed, one look at a time, and how long a silent provider is left alone."""

from __future__ import annotations

import asyncio

import pytest

from cscale_hub.auth.renewal import OneAtATime, Outage, renewal_time


@pytest.mark.parametrize(
    ("lifetime", "ahead", "earliest", "latest"),
    [(3600, 1500, 1890, 2100), (60, 1500, 18, 20), (1800, 1500, 540, 600), (0, 1500, 0, 0)],
)
def test_renewal_is_ahead_of_the_end_and_not_for_all_at_once(
    lifetime: float, ahead: float, earliest: float, latest: float
) -> None:
    times = [renewal_time(1000.0, lifetime, ahead) - 1000.0 for _ in range(200)]
    assert all(earliest - 1e-6 <= each <= latest + 1e-6 for each in times)
    assert lifetime == 0 or len(set(times)) > 100


async def test_all_who_ask_meanwhile_get_the_same_answer_and_then_it_is_asked_again() -> None:
    asked = 0
    gate = asyncio.Event()

    async def work() -> int:
        nonlocal asked
        asked += 1
        await gate.wait()
        return asked

    once = OneAtATime()
    waiting = [asyncio.ensure_future(once.run("a", work)) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*waiting) == [1] * 5
    assert await once.run("a", work) == 2


async def test_failure_is_told_to_all_and_not_kept() -> None:
    once = OneAtATime()

    async def fails() -> None:
        raise ValueError("no")

    async def works() -> str:
        return "yes"

    told = await asyncio.gather(*(once.run("a", fails) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in told] == [ValueError] * 3
    assert await once.run("a", works) == "yes"


def test_pause_doubles_up_to_its_bound_and_ends_with_an_answer() -> None:
    now = 0.0
    outage = Outage(longest=60.0, clock=lambda: now)
    assert not outage.waiting
    for most in (1, 2, 4, 8, 16, 32, 60, 60):
        pause = outage.failed(now)
        assert most / 2 <= pause <= most
        assert outage.waiting
        now += pause + 0.001
        assert not outage.waiting
    outage.failed(now)
    outage.over()
    assert not outage.waiting
    assert outage.failed(now) <= 1


def test_failures_of_questions_asked_together_count_once() -> None:
    now = 10.0
    outage = Outage(longest=60.0, clock=lambda: now)
    for _ in range(50):
        outage.failed(asked_at=9.0)
    assert outage.failed(asked_at=9.0) <= 1
