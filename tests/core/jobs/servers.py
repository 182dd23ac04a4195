"""Processes of :mod:`server_double`: started, asked, listened to and killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.waiting import soon

PROGRAM = Path(__file__).with_name("server_double.py")
SPEC = {"engine": "staging", "process": {}}
LONG = 60.0


class Server:
    """One server of the user, a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            what = json.loads(line)
            self.said.append(what)
            if "answer" in what:
                self._answers.put_nowait(what)
            self._news.set()

    async def call(self, name: str, **members: Any) -> Any:
        """Call a method of its manager; what it gives."""
        assert self.process.stdin is not None
        self.process.stdin.write((json.dumps({"call": name, **members}) + "\n").encode())
        await self.process.stdin.drain()
        async with asyncio.timeout(LONG):
            answer = await self._answers.get()
        assert "error" not in answer, answer["error"]
        return answer["answer"]

    async def hears(self, **members: Any) -> dict[str, Any]:
        """Wait until it has said something with these members."""
        async with asyncio.timeout(LONG):
            while True:
                self._news.clear()
                for what in self.said:
                    if members.items() <= what.items():
                        return what
                await self._news.wait()

    async def gets(self, job_id: str, status: str) -> dict[str, Any]:
        """Wait until it shows a job in a status."""
        job: dict[str, Any] = await soon(
            lambda: self.call("get", job_id=job_id),
            f"{job_id} as {status}",
            LONG,
            fits=lambda job: job["status"] == status,
            pause=0.05,
        )
        return job

    async def killed(self) -> None:
        """kill -9."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self._reading

    async def dies(self) -> None:
        """Wait until it has killed itself."""
        async with asyncio.timeout(LONG):
            assert await self.process.wait() == -signal.SIGKILL
        await self._reading


class Place:
    """A folder with the list of one user, its back end, and its servers."""

    def __init__(self, folder: Path) -> None:
        self.list = folder / "data" / "jobs.sqlite"
        self.remote = folder / "remote"
        self.servers: list[Server] = []

    async def server(self, step: str = "", patience: float = 60.0) -> Server:
        """A started server; with a step, one that dies there."""
        server = await self.starting(step, patience)
        await server.hears(started=True)
        return server

    async def starting(self, step: str = "", patience: float = 60.0) -> Server:
        """A server that may die before it has started."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            str(self.list),
            str(self.remote),
            step,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PATIENCE": str(patience)},
        )
        server = Server(process)
        self.servers.append(server)
        return server

    def submissions(self) -> list[str]:
        """Ids of the jobs that came to the back end, each as often as it came."""
        return self.remote.read_text().split() if self.remote.exists() else []

    def finish(self, job_id: str) -> None:
        """The back end is done with a job."""
        self.remote.with_name(f"{job_id}.done").touch()


@contextlib.asynccontextmanager
async def place_at(folder: Path) -> AsyncIterator[Place]:
    """A place whose servers are gone afterwards."""
    place = Place(folder)
    try:
        yield place
    finally:
        for server in place.servers:
            await server.killed()
