"""A user's server in a process of its own, shared by the tests or of one test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cscale_core.client import Jobs
from tests.core.client.played_server import PlayedServer


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedServer]:
    server = PlayedServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(_shared: PlayedServer) -> PlayedServer:
    """A server that other tests use, too."""
    return _shared


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[PlayedServer]:
    """A server to be killed."""
    server = PlayedServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def jobs(server: PlayedServer) -> Jobs:
    """The list of jobs of the shared server."""
    return server.workspace().jobs


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Waits until a call gives something true."""

    def wait(call: Callable[[], Any], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not call():
            assert time.monotonic() < end, f"not within {seconds} s"
            time.sleep(0.05)

    return wait
