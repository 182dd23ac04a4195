"""Bring one file into the object store, or find that it is there.

A file of at most 16 MiB is held in memory and written in one request; a larger one goes up in
parts. With notes a transfer that was stopped or killed goes on after the parts that the store has,
and nothing but what was in flight is fetched twice from the source.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any
from urllib.parse import quote
from weakref import WeakValueDictionary

import httpx

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import CScaleError, NotFound, UpstreamError
from cscale_core.http import Egress, open_response
from cscale_core.ingest.download import TIMEOUT, Download, Renew, content_length, validator
from cscale_core.ingest.files import PlannedFile, StoredFile
from cscale_core.ingest.notes import StagingNotes, UploadNote
from cscale_core.ingest.pouring import MARK, SEAL, Pouring, is_sealed, seal
from cscale_core.objects import PART_SIZE, ObjectHead, ObjectStore, Upload

_logger = logging.getLogger(__name__)

_STEP = 8 * 1024 * 1024


class OneAtATime:
    """Lets one transfer at a time bring an object; the next then finds that it is there.

    Shared by the stagings of a process, which may be asked for the same products at once.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[ObjectAddress, asyncio.Lock] = WeakValueDictionary()

    def of(self, address: ObjectAddress) -> asyncio.Lock:
        """The lock of an object."""
        return self._locks.setdefault(address, asyncio.Lock())


