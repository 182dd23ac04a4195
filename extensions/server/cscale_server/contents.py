"""The user's buckets in the Jupyter file browser, under ``s3/<bucket>/<key>``.

What the members of a VO show each other has a shorter way too: ``shared/<vo>/…`` is ``shared/…`` of
the VO's bucket.

The same tree in every mount mode, always read from the object store and never through a mounted
folder: the file browser works where FUSE does not, and a mount that hangs cannot stop the server,
whose contents managers read folders on the event loop. What a program writes to a mounted folder
appears here when it is in the bucket (about a second later).

Everything outside these is the business of Jupyter's own file manager.
"""

# The base classes and nbformat carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import asyncio
import base64
import hashlib
import mimetypes
import os
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import nbformat
from jupyter_core.paths import jupyter_data_dir
from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import AuthenticatedFileHandler
from jupyter_server.services.contents.filecheckpoints import AsyncGenericFileCheckpoints
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server.services.contents.manager import AsyncContentsManager
from tornado import web
from traitlets import Integer, default

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import CScaleError, NotFound, UpstreamError
from cscale_core.notebooks.places import SHARED, shared_places
from cscale_core.site import Grant, Site, load_site
from cscale_server import problems, shared_folder
from cscale_server.mounts import PROBE_LIMIT, in_thread

if TYPE_CHECKING:
    from cscale_core.objects import ObjectHead, ObjectStore

ROOT = "s3"
"""Name of the folder of buckets below the root of the file browser."""

_ENTRIES = 10_000
_RENAMED_OBJECTS = 1_000
_BLOCK = 8 * 1024 * 1024
_STARTED = datetime.now(UTC)
"""Shown as the time of folders: prefixes of an object store have none of their own."""
_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")

_T = TypeVar("_T")


def _size(count: int) -> str:
    return f"{count / 1024**2:.0f} MiB" if count < 1024**3 else f"{count / 1024**3:.1f} GiB"


@contextmanager
def _as_http() -> Iterator[None]:
    """Our errors as the ``HTTPError`` that the contents API understands."""
    try:
        yield
    except CScaleError as error:
        text = f"{error.message} {error.hint}".strip()
        raise web.HTTPError(problems.status_of(error), text) from error


@dataclass(frozen=True, slots=True)
class Place:
    """One API path of a bucket: the bucket, the key without slashes around, and the grant."""

    path: str
    bucket: str
    key: str
    grant: Grant | None

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def writable(self) -> bool:
        return self.grant is not None and self.grant.access == "rw"

    @property
    def is_grant(self) -> bool:
        return self.grant is not None and self.grant.prefix.strip("/") == self.key

    @property
    def address(self) -> ObjectAddress:
        return ObjectAddress(self.bucket, self.key)

    @property
    def folder(self) -> str:
        """The prefix of what lies in this folder."""
        return f"{self.key}/" if self.key else ""


