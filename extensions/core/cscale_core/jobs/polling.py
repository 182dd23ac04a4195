"""Watching many jobs at one service that has to be asked: one watch for all of them.

A service (an openEO back end, a scheduler) often answers for all jobs of a user in one request.
The :class:`Watch` asks so, spends for a round what its jobs would cost if each were asked for by
itself, and wakes a job only when something about it changed. How soon it looks again follows from
what is known: the age of the jobs (a young one is asked for at doubling intervals, an old one at
most once a minute), their progress, and how long jobs took there before (:class:`Durations`).
Trouble makes it wait, longer each time, with jitter, so that many servers do not come back in
step; a :class:`Limiter` holds the requests of one service below a fixed rate whatever happens.

All of it lives on one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from cscale_core.errors import CScaleError

_logger = logging.getLogger(__name__)

T = TypeVar("T")


#: Up to so many jobs of a service the time between two rounds does not depend on their number.
FEW = 8
#: Durations remembered of each phase of jobs, and those of them that make an expectation.
REMEMBERED = 50
ENOUGH = 5


@dataclass(frozen=True)
class Pace:
    """How often a service is asked; seconds unless said otherwise.

    :ivar prompt: between something that was asked of a job and the look at what came of it.
    :ivar soonest: between two looks at a job, at least.
    :ivar longest: between two looks at a job, at most.
    :ivar slowing: an old job is asked for at intervals of its age divided by this.
    :ivar round: between two looks at a young job, or two rounds over a few, when no end is near.
    :ivar rate: requests a second that a service may be asked, over any minute.
    :ivar burst: requests of them that may follow each other at once.
    :ivar retry: before the first attempt after trouble; doubles, with jitter.
    :ivar retry_longest: between two attempts in long trouble.
    :ivar patience: trouble that ends before is not told to the jobs.
    """

    prompt: float = 1.5
    soonest: float = 5.0
    longest: float = 60.0
    slowing: float = 20.0
    round: float = 9.5
    rate: float = 1.0
    burst: float = 12.0
    retry: float = 5.0
    retry_longest: float = 300.0
    patience: float = 15.0

    def alone(self, age: float, left: float | None = None) -> float:
        """Seconds to the next look at a job of this age that is asked for by itself.

        :param left: seconds that it is expected to go on as it is. Half of them are waited, within
            a quarter and four times of what the age alone gives: what is expected may be wrong.
        """
        wait = max(self.soonest, min(2 * age, self.round), age / self.slowing)
        if left is not None:
            wait = min(4 * wait, max(wait / 4, left / 2))
        return min(self.longest, max(self.soonest, wait))

    def at_least_every(self, seconds: float | None) -> Pace:
        """This pace with looks at young jobs no further apart; itself for None."""
        if seconds is None:
            return self
        return replace(self, round=min(self.round, seconds), soonest=min(self.soonest, seconds))

    @property
    def filling(self) -> float:
        """Turns a second that come back, so that a minute with a burst in it keeps the rate."""
        return max(self.rate - self.burst / 60, self.rate / 2)

    def together(self, waits: Iterable[float], cost: int) -> float:
        """Seconds between two rounds over jobs that, alone, would be looked at after these.

        A round may happen as often as its requests are covered by what the jobs would cost
        alone, and uses at most half of the rate; the rest is for what the changes bring. Changes
        come as often as there are jobs, and the best interval falls with the root of that.

        :param cost: requests of one round.
        """
        bound = cost / (0.5 * self.rate)
        known = list(waits)
        if not known:
            return max(self.longest, bound)
        covered = cost / sum(1 / wait for wait in known)
        least = self.round * min(1.0, math.sqrt(FEW / len(known)))
        return max(min(covered, self.longest), min(least, *known), bound)


class Durations:
    """How long the jobs of a service stayed in each of their phases (queued, running)."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[float]] = {}

    def add(self, phase: str, seconds: float) -> None:
        """A job left a phase after so long."""
        self._seen.setdefault(phase, deque(maxlen=REMEMBERED)).append(seconds)

    def left(self, phase: str, age: float) -> float | None:
        """Seconds after which a quarter of the jobs that came this far had left the phase.

        None while too few did come this far.
        """
        longer = sorted(seconds for seconds in self._seen.get(phase, ()) if seconds > age)
        return longer[len(longer) // 4] - age if len(longer) >= ENOUGH else None


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


class Looker(ABC, Generic[T]):
    """Asks the service."""

    @abstractmethod
    def cost(self, jobs: int) -> int:
        """Requests that a look at so many jobs takes, as far as is known."""

    @abstractmethod
    async def look(self, due: Sequence[str], followed: Sequence[str]) -> Looked[T]:
        """Look at the jobs that are due, or at all that are followed when that costs less.

        :raises CScaleError: when the service cannot be asked at all.
        """

    def phase(self, state: T) -> str:
        """The phase that a state belongs to, by which durations are learnt; one word."""
        return ""

    def progress(self, state: T) -> float | None:
        """How much of its phase a job has done, 0 to 1; None: not known."""
        return None


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
        #: When its present phase began; None: before anybody here looked.
        self.since: float | None = None
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
    """Follows all jobs of one service with one task, which lives while there are any.

    :ivar durations: how long jobs took there.
    """

    def __init__(self, looker: Looker[T], pace: Pace) -> None:
        self._looker = looker
        self._pace = pace
        self.durations = Durations()
        self._backoff = Backoff(pace.retry, pace.retry_longest)
        self._subscriptions: dict[str, Subscription[T]] = {}
        self._called = asyncio.Event()
        self._encouraged = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._rounded = float("-inf")
        self._hurried = float("inf")
        self._troubled: float | None = None

    def follow(self, identifier: str, age: float = 0.0) -> Subscription[T]:
        """Begin to follow a job; :meth:`leave` ends it.

        :param age: seconds since it was submitted.
        """
        now = asyncio.get_running_loop().time()
        subscription = Subscription[T](identifier, now - max(0.0, age))
        # Nothing is to be seen in the first moment of a job that was just started.
        subscription.due = now if age else now + self._pace.soonest
        self._subscriptions[identifier] = subscription
        self._called.set()
        if self._task is None or self._task.done():
            self._rounded = float("-inf") if age else now
            self._task = asyncio.get_running_loop().create_task(self._run(), name="watch")
        return subscription

    def leave(self, subscription: Subscription[T]) -> None:
        """Follow a job no longer."""
        if self._subscriptions.get(subscription.identifier) is subscription:
            del self._subscriptions[subscription.identifier]
            self._called.set()

    def hurry(self, identifier: str, seconds: float | None = None) -> None:
        """Something was asked of a job: look soon, and often for a while.

        :param seconds: to the first look; default: the pace's ``prompt``.
        """
        subscription = self._subscriptions.get(identifier)
        if subscription is not None:
            now = asyncio.get_running_loop().time()
            wait = self._pace.prompt if seconds is None else seconds
            subscription.born, subscription.due = now, now + wait
            self._hurried = min(self._hurried, subscription.due)
            self._called.set()

    def encourage(self) -> None:
        """What troubled the service may be over (a new login): do not wait for the next attempt."""
        self._encouraged.set()

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
        waits = [self._wait(entry, now) for entry in self._subscriptions.values()]
        between = self._pace.together(waits, self._looker.cost(jobs))
        jitter = random.uniform(0.8, 1.2)  # noqa: S311 - not a secret
        return min(self._hurried, self._rounded + between * jitter)

    def _wait(self, entry: Subscription[T], now: float) -> float:
        """Seconds to the next look at a job, if it were alone."""
        age = now - entry.born
        left = None
        if entry.state is not None and entry.since is not None:
            spent = now - entry.since
            done = self._looker.progress(entry.state)
            if done:
                left = spent * (1 - done) / done
            else:
                left = self.durations.left(self._looker.phase(entry.state), spent)
        return self._pace.alone(age, left)

    def _told(self, entry: Subscription[T], state: T, now: float) -> None:
        """What the service says of a job now; the phase that ended by it is remembered."""
        phase = self._looker.phase(state)
        if entry.state is not None and phase != (before := self._looker.phase(entry.state)):
            if entry.since is not None:
                self.durations.add(before, now - entry.since)
            entry.since = now
        elif entry.state is None and now - entry.born < self._pace.longest:
            entry.since = entry.born
        entry._told(state)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.0
        while self._subscriptions:
            if pause:
                await first_of([self._encouraged], pause)
            if not await self._until_due():
                continue
            now = loop.time()
            due = [name for name, entry in self._subscriptions.items() if entry.due <= now]
            self._rounded, self._hurried = now, float("inf")
            self._encouraged.clear()
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
                self._told(entry, looked.found[name], now)
            elif name in looked.gone:
                entry.gone = looked.gone[name]
                entry.wake()
            elif name in looked.failed:
                if entry.trouble is None:
                    entry.trouble = looked.failed[name]
                    entry.wake()
            else:
                continue
            entry.due = now + self._wait(entry, now)


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
