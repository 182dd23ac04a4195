"""How often one caller may ask: a bucket of tokens that fills at a steady rate."""

from __future__ import annotations

import time
from collections.abc import Callable

from cscale_hub.broker.config import RateLimit
from cscale_hub.broker.errors import TooManyRequestsError

_KEPT = 10_000


class RateLimiter:
    """One bucket per caller; full buckets are forgotten."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = float(limit.burst)
        self._rate = limit.per_minute / 60
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> None:
        """Count one request.

        :raises TooManyRequestsError: with the seconds to wait.
        """
        now = self._clock()
        level, then = self._buckets.get(caller, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._rate)
        if level < 1:
            self._buckets[caller] = (level, now)
            raise TooManyRequestsError(
                "Too many requests for credentials.",
                hint="Keep credentials until shortly before they expire.",
                retry_after=(1 - level) / self._rate,
            )
        self._buckets[caller] = (level - 1, now)
        if len(self._buckets) > _KEPT:
            self._forget(now)

    def _forget(self, now: float) -> None:
        full = [
            caller
            for caller, (level, then) in self._buckets.items()
            if level + (now - then) * self._rate >= self._burst
        ]
        for caller in full:
            del self._buckets[caller]