class BucketTree:
    """Grants as a tree of folders over the object store. Methods block; call them in threads."""

    def __init__(self, site: Site, home: Path) -> None:
        self._site = site
        self._store: ObjectStore | None = None
        self._shared = shared_places(site) if shared_folder.is_ours(home, site) else {}

    @property
    def roots(self) -> tuple[str, ...]:
        """The folders at the root of the file browser."""
        return (ROOT, shared_folder.NAME) if self._shared else (ROOT,)

    def holds(self, path: str) -> bool:
        """Whether an API path is one of these folders or below it."""
        return path.strip("/").split("/", 1)[0] in self.roots

    @property
    def store(self) -> ObjectStore:
        """The object store; boto3 is imported at first use."""
        if self._store is None:
            from cscale_core.objects import ObjectStore

            self._store = ObjectStore(self._site)
        return self._store

    def place(self, path: str) -> Place:
        """The place an API path names.

        :raises NotFound: when no grant is at, below or above it.
        """
        clean = path.strip("/")
        parts = clean.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise NotFound(f"{path} does not exist.")
        name = parts[1] if len(parts) > 1 else ""
        bucket, key = name, "/".join(parts[2:])
        if parts[0] == shared_folder.NAME and name:
            if name not in self._shared:
                raise NotFound(f"{path} does not exist, or is not open to you.")
            bucket = self._shared[name].bucket
            key = "/".join([SHARED.strip("/"), *parts[2:]])
        inside = [
            grant
            for grant in self._site.grants
            if grant.bucket == bucket and f"{key}/".startswith(grant.prefix.lstrip("/"))
        ]
        grant = max(inside, key=lambda grant: len(grant.prefix), default=None)
        place = Place(clean, bucket, key, grant)
        if grant is None and bucket and not self.granted_below(place):
            raise NotFound(f"{path} does not exist, or is not open to you.")
        return place

    def granted_below(self, place: Place) -> list[str]:
        """Names of the folders here that lead to a grant."""
        if place.path == shared_folder.NAME:
            return sorted(self._shared)
        if not place.bucket:
            return sorted({grant.bucket for grant in self._site.grants})
        names = set()
        for grant in self._site.grants:
            prefix = grant.prefix.strip("/")
            if grant.bucket == place.bucket and f"{prefix}/".startswith(place.folder):
                rest = prefix[len(place.folder) :]
                if rest:
                    names.add(rest.split("/", 1)[0])
        return sorted(names)

    def head(self, place: Place) -> ObjectHead | None:
        """The object at a place, or None."""
        if place.grant is None or place.is_grant:
            return None
        return self.store.find(place.address)

    def is_folder(self, place: Place) -> bool:
        """Whether there is a folder: a grant, on the way to one, or a prefix of some object."""
        if place.grant is None or place.is_grant or self.granted_below(place):
            return True
        return next(self.store.list(place.bucket, place.folder), None) is not None

    def entries(self, place: Place) -> tuple[list[str], list[tuple[str, int, datetime]], bool]:
        """Folders, files (name, bytes, time) and whether the list was cut at 10,000 entries."""
        folders = set(self.granted_below(place))
        files: list[tuple[str, int, datetime]] = []
        if place.grant is None:
            return sorted(folders), files, False
        with self._explained(place):
            pages = self.store.client.get_paginator("list_objects_v2").paginate(
                Bucket=place.bucket, Prefix=place.folder, Delimiter="/"
            )
            for page in pages:
                for entry in page.get("CommonPrefixes", ()):
                    folders.add(entry["Prefix"][len(place.folder) :].rstrip("/"))
                for entry in page.get("Contents", ()):
                    name = entry["Key"][len(place.folder) :]
                    if name:  # the empty name is the marker of the folder itself
                        files.append((name, entry["Size"], entry["LastModified"]))
                if len(folders) + len(files) > _ENTRIES:
                    return sorted(folders), files[:_ENTRIES], True
        return sorted(folders), files, False

    @contextmanager
    def _explained(self, place: Place) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                raise NotFound(f"{place.path} does not exist, or is not open to you.") from error
            raise UpstreamError(f"{place.path} cannot be listed now.", retryable=True) from error
        except BotoCoreError as error:
            raise UpstreamError(
                f"{place.path} cannot be listed: the object store or the login does not answer.",
                retryable=True,
            ) from error

    def objects(self, place: Place, limit: int) -> list[ObjectHead]:
        """The objects in a folder and below, at most ``limit`` + 1 of them."""
        found: list[ObjectHead] = []
        for head in self.store.list(place.bucket, place.folder):
            found.append(head)
            if len(found) > limit:
                break
        return found

    def move(self, source: ObjectAddress, target: ObjectAddress) -> None:
        """Copy inside the store with its metadata, then delete the source."""
        if source.key.endswith("/"):
            self.make_folder(target)  # SeaweedFS does not copy the marker of a folder
        else:
            head = self.store.head(source)
            self.store.copy(source, target, content_type=head.content_type, metadata=head.metadata)
        self.store.delete(source)

    def make_folder(self, marker: ObjectAddress) -> None:
        """Write the empty object that stands for a folder; its key ends with a slash."""
        self.store.put(marker, b"", content_type="application/x-directory")

    def download(self, source: ObjectAddress, size: int, target: Path) -> None:
        """Write an object to a local file, which appears only when it is complete."""
        part = target.with_name(f".{target.name}.part")
        try:
            with part.open("wb") as file:
                for start in range(0, size, _BLOCK):
                    file.write(
                        self.store.get(source, start=start, length=min(_BLOCK, size - start))
                    )
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)


