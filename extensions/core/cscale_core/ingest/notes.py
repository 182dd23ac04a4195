"""What a staging notes down, so that it can go on after its process was killed.

For each upload under way: its id, and what the next run has to know of the source to go on with
the same file. How much has arrived is not noted: the store knows which parts are finished. For each
file that was verified: its digest, so that its source is not asked again.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import CScaleError
from cscale_core.objects import ObjectStore

_logger = logging.getLogger(__name__)

#: What need not be written at once is written at most this often.
SAVE_SECONDS = 2.0


@dataclass(slots=True)
class UploadNote:
    """An upload under way.

    :param upload: its id at the store.
    :param mark: a word in the object's metadata, by which a completed one is known as ours.
    :param validator: the source's strong ETag, or its time of change; empty where it gives none.
    :param size: bytes of the whole file, once they are known.
    """

    upload: str
    mark: str
    validator: str
    size: int | None


Save = Callable[[dict[str, Any]], Awaitable[None]]


class StagingNotes:
    """The notes of one staging. Used on the event loop only.

    :param kept: what an earlier run saved.
    :param save: writes the notes, JSON values only. What it cannot write costs the next run some
        requests or bytes, so the staging goes on.
    """

    def __init__(self, kept: dict[str, Any] | None, save: Save) -> None:
        kept = copy.deepcopy(kept or {})
        self._uploads: dict[str, dict[str, Any]] = kept.get("uploads", {})
        self._verified: dict[str, str] = kept.get("verified", {})
        self._save = save
        self._order = asyncio.Lock()
        self._unsaved = False
        self._saved = 0.0

    # -- uploads -------------------------------------------------------------------------------

    def upload(self, address: ObjectAddress) -> UploadNote | None:
        """The upload of an object that is under way."""
        kept = self._uploads.get(address.s3)
        return UploadNote(**kept) if kept is not None else None

    async def began(self, address: ObjectAddress, note: UploadNote) -> None:
        """An upload began, or more is known of it; written before this returns."""
        self._uploads[address.s3] = asdict(note)
        await self._write()

    async def dropped(self, address: ObjectAddress) -> None:
        """An upload was thrown away."""
        if self._uploads.pop(address.s3, None) is not None:
            await self._write()

    # -- files ---------------------------------------------------------------------------------

    def verified(self, address: ObjectAddress) -> str | None:
        """The SHA-256 of a file that an earlier run or this one brought or found."""
        return self._verified.get(address.s3)

    async def done(self, address: ObjectAddress, sha256: str) -> None:
        """A file is there, verified."""
        self._uploads.pop(address.s3, None)
        self._verified[address.s3] = sha256
        self._unsaved = True
        await self.breathe()

    # -- writing -------------------------------------------------------------------------------

    async def breathe(self) -> None:
        """Write what is not written yet, if it has waited long enough."""
        if self._unsaved and time.monotonic() - self._saved >= SAVE_SECONDS:
            await self._write()

    async def flush(self) -> None:
        """Write what is not written yet."""
        if self._unsaved:
            await self._write()

    async def _write(self) -> None:
        self._unsaved = True
        async with self._order:
            if not self._unsaved:
                # The one before took it along.
                return
            self._unsaved = False
            self._saved = time.monotonic()
            snapshot = {"uploads": self._uploads, "verified": self._verified}
            try:
                await self._save(copy.deepcopy(snapshot))
            except CScaleError as error:
                self._unsaved = True
                _logger.warning("the notes of a staging were not written: %s", error)
            except asyncio.CancelledError:
                self._unsaved = True
                raise

    # -- ending --------------------------------------------------------------------------------

    async def discard(self, store: ObjectStore) -> list[dict[str, str]]:
        """Abort every upload that is noted, as the staging will not go on.

        :returns: ``{object, upload}`` of those that could not be aborted; they stay noted.
        """
        for text, kept in list(self._uploads.items()):
            try:
                await asyncio.to_thread(abort_noted, store, text, kept["upload"])
            except CScaleError as error:
                _logger.warning("an upload is left behind: %s", error)
            else:
                del self._uploads[text]
        await self._write()
        return [{"object": text, "upload": kept["upload"]} for text, kept in self._uploads.items()]


def abort_noted(store: ObjectStore, text: str, upload: str) -> None:
    """Abort the upload of an object, whose ``s3://`` address was noted."""
    bucket, _, key = text.removeprefix("s3://").partition("/")
    store.abort_upload(ObjectAddress(bucket, key), upload)
