"""A STAC API with Transactions in memory, whose faults can be set, and a source of tokens."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Catalogue:
    """Collections and items in memory; faults are set by the tests."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, Any]] = {}
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.log: list[str] = []
        self.token = "good"
        self.statuses: list[int] = []
        self.loses_answers = 0
        self.busy = 0
        self.most_busy = 0
        self.app = Starlette(
            routes=[
                Route("/stac/collections", self.answer, methods=["POST"]),
                Route("/stac/collections/{c}", self.answer, methods=["GET"]),
                Route("/stac/collections/{c}/items", self.answer, methods=["POST"]),
                Route("/stac/collections/{c}/items/{i}", self.answer, methods=["GET", "PUT"]),
            ]
        )

    async def answer(self, request: Request) -> Response:
        path = request.url.path.removeprefix("/stac/collections").lstrip("/")
        self.log.append(f"{request.method} {path}".strip())
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        await asyncio.sleep(0.01)
        self.busy -= 1
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return JSONResponse({"detail": "token expired"}, 401)
        collection, item = request.path_params.get("c", ""), request.path_params.get("i", "")
        if request.method == "GET":
            found = self.items.get((collection, item)) if item else self.collections.get(collection)
            return JSONResponse(found, 200 if found else 404)
        body = await request.json()
        if not collection:
            self.collections[body["id"]] = body
            return JSONResponse(body, 201)
        if collection not in self.collections:
            return JSONResponse({"code": "ForeignKeyError"}, 424)
        if self.statuses:
            return JSONResponse({"detail": "not now"}, self.statuses.pop(0))
        if request.method == "POST" and (collection, body["id"]) in self.items:
            return JSONResponse({"code": "ConflictError"}, 409)
        self.items[collection, body["id"]] = self.as_stored(body)
        if self.loses_answers:
            self.loses_answers -= 1
            return Response("bad gateway", 502)
        return JSONResponse(body, 201 if request.method == "POST" else 200)

    @staticmethod
    def as_stored(item: dict[str, Any]) -> dict[str, Any]:
        """What pgstac gives back: its own links and writing of times."""
        kept = copy.deepcopy(item)
        kept["links"] += [
            {"rel": "self", "href": "http://x/self"},
            {"rel": "parent", "href": "http://x"},
        ]
        kept["properties"]["datetime"] = "2024-05-01T10:00:00+00:00"
        kept["properties"]["created"] = "2026-01-01T00:00:00Z"
        return kept


class Tokens:
    """Gives an old token until it is told that it was refused."""

    def __init__(self, value: str = "good") -> None:
        self.value = value
        self.forgotten = 0

    async def token(self, audience: str) -> str:
        assert audience == "catalogue"
        return self.value

    def forget(self, audience: str) -> None:
        self.forgotten += 1
        self.value = "good"
