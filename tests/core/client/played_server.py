"""The process of a user's server that plays, seen from a test: started, killed, started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cscale_core.client import Workspace
from cscale_core.site import Catalogue, Grant, S3Site, Site
from tests.core.client.server_process import BASE_URL, TOKEN

ROOT = Path(__file__).parents[3]


def free_port_of() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PlayedServer:
    """The process of :mod:`tests.core.client.server_process`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port_of()
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