class Transfer:
    """Moves files for one staging; used by several tasks at once.

    :param on_bytes: called as it goes on with (file, bytes that are here so far, bytes of them that
        have just come from the source).
    :param notes: so that a later run can go on; None: what was begun is thrown away.
    :param renew: asked for another address when a source refuses one.
    :ivar resting: whether a transfer that is canceled is to be taken up soon; it then also sends
        what is not a whole part yet.
    """

    def __init__(
        self,
        store: ObjectStore,
        http: httpx.AsyncClient,
        egress: Egress,
        on_bytes: Callable[[PlannedFile, int, int], None],
        *,
        notes: StagingNotes | None = None,
        renew: Renew | None = None,
        one_at_a_time: OneAtATime | None = None,
        part_size: int = PART_SIZE,
        first_pause: float = 0.5,
    ) -> None:
        self._store = store
        self._http = http
        self._egress = egress
        self._on_bytes = on_bytes
        self._notes = notes
        self._renew = renew
        self._one_at_a_time = one_at_a_time or OneAtATime()
        self._part_size = part_size
        self._first_pause = first_pause
        self.resting = False

    async def bring(self, file: PlannedFile) -> StoredFile:
        """Bring the file, or find that an equal one is there.

        :raises DamagedData: when what arrived is not what was stated.
        :raises StorageFull: when the store has no room.
        :raises UpstreamError: when the source fails for good.
        """
        async with self._one_at_a_time.of(file.address):
            stored = await self._brought(file)
            if self._notes is not None:
                await self._notes.done(file.address, stored.sha256)
            return stored

    async def _brought(self, file: PlannedFile) -> StoredFile:
        note = self._notes.upload(file.address) if self._notes is not None else None
        head = await asyncio.to_thread(self._store.find, file.address)
        if head is not None:
            if note is not None and head.metadata.get(MARK) == note.mark:
                return await self._completed_before(file, head, note)
            if is_sealed(head) and await self._same(file, head):
                await self._forget(file, note)
                self._on_bytes(file, head.size, 0)
                return StoredFile(head.size, head.metadata[SEAL], fresh=False)
        if isinstance(file.source, ObjectAddress):
            if copied := await self._copied(file, file.source):
                return copied
            pouring = Pouring(self._store, file, self._part_size, None, None)
            return await self._pour(file, pouring, self._object_chunks(file.source))
        return await self._fetched(file, file.source, note)

    # -- what is there already -------------------------------------------------------------

    async def _completed_before(
        self, file: PlannedFile, head: ObjectHead, note: UploadNote
    ) -> StoredFile:
        """An earlier run completed the upload; what it had not done any more is done now."""
        self._on_bytes(file, head.size, 0)
        if is_sealed(head):
            return StoredFile(head.size, head.metadata[SEAL], fresh=True)
        return await seal(self._store, file, head.size, validator=note.validator, mark=note.mark)

    async def _same(self, file: PlannedFile, head: ObjectHead) -> bool:
        if file.size is not None and file.size != head.size:
            return False
        if file.checksum is not None:
            return file.checksum.digest.hex() in (
                head.metadata[SEAL],
                head.metadata.get("source-digest"),
            )
        if self._notes is not None and self._notes.verified(file.address) == head.metadata[SEAL]:
            return True
        if isinstance(file.source, ObjectAddress):
            source = await asyncio.to_thread(self._store.head, file.source)
            return source.size == head.size and source.metadata.get(SEAL) == head.metadata[SEAL]
        # Nothing was stated, so the source is asked what it has now.
        try:
            async with open_response(
                self._http,
                self._egress,
                "HEAD",
                file.source,
                headers={"Accept-Encoding": "identity"},
                timeout=TIMEOUT,
            ) as response:
                if response.status_code != 200 or content_length(response.headers) != head.size:
                    return False
                stamp = validator(response.headers)
        except UpstreamError:
            # A source that does not say is fetched again, with all patience.
            return False
        return bool(stamp) and quote(stamp, safe="") == head.metadata.get("source-validator")

    async def _copied(self, file: PlannedFile, source: ObjectAddress) -> StoredFile | None:
        """Copy inside the store, where the source was verified when it was written."""
        head = await asyncio.to_thread(self._store.head, source)
        if not is_sealed(head) or source == file.address:
            return None
        digest = head.metadata[SEAL]
        if file.size not in (None, head.size):
            raise file.damaged(f"it has {head.size} bytes, not {file.size} as stated")
        if file.checksum is not None and file.checksum.digest.hex() != digest:
            # Another algorithm, or other bytes: reading them will tell.
            return None
        await asyncio.to_thread(
            self._store.copy,
            source,
            file.address,
            content_type=file.content_type,
            metadata={SEAL: digest},
        )
        self._on_bytes(file, head.size, 0)
        return StoredFile(head.size, digest, fresh=True)

    # -- sources ---------------------------------------------------------------------------

    async def _object_chunks(self, source: ObjectAddress) -> AsyncGenerator[bytes | None]:
        head = await asyncio.to_thread(self._store.head, source)
        for start in range(0, head.size, _STEP):
            yield await asyncio.to_thread(
                self._store.get, source, start=start, length=min(_STEP, head.size - start)
            )

    async def _fetched(self, file: PlannedFile, url: str, note: UploadNote | None) -> StoredFile:
        upload = await self._taken_up(file, note) if note is not None else None
        download = Download(file)
        if note is not None and upload is not None:
            download = Download(
                file, received=upload.size, size=note.size, validator=note.validator
            )
        pouring = Pouring(self._store, file, self._part_size, download, self._notes)
        if note is not None and upload is not None:
            pouring.take_up(upload, note)
            self._on_bytes(file, upload.size, 0)
        chunks = download.chunks(
            self._http, self._egress, url, renew=self._renew, first_pause=self._first_pause
        )
        return await self._pour(file, pouring, chunks)

    async def _taken_up(self, file: PlannedFile, note: UploadNote) -> Upload | None:
        """The upload of an earlier run, or None when the file has to start anew."""
        try:
            upload = await asyncio.to_thread(
                self._store.resume_upload, file.address, note.upload, size=note.size
            )
        except NotFound:
            # The store cleans up what lay too long.
            upload = None
        if upload is not None and note.size is not None and upload.size > note.size:
            # Parts of another version of the file: none of them is trusted.
            upload = None
        if upload is None:
            await self._forget(file, note)
        return upload

    async def _forget(self, file: PlannedFile, note: UploadNote | None) -> None:
        if note is not None and self._notes is not None:
            await asyncio.to_thread(self._store.abort_upload, file.address, note.upload)
            await self._notes.dropped(file.address)

    # -- into the store --------------------------------------------------------------------

    async def _pour(
        self, file: PlannedFile, pouring: Pouring, chunks: AsyncGenerator[bytes | None]
    ) -> StoredFile:
        try:
            async with aclosing(chunks) as stream:
                async for chunk in stream:
                    if chunk is None:
                        await pouring.restart()
                    else:
                        await pouring.add(chunk)
                    self._on_bytes(file, pouring.size, len(chunk or b""))
            return await pouring.finish()
        except asyncio.CancelledError:
            await self._ended(pouring.leave(flush=self.resting))
            raise
        except BaseException:
            # No part may stay behind unseen.
            await self._ended(pouring.abort())
            raise

    @staticmethod
    async def _ended(ending: Coroutine[Any, Any, None]) -> None:
        try:
            await asyncio.shield(ending)
        except CScaleError as left:
            # Why it ended is what counts. A noted upload stays noted: the next run goes on with it,
            # or it is thrown away when the notes are.
            _logger.warning("an upload is left behind: %s", left)
