"""A static STAC catalogue (files over HTTP) as a provider: read through its links.

Collections whose stated extent or name cannot hold what is looked for are not opened. What is read
is bounded in number; the provider's deadline bounds the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urljoin

import httpx
import orjson
from shapely import MultiPolygon, box

from cscale_core.catalog.door import Door
from cscale_core.catalog.intake import absolute
from cscale_core.catalog.interval import Interval, parse_interval, parse_time
from cscale_core.catalog.kept import KeptPages
from cscale_core.catalog.pages import Page
from cscale_core.catalog.query import SearchQuery, area
from cscale_core.catalog.repair import repair
from cscale_core.catalog.wire import Request
from cscale_core.errors import CScaleError, UpstreamError
from cscale_core.http import Answer

MOST_ITEMS = 2000
"""Items of a static catalogue that are read at most."""
_MOST_DOCUMENTS = 1000
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class StaticContent:
    """What a static catalogue holds, as one page."""

    page: Page
    error: str
    """What is missing from it, in a sentence; empty: nothing."""


async def read_static(
    door: Door, query: SearchQuery, kept: KeptPages | None, *, reuse: bool
) -> StaticContent:
    """Read the items that may answer a question; they are not checked yet.

    :param reuse: whether what was kept before may be taken.
    :raises UpstreamError: when the catalogue cannot be read.
    """
    provider = door.provider
    request = Request("GET", provider.url)
    name = f"static {query.fingerprint()}"
    before = kept.get(provider.id, name) if kept is not None and reuse else None
    if before is None:
        walk = _Walk(door, query)
        features = await walk.run()
        error = walk.error()
        data = orjson.dumps({"features": features, "error": error})
        if kept is not None:
            kept.put(provider.id, name, Answer(200, data, provider.url, httpx.Headers()))
    else:
        known = orjson.loads(before.data)
        features, error = known["features"], known["error"]
    return StaticContent(Page(request, features, None, None, provider.url), error)


class _Walk:
    """One reading of a static catalogue, several files at once."""

    def __init__(self, door: Door, query: SearchQuery) -> None:
        self._door = door
        self._area = area(query)
        self._time = parse_interval(query.datetime) if query.datetime else None
        self._collections = frozenset(query.collections)
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._seen: set[str] = set()
        self._documents = 0
        self._items: dict[str, Any] = {}
        self._failed: list[str] = []
        self._cut = ""

    async def run(self) -> list[Any]:
        root = await self._get(self._door.provider.url)
        self._seen.update((self._door.provider.url, root[1]))
        await self._open(*root)
        # By address, so that reading again gives the same order.
        return [item for _, item in sorted(self._items.items()) if item is not None]

    def error(self) -> str:
        """What could not be read; empty: everything was."""
        failed = len(self._failed)
        unread = f"{failed} of its files could not be read: {self._failed[0]}" if failed else ""
        return " ".join(filter(None, [self._cut, unread]))

    async def _get(self, url: str) -> tuple[dict[str, Any], str]:
        title = self._door.provider.title
        async with self._gate:
            answer = (await self._door.ask("GET", url)).parsed()
        if answer.status != 200:
            raise UpstreamError(f"{title} answered with status {answer.status} for {url}.")
        if not isinstance(answer.body, dict):
            raise UpstreamError(f"{title} did not answer with a STAC object for {url}.")
        return answer.body, answer.url

    async def _open(self, document: dict[str, Any], url: str) -> None:
        """Follow the links of a catalogue or collection."""
        if document.get("type") == "Collection" and not self._worth_it(document):
            return
        async with asyncio.TaskGroup() as group:
            for rel, href in _links(document, url):
                if href in self._seen:
                    continue
                self._seen.add(href)
                if rel == "item" and len(self._items) < MOST_ITEMS:
                    self._items[href] = None
                    group.create_task(self._item(href))
                elif rel == "child" and self._documents < _MOST_DOCUMENTS:
                    self._documents += 1
                    group.create_task(self._child(href))
                else:
                    self._cut = (
                        f"{self._door.provider.title} holds more than {MOST_ITEMS} items or "
                        f"{_MOST_DOCUMENTS} catalogues that may be meant, and was not read further."
                    )

    async def _child(self, href: str) -> None:
        try:
            document, url = await self._get(href)
        except CScaleError as failure:
            self._failed.append(failure.message)
            return
        await self._open(document, url)

    async def _item(self, href: str) -> None:
        try:
            item, url = await self._get(href)
            if not repair(item):
                absolute(item, url)
        except CScaleError as failure:
            self._failed.append(failure.message)
            return
        except ValueError:
            self._failed.append(f"{url} has an address in it that is not valid.")
            return
        self._items[href] = item

    def _worth_it(self, collection: dict[str, Any]) -> bool:
        """Whether a collection may hold what is looked for, as far as it tells."""
        if self._collections and collection.get("id") not in self._collections:
            # It may still have collections in it.
            return any(rel == "child" for rel, _ in _links(collection, ""))
        extent = collection.get("extent")
        if not isinstance(extent, dict):
            return True
        if self._area is not None:
            boxes = list(_boxes(extent))
            if boxes and not self._area.intersects(MultiPolygon(boxes)):
                return False
        if self._time is not None:
            times = list(_times(extent))
            if times and not any(self._time.overlaps(interval) for interval in times):
                return False
        return True


def _links(document: dict[str, Any], url: str) -> Iterable[tuple[str, str]]:
    links = document.get("links")
    for link in links if isinstance(links, list) else []:
        if not isinstance(link, dict) or link.get("rel") not in ("child", "item"):
            continue
        try:
            yield link["rel"], urljoin(url, str(link["href"]))
        except (KeyError, ValueError):
            # A link without an address leads nowhere.
            continue


def _boxes(extent: dict[str, Any]) -> Iterable[Any]:
    """The areas of a collection; nothing when one of them cannot be read."""
    try:
        for bounds in extent["spatial"]["bbox"]:
            half = len(bounds) // 2
            west, south, east, north = (float(bounds[i]) for i in (0, 1, half, half + 1))
            if west <= east:
                yield box(west, south, east, north)
            else:
                yield box(west, south, 180, north)
                yield box(-180, south, east, north)
    except (KeyError, TypeError, ValueError, IndexError):
        yield box(-180, -90, 180, 90)


def _times(extent: dict[str, Any]) -> Iterable[Interval]:
    """The times of a collection; always when one of them cannot be read."""
    try:
        for start, end in extent["temporal"]["interval"]:
            yield Interval(_moment(start), _moment(end))
    except (KeyError, TypeError, ValueError):
        yield Interval(None, None)


def _moment(text: Any) -> datetime | None:
    return None if text is None else parse_time(text)
