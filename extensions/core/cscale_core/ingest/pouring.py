"""From chunks to a verified object: hashed on the way, sent whole or in parts, and sealed.

The seal is the object's ``sha256`` in its metadata. It is set only after the object was verified,
so an object without it counts as absent, wherever a process was killed.

A digest cannot be carried from one process to the next: :mod:`hashlib` does not give its state
away. Of an upload that was taken up again the object is therefore read back from the store once,
between its completion and its seal; that costs one reading of the file inside the site, and nothing
of the source. One that proves wrong is removed.
"""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import Any
from urllib.parse import quote

from cscale_core.errors import DamagedData, Forbidden, NotFound
from cscale_core.ingest import rasters
from cscale_core.ingest.checksums import Multihash
from cscale_core.ingest.download import Download
from cscale_core.ingest.files import PlannedFile, StoredFile
from cscale_core.ingest.notes import StagingNotes, UploadNote
from cscale_core.objects import MAX_PARTS, SMALLEST_PART, ObjectHead, ObjectStore, Upload

#: Key of the mark in an object's metadata, see :class:`UploadNote`.
MARK = "upload-mark"
SEAL = "sha256"
_READ_BACK = 8 * 1024 * 1024


class _Digests:
    """The SHA-256 of a file, and the checksum that its item states."""

    def __init__(self, file: PlannedFile) -> None:
        self._file = file
        self._sha256: Any = Multihash("sha256", b"").hasher()
        self._stated: Any = file.checksum.hasher() if file.checksum else None

    def update(self, data: bytes) -> None:
        self._sha256.update(data)
        if self._stated is not None:
            self._stated.update(data)

    @property
    def sha256(self) -> str:
        return str(self._sha256.hexdigest())

    def check(self) -> None:
        """:raises DamagedData: when the bytes are not those that were stated."""
        stated = self._file.checksum
        if stated is not None and self._stated.digest() != stated.digest:
            raise self._file.damaged(f"its {stated.algorithm} checksum is not the stated one")


