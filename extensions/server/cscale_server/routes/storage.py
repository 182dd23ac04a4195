"""Routes of the user's places in the object store: browse, count, link, delete, upload."""

from __future__ import annotations

from http import HTTPStatus

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import Conflict, InvalidInput, NotFound, StorageFull
from cscale_server.routes.base import CScaleHandler
from cscale_server.routes.table import UPSTREAM, Operation, Parameter, Route
from cscale_server.storage_models import (
    DeletionLine,
    Link,
    LinkRequest,
    StorageFolder,
    StorageLine,
    StorageObject,
    StoragePlaces,
    UploadRequest,
    UploadState,
)

_LEAST = 10
"""Entries of a page: SeaweedFS 4.48 says that the mark of a folder was all there is, when asked for
one entry (seen)."""


class PlacesHandler(CScaleHandler):
    auth_resource = "cscale:storage"
    _track_activity = False  # polled, see StatusHandler

    @web.authenticated
    @authorized
    async def get(self) -> None:
        places = (await (await self.extension.backend()).storage()).places
        self.answer(await places.list(self.extension.status().mounts))


class ObjectsHandler(CScaleHandler):
    auth_resource = "cscale:storage"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        bucket, prefix = self.words("bucket", 255), self.words("prefix", 1024, "")
        after = self.words("after", 4096, "")
        limit = max(_LEAST, self.number("limit", 200, largest=1000))
        places = (await (await self.extension.backend()).storage()).places
        self.answer(await places.folder(bucket, prefix, after, limit))

    @web.authenticated
    @authorized
    async def delete(self) -> None:
        self.require_owner()
        address = ObjectAddress(self.words("bucket", 255), self.words("key", 1024))
        places = (await (await self.extension.backend()).storage()).places
        await places.delete(address)
        await self.extension.refresh_mounts()
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


class FoldersHandler(CScaleHandler):
    auth_resource = "cscale:storage"

    @web.authenticated
    @authorized
    async def delete(self) -> None:
        self.require_owner()
        bucket, prefix = self.words("bucket", 255), self.words("prefix", 1024)
        deletion = (await (await self.extension.backend()).storage()).deletion
        await self.while_connected(self.answer_lines(deletion.folder(bucket, prefix)))
        await self.extension.refresh_mounts()


class UsageHandler(CScaleHandler):
    auth_resource = "cscale:storage"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        bucket, prefix = self.words("bucket", 255), self.words("prefix", 1024, "")
        places = (await (await self.extension.backend()).storage()).places
        await self.while_connected(self.answer_lines(places.usage(bucket, prefix)))


class LinksHandler(CScaleHandler):
    auth_resource = "cscale:storage"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        request = await self.body(LinkRequest)
        places = (await (await self.extension.backend()).storage()).places
        address = ObjectAddress(request.bucket, request.key)
        link = await places.link(address, request.seconds, download=request.download)
        self.answer(link)


class UploadsHandler(CScaleHandler):
    auth_resource = "cscale:storage"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        request = await self.body(UploadRequest)
        uploads = (await (await self.extension.backend()).storage()).uploads
        self.answer(await uploads.begin(request), HTTPStatus.CREATED)


class UploadHandler(CScaleHandler):
    auth_resource = "cscale:storage"

    @web.authenticated
    @authorized
    async def get(self, upload: str) -> None:
        uploads = (await (await self.extension.backend()).storage()).uploads
        self.answer(await uploads.state(upload))

    @web.authenticated
    @authorized
    async def put(self, upload: str) -> None:
        self.require_owner()
        at = self.number("at", 0)
        uploads = (await (await self.extension.backend()).storage()).uploads
        self.answer(await uploads.part(upload, at, self.request.body))

    @web.authenticated
    @authorized
    async def delete(self, upload: str) -> None:
        self.require_owner()
        uploads = (await (await self.extension.backend()).storage()).uploads
        await uploads.abort(upload)
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


