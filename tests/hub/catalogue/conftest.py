"""A running catalogue for each store, and an issuer that signs tokens and answers userinfo."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from cscale_hub.local.postgres import PostgresUnavailable, find_installation

VO = "aquamonitor.c-scale.eu"
MEMBER = f"urn:mace:egi.eu:group:{VO}:role=member#aai.egi.eu"
PREFIX = "/services/catalogue"


@dataclass
class Issuer:
    """Static keys and userinfo over real HTTP; ``broken`` makes it answer 500."""

    key: rsa.RSAPrivateKey
    port: int = 0
    entitlements: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    broken: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/auth/realms/egi"

    def token(self, subject: str, **changes: Any) -> str:
        claims = {
            "iss": self.url,
            "sub": subject,
            "aud": ["catalogue"],
            "exp": int(time.time()) + 3600,
            "iat": int(time.time()),
            "typ": "Bearer",
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, self.key, "RS256", {"kid": "one"})

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, Any]]:
        if self.broken:
            return 500, {}
        if path.endswith("/certs"):
            jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
            return 200, {"keys": [{**jwk, "kid": "one", "use": "sig", "alg": "RS256"}]}
        if path.endswith("/userinfo"):
            token = authorization.removeprefix("Bearer ")
            subject = jwt.decode(token, options={"verify_signature": False})["sub"]
            self.asked.append(subject)
            if subject not in self.entitlements:
                return 401, {"error": "invalid_token"}
            return 200, {"sub": subject, "eduperson_entitlement": self.entitlements[subject]}
        return 404, {}


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    made = Issuer(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    made.entitlements = {
        "member@egi.eu": [MEMBER, "urn:mace:egi.eu:res:c-scale:country:PT#aai.egi.eu"],
        "outsider@egi.eu": ["urn:mace:egi.eu:group:vo.notebooks.egi.eu:role=member#aai.egi.eu"],
        "elsewhere@egi.eu": [f"urn:mace:egi.eu:group:{VO}:role=member#aai.example.org"],
        "lookalike@egi.eu": [f"urn:mace:egi.eu:group:{VO}.evil:role=member#aai.egi.eu"],
        "late@egi.eu": [],
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = made.answer(self.path, self.headers.get("Authorization", ""))
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    thread.join(5)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Service:
    """The catalogue as a process of its own."""

    def __init__(self, folder: Path, backend: str, issuer: Issuer, **settings: Any) -> None:
        self.folder = folder
        self.port = free_port()
        self.root = f"http://127.0.0.1:{self.port}{PREFIX}"
        self.issuer = issuer
        self.log = folder / "catalogue.log"
        self.config = {
            "host": "127.0.0.1",
            "port": self.port,
            "prefix": PREFIX,
            "backend": backend,
            "data_dir": str(folder / "data"),
            "issuer": issuer.url,
            "writers": [{"groups": [VO]}],
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(trust_env=False, timeout=60)

    def start(self, environment: dict[str, str] | None = None) -> Service:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "config.json"
        file.write_text(json.dumps(self.config))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cscale_hub.local.catalogue", "--config", str(file)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the catalogue ended at once:\n{self.log.read_text()}")
            with contextlib.suppress(httpx.TransportError):
                if self.http.get(f"{self.root}/healthz").status_code == 200:
                    return self
            time.sleep(0.1)
        self.kill()
        raise RuntimeError(f"the catalogue does not answer:\n{self.log.read_text()}")

    def stop(self) -> float:
        """SIGTERM; seconds until it has ended."""
        assert self.process is not None
        begun = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return time.monotonic() - begun

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def headers(self, subject: str = "member@egi.eu") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.issuer.token(subject)}"}

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        return self.http.get(f"{self.root}{path}", params=parameters or None)

    def search(self, **body: Any) -> dict[str, Any]:
        answer = self.http.post(f"{self.root}/search", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def write(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        headers = options.pop("headers", None) or self.headers()
        return self.http.request(
            method, f"{self.root}{path}", json=body, headers=headers, **options
        )

    def add(self, collection_id: str, *items: dict[str, Any]) -> None:
        """A new collection with these items."""
        answer = self.write("POST", "/collections", collection(collection_id))
        assert answer.status_code == 201, answer.text
        for begin in range(0, len(items), 500):
            body = {"type": "FeatureCollection", "features": items[begin : begin + 500]}
            answer = self.write("POST", f"/collections/{collection_id}/items", body)
            assert answer.status_code == 201, answer.text


def skip_without(backend: str) -> None:
    if backend == "pgstac":
        try:
            find_installation(("postgis", "btree_gist"))
        except PostgresUnavailable as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session", params=["sqlite", "pgstac"])
def backend(request: pytest.FixtureRequest) -> str:
    skip_without(request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def shared(
    backend: str, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One running catalogue for all tests of a store; tests use collections of their own."""
    service = Service(tmp_path_factory.mktemp(backend), backend, issuer).start()
    yield service
    service.stop()


