"""How fast bytes arrive, and how long the rest will take, in plain words."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

#: The speed is that of the last seconds: sources slow down and recover.
WINDOW_SECONDS = 15.0
_SETTLED_SECONDS = 2.0
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def bytes_in_words(count: float) -> str:
    """A number of bytes with two or three digits, decimal units: ``1.3 GB``."""
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.1f} {unit}" if count < 9.95 and unit != "B" else f"{count:.0f} {unit}"


def seconds_in_words(seconds: float) -> str:
    """A time that is not exact: ``about 3 minutes``."""
    if seconds < 50:
        return "less than a minute"
    for size, word, limit in ((60, "minute", 90 * 60), (3600, "hour", 36 * 3600)):
        if seconds < limit:
            count = max(1, round(seconds / size))
            return f"about {count} {word}" + ("s" if count > 1 else "")
    return f"about {round(seconds / 86400)} days"


class Pace:
    """The speed of one staging.

    :param now: seconds of a clock that only goes forward.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: deque[tuple[float, int]] = deque([(now(), 0)])
        self.total = 0

    def add(self, count: int) -> None:
        """Some bytes arrived."""
        self.total += count
        now = self._now()
        last = self._seen[-1]
        # One entry for a fifth of a second: chunks may be small and many.
        if len(self._seen) > 1 and now - last[0] < 0.2:
            self._seen[-1] = (last[0], self.total)
        else:
            self._seen.append((now, self.total))
        while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW_SECONDS:
            self._seen.popleft()

    def rate(self) -> float | None:
        """Bytes a second, or None as long as nothing can be said."""
        begun, before = self._seen[0]
        passed = self._now() - begun
        return (self.total - before) / passed if passed >= _SETTLED_SECONDS else None

    def words(self, missing: int | None) -> str:
        """``24 MB/s, about 3 minutes left``, or nothing where nothing can be said.

        :param missing: bytes that have not arrived; None where that is not known.
        """
        rate = self.rate()
        if not rate:
            return ""
        speed = f"{bytes_in_words(rate)}/s"
        return f"{speed}, {seconds_in_words(missing / rate)} left" if missing else speed
