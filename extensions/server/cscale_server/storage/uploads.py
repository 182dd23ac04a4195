"""Uploads from a browser in pieces, which go on after a page or a server was started anew.

The store itself keeps what has arrived (a multipart upload); an upload's id names bucket, key and
the store's own id of it, so nothing has to be remembered here. Whoever has an id can do no more
with it than without: the grants are looked at with every piece.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import Conflict, InvalidInput, NotFound
from cscale_core.site import Site
from cscale_server.storage.places import described, granted
from cscale_server.storage_models import (
    LARGEST_PART,
    SMALLEST_PART,
    StorageObject,
    UploadRequest,
    UploadState,
)

if TYPE_CHECKING:
    from cscale_core.objects import ObjectStore, Upload

_KEPT = 50
_LONGEST_ID = 4000


@dataclass(frozen=True)
class _Named:
    """What an id says."""

    bucket: str
    key: str
    upload: str
    size: int

    @property
    def address(self) -> ObjectAddress:
        return ObjectAddress(self.bucket, self.key)

    @property
    def id(self) -> str:
        told = json.dumps(asdict(self), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(told).decode().rstrip("=")

    @classmethod
    def of(cls, text: str) -> _Named:
        """:raises NotFound: when it is no id."""
        try:
            if len(text) > _LONGEST_ID:
                raise ValueError("too long")
            told = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", True))
            named = cls(str(told["bucket"]), str(told["key"]), str(told["upload"]), told["size"])
        except (ValueError, KeyError, TypeError) as error:
            raise NotFound("There is no such upload.") from error
        if type(named.size) is not int or named.size < 0 or not named.upload:
            raise NotFound("There is no such upload.")
        return named


class Uploads:
    """The uploads of one user's server."""

    def __init__(self, site: Site, store: ObjectStore) -> None:
        self._site = site
        self._store = store
        # So that the store is not asked for its parts with every piece.
        self._open: OrderedDict[str, Upload] = OrderedDict()
        self._turns: dict[str, asyncio.Lock] = {}

    async def begin(self, request: UploadRequest) -> UploadState:
        """Begin an upload; nothing is visible before :meth:`complete`.

        :raises Conflict: when there is such an object, and it is not to be replaced.
        """
        _check_key(request.key)
        granted(self._site, request.bucket, request.key, write=True)
        address = ObjectAddress(request.bucket, request.key)
        if not request.replace:
            await self._free(address)
        upload = await asyncio.to_thread(
            self._store.start_upload, address, content_type=request.content_type
        )
        named = _Named(request.bucket, request.key, upload.id, request.size)
        self._keep(named.id, upload)
        return _state(named, upload)

    async def state(self, upload_id: str) -> UploadState:
        """How far an upload is, as the store says.

        :raises NotFound: when it was completed, given up, or forgotten by the store.
        """
        named = self._named(upload_id)
        self._open.pop(upload_id, None)
        return _state(named, await self._upload(named))

    async def part(self, upload_id: str, at: int, data: bytes) -> UploadState:
        """The next piece.

        :param at: bytes before it.
        :raises Conflict: when the store has another number of bytes, which ``received`` tells.
        """
        named = self._named(upload_id)
        async with self._turn(upload_id):
            upload = await self._upload(named)
            if at != upload.size:
                raise Conflict(
                    f"The store has {upload.size} bytes of {named.key}, not {at}.",
                    hint="Go on from there.",
                    retryable=True,
                    received=upload.size,
                )
            last = at + len(data) == named.size
            if at + len(data) > named.size or not data:
                raise InvalidInput(f"{named.key} was to have {named.size} bytes.")
            if len(data) > LARGEST_PART or (len(data) < SMALLEST_PART and not last):
                raise InvalidInput(
                    f"A piece has {SMALLEST_PART} to {LARGEST_PART} bytes; only the last has less."
                )
            await asyncio.to_thread(upload.part, data)
            return _state(named, upload)

    async def complete(self, upload_id: str) -> StorageObject:
        """Make the object visible.

        :raises Conflict: when pieces are missing.
        """
        named = self._named(upload_id)
        async with self._turn(upload_id):
            upload = await self._upload(named)
            if upload.size != named.size:
                raise Conflict(
                    f"{named.size - upload.size} bytes of {named.key} are missing.",
                    hint="Send them first.",
                    received=upload.size,
                )
            if named.size:
                await asyncio.to_thread(upload.complete)
            else:
                # A multipart upload has at least one part.
                await asyncio.to_thread(upload.abort)
                await asyncio.to_thread(self._store.put, named.address, b"")
            self._forget(upload_id)
        return described(await asyncio.to_thread(self._store.head, named.address))

    async def abort(self, upload_id: str) -> None:
        """Give an upload up; what has arrived is thrown away."""
        named = self._named(upload_id)
        async with self._turn(upload_id):
            await asyncio.to_thread(self._store.abort_upload, named.address, named.upload)
            self._forget(upload_id)

    # -- ---------------------------------------------------------------------------------------

    def _named(self, upload_id: str) -> _Named:
        named = _Named.of(upload_id)
        _check_key(named.key)
        granted(self._site, named.bucket, named.key, write=True)
        return named

    async def _free(self, address: ObjectAddress) -> None:
        known = await asyncio.to_thread(self._store.find, address)
        if known is not None:
            raise Conflict(
                f"There is an object {address.key} of {known.size} bytes.",
                hint="Replace it, or choose another name.",
            )

    async def _upload(self, named: _Named) -> Upload:
        upload = self._open.get(named.id)
        if upload is None:
            upload = await asyncio.to_thread(
                self._store.resume_upload, named.address, named.upload, size=named.size
            )
            self._keep(named.id, upload)
        return upload

    def _keep(self, upload_id: str, upload: Upload) -> None:
        self._open[upload_id] = upload
        while len(self._open) > _KEPT:
            self._forget(next(iter(self._open)))

    def _forget(self, upload_id: str) -> None:
        self._open.pop(upload_id, None)
        self._turns.pop(upload_id, None)

    def _turn(self, upload_id: str) -> asyncio.Lock:
        return self._turns.setdefault(upload_id, asyncio.Lock())


def _state(named: _Named, upload: Upload) -> UploadState:
    return UploadState(
        id=named.id,
        bucket=named.bucket,
        key=named.key,
        size=named.size,
        received=upload.size,
    )


def _check_key(key: str) -> None:
    """:raises InvalidInput: when a file system could not have it as the path of a file."""
    parts = key.split("/")
    strange = any(ord(sign) < 32 or ord(sign) == 127 for sign in key)
    if strange or any(part in ("", ".", "..") for part in parts) or len(key.encode()) > 1024:
        raise InvalidInput(f"{key[:200]!r} is no name for a file.", hint="Choose another name.")
