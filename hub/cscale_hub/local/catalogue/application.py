"""The HTTP side of the catalogue: stac-fastapi's routes and models on one of the two stores.

Links, field selection, paging links, statuses and errors are made here, so that both stores
answer alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
from fastapi import APIRouter, FastAPI
from pydantic import ValidationError
from shapely.geometry.base import BaseGeometry
from stac_fastapi.api.app import StacApi
from stac_fastapi.api.models import (
    ItemCollectionUri,
    create_get_request_model,
    create_post_request_model,
    create_request_model,
)
from stac_fastapi.extensions import (
    FieldsExtension,
    ItemCollectionFilterExtension,
    SearchFilterExtension,
    TokenPaginationExtension,
    TransactionExtension,
)
from stac_fastapi.extensions.fields import FieldsConformanceClasses
from stac_fastapi.extensions.filter.client import AsyncBaseFiltersClient
from stac_fastapi.extensions.sort import ItemCollectionSortExtension, SearchSortExtension
from stac_fastapi.extensions.sort.sort import SortConformanceClasses
from stac_fastapi.extensions.transaction import AsyncBaseTransactionsClient
from stac_fastapi.pgstac.utils import filter_fields
from stac_fastapi.types.config import ApiSettings
from stac_fastapi.types.core import AsyncBaseCoreClient
from stac_fastapi.types.errors import NotFoundError
from stac_fastapi.types.rfc3339 import str_to_interval
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cscale_hub.local.catalogue.access import AccessMiddleware, TokenVerifier
from cscale_hub.local.catalogue.config import CatalogueConfig
from cscale_hub.local.catalogue.documents import (
    INFERRED_LINKS,
    boxes,
    check_collection,
    check_item,
    check_items,
    footprint,
    parse_json,
)
from cscale_hub.local.catalogue.problems import (
    Problem,
    add_handlers,
    explain_validation,
    invalid,
)
from cscale_hub.local.catalogue.query import Backend, Page, Search, parse_filter, sort_key

JSON = "application/json"
GEOJSON = "application/geo+json"
SORT_CLASSES = [
    SortConformanceClasses.ITEM_SEARCH_SORT,
    "https://api.stacspec.org/v1.0.0/item-search#sort",  # the one that pystac-client looks for
]
HOST = re.compile(r"[A-Za-z0-9._\-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


class Links:
    """The links that the server makes, below one public address."""

    def __init__(self, request: Request) -> None:
        self.root: str = request.scope["state"]["public_root"]

    def collection_url(self, collection_id: str) -> str:
        return f"{self.root}/collections/{quote(collection_id, safe=':')}"

    def item_url(self, collection_id: str, item_id: str) -> str:
        return f"{self.collection_url(collection_id)}/items/{quote(item_id, safe=':')}"

    def with_collection(self, collection: dict[str, Any]) -> dict[str, Any]:
        """The collection with its links."""
        own = self.collection_url(collection["id"])
        made = [
            link("self", own),
            link("root", self.root + "/"),
            link("parent", self.root + "/"),
            link("items", f"{own}/items", GEOJSON),
            link(
                "http://www.opengis.net/def/rel/ogc/1.0/queryables",
                f"{own}/queryables",
                "application/schema+json",
            ),
        ]
        return {**collection, "links": made + kept_links(collection)}

    def with_item(self, item: dict[str, Any]) -> dict[str, Any]:
        """The item with its links."""
        collection = self.collection_url(item["collection"])
        made = [
            link("self", self.item_url(item["collection"], item["id"]), GEOJSON),
            link("root", self.root + "/"),
            link("parent", collection),
            link("collection", collection),
        ]
        return {**item, "links": made + kept_links(item)}


def link(rel: str, href: str, media_type: str = JSON, **more: Any) -> dict[str, Any]:
    """One STAC link object."""
    return {"rel": rel, "href": href, "type": media_type, **more}


def kept_links(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Stored links that are not the server's own."""
    return [entry for entry in document.get("links", []) if entry.get("rel") not in INFERRED_LINKS]


