"""The collections of every provider, listed once and kept, under names that say whose they are.

A collection's name in the federation is ``PROVIDER|collection``. Each provider is asked under its
own deadline; one that does not answer keeps the collections it had, marked stale, and is in the
report. Documents are untrusted: what a list shows of them is checked and shortened, the document
itself is given as it came but for its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from urllib.parse import quote, urljoin

from pydantic import BaseModel, Field

from cscale_core.catalog.door import Door
from cscale_core.catalog.items import PROVIDER_MEMBER
from cscale_core.catalog.preselect import SEPARATOR
from cscale_core.errors import CScaleError, NotFound, UpstreamError
from cscale_core.providers import Provider

FRESH = 3600.0
"""Seconds for which what a provider listed is not asked for again."""

AFTER_FAILURE = 60.0
"""Seconds after which a provider that failed is asked again."""

_MAX_PAGES = 50
_MAX_COLLECTIONS = 5000
_MAX_CHILDREN = 200
_MAX_QUERYABLES = 1000
_AT_ONCE = 8
_SHORT = 300
_LONG = 5000
_TAG = re.compile(r"<[^>]*>")
_MISSION = re.compile(
    r"sentinel[-_ ]?(5p|[1-6])(?![0-9])|\b(landsat|modis|envisat|proba-?v|smos|prisma|enmap|era5"
    r"|naip|spot|cop(?:ernicus)?[-_ ]dem|clms|gfm)",
    re.IGNORECASE,
)
# Types that a class with a method named list cannot spell.
_Documents = list[dict[str, Any]]
_Notes = list[str]
_NAMES = {
    "landsat": "Landsat",
    "modis": "MODIS",
    "envisat": "Envisat",
    "proba-v": "PROBA-V",
    "probav": "PROBA-V",
    "enmap": "EnMAP",
    "copernicus-dem": "Copernicus DEM",
    "cop-dem": "Copernicus DEM",
}


class Asked(Protocol):
    """What is needed of a federation to list its collections."""

    @property
    def providers(self) -> Sequence[Provider]: ...

    def door(self, provider: Provider) -> Door:
        """The door to one provider."""


class CollectionEntry(BaseModel):
    """What a list shows of one collection."""

    id: str = Field(description="``PROVIDER|collection``, as searches take it.")
    provider: str
    provider_title: str
    own_id: str = Field(description="Its id at the provider.")
    title: str
    description: str = Field(default="", description="As text, without markup.")
    bbox: list[list[float]] = Field(default_factory=list, description="Spatial extent.")
    interval: list[list[str | None]] = Field(default_factory=list, description="Temporal extent.")
    keywords: list[str] = Field(default_factory=list)
    licence: str = ""
    mission: str = Field(default="", description="To group by; empty: not known.")
    platforms: list[str] = Field(default_factory=list)
    stale: bool = Field(default=False, description="The provider could not be asked since.")


class CollectionReport(BaseModel):
    """How one provider's list was got."""

    id: str
    title: str
    status: Literal["ok", "error", "timeout"]
    returned: int = 0
    age: float | None = Field(default=None, description="Seconds since it was read; None: never.")
    elapsed: float = Field(default=0.0, description="Seconds that reading it took.")
    error: str = ""
    note: str = ""


class CollectionList(BaseModel):
    """The collections of all providers, and how each list was got."""

    collections: list[CollectionEntry]
    providers: list[CollectionReport]

    @property
    def complete(self) -> bool:
        """Whether every provider's list is there and fresh."""
        return all(report.status == "ok" for report in self.providers)


@dataclass(frozen=True, slots=True)
class _Told:
    """The properties that a provider stated, and until when they are not asked for again."""

    properties: dict[str, Any]
    until: float


@dataclass(slots=True)
class _Listed:
    """What is kept of one provider."""

    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    read: float | None = None
    tried: float = float("-inf")
    elapsed: float = 0.0
    status: Literal["ok", "error", "timeout"] = "ok"
    error: str = ""
    note: str = ""
    queryables: dict[str, _Told] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def due(self) -> bool:
        wait = FRESH if self.status == "ok" else AFTER_FAILURE
        return time.monotonic() - self.tried > wait


