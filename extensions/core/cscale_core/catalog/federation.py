"""Search every STAC API of the federation at once, and say what each of them did.

Each provider is asked concurrently under its own deadline; pages are followed until the limit;
what comes back is checked against the question, because some APIs ignore what they do not know,
and merged newest first. A provider that fails, hangs or answers nonsense is in the report, never
lost and never an exception. Items stay plain dictionaries with one member more,
``cscale:provider``. Not here yet: one cursor over all providers, collection aliases, finding the
same product at several sites.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote, unquote, urljoin, urlsplit

import httpx
from shapely import prepare
from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from cscale_core.catalog.interval import Interval, item_interval, parse_interval, widened
from cscale_core.catalog.items import PROVIDER_MEMBER, fault, self_link
from cscale_core.catalog.query import SearchQuery, area
from cscale_core.catalog.report import Found, ProviderReport, ProviderStatus, SearchResult
from cscale_core.errors import CScaleError, InvalidInput, NotFound, UpstreamError, UpstreamTimeout
from cscale_core.http import JsonAnswer, fetch_json, origin, site_egress
from cscale_core.identity.tokens import TokenSource
from cscale_core.providers import Provider
from cscale_core.site import Site

_MAX_PAGES = 200
# Answers to POST /search that mean "this API has no POST here", so that GET is tried.
_NO_POST = frozenset({404, 405, 415, 501})
# What a next link may ask to be sent along; anything else (Host, Cookie, ...) is left out.
_LINK_HEADERS = frozenset({"accept", "prefer", "search-after"})
# Catalogues that keep whole seconds or milliseconds round our 23:59:59.999999.
_ROUNDING = timedelta(seconds=1)
_OLDEST = datetime.min.replace(tzinfo=UTC)

__all__ = ["Federation", "Found", "ProviderReport", "SearchQuery", "SearchResult"]

_log = logging.getLogger(__name__)


def _geometry(value: Any) -> BaseGeometry | None:
    try:
        geometry = shape(value)
    except (ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError):
        # shapely raises all of these on malformed GeoJSON; a geometry that is none is reported.
        return None
    return None if geometry.is_empty else geometry


class _Filter:
    """Checks items against the question, and counts why some were left out."""

    def __init__(self, query: SearchQuery) -> None:
        self._collections = frozenset(query.collections)
        self._ids = frozenset(query.ids)
        self._cloud = query.max_cloud_cover
        self._time: Interval | None = None
        if query.datetime is not None:
            self._time = widened(parse_interval(query.datetime), _ROUNDING)
        self._area = area(query)
        if self._area is not None:
            prepare(self._area)
        self.left_out: Counter[str] = Counter()

    def takes(self, item: dict[str, Any]) -> bool:
        """Whether the item answers the question."""
        reason = self._reason(item)
        if reason:
            self.left_out[reason] += 1
        return not reason

    def _reason(self, item: dict[str, Any]) -> str:
        if self._ids and item["id"] not in self._ids:
            return "outside the question"
        if self._collections and item.get("collection") not in self._collections:
            return "outside the question"
        if self._time is not None:
            sensed = item_interval(item["properties"])
            if sensed is None:
                return "without a readable time"
            if not self._time.overlaps(sensed):
                return "outside the question"
        if self._area is not None:
            footprint = _geometry(item["geometry"]) if item.get("geometry") else None
            if footprint is None:
                return "without a usable geometry"
            if not self._area.intersects(footprint):
                return "outside the question"
        if self._cloud is not None:
            cover = item["properties"].get("eo:cloud_cover")
            if not isinstance(cover, int | float) or isinstance(cover, bool):
                return "without a stated cloud cover"
            if cover > self._cloud:
                return "cloudier than asked"
        return ""

    def note(self) -> str:
        return "; ".join(f"{n} {reason} left out" for reason, n in self.left_out.items())


def _absolute(item: dict[str, Any], page: str, site: Site) -> None:
    """Make relative asset addresses absolute, in place; paths on the mount stay."""
    base = self_link(item) or page
    roots = tuple(root.rstrip("/") + "/" for root in (site.mount, site.mount_root))
    for asset in item["assets"].values():
        href = asset["href"]
        if not urlsplit(href).scheme and not href.startswith(roots):
            asset["href"] = urljoin(base, href)


def _get_parameters(body: dict[str, Any]) -> dict[str, str]:
    """The same search as GET parameters (STAC API Item Search, "Query Parameter Table")."""
    parameters: dict[str, str] = {}
    for key, value in body.items():
        if key == "intersects":
            parameters[key] = json.dumps(value, separators=(",", ":"))
        elif isinstance(value, list):
            parameters[key] = ",".join(str(part) for part in value)
        else:
            parameters[key] = str(value)
    return parameters


@dataclass(frozen=True, slots=True)
class _Request:
    method: Literal["GET", "POST"]
    url: str
    body: dict[str, Any] | None = None
    params: dict[str, str] | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return json.dumps([self.method, self.url, self.body, self.params], sort_keys=True)


def _next(page: dict[str, Any], last: _Request, page_url: str) -> _Request | None:
    """The request for the next page (STAC API Item Search, "Paging"), or None."""
    links = page.get("links")
    for link in links if isinstance(links, list) else []:
        if not isinstance(link, dict) or link.get("rel") != "next" or not link.get("href"):
            continue
        url = urljoin(page_url, str(link["href"]))
        raw = link.get("headers")
        headers = {
            str(k): str(v)
            for k, v in (raw.items() if isinstance(raw, dict) else ())
            if str(k).lower() in _LINK_HEADERS and "\n" not in str(v) and "\r" not in str(v)
        }
        if str(link.get("method", "GET")).upper() == "POST":
            given = link.get("body")
            body: dict[str, Any] = given if isinstance(given, dict) else {}
            if link.get("merge"):
                body = {**(last.body or {}), **body}
            return _Request("POST", url, body, headers=headers)
        return _Request("GET", url, headers=headers)
    return None


def _matched(page: dict[str, Any]) -> int | None:
    context = page.get("context")
    for value in (
        page.get("numberMatched"),
        context.get("matched") if isinstance(context, dict) else None,
    ):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


class _Unsupported(UpstreamError):
    """The provider says that it cannot do this search."""


class _ProviderSearch:
    """One provider's part of one search; keeps what it found when it is cut short."""

    def __init__(self, provider: Provider, query: SearchQuery, federation: Federation) -> None:
        self._provider = provider
        self._query = query
        self._federation = federation
        self._filter = _Filter(query)
        self._faults: Counter[str] = Counter()
        self._notes: list[str] = []
        self._started = time.monotonic()
        self.items: list[dict[str, Any]] = []
        self.matched: int | None = None

    async def run(self) -> ProviderReport:
        status: ProviderStatus = "ok"
        error = ""
        deadline = self._provider.deadline
        try:
            async with asyncio.timeout(deadline):
                await self._follow()
        except (TimeoutError, UpstreamTimeout):
            status = "timeout"
            error = f"{self._provider.title} did not answer within {deadline:g} seconds."
        except _Unsupported as refused:
            status, error = "unsupported", refused.message
        except CScaleError as failed:
            status, error = "error", failed.message
        except Exception:
            # What one provider answers must not take the others' answers away.
            _log.exception("the search at %s failed", self._provider.id)
            status = "error"
            error = f"{self._provider.title} answered in a way that could not be read."
        if status != "ok" and self.items:
            self._notes.append(f"{len(self.items)} items came before it failed")
        if self._faults:
            reasons = ", ".join(f"{n} {reason}" for reason, n in self._faults.items())
            self._notes.append(f"items that are not valid were left out: {reasons}")
        return ProviderReport(
            id=self._provider.id,
            title=self._provider.title,
            status=status,
            matched=self.matched,
            returned=len(self.items),
            elapsed=round(time.monotonic() - self._started, 3),
            error=error,
            note="; ".join(filter(None, [self._filter.note(), *self._notes])),
        )

    async def _follow(self) -> None:
        limit = self._query.limit
        # With a filter that only we apply, more of the provider's items may be needed.
        size = self._provider.limit
        if self._query.max_cloud_cover is None:
            size = min(size, limit)
        url = self._provider.url.rstrip("/") + "/search"
        request: _Request | None = _Request("POST", url, self._query.body(size))
        seen: set[str] = set()
        for number in range(_MAX_PAGES):
            if request is None:
                return
            if request.key in seen:
                self._notes.append("its next link leads back to a page already read")
                return
            seen.add(request.key)
            answer = await self._ask(request)
            if number == 0 and request.method == "POST" and answer.status in _NO_POST:
                request = _Request("GET", url, params=_get_parameters(self._query.body(size)))
                answer = await self._ask(request)
                if answer.status == 501:
                    raise _Unsupported(f"{self._provider.title} cannot do this search.")
            page = self._page(answer)
            if number == 0:
                self.matched = _matched(page)
            self._take(page, answer.url)
            if len(self.items) >= limit:
                return
            request = _next(page, request, answer.url)
        self._notes.append(f"reading stopped after {_MAX_PAGES} pages")

    async def _ask(self, request: _Request) -> JsonAnswer:
        headers = dict(request.headers)
        # The token goes to the provider's own origin only, whatever a next link says.
        if self._provider.auth == "bearer" and origin(request.url) == origin(self._provider.url):
            headers["Authorization"] = f"Bearer {await self._federation.token(self._provider)}"
        return await fetch_json(
            self._federation.http,
            self._federation.egress,
            request.method,
            request.url,
            body=request.body,
            params=request.params,
            headers=headers,
            timeout=httpx.Timeout(self._provider.deadline, connect=10.0),
        )

    def _page(self, answer: JsonAnswer) -> dict[str, Any]:
        title = self._provider.title
        if answer.status != 200:
            said = f" It said: {answer.said}" if answer.said else ""
            if answer.status in (401, 403):
                raise UpstreamError(f"{title} does not let you search (status {answer.status}).")
            raise UpstreamError(f"{title} answered with status {answer.status}.{said}")
        if not answer.is_json:
            raise UpstreamError(f"{title} did not answer with JSON.")
        page = answer.body
        if not isinstance(page, dict) or not isinstance(page.get("features"), list):
            raise UpstreamError(f"{title} did not answer with a list of items.")
        return page

    def _take(self, page: dict[str, Any], url: str) -> None:
        for item in page["features"]:
            if reason := fault(item):
                self._faults[reason] += 1
                continue
            if not self._filter.takes(item):
                continue
            try:
                _absolute(item, url, self._federation.site)
            except ValueError:
                # urljoin and urlsplit refuse malformed addresses such as http://[.
                self._faults["with an address that is not valid"] += 1
                continue
            item[PROVIDER_MEMBER] = self._provider.id
            self.items.append(item)
            if len(self.items) >= self._query.limit:
                return


