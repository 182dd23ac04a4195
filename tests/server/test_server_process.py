"""The extension in a Jupyter server of its own, as the hub starts it: start, stop, being killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cscale_server.mounts import in_thread, mounted, why_no_fuse
from tests.waiting import soon

pytestmark = pytest.mark.skipif(bool(why_no_fuse()), reason=why_no_fuse() or "FUSE is there")

API_TOKEN = "api-token-of-the-server"


@pytest.fixture
def broker_url() -> Iterator[str]:
    """The hub's broker over HTTP, with static keys."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            right = self.headers.get("Authorization") == f"token {API_TOKEN}"
            ends = datetime.now(UTC) + timedelta(hours=1)
            body = {
                "AccessKeyId": "testaccess",
                "SecretAccessKey": "testsecret0123456789",
                "Token": "",
                "Expiration": ends.isoformat(),
            }
            self.send_response(200 if right and self.path == "/v1/s3" else 403)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body if right else {}).encode())

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@dataclass
class Jupyter:
    """One start of the user's server."""

    process: subprocess.Popen[bytes]
    http: httpx.AsyncClient
    log: Path

    async def states(self) -> list[str]:
        try:
            answer = await self.http.get("cscale/api/v1/status")
        except httpx.TransportError:
            assert self.process.poll() is None, self.log.read_text()
            return []
        return [mount["state"] for mount in answer.json()["mounts"]]

    async def all_mounted(self) -> bool:
        states = await self.states()
        return bool(states) and set(states) == {"ok"}


@pytest.fixture
def start_jupyter(tmp_path: Path, make_site: Any, store: Any, broker_url: str) -> Iterator[Any]:
    site = make_site(store.endpoint, mount_mode="fuse", broker_url=broker_url)
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site.model_dump(mode="json")))
    home = tmp_path / "home"
    home.mkdir()
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "JUPYTER", "CSCALE"))}
    started: list[Jupyter] = []

    def start() -> Jupyter:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = tmp_path / f"jupyter-{len(started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "jupyter_server",
                    "--allow-root",
                    "--no-browser",
                    "--ip=127.0.0.1",
                    f"--port={port}",
                    "--ServerApp.port_retries=0",
                    f"--ServerApp.root_dir={home}",
                    "--ServerApp.jpserver_extensions={'cscale_server': True}",
                    "--IdentityProvider.token=only-for-tests",
                ],
                env={
                    **kept,
                    "HOME": str(home),
                    "JUPYTER_NO_CONFIG": "1",
                    "CSCALE_SITE_FILE": str(tmp_path / "site.yaml"),
                    "JUPYTERHUB_API_TOKEN": API_TOKEN,
                },
                # As under the hub: no terminal, and SIGINT not ignored.
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/",
            headers={"Authorization": "token only-for-tests"},
            trust_env=False,
        )
        started.append(Jupyter(process, http, log))
        return started[-1]

    yield start
    for jupyter in started:
        jupyter.process.kill()
        jupyter.process.wait()
    for path in mounted(tmp_path):
        subprocess.run(["fusermount3", "-uz", str(path)], check=False)


async def ended(process: subprocess.Popen[bytes]) -> int:
    return await asyncio.wait_for(asyncio.to_thread(process.wait), 30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_sends_pending_writes_unmounts_and_leaves_nothing(
    start_jupyter: Any, store: Any, tmp_path: Path, number: signal.Signals
) -> None:
    jupyter = start_jupyter()
    await soon(jupyter.all_mounted, "every mount", pause=0.1)
    home = tmp_path / "home/s3/aquamonitor/users/utest"
    data = os.urandom(2_000_000)
    await in_thread(lambda: (home / "last.bin").write_bytes(data), 10)
    jupyter.process.send_signal(number)
    await ended(jupyter.process)
    assert store.read("users/utest/last.bin") == data
    assert mounted(tmp_path) == []
    runtime = tmp_path / "home/.local/share/jupyter/runtime/cscale"
    assert not list(runtime.glob("*.token"))
    assert not list((runtime.parent.parent / "cscale/mounts").glob("*.pid"))
    assert "Traceback" not in jupyter.log.read_text()


async def test_after_kill_9_the_next_start_mounts_again_and_has_what_was_written(
    start_jupyter: Any, store: Any, tmp_path: Path
) -> None:
    first = start_jupyter()
    await soon(first.all_mounted, "every mount", pause=0.1)
    home = tmp_path / "home/s3/aquamonitor/users/utest"
    await in_thread(lambda: (home / "kept.txt").write_text("still here"), 10)
    first.process.kill()
    await ended(first.process)
    second = start_jupyter()
    await soon(second.all_mounted, "every mount, again", pause=0.1)
    await soon(lambda: "users/utest/kept.txt" in store.keys("users/"), "the upload", pause=0.1)
    assert store.read("users/utest/kept.txt") == b"still here"
    assert len(mounted(tmp_path)) == 3