class Collections:
    """The collections of a federation's providers."""

    def __init__(self, federation: Asked) -> None:
        self._federation = federation
        self._known: dict[tuple[str, str], _Listed] = {}

    async def list(self) -> CollectionList:
        """Every collection, in the order of the providers."""
        listed = await self._all()
        return CollectionList(
            collections=[
                _entry(provider, own, document, stale=known.status != "ok")
                for provider, known in listed
                for own, document in known.documents.items()
            ],
            providers=[_report(provider, known) for provider, known in listed],
        )

    async def documents(self) -> tuple[_Documents, tuple[CollectionReport, ...]]:
        """Every collection's whole document under its name in the federation, and the reports."""
        listed = await self._all()
        return (
            [
                _named(provider, own, document)
                for provider, known in listed
                for own, document in known.documents.items()
            ],
            tuple(_report(provider, known) for provider, known in listed),
        )

    async def get(self, name: str) -> dict[str, Any]:
        """The document of ``PROVIDER|collection``.

        :raises NotFound: when there is no such provider or collection.
        :raises UpstreamError: when the provider does not answer.
        """
        provider, own = self._split(name)
        known = await self._listed(provider)
        if own in known.documents:
            return _named(provider, own, known.documents[own])
        if provider.kind == "static" or known.status == "ok":
            raise NotFound(f"{provider.title} has no collection {own[:_SHORT]}.")
        document = await self._one(provider, own)
        return _named(provider, own, document)

    async def queryables(self, name: str | None = None) -> dict[str, Any]:
        """What items can be filtered by: a JSON schema.

        Of one collection what its provider states for it. Of all (``None``) the union; each
        property says in ``cscale:providers`` who has it, and ``cscale:everywhere`` names those
        that everybody has. Other properties may be asked for too: such filters are applied here.

        :raises NotFound: when there is no such provider.
        """
        if name is not None:
            provider, own = self._split(name)
            return _schema(name, await self._queryables(provider, own))
        providers = [each for each in self._federation.providers if each.kind == "api"]
        found = await asyncio.gather(*(self._queryables(each, "") for each in providers))
        properties: dict[str, dict[str, Any]] = {}
        for provider, theirs in zip(providers, found, strict=True):
            for key, schema in theirs.items():
                mine = properties.setdefault(key, {**schema, "cscale:providers": []})
                mine["cscale:providers"].append(provider.id)
        told = sum(bool(theirs) for theirs in found)
        everywhere = [
            key
            for key, schema in properties.items()
            if told and len(schema["cscale:providers"]) == told
        ]
        return {**_schema("", properties), "cscale:everywhere": everywhere}

    async def _all(self) -> tuple[tuple[Provider, _Listed], ...]:
        providers = tuple(self._federation.providers)
        listed = await asyncio.gather(*map(self._listed, providers))
        return tuple(zip(providers, listed, strict=True))

    def _split(self, name: str) -> tuple[Provider, str]:
        owner, bar, own = name.partition(SEPARATOR)
        for provider in self._federation.providers:
            if bar and own and provider.id == owner:
                return provider, own
        raise NotFound(
            f"There is no collection {name[:_SHORT]}.",
            hint="Collections are named PROVIDER|collection.",
        )

    async def _listed(self, provider: Provider) -> _Listed:
        """What a provider lists, read anew where it is time; never raises for the provider."""
        known = self._known.setdefault((provider.id, provider.url), _Listed())
        async with known.lock:
            if known.due:
                await self._renew(provider, known)
        return known

    async def _renew(self, provider: Provider, known: _Listed) -> None:
        begun = time.monotonic()
        notes: _Notes = []
        read = self._static if provider.kind == "static" else self._paged
        try:
            async with asyncio.timeout(provider.deadline):
                documents = await read(provider, notes)
        except TimeoutError:
            known.status = "timeout"
            known.error = f"It did not answer within {provider.deadline:g} seconds."
        except CScaleError as failed:
            known.status, known.error = "error", failed.message
        else:
            known.documents, known.read = documents, time.monotonic()
            known.status, known.error, known.note = "ok", "", "; ".join(notes)
        known.tried = time.monotonic()
        known.elapsed = round(known.tried - begun, 3)

    async def _paged(self, provider: Provider, notes: _Notes) -> dict[str, dict[str, Any]]:
        """``/collections``, page after page (OGC API - Features; STAC API Collections)."""
        door = self._federation.door(provider)
        url = provider.url.rstrip("/") + "/collections"
        documents: dict[str, dict[str, Any]] = {}
        seen: set[str] = set()
        left_out = 0
        while url not in seen and len(seen) < _MAX_PAGES and len(documents) < _MAX_COLLECTIONS:
            seen.add(url)
            body = await _json(door, url)
            page = body.get("collections")
            if not isinstance(page, list):
                raise UpstreamError("It answered something that is no list of collections.")
            for document in page:
                if _usable(document):
                    documents.setdefault(document["id"], document)
                else:
                    left_out += 1
            following = _following(body, url)
            if not following or not page:
                break
            url = following
        else:
            notes.append("its list has no end, or is too long, and was cut")
        if left_out:
            notes.append(f"{left_out} that are no collections were left out")
        return documents

    async def _static(self, provider: Provider, notes: _Notes) -> dict[str, dict[str, Any]]:
        """The children of a static catalogue that are collections."""
        door = self._federation.door(provider)
        root = await _json(door, provider.url)
        if _usable(root):
            return {root["id"]: root}
        links = root.get("links")
        children = [
            urljoin(provider.url, str(link["href"]))
            for link in (links if isinstance(links, list) else [])
            if isinstance(link, dict) and link.get("rel") == "child" and link.get("href")
        ]
        if len(children) > _MAX_CHILDREN:
            notes.append(f"only the first {_MAX_CHILDREN} of its children were read")
        places = asyncio.Semaphore(_AT_ONCE)

        async def read(url: str) -> dict[str, Any] | None:
            try:
                async with places:
                    return await _json(door, url)
            except CScaleError as failed:
                notes.append(failed.message)
                return None

        found = await asyncio.gather(*map(read, children[:_MAX_CHILDREN]))
        usable = (document for document in found if document is not None and _usable(document))
        return {document["id"]: document for document in usable}

    async def _one(self, provider: Provider, own: str) -> dict[str, Any]:
        """One collection, asked directly because the list could not be had."""
        url = f"{provider.url.rstrip('/')}/collections/{quote(own, safe='')}"
        try:
            async with asyncio.timeout(provider.deadline):
                answer = (await self._federation.door(provider).ask("GET", url)).parsed()
        except TimeoutError as error:
            raise UpstreamError(
                f"{provider.title} did not answer in time.", retryable=True
            ) from error
        if answer.status == 404:
            raise NotFound(f"{provider.title} has no collection {own[:_SHORT]}.")
        if answer.status != 200 or not _usable(answer.body):
            raise UpstreamError(f"{provider.title} did not give the collection {own[:_SHORT]}.")
        document: dict[str, Any] = answer.body
        return document

    async def _queryables(self, provider: Provider, own: str) -> dict[str, Any]:
        """The properties a provider states; nothing where it states none or does not answer."""
        if provider.kind == "static":
            return {}
        known = self._known.setdefault((provider.id, provider.url), _Listed())
        told = known.queryables.get(own)
        if told is None or time.monotonic() > told.until:
            told = await self._stated(provider, own)
            if len(known.queryables) >= _MAX_QUERYABLES:
                # Anybody may ask for names that do not exist.
                known.queryables.clear()
            known.queryables[own] = told
        return told.properties

    async def _stated(self, provider: Provider, own: str) -> _Told:
        """Ask for the queryables of a collection, else of the whole provider."""
        base = provider.url.rstrip("/")
        urls = [f"{base}/queryables"]
        if own:
            urls.insert(0, f"{base}/collections/{quote(own, safe='')}/queryables")
        door = self._federation.door(provider)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(provider.deadline):
                for url in urls:
                    try:
                        properties = (await _json(door, url)).get("properties")
                    except CScaleError:
                        # The next address may tell; a filter works here without being told.
                        continue
                    if isinstance(properties, dict):
                        kept = {
                            str(key)[:_SHORT]: schema
                            for key, schema in properties.items()
                            if isinstance(schema, dict)
                        }
                        return _Told(kept, time.monotonic() + FRESH)
        return _Told({}, time.monotonic() + AFTER_FAILURE)


