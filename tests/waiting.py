"""Waiting for what another process, thread or task brings about.

Both functions look again and again and give what the look gave once it is so. When it does not
come about in time, the error names it, with what was seen last. The last look is taken when the
time is over, so that a machine that was busy elsewhere takes nothing from the time.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
Errors = type[Exception] | tuple[type[Exception], ...]


def until(
    look: Callable[[], T],
    what: str,
    seconds: float = 120,
    *,
    fits: Callable[[T], object] = bool,
    despite: Errors = (),
    beside: Callable[[], object] | None = None,
    pause: float = 0.1,
) -> T:
    """Look until it is so.

    :param look: what is asked; what it gives is given back once it fits.
    :param what: what is waited for, as in "*its end* did not come about".
    :param fits: whether what was seen is what is waited for; else it has to be true.
    :param despite: errors of a look that mean "not yet".
    :param beside: gives what helps to understand the failure, a log for example.
    """
    seen: object = None
    for _ in _looks(seconds):
        try:
            found = look()
            if fits(found):
                return found
            seen = found
        except despite as error:
            seen = error
        time.sleep(pause)
    raise _in_vain(what, seconds, seen, beside and beside())


async def soon(
    look: Callable[[], T | Awaitable[T]],
    what: str,
    seconds: float = 120,
    *,
    fits: Callable[[T], object] = bool,
    despite: Errors = (),
    beside: Callable[[], object] | None = None,
    pause: float = 0.02,
) -> T:
    """As :func:`until`, while other tasks go on; ``look`` and ``beside`` may be coroutines."""
    seen: object = None
    for _ in _looks(seconds):
        try:
            found = await _given(look)
            if fits(found):
                return found
            seen = found
        except despite as error:
            seen = error
        await asyncio.sleep(pause)
    raise _in_vain(what, seconds, seen, beside and await _given(beside))


def _looks(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
    yield


async def _given(call: Callable[[], T | Awaitable[T]]) -> T:
    value = call()
    return await value if inspect.isawaitable(value) else value


def _in_vain(what: str, seconds: float, seen: object, beside: object) -> AssertionError:
    text = f"{what} did not come about within {seconds:g} s"
    if seen is not None and seen is not False:
        text += f"; seen last: {seen!r}"
    failure = AssertionError(text if beside is None else f"{text}\n{beside}")
    failure.__cause__ = seen if isinstance(seen, Exception) else None
    return failure
