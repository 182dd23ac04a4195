"""Write items into the community's catalogue, so that others find them.

STAC API Transactions (v1.0.0-rc): POST makes an item (201), 409 says that one of this id is
there; it is compared, and replaced by PUT only when it differs. An answer that was lost is never
answered by sending again: the item is looked for first.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field

from cscale_core.addresses import canonicalise
from cscale_core.catalog.interval import format_time, item_interval, parse_time
from cscale_core.catalog.items import PROVIDER_MEMBER, fault
from cscale_core.errors import CScaleError, Forbidden, InvalidInput, UpstreamError
from cscale_core.http import JsonAnswer, fetch_json, site_egress
from cscale_core.identity.tokens import RenewableTokens, TokenSource
from cscale_core.site import Site

_CONCURRENT = 4
_TRIES = 3
_PAUSE = 0.5
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
# Link relations that a catalogue makes itself, and ones that change with every answer.
_VOLATILE_LINKS = frozenset({"self", "parent", "collection", "root", "canonical", "items"})
# Properties that a catalogue keeps itself (STAC common metadata "created", "updated").
_VOLATILE_PROPERTIES = ("created", "updated")
_TIMES = ("datetime", "start_datetime", "end_datetime")
# A catalogue that stores numbers in binary may give the last digit back differently.
_SAME_NUMBER = 1e-9

Outcome = Literal["created", "updated", "unchanged", "error"]


class ItemOutcome(BaseModel):
    """What became of one item."""

    id: str
    collection: str
    outcome: Outcome
    error: dict[str, Any] | None = Field(default=None, description="As CScaleError.as_dict.")
    note: str = ""


class RegisterReport(BaseModel):
    """What became of each item, in the order they were given."""

    items: list[ItemOutcome]
    collections_created: list[str] = Field(default_factory=list)

    def count(self, outcome: Outcome) -> int:
        return sum(item.outcome == outcome for item in self.items)

    @property
    def ok(self) -> bool:
        """Whether every item is in the catalogue now as it was given."""
        return not self.count("error")


# -- comparing -----------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """Without members that are null, which some catalogues drop and others add."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[k], second[k]) for k in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=_SAME_NUMBER, abs_tol=_SAME_NUMBER)
    return type(first) is type(second) and bool(first == second)


def _compared(item: dict[str, Any]) -> dict[str, Any]:
    """The part of an item that says something, in one writing."""
    properties = dict(item.get("properties") or {})
    for name in _VOLATILE_PROPERTIES:
        properties.pop(name, None)
    for name in _TIMES:
        try:
            properties[name] = format_time(parse_time(properties[name]))
        except (KeyError, ValueError):
            # Absent, null or unreadable: compared as it stands.
            continue
    links = [
        (str(link.get("rel")), str(link.get("href")))
        for link in item.get("links") or []
        if isinstance(link, dict) and link.get("rel") not in _VOLATILE_LINKS
    ]
    return {
        "geometry": _plain(item.get("geometry")),
        "bbox": item.get("bbox"),
        "properties": _plain(properties),
        "assets": _plain(item.get("assets")),
        "extensions": sorted(map(str, item.get("stac_extensions") or [])),
        "links": [list(link) for link in sorted(links)],
    }


def same_item(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two items say the same, apart from links and times that catalogues make."""
    return _same(_compared(first), _compared(second))


# -- collections ---------------------------------------------------------------------------


def collection_for(collection: str, items: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A minimal STAC 1.1 collection around some items."""
    boxes, starts, ends = [], [], []
    for item in items:
        bbox = item.get("bbox")
        if isinstance(bbox, list) and len(bbox) in (4, 6):
            half = len(bbox) // 2
            boxes.append((bbox[0], bbox[1], bbox[half], bbox[half + 1]))
        if interval := item_interval(item["properties"]):
            starts += [interval.start] if interval.start else []
            ends += [interval.end] if interval.end else []
    whole = [-180.0, -90.0, 180.0, 90.0]
    if boxes:
        west, south, east, north = zip(*boxes, strict=True)
        whole = [min(west), min(south), max(east), max(north)]
    interval_text = [
        format_time(min(starts)) if starts else None,
        format_time(max(ends)) if ends else None,
    ]
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": collection,
        "title": collection,
        "description": f"Items of {collection} that members staged or computed.",
        "license": "other",
        "extent": {"spatial": {"bbox": [whole]}, "temporal": {"interval": [interval_text]}},
        "links": [],
    }


# -- writing -------------------------------------------------------------------------------


class _Catalogue:
    """The transactions of one catalogue, with a token that is renewed once when refused."""

    def __init__(self, site: Site, tokens: TokenSource | None, http: httpx.AsyncClient) -> None:
        self._url = site.catalogue.url.rstrip("/")
        self._audience = site.catalogue.audience
        self._tokens = tokens
        self._http = http
        self._egress = site_egress(site)

    async def ask(self, method: str, path: str, body: Any = None) -> JsonAnswer:
        answer = await self._once(method, path, body)
        if answer.status == 401 and isinstance(self._tokens, RenewableTokens):
            self._tokens.forget(self._audience)
            answer = await self._once(method, path, body)
        return answer

    async def _once(self, method: str, path: str, body: Any) -> JsonAnswer:
        headers = {}
        if self._tokens is not None and self._audience:
            headers["Authorization"] = f"Bearer {await self._tokens.token(self._audience)}"
        return await fetch_json(
            self._http,
            self._egress,
            method,
            self._url + path,
            body=body,
            headers=headers,
            timeout=_TIMEOUT,
        )