class CompleteHandler(CScaleHandler):
    auth_resource = "cscale:storage"

    @web.authenticated
    @authorized
    async def post(self, upload: str) -> None:
        self.require_owner()
        uploads = (await (await self.extension.backend()).storage()).uploads
        made = await uploads.complete(upload)
        await self.extension.refresh_mounts()
        self.answer(made)


def _text(name: str, description: str, *, required: bool = False) -> Parameter:
    return Parameter(name, "query", {"type": "string"}, description, required=required)


_BUCKET = _text("bucket", "Name of the bucket.", required=True)
_PREFIX = _text("prefix", "Empty, or ends with a slash; inside one of the user's places.")
_FOLDER = _text("prefix", "Ends with a slash; a folder inside a place, no place.", required=True)
_KEY = _text("key", "Key of the object.", required=True)
_AFTER = _text("after", "next of the page before.")
_LIMIT = Parameter(
    "limit",
    "query",
    {"type": "integer", "minimum": 0, "maximum": 1000, "default": 200},
    f"Folders and objects at most; less than {_LEAST} is {_LEAST}.",
)
_AT = Parameter(
    "at", "query", {"type": "integer", "minimum": 0, "default": 0}, "Bytes before this piece."
)

ROUTES: tuple[Route, ...] = (
    Route(
        "storage/places",
        PlacesHandler,
        (
            Operation(
                "get", "The user's places in the object store, and how they are", StoragePlaces
            ),
        ),
    ),
    Route(
        "storage/objects",
        ObjectsHandler,
        (
            Operation(
                "get",
                "What lies in a folder",
                StorageFolder,
                parameters=(_BUCKET, _PREFIX, _AFTER, _LIMIT),
                errors=(NotFound, *UPSTREAM),
            ),
            Operation(
                "delete",
                "Remove one object",
                None,
                status=HTTPStatus.NO_CONTENT,
                parameters=(_BUCKET, _KEY),
                errors=(NotFound, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "storage/folders",
        FoldersHandler,
        (
            Operation(
                "delete",
                "Remove all that lies in a folder, line by line; what cannot be removed is told",
                None,
                lines=DeletionLine,
                parameters=(_BUCKET, _FOLDER),
                errors=(NotFound, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "storage/usage",
        UsageHandler,
        (
            Operation(
                "get",
                "How much lies below a prefix, line by line while it is counted",
                None,
                lines=StorageLine,
                parameters=(_BUCKET, _PREFIX),
                errors=(NotFound, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "storage/links",
        LinksHandler,
        (
            Operation(
                "post",
                "An address that gives an object to whoever has it, for a while",
                Link,
                request=LinkRequest,
                errors=(NotFound, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "storage/uploads",
        UploadsHandler,
        (
            Operation(
                "post",
                "Begin an upload; nothing is visible before it is completed",
                UploadState,
                request=UploadRequest,
                status=HTTPStatus.CREATED,
                errors=(NotFound, Conflict, StorageFull, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "storage/uploads/{upload}",
        UploadHandler,
        (
            Operation(
                "get",
                "How far an upload is, as the store says",
                UploadState,
                errors=(NotFound, *UPSTREAM),
            ),
            Operation(
                "put",
                "The next piece, as it is",
                UploadState,
                content="application/octet-stream",
                parameters=(_AT,),
                errors=(NotFound, Conflict, StorageFull, *UPSTREAM),
            ),
            Operation(
                "delete",
                "Give an upload up; what has arrived is thrown away",
                None,
                status=HTTPStatus.NO_CONTENT,
                errors=(NotFound, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "storage/uploads/{upload}/complete",
        CompleteHandler,
        (
            Operation(
                "post",
                "Make the object visible",
                StorageObject,
                errors=(NotFound, Conflict, InvalidInput, StorageFull, *UPSTREAM),
            ),
        ),
    ),
)