async def _json(door: Door, url: str) -> dict[str, Any]:
    answer = (await door.ask("GET", url)).parsed()
    if answer.status != 200:
        raise UpstreamError(f"It answered {answer.status}. {answer.said}".strip())
    if not isinstance(answer.body, dict):
        raise UpstreamError("It answered something that is not a JSON object.")
    return answer.body


def _usable(document: Any) -> bool:
    return (
        isinstance(document, dict)
        and isinstance(document.get("id"), str)
        and bool(document["id"])
        # A catalogue among collections has no extent, and no items of its own.
        and document.get("type", "Collection") == "Collection"
    )


def _following(page: Mapping[str, Any], url: str) -> str:
    links = page.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") == "next" and link.get("href"):
            try:
                return urljoin(url, str(link["href"]))
            except ValueError:
                # An address that cannot be read leads nowhere.
                return ""
    return ""


def _named(provider: Provider, own: str, document: Mapping[str, Any]) -> dict[str, Any]:
    name = f"{provider.id}{SEPARATOR}{own}"
    return {**document, "id": name, PROVIDER_MEMBER: provider.id, "cscale:id": own}


def _report(provider: Provider, known: _Listed) -> CollectionReport:
    age = None if known.read is None else round(time.monotonic() - known.read, 1)
    return CollectionReport(
        id=provider.id,
        title=provider.title,
        status=known.status,
        returned=len(known.documents),
        age=age,
        elapsed=known.elapsed,
        error=known.error,
        note=known.note,
    )


