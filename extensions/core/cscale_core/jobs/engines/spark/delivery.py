"""Waiting out a bucket that does not answer while results are brought to it or read from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cscale_core.errors import CScaleError
from cscale_core.jobs.engine import JobHandle
from cscale_core.jobs.engines.spark.results import Left, Report
from cscale_core.jobs.polling import Backoff

#: Attempts, and the seconds between two of them: the first, and the longest.
ATTEMPTS = 8
RETRY_SECONDS = (2.0, 60.0)


async def delivered(handle: JobHandle, act: Callable[[Report], Left]) -> list[dict[str, Any]]:
    """The items that ``act`` gives, which runs in a thread and is repeated while that may help.

    What is left out of them is said in the job's log.

    :raises CScaleError: when it does not help, or the user wants the job to end.
    """
    loop = asyncio.get_running_loop()

    def report(done: float, message: str) -> None:
        loop.call_soon_threadsafe(handle.report, done, message)

    backoff = Backoff(*RETRY_SECONDS)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            left = await asyncio.to_thread(act, report)
            break
        except CScaleError as error:
            if not error.retryable or attempt == ATTEMPTS:
                raise
            handle.report(None, f"the results wait: {error.message}")
            if await handle.rest(backoff.failed()):
                raise
    for sentence in left.left_out:
        await handle.log(f"left out of the result: {sentence}", "warning")
    return left.items
