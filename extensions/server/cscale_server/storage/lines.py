"""Lines of JSON from work that blocks: it runs in a thread; a line is sent when it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable

from pydantic import BaseModel
from pydantic_core import to_json

Tell = Callable[[BaseModel], None]


async def told(work: Callable[[Tell, threading.Event], BaseModel]) -> AsyncGenerator[bytes, None]:
    """What the work tells, and then what it returns.

    :param work: is given a function that tells, and an event that is set when nobody listens any
        more: it then ends soon.
    """
    stop = threading.Event()
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    def tell(line: BaseModel) -> None:
        loop.call_soon_threadsafe(lines.put_nowait, to_json(line) + b"\n")

    working = asyncio.ensure_future(asyncio.to_thread(work, tell, stop))
    working.add_done_callback(lambda _: lines.put_nowait(b""))
    try:
        while line := await lines.get():
            yield line
        yield to_json(await working) + b"\n"
    finally:
        stop.set()
