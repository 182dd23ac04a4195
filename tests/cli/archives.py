"""An archive for ``cscale search``: a real STAC API on loopback, which can be killed."""

from __future__ import annotations

import socket
import threading
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.waiting import until

_CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
]


def item(name: str, day: str, *, collection: str = "s2", **properties: Any) -> dict[str, Any]:
    """A STAC item near 10° E, 45° N."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": collection,
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[10, 45], [11, 45], [11, 46], [10, 46], [10, 45]]],
        },
        "bbox": [10, 45, 11, 46],
        "properties": {"datetime": f"{day}T10:00:00Z", **properties},
        "links": [],
        "assets": {"B04": {"href": f"https://data.example.eu/{name}/B04.tif"}},
    }


class Archive:
    """A STAC API with Item Search that pages, newest first, and keeps what it was asked."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self._items = sorted(items, key=lambda each: each["properties"]["datetime"], reverse=True)
        self.asked: list[dict[str, Any]] = []
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        routes = [
            Route("/", self._landing),
            Route("/conformance", self._conformance),
            Route("/search", self._search, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes),
            log_level="error",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True
        )

    def start(self) -> None:
        self._thread.start()
        until(lambda: self._server.started, "the archive", pause=0.01)

    def kill(self) -> None:
        """Afterwards nothing answers at its address."""
        self._server.should_exit = True
        self._thread.join(10)
        self._listener.close()

    async def _landing(self, _: Request) -> Response:
        links = [
            {"rel": "search", "href": f"{self.url}/search", "method": "POST"},
            {"rel": "conformance", "href": f"{self.url}/conformance"},
        ]
        return JSONResponse(
            {"type": "Catalog", "id": "archive", "conformsTo": _CONFORMS, "links": links}
        )

    async def _conformance(self, _: Request) -> Response:
        return JSONResponse({"conformsTo": _CONFORMS})

    async def _search(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        start, size = int(body.get("token", 0)), int(body["limit"])
        wanted = body.get("collections")
        matching = [each for each in self._items if not wanted or each["collection"] in wanted]
        page: dict[str, Any] = {
            "type": "FeatureCollection",
            "features": matching[start : start + size],
            "numberMatched": len(matching),
            "links": [],
        }
        if start + size < len(matching):
            page["links"].append(
                {
                    "rel": "next",
                    "href": f"{self.url}/search",
                    "method": "POST",
                    "merge": True,
                    "body": {"token": str(start + size)},
                }
            )
        return JSONResponse(page)
