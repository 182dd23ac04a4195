"""stac-fastapi's clients on the federation: landing page, collections, items, search, queryables.

Statuses, links, field selection and paging are made here; what is found comes from
:class:`cscale_mqs.service.MetadataService`.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from stac_fastapi.extensions.filter.client import AsyncBaseFiltersClient
from stac_fastapi.types.core import AsyncBaseCoreClient
from starlette.requests import Request
from starlette.responses import Response

from cscale_core.catalog.fields import trimmed
from cscale_core.catalog.query import SearchQuery
from cscale_mqs.answers import json_answer
from cscale_mqs.collection_search import matching
from cscale_mqs.links import GEOJSON, QUERYABLES, SCHEMA, Links, link
from cscale_mqs.middleware import decoded
from cscale_mqs.problems import invalid
from cscale_mqs.questions import (
    COLLECTIONS_PAGE,
    Requests,
    from_get,
    from_post,
    refuse_unknown,
    refuse_unknown_members,
)
from cscale_mqs.service import MetadataService, Page

LANDING_ID = "cscale-mqs"


class MQSClient(AsyncBaseCoreClient):  # type: ignore[misc]  # stac-fastapi is not typed
    """stac-fastapi's core client."""

    def __init__(self, service: MetadataService, requests: Requests) -> None:
        super().__init__()
        self._service = service
        self._requests = requests

    async def landing_page(self, **kwargs: Any) -> Any:
        """The root catalogue. It asks no provider, and names what can be asked of them."""
        links = Links(kwargs["request"])
        return {
            "type": "Catalog",
            "id": LANDING_ID,
            "title": self.title,
            "description": self.description,
            "stac_version": self.stac_version,
            "conformsTo": self.conformance_classes(),
            "links": [
                link("self", links.to("/")),
                links.home(),
                link("data", links.to("/collections")),
                link("conformance", links.to("/conformance")),
                link("search", links.to("/search"), GEOJSON, method="GET"),
                link("search", links.to("/search"), GEOJSON, method="POST"),
                link(QUERYABLES, links.to("/queryables"), SCHEMA),
                link("data-providers", links.to("/data-providers")),
                link(
                    "service-desc", links.to("/api"), "application/vnd.oai.openapi+json;version=3.0"
                ),
            ],
        }

    async def all_collections(self, request: Request, **given: Any) -> Any:
        """``GET /collections``: those of all providers that match, page by page."""
        refuse_unknown(request, self._requests.collections)
        known = await self._service.collections()
        links = Links(request)
        found = matching(
            known.documents,
            bbox=given.get("bbox"),
            datetime=given.get("datetime"),
            words=given.get("q"),
        )
        limit = given.get("limit") or COLLECTIONS_PAGE
        offset = given.get("offset") or 0
        page = found[offset : offset + limit]
        own = links.to("/collections")
        made = [link("self", own), links.home()]
        if offset + limit < len(found):
            made.append(link("next", _with(request, own, offset=offset + limit)))
        if offset:
            made.append(link("prev", _with(request, own, offset=max(0, offset - limit))))
        return json_answer(
            {
                "collections": [links.collection(each["id"], each) for each in page],
                "links": made,
                "numberMatched": len(found),
                "numberReturned": len(page),
                "mqs:complete": known.complete,
                "mqs:providers": known.reports,
            }
        )

    async def get_collection(self, collection_id: str, request: Request, **given: Any) -> Any:
        """``GET /collections/{id}``."""
        name = decoded(collection_id)
        document = await self._service.collection(name)
        return json_answer(Links(request).collection(name, document))

    async def get_item(
        self, item_id: str, collection_id: str, request: Request, **given: Any
    ) -> Any:
        """``GET /collections/{id}/items/{id}``, fetched from the provider."""
        item = await self._service.item(decoded(collection_id), decoded(item_id))
        return json_answer(Links(request).item(item), GEOJSON)

    async def item_collection(self, collection_id: str, request: Request, **given: Any) -> Any:
        """``GET /collections/{id}/items``."""
        refuse_unknown(request, self._requests.items)
        name = decoded(collection_id)
        if given.get("collections") not in (None, "", name):
            raise invalid(f"collections: these are the items of {name[:200]}", "Ask /search.")
        await self._service.collection(name)
        query = from_get({**given, "collections": [name]}, self._service.max_limit)
        links = Links(request)
        place = links.collection_url(name)
        extra = [link("parent", place), link("collection", place)]
        return await self._find(query, given.get("token"), request, f"{place}/items", extra)

    async def get_search(self, request: Request, **given: Any) -> Any:
        """``GET /search``."""
        refuse_unknown(request, self._requests.search_get)
        query = from_get(given, self._service.max_limit)
        return await self._find(query, given.get("token"), request, Links(request).to("/search"))

    async def post_search(self, search_request: Any, request: Request, **given: Any) -> Any:
        """``POST /search``."""
        refuse_unknown_members(await request.json(), self._requests.search_post)
        query = from_post(search_request, self._service.max_limit)
        return await self._find(query, search_request.token, request, Links(request).to("/search"))

    async def _find(
        self,
        query: SearchQuery,
        token: str | None,
        request: Request,
        own: str,
        extra: list[dict[str, Any]] | None = None,
    ) -> Response:
        page = await self._service.search(query, token or "")
        links = Links(request)
        features = [trimmed(links.item(item), query.fields) for item in page.items]
        body: dict[str, Any] = {
            "type": "FeatureCollection",
            "features": features,
            "links": [
                link("self", own, GEOJSON),
                links.home(),
                *(extra or []),
                *await _next(request, page, own),
            ],
            "numberReturned": len(features),
            "mqs:complete": page.complete,
            "mqs:providers": page.reports,
        }
        if page.matched is not None:
            body["numberMatched"] = page.matched
        return json_answer(body, GEOJSON)


async def _next(request: Request, page: Page, own: str) -> list[dict[str, Any]]:
    """The link to the next page, in the request's method; its body is whole, nothing is merged."""
    if not page.next:
        return []
    if request.method == "POST":
        body = {**json.loads(await request.body() or b"{}"), "token": page.next}
        return [link("next", own, GEOJSON, method="POST", body=body, merge=False)]
    return [link("next", _with(request, own, token=page.next), GEOJSON, method="GET")]


def _with(request: Request, own: str, **changed: Any) -> str:
    """The address of the request with some parameters changed."""
    kept = [(name, value) for name, value in request.query_params.multi_items()]
    parameters = [(name, value) for name, value in kept if name not in changed]
    return f"{own}?{urlencode([*parameters, *changed.items()])}"


class MQSQueryables(AsyncBaseFiltersClient):  # type: ignore[misc]  # stac-fastapi is not typed
    """stac-fastapi's filters client: what can be filtered by."""

    def __init__(self, service: MetadataService) -> None:
        super().__init__()
        self._service = service

    async def get_queryables(
        self, request: Request, collection_id: str | None = None, **given: Any
    ) -> Any:
        """``GET /queryables`` and ``GET /collections/{id}/queryables``."""
        links = Links(request)
        name = None if collection_id is None else decoded(collection_id)
        place = links.root if name is None else links.collection_url(name)
        document = await self._service.queryables(name)
        return json_answer({**document, "$id": f"{place}/queryables"}, SCHEMA)
