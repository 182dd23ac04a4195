"""Routes of the federation's catalogue: search, collections, providers, items and pictures."""

from __future__ import annotations

import sys
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from pydantic_core import to_json
from tornado import web
from tornado.iostream import StreamClosedError

from cscale_core.catalog.collections import CollectionList
from cscale_core.errors import NotFound
from cscale_server.catalog.thumbnails import MEDIA_TYPES
from cscale_server.models import (
    Document,
    ProblemLine,
    ProvidersAnswer,
    SearchAnswer,
    SearchLine,
    SearchRequest,
)
from cscale_server.routes.base import CScaleHandler
from cscale_server.routes.table import LINES, UPSTREAM, Operation, Route

if TYPE_CHECKING:
    from cscale_server.catalog.service import Catalog

_DAY = 24 * 60 * 60


class SearchHandler(CScaleHandler):
    auth_resource = "cscale:search"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        request = await self.body(SearchRequest)
        catalog = (await self.extension.backend()).catalog
        send = self._send_lines if self._takes_lines() else self._send_page
        await self.while_connected(send(catalog, request))

    def _takes_lines(self) -> bool:
        accepted = self.request.headers.get("Accept", "")
        return LINES in accepted or "application/json" not in accepted

    async def _send_page(self, catalog: Catalog, request: SearchRequest) -> None:
        page = await catalog.page(request.question(), request.cursor)
        self.finish(page)

    async def _send_lines(self, catalog: Catalog, request: SearchRequest) -> None:
        begun = False
        try:
            async with aclosing(catalog.lines(request.question(), request.cursor)) as lines:
                async for line in lines:
                    if not begun:
                        self.set_header("Content-Type", LINES)
                        self.set_header("X-Accel-Buffering", "no")
                        begun = True
                    self.write(line)
                    await self.flush()
        except StreamClosedError:
            return
        except Exception as error:
            if not begun:
                raise  # a wrong question, said by the status as everywhere
            self.log_exception(*sys.exc_info())
            _, problem = self.problem_of(error, HTTPStatus.INTERNAL_SERVER_ERROR)
            self.write(to_json(ProblemLine(**problem)) + b"\n")
        self.finish(set_content_type=LINES)


class CollectionsHandler(CScaleHandler):
    auth_resource = "cscale:search"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        catalog = (await self.extension.backend()).catalog
        self.answer(await catalog.collections.list())


class CollectionHandler(CScaleHandler):
    auth_resource = "cscale:search"

    @web.authenticated
    @authorized
    async def get(self, ref: str) -> None:
        catalog = (await self.extension.backend()).catalog
        self.answer(await catalog.collections.get(ref))


class QueryablesHandler(CScaleHandler):
    auth_resource = "cscale:search"

    @web.authenticated
    @authorized
    async def get(self, ref: str) -> None:
        catalog = (await self.extension.backend()).catalog
        self.answer(await catalog.collections.queryables(ref))


class AllQueryablesHandler(CScaleHandler):
    auth_resource = "cscale:search"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        catalog = (await self.extension.backend()).catalog
        self.answer(await catalog.collections.queryables())


class ProvidersHandler(CScaleHandler):
    auth_resource = "cscale:search"
    _track_activity = False  # polled, see StatusHandler

    @web.authenticated
    @authorized
    async def get(self) -> None:
        catalog = (await self.extension.backend()).catalog
        self.answer(await catalog.providers())


class ItemHandler(CScaleHandler):
    auth_resource = "cscale:search"

    @web.authenticated
    @authorized
    async def get(self, ref: str) -> None:
        catalog = (await self.extension.backend()).catalog
        self.answer(await catalog.localised(ref))


class ThumbnailHandler(CScaleHandler):
    auth_resource = "cscale:search"

    @property
    def content_security_policy(self) -> str:
        """Whatever it may be taken for, it runs nothing and reaches nothing."""
        return super().content_security_policy + "; sandbox"

    @web.authenticated
    @authorized
    async def get(self, ref: str) -> None:
        catalog = (await self.extension.backend()).catalog
        picture = await catalog.picture(ref)
        self.set_header("Cache-Control", f"private, max-age={_DAY}")
        self.set_header("X-Content-Type-Options", "nosniff")
        # tornado adds an ETag, and answers 304 to one that is known.
        self.finish(picture.data, set_content_type=picture.media_type)


ROUTES: tuple[Route, ...] = (
    Route(
        "catalog/search",
        SearchHandler,
        (
            Operation(
                "post",
                "Search every provider at once; one that fails is reported, never lost. Lines "
                "with slim items as they come, the merged page last; with Accept: "
                "application/json the merged page of whole items",
                SearchAnswer,
                lines=SearchLine,
                request=SearchRequest,
                errors=UPSTREAM,
            ),
        ),
    ),
    Route(
        "catalog/collections",
        CollectionsHandler,
        (
            Operation(
                "get",
                "The collections of every provider, and how each list was got",
                CollectionList,
                errors=UPSTREAM,
            ),
        ),
    ),
    Route(
        "catalog/collections/{ref}",
        CollectionHandler,
        (
            Operation(
                "get",
                "One collection, whole, under its name in the federation",
                Document,
                errors=(NotFound, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "catalog/collections/{ref}/queryables",
        QueryablesHandler,
        (
            Operation(
                "get",
                "What the items of a collection can be filtered by, as a JSON schema",
                Document,
                errors=(NotFound, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "catalog/queryables",
        AllQueryablesHandler,
        (
            Operation(
                "get",
                "What items can be filtered by, and at which providers, as a JSON schema",
                Document,
                errors=UPSTREAM,
            ),
        ),
    ),
    Route(
        "catalog/providers",
        ProvidersHandler,
        (Operation("get", "Every provider, and whether it answers now", ProvidersAnswer),),
    ),
    Route(
        "catalog/items/{ref}",
        ItemHandler,
        (
            Operation(
                "get",
                "One item, whole, with the addresses of this server",
                Document,
                errors=(NotFound, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "catalog/items/{ref}/thumbnail",
        ThumbnailHandler,
        (
            Operation(
                "get",
                "The picture of an item, fetched by this server",
                None,
                media_types=MEDIA_TYPES,
                errors=(NotFound, *UPSTREAM),
            ),
        ),
    ),
)