class CatalogueClient(AsyncBaseCoreClient):  # type: ignore[misc]
    """stac-fastapi's core client: landing page, collections, items and search."""

    def __init__(self, backend: Backend, post_model: Any) -> None:
        super().__init__()
        self._backend = backend
        self._post_model = post_model

    async def landing_page(self, **kwargs: Any) -> Any:
        """The root catalogue (no page from a CDN is linked)."""
        links = Links(kwargs["request"])
        root = links.root
        children = [
            link("child", links.collection_url(c["id"]), title=c.get("title") or c["id"])
            for c in await self._backend.collections()
        ]
        return {
            "type": "Catalog",
            "id": "cscale-catalogue",
            "title": self.title,
            "description": self.description,
            "stac_version": self.stac_version,
            "conformsTo": self.conformance_classes(),
            "links": [
                link("self", root + "/"),
                link("root", root + "/"),
                link("data", f"{root}/collections"),
                link("conformance", f"{root}/conformance"),
                link("search", f"{root}/search", GEOJSON, method="GET"),
                link("search", f"{root}/search", GEOJSON, method="POST"),
                link(
                    "http://www.opengis.net/def/rel/ogc/1.0/queryables",
                    f"{root}/queryables",
                    "application/schema+json",
                ),
                link("service-desc", f"{root}/api", "application/vnd.oai.openapi+json;version=3.0"),
                *children,
            ],
        }

    async def all_collections(self, request: Request, **kwargs: Any) -> Any:
        """``GET /collections``."""
        links = Links(request)
        found = [links.with_collection(c) for c in await self._backend.collections()]
        return {
            "collections": found,
            "links": [link("self", f"{links.root}/collections"), link("root", links.root + "/")],
            "numberMatched": len(found),
            "numberReturned": len(found),
        }

    async def get_collection(self, collection_id: str, request: Request, **kwargs: Any) -> Any:
        """``GET /collections/{id}``."""
        return Links(request).with_collection(await self._backend.collection(collection_id))

    async def get_item(
        self, item_id: str, collection_id: str, request: Request, **kwargs: Any
    ) -> Any:
        """``GET /collections/{id}/items/{id}``."""
        return Links(request).with_item(await self._backend.item(collection_id, item_id))

    async def item_collection(self, collection_id: str, request: Request, **kwargs: Any) -> Any:
        """``GET /collections/{id}/items``."""
        await self._backend.collection(collection_id)
        model = self._model({**kwargs, "collections": [collection_id]})
        links = Links(request)
        own = f"{links.collection_url(collection_id)}/items"
        extra = [
            link("parent", links.collection_url(collection_id)),
            link("collection", links.collection_url(collection_id)),
        ]
        return await self._find(model, request, own, extra)

    async def get_search(self, request: Request, **kwargs: Any) -> Any:
        """``GET /search``."""
        model = self._model(kwargs)
        return await self._find(model, request, f"{Links(request).root}/search", [])

    async def post_search(self, search_request: Any, request: Request, **kwargs: Any) -> Any:
        """``POST /search``."""
        return await self._find(search_request, request, f"{Links(request).root}/search", [])

    def _model(self, given: Mapping[str, Any]) -> Any:
        """The POST search that says the same as these GET parameters."""
        body = {
            name: given[name]
            for name in ("collections", "ids", "bbox", "datetime", "limit", "token")
            if given.get(name) is not None
        }
        if given.get("intersects"):
            body["intersects"] = parse_json(str(given["intersects"]).encode())
        if given.get("sortby"):
            body["sortby"] = [
                {
                    "field": field.lstrip("+-").strip(),
                    "direction": "desc" if field[0] == "-" else "asc",
                }
                for field in map(str.strip, given["sortby"])
                if field
            ]
        if given.get("fields"):
            names = [name.strip() for name in given["fields"] if name.strip()]
            body["fields"] = {
                "include": [name.removeprefix("+") for name in names if name[0] != "-"],
                "exclude": [name[1:] for name in names if name[0] == "-"],
            }
        if given.get("filter_expr"):
            language = given.get("filter_lang") or "cql2-text"
            body["filter"] = parse_filter(given["filter_expr"], language)
            if given.get("filter_crs"):
                body["filter-crs"] = given["filter_crs"]
        try:
            return self._post_model(**body)
        except ValidationError as error:
            raise invalid(explain_validation(list(error.errors()))) from error  # type: ignore[arg-type]

    async def _find(
        self, model: Any, request: Request, own: str, extra: list[dict[str, Any]]
    ) -> Response:
        page = await self._backend.search(search_of(model))
        links = Links(request)
        include = set(model.fields.include or ()) if model.fields else set()
        exclude = set(model.fields.exclude or ()) if model.fields else set()
        if include:
            include |= {"type", "id", "collection"}
        exclude -= include
        features = []
        for item in page.items:
            shown = links.with_item(item)
            features.append(dict(filter_fields(shown, include, exclude)))
        body = {
            "type": "FeatureCollection",
            "features": features,
            "links": [
                link("self", own, GEOJSON),
                link("root", links.root + "/"),
                *extra,
                *await _next_links(request, page, own),
            ],
            "numberMatched": page.matched,
            "numberReturned": len(features),
        }
        return json_response(body, media_type=GEOJSON)


async def _next_links(request: Request, page: Page, own: str) -> list[dict[str, Any]]:
    if page.next is None:
        return []
    if request.method == "POST":
        body = {**json.loads(await request.body() or b"{}"), "token": page.next}
        return [link("next", own, GEOJSON, method="POST", body=body)]
    parameters = [(n, v) for n, v in request.query_params.multi_items() if n != "token"]
    query = urlencode([*parameters, ("token", page.next)])
    return [link("next", f"{own}?{query}", GEOJSON, method="GET")]


