"""Programs that outlive the server that gives them keys wait for the next one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cscale_core.identity.keys import TOKEN_FILE, URI, wait_for_keys

KEYS = {
    "AccessKeyId": "an-id",
    "SecretAccessKey": "a-key",
    "Token": "",
    "Expiration": "2100-01-01T00:00:00Z",
}


class Endpoint(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        right = self.headers.get("Authorization") == "secret"
        self.send_response(200 if right else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(KEYS if right else {}).encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def later(port: int, tmp_path: Path) -> Iterator[Callable[[float], None]]:
    """Lets the endpoint come up, and its file be written, after some seconds."""
    started: list[ThreadingHTTPServer] = []

    def start() -> None:
        (tmp_path / "token").write_text("secret")
        started.append(ThreadingHTTPServer(("127.0.0.1", port), Endpoint))
        started[0].serve_forever()

    timers: list[threading.Timer] = []

    def after(seconds: float) -> None:
        timers.append(threading.Timer(seconds, start))
        timers[-1].daemon = True
        timers[-1].start()

    yield after
    for timer in timers:
        timer.cancel()
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture
def variables(port: int, tmp_path: Path) -> dict[str, str]:
    return {URI: f"http://127.0.0.1:{port}/v1/s3", TOKEN_FILE: str(tmp_path / "token")}


def test_keys_are_waited_for(
    later: Callable[[float], None], variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = time.monotonic()
    later(1.5)
    assert wait_for_keys(60)
    assert time.monotonic() - before >= 1.4


def test_patience_ends(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not wait_for_keys(0.1)


@pytest.mark.parametrize("address", ["", "http://192.0.2.1/keys"])
def test_no_other_endpoint_is_asked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URI, address)
    before = time.monotonic()
    assert not wait_for_keys(60)
    assert time.monotonic() - before < 5


READING = """
import rasterio
from cscale_core import raster
from cscale_core.errors import DamagedData
from cscale_core.grids import Grid

grid = Grid("EPSG:32630", 0.0, 0.0, 10.0, 10.0, 4, 4)
try:
    raster.read(raster.Source("/vsis3/bucket/key.tif"), grid)
except DamagedData as error:
    print(error.details["reason"])
"""


def test_a_read_without_keys_is_tried_again_when_there_are_some(
    later: Callable[[float], None], variables: dict[str, str], tmp_path: Path
) -> None:
    """What then fails is the object store, which is not there: keys are not the trouble."""
    later(3)
    done = subprocess.run(
        [sys.executable, "-c", READING],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **variables,
            "HOME": str(tmp_path),
            "AWS_S3_ENDPOINT": "127.0.0.1:9",
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "AWS_SECRET_ACCESS_KEY" not in done.stdout