class Pouring:
    """Takes the chunks of one file and makes an object of them.

    :param download: where the chunks come from; None: from our own store.
    :param notes: where an upload is noted that a later run can take up; None: nowhere.
    """

    def __init__(
        self,
        store: ObjectStore,
        file: PlannedFile,
        part_size: int,
        download: Download | None,
        notes: StagingNotes | None,
    ) -> None:
        self._store = store
        self._file = file
        # A stated size decides; without one, parts are as large as a 10,000th of the largest.
        self._part_size = max(part_size, (file.size or 0) // (MAX_PARTS - 1) + 1)
        self._download = download
        self._notes = notes
        self._begin()

    def _begin(self) -> None:
        self._upload: Upload | None = None
        self._note: UploadNote | None = None
        self._sending: asyncio.Task[None] | None = None
        self._buffer = bytearray()
        self._digests: _Digests | None = _Digests(self._file)
        self.size = 0

    def take_up(self, upload: Upload, note: UploadNote) -> None:
        """Go on after the parts of an upload that an earlier run left."""
        self._upload = upload
        self._note = note
        self.size = upload.size
        if self.size:
            self._digests = None

    async def restart(self) -> None:
        """Forget what came so far."""
        await self.abort()
        self._begin()

    # -- taking ----------------------------------------------------------------------------

    async def add(self, chunk: bytes) -> None:
        """Take the next bytes.

        :raises DamagedData: when there are more than were stated.
        :raises StorageFull: when the store has no room.
        """
        self._buffer += chunk
        self.size += len(chunk)
        if self._digests is not None:
            self._digests.update(chunk)
        if self._file.size is not None and self.size > self._file.size:
            raise self._file.damaged(f"it has more than the stated {self._file.size} bytes")
        while len(self._buffer) > self._part_size:
            upload = self._upload or await self._start()
            await self._send(upload, bytes(self._buffer[: self._part_size]))
            del self._buffer[: self._part_size]
            if self._notes is not None:
                await self._notes.breathe()

    async def _start(self) -> Upload:
        """Begin the upload, and note it before anything is sent."""
        mark = secrets.token_hex(8)
        starting = asyncio.ensure_future(
            asyncio.to_thread(
                self._store.start_upload,
                self._file.address,
                content_type=self._file.content_type,
                metadata={MARK: mark},
            )
        )
        try:
            await asyncio.shield(starting)
        finally:
            # Also when canceled meanwhile: an upload that began must be known to be ended.
            self._upload = await starting
        download = self._download
        # The rest of a file of which nobody can tell whether it is still the same is not asked for.
        known = download and download.resumable and (download.validator or self._file.checksum)
        if self._notes is not None and download and known:
            self._note = UploadNote(self._upload.id, mark, download.validator, download.size)
            await self._notes.began(self._file.address, self._note)
        return self._upload

    async def _send(self, upload: Upload, data: bytes) -> None:
        # Its end is waited for by whoever ends this pouring, also when this waiting is canceled.
        self._sending = asyncio.ensure_future(asyncio.to_thread(upload.part, data))
        await asyncio.shield(self._sending)

    # -- ending ----------------------------------------------------------------------------

    async def finish(self) -> StoredFile:
        """Verify, and seal the object."""
        for stated in (self._file.size, self._download and self._download.size):
            if stated is not None and self.size != stated:
                raise self._file.damaged(f"it has {self.size} bytes, not {stated} as stated")
        if self._digests is not None:
            self._digests.check()
        data = bytes(self._buffer)
        if self._upload is None and self._digests is not None:
            return await self._put(data, self._digests.sha256)
        if self._upload is not None:
            await self._complete(self._upload, data)
        return await seal(
            self._store,
            self._file,
            self.size,
            validator=self._validator,
            mark=self._note.mark if self._note else "",
            sha256=self._digests.sha256 if self._digests else None,
        )

    async def _put(self, data: bytes, sha256: str) -> StoredFile:
        file = self._file
        if rasters.is_geotiff(file.media_type, file.address.key):
            await asyncio.to_thread(rasters.check_bytes, data, file.label)
        await asyncio.to_thread(
            self._store.put,
            file.address,
            data,
            content_type=file.content_type,
            metadata=_metadata(file, sha256, self._validator, ""),
        )
        return StoredFile(len(data), sha256, fresh=True)

    async def _complete(self, upload: Upload, data: bytes) -> None:
        if self._notes is not None and self._note is not None and self._note.size is None:
            # Before the last part is there: by its size the next run knows that it is the last.
            self._note.size = self.size
            await self._notes.began(self._file.address, self._note)
        if data:
            await self._send(upload, data)
        try:
            await asyncio.to_thread(upload.complete)
        except NotFound:
            # An answer that was lost is asked again by boto3, and then the upload is gone.
            head = await asyncio.to_thread(self._store.find, self._file.address)
            if head is None or not self._note or head.metadata.get(MARK) != self._note.mark:
                raise
        self._upload = None

    @property
    def _validator(self) -> str:
        return self._download.validator if self._download is not None else ""

    async def leave(self, *, flush: bool) -> None:
        """Stop; a noted upload stays for the next run, any other is thrown away.

        :param flush: send what has arrived and is enough for a part, so that less is fetched twice.
        """
        if self._upload is None or self._note is None:
            await self.abort()
            return
        await self._sent()
        unsent = self.size - self._upload.size
        if flush and unsent >= SMALLEST_PART:
            await asyncio.to_thread(self._upload.part, bytes(self._buffer[-unsent:]))
        await asyncio.to_thread(self._upload.leave)
        self._upload = None

    async def abort(self) -> None:
        """Throw away what was sent."""
        await self._sent()
        upload, self._upload = self._upload, None
        if upload is not None:
            await asyncio.to_thread(upload.abort)
            if self._notes is not None:
                await self._notes.dropped(self._file.address)

    async def _sent(self) -> None:
        if self._sending is not None:
            # How the last part fared was told to whoever waited for it.
            await asyncio.gather(self._sending, return_exceptions=True)


# -- verifying -----------------------------------------------------------------------------


def _metadata(file: PlannedFile, sha256: str, validator: str, mark: str) -> dict[str, str]:
    stated = file.checksum
    found = {
        SEAL: sha256,
        "source-validator": quote(validator, safe=""),
        "source-digest": stated.digest.hex() if stated and stated.algorithm != "sha256" else "",
        MARK: mark,
    }
    return {name: value for name, value in found.items() if value}


async def seal(
    store: ObjectStore,
    file: PlannedFile,
    size: int,
    *,
    validator: str,
    mark: str,
    sha256: str | None = None,
) -> StoredFile:
    """Verify a completed upload and say so in the object's metadata.

    :param sha256: the digest, when the stated checksum was found right on the way; None: the object
        is read back.
    :raises DamagedData: when the object is not what was stated; it was removed.
    """
    try:
        if file.size not in (None, size):
            raise file.damaged(f"it has {size} bytes, not {file.size} as stated")
        if sha256 is None:
            sha256 = await asyncio.to_thread(_read_back, store, file, size)
        if rasters.is_geotiff(file.media_type, file.address.key):
            url = await asyncio.to_thread(store.presign, file.address, 600)
            await asyncio.to_thread(rasters.check_url, url, file.label)
    except DamagedData as error:
        error.hint = f"{error.hint} {await _removed(store, file)}".strip()
        raise
    await asyncio.to_thread(
        partial(
            store.copy,
            file.address,
            file.address,
            content_type=file.content_type,
            metadata=_metadata(file, sha256, validator, mark),
        )
    )
    return StoredFile(size, sha256, fresh=True)


async def _removed(store: ObjectStore, file: PlannedFile) -> str:
    try:
        await asyncio.to_thread(store.delete, file.address)
    except Forbidden:
        # Members may write products and not delete them.
        return (
            f"{file.address.s3} could not be removed, as you may not delete there; it is not "
            "marked as verified, and the next staging of the file replaces it."
        )
    return "It was removed from the bucket."


def _read_back(store: ObjectStore, file: PlannedFile, size: int) -> str:
    digests = _Digests(file)
    for start in range(0, size, _READ_BACK):
        digests.update(store.get(file.address, start=start, length=min(_READ_BACK, size - start)))
    try:
        digests.check()
    except DamagedData as error:
        raise file.damaged(
            "its checksum is not the stated one, after the transfer was taken up again",
            hint="Stage it again: it is then fetched anew. If that ends the same, the provider's "
            "copy differs from what its catalogue says.",
        ) from error
    return digests.sha256


def is_sealed(head: ObjectHead) -> bool:
    """Whether an object was verified when it was written."""
    digest = head.metadata.get(SEAL, "")
    return len(digest) == 64 and set(digest) <= set("0123456789abcdef")
