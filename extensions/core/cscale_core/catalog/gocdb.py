"""Read the EGI site registry (GOCDB): which sites take part, and where their STAC API is.

The registry answers XML; sites write their entries themselves, so everything in it is checked
before it is used, and what cannot be used is said, never an error of the whole. A site takes part
by its scope; the service endpoint named ``STAC`` (in any case) is its STAC API; extension
properties (KEY and VALUE) of the endpoint, else of the service, tell limits, login and policy.

Source: https://gocdb.github.io/api/read/ (get_site_list, get_service_endpoint).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import httpx
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import ValidationError
from shapely import from_wkt
from shapely.errors import ShapelyError
from shapely.geometry import mapping

from cscale_core.errors import Forbidden, UpstreamError, UpstreamTimeout
from cscale_core.http import Egress, explained, open_response, origin
from cscale_core.providers import CollectionPolicy, DataPolicy, Provider

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of one answer of the registry that are read at most."""

TIMEOUT = 30.0
"""Seconds for one answer of the registry."""

ENDPOINT = "stac"
_MAX_SITES = 300
_MAX_ENDPOINTS = 20
_MAX_TEXT = 2000
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]+")
_LISTED = re.compile(r"[\s,]+")
_PLAIN = frozenset({"auth", "deadline", "kind", "limit", "title"})
_POLICY = frozenset({"complete", "entitlement", "interval", "licence"})
_OF_COLLECTION = frozenset(CollectionPolicy.model_fields) - {"id"}


@dataclass(frozen=True, slots=True)
class Reading:
    """What one answer told: what can be used, and a sentence for each thing that cannot."""

    providers: tuple[Provider, ...] = ()
    notes: tuple[str, ...] = ()


async def fetch_sites(
    http: httpx.AsyncClient, egress: Egress, url: str, scope: str
) -> tuple[str, ...]:
    """The names of the sites in a scope.

    :raises UpstreamError: when the registry does not answer, or not with its XML.
    """
    asked = {"method": "get_site_list", "scope": scope}
    return site_names(await _fetch(http, egress, url, asked))


async def fetch_services(
    http: httpx.AsyncClient, egress: Egress, url: str, site: str, *, audience: str = ""
) -> Reading:
    """The STAC APIs of one site.

    An empty scope asks for services of every scope: without it the registry lists those of its
    own default scope only.

    :param audience: of the bearer token that this site may get; empty: none.
    :raises UpstreamError: when the registry does not answer, or not with its XML.
    """
    asked = {"method": "get_service_endpoint", "sitename": site, "scope": ""}
    return services(await _fetch(http, egress, url, asked), site, audience=audience)


async def _fetch(
    http: httpx.AsyncClient, egress: Egress, url: str, asked: Mapping[str, str]
) -> Element:
    try:
        async with asyncio.timeout(TIMEOUT):
            data = await _body(http, egress, url, asked)
    except TimeoutError as error:
        raise UpstreamTimeout(
            f"The site registry {origin(url)[1]} did not answer within {TIMEOUT:g} seconds.",
            retryable=True,
        ) from error
    except httpx.HTTPError as error:
        raise explained(error, url) from error
    return parsed(data)


async def _body(
    http: httpx.AsyncClient, egress: Egress, url: str, asked: Mapping[str, str]
) -> bytes:
    read = bytearray()
    async with open_response(
        http, egress, "GET", url, params=asked, headers={"Accept": "application/xml"}
    ) as response:
        if response.status_code != httpx.codes.OK:
            raise UpstreamError(
                f"The site registry {origin(url)[1]} answered {response.status_code}.",
                retryable=True,
            )
        async for chunk in response.aiter_bytes():
            read += chunk
            if len(read) > MAX_BYTES:
                raise UpstreamError(
                    f"The site registry {origin(url)[1]} answered with more than "
                    f"{MAX_BYTES // 2**20} MB."
                )
    return bytes(read)


def parsed(data: bytes) -> Element:
    """The root of an answer; entities and document types are refused.

    :raises UpstreamError: when it is not the registry's XML.
    """
    try:
        root: Element = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise UpstreamError("The site registry answered something that is not its XML.") from error
    if root.tag != "results":
        raise UpstreamError("The site registry answered something that is not its XML.")
    return root


def site_names(root: Element) -> tuple[str, ...]:
    """The names in an answer to ``get_site_list``, each once."""
    names = [_clean(site.get("NAME", "")) for site in root.findall("SITE")[:_MAX_SITES]]
    return tuple(dict.fromkeys(name for name in names if name))


def services(root: Element, site: str, *, audience: str = "") -> Reading:
    """The STAC APIs in an answer to ``get_service_endpoint``."""
    providers: list[Provider] = []
    notes: list[str] = []
    found = list(_endpoints(root))
    for number, (service, endpoint) in enumerate(found[:_MAX_ENDPOINTS], start=1):
        name = _NOT_IN_ID.sub("-", site).strip("-") + (f"-{number}" if number > 1 else "")
        said = _Said({**_extensions(service), **_extensions(endpoint)})
        members = said.members()
        members = {"title": site, **members, "id": name, "url": _text(endpoint, "URL")}
        if members.get("auth") == "bearer":
            if audience:
                members["audience"] = audience
            else:
                del members["auth"]
                said.notes.append("asks for a token, which the settings do not give it")
        notes += [f"{name}: {note}." for note in said.notes]
        try:
            providers.append(Provider.model_validate(members))
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in wrong["loc"])
            notes.append(f"{name or site}: left out, {where}: {wrong['msg']}.")
    return Reading(tuple(providers), tuple(notes))


