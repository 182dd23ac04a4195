"""A user's server in a process of its own, shared by the tests or of one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
