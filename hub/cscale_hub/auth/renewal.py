"""When a login is looked at again, by how many at a time, and for how long an outage is waited out.

JupyterHub asks for a look once per request, so many requests of one person ask at the same time;
refresh tokens are rotated, so the second use of one ends the session. Nothing here knows OAuth.
"""

from __future__ import annotations

import asyncio
import random
import time
import weakref
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_RANDOM = random.SystemRandom()
_EARLIEST = 0.9
_FIRST_PAUSE = 1.0


def renewal_time(now: float, lifetime: float, ahead: float) -> float:
    """When a token that was given now is to be renewed.

    ``ahead`` seconds before its end, or after a third of its life when it is short; by chance up to
    a tenth earlier, so that those who logged in together (a course) do not renew together.
    """
    latest = max(lifetime - ahead, lifetime / 3)
    return now + latest * _RANDOM.uniform(_EARLIEST, 1.0)


class OneAtATime:
    """Work of which there is one at a time for each key; all who ask meanwhile get its answer.

    The work goes on when who asked for it first goes away: a rotated refresh token that was
    received must also be kept.
    """

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Future[Any]] = {}
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    def lock(self, name: str) -> asyncio.Lock:
        """The lock of one person, for work of different keys."""
        found = self._locks.get(name)
        if found is None:
            found = self._locks[name] = asyncio.Lock()
        return found

    async def run(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The answer of the work under way, or of this one."""
        task: asyncio.Future[Any] | None = self._tasks.get(key)
        if task is None:
            task = asyncio.ensure_future(work())
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        answer: T = await asyncio.shield(task)
        return answer

    def _done(self, key: Hashable, task: asyncio.Future[Any]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled():
            task.exception()  # told to who waits; seen here in case that nobody does


class Outage:
    """Whether the identity provider is to be left alone for now.

    After each failure in a row the pause doubles, up to a bound, and is shortened by chance so that
    several hubs do not come back together. Failures of questions that were under way together
    count as one.

    :param longest: seconds that a pause has at most.
    """

    def __init__(self, longest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest = longest
        self._clock = clock
        self._failures = 0
        self._failed_at = float("-inf")
        self._until = float("-inf")

    def now(self) -> float:
        """The time by which questions are dated."""
        return self._clock()

    @property
    def waiting(self) -> bool:
        """Whether the pause is not over."""
        return self._clock() < self._until

    def failed(self, asked_at: float) -> float:
        """A question failed; the seconds of the pause from now on."""
        now = self._clock()
        if asked_at >= self._failed_at:
            self._failures += 1
            pause = min(self._longest, _FIRST_PAUSE * 2.0 ** min(self._failures - 1, 30))
            self._until = now + pause * _RANDOM.uniform(0.5, 1.0)
            self._failed_at = now
        return max(0.0, self._until - now)

    def over(self) -> None:
        """A question was answered."""
        self._failures = 0
        self._until = float("-inf")