def _refused(answer: JsonAnswer, what: str) -> CScaleError:
    said = f" It said: {answer.said}" if answer.said else ""
    if answer.status in (401, 403):
        return Forbidden(
            f"The catalogue does not let you write {what} (status {answer.status}).{said}",
            hint="Ask the managers of your virtual organisation for the right to write.",
            status=answer.status,
        )
    if answer.status in (400, 413, 422):
        return InvalidInput(f"The catalogue refuses {what}.{said}", status=answer.status)
    return UpstreamError(
        f"The catalogue answered {what} with status {answer.status}.{said}",
        retryable=answer.status >= 500 or answer.status == 429,
        status=answer.status,
    )


def _items_path(collection: str) -> str:
    return f"/collections/{quote(collection, safe='')}/items"


def _item_path(item: dict[str, Any]) -> str:
    return f"{_items_path(item['collection'])}/{quote(item['id'], safe='')}"


async def _ensure_collection(
    catalogue: _Catalogue, collection: str, items: list[dict[str, Any]]
) -> bool:
    """Make the collection when it is missing; True when it was made."""
    path = f"/collections/{quote(collection, safe='')}"
    what = f"the collection {collection}"
    answer = await catalogue.ask("GET", path)
    if answer.status == 200:
        return False
    if answer.status != 404:
        raise _refused(answer, what)
    answer = await catalogue.ask("POST", "/collections", collection_for(collection, items))
    if answer.status in (200, 201):
        return True
    # Somebody else made it meanwhile.
    if answer.status == 409:
        return False
    raise _refused(answer, what)


async def _present(catalogue: _Catalogue, item: dict[str, Any]) -> dict[str, Any] | None:
    answer = await catalogue.ask("GET", _item_path(item))
    if answer.status == 404:
        return None
    if answer.status != 200 or not isinstance(answer.body, dict):
        raise _refused(answer, item["id"])
    return answer.body


async def _replace(catalogue: _Catalogue, item: dict[str, Any]) -> None:
    """PUT gives the same end however often it is sent, so a lost answer is asked again."""
    for attempt in range(1, _TRIES + 1):
        try:
            answer = await catalogue.ask("PUT", _item_path(item), item)
            if answer.status in (200, 201, 204):
                return
            error = _refused(answer, item["id"])
        except UpstreamError as lost:
            error = lost
        if not error.retryable or attempt == _TRIES:
            raise error
        await asyncio.sleep(_PAUSE * 2**attempt)


async def _register(catalogue: _Catalogue, item: dict[str, Any]) -> tuple[Outcome, str]:
    note = ""
    for attempt in range(1, _TRIES + 1):
        try:
            answer = await catalogue.ask("POST", _items_path(item["collection"]), item)
            if answer.status in (200, 201, 202):
                return "created", note
            error = _refused(answer, item["id"])
        except UpstreamError as lost:
            answer, error = None, lost
        if answer is not None and answer.status == 409:
            break
        if not error.retryable:
            raise error
        # Nobody knows whether it was written: look before anything is sent again.
        await asyncio.sleep(_PAUSE * 2**attempt)
        there = await _present(catalogue, item)
        if there is not None:
            note = "the catalogue's answer was lost; it was looked for and found"
            if same_item(there, item):
                return "created", note
            break
        if attempt == _TRIES:
            raise error
    there = await _present(catalogue, item)
    if there is not None and same_item(there, item):
        return "unchanged", note
    await _replace(catalogue, item)
    return "updated", note


async def register(
    items: list[dict[str, Any]],
    site: Site,
    tokens: TokenSource | None,
    http: httpx.AsyncClient,
) -> RegisterReport:
    """Register items in the site's catalogue; missing collections are made.

    One item that fails does not stop the others: look at ``ok`` and at each outcome.

    :param items: STAC items with ``collection``, as :func:`cscale_core.ingest.staging.stage`
        gives them.
    :param http: made by :func:`cscale_core.http.guarded_client`.
    :raises InvalidInput: when an item is not valid or names no collection; nothing was sent.
    :raises LoginRequired: when the user's session has ended before anything was sent.
    :raises UpstreamError: when the catalogue cannot be reached at all.
    :raises Forbidden: when the user may not create a collection that is missing.
    """
    by_collection: dict[str, list[dict[str, Any]]] = defaultdict(list)
    cleaned = []
    for item in items:
        if reason := fault(item):
            raise InvalidInput(f"An item cannot be registered, it is {reason}.")
        if not item.get("collection"):
            raise InvalidInput(f"{item['id']} names no collection.")
        own = {name: value for name, value in item.items() if name != PROVIDER_MEMBER}
        own = canonicalise(own, site)
        cleaned.append(own)
        by_collection[own["collection"]].append(own)
    catalogue = _Catalogue(site, tokens, http)
    made = []
    for collection, members in by_collection.items():
        if await _ensure_collection(catalogue, collection, members):
            made.append(collection)
    at_once = asyncio.Semaphore(_CONCURRENT)

    async def one(item: dict[str, Any]) -> ItemOutcome:
        async with at_once:
            outcome = ItemOutcome(id=item["id"], collection=item["collection"], outcome="error")
            try:
                outcome.outcome, outcome.note = await _register(catalogue, item)
            except CScaleError as error:
                outcome.error = error.as_dict()
            return outcome

    done = await asyncio.gather(*map(one, cleaned))
    return RegisterReport(items=list(done), collections_created=made)
