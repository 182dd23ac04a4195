"""The one way out: HTTP to addresses that others named, with a guard.

Items, links and redirects come from catalogues that we do not run, so an address in them may
point at this machine, at the cluster's inside or at a cloud's metadata service (server-side
request forgery). Every request to such an address goes through :func:`open_response` or
:func:`fetch_json`, which check scheme, host and port, and again after each redirect. The client
made by :func:`guarded_client` looks at the resolved addresses at the moment of connecting, so
that a name cannot change its meaning between the check and the connection (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import orjson

from cscale_core.errors import Forbidden, UpstreamError, UpstreamTimeout
from cscale_core.providers import Provider
from cscale_core.site import Site
from cscale_core.transport import ENCODINGS, GuardedTransport

MAX_JSON = 50 * 1024 * 1024
"""Bytes of one JSON answer that are read at most, after decompression."""

_MAX_REDIRECTS = 5
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": ENCODINGS,
    "Connection": "keep-alive",
    "User-Agent": "cscale-hub",
}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@lru_cache(maxsize=1024)
def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet.

    Addresses that carry an IPv4 address (mapped, 6to4, Teredo, NAT64) count as the one inside.
    Source of the ranges: the IANA special-purpose registries, through :mod:`ipaddress`.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


@lru_cache(maxsize=1024)
def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL, in lower case.

    :raises Forbidden: when it is not an http(s) URL with a host, or carries a user name.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower().rstrip("."), parts.port
    except ValueError as error:
        raise Forbidden("An address that is not valid was not asked.") from error
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise Forbidden(f"Only http and https addresses are asked, not {parts.scheme or 'paths'}.")
    if parts.username is not None or parts.password is not None:
        raise Forbidden(f"An address of {host} with a user name in it was not asked.")
    return parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme]


@lru_cache(maxsize=1024)
def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


@dataclass(frozen=True, slots=True)
class Egress:
    """Which hosts may be asked.

    :param named: (host, port) of the configured services; port 0 stands for every port.
    :param private: those of them that may have a private or loopback address.
    :param public: whether any other host may be asked that has public addresses only.
    """

    named: frozenset[tuple[str, int]]
    private: frozenset[tuple[str, int]]
    public: bool = False

    def check(self, url: str) -> None:
        """:raises Forbidden: when the address may not be asked, as far as its text tells."""
        _, host, port = origin(url)
        if not self.public and not _listed(self.named, host, port):
            raise Forbidden(
                f"{host}:{port} is not a service of this site and was not asked.",
                hint="The operator can add it to the providers or to allowed_hosts.",
            )
        if _is_literal(host):
            self.check_address(host, port, "127.0.0.1" if host == "localhost" else host)

    def check_address(self, host: str, port: int, address: str) -> None:
        """:raises Forbidden: when the resolved address is private and not allow-listed."""
        if not is_public(address) and not _listed(self.private, host, port):
            raise Forbidden(
                f"{host}:{port} has a private address and was not asked.",
                hint="The operator can add it to allowed_hosts.",
            )


def _listed(hosts: frozenset[tuple[str, int]], host: str, port: int) -> bool:
    return (host, port) in hosts or (host, 0) in hosts


def allowed_hosts(entries: Iterable[str]) -> set[tuple[str, int]]:
    """``host``, ``host:port`` or ``[IPv6]:port`` entries of ``Site.allowed_hosts``."""
    found = set()
    for entry in entries:
        parts = urlsplit(f"//{entry}" if entry.count(":") < 2 or "[" in entry else f"//[{entry}]")
        found.add(((parts.hostname or "").lower(), parts.port or 0))
    return found


def site_egress(site: Site, *, public: bool = False) -> Egress:
    """The hosts of a site: providers, catalogue, object store, site registry, ``allowed_hosts``.

    The site's own catalogue and object store may be private, and so may a provider or a registry
    that the operator gave as an IP address or ``localhost``. One given by name may not: its name is
    in the hands of others; list it in ``allowed_hosts`` when it lives inside the network.

    :param public: also any host with public addresses (the files that items point to).
    """
    own = {
        origin(url)[1:] for url in (site.catalogue.url, site.s3.endpoint, site.s3.public_url) if url
    }
    declared = {origin(provider.url)[1:] for provider in site.providers}
    if site.site_registry is not None:
        declared.add(origin(site.site_registry.url)[1:])
    allowed = allowed_hosts(site.allowed_hosts)
    literal = {(host, port) for host, port in declared if _is_literal(host)}
    return Egress(
        named=frozenset(own | declared | allowed),
        private=frozenset(own | allowed | literal),
        public=public,
    )


def provider_egress(site: Site, provider: Provider) -> Egress:
    """Where one provider, its links and its redirects may lead.

    One that the operator declared may lead to the site's services. One that was read from the
    site registry may not, as others write there: it leads to its own host at public addresses,
    and to what the operator allows in ``allowed_hosts``.
    """
    if provider in site.providers:
        return site_egress(site)
    allowed = frozenset(allowed_hosts(site.allowed_hosts))
    return Egress(named=allowed | {origin(provider.url)[1:]}, private=allowed)


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@cache
def _tls() -> ssl.SSLContext:
    """One for the process: reading the certificates of the authorities takes a while."""
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


_taken_apart = lru_cache(maxsize=1024)(httpx.URL)


class GuardedClient(httpx.AsyncClient):
    """The client made by :func:`guarded_client`."""

    def __init__(self, guard: Egress) -> None:
        # Looked up by its name with every call, which lets a test give a name another meaning.
        self._guarded = GuardedTransport(guard, lambda host, port: _resolve(host, port), _tls())
        super().__init__(
            transport=self._guarded,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(30.0, connect=10.0),
            headers=_HEADERS,
        )

    def prepared(
        self,
        method: str,
        url: str,
        body: Any,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str],
        timeout: httpx.Timeout | None,
    ) -> httpx.Request:
        """A request as ``build_request`` makes it, in half the time."""
        limits = timeout if timeout is not None else self.timeout
        return httpx.Request(
            method,
            _taken_apart(url),
            params=params,
            json=body,
            headers={**_HEADERS, **headers},
            extensions={"timeout": limits.as_dict()},
        )

    async def straight(self, request: httpx.Request) -> httpx.Response:
        """Send past what httpx does between a client and its transport.

        That is logins, cookies, redirects and hooks. There are none here, and looking for them
        takes as long as asking.
        """
        if self.is_closed:
            raise RuntimeError("The guarded client has been closed.")
        return await self._guarded.handle_async_request(request)


def guarded_client(site: Site) -> GuardedClient:
    """A client for everything that catalogues name: no proxy, no cookies kept, no redirects.

    It reaches public addresses and the site's own services; whether a *particular* request may
    leave the configured hosts is decided per request by the :class:`Egress` given to
    :func:`open_response`. Proxies of the environment are not used: behind a proxy the guard could
    not see the address. The caller closes the client.
    """
    return GuardedClient(site_egress(site, public=True))


async def _checked_resolved(egress: Egress, url: str) -> None:
    """Look at the addresses behind a name now, for clients that are not guarded themselves."""
    egress.check(url)
    _, host, port = origin(url)
    if _is_literal(host):
        # Its address was looked at already.
        return
    try:
        addresses = await _resolve(host, port)
    except OSError as error:
        raise UpstreamError(f"{host} cannot be found.", retryable=True) from error
    for address in addresses:
        egress.check_address(host, port, address)


def explained(error: httpx.HTTPError, url: str) -> UpstreamError:
    """Our error, in a sentence, for one of httpx's."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    if isinstance(error, httpx.TimeoutException):
        return UpstreamTimeout(f"{host} did not answer in time.", retryable=True)
    if isinstance(error, httpx.ConnectError):
        return UpstreamError(
            f"{host} cannot be reached: nothing answers there, or the connection was refused.",
            retryable=True,
        )
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return UpstreamError(f"{host} broke off the connection.", retryable=True)
    return UpstreamError(f"{host} did not answer properly ({type(error).__name__}).")


