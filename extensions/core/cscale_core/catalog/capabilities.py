"""What a provider's API can do: read from its landing page once, and learned while asking it.

Nothing is taken for granted that the conformance classes do not state (STAC API 1.0, "Extensions";
OGC API - Features part 3). Where the landing page cannot be read, only the plain parameters of
Item Search are used, and everything else is done here.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urljoin

from cscale_core.catalog.door import Door
from cscale_core.errors import CScaleError, Forbidden
from cscale_core.http import origin

_FRESH = 3600.0
_FRESH_AFTER_FAILURE = 60.0
# A landing page may take this part of the provider's deadline, so that time is left to search.
_PATIENCE = 0.25
_EXTENSION = re.compile(r"https://api\.stacspec\.org/v1\.[^/]+/item-search#(sort|fields|filter)\b")
_QUERYABLES = ("http://www.opengis.net/def/rel/ogc/1.0/queryables", "queryables")


@dataclass(slots=True)
class Capabilities:
    """What one provider offers."""

    search: str
    """Address of Item Search."""
    sort: bool = False
    fields: bool = False
    filter_json: bool = False
    filter_text: bool = False
    conforms_to: tuple[str, ...] = ()
    queryables: str = ""
    """Address of the queryables of all collections; empty: not stated."""
    post: bool = True
    """Whether searches by POST are taken; learned when one is refused."""
    refused: set[str] = field(default_factory=set)
    """Parts of searches that were answered with an error although they were offered."""
    read: bool = False
    """Whether the landing page could be read."""
    age: float = field(default_factory=time.monotonic)
    """When this was read, on the monotonic clock."""

    @property
    def stale(self) -> bool:
        """Whether to read the landing page again."""
        limit = _FRESH if self.read else _FRESH_AFTER_FAILURE
        return time.monotonic() - self.age > limit

    def language(self, method: Literal["GET", "POST"]) -> Literal["cql2-json", "cql2-text", ""]:
        """In which form it takes a filter; empty: not at all."""
        preferred = self.filter_json if method == "POST" else not self.filter_text
        if preferred and self.filter_json:
            return "cql2-json"
        if self.filter_text:
            return "cql2-text"
        return "cql2-json" if self.filter_json else ""


def plain(url: str) -> Capabilities:
    """What is assumed of a provider that does not tell: Item Search below its landing page."""
    return Capabilities(search=url.rstrip("/") + "/search")


def understood(landing: Any, url: str) -> Capabilities:
    """What a landing page states.

    :param landing: its parsed body; untrusted.
    :param url: where it was read, for relative links.
    """
    found = plain(url)
    if not isinstance(landing, dict) or not isinstance(landing.get("conformsTo"), list):
        return found
    found.read = True
    found.conforms_to = tuple(name for name in landing["conformsTo"] if isinstance(name, str))
    offered = {match[1] for name in found.conforms_to if (match := _EXTENSION.match(name))}
    found.sort = "sort" in offered
    found.fields = "fields" in offered
    if "filter" in offered:
        found.filter_json = any(name.endswith("cql2-json") for name in found.conforms_to)
        found.filter_text = any(name.endswith("cql2-text") for name in found.conforms_to)
    links = landing.get("links")
    for link in links if isinstance(links, list) else []:
        if not isinstance(link, dict) or not isinstance(link.get("href"), str):
            continue
        try:
            href = urljoin(url, link["href"])
        except ValueError:
            # An address that cannot be read is no address.
            continue
        kind = str(link.get("type", "json"))
        # A search at another host, or as XML, is not the one of the specification.
        if link.get("rel") == "search" and "json" in kind and _same_host(href, url):
            found.search = href
        elif link.get("rel") in _QUERYABLES:
            found.queryables = href
    return found


def _same_host(href: str, url: str) -> bool:
    try:
        return origin(href) == origin(url)
    except Forbidden:
        return False


class CapabilityBook:
    """The capabilities of all providers, each read when it is first needed and kept for an hour."""

    def __init__(self) -> None:
        self._known: dict[str, Capabilities] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def of(self, door: Door) -> Capabilities:
        """What the provider behind a door can do; never raises for what the provider does."""
        provider = door.provider
        key = f"{provider.id} {provider.url}"
        known = self._known.get(key)
        if known is not None and not known.stale:
            return known
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._known.get(key)
            if known is None or known.stale:
                fresh = await _read(door)
                if known is not None and not fresh.read:
                    # What was known before is better than nothing.
                    fresh, known.age = known, time.monotonic()
                self._known[key] = fresh
                return fresh
            return known


async def _read(door: Door) -> Capabilities:
    url = door.provider.url
    try:
        async with asyncio.timeout(door.provider.deadline * _PATIENCE):
            answer = (await door.ask("GET", url)).parsed()
    except (TimeoutError, CScaleError):
        # The search itself will say what is wrong with the provider.
        return plain(url)
    return understood(answer.body, answer.url) if answer.status == 200 else plain(url)