def search_of(model: Any) -> Search:
    """The search that a checked request model asks for.

    :raises Problem: 400 for what cannot be evaluated.
    """
    area: BaseGeometry | None = None
    if model.bbox:
        area = boxes(model.bbox)
    elif model.intersects:
        area = footprint(model.intersects.model_dump(mode="json"), "intersects")
    period = None
    if model.datetime:
        interval = str_to_interval(model.datetime)
        period = interval if isinstance(interval, tuple) else (interval, interval)
    crs = model.filter_crs
    if crs and crs != "http://www.opengis.net/def/crs/OGC/1.3/CRS84":
        raise invalid(f"filter-crs: {crs} is not offered, only CRS84")
    return Search(
        collections=tuple(model.collections) if model.collections else None,
        ids=tuple(model.ids) if model.ids else None,
        area=area,
        period=period,
        filter=parse_filter(model.filter_expr, "cql2-json") if model.filter_expr else None,
        sort=tuple(sort_key(key.field, key.direction == "desc") for key in model.sortby or ()),
        limit=model.limit or 10,
        token=model.token,
    )


def json_response(body: Any, status: int = 200, media_type: str = JSON, **headers: str) -> Response:
    """A JSON answer; NaN never gets out."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Response(text, status, headers=headers, media_type=media_type)


class CatalogueWrites(AsyncBaseTransactionsClient):  # type: ignore[misc]
    """stac-fastapi's transactions client.

    FastAPI has checked the body's shape when a method is called; what is stored is the body as
    it was sent, not the model's rendering of it.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    async def create_item(self, collection_id: str, request: Request, **kwargs: Any) -> Response:
        """``POST /collections/{id}/items``: one item or several, all or none."""
        body = parse_json(await request.body())
        items = check_items(body, collection_id)
        await self._backend.create_items(collection_id, items)
        links = Links(request)
        if body["type"] == "FeatureCollection":
            location = f"{links.collection_url(collection_id)}/items"
            made = [links.item_url(collection_id, item["id"]) for item in items]
            return json_response({"created": made}, 201, Location=location)
        location = links.item_url(collection_id, items[0]["id"])
        return json_response(links.with_item(items[0]), 201, GEOJSON, Location=location)

    async def update_item(
        self, collection_id: str, item_id: str, request: Request, **kwargs: Any
    ) -> Response:
        """``PUT /collections/{id}/items/{id}``."""
        item = check_item(parse_json(await request.body()), collection_id, item_id)
        await self._backend.replace_item(collection_id, item)
        return json_response(Links(request).with_item(item), media_type=GEOJSON)

    async def patch_item(
        self, collection_id: str, item_id: str, request: Request, **kwargs: Any
    ) -> Response:
        """``PATCH /collections/{id}/items/{id}``: merge patch or JSON Patch."""
        patch = parse_json(await request.body())
        item = await self._backend.patch_item(collection_id, item_id, patch)
        return json_response(Links(request).with_item(item), media_type=GEOJSON)

    async def delete_item(self, item_id: str, collection_id: str, **kwargs: Any) -> Response:
        """``DELETE /collections/{id}/items/{id}``."""
        await self._backend.delete_item(collection_id, item_id)
        return json_response({"deleted item": item_id})

    async def create_collection(self, collection: Any, request: Request, **kwargs: Any) -> Response:
        """``POST /collections``."""
        document = check_collection(parse_json(await request.body()))
        await self._backend.create_collection(document)
        links = Links(request)
        location = links.collection_url(document["id"])
        return json_response(links.with_collection(document), 201, Location=location)

    async def update_collection(
        self, collection_id: str, request: Request, **kwargs: Any
    ) -> Response:
        """``PUT /collections/{id}``; the items stay."""
        collection = check_collection(parse_json(await request.body()), collection_id)
        await self._backend.replace_collection(collection)
        return json_response(Links(request).with_collection(collection))

    async def patch_collection(
        self, collection_id: str, request: Request, **kwargs: Any
    ) -> Response:
        """``PATCH /collections/{id}``: merge patch or JSON Patch."""
        patch = parse_json(await request.body())
        collection = await self._backend.patch_collection(collection_id, patch)
        return json_response(Links(request).with_collection(collection))

    async def delete_collection(self, collection_id: str, **kwargs: Any) -> Response:
        """``DELETE /collections/{id}``, with its items."""
        await self._backend.delete_collection(collection_id)
        return json_response({"deleted collection": collection_id})


