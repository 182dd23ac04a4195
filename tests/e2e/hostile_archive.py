"""A STAC API whose every word is meant to do harm to the page that shows it.

What it sends is well-formed enough to be taken: scripts in names, addresses that run, outlines of
200,000 corners, descriptions of a megabyte, pictures that are none. Scripts that run anywhere set
``window.hurt`` and ask for ``/hurt``; :attr:`HostileArchive.hurt` has what was asked for there.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COLLECTION = "hostile"
MEGABYTE = 1_000_000
CORNERS = 200_000
HONEST = "HONEST_SCENE"
_PNG = b"\x89PNG\r\n\x1a\n"
_CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/item-search",
]


def mark(where: str) -> str:
    """HTML that runs if it is taken for HTML."""
    return (
        f"{where} <script>window.hurt='{where}'</script>"
        f'"><img src=x onerror="window.hurt=\'{where}\'">'
        f"</textarea></style><svg onload=\"window.hurt='{where}'\"> <b>{where}</b>"
    )


def long(where: str) -> str:
    """A megabyte of it."""
    text = mark(where)
    return text * (MEGABYTE // len(text) + 1)


def _square(west: float, south: float) -> dict[str, Any]:
    east, north = west + 1, south + 1
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def _nested(depth: int) -> Any:
    nest: Any = [0.0, 0.0]
    for _ in range(depth):
        nest = [nest]
    return nest


def _huge() -> dict[str, Any]:
    turns = (2 * math.pi * number / CORNERS for number in range(CORNERS))
    ring = [[12 + 3 * math.cos(turn), 45 + 2 * math.sin(turn)] for turn in turns]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


class HostileArchive:
    """What is served, and what was asked that a page must not ask."""

    def __init__(self) -> None:
        self.hurt: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._items = [self._item(number, *each) for number, each in enumerate(self._kinds())]

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/stac"

    @property
    def ids(self) -> list[str]:
        """The ids of its items, the newest first."""
        return [item["id"] for item in self._items]

    def providers(self) -> list[dict[str, str]]:
        """The archive, and another whose answers are pages of HTML."""
        return [
            {"id": "hostile", "title": mark("archive"), "url": self.url},
            {"id": "broken", "title": "An archive that is broken", "url": f"{self.url}/broken"},
        ]

    # -- items -----------------------------------------------------------------------------------

    def _kinds(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Ids, and what is unlike other items."""
        base = f"http://{self.host}"
        runs = f"fetch('{base}/hurt');window.hurt='link'"
        yield HONEST, {}
        yield (
            mark("id"),
            {
                "properties": {
                    "title": mark("title"),
                    "description": mark("description"),
                    mark("name"): mark("value"),
                    "__proto__": {"polluted": mark("polluted")},
                    "constructor": {"prototype": {"polluted": True}},
                    "eo:cloud_cover": mark("clouds"),
                    "homepage": f"javascript:{runs}",
                },
                "assets": {
                    mark("asset"): {
                        "href": f"{base}/data/<script>{runs}</script>",
                        "title": mark("asset title"),
                        "type": mark("type"),
                        "roles": [mark("role")],
                        "file:size": mark("size"),
                    },
                    "__proto__": {"href": f"{base}/data/p"},
                },
            },
        )
        addresses = [
            f"javascript:{runs}",
            f"JaVaScRiPt:{runs}",
            f" javascript:{runs}",
            f"java\nscript:{runs}",
            f"data:text/html,<script>{runs}</script>",
            f"vbscript:{runs}",
            "http://[",
            f"data:text/html,{'x' * MEGABYTE}",
        ]
        alternates = {mark("place"): {"href": address} for address in addresses}
        yield (
            "ADDRESSES",
            {
                "properties": {f"link {n}": address for n, address in enumerate(addresses)},
                "assets": {
                    f"a{number}": {"href": address, "alternate": alternates}
                    for number, address in enumerate(addresses)
                },
            },
        )
        yield "HUGE_OUTLINE", {"geometry": _huge(), "bbox": [9, 43, 15, 47]}
        yield (
            "LONG_TEXTS",
            {
                "properties": {
                    "title": long("long"),
                    "description": long("long"),
                    **{f"fact {number}": number for number in range(3_000)},
                },
                "assets": {
                    f"file {number}": {"href": f"{base}/data/{number}"} for number in range(3_000)
                },
            },
        )
        for name, coordinates in {
            "WORDS": [[["<b>", "x"], ["NaN", {}], [None, []], ["<b>", "x"]]],
            "DEEP": _nested(120),
            "FAR": [[[1e308, 0], [-1e308, 1e308], [0, -1e308], [1e308, 0]]],
            "EMPTY": [],
        }.items():
            yield f"OUTLINE_{name}", {"geometry": {"type": "Polygon", "coordinates": coordinates}}
        yield "OUTLINE_TYPE", {"geometry": {"type": mark("type"), "coordinates": {"x": 1}}}
        for name in ("html", "svg", "broken", "error", "large"):
            yield (
                f"PICTURE_{name.upper()}",
                {
                    "assets": {
                        "thumbnail": {
                            "href": f"{base}/pictures/{name}",
                            "type": "image/png",
                            "roles": ["thumbnail"],
                        }
                    }
                },
            )
        yield (
            "PICTURE_RUNS",
            {"assets": {"thumbnail": {"href": f"javascript:{runs}", "roles": ["thumbnail"]}}},
        )
        yield "../../../hub/logout?next=//evil.example#%2e%2e", {}
        yield "TURNED_\u202egnp.exe\u202c_\u0000_\u200b", {}

    def _item(self, number: int, name: str, unlike: dict[str, Any]) -> dict[str, Any]:
        west, south = 2.0 + number % 6 * 1.5, 40.0 + number // 6 * 1.5
        item: dict[str, Any] = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name,
            "collection": COLLECTION,
            "geometry": _square(west, south),
            "bbox": [west, south, west + 1, south + 1],
            "links": [{"rel": "self", "href": f"javascript:window.hurt='self {number}'"}],
            "assets": {},
        }
        moment = f"2024-05-{28 - number:02}T10:00:00Z"
        item |= unlike
        item["properties"] = {"datetime": moment, **unlike.get("properties", {})}
        return item

    # -- answers ---------------------------------------------------------------------------------

    def _documents(self) -> dict[str, Any]:
        collection = {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": COLLECTION,
            "title": mark("collection"),
            "description": long("about"),
            "keywords": [mark("keyword")] * 50,
            "license": mark("licence"),
            "providers": [{"name": mark("who"), "url": "javascript:window.hurt='who'"}],
            "extent": {
                "spatial": {"bbox": [[-180, -90, 180, 90]]},
                "temporal": {"interval": [["2024-01-01T00:00:00Z", None]]},
            },
            "links": [],
        }
        queryables = {
            "type": "object",
            "properties": {
                mark("property"): {"type": "string", "title": mark("property title")},
                "choice": {"type": "string", "enum": [mark("choice")] * 500},
            },
        }
        links = [
            {"rel": "self", "href": f"{self.url}/"},
            {"rel": "data", "href": f"{self.url}/collections"},
            {"rel": "search", "href": f"{self.url}/search", "method": "POST"},
            {"rel": "search", "href": f"{self.url}/search", "method": "GET"},
        ]
        return {
            "/stac": {
                "type": "Catalog",
                "stac_version": "1.0.0",
                "id": "hostile",
                "title": mark("landing"),
                "description": mark("landing"),
                "conformsTo": _CONFORMS,
                "links": links,
            },
            "/stac/conformance": {"conformsTo": _CONFORMS},
            "/stac/collections": {"collections": [collection], "links": []},
            f"/stac/collections/{COLLECTION}": collection,
            f"/stac/collections/{COLLECTION}/queryables": queryables,
            "/stac/queryables": queryables,
            "/stac/search": {
                "type": "FeatureCollection",
                "features": self._items,
                "numberMatched": len(self._items),
                "links": [],
            },
        }

    def _picture(self, name: str) -> tuple[int, str, bytes]:
        page = mark(name).encode()
        if name == "svg":
            script = f"<script>window.hurt='svg';fetch('http://{self.host}/hurt')</script>"
            return (
                200,
                "image/png",
                f'<svg xmlns="http://www.w3.org/2000/svg">{script}</svg>'.encode(),
            )
        if name == "broken":
            return 200, "image/png", _PNG + page
        if name == "large":
            return 200, "image/png", _PNG + bytes(8 * MEGABYTE)
        return (500 if name == "error" else 200), "text/html", page

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, media type and body."""
        if path.startswith("/hurt"):
            self.hurt.append(path)
        if path.startswith("/pictures/"):
            return self._picture(path.rpartition("/")[2])
        document = self._documents().get(path.rstrip("/"))
        if document is None:
            return 500, "text/html", f"<html><body>{mark('error page')}</body></html>".encode()
        return 200, "application/json", json.dumps(document).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._answer()

            def _answer(self) -> None:
                status, kind, body = archive.answer(self.path.partition("?")[0])
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    return  # who asked has read enough

            def log_message(self, *_: object) -> None:
                """Quiet."""

        return Handler


@contextmanager
def hostile_archive() -> Iterator[HostileArchive]:
    """The archive, running."""
    archive = HostileArchive()
    thread = threading.Thread(target=archive._server.serve_forever, daemon=True)
    thread.start()
    try:
        yield archive
    finally:
        archive._server.shutdown()
        archive._server.server_close()
