"""The Metadata Query Service as a process, with real archives behind it.

``alpha`` is stac-fastapi on a database, ``still`` a static catalogue over HTTP, ``plain`` an API
that only knows GET, pages and collections, ``members`` and ``bearer`` are not for everybody, and
``dead`` does not answer.
"""

from __future__ import annotations

import asyncio
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
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cscale_hub.local.catalogue.application import build_application
from cscale_hub.local.catalogue.config import CatalogueConfig
from cscale_hub.local.catalogue.documents import check_collection, check_items
from cscale_hub.local.catalogue.sqlite_store import SqliteStore
from tests.waiting import until

PREFIX = "/services/mqs"
ITEM_SEARCH = "https://api.stacspec.org/v1.0.0/item-search"
CORE = "https://api.stacspec.org/v1.0.0/core"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def collection(name: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": name,
        "title": f"Scenes of {name}",
        "description": "Scenes of a test",
        "keywords": ["test"],
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-06-23T00:00:00Z", None]]},
        },
        "links": [],
        **more,
    }


def item(
    name: str, day: int, collection_id: str, *, cloud: float, west: float = 19.5, **more: Any
) -> dict[str, Any]:
    """An item of a day of May 2024, one degree wide."""
    east = west + 1
    ring = [[west, 19.5], [east, 19.5], [east, 20.5], [west, 20.5], [west, 19.5]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection_id,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, 19.5, east, 20.5],
        "properties": {
            "datetime": f"2024-05-{day:02d}T10:00:00Z",
            "eo:cloud_cover": cloud,
            "platform": "sentinel-2a",
        },
        # Where nothing answers: what only looks at metadata does not mind.
        "assets": {"B04": {"href": f"http://127.0.0.1:9/{name}/B04.tif", "roles": ["data"]}},
        "links": [],
        **more,
    }


def alpha_items() -> list[dict[str, Any]]:
    found = [item(f"a{n:02d}", n, "s2", cloud=4.0 * n) for n in range(1, 21)]
    found.append(item("a-east", 21, "s2", cloud=1, west=178.5))
    found.append(item("a-west", 22, "s2", cloud=2, west=-179.5))
    return found


def still_items() -> list[dict[str, Any]]:
    return [item(f"s{n:02d}", n, "quiet", cloud=50) for n in range(3, 12)]


def plain_items() -> list[dict[str, Any]]:
    return [item(f"p{n:02d}", n, "urn:eop:plain", cloud=2.5 * n) for n in range(1, 29)]


def fill(path: Path) -> None:
    """Write alpha's items into its database."""

    async def write() -> None:
        store = SqliteStore(path)
        await store.start()
        for name in ("s2", "landsat"):
            await store.create_collection(check_collection(collection(name)))
        body = {"type": "FeatureCollection", "features": alpha_items()}
        await store.create_items("s2", check_items(body, "s2"))
        scene = item("l01", 15, "landsat", cloud=9)
        await store.create_items("landsat", check_items(scene, "landsat"))
        await store.stop()

    asyncio.run(write())


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """An ASGI application on a free port of loopback."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until(lambda: server.started, "the test server", pause=0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listener.close()


class Plain:
    """A STAC API as some are: only GET, no filter, no sort, pages of five, relative links."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.delay = 0.0
        self.app = Starlette(
            routes=[
                Route("/", self._landing),
                Route("/collections", self._collections),
                Route("/collections/{name}", self._collection),
                Route("/collections/{name}/items/{item}", self._item),
                Route("/search", self._search, methods=["GET"]),
            ]
        )

    async def _landing(self, request: Request) -> Response:
        links = [
            {"rel": "self", "href": str(request.url)},
            {"rel": "data", "href": "./collections"},
            {"rel": "search", "href": "./search", "type": "application/geo+json"},
        ]
        body = {"type": "Catalog", "id": "plain", "stac_version": "1.1.0", "description": "Plain"}
        return JSONResponse({**body, "conformsTo": [CORE, ITEM_SEARCH], "links": links})

    async def _collections(self, request: Request) -> Response:
        return JSONResponse({"collections": [collection("urn:eop:plain")], "links": []})

    async def _collection(self, request: Request) -> Response:
        if request.path_params["name"] != "urn:eop:plain":
            return JSONResponse({"code": "NotFound"}, 404)
        return JSONResponse(collection("urn:eop:plain"))

    async def _item(self, request: Request) -> Response:
        for each in plain_items():
            if each["id"] == request.path_params["item"]:
                return JSONResponse(self._linked(each, request))
        return JSONResponse({"code": "NotFound"}, 404)

    def _linked(self, found: dict[str, Any], request: Request) -> dict[str, Any]:
        own = f"{request.base_url}collections/urn:eop:plain/items/{found['id']}"
        license_link = {"rel": "license", "href": "../../terms.html"}
        return {**found, "links": [{"rel": "self", "href": own}, license_link]}

    async def _search(self, request: Request) -> Response:
        parameters = dict(request.query_params)
        self.asked.append(parameters)
        await asyncio.sleep(self.delay)
        found = sorted(plain_items(), key=lambda each: each["id"])
        if wanted := parameters.get("collections"):
            found = [each for each in found if each["collection"] in wanted.split(",")]
        if wanted := parameters.get("ids"):
            found = [each for each in found if each["id"] in wanted.split(",")]
        offset = int(parameters.get("offset", 0))
        size = min(int(parameters.get("limit", 10)), 5)
        links = []
        if offset + size < len(found):
            query = {**parameters, "offset": str(offset + size)}
            links.append({"rel": "next", "href": f"./search?{httpx.QueryParams(query)}"})
        page = [self._linked(each, request) for each in found[offset : offset + size]]
        body = {"type": "FeatureCollection", "features": page, "links": links}
        return JSONResponse({**body, "numberMatched": len(found)})