def _schema(name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "title": f"Queryables of {name}" if name else "Queryables of the federation",
        "properties": dict(properties),
        "additionalProperties": True,
    }


def _plain(value: Any, most: int = _LONG) -> str:
    """Text without markup and control characters, shortened."""
    if not isinstance(value, str):
        return ""
    text = _TAG.sub(" ", value[: most * 4])
    return "".join(c for c in text if c.isprintable() or c == "\n").strip()[:most]


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [_plain(each, _SHORT) for each in values[:100] if isinstance(each, str) and each]


def _entry(
    provider: Provider, own: str, document: Mapping[str, Any], *, stale: bool
) -> CollectionEntry:
    summaries = document.get("summaries")
    summed: Mapping[str, Any] = summaries if isinstance(summaries, dict) else {}
    extent = document.get("extent")
    parts: Mapping[str, Any] = extent if isinstance(extent, dict) else {}
    title = _plain(document.get("title"), _SHORT) or own
    keywords = _texts(document.get("keywords"))
    return CollectionEntry(
        id=f"{provider.id}{SEPARATOR}{own}",
        provider=provider.id,
        provider_title=provider.title,
        own_id=own,
        title=title,
        description=_plain(document.get("description")),
        bbox=list(_boxes(parts.get("spatial"))),
        interval=list(_intervals(parts.get("temporal"))),
        keywords=keywords,
        licence=_plain(document.get("license"), _SHORT),
        mission=_mission([*_texts(summed.get("constellation")), own, title, *keywords]),
        platforms=_texts(summed.get("platform")),
        stale=stale,
    )


def _boxes(spatial: Any) -> Iterable[list[float]]:
    boxes = spatial.get("bbox") if isinstance(spatial, dict) else None
    for box in (boxes if isinstance(boxes, list) else [])[:20]:
        if isinstance(box, list) and len(box) in (4, 6) and all(map(_number, box)):
            half = len(box) // 2
            yield [float(box[i]) for i in (0, 1, half, half + 1)]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _intervals(temporal: Any) -> Iterable[list[str | None]]:
    intervals = temporal.get("interval") if isinstance(temporal, dict) else None
    for pair in (intervals if isinstance(intervals, list) else [])[:20]:
        if isinstance(pair, list) and len(pair) == 2:
            yield [_plain(end, 40) if isinstance(end, str) else None for end in pair]


def _mission(texts: Iterable[str]) -> str:
    """The mission that the first of the texts to name one names."""
    for text in texts:
        if match := _MISSION.search(text):
            if match[1]:
                return f"Sentinel-{match[1].upper()}"
            name = re.sub(r"[_ ]", "-", match[2].lower())
            return _NAMES.get(name, name.upper())
    return ""
