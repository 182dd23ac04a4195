"""One provider's pages: asked by POST or GET, with what it takes, one after the other.

An API that has no POST is asked by GET, one that refuses a filter, an order or a choice of fields
is asked without, and both are remembered. What was left out is told, so that it is done here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cscale_core.catalog.capabilities import Capabilities
from cscale_core.catalog.door import Door
from cscale_core.catalog.kept import KeptPages
from cscale_core.catalog.query import SearchQuery
from cscale_core.catalog.wire import Extras, Method, Request, first, following, matched
from cscale_core.errors import UpstreamError
from cscale_core.http import Answer, JsonAnswer

# Answers to POST /search that mean "this API has no POST here", so that GET is tried.
_NO_POST = frozenset({404, 405, 415, 501})
_LOGIN = frozenset({401, 403})
# Answers that can mean "I do not take that parameter".
_REFUSED = frozenset({400, 422, 501})


class Unsupported(UpstreamError):
    """The provider says that it cannot do this search."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page as a provider gave it; the items are not checked yet."""

    request: Request
    features: list[Any]
    next: Request | None
    matched: int | None
    url: str
    """Where it was read, for relative addresses in it."""


class Pages:
    """Asks a provider for the pages of one search.

    :param query: with the provider's own names of collections.
    :param size: items of a page.
    :param reuse: whether pages kept before may be taken for the provider's answer.
    """

    def __init__(
        self,
        door: Door,
        capabilities: Capabilities,
        query: SearchQuery,
        extras: Extras,
        size: int,
        kept: KeptPages | None,
        *,
        reuse: bool,
    ) -> None:
        self._door = door
        self._capabilities = capabilities
        self._query = query
        self._size = size
        self._kept = kept
        self._reuse = reuse
        self.sent = extras.offered(capabilities)
        """The extensions that are asked for; fewer after a refusal."""
        self.read = 0
        """Pages read so far."""
        # An archive that asks nobody for a login may want one for POST, taking it for a write
        # (CollGS at CESNET does).
        self._no_post = _NO_POST | _LOGIN if door.provider.auth == "none" else _NO_POST

    async def first(self) -> Page:
        """The first page.

        :raises Unsupported: when the provider says that it cannot do this search.
        :raises UpstreamError: when it fails otherwise.
        """
        capabilities = self._capabilities
        login: JsonAnswer | None = None
        while True:
            method: Method = "POST" if capabilities.post else "GET"
            request = first(self._query, self.sent, capabilities, method, self._size)
            answer = await self._ask(request)
            if method == "POST" and answer.status in self._no_post:
                capabilities.post = False
                login = answer if answer.status in _LOGIN else None
                continue
            if login is not None and answer.status in _NO_POST:
                capabilities.post = True
                return self._page(request, login)
            if answer.status in _REFUSED and self.sent.parts:
                part = self.sent.parts[0]
                capabilities.refused.add(self.sent.name(part))
                self.sent = self.sent.without(part)
                continue
            if answer.status == 501:
                raise Unsupported(f"{self._door.provider.title} cannot do this search.")
            return self._page(request, answer)

    async def at(self, request: Request) -> Page:
        """The page that a request asks for.

        :raises UpstreamError: when the provider fails.
        """
        return self._page(request, await self._ask(request))

    async def _ask(self, request: Request) -> JsonAnswer:
        provider = self._door.provider.id
        answer: Answer | None = None
        if self._kept is not None and self._reuse:
            answer = self._kept.get(provider, request.key)
        if answer is None:
            answer = await self._door.ask(
                request.method,
                request.url,
                body=request.body,
                params=request.params,
                headers=request.headers,
            )
            self.read += answer.status == 200
            if self._kept is not None and answer.status == 200:
                self._kept.put(provider, request.key, answer)
        return answer.parsed()

    def _page(self, request: Request, answer: JsonAnswer) -> Page:
        title = self._door.provider.title
        if answer.status in _LOGIN:
            raise UpstreamError(f"{title} does not let you search (status {answer.status}).")
        if answer.status != 200:
            said = f" It said: {answer.said}" if answer.said else ""
            raise UpstreamError(
                f"{title} answered with status {answer.status}.{said}",
                retryable=answer.status >= 500 or answer.status == 429,
            )
        if not answer.is_json:
            raise UpstreamError(f"{title} did not answer with JSON.")
        body = answer.body
        if not isinstance(body, dict) or not isinstance(body.get("features"), list):
            raise UpstreamError(f"{title} did not answer with a list of items.")
        after = following(body, request, answer.url)
        return Page(request, body["features"], after, matched(body), answer.url)
