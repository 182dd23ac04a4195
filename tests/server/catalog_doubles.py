"""A federation that answers from memory, for tests of what the server makes of its answers."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import AsyncGenerator, Sequence
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

from cscale_core.catalog.collections import CollectionEntry, CollectionList, CollectionReport
from cscale_core.catalog.engine import Part
from cscale_core.catalog.federation import SearchResult
from cscale_core.catalog.health import ProviderHealth
from cscale_core.catalog.query import SearchQuery
from cscale_core.catalog.report import Found, ProviderReport
from cscale_core.errors import InvalidInput, NotFound
from cscale_core.providers import Provider
from cscale_core.site import Site
from cscale_server.catalog.service import Catalog
from cscale_server.catalog.thumbnails import Picture

PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}


def item(name: str, provider: str = "site-a", **more: Any) -> dict[str, Any]:
    """An item as the engine gives it."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": "s2",
        "geometry": SQUARE,
        "bbox": [0, 0, 1, 1],
        "properties": {"datetime": "2024-05-01T10:00:00Z", "eo:cloud_cover": 12.34},
        "links": [],
        "assets": {"B03": {"href": "s3://aquamonitor/products/s2/scene/B03.tif"}},
        "cscale:provider": provider,
        **more,
    }


def scatter(number: int, what: int) -> float:
    """Between -1 and 1, the same every time, without a pattern."""
    return math.sin(number * 12.9898 + what * 78.233)


def sentinel_2(number: int) -> dict[str, Any]:
    """As the Copernicus Data Space gives it: a long name, and a tile that the swath may cut."""
    west, north = 7.5 + 27 * scatter(number, 0), 47.5 + 17 * scatter(number, 1)
    wide = 0.99 / math.cos(math.radians(north))
    tile = [(0.0, 0.0), (0.03, 1.0), (1.0, 1.0), (1.0, 0.0)]
    if number % 5 == 0:
        tile = [*tile[:2], (0.4, 1.0), (0.55, 0.6), (0.7, 0.2), (0.75, 0.0)]
    corners = [
        [
            west + x * wide + 0.01 * scatter(number, 2 + corner),
            north - y * 0.99 + 0.01 * scatter(number, 12 + corner),
        ]
        for corner, (x, y) in enumerate(tile)
    ]
    return item(
        f"S2B_MSIL2A_20240612T095549_N0510_R122_T33{number:05d}_20240612T1421.SAFE",
        "cdse",
        collection="sentinel-2-l2a",
        geometry={"type": "Polygon", "coordinates": [[*corners, corners[0]]]},
        properties={
            "datetime": "2024-06-12T09:55:49.024Z",
            "eo:cloud_cover": 50 + 50 * scatter(number, 30),
            "platform": "sentinel-2b",
        },
    )


def report(name: str, **more: Any) -> ProviderReport:
    return ProviderReport(id=name, title=name.title(), **{"status": "ok", **more})


class MemoryFederation:
    """Plays the events it is given; ``gate`` holds it up before the last one."""

    def __init__(self) -> None:
        self.found = [Found("site-a", [item("scene")])]
        self.reports = [report("site-a", returned=1)]
        self.merged: list[dict[str, Any]] | None = None
        self.next = ""
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.asked: list[tuple[SearchQuery, str]] = []
        self.fetched: list[str] = []
        self.ended = asyncio.Event()

    def _merged(self, query: SearchQuery, cursor: str) -> SearchResult:
        self.asked.append((query, cursor))
        if cursor == "forged":
            raise InvalidInput("The cursor is not one of ours.")
        items = [each for found in self.found for each in found.items]
        if self.merged is not None:
            items = self.merged
        if query.ids:
            items = [each for each in items if each["id"] in query.ids]
        return SearchResult(copy.deepcopy(items), self.reports, self.next, len(items))

    async def search(self, query: SearchQuery, cursor: str = "", on_report: Any = None) -> Any:
        if self.failure is not None:
            raise self.failure
        return self._merged(query, cursor)

    async def stream(self, query: SearchQuery, cursor: str = "") -> AsyncGenerator[Any, None]:
        merged = self._merged(query, cursor)
        try:
            for found in self.found:
                yield found
            for each in self.reports:
                yield each
            if self.gate is not None:
                await self.gate.wait()
            if self.failure is not None:
                raise self.failure
            yield merged
        finally:
            self.ended.set()

    def shares(self, query: SearchQuery) -> list[Part]:
        provider = Provider(id="site-a", title="Site-A", url="http://a", kind="static")
        return [Part(SimpleNamespace(provider=provider), query)]  # type: ignore[arg-type]

    def ref(self, each: dict[str, Any]) -> str:
        parts = (each["cscale:provider"], each.get("collection") or "", each["id"])
        return "|".join(quote(part, safe="") for part in parts)

    async def item(self, ref: str) -> dict[str, Any]:
        self.fetched.append(ref)
        for found in self.found:
            for each in found.items:
                if self.ref(each) == ref:
                    return copy.deepcopy(each)
        raise NotFound(f"There is no item {ref}.")


class MemoryCollections:
    async def list(self) -> CollectionList:
        entry = CollectionEntry(
            id="site-a|s2", provider="site-a", provider_title="Site A", own_id="s2", title="S2"
        )
        listed = CollectionReport(id="site-a", title="Site A", status="ok", returned=1)
        return CollectionList(collections=[entry], providers=[listed])

    async def get(self, name: str) -> dict[str, Any]:
        if name not in ("site-a|s2", "site-a|a/b %"):
            raise NotFound(f"There is no collection {name}.")
        return {"type": "Collection", "id": name}

    async def queryables(self, name: str | None = None) -> dict[str, Any]:
        if name is not None:
            await self.get(name)
        return {"type": "object", "properties": {"eo:cloud_cover": {"type": "number"}}}


class MemoryHealth:
    async def list(self) -> Sequence[ProviderHealth]:
        return [
            ProviderHealth(id="site-a", title="Site A", url="http://a", kind="api", online=True)
        ]


class MemoryPictures:
    """Every item has a picture, but for one called ``bare``."""

    async def of(self, ref: str, each: dict[str, Any]) -> Picture:
        if each["id"] == "bare":
            raise NotFound("bare has no picture.")
        return Picture(PNG, "image/png")


def catalog(site: Site, federation: MemoryFederation) -> Catalog:
    """The real catalogue of the server on a federation in memory."""
    parts: tuple[Any, ...] = (
        federation,
        SimpleNamespace(state=None),
        MemoryCollections(),
        MemoryHealth(),
        MemoryPictures(),
    )
    return Catalog(site, *parts)
