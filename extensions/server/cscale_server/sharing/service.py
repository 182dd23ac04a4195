"""Shared notebooks as the routes need them: from the file browser to the library and back."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any, Protocol

from cscale_core.errors import Forbidden, InvalidInput
from cscale_core.identity.tokens import CredentialSource
from cscale_core.notebooks import documents
from cscale_core.notebooks.answers import Entry, Gallery, Shown
from cscale_core.notebooks.library import SharedNotebooks, Submission
from cscale_core.notebooks.places import NotebookRef
from cscale_core.notebooks.scanning import SecretsFound
from cscale_server.sharing.held import held_secrets
from cscale_server.sharing.link import link
from cscale_server.sharing.models import PublishRequest, VersionList
from cscale_server.sharing.telling import Act, Telling

FOLDER = "Opened notebooks"
"""Where copies of shared notebooks are put, below the root of the file browser."""


class FileBrowser(Protocol):
    """What is used of Jupyter's contents manager."""

    async def get(
        self,
        path: str,
        content: bool = True,
        type: str | None = None,  # noqa: A002  # names given by Jupyter
        format: str | None = None,  # noqa: A002
    ) -> dict[str, Any]:
        """A model of the contents API."""


class NotebookSharing:
    """What the routes do with shared notebooks; nothing here blocks the event loop."""

    telling: Telling | None = None
    """Tells the hub; None where no hub started this server."""

    def __init__(self, library: SharedNotebooks, tokens: CredentialSource) -> None:
        self._library = library
        self._tokens = tokens

    async def gallery(self, *, vo: str, text: str, mine: bool, offset: int, limit: int) -> Gallery:
        """One page of the shared notebooks that the user sees."""
        return await asyncio.to_thread(
            self._library.gallery, vo=vo, text=text, mine=mine, offset=offset, limit=limit
        )

    async def show(self, ref: NotebookRef, version: int | None) -> Shown:
        """One of them, with its preview."""
        return await asyncio.to_thread(self._library.show, ref, version)

    async def versions(self, ref: NotebookRef) -> VersionList:
        """Its versions."""
        return VersionList(versions=await asyncio.to_thread(self._library.versions, ref))

    async def picture(self, ref: NotebookRef, version: int | None) -> bytes:
        """Its small picture, PNG."""
        return await asyncio.to_thread(self._library.picture, ref, version)

    async def publish(self, request: PublishRequest, files: FileBrowser) -> Entry:
        """Publish a notebook of the file browser.

        :raises CScaleError: as :meth:`SharedNotebooks.publish`.
        """
        data = await _read(request.path, files)
        held = await held_secrets(self._tokens)
        digest = hashlib.sha256(data).hexdigest()
        ref = self._library.ref_of(request.vo, request.title)

        def publish() -> Entry:
            submission = Submission(
                notebook=documents.read(data),
                source=request.path.rsplit("/", 1)[-1],
                source_sha256=digest,
                vo=request.vo,
                title=request.title,
                description=request.description,
                outputs=request.outputs,
            )
            return self._library.publish(submission, held)

        try:
            entry = await asyncio.to_thread(publish)
        except (SecretsFound, Forbidden) as error:
            self._tell("notebook.publish", ref, source_hash=digest, refused=error.code)
            raise
        self._tell("notebook.publish", ref, version=entry.version, source_hash=digest)
        return entry

    async def copy(self, ref: NotebookRef, version: int | None, root: Path) -> str:
        """Make a copy of the user's own; the path of it in the file browser."""
        made = await asyncio.to_thread(self._library.open, ref, root / FOLDER, version)
        self._tell("notebook.open", ref, version=version)
        return f"{FOLDER}/{made.name}"

    async def remove(self, ref: NotebookRef, version: int | None) -> list[int]:
        """Take it down, or one version; which there were."""
        try:
            removed = await asyncio.to_thread(self._library.remove, ref, version)
        except Forbidden as error:
            self._tell("notebook.unpublish", ref, version=version, refused=error.code)
            raise
        self._tell("notebook.unpublish", ref, version=version)
        return removed

    def _tell(
        self,
        action: Act,
        ref: NotebookRef,
        *,
        version: int | None = None,
        source_hash: str = "",
        refused: str = "",
    ) -> None:
        if self.telling is not None:
            self.telling.tell(
                action, ref, version=version, source_hash=source_hash, refused=refused
            )

    async def link(self, ref: NotebookRef, version: int | None, base_url: str) -> str:
        """The address that opens it for every member, after a login, in their own server.

        :param base_url: of this server; used where no hub started it.
        :raises NotFound: when there is none that the user sees.
        """
        if version is None:
            await asyncio.to_thread(self._library.versions, ref)
        else:
            await asyncio.to_thread(self._library.version, ref, version)
        return link(ref, version, base_url)


async def _read(path: str, files: FileBrowser) -> bytes:
    """The bytes of a notebook in the file browser, which keeps to its own bounds.

    :raises InvalidInput: when it is no notebook, or too large to be published.
    """
    if not path.endswith(".ipynb"):
        raise InvalidInput("Only notebooks (.ipynb) can be published.")
    model = await files.get(path, content=False, type="file")
    if (model.get("size") or 0) > documents.MAX_NOTEBOOK:
        raise InvalidInput(
            f"The notebook has more than {documents.MAX_NOTEBOOK // 2**20} MiB.",
            hint="Nothing was published. Clear its largest outputs, save it, and try again.",
        )
    model = await files.get(path, type="file", format="text")
    return str(model["content"]).encode()
