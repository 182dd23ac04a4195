"""What the tests wait with: it gives what came, and says what did not."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.waiting import soon, until


def test_what_came_is_given() -> None:
    count = itertools.count()
    assert until(lambda: next(count), "a number", pause=0) == 1
    assert until(lambda: next(count), "five", fits=lambda seen: seen == 5, pause=0) == 5


def test_what_did_not_come_is_named_with_the_time_and_what_was_seen() -> None:
    with pytest.raises(AssertionError, match=r"^its end did not come about within 0\.1 s$"):
        until(lambda: False, "its end", 0.1)
    with pytest.raises(AssertionError, match=r"within 0 s; seen last: 'running'\nthe log$"):
        until(lambda: "running", "its end", 0, fits=lambda seen: False, beside=lambda: "the log")


def test_it_is_looked_once_more_when_the_time_is_over() -> None:
    count = itertools.count()
    assert until(lambda: next(count), "a late answer", 0.01, pause=0.02) == 1


def test_only_named_errors_mean_not_yet() -> None:
    looks = iter([KeyError("a"), 1])

    def look() -> int:
        match next(looks):
            case Exception() as error:
                raise error
            case number:
                return number

    assert until(look, "an answer", despite=KeyError) == 1
    looks = iter([KeyError("b")])
    with pytest.raises(KeyError, match="b"):
        until(look, "an answer", despite=(OSError, ValueError))
    looks = itertools.repeat(KeyError("c"))
    with pytest.raises(AssertionError, match="seen last: KeyError") as caught:
        until(look, "an answer", 0, despite=KeyError)
    assert isinstance(caught.value.__cause__, KeyError)


async def test_tasks_go_on_meanwhile_and_coroutines_are_awaited() -> None:
    done = asyncio.Event()

    async def look() -> str:
        return "done" if done.is_set() else ""

    async def log() -> str:
        return "the log"

    asyncio.get_running_loop().call_later(0.05, done.set)
    assert await soon(done.is_set, "the event", pause=0.01) is True
    assert await soon(look, "the event") == "done"
    with pytest.raises(AssertionError, match=r"the other did not .*\nthe log"):
        await soon(lambda: None, "the other", 0, beside=log)
