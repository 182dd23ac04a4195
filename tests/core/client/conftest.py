"""A user's server in a process of its own, which can be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cscale_core.client import Jobs, Workspace
from cscale_core.site import Catalogue, Grant, S3Site, Site
from tests.core.client.server_process import BASE_URL, TOKEN

ROOT = Path(__file__).parents[3]


class PlayedServer:
    """The process of :mod:`tests.core.client.server_process`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}{BASE_URL}"
        self._process: subprocess.Popen[bytes] | None = None
        site = Site(
            user="utest",
            vos=("aqua",),
            s3=S3Site(endpoint="http://127.0.0.1:9"),
            mount=str(folder / "s3"),
            mount_mode="contents",
            grants=(
                Grant(bucket="b", prefix="products/", access="rw", vo="aqua", purpose="products"),
                Grant(bucket="b", prefix="users/utest/", access="rw", vo="aqua", purpose="home"),
            ),
            catalogue=Catalogue(url="http://127.0.0.1:9/catalogue"),
        )
        (folder / "site.yaml").write_text(yaml.safe_dump(site.model_dump(mode="json")))

    def start(self) -> None:
        (self.folder / "ready").unlink(missing_ok=True)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "CSCALE_", "JUPYTER"))
        }
        log = (self.folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.core.client.server_process"),
                *(str(self.folder), str(self.port)),
            ],
            cwd=ROOT,
            env={
                **kept,
                "HOME": str(self.folder),
                "JUPYTER_NO_CONFIG": "1",
                "JUPYTER_CONFIG_DIR": str(self.folder / "config"),
                "JUPYTER_DATA_DIR": str(self.folder / "jupyter"),
                "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
                "CSCALE_SITE_FILE": str(self.folder / "site.yaml"),
            },
            stdout=log,
            stderr=log,
        )
        log.close()
        end = time.monotonic() + 90
        while not (self.folder / "ready").exists():
            if self._process.poll() is not None or time.monotonic() > end:
                text = (self.folder / "server.log").read_text(errors="replace")[-3000:]
                pytest.fail(f"the server did not start:\n{text}")
            time.sleep(0.1)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def workspace(self) -> Workspace:
        headers = {"Authorization": f"token {TOKEN}"}
        return Workspace(self.url, httpx.Client(headers=headers, timeout=60, trust_env=False))

    def release(self, name: str) -> None:
        """Let the jobs go on that wait for this."""
        (self.folder / "data" / name).touch()


def play(**what: Any) -> dict[str, Any]:
    """The process of a job that plays."""
    graph = {"one": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
    return {"process_graph": graph, "play": what}


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