def write_static(folder: Path) -> None:
    """A static catalogue with relative links."""
    names = [each["id"] for each in still_items()]
    root = {"rel": "root", "href": "../catalog.json"}
    files: dict[str, Any] = {
        "catalog.json": {
            "type": "Catalog",
            "stac_version": "1.1.0",
            "id": "still",
            "description": "A static catalogue",
            "links": [{"rel": "child", "href": "./quiet/collection.json"}],
        },
        "quiet/collection.json": collection(
            "quiet", links=[root, *({"rel": "item", "href": f"./{n}.json"} for n in names)]
        ),
    }
    for each in still_items():
        link = {"rel": "collection", "href": "./collection.json"}
        files[f"quiet/{each['id']}.json"] = {**each, "links": [root, link]}
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def serving_files(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The archives' addresses, and the plain one itself."""
    folder = tmp_path_factory.mktemp("archives")
    fill(folder / "alpha.sqlite")
    write_static(folder / "still")
    config = CatalogueConfig(
        port=1, prefix="", data_dir=folder, issuer="http://127.0.0.1:9", read_only=True
    )
    plain = Plain()
    with (
        served(build_application(config, SqliteStore(folder / "alpha.sqlite"))) as alpha,
        serving_files(folder / "still") as still,
        served(plain.app) as plain_url,
    ):
        yield SimpleNamespace(
            alpha=alpha, still=f"{still}/catalog.json", plain=plain_url, double=plain
        )


class Service:
    """The service as a process of its own."""

    def __init__(self, folder: Path, providers: list[dict[str, Any]], **settings: Any) -> None:
        self.folder = folder
        self.port = free_port()
        self.root = f"http://127.0.0.1:{self.port}{PREFIX}"
        self.log = folder / "mqs.log"
        self.config = {
            "port": self.port,
            "prefix": PREFIX,
            "providers": providers,
            "data_dir": str(folder / "data"),
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(trust_env=False, timeout=60)

    def start(self) -> Service:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "config.json"
        file.write_text(json.dumps(self.config))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cscale_mqs", "--config", str(file)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended at once:\n{self.log.read_text()}")
            with contextlib.suppress(httpx.TransportError):
                if self.http.get(f"{self.root}/healthz").status_code == 200:
                    return self
            time.sleep(0.1)
        self.kill()
        raise RuntimeError(f"the service does not answer:\n{self.log.read_text()}")

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        self.http.close()
        return self.process.returncode

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        return self.http.get(f"{self.root}{path}", params=parameters or None)

    def post(self, **body: Any) -> httpx.Response:
        return self.http.post(f"{self.root}/search", json=body)

    def search(self, **body: Any) -> dict[str, Any]:
        answer = self.post(**body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def provider(name: str, url: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "title": f"Archive {name}", "url": url, "deadline": 10, **more}


def healthy(archives: SimpleNamespace) -> list[dict[str, Any]]:
    return [
        provider("alpha", archives.alpha),
        provider("still", archives.still, kind="static"),
        provider("plain", archives.plain),
    ]


def closed() -> list[dict[str, Any]]:
    entitlement = "urn:mace:egi.eu:group:vo.example.eu:role=member#aai.egi.eu"
    return [
        provider("bearer", "http://127.0.0.1:9/bearer", auth="bearer"),
        provider("members", "http://127.0.0.1:9/members", policy={"entitlement": entitlement}),
    ]


@pytest.fixture(scope="session")
def mqs(archives: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One running service over the three archives, and two that are not for everybody."""
    folder = tmp_path_factory.mktemp("mqs")
    service = Service(folder, [*healthy(archives), *closed()]).start()
    yield service
    service.stop()


@pytest.fixture
def launch(archives: SimpleNamespace, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Makes services of a test's own, over the three archives unless told otherwise."""
    made: list[Service] = []

    def make(providers: list[dict[str, Any]] | None = None, **settings: Any) -> Service:
        service = Service(
            tmp_path / "own", healthy(archives) if providers is None else providers, **settings
        )
        made.append(service)
        return service.start()

    yield make
    for service in made:
        if service.process is not None and service.process.poll() is None:
            service.stop()


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """Builders and readers of documents, as attributes."""
    return SimpleNamespace(
        provider=provider, ids=ids, link=link, links=links, free_port=free_port, prefix=PREFIX
    )


def ids(found: dict[str, Any]) -> list[str]:
    return [feature["id"] for feature in found["features"]]


def links(document: dict[str, Any], rel: str) -> list[dict[str, Any]]:
    return [entry for entry in document["links"] if entry["rel"] == rel]


def link(document: dict[str, Any], rel: str) -> dict[str, Any]:
    [found] = links(document, rel)
    return found
