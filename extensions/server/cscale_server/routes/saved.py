"""Routes of what a person keeps: searches by name, and favourite items."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from http import HTTPStatus

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.errors import Conflict, CScaleError, DamagedData, NotFound, StorageFull
from cscale_core.saved.store import Favourite, SavedSearch, SearchContent
from cscale_server.routes.base import CScaleHandler
from cscale_server.routes.table import Operation, Parameter, Route
from cscale_server.saved_models import (
    FavouriteRequest,
    Favourites,
    SavedSearches,
    SearchChange,
)

_LONGEST_REF = 2000


class SearchesHandler(CScaleHandler):
    auth_resource = "cscale:saved"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        saved = (await self.extension.backend()).saved
        self.answer(SavedSearches(searches=await asyncio.to_thread(saved.searches)))

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        content = await self.body(SearchContent)
        saved = (await self.extension.backend()).saved
        made = await asyncio.to_thread(saved.add, content, datetime.now(UTC))
        self.answer(made, HTTPStatus.CREATED)


class SearchHandler(CScaleHandler):
    auth_resource = "cscale:saved"

    @web.authenticated
    @authorized
    async def put(self, search: str) -> None:
        self.require_owner()
        change = await self.body(SearchChange)
        saved = (await self.extension.backend()).saved
        self.answer(
            await asyncio.to_thread(
                saved.change, search, change.revision, change.content(), datetime.now(UTC)
            )
        )

    @web.authenticated
    @authorized
    async def delete(self, search: str) -> None:
        self.require_owner()
        saved = (await self.extension.backend()).saved
        await asyncio.to_thread(saved.remove, search)
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


class FavouritesHandler(CScaleHandler):
    auth_resource = "cscale:saved"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        saved = (await self.extension.backend()).saved
        self.answer(Favourites(favourites=await asyncio.to_thread(saved.favourites)))

    @web.authenticated
    @authorized
    async def put(self) -> None:
        self.require_owner()
        request = await self.body(FavouriteRequest)
        saved = (await self.extension.backend()).saved
        self.answer(
            await asyncio.to_thread(saved.mark, request.ref, request.title, datetime.now(UTC))
        )

    @web.authenticated
    @authorized
    async def delete(self) -> None:
        self.require_owner()
        ref = self.words("ref", _LONGEST_REF)
        saved = (await self.extension.backend()).saved
        await asyncio.to_thread(saved.unmark, ref)
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


_REF = Parameter(
    "ref", "query", {"type": "string", "maxLength": _LONGEST_REF}, "Of the item.", required=True
)
_FILE: tuple[type[CScaleError], ...] = (Conflict, DamagedData, StorageFull)

ROUTES: tuple[Route, ...] = (
    Route(
        "saved/searches",
        SearchesHandler,
        (
            Operation("get", "The user's searches, by name", SavedSearches, errors=_FILE),
            Operation(
                "post",
                "Keep a search under a name",
                SavedSearch,
                request=SearchContent,
                status=HTTPStatus.CREATED,
                errors=_FILE,
            ),
        ),
    ),
    Route(
        "saved/searches/{search}",
        SearchHandler,
        (
            Operation(
                "put",
                "Change a search; refused when it was changed meanwhile",
                SavedSearch,
                request=SearchChange,
                errors=(NotFound, *_FILE),
            ),
            Operation(
                "delete",
                "Forget a search",
                None,
                status=HTTPStatus.NO_CONTENT,
                errors=(NotFound, *_FILE),
            ),
        ),
    ),
    Route(
        "saved/favourites",
        FavouritesHandler,
        (
            Operation("get", "The user's favourite items", Favourites, errors=_FILE),
            Operation(
                "put",
                "Make an item a favourite",
                Favourite,
                request=FavouriteRequest,
                errors=_FILE,
            ),
            Operation(
                "delete",
                "An item is a favourite no longer",
                None,
                status=HTTPStatus.NO_CONTENT,
                parameters=(_REF,),
                errors=_FILE,
            ),
        ),
    ),
)
