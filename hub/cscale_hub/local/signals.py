"""Ctrl-C, SIGTERM and a closed terminal, for commands that must not leave anything behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and a closed terminal raise KeyboardInterrupt as Ctrl-C does.

    SIGINT too: a shell script starts background commands with SIGINT ignored.
    """

    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt):
        yield


@contextmanager
def undisturbed(tell: Callable[[], None]) -> Iterator[None]:
    """The same signals wait until the block is over: stopping half-way would leave mounts.

    :param tell: called at each of them.
    """

    def refuse(number: int) -> None:
        if number != signal.SIGHUP:
            tell()

    with _handled(refuse):
        yield


@contextmanager
def _handled(action: Callable[[int], None]) -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_terminal()
        action(number)

    before = {number: signal.signal(number, handle) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave_terminal() -> None:
    """Write to nowhere instead of a terminal that is gone, where every write would raise."""
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in (1, 2):
        if _is_gone(descriptor):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _is_gone(descriptor: int) -> bool:
    # isatty() is False for a terminal that hung up; a write fails, that of nothing too.
    try:
        os.write(descriptor, b"")
    except OSError:
        return True
    return False
