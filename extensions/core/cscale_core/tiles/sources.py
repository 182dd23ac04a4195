"""Where a raster is read: a place of the user's in the object store, or HTTPS under guard.

An asset may have several addresses. The object store comes first, as it is near and needs no link;
of those elsewhere each is asked as every foreign address is. Mounts are never touched: one that
hangs would hold up the map.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import httpx

from cscale_core.addresses import ObjectAddress, readable
from cscale_core.catalog.items import self_link
from cscale_core.errors import (
    CScaleError,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    UpstreamError,
)
from cscale_core.http import Egress, explained, open_response, origin
from cscale_core.ingest.download import validator
from cscale_core.ingest.unsigned import unsigned
from cscale_core.site import Site
from cscale_core.tiles.ranges import PAGE, Allowance, Begun, Source

if TYPE_CHECKING:
    from cscale_core.objects import ObjectStore

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True)
class ObjectSource:
    """An object of the site's store, read as the user."""

    address: ObjectAddress
    store: ObjectStore

    @property
    def key(self) -> str:
        return self.address.s3

    @property
    def name(self) -> str:
        return self.address.s3

    def begin(self, allowance: Allowance) -> Begun:
        """How the object is now."""
        allowance.spend(0)
        head = self.store.head(self.address)
        return Begun(head.size, head.etag)

    def read(self, start: int, length: int, allowance: Allowance) -> bytes:
        """Bytes of the object."""
        allowance.spend(length)
        return self.store.get(self.address, start=start, length=length)


@dataclass(frozen=True)
class HttpSource:
    """A file elsewhere, asked by ranges (RFC 9110 section 14) on the event loop.

    :param http: made by :func:`cscale_core.http.guarded_client`.
    """

    url: str
    http: httpx.AsyncClient
    egress: Egress
    loop: asyncio.AbstractEventLoop

    @property
    def key(self) -> str:
        # Of a signed address only a part may be shown, and several files may share that part.
        return hashlib.sha256(self.url.encode()).hexdigest()

    @property
    def name(self) -> str:
        return unsigned(self.url)

    def begin(self, allowance: Allowance) -> Begun:
        """How the file is now, which its first page tells."""
        return self._asked(0, PAGE, allowance)[1]

    def read(self, start: int, length: int, allowance: Allowance) -> bytes:
        """Bytes of the file."""
        place, part = self._asked(start, length, allowance)
        if place != start:
            raise UpstreamError(f"{self._host} gave another part of the file.", retryable=True)
        return part.head

    @property
    def _host(self) -> str:
        return origin(self.url)[1]

    def _asked(self, start: int, length: int, allowance: Allowance) -> tuple[int, Begun]:
        """Where the part begins that was given, and how the file is, with the part."""
        seconds = allowance.spend(length)
        asked = self._part(start, length)
        try:
            future = asyncio.run_coroutine_threadsafe(asked, self.loop)
        except RuntimeError as error:
            asked.close()  # the server has stopped meanwhile
            raise UpstreamError("The server is stopping.", retryable=True) from error
        return allowance.wait(future, seconds)

    async def _part(self, start: int, length: int) -> tuple[int, Begun]:
        headers = {
            "Accept-Encoding": "identity",
            "Range": f"bytes={start}-{start + length - 1}",
        }
        try:
            async with open_response(
                self.http, self.egress, "GET", self.url, headers=headers
            ) as response:
                match = _RANGE.match(response.headers.get("content-range", ""))
                if response.status_code != HTTPStatus.PARTIAL_CONTENT or match is None:
                    raise self._refused(response.status_code)
                data = b""
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > length:
                        raise UpstreamError(f"{self._host} gave more than was asked for.")
        except httpx.HTTPError as error:
            raise explained(error, self.url) from error
        except httpx.InvalidURL as error:
            raise Forbidden("An address that is not valid was not asked.") from error
        return int(match[1]), Begun(int(match[3]), validator(response.headers), data)

    def _refused(self, status: int) -> CScaleError:
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.GONE):
            return LoginRequired(
                f"{self._host} does not give the file without a login ({status}).",
                hint="Stage the product first; the copy in the bucket can be shown.",
            )
        if status == HTTPStatus.NOT_FOUND:
            return NotFound(f"{self._host} has no such file.")
        if status == HTTPStatus.OK:
            return InvalidInput(
                f"{self._host} gives files only as a whole.",
                hint="Stage the product first; the copy in the bucket can be shown.",
            )
        return UpstreamError(
            f"{self._host} answered with status {status}.", retryable=status >= 500
        )


def sources(
    item: Mapping[str, Any],
    asset: Mapping[str, Any],
    site: Site,
    *,
    found: bool,
    store: ObjectStore,
    http: httpx.AsyncClient,
    egress: Egress,
    loop: asyncio.AbstractEventLoop,
) -> list[Source]:
    """Where an asset can be read, the best first.

    :param found: whether the item came from a search, see :func:`cscale_core.addresses.readable`.
    :raises Forbidden: when all it names may not be asked.
    :raises InvalidInput: when it names no address that can be read here.
    """
    hrefs = list(_hrefs(item, asset))
    own: list[Source] = []
    elsewhere: list[Source] = []
    refused: Forbidden | None = None
    for href in hrefs:
        address = readable(href, site, found=found)
        if address is not None:
            own.append(ObjectSource(address, store))
        elif href.startswith(("https://", "http://")):
            try:
                egress.check(href)
            except Forbidden as error:
                refused = error
                continue
            elsewhere.append(HttpSource(href, http, egress, loop))
    if not own and not elsewhere:
        raise refused or InvalidInput(
            "The file has no address that can be read here.",
            hint="Stage the product first; the copy in the bucket can be shown.",
        )
    # Three addresses of one object of ours are one place.
    return [*own[:1], *elsewhere]


def _hrefs(item: Mapping[str, Any], asset: Mapping[str, Any]) -> Iterator[str]:
    base = self_link(dict(item))
    alternates = asset.get("alternate")
    others = alternates.values() if isinstance(alternates, dict) else ()
    for place in (asset, *(one for one in others if isinstance(one, dict))):
        href = place.get("href")
        if not isinstance(href, str) or not href:
            continue
        try:
            relative = base and not urlsplit(href).scheme and not href.startswith("/")
            yield urljoin(base, href) if relative else href
        except ValueError:
            continue  # an address such as http://[ names nothing
