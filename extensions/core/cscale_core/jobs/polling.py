"""Watching many jobs at one service that has to be asked: one watch for all of them.

A service (an openEO back end, a scheduler) often answers for all jobs of a user in one request.
The :class:`Watch` asks so, spends for a round what its jobs would cost if each were asked for by
itself, and wakes a job only when something about it changed. A young job is asked for often, an
old one at most once a minute. Trouble makes it wait, longer each time, with jitter, so that many
servers do not come back in step; a :class:`Limiter` holds the requests of one service below a
fixed rate whatever happens.

All of it lives on one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from cscale_core.errors import CScaleError

_logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Pace:
    """How often a service is asked; seconds unless said otherwise.

    :ivar soonest: between two looks at a job just submitted.
    :ivar longest: between two looks at an old job.
    :ivar slowing: a job is asked for at intervals of its age divided by this.
    :ivar round: between two rounds over all jobs, at least; half of it while a job is young.
    :ivar young: age up to which a job is young.
    :ivar rate: requests a second that a service may be asked, over any minute.
    :ivar burst: requests of them that may follow each other at once.
    :ivar retry: before the first attempt after trouble; doubles, with jitter.
    :ivar retry_longest: between two attempts in long trouble.
    :ivar patience: trouble that ends before is not told to the jobs.
    """

    soonest: float = 2.0
    longest: float = 60.0
    slowing: float = 8.0
    round: float = 5.0
    young: float = 20.0
    rate: float = 1.0
    burst: float = 12.0
    retry: float = 5.0
    retry_longest: float = 300.0
    patience: float = 15.0

    def alone(self, age: float) -> float:
        """Seconds between two looks at a job of this age that is asked for by itself."""
        return min(self.longest, max(self.soonest, age / self.slowing))

    @property
    def filling(self) -> float:
        """Turns a second that come back, so that a minute with a burst in it keeps the rate."""
        return max(self.rate - self.burst / 60, self.rate / 2)

    def together(self, ages: Iterable[float], cost: int) -> float:
        """Seconds between two rounds over jobs of these ages.

        A round may happen as often as its requests are covered by what the jobs would cost
        alone, and uses at most half of the rate; the rest is for what the changes bring.

        :param cost: requests of one round.
        """
        known = list(ages)
        wanted = cost / sum(1 / self.alone(age) for age in known) if known else self.longest
        least = self.round / 2 if any(age < self.young for age in known) else self.round
        return max(min(wanted, self.longest), least, cost / (0.5 * self.rate))


class Backoff:
    """How long to wait after the next failure: doubling, with jitter, up to a bound."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._failures = 0

    def failed(self) -> float:
        """Count one more failure; seconds to wait."""
        bound = min(self._longest, self._first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return bound * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret

    def succeeded(self) -> None:
        """Begin anew."""
        self._failures = 0


class Limiter:
    """Holds requests below a rate: a bucket of ``burst`` turns, filled at ``rate`` a second.

    :param beside: a slower limiter of the same service, for which the turns given here count too:
        those that wait there wait the longer for them.
    """

    def __init__(self, rate: float, burst: float, beside: Limiter | None = None) -> None:
        self._rate = rate
        self._beside = beside
        self._burst = burst
        self._turns = burst
        self._filled = 0.0
        self._lock = asyncio.Lock()

    def _fill(self) -> None:
        now = asyncio.get_running_loop().time()
        self._turns = min(self._burst, self._turns + (now - self._filled) * self._rate)
        self._filled = now

    async def turn(self) -> None:
        """Wait for a turn; first come, first served."""
        async with self._lock:
            await self._filled_to(1.0)
            self._turns -= 1.0
        if self._beside is not None:
            self._beside._debit()

    async def spare(self) -> None:
        """Take a turn only when more than half of them are left: for what can wait."""
        while True:
            await self._filled_to(1.0 + self._burst / 2)
            if self.spare_now():
                return
            await asyncio.sleep(1 / self._rate)

    def spare_now(self) -> bool:
        """The same without waiting: whether there was one to take."""
        self._fill()
        if self._turns < 1.0 + self._burst / 2 or self._lock.locked():
            return False
        self._turns -= 1.0
        return True

    def _debit(self) -> None:
        self._fill()
        self._turns = max(self._turns - 1.0, -self._burst)

    async def _filled_to(self, needed: float) -> None:
        while True:
            self._fill()
            if self._turns >= needed:
                return
            await asyncio.sleep((needed - self._turns) / self._rate)


@dataclass
class Looked(Generic[T]):
    """What one look at a service brought.

    :ivar found: what it says of each job that it knows; may hold more than was asked for.
    :ivar gone: jobs it does not know.
    :ivar failed: jobs it could not say anything about this time.
    """

    found: dict[str, T] = field(default_factory=dict)
    gone: dict[str, CScaleError] = field(default_factory=dict)
    failed: dict[str, CScaleError] = field(default_factory=dict)


class Looker(Protocol[T]):
    """Asks the service."""

    def cost(self, jobs: int) -> int:
        """Requests that a look at so many jobs takes, as far as is known."""
        ...

    async def look(self, due: Sequence[str], followed: Sequence[str]) -> Looked[T]:
        """Look at the jobs that are due, or at all that are followed when that costs less.

        :raises CScaleError: when the service cannot be asked at all.
        """
        ...


class Subscription(Generic[T]):
    """What one job knows of itself; its task waits in :meth:`news`.

    :ivar state: what the service said last; None before its first answer.
    :ivar gone: why the service does not know the job, when it says so.
    :ivar trouble: why nothing is known at present; None when all is well.
    """

    def __init__(self, identifier: str, born: float) -> None:
        self.identifier = identifier
        self.born = born
        self.due = born
        self.state: T | None = None
        self.gone: CScaleError | None = None
        self.trouble: CScaleError | None = None
        self._fresh = asyncio.Event()

    def wake(self) -> None:
        """Let :meth:`news` return."""
        self._fresh.set()

    async def news(self, seconds: float | None = None) -> bool:
        """Wait until something changed, :meth:`wake` was called, or time is up (False)."""
        try:
            async with asyncio.timeout(seconds):
                await self._fresh.wait()
        except TimeoutError:
            return False
        self._fresh.clear()
        return True

    def _told(self, state: T) -> None:
        if state != self.state or self.trouble is not None or self.gone is not None:
            self.wake()
        self.state, self.trouble, self.gone = state, None, None


class Watch(Generic[T]):
    """Follows all jobs of one service with one task, which lives while there are any."""

    def __init__(self, looker: Looker[T], pace: Pace) -> None:
        self._looker = looker
        self._pace = pace
        self._backoff = Backoff(pace.retry, pace.retry_longest)
        self._subscriptions: dict[str, Subscription[T]] = {}
        self._called = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._rounded = float("-inf")
        self._troubled: float | None = None

    def follow(self, identifier: str, age: float = 0.0) -> Subscription[T]:
        """Begin to follow a job; :meth:`leave` ends it.

        :param age: seconds since it was submitted.
        """
        now = asyncio.get_running_loop().time()
        subscription = Subscription[T](identifier, now - max(0.0, age))
        # Nothing is to be seen in the first moment of a job that was just started.
        subscription.due = now if age else now + self._pace.soonest / 2
        self._subscriptions[identifier] = subscription
        self._called.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="watch")
        return subscription

    def leave(self, subscription: Subscription[T]) -> None:
        """Follow a job no longer."""
        if self._subscriptions.get(subscription.identifier) is subscription:
            del self._subscriptions[subscription.identifier]
            self._called.set()

    def hurry(self, identifier: str) -> None:
        """Something was asked of a job: look soon, and often for a while."""
        subscription = self._subscriptions.get(identifier)
        if subscription is not None:
            now = asyncio.get_running_loop().time()
            subscription.born, subscription.due = now, now + self._pace.soonest / 2
            self._called.set()

    async def close(self) -> None:
        """Stop watching."""
        self._subscriptions.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # -- the task ------------------------------------------------------------------------------

    def _all_at_once(self) -> bool:
        jobs = len(self._subscriptions)
        return self._looker.cost(jobs) < jobs

    def _next(self, now: float) -> float:
        """The moment of the next look."""
        soonest = min(entry.due for entry in self._subscriptions.values())
        if not self._all_at_once():
            return soonest
        jobs = len(self._subscriptions)
        ages = [now - entry.born for entry in self._subscriptions.values()]
        between = self._pace.together(ages, self._looker.cost(jobs))
        return self._rounded + between * random.uniform(0.9, 1.1)  # noqa: S311 - jitter

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.0
        while self._subscriptions:
            await asyncio.sleep(pause)
            if not await self._until_due():
                continue
            now = loop.time()
            due = [name for name, entry in self._subscriptions.items() if entry.due <= now]
            self._rounded = now
            try:
                looked = await self._looker.look(due, list(self._subscriptions))
            except CScaleError as error:
                pause = self._failed(error, loop.time())
                continue
            except Exception as error:
                # A mistake of ours must not leave every job of the service unwatched.
                _logger.exception("a look at the service failed")
                problem = CScaleError(f"Looking for news failed: {type(error).__name__}: {error}")
                pause = self._failed(problem, loop.time())
                continue
            if looked.failed and not looked.found and not looked.gone:
                pause = self._failed(next(iter(looked.failed.values())), loop.time())
                continue
            pause = 0.0
            self._succeeded(looked, loop.time())

    async def _until_due(self) -> bool:
        """Wait for the next look; False when what is followed changed and it has to be found."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._subscriptions:
                return False
            self._called.clear()
            left = self._next(loop.time()) - loop.time()
            if left <= 0:
                return True
            try:
                async with asyncio.timeout(left):
                    await self._called.wait()
            except TimeoutError:
                return bool(self._subscriptions)

    def _failed(self, error: CScaleError, now: float) -> float:
        if self._troubled is None:
            self._troubled = now
        if now - self._troubled >= self._pace.patience or not error.retryable:
            for entry in self._subscriptions.values():
                if entry.trouble is None or entry.trouble.code != error.code:
                    entry.trouble = error
                    entry.wake()
        return self._backoff.failed()

    def _succeeded(self, looked: Looked[T], now: float) -> None:
        self._troubled = None
        self._backoff.succeeded()
        for name, entry in self._subscriptions.items():
            if name in looked.found:
                entry._told(looked.found[name])
            elif name in looked.gone:
                entry.gone = looked.gone[name]
                entry.wake()
            elif name in looked.failed:
                if entry.trouble is None:
                    entry.trouble = looked.failed[name]
                    entry.wake()
            else:
                continue
            entry.due = now + self._pace.alone(now - entry.born)


class Places:
    """Jobs that wait for a free place at a service, in the order they came."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Event, None] = {}

    def freed(self) -> None:
        """A job ended: let the first of those that wait try."""
        for event in self._waiting:
            event.set()
            return

    async def wait(self, seconds: float, ended: asyncio.Event) -> None:
        """Until a place may be free, ``ended`` is set, or time is up."""
        mine = asyncio.Event()
        self._waiting[mine] = None
        try:
            await first_of((mine, ended), seconds)
        finally:
            del self._waiting[mine]


async def first_of(events: Iterable[asyncio.Event], seconds: float | None) -> bool:
    """Wait until one of the events is set (True) or time is up (False)."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for task in tasks:
            task.cancel()
