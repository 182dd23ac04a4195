"""A bound on what is asked of the federation at the same time.

One question here becomes one at every provider, so a crowd here would be a flood there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cscale_mqs.problems import Problem


class Gate:
    """Lets a number of questions through, keeps some waiting, and refuses the rest.

    :param running: how many go on at the same time.
    :param waiting: how many may wait.
    :param patience: seconds one waits at most.
    """

    def __init__(self, running: int, waiting: int, patience: float) -> None:
        self._free = asyncio.Semaphore(running)
        self._places = waiting
        self._waiting = 0
        self._patience = patience

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it.

        :raises Problem: 503 when too many wait, or it takes too long.
        """
        if self._free.locked() and self._waiting >= self._places:
            raise self._busy()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        except TimeoutError as error:
            raise self._busy() from error
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()

    @staticmethod
    def _busy() -> Problem:
        return Problem(
            503,
            "Too many questions are being answered at the moment.",
            hint="Ask again in some seconds.",
            retryable=True,
            headers={"Retry-After": "5"},
        )