async def _run(function: Callable[[], _T]) -> _T:
    with _as_http():
        return await asyncio.to_thread(function)


class BucketFilesHandler(AuthenticatedFileHandler):
    """``/files/...``: objects are streamed from the store, with ranges; the rest as ever."""

    auth_resource = "contents"

    @web.authenticated
    @authorized
    async def head(self, path: str) -> None:  # type: ignore[override]
        await self._answer(path, include_body=False)

    @web.authenticated
    @authorized
    async def get(  # type: ignore[override]
        self, path: str, include_body: bool = True
    ) -> None:
        await self._answer(path, include_body=include_body)

    async def _answer(self, path: str, *, include_body: bool) -> None:
        tree: BucketTree | None = getattr(self.contents_manager, "tree", None)
        if tree is None or not tree.holds(path):
            await cast(Awaitable[None], super().get(path) if include_body else super().head(path))
            return
        self.check_xsrf_cookie()
        with _as_http():
            place = tree.place(path)
        head = await _run(lambda: tree.head(place))
        if head is None:
            raise web.HTTPError(HTTPStatus.NOT_FOUND)
        start, end = self._range(head.size)
        if path.endswith(".ipynb") or self.get_argument("download", None):
            self.set_attachment_header(place.name)
        mimetype = mimetypes.guess_type(place.name)[0] or "application/octet-stream"
        self.set_header("Content-Type", mimetype)
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Length", str(end - start))
        if not include_body:
            return
        async for block in _blocks(tree, place.address, start, end):
            self.write(block)
            await self.flush()

    def _range(self, size: int) -> tuple[int, int]:
        """First byte and end of what is asked for; several ranges at once get the whole."""
        match = _RANGE.match(self.request.headers.get("Range", ""))
        if match is None or match.groups() == ("", ""):
            return 0, size
        first, last = match.groups()
        start = int(first) if first else max(0, size - int(last))
        end = min(size, int(last) + 1) if first and last else size
        if start >= end:
            self.set_header("Content-Range", f"bytes */{size}")
            raise web.HTTPError(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        self.set_status(HTTPStatus.PARTIAL_CONTENT)
        self.set_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        return start, end


async def _blocks(
    tree: BucketTree, address: ObjectAddress, start: int, end: int
) -> AsyncIterator[bytes]:
    for at in range(start, end, _BLOCK):
        length = min(_BLOCK, end - at)
        yield await asyncio.to_thread(tree.store.get, address, start=at, length=length)


class _BucketCheckpoints(AsyncGenericFileCheckpoints):
    """Checkpoints of objects, in one private folder and named by the hash of their path.

    The base class would look for the object's folder on the disk, and go to the machine's shared
    temporary folder where it finds none.
    """

    def checkpoint_path(self, checkpoint_id: str, path: str) -> str:
        name = hashlib.sha256(path.strip("/").encode()).hexdigest()[:32]
        return str(Path(self.root_dir) / f"{name}-{checkpoint_id}{Path(path).suffix}")


class BucketContentsManager(AsyncLargeFileManager):
    """Jupyter's file manager with the buckets of the site under ``s3/``."""

    max_open_size = Integer(
        64 * 1024**2,
        help="""Bytes of the largest object that is opened in the browser. Larger ones are read by
        their path on the mount, by their s3:// address, or downloaded.""",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tree: BucketTree | None = None
        self._uploads: dict[str, Path] = {}
        self._checkpoints: AsyncGenericFileCheckpoints | None = None
        try:
            site = load_site()
        except CScaleError as error:
            self.log.info("No buckets in the file browser: %s", error.message)
            return
        if site.grants and site.mount_mode != "none":
            self.tree = BucketTree(site, Path(self.root_dir))

    @default("files_handler_class")  # type: ignore[untyped-decorator]
    def _default_files_handler_class(self) -> type[BucketFilesHandler]:
        return BucketFilesHandler

    def _ours(self, path: str) -> BucketTree | None:
        return self.tree if self.tree is not None and self.tree.holds(path) else None

    # -- looking -----------------------------------------------------------------------------

    async def dir_exists(self, path: str) -> bool:
        tree = self._ours(path)
        if tree is None:
            return bool(await super().dir_exists(path))
        try:
            place = tree.place(path)
        except NotFound:
            return False
        return await _run(lambda: tree.is_folder(place))

    async def file_exists(self, path: str) -> bool:
        tree = self._ours(path)
        if tree is None:
            return bool(await super().file_exists(path))
        try:
            place = tree.place(path)
        except NotFound:
            return False
        return await _run(lambda: tree.head(place)) is not None

    def exists(  # type: ignore[override]
        self, path: str
    ) -> bool | Awaitable[bool]:
        """A bool for local paths, as the file manager does not wait for its own answer."""
        if self._ours(path) is None:
            return bool(super().exists(path))
        return self._exists(path)

    async def _exists(self, path: str) -> bool:
        return await self.file_exists(path) or await self.dir_exists(path)

    async def is_hidden(self, path: str) -> bool:
        if self._ours(path) is None:
            return bool(await super().is_hidden(path))
        return any(part.startswith(".") for part in path.strip("/").split("/"))

    async def get_kernel_path(self, path: str, model: dict[str, Any] | None = None) -> str:
        """The folder a kernel starts in: for a bucket the mounted one, if it answers in time."""
        if self._ours(path) is None:
            return str(await super().get_kernel_path(path, model))
        parent = path.strip("/").rpartition("/")[0]
        try:
            there = await in_thread(
                lambda: os.path.isdir(self._get_os_path(parent)),  # noqa: PTH112
                PROBE_LIMIT,
            )
        except (TimeoutError, OSError):
            there = False
        return parent if there else ""

    async def get(
        self,
        path: str,
        content: bool = True,
        type: str | None = None,  # noqa: A002  # names given by the base class
        format: str | None = None,  # noqa: A002
        require_hash: bool = False,
    ) -> dict[str, Any]:
        tree = self._ours(path)
        if tree is None:
            model: dict[str, Any] = await super().get(
                path, content=content, type=type, format=format, require_hash=require_hash
            )
            if not path.strip("/") and content and self.tree is not None:
                self._add_roots(model, self.tree)
            return model
        with _as_http():
            place = tree.place(path)
        head = None if type == "directory" else await _run(lambda: tree.head(place))
        if head is None:
            if not await _run(lambda: tree.is_folder(place)):
                raise web.HTTPError(404, f"No such file or directory: {place.path}")
            if type not in (None, "directory"):
                raise web.HTTPError(400, f"{place.path} is a directory", reason="bad type")
            return await self._folder_model(tree, place, content)
        if type == "notebook" or (type is None and place.name.endswith(".ipynb")):
            model = await self._notebook(tree, place, head, content, require_hash)
        else:
            model = await self._file(tree, place, head, content, format, require_hash)
        self.emit(data={"action": "get", "path": place.path})
        return model

    def _add_roots(self, model: dict[str, Any], tree: BucketTree) -> None:
        there = {entry["name"] for entry in model["content"]}
        model["content"] += [
            self._model(Place(name, "", "", None), "directory")
            for name in tree.roots
            if name not in there
        ]

    def _model(
        self, place: Place, kind: str, size: int | None = None, when: datetime | None = None
    ) -> dict[str, Any]:
        moment = when or _STARTED
        return {
            "name": place.name,
            "path": place.path,
            "type": kind,
            "writable": place.writable,
            "created": moment,
            "last_modified": moment,
            "mimetype": None,
            "size": size,
            "content": None,
            "format": None,
            "hash": None,
            "hash_algorithm": None,
        }

    async def _folder_model(self, tree: BucketTree, place: Place, content: bool) -> dict[str, Any]:
        model = self._model(place, "directory")
        if not content:
            return model
        folders, files, cut = await _run(lambda: tree.entries(place))
        if cut:
            self.log.warning("%s has too many entries; %d are shown", place.path, _ENTRIES)
        entries = [self._model(tree.place(f"{place.path}/{name}"), "directory") for name in folders]
        for name, size, when in files:
            kind = "notebook" if name.endswith(".ipynb") else "file"
            child = Place(f"{place.path}/{name}", place.bucket, place.folder + name, place.grant)
            entries.append(self._model(child, kind, size, when))
        model["content"] = [
            entry for entry in entries if self.allow_hidden or not entry["name"].startswith(".")
        ]
        model["format"] = "json"
        return model

    async def _read(self, tree: BucketTree, place: Place, size: int) -> bytes:
        if size > self.max_open_size:
            raise web.HTTPError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"{place.name} has {_size(size)}, more than the {_size(self.max_open_size)} that "
                f"are opened in the browser. Read it as {place.address.s3}, or download it.",
                reason="too large to open",
            )
        return await _run(lambda: tree.store.get(place.address))

    def _hashed(self, model: dict[str, Any], data: bytes) -> None:
        digest = hashlib.new(self.hash_algorithm, data, usedforsecurity=False)
        model["hash"], model["hash_algorithm"] = digest.hexdigest(), self.hash_algorithm

    async def _file(
        self,
        tree: BucketTree,
        place: Place,
        head: ObjectHead,
        content: bool,
        form: str | None,
        require_hash: bool,
    ) -> dict[str, Any]:
        model = self._model(place, "file", head.size, head.modified)
        model["mimetype"] = mimetypes.guess_type(place.name)[0]
        if not content and not require_hash:
            return model
        data = await self._read(tree, place, head.size)
        if require_hash:
            self._hashed(model, data)
        if not content:
            return model
        text: str | None = None
        if form != "base64":
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError as error:
                if form == "text":
                    raise web.HTTPError(
                        400, f"{place.path} is not UTF-8 encoded", reason="bad format"
                    ) from error
        model["format"] = "base64" if text is None else "text"
        model["content"] = base64.b64encode(data).decode("ascii") if text is None else text
        model["mimetype"] = model["mimetype"] or (
            "application/octet-stream" if text is None else "text/plain"
        )
        return model

    async def _notebook(
        self, tree: BucketTree, place: Place, head: ObjectHead, content: bool, require_hash: bool
    ) -> dict[str, Any]:
        model = self._model(place, "notebook", head.size, head.modified)
        if not content and not require_hash:
            return model
        data = await self._read(tree, place, head.size)
        if require_hash:
            self._hashed(model, data)
        if content:
            try:
                notebook = nbformat.reads(data.decode("utf-8"), as_version=4)
            except Exception as error:  # nbformat has no one class for what it cannot read
                raise web.HTTPError(400, f"Unreadable Notebook: {place.path} {error}") from error
            self.mark_trusted_cells(notebook, place.path)
            model["content"], model["format"] = notebook, "json"
            self.validate_notebook_model(model)
        return model

    # -- changing ----------------------------------------------------------------------------

    def _writable(self, tree: BucketTree, path: str) -> Place:
        with _as_http():
            place = tree.place(path)
        if not place.writable:
            raise web.HTTPError(403, f"{place.path} cannot be written: your access is read-only.")
        if place.is_grant:
            raise web.HTTPError(403, f"{place.path} is given to you by the site and stays.")
        return place

    async def save(self, model: dict[str, Any], path: str = "") -> dict[str, Any]:
        tree = self._ours(path)
        if tree is None:
            saved: dict[str, Any] = await super().save(model, path)
            return saved
        place = self._writable(tree, path)
        chunk = model.get("chunk")
        kind = model.get("type")
        if kind not in ("file", "notebook", "directory"):
            raise web.HTTPError(400, "No file type provided")
        if "content" not in model and kind != "directory":
            raise web.HTTPError(400, "No file content provided")
        if chunk in (None, 1):
            self.run_pre_save_hooks(model=model, path=place.path)
        message = None
        if kind == "directory":
            if await _run(lambda: tree.head(place)) is not None:
                raise web.HTTPError(400, f"Not a directory: {place.path}")
            marker = ObjectAddress(place.bucket, place.folder)
            await _run(lambda: tree.make_folder(marker))
        elif chunk is not None:
            if not await self._save_chunk(tree, place, model, int(chunk)):
                return self._model(place, "file", 0, datetime.now(UTC))
        else:
            if kind == "notebook":
                notebook = nbformat.from_dict(model["content"])
                self.check_and_sign(notebook, place.path)
                data = nbformat.writes(notebook, version=nbformat.NO_CONVERT).encode()
                self.validate_notebook_model(model)
                message = model.get("message")
            else:
                data = _decoded(model, place.path)
            mimetype = mimetypes.guess_type(place.name)[0] or "application/octet-stream"
            await _run(lambda: tree.store.put(place.address, data, content_type=mimetype))
        self.emit(data={"action": "save", "path": place.path})
        answer = await self.get(place.path, content=False, type=kind)
        if message:
            answer["message"] = message
        return answer

    async def _save_chunk(
        self, tree: BucketTree, place: Place, model: dict[str, Any], chunk: int
    ) -> bool:
        """Gather the parts of a large upload in a local file; True when the last one was sent."""
        data = _decoded(model, place.path)
        if chunk == 1:
            self._drop_upload(place.path)
            descriptor, name = tempfile.mkstemp(prefix="cscale-upload-")
            os.close(descriptor)
            self._uploads[place.path] = Path(name)
        spool = self._uploads.get(place.path)
        if spool is None:
            raise web.HTTPError(409, f"The upload of {place.name} has no beginning; send it again.")

        def append() -> None:
            with spool.open("ab") as file:
                file.write(data)

        try:
            await asyncio.to_thread(append)
            if chunk != -1:
                return False
            mimetype = mimetypes.guess_type(place.name)[0] or "application/octet-stream"
            await _run(lambda: tree.store.put_file(place.address, spool, content_type=mimetype))
        except OSError as error:
            self._drop_upload(place.path)
            raise web.HTTPError(
                HTTPStatus.INSUFFICIENT_STORAGE, f"No room for {place.name}: {error.strerror}"
            ) from error
        finally:
            if chunk == -1:
                self._drop_upload(place.path)
        return True

    def _drop_upload(self, path: str) -> None:
        spool = self._uploads.pop(path, None)
        if spool is not None:
            spool.unlink(missing_ok=True)

    async def delete_file(self, path: str) -> None:
        tree = self._ours(path)
        if tree is None:
            await super().delete_file(path)
            return
        place = self._writable(tree, path)
        if await _run(lambda: tree.head(place)) is not None:
            await _run(lambda: tree.store.delete(place.address))
            return
        objects = await _run(lambda: tree.objects(place, _RENAMED_OBJECTS))
        if not objects:
            raise web.HTTPError(404, f"File or directory does not exist: {place.path}")
        if not self.always_delete_dir and any(head.address.key != place.folder for head in objects):
            raise web.HTTPError(400, f"Directory {place.path} not empty")
        if len(objects) > _RENAMED_OBJECTS:
            raise web.HTTPError(
                413,
                f"{place.path} holds more than {_RENAMED_OBJECTS} objects; delete it by rclone.",
            )

        def delete() -> None:
            for head in reversed(objects):  # what lies in a folder before the folder itself
                tree.store.delete(head.address)

        await _run(delete)

    async def rename_file(self, old_path: str, new_path: str) -> None:
        old_tree, new_tree = self._ours(old_path), self._ours(new_path)
        if old_tree is None and new_tree is None:
            await super().rename_file(old_path, new_path)
            return
        if old_path.strip("/") == new_path.strip("/"):
            return
        if await ensure_async(self.exists(new_path)):
            raise web.HTTPError(409, f"File already exists: {new_path}")
        if old_tree is not None and new_tree is not None:
            await self._rename_inside(old_tree, old_path, new_path)
        elif new_tree is not None:
            target = self._writable(new_tree, new_path)
            local = Path(self._get_os_path(old_path.strip("/")))
            if not local.is_file():
                raise web.HTTPError(400, "Folders are moved to a bucket in a terminal.")
            mimetype = mimetypes.guess_type(local.name)[0] or "application/octet-stream"
            await _run(
                lambda: new_tree.store.put_file(target.address, local, content_type=mimetype)
            )
            local.unlink()
        elif old_tree is not None:
            source = self._writable(old_tree, old_path)
            head = await _run(lambda: old_tree.head(source))
            if head is None:
                raise web.HTTPError(400, "Folders are moved out of a bucket in a terminal.")
            local = Path(self._get_os_path(new_path.strip("/")))
            await _run(lambda: old_tree.download(source.address, head.size, local))
            await _run(lambda: old_tree.store.delete(source.address))

    async def _rename_inside(self, tree: BucketTree, old_path: str, new_path: str) -> None:
        source, target = self._writable(tree, old_path), self._writable(tree, new_path)
        if await _run(lambda: tree.head(source)) is not None:
            await _run(lambda: tree.move(source.address, target.address))
            return
        objects = await _run(lambda: tree.objects(source, _RENAMED_OBJECTS))
        if not objects:
            raise web.HTTPError(404, f"File or directory does not exist: {source.path}")
        if len(objects) > _RENAMED_OBJECTS:
            raise web.HTTPError(
                413, f"{source.path} holds more than {_RENAMED_OBJECTS} objects; move it by rclone."
            )

        def move() -> None:
            for head in reversed(objects):  # what lies in a folder before the folder itself
                rest = head.address.key[len(source.folder) :]
                tree.move(head.address, ObjectAddress(target.bucket, target.folder + rest))

        await _run(move)

    async def copy(self, from_path: str, to_path: str | None = None) -> dict[str, Any]:
        local = self._ours(from_path) is None and (to_path is None or self._ours(to_path) is None)
        copied: dict[str, Any]
        if local:
            copied = await super().copy(from_path, to_path)
        else:
            # The file manager's own would measure folders on the disk; this one reads and saves.
            copied = await AsyncContentsManager.copy(self, from_path, to_path)
        return copied

    # -- checkpoints: beside the job store, as a bucket is no place for them -------------------

    @property
    def _bucket_checkpoints(self) -> AsyncGenericFileCheckpoints:
        if self._checkpoints is None:
            folder = Path(jupyter_data_dir()) / "cscale" / "checkpoints"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._checkpoints = _BucketCheckpoints(parent=self, log=self.log, root_dir=str(folder))
        return self._checkpoints

    def _checkpoints_of(self, path: str) -> Any:
        return self.checkpoints if self._ours(path) is None else self._bucket_checkpoints

    async def delete(self, path: str) -> None:
        if self._ours(path) is None:
            await super().delete(path)
            return
        await self.delete_file(path)
        await self._bucket_checkpoints.delete_all_checkpoints(path.strip("/"))
        self.emit(data={"action": "delete", "path": path.strip("/")})

    async def rename(self, old_path: str, new_path: str) -> None:
        if self._ours(old_path) is None and self._ours(new_path) is None:
            await super().rename(old_path, new_path)
            return
        await self.rename_file(old_path, new_path)
        # Checkpoints stay behind when a file moves between a bucket and the home folder.
        if self._ours(old_path) is not None and self._ours(new_path) is not None:
            await self._bucket_checkpoints.rename_all_checkpoints(old_path, new_path)
        self.emit(data={"action": "rename", "path": new_path, "source_path": old_path})

    async def create_checkpoint(self, path: str) -> dict[str, Any]:
        made: dict[str, Any] = await self._checkpoints_of(path).create_checkpoint(self, path)
        return made

    async def restore_checkpoint(self, checkpoint_id: str, path: str) -> None:
        await self._checkpoints_of(path).restore_checkpoint(self, checkpoint_id, path)

    async def list_checkpoints(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._checkpoints_of(path).list_checkpoints(path)
        return found

    async def delete_checkpoint(self, checkpoint_id: str, path: str) -> None:
        await self._checkpoints_of(path).delete_checkpoint(checkpoint_id, path)


def _decoded(model: dict[str, Any], path: str) -> bytes:
    """The bytes of a file model, given as text or base64."""
    form = model.get("format") or "text"
    try:
        if form == "text":
            return str(model["content"]).encode("utf-8")
        if form == "base64":
            return base64.b64decode(str(model["content"]).encode("ascii"), validate=False)
    except (ValueError, UnicodeError) as error:
        raise web.HTTPError(400, f"Encoding error saving {path}: {error}") from error
    raise web.HTTPError(400, "Must specify format of file contents as 'text' or 'base64'")