def _newest_first(item: dict[str, Any]) -> tuple[bool, float]:
    sensed = item_interval(item["properties"])
    moment = (sensed.start if sensed else None) or _OLDEST
    return moment is _OLDEST, -(moment - _OLDEST).total_seconds()


class Federation:
    """The providers of a site, searched as one.

    :param http: made by :func:`cscale_core.http.guarded_client`; not closed here.
    :param tokens: for providers with ``auth: bearer``; None where there are none.
    """

    def __init__(
        self,
        site: Site,
        http: httpx.AsyncClient,
        tokens: TokenSource | None,
        *,
        providers: Callable[[], Sequence[Provider]] | None = None,
        key: bytes | None = None,
    ) -> None:
        self._registered = providers
        self._key = key
        self.site = site
        self.http = http
        self.egress = site_egress(site)
        self._tokens = tokens

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Who can be asked now, the nearest first."""
        return self.site.providers if self._registered is None else tuple(self._registered())

    async def warm(self) -> None:
        """Learn what every provider can do, so that the first search need not ask."""

    async def stream(
        self, query: SearchQuery, cursor: str = ""
    ) -> AsyncIterator[Found | ProviderReport | SearchResult]:
        """Items as they come in, reports, and the merged page last."""
        result = await self.search(query, cursor)
        for provider in self.providers:
            items = [item for item in result.items if item[PROVIDER_MEMBER] == provider.id]
            if items:
                yield Found(provider.id, items)
        for report in result.providers:
            yield report
        yield result

    async def items(
        self,
        query: SearchQuery,
        on_report: Callable[[ProviderReport], None] | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Every item that answers the question, in the order asked for."""
        for item in (await self.search(query, "", on_report)).items:
            yield item

    def ref(self, item: dict[str, Any]) -> str:
        """The address of an item in the federation: ``provider|collection|id``."""
        parts = (item[PROVIDER_MEMBER], item.get("collection") or "", item["id"])
        return "|".join(quote(part, safe="") for part in parts)

    async def item(self, ref: str) -> dict[str, Any]:
        """The item with this address, asked from its provider.

        :raises NotFound: when there is none.
        """
        provider, collection, name = (unquote(part) for part in ref.split("|"))
        query = SearchQuery(
            ids=[name], collections=[collection] if collection else [], providers=[provider]
        )
        result = await self.search(query)
        if not result.items:
            raise NotFound(f"There is no item {name} at {provider}.")
        return result.items[0]

    async def token(self, provider: Provider) -> str:
        """The bearer token for a provider.

        :raises UpstreamError: when this site has no source of tokens.
        """
        if self._tokens is None:
            raise UpstreamError(f"{provider.title} needs a login, and there is none here.")
        return await self._tokens.token(provider.audience or provider.id)

    async def search(
        self,
        query: SearchQuery,
        cursor: str = "",
        on_report: Callable[[ProviderReport], None] | None = None,
    ) -> SearchResult:
        """Ask every provider, or those named in the query, at the same time.

        The answer holds at most ``query.limit`` items, newest first; items of the same time keep
        the order of the providers, items with no time come last. From each provider at most
        ``limit`` items are read in its own order, so with a provider that does not answer newest
        first and has more matches, newer items may be missing (``matched`` tells).

        :param on_report: called with each provider's report as soon as it is known.
        :raises InvalidInput: when the query names a provider that this site does not have.
        """
        known = [provider.id for provider in self.providers]
        if unknown := [name for name in query.providers if name not in known]:
            raise InvalidInput(
                f"There is no provider {', '.join(map(repr, unknown))}.",
                hint="Known: " + (", ".join(known) or "none") + ".",
            )
        searches = {
            provider.id: _ProviderSearch(provider, query, self)
            for provider in self.providers
            if not query.providers or provider.id in query.providers
        }

        async def run(search: _ProviderSearch) -> ProviderReport:
            report = await search.run()
            if on_report is not None:
                on_report(report)
            return report

        done = await asyncio.gather(*(run(search) for search in searches.values()))
        reports = {report.id: report for report in done}
        found = [item for search in searches.values() for item in search.items]
        found.sort(key=_newest_first)
        items = found[: query.limit]
        counted = Counter(item[PROVIDER_MEMBER] for item in items)
        return SearchResult(
            items, [self._reported(provider, reports, counted) for provider in self.providers]
        )

    @staticmethod
    def _reported(
        provider: Provider, reports: dict[str, ProviderReport], counted: Counter[str]
    ) -> ProviderReport:
        report = reports.get(provider.id)
        if report is None:
            return ProviderReport(id=provider.id, title=provider.title, status="skipped")
        cut = report.returned - counted[provider.id]
        note = f"{cut} more were cut by the limit" if cut else ""
        return report.model_copy(
            update={
                "returned": counted[provider.id],
                "note": "; ".join(filter(None, [report.note, note])),
            }
        )
