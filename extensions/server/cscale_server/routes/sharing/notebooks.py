"""Shared notebooks: the gallery, publishing, one notebook, its versions, copies, and its link.

All of it is done with the owner's credentials and shows what the owner may see, so it is for the
owner of the server alone.
"""

from __future__ import annotations

import os
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.errors import (
    Conflict,
    CScaleError,
    DamagedData,
    Forbidden,
    InvalidInput,
    NotFound,
    StorageFull,
    UpstreamTimeout,
)
from cscale_core.notebooks.answers import Entry, Gallery, Shown
from cscale_core.notebooks.places import MAX_VERSION, NotebookRef
from cscale_server.mounts import in_thread
from cscale_server.routes.base import PREFIX, CScaleHandler
from cscale_server.routes.table import UPSTREAM, Operation, Parameter, Route
from cscale_server.sharing.models import (
    Copied,
    CopyRequest,
    Link,
    OwnNotebooks,
    PublishRequest,
    Removed,
    VersionList,
)
from cscale_server.sharing.own import SECONDS, own_notebooks

if TYPE_CHECKING:
    from cscale_server.sharing.service import FileBrowser, NotebookSharing

PICTURE_TYPE = "image/png"
_DAY = 24 * 60 * 60
_LONGEST_PAGE = 100
_USUAL_PAGE = 24


class SharingHandler(CScaleHandler):
    """For the owner of the server. Holds no verbs."""

    async def sharing(self) -> NotebookSharing:
        """The shared notebooks of the owner.

        :raises Forbidden: for anybody else who was let into this server.
        """
        self.require_owner()
        return (await self.extension.backend()).sharing

    @property
    def version(self) -> int | None:
        """The version in the query string; None: the newest."""
        return self.number("version", 0, MAX_VERSION) or None

    @property
    def files(self) -> FileBrowser:
        """The file browser of this server."""
        return cast("FileBrowser", self.contents_manager)


class GalleryHandler(SharingHandler):
    auth_resource = "cscale:sharing"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        sharing = await self.sharing()
        self.answer(
            await sharing.gallery(
                vo=self.get_query_argument("vo", ""),
                text=self.get_query_argument("text", "")[:200],
                mine=self.choice("mine", ("false", "true")) == "true",
                offset=self.number("offset", 0),
                limit=self.number("limit", _USUAL_PAGE, _LONGEST_PAGE) or _USUAL_PAGE,
            )
        )

    @web.authenticated
    @authorized
    async def post(self) -> None:
        sharing = await self.sharing()
        request = await self.body(PublishRequest)
        entry = await sharing.publish(request, self.files)
        self.set_header("Location", f"{self.base_url}{PREFIX}/shared/notebooks/{entry.ref}")
        self.answer(entry, HTTPStatus.CREATED)


class OwnNotebooksHandler(SharingHandler):
    auth_resource = "cscale:sharing"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.require_owner()
        root = root_of(self.settings)
        try:
            found = await in_thread(lambda: own_notebooks(root), 2 * SECONDS)
        except TimeoutError as error:
            raise UpstreamTimeout(
                "Your home folder does not answer.",
                hint="The path of a notebook can be filled in by hand.",
                retryable=True,
            ) from error
        self.answer(found)


class SharedNotebookHandler(SharingHandler):
    auth_resource = "cscale:sharing"

    @web.authenticated
    @authorized
    async def get(self, notebook: str) -> None:
        sharing = await self.sharing()
        self.answer(await sharing.show(NotebookRef.parse(notebook), self.version))

    @web.authenticated
    @authorized
    async def delete(self, notebook: str) -> None:
        sharing = await self.sharing()
        versions = await sharing.remove(NotebookRef.parse(notebook), self.version)
        self.answer(Removed(versions=versions))


class VersionsHandler(SharingHandler):
    auth_resource = "cscale:sharing"

    @web.authenticated
    @authorized
    async def get(self, notebook: str) -> None:
        sharing = await self.sharing()
        self.answer(await sharing.versions(NotebookRef.parse(notebook)))


class NotebookPictureHandler(SharingHandler):
    auth_resource = "cscale:sharing"

    @property
    def content_security_policy(self) -> str:
        """Whatever it may be taken for, it runs nothing and reaches nothing."""
        return super().content_security_policy + "; sandbox"

    @web.authenticated
    @authorized
    async def get(self, notebook: str) -> None:
        sharing = await self.sharing()
        picture = await sharing.picture(NotebookRef.parse(notebook), self.version)
        self.set_header("Cache-Control", f"private, max-age={_DAY}")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(picture, set_content_type=PICTURE_TYPE)