class CatalogueQueryables(AsyncBaseFiltersClient):  # type: ignore[misc]
    """stac-fastapi's filters client: what can be filtered by."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    async def get_queryables(
        self, request: Request, collection_id: str | None = None, **kwargs: Any
    ) -> Any:
        """``GET /queryables`` and ``GET /collections/{id}/queryables``."""
        links = Links(request)
        place = links.collection_url(collection_id) if collection_id else links.root
        document = await self._backend.queryables(collection_id)
        return {**document, "$id": f"{place}/queryables"}


class PublicAddressMiddleware:
    """Finds the address under which the client knows the catalogue, for links.

    A configured public address wins; else the Host of the request, and X-Forwarded-Host and
    -Proto when the request comes from loopback, where the hub's proxy is.
    """

    def __init__(self, app: ASGIApp, *, public_url: str, prefix: str) -> None:
        self._app = app
        self._prefix = prefix
        parts = urlsplit(public_url)
        self._public = f"{parts.scheme}://{parts.netloc}{prefix}" if public_url else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI event stream."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["public_root"] = self._public or self._from(scope)
        await self._app(scope, receive, send)

    def _from(self, scope: Scope) -> str:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        scheme, host = str(scope.get("scheme", "http")), headers.get(b"host", "")
        client = scope.get("client")
        if client and client[0] in ("127.0.0.1", "::1"):
            proto = headers.get(b"x-forwarded-proto", "").split(",")[0].strip()
            scheme = proto if proto in ("http", "https") else scheme
            host = headers.get(b"x-forwarded-host", "").split(",")[0].strip() or host
        if not HOST.fullmatch(host):
            server = scope.get("server") or ("127.0.0.1", 80)
            host = f"{server[0]}:{server[1]}"
        return f"{scheme}://{host}{self._prefix}"


def build_application(config: CatalogueConfig, backend: Backend) -> FastAPI:
    """The ASGI application of the catalogue on a store that is not started yet."""
    prefix = config.prefix
    settings = ApiSettings(
        _env_file=None,  # no .env of the working folder
        stac_fastapi_title=config.title,
        stac_fastapi_description=config.description,
        stac_fastapi_version="1.0",
        stac_fastapi_landing_id="cscale-catalogue",
        openapi_url=f"{prefix}/api",
        enable_response_models=False,
    )
    queryables = CatalogueQueryables(backend)
    item_search = [
        SearchSortExtension(conformance_classes=SORT_CLASSES),
        FieldsExtension(),
        SearchFilterExtension(client=queryables),
        TokenPaginationExtension(),
    ]
    features = [
        ItemCollectionSortExtension(conformance_classes=[SortConformanceClasses.FEATURES_SORT]),
        FieldsExtension(conformance_classes=[FieldsConformanceClasses.ITEMS]),
        ItemCollectionFilterExtension(client=queryables),
        TokenPaginationExtension(),
    ]
    writes = [
        TransactionExtension(client=CatalogueWrites(backend), settings=settings)
        for _ in range(0 if config.read_only else 1)
    ]
    post_model = create_post_request_model(item_search)
    http = httpx.AsyncClient(timeout=5, trust_env=False, follow_redirects=False)
    verifier = TokenVerifier(config, http)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await backend.start()
        try:
            await ensure_collections(backend, config.ensure_collections)
            yield
        finally:
            await http.aclose()
            await backend.stop()

    app = FastAPI(
        title=config.title,
        description=config.description,
        version="1.0",
        openapi_url=settings.openapi_url,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.backend = backend

    @app.get(f"{prefix}/healthz", include_in_schema=False)
    async def healthz() -> Response:
        try:
            await backend.ping()
        except Exception as error:
            raise Problem(503, "the store does not answer", retryable=True) from error
        return JSONResponse({"status": "ok"})

    StacApi(
        settings=settings,
        client=CatalogueClient(backend, post_model),
        extensions=[*item_search, *features, *writes],
        exceptions={},
        title=config.title,
        description=config.description,
        app=app,
        router=APIRouter(prefix=prefix),
        search_get_request_model=create_get_request_model(item_search),
        search_post_request_model=post_model,
        items_get_request_model=create_request_model(
            "CatalogueItems", base_model=ItemCollectionUri, extensions=features
        ),
        middlewares=[
            Middleware(
                AccessMiddleware, verifier=verifier, prefix=prefix, read_only=config.read_only
            ),
            Middleware(PublicAddressMiddleware, public_url=config.public_url, prefix=prefix),
        ],
    )
    add_handlers(app)
    return app


async def ensure_collections(backend: Backend, documents: list[dict[str, Any]]) -> None:
    """Create the collections that are not there; those that are stay as they are.

    :raises Problem: when a document is not a STAC collection.
    """
    for document in documents:
        collection = check_collection(document)
        try:
            await backend.collection(collection["id"])
        except NotFoundError:
            await backend.create_collection(collection)