def _endpoints(root: Element) -> Iterator[tuple[Element, Element]]:
    for service in root.findall("SERVICE_ENDPOINT"):
        for endpoint in service.findall("ENDPOINTS/ENDPOINT"):
            if _text(endpoint, "NAME").casefold() == ENDPOINT:
                yield service, endpoint


def _clean(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text[:_MAX_TEXT]).split())


def _text(element: Element, tag: str) -> str:
    return _clean(element.findtext(tag) or "")


def _extensions(element: Element) -> dict[str, str]:
    """KEY and VALUE of an element's own extension properties, keys in lower case."""
    return {
        _text(extension, "KEY").casefold(): _text(extension, "VALUE")
        for extension in element.findall("EXTENSIONS/EXTENSION")
    }


@dataclass(slots=True)
class _Said:
    """What a site says of its STAC API in extension properties.

    ``limit``, ``deadline``, ``auth``, ``kind``, ``title``; of the policy ``licence``, ``contacts``,
    ``entitlement``, ``interval``, ``coverage``, ``complete`` and ``collections`` (names with commas
    between); of one collection ``collection.NAME.MEMBER``. A coverage is west, south, east, north
    or WKT. The values hold no quotation marks, because the registry takes none.
    """

    extensions: dict[str, str]
    notes: list[str] = field(default_factory=list)

    def members(self) -> dict[str, Any]:
        """The members of a provider; what is unknown or wrong is noted and left out."""
        members: dict[str, Any] = {}
        policy: dict[str, Any] = {}
        collections: dict[str, dict[str, Any]] = {}
        for key, value in self.extensions.items():
            if key in _PLAIN:
                self._checked(members, key, value)
            elif key in _POLICY:
                self._checked_policy(policy, key, value)
            elif key == "contacts":
                policy[key] = [contact for contact in _LISTED.split(value) if contact]
            elif key == "coverage":
                self._checked_policy(policy, key, _coverage(value))
            elif key == "collections":
                for name in filter(None, _LISTED.split(value)):
                    collections.setdefault(name.casefold(), {})["id"] = name
            elif not self._of_collection(collections, key, value):
                self.notes.append(f"extension property {key or 'without a name'} is not known")
        policy["collections"] = self._collections(collections)
        return {**members, "policy": policy}

    def _checked(self, members: dict[str, Any], key: str, value: Any) -> None:
        """Take a member of the provider if the model takes it alone."""
        trial = {"id": "x", "title": "x", "url": "https://x.example", key: value}
        try:
            Provider.model_validate(trial)
        except ValidationError:
            self.notes.append(f"extension property {key} has a value that cannot be used")
        else:
            members[key] = value

    def _checked_policy(self, policy: dict[str, Any], key: str, value: Any) -> None:
        try:
            DataPolicy.model_validate({key: value})
        except ValidationError:
            self.notes.append(f"extension property {key} has a value that cannot be used")
        else:
            policy[key] = value

    def _of_collection(self, collections: dict[str, dict[str, Any]], key: str, value: str) -> bool:
        prefix, _, rest = key.partition(".")
        name, _, member = rest.rpartition(".")
        if prefix != "collection" or not name or member not in _OF_COLLECTION:
            return False
        taken: Any = value
        if member == "aliases":
            taken = [alias for alias in _LISTED.split(value) if alias]
        elif member == "coverage":
            taken = _coverage(value)
        collections.setdefault(name, {})[member] = taken
        return True

    def _collections(self, collections: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        taken = []
        for name, members in collections.items():
            # A key has no case in the registry; the name is as written in ``collections``.
            whole = {"id": name, **members}
            try:
                CollectionPolicy.model_validate(whole)
            except ValidationError:
                self.notes.append(f"what is said of collection {name} cannot be used")
                whole = {"id": whole["id"]}
            taken.append(whole)
        return taken


def _coverage(value: str) -> Any:
    """west, south, east, north, or WKT as GeoJSON; anything else as it is, for the model to say."""
    if value[:1].isalpha():
        try:
            return mapping(from_wkt(value))
        except ShapelyError:
            return value
    return _LISTED.split(value)


def acceptable(
    provider: Provider,
    inside: Collection[tuple[str, int]],
    allowed: Collection[tuple[str, int]],
) -> str:
    """Why a provider of the registry may not be asked; empty when it may.

    Others write the registry. So a provider in it has an https address on the public internet,
    and is no service of this site, unless the operator allows its host by name.

    :param inside: hosts that this site may ask although they are private.
    :param allowed: hosts that the operator allows, for which http is good enough.
    """
    scheme, host, port = origin(provider.url)
    if (host, port) in allowed or (host, 0) in allowed:
        return ""
    if scheme != "https":
        return f"{provider.id}: left out, its address is not https."
    if (host, port) in inside:
        return f"{provider.id}: left out, its address is that of a service of this site."
    try:
        Egress(named=frozenset({(host, port)}), private=frozenset()).check(provider.url)
    except Forbidden as refused:
        return f"{provider.id}: left out, {refused.message}"
    return ""
