"""Spawners that both hubs have: one that only waits, and what notes how late the event loop is."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any, ClassVar

from jupyterhub.spawner import Spawner

START_SECONDS = 1.0
PAUSE = 0.02


class WaitingSpawner(Spawner):  # type: ignore[misc]  # JupyterHub is not typed
    """Starts nothing: after a second it names a server that all users have together.

    What it would have given a server as its token is in a file, for who acts as that server.
    """

    _noting: ClassVar[asyncio.Task[None] | None] = None
    _running = False

    async def start(self) -> Any:
        """Wait, as for a pod."""
        if WaitingSpawner._noting is None:
            WaitingSpawner._noting = asyncio.create_task(note_lateness())
        await asyncio.sleep(START_SECONDS)
        self._running = True
        file = Path(os.environ["BENCH_FOLDER"]) / "tokens" / self.user.name
        await asyncio.to_thread(file.write_text, self.api_token)
        return "127.0.0.1", int(os.environ["BENCH_SERVER_PORT"])

    async def poll(self) -> int | None:
        return None if self._running else 0

    async def stop(self, now: bool = False) -> None:
        self._running = False


async def note_lateness() -> None:
    """Write down, line by line, when the event loop came back and how much too late, in seconds."""
    path = Path(os.environ["BENCH_FOLDER"]) / "lateness"
    with path.open("a", buffering=1) as file:
        while True:
            began = time.monotonic()
            await asyncio.sleep(PAUSE)
            file.write(f"{time.time():.3f} {time.monotonic() - began - PAUSE:.6f}\n")