def _without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k.lower() not in ("authorization", "cookie")}


def _prepared(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    body: Any,
    params: Mapping[str, str] | None,
    headers: Mapping[str, str],
    timeout: httpx.Timeout | None,
) -> httpx.Request:
    if isinstance(http, GuardedClient):
        return http.prepared(method, url, body, params, headers, timeout)
    return http.build_request(
        method,
        url,
        json=body,
        params=params,
        headers=headers,
        timeout=timeout if timeout is not None else httpx.USE_CLIENT_DEFAULT,
    )


async def _sent(http: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    if isinstance(http, GuardedClient):
        return await http.straight(request)
    return await http.send(request, stream=True, follow_redirects=False)


@asynccontextmanager
async def open_response(
    http: httpx.AsyncClient,
    egress: Egress,
    method: str,
    url: str,
    *,
    body: Any = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: httpx.Timeout | None = None,
) -> AsyncIterator[httpx.Response]:
    """Send one request and give the answer as a stream, following redirects under guard.

    The method and the body stay the same over redirects 301, 302, 307 and 308, so that a search
    never loses its filters on the way; a 303 to another page is not followed for them.
    Authorization goes to the first origin only.

    :param body: a JSON value, or None.
    :raises Forbidden: when this address, or one redirected to, may not be asked.
    :raises UpstreamError: when nothing answers (``retryable``), or redirects have no end.
    :raises UpstreamTimeout: when the answer does not come in time.
    """
    sent = dict(headers or {})
    first = origin(url)
    for _ in range(_MAX_REDIRECTS + 1):
        await _checked_resolved(egress, url)
        request = _prepared(http, method, url, body, params, sent, timeout)
        try:
            response = await _sent(http, request)
        except httpx.HTTPError as error:
            raise explained(error, url) from error
        try:
            if not response.has_redirect_location:
                yield response
                return
            if response.status_code == 303 and method not in ("GET", "HEAD"):
                raise UpstreamError(f"{first[1]} sends a {method} request on to another page.")
            url, params = urljoin(str(request.url), response.headers["location"]), None
        finally:
            await response.aclose()
        if origin(url) != first:
            sent = _without_secrets(sent)
    raise UpstreamError(f"{first[1]} redirects without end.")


def _loads(data: bytes) -> Any:
    """Parse JSON without collecting garbage in between.

    Before Python 3.12 the collector runs inside the parser again and again, over objects of which
    none can be garbage yet; that is a third of the time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return orjson.loads(data)
    finally:
        if collects:
            gc.enable()


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and whole body of one request, as bytes."""

    status: int
    data: bytes
    url: str
    headers: httpx.Headers

    def parsed(self) -> JsonAnswer:
        """The body as JSON, where it is some (RFC 8259: no NaN, UTF-8)."""
        try:
            body = _loads(self.data)
        except orjson.JSONDecodeError:
            # Error pages are HTML; the caller decides by status and ``is_json``.
            return JsonAnswer(self.status, None, self.url, self.headers, False)
        return JsonAnswer(self.status, body, self.url, self.headers, True)


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """Status and parsed body; ``body`` is None where the answer was not JSON."""

    status: int
    body: Any
    url: str
    headers: httpx.Headers
    is_json: bool

    @property
    def said(self) -> str:
        """The service's own explanation, shortened; untrusted text."""
        if isinstance(self.body, dict):
            for key in ("description", "detail", "message", "ErrorMessage", "title"):
                value = self.body.get(key)
                if value:
                    return str(value)[:300]
        return ""


async def fetch(
    http: httpx.AsyncClient,
    egress: Egress,
    method: str,
    url: str,
    *,
    body: Any = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: httpx.Timeout | None = None,
    max_bytes: int = MAX_JSON,
) -> Answer:
    """One request whose answer is of bounded size; every status is returned, not raised.

    :raises UpstreamError: when the answer is too large; else as :func:`open_response`.
    """
    accept = {"Accept": "application/geo+json, application/json;q=0.9"}
    try:
        async with open_response(
            http,
            egress,
            method,
            url,
            body=body,
            params=params,
            headers={**accept, **(headers or {})},
            timeout=timeout,
        ) as response:
            chunks, size = [], 0
            async for chunk in response.aiter_bytes():
                chunks.append(chunk)
                size += len(chunk)
                if size > max_bytes:
                    raise UpstreamError(
                        f"{origin(url)[1]} answered with more than {max_bytes // 2**20} MB.",
                        hint="Ask for a smaller area or fewer items.",
                    )
    except httpx.HTTPError as error:
        raise explained(error, url) from error
    except httpx.InvalidURL as error:
        raise Forbidden("An address that is not valid was not asked.") from error
    return Answer(response.status_code, b"".join(chunks), str(response.url), response.headers)


async def fetch_json(
    http: httpx.AsyncClient,
    egress: Egress,
    method: str,
    url: str,
    *,
    body: Any = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: httpx.Timeout | None = None,
) -> JsonAnswer:
    """As :func:`fetch`, and the answer parsed as JSON."""
    answer = await fetch(
        http, egress, method, url, body=body, params=params, headers=headers, timeout=timeout
    )
    return answer.parsed()