Launch = Callable[..., Service]


@contextlib.contextmanager
def launcher(backend: str, issuer: Issuer, folder: Path) -> Iterator[Launch]:
    """Makes catalogues of a test's own, all on one folder, and stops them in the end."""
    made: list[Service] = []

    def make(**settings: Any) -> Service:
        settings.setdefault("backend", backend)
        service = Service(folder, issuer=issuer, **settings)
        made.append(service)
        return service

    yield make
    for service in made:
        if service.process is not None and service.process.poll() is None:
            service.stop()


@pytest.fixture
def launch(backend: str, issuer: Issuer, tmp_path: Path) -> Iterator[Launch]:
    """For what each store must do."""
    with launcher(backend, issuer, tmp_path / "own") as make:
        yield make


@pytest.fixture
def launch_sqlite(issuer: Issuer, tmp_path: Path) -> Iterator[Launch]:
    """For what does not depend on the store."""
    with launcher("sqlite", issuer, tmp_path / "own") as make:
        yield make


@pytest.fixture
def launch_pgstac(issuer: Issuer, tmp_path: Path) -> Iterator[Launch]:
    """For what only a catalogue with its own PostgreSQL can do."""
    skip_without("pgstac")
    with launcher("pgstac", issuer, tmp_path / "own") as make:
        yield make


def collection(collection_id: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": collection_id,
        "description": "Scenes of a test",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-06-23T00:00:00Z", None]]},
        },
        "links": [],
        **more,
    }


def item(
    item_id: str,
    bbox: tuple[float, float, float, float] = (14.0, 46.0, 15.0, 47.0),
    when: str | tuple[str, str] = "2024-05-01T10:00:00Z",
    **properties: Any,
) -> dict[str, Any]:
    west, south, east, north = bbox
    times: dict[str, Any] = (
        {"datetime": when}
        if isinstance(when, str)
        else {"datetime": None, "start_datetime": when[0], "end_datetime": when[1]}
    )
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": item_id,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {**times, **properties},
        "assets": {
            "B03": {
                "href": f"s3://aquamonitor/products/{item_id}/B03.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
                "file:size": 12345,
                "raster:scale": 0.0001,
            }
        },
        "links": [],
    }


def ids(found: dict[str, Any]) -> list[str]:
    return [feature["id"] for feature in found["features"]]


def link(document: dict[str, Any], rel: str) -> dict[str, Any]:
    [found] = [entry for entry in document["links"] if entry["rel"] == rel]
    return dict(found)


@pytest.fixture(scope="session")
def builders() -> SimpleNamespace:
    """Builders and readers of documents, as attributes."""
    return SimpleNamespace(
        collection=collection,
        item=item,
        ids=ids,
        link=link,
        free_port=free_port,
        vo=VO,
        prefix=PREFIX,
    )
