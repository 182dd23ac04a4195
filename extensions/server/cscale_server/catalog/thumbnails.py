"""Small pictures of items, fetched on behalf of the browser and shown as nothing but pictures.

What an item calls its thumbnail lies anywhere: at a public address, behind a private one that
must not be asked, or in a bucket that only this server can read. Whatever it claims to be, only
bytes that begin as PNG, JPEG or WebP do are passed on.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from cscale_core.addresses import ObjectAddress, readable
from cscale_core.catalog.items import PROVIDER_MEMBER, self_link
from cscale_core.catalog.mirrors import MIRRORS_MEMBER
from cscale_core.errors import CScaleError, NotFound, UpstreamError, UpstreamTimeout
from cscale_core.http import fetch, origin, site_egress
from cscale_core.site import Site

if TYPE_CHECKING:
    import httpx

    from cscale_core.objects import ObjectStore

MAX_BYTES = 5 * 1024 * 1024
"""Bytes of the largest picture."""

MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")

_KEPT_BYTES = 32 * 1024 * 1024
_CONCURRENT = 8
_MOST_ADDRESSES = 4
_SECONDS = 20.0
_LINKS = ("preview", "thumbnail")


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of an image and the media type that they have."""

    data: bytes
    media_type: str


def media_type(data: bytes) -> str:
    """The media type that the first bytes tell, if it is one of ours; else empty.

    Source: the MIME Sniffing Standard (WHATWG), "Matching an image type pattern".
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:14] == b"WEBPVP":
        return "image/webp"
    return ""


def addresses(item: dict[str, Any]) -> list[str]:
    """Where an item says that a picture of it is, the best first.

    Assets with the role ``thumbnail`` (or, in older items, that name), links with ``rel=preview``,
    assets with the role ``overview``; not those that state a media type we do not show. After
    its own, those that only its mirrors have.
    """
    found = dict.fromkeys(_own(item))
    for mirror in item.get(MIRRORS_MEMBER) or ():
        found |= dict.fromkeys(_own(mirror))
    return list(found)


def _own(item: dict[str, Any]) -> Iterator[str]:
    base = self_link(item)
    for entry in (*_assets(item, "thumbnail"), *_previews(item), *_assets(item, "overview")):
        for href in _hrefs(entry):
            try:
                relative = base and not urlsplit(href).scheme and not href.startswith("/")
                yield urljoin(base, href) if relative else href
            except ValueError:
                continue  # an address such as http://[ names nothing


def _assets(item: dict[str, Any], role: str) -> Iterator[dict[str, Any]]:
    for key, asset in (item.get("assets") or {}).items():
        roles = asset.get("roles")
        if role in roles if isinstance(roles, list) else key == role:
            yield asset


def _previews(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for link in item.get("links") or ():
        if isinstance(link, dict) and link.get("rel") in _LINKS:
            yield link


def _hrefs(entry: dict[str, Any]) -> Iterator[str]:
    stated = str(entry.get("type") or "").partition(";")[0].strip().lower()
    if stated and stated not in (*MEDIA_TYPES, "image/jpg", "application/octet-stream"):
        return
    alternates = entry.get("alternate")
    for place in (entry, *(alternates.values() if isinstance(alternates, dict) else ())):
        if isinstance(place, dict) and isinstance(place.get("href"), str):
            yield place["href"]


class Thumbnails:
    """Fetches pictures, some at a time, and keeps the last ones in memory.

    :param http: made by :func:`cscale_core.http.guarded_client`; not closed here.
    """

    def __init__(self, site: Site, http: httpx.AsyncClient) -> None:
        self._site = site
        self._http = http
        # Pictures lie beside the data, wherever that is: any public host, private ones as listed.
        self._egress = site_egress(site, public=True)
        self._turn = asyncio.Semaphore(_CONCURRENT)
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._lock = threading.Lock()
        self._store: ObjectStore | None = None

    async def of(self, ref: str, item: dict[str, Any]) -> Picture:
        """The picture of an item, kept under its reference.

        :raises NotFound: when the item names none that can be shown.
        :raises UpstreamError: when none of the addresses gives one; the message says why.
        """
        if (known := self._kept.get(ref)) is not None:
            self._kept.move_to_end(ref)
            return known
        named = addresses(item)
        if not named:
            raise NotFound(f"{item['id']} has no picture.")
        reasons: list[str] = []
        timed_out = False
        for address in islice(named, _MOST_ADDRESSES):
            try:
                async with self._turn, asyncio.timeout(_SECONDS):
                    picture = await self._fetch(address, found=PROVIDER_MEMBER in item)
            except TimeoutError:
                timed_out = True
                reasons.append(f"it did not come within {_SECONDS:g} seconds")
            except CScaleError as error:
                timed_out |= isinstance(error, UpstreamTimeout)
                reasons.append(error.message.rstrip("."))
            else:
                self._keep(ref, picture)
                return picture
        kind = UpstreamTimeout if timed_out else UpstreamError
        raise kind(f"No picture of {item['id']} could be read: {'; '.join(reasons)}.")

    async def _fetch(self, address: str, *, found: bool) -> Picture:
        own = readable(address, self._site, found=found)
        data = await (asyncio.to_thread(self._read, own) if own else self._download(address))
        if len(data) > MAX_BYTES:  # an object; what comes by HTTP is bounded on its way
            raise UpstreamError(f"a picture of more than {MAX_BYTES // 2**20} MB is not shown")
        kind = media_type(data)
        if not kind:
            raise UpstreamError("what is there is no PNG, JPEG or WebP image")
        return Picture(data, kind)

    def _read(self, address: ObjectAddress) -> bytes:
        from cscale_core.objects import ObjectStore  # imports boto3

        with self._lock:
            if self._store is None:
                self._store = ObjectStore(self._site)
        return self._store.get(address, length=MAX_BYTES + 1)

    async def _download(self, address: str) -> bytes:
        if urlsplit(address).scheme not in ("http", "https"):
            raise UpstreamError("its address cannot be read here")
        answer = await fetch(
            self._http,
            self._egress,
            "GET",
            address,
            headers={"Accept": ", ".join(MEDIA_TYPES)},
            max_bytes=MAX_BYTES,
        )
        if answer.status != HTTPStatus.OK:
            raise UpstreamError(f"{origin(address)[1]} answered with status {answer.status}")
        return answer.data

    def _keep(self, ref: str, picture: Picture) -> None:
        self._kept[ref] = picture
        while sum(len(kept.data) for kept in self._kept.values()) > _KEPT_BYTES:
            self._kept.popitem(last=False)
