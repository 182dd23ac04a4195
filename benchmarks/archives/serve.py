"""A STAC API whose pages lie ready as bytes: ``python -m benchmarks.archives.serve``.

It costs next to nothing, so that what is measured is the client. A search is paged by the size it
was started with, whatever ``limit`` says; it knows no filter, and its items are newest first, as
the Sort extension that it states gives them by default.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.archives.items import COLLECTION, item

_CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
]
_GEOJSON = "application/geo+json"


def _answer(body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Archive:
    """The answers of one archive."""

    def __init__(self, name: str, url: str, items: int, page: int, latency: float) -> None:
        self._latency = latency
        self._url = url
        self._pages = [
            self._page(name, number, page, items) for number in range(math.ceil(items / page))
        ]
        self._fixed = {
            "/": self._json(self._landing(name)),
            "/conformance": self._json({"conformsTo": _CONFORMS}),
            "/collections": self._json({"collections": [self._collection()], "links": []}),
            f"/collections/{COLLECTION}": self._json(self._collection()),
        }

    @staticmethod
    def _json(content: Any) -> bytes:
        return _answer(json.dumps(content).encode(), "application/json")

    def _landing(self, name: str) -> dict[str, Any]:
        search = {"rel": "search", "href": f"{self._url}/search", "type": _GEOJSON}
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": name,
            "description": "An archive to measure against.",
            "conformsTo": _CONFORMS,
            "links": [
                {"rel": "self", "href": f"{self._url}/"},
                {"rel": "root", "href": f"{self._url}/"},
                {"rel": "conformance", "href": f"{self._url}/conformance"},
                {"rel": "data", "href": f"{self._url}/collections"},
                search | {"method": "GET"},
                search | {"method": "POST"},
            ],
        }

    def _collection(self) -> dict[str, Any]:
        return {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": COLLECTION,
            "description": "Sentinel-2 level 2A.",
            "license": "proprietary",
            "extent": {
                "spatial": {"bbox": [[-180, -90, 180, 90]]},
                "temporal": {"interval": [["2015-06-23T00:00:00Z", None]]},
            },
            "links": [],
        }

    def _page(self, name: str, number: int, size: int, items: int) -> bytes:
        start, end = number * size, min((number + 1) * size, items)
        content: dict[str, Any] = {
            "type": "FeatureCollection",
            "features": [item(name, each, self._url) for each in range(start, end)],
            "numberMatched": items,
            "numberReturned": end - start,
            "links": [],
        }
        if end < items:
            following = {"rel": "next", "href": f"{self._url}/search", "method": "POST"}
            merged = {"merge": True, "body": {"token": str(number + 1)}}
            content["links"].append(following | merged)
        return _answer(json.dumps(content, separators=(",", ":")).encode(), _GEOJSON)

    async def answer(self, target: str, body: bytes) -> bytes:
        """The bytes that answer one request."""
        parts = urlsplit(target)
        path = parts.path.rstrip("/") or "/"
        if path in self._fixed:
            return self._fixed[path]
        if path != "/search":
            return _answer(b"{}", "application/json", HTTPStatus.NOT_FOUND)
        if body:
            token = json.loads(body).get("token", "0")
        else:
            token = parse_qs(parts.query).get("token", ["0"])[0]
        if self._latency:
            await asyncio.sleep(self._latency)
        return self._pages[int(token)]

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept open as long as the client wants."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                writer.write(await self.answer(first.split(" ")[1], body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()


async def _serve(arguments: argparse.Namespace) -> None:
    archive: Archive | None = None

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert archive is not None
        await archive.talk(reader, writer)

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    archive = Archive(arguments.name, url, arguments.items, arguments.page, arguments.latency)
    print(url, flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archives.serve")
    parser.add_argument("--name", required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--page", type=int, required=True)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each page")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