class CopiesHandler(SharingHandler):
    auth_resource = "cscale:sharing"

    @web.authenticated
    @authorized
    async def post(self, notebook: str) -> None:
        sharing = await self.sharing()
        request = await self.body(CopyRequest)
        ref, root = NotebookRef.parse(notebook), root_of(self.settings)
        self.answer(Copied(path=await sharing.copy(ref, request.version, root)), HTTPStatus.CREATED)


class LinkHandler(SharingHandler):
    auth_resource = "cscale:sharing"

    @web.authenticated
    @authorized
    async def get(self, notebook: str) -> None:
        sharing = await self.sharing()
        ref = NotebookRef.parse(notebook)
        self.answer(Link(url=await sharing.link(ref, self.version, self.base_url)))


def root_of(settings: dict[str, Any]) -> Path:
    """The folder that the file browser shows."""
    return Path(os.path.expanduser(settings["server_root_dir"]))  # noqa: PTH111  # "~" alone too


_VERSION = Parameter(
    "version",
    "query",
    {"type": "integer", "minimum": 1, "maximum": MAX_VERSION},
    "Which version; not given: the newest.",
)
_FILTERS = (
    Parameter("vo", "query", {"type": "string"}, "Only those of one VO."),
    Parameter(
        "text",
        "query",
        {"type": "string", "maxLength": 200},
        "Only those with all these words in title, description or author.",
    ),
    Parameter("mine", "query", {"enum": ["false", "true"]}, "true: only your own."),
    Parameter(
        "offset", "query", {"type": "integer", "minimum": 0, "default": 0}, "Where to begin."
    ),
    Parameter(
        "limit",
        "query",
        {"type": "integer", "minimum": 1, "maximum": _LONGEST_PAGE, "default": _USUAL_PAGE},
        "How many at most.",
    ),
)
_STORE: tuple[type[CScaleError], ...] = (Forbidden, *UPSTREAM)

ROUTES: tuple[Route, ...] = (
    Route(
        "shared/notebooks",
        GalleryHandler,
        (
            Operation(
                "get",
                "The notebooks that are shared with you, the newest first",
                Gallery,
                parameters=_FILTERS,
                errors=_STORE,
            ),
            Operation(
                "post",
                "Publish a notebook of the file browser; refused when it holds secrets",
                Entry,
                request=PublishRequest,
                status=HTTPStatus.CREATED,
                errors=(NotFound, Conflict, DamagedData, StorageFull, *_STORE),
            ),
        ),
    ),
    Route(
        "shared/own-notebooks",
        OwnNotebooksHandler,
        (
            Operation(
                "get",
                "The notebooks in your home folder, to choose one that is published",
                OwnNotebooks,
                errors=(Forbidden, UpstreamTimeout),
            ),
        ),
    ),
    Route(
        "shared/notebooks/{notebook}",
        SharedNotebookHandler,
        (
            Operation(
                "get",
                "One shared notebook with a preview in which nothing runs",
                Shown,
                parameters=(_VERSION,),
                errors=(NotFound, DamagedData, *_STORE),
            ),
            Operation(
                "delete",
                "Take a notebook down, or one version of it; copies of others stay",
                Removed,
                parameters=(_VERSION,),
                errors=(NotFound, *_STORE),
            ),
        ),
    ),
    Route(
        "shared/notebooks/{notebook}/versions",
        VersionsHandler,
        (
            Operation(
                "get", "The versions of it", VersionList, errors=(NotFound, InvalidInput, *_STORE)
            ),
        ),
    ),
    Route(
        "shared/notebooks/{notebook}/picture",
        NotebookPictureHandler,
        (
            Operation(
                "get",
                "A small picture of its first output that is one, drawn anew",
                None,
                media_types=(PICTURE_TYPE,),
                parameters=(_VERSION,),
                errors=(NotFound, DamagedData, *_STORE),
            ),
        ),
    ),
    Route(
        "shared/notebooks/{notebook}/copies",
        CopiesHandler,
        (
            Operation(
                "post",
                "Open it: make a copy of your own in the file browser",
                Copied,
                request=CopyRequest,
                status=HTTPStatus.CREATED,
                errors=(NotFound, Conflict, DamagedData, StorageFull, *_STORE),
            ),
        ),
    ),
    Route(
        "shared/notebooks/{notebook}/link",
        LinkHandler,
        (
            Operation(
                "get",
                "An address that opens it for members of its VO, after a login",
                Link,
                parameters=(_VERSION,),
                errors=(NotFound, *_STORE),
            ),
        ),
    ),
)
