"""httpx over aiohttp, where every address is looked at in the moment of connecting.

aiohttp's connections cost a third of httpx's own, which counts when twenty archives answer at
once. What httpx promises stays: its requests, its answers, its errors. What aiohttp would add is
off: cookies, redirects, proxies and passwords of the environment, headers of its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Protocol

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from cscale_core.errors import Forbidden

ENCODINGS = "gzip, deflate"
"""The compressions that are asked for, and the only ones that are undone."""

_READ_BYTES = 1024 * 1024
# Compressed bytes that httpx undoes at once: gzip makes a thousand of one at most.
_PIECE = 16 * 1024
_CONNECTIONS = 100
_KEPT_OPEN = 15.0
_LOOKING_UP = 10.0
_LONGEST_HEADER = 64 * 1024
_OWN_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_DECODED = frozenset({"gzip", "deflate", "br", "zstd"})


class Guard(Protocol):
    """Says which addresses may be connected to."""

    def check_address(self, host: str, port: int, address: str) -> None:
        """:raises Forbidden: when this one may not."""


Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a name."""


class _Resolver(AbstractResolver):
    """Gives aiohttp the addresses it may connect to; it asks for every connection."""

    def __init__(self, guard: Guard, resolve: Resolve) -> None:
        self._guard = guard
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        name = host.lower().rstrip(".")
        async with asyncio.timeout(_LOOKING_UP):
            addresses = await self._resolve(name, port)
        # One private address among public ones is refused too: it may be the next one tried.
        for address in addresses:
            self._guard.check_address(name, port, address)
        if not addresses:
            raise OSError(f"{name} has no address")
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


@lru_cache(maxsize=1024)
def _literal(host: str) -> str:
    """The IP address that a host is; empty for a name.

    aiohttp asks no resolver for what looks like an address.

    :raises Forbidden: when it looks like one without being one (``127.1``, ``2130706433``).
    """
    if ":" not in host and not host.replace(".", "").isdigit():
        return ""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError as error:
        raise Forbidden(f"{host} is not a valid address and was not asked.") from error
    return host


_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    # The first that fits: aiohttp's are derived from each other.
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (TimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol),
    (aiohttp.ClientError, httpx.ReadError),
    (OSError, httpx.ReadError),
)


@contextmanager
def _httpx_errors(request: httpx.Request) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        kind = next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
        raise kind(str(error), request=request) from error


def _compressed(response: aiohttp.ClientResponse, request: httpx.Request) -> bool:
    """Whether an answer is compressed, in a way that stays bounded while it is undone.

    :raises httpx.DecodingError: when it is compressed twice, or as was not asked for.
    """
    if "Content-Encoding" not in response.headers:
        return False
    stated = ",".join(response.headers.getall("Content-Encoding")).lower()
    applied = [each for part in stated.split(",") if (each := part.strip()) in _DECODED]
    if applied not in ([], ["gzip"], ["deflate"]):
        raise httpx.DecodingError(f"compressed as {stated[:100]}", request=request)
    return bool(applied)


class _Stream(httpx.AsyncByteStream):
    """The body of an answer as it came, for httpx to undo the compression."""

    def __init__(
        self, response: aiohttp.ClientResponse, request: httpx.Request, *, compressed: bool
    ) -> None:
        self._response = response
        self._request = request
        self._compressed = compressed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._response.content
        with _httpx_errors(self._request):
            pieces = content.iter_chunked(_PIECE) if self._compressed else content.iter_any()
            async for piece in pieces:
                yield piece

    async def aclose(self) -> None:
        # Does nothing to a connection whose answer was read to its end: that one is kept.
        self._response.close()


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends httpx's requests through aiohttp, to addresses that a guard has looked at.

    :param resolve: gives the addresses of a name, asked whenever a connection is made.
    """

    def __init__(self, guard: Guard, resolve: Resolve, tls: ssl.SSLContext) -> None:
        self._guard = guard
        self._resolver = _Resolver(guard, resolve)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; redirects are the caller's.

        :raises Forbidden: when the address may not be connected to.
        """
        # Exactly as httpx wrote it: a signed address must not be quoted anew.
        url = URL(str(request.url), encoded=True)
        if url.raw_user is not None or url.raw_password is not None:
            raise Forbidden(f"An address of {url.raw_host} with a user name in it was not asked.")
        if literal := _literal(url.raw_host or ""):
            self._guard.check_address(literal, url.port or 0, literal)
        body = await request.aread()
        limits = request.extensions.get("timeout", {})
        session = await self._opened()
        with _httpx_errors(request):
            response = await session.request(
                request.method,
                url,
                headers=request.headers.multi_items(),
                data=body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    connect=limits.get("pool"),
                    sock_connect=limits.get("connect"),
                    sock_read=limits.get("read"),
                ),
            )
        try:
            compressed = _compressed(response, request)
        except BaseException:
            response.close()
            raise
        return httpx.Response(
            response.status,
            headers=response.raw_headers,
            stream=_Stream(response, request, compressed=compressed),
            request=request,
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def _opened(self) -> aiohttp.ClientSession:
        """The connections of the running event loop; those of one that has ended are let go.

        :raises RuntimeError: when the client belongs to another loop that goes on.
        """
        loop = asyncio.get_running_loop()
        if self._session is not None and self._loop is loop:
            return self._session
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError("A guarded client belongs to the event loop that used it first.")
        await self.aclose()
        connector = aiohttp.TCPConnector(
            ssl=self._tls,
            resolver=self._resolver,
            use_dns_cache=False,
            limit=_CONNECTIONS,
            keepalive_timeout=_KEPT_OPEN,
        )
        self._loop = loop
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=_OWN_HEADERS,
            read_bufsize=_READ_BYTES,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        )
        return self._session

    async def aclose(self) -> None:
        """Close every connection."""
        session, self._session, self._loop = self._session, None, None
        if session is not None:
            await session.close()
