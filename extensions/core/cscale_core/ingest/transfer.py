"""Bring one file into the object store: fetched with patience, verified, and only then visible.

A file of at most 16 MiB is held in memory and written in one request; a larger one goes up in
parts, and the upload is completed after the checksum was found right, else aborted. A broken
download goes on where it stopped, if the source knows ranges and the file did not change.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import CScaleError, DamagedData, UpstreamError
from cscale_core.http import Egress, explained, open_response
from cscale_core.ingest import rasters
from cscale_core.ingest.checksums import Multihash, parse_multihash, sha256_multihash
from cscale_core.objects import MAX_PARTS, PART_SIZE, ObjectHead, ObjectStore, Upload

_TRIES_WITHOUT_PROGRESS = 5
_TRIES = 50
_RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_PAUSE = 20.0
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_COPY_LIMIT = 5 * 1024**3
_MEDIA_TYPE = re.compile(r"^[\w.+-]+/[\w.+-]+(;[\x20-\x7e]*)?$", re.ASCII)
# Types that a browser would run are stored as plain bytes.
_ACTIVE = ("html", "svg", "javascript", "ecmascript")


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One asset on its way from a source to its place in the store.

    :param source: an http(s) URL, or the address of an object of our own store.
    :param size: bytes as stated by the item (``file:size``); None where it does not say.
    :param checksum: as stated by the item (``file:checksum``), if it can be computed here.
    """

    item: str
    asset: str
    source: str | ObjectAddress
    address: ObjectAddress
    size: int | None
    checksum: Multihash | None
    media_type: str

    @property
    def label(self) -> str:
        return f"{self.asset} of {self.item}"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that lies in the store, verified. ``fresh`` is False when it was there already."""

    size: int
    sha256: str
    fresh: bool

    @property
    def multihash(self) -> str:
        return sha256_multihash(self.sha256)


class _Again(Exception):
    """The request may be tried again, after a pause in seconds if the source named one."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


def _content_type(media_type: str) -> str:
    if _MEDIA_TYPE.match(media_type) and not any(word in media_type.lower() for word in _ACTIVE):
        return media_type
    return "application/octet-stream"


def _pause(headers: httpx.Headers) -> float | None:
    """``Retry-After`` in seconds, as a number or a date (RFC 9110 section 10.2.3)."""
    text = headers.get("retry-after", "")
    if text.isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
        sent = parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError):
        return None
    return max(0.0, (until - sent).total_seconds())


def _validator(headers: httpx.Headers) -> str:
    """What ``If-Range`` may carry: a strong ETag, or the time of change (RFC 9110 13.1.5)."""
    etag: str = headers.get("etag", "")
    if etag and not etag.startswith("W/"):
        return etag
    modified: str = headers.get("last-modified", "")
    return modified


def _range_start(headers: httpx.Headers) -> tuple[int, int | None] | None:
    match = re.match(r"bytes (\d+)-\d+/(\d+|\*)$", headers.get("content-range", ""))
    if match is None:
        return None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _length(headers: httpx.Headers) -> int | None:
    text = headers.get("content-length", "")
    return int(text) if text.isdigit() else None


class Transfer:
    """Moves files for one staging; used by several tasks at once.

    :param on_bytes: called with (file, bytes that have arrived so far) as it goes on.
    """

    def __init__(
        self,
        store: ObjectStore,
        http: httpx.AsyncClient,
        egress: Egress,
        on_bytes: Callable[[PlannedFile, int], None],
        *,
        part_size: int = PART_SIZE,
        first_pause: float = 0.5,
    ) -> None:
        self._store = store
        self._http = http
        self._egress = egress
        self._on_bytes = on_bytes
        self._part_size = part_size
        self._first_pause = first_pause

    async def bring(self, file: PlannedFile) -> StoredFile:
        """Bring the file, or find that an equal one is there.

        :raises DamagedData: when what arrived is not what was stated; nothing is visible then.
        :raises StorageFull: when the store has no room.
        :raises UpstreamError: when the source fails for good.
        """
        if present := await self._present(file):
            self._on_bytes(file, present.size)
            return present
        if isinstance(file.source, ObjectAddress):
            if copied := await self._copied(file, file.source):
                return copied
            return await self._pour(file, self._object_chunks(file.source), {})
        facts: dict[str, str] = {}
        return await self._pour(file, self._http_chunks(file, file.source, facts), facts)

    # -- what is there already -------------------------------------------------------------

    async def _present(self, file: PlannedFile) -> StoredFile | None:
        head = await asyncio.to_thread(self._store.find, file.address)
        if head is None or not re.fullmatch("[0-9a-f]{64}", head.metadata.get("sha256", "")):
            return None
        if file.size is not None and file.size != head.size:
            return None
        if not await self._same(file, head):
            return None
        return StoredFile(head.size, head.metadata["sha256"], fresh=False)

    async def _same(self, file: PlannedFile, head: ObjectHead) -> bool:
        if file.checksum is not None:
            return file.checksum.digest.hex() in (
                head.metadata["sha256"],
                head.metadata.get("source-digest"),
            )
        if isinstance(file.source, ObjectAddress):
            source = await asyncio.to_thread(self._store.head, file.source)
            same_bytes = source.metadata.get("sha256") == head.metadata["sha256"]
            return source.size == head.size and same_bytes
        # Nothing was stated, so the source is asked what it has now.
        try:
            async with open_response(
                self._http,
                self._egress,
                "HEAD",
                file.source,
                headers={"Accept-Encoding": "identity"},
                timeout=_TIMEOUT,
            ) as response:
                if response.status_code != 200 or _length(response.headers) != head.size:
                    return False
                stamp = _validator(response.headers)
        except UpstreamError:
            # A source that does not say is fetched again, with all patience.
            return False
        return bool(stamp) and quote(stamp, safe="") == head.metadata.get("source-validator")

    async def _copied(self, file: PlannedFile, source: ObjectAddress) -> StoredFile | None:
        """Copy inside the store, where the source was verified when it was written."""
        head = await asyncio.to_thread(self._store.head, source)
        digest = head.metadata.get("sha256", "")
        if not digest or head.size > _COPY_LIMIT or source == file.address:
            return None
        if file.size not in (None, head.size):
            raise self._damaged(file, f"it has {head.size} bytes, not {file.size} as stated")
        if file.checksum is not None and file.checksum.digest.hex() != digest:
            # Another algorithm, or other bytes: reading them will tell.
            return None
        await asyncio.to_thread(
            self._store.copy,
            source,
            file.address,
            content_type=_content_type(file.media_type),
            metadata={"sha256": digest},
        )
        self._on_bytes(file, head.size)
        return StoredFile(head.size, digest, fresh=True)

    # -- sources ---------------------------------------------------------------------------

    async def _object_chunks(self, source: ObjectAddress) -> AsyncGenerator[bytes | None]:
        head = await asyncio.to_thread(self._store.head, source)
        step = 8 * 1024 * 1024
        for start in range(0, head.size, step):
            yield await asyncio.to_thread(
                self._store.get, source, start=start, length=min(step, head.size - start)
            )

    async def _http_chunks(
        self, file: PlannedFile, url: str, facts: dict[str, str]
    ) -> AsyncGenerator[bytes | None]:
        """The bytes of a URL; None means: forget what came so far, it starts anew.

        :param facts: filled with ``source-validator`` for the object's metadata.
        """
        download = _Download(file)
        tries = 0
        while True:
            tries += 1
            try:
                async with open_response(
                    self._http,
                    self._egress,
                    "GET",
                    url,
                    headers=download.headers(),
                    timeout=_TIMEOUT,
                ) as response:
                    if download.begins_anew(response):
                        yield None
                    facts["source-validator"] = quote(download.validator, safe="")
                    async for chunk in download.read(response):
                        yield chunk
                return
            except (httpx.HTTPError, UpstreamError, _Again) as error:
                if isinstance(error, UpstreamError) and not error.retryable:
                    raise
                download.failures += 1
                if download.failures >= _TRIES_WITHOUT_PROGRESS or tries >= _TRIES:
                    raise self._given_up(file, url, error) from error
                pause = error.pause if isinstance(error, _Again) else None
                if pause is None:
                    pause = self._first_pause * 2 ** (download.failures - 1)
                    pause *= random.uniform(0.7, 1.3)  # noqa: S311  # spreads retries, no secret
                await asyncio.sleep(min(pause, _LONGEST_PAUSE))
                if not download.resumable and download.received:
                    download.restart()
                    yield None

    @staticmethod
    def _given_up(file: PlannedFile, url: str, error: Exception) -> CScaleError:
        reason = explained(error, url).message if isinstance(error, httpx.HTTPError) else str(error)
        return UpstreamError(
            f"{file.label} could not be fetched from {urlsplit(url).hostname}: {reason}",
            hint="The source has trouble; try again later.",
            retryable=True,
        )

    # -- into the store --------------------------------------------------------------------

    async def _pour(
        self,
        file: PlannedFile,
        chunks: AsyncGenerator[bytes | None],
        facts: dict[str, str],
    ) -> StoredFile:
        pouring = _Pouring(self._store, file, self._part_size)
        try:
            async with aclosing(chunks) as stream:
                async for chunk in stream:
                    if chunk is None:
                        await pouring.restart()
                    else:
                        await pouring.add(chunk)
                    self._on_bytes(file, pouring.size)
            return await pouring.finish(facts)
        except BaseException:
            # Also when canceled: no part may stay behind unseen.
            await asyncio.shield(pouring.abort())
            raise

    @staticmethod
    def _damaged(file: PlannedFile, why: str) -> DamagedData:
        return damaged(file, why)


def damaged(file: PlannedFile, why: str) -> DamagedData:
    """The error for a file that is not what the item says."""
    return DamagedData(
        f"{file.label} is damaged: {why}.",
        hint="The provider's copy differs from what its catalogue says; tell the provider.",
        item=file.item,
        asset=file.asset,
    )


class _Download:
    """The state of one HTTP download over several requests."""

    def __init__(self, file: PlannedFile) -> None:
        self._file = file
        self._total: int | None = None
        self.received = 0
        self.failures = 0
        self.validator = ""
        self.resumable = True

    def restart(self) -> None:
        self.received = 0
        self._total = None
        self.validator = ""
        self.resumable = True

    def headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", "Accept": "*/*"}
        if self.received:
            headers["Range"] = f"bytes={self.received}-"
            if self.validator:
                headers["If-Range"] = self.validator
        return headers

    def begins_anew(self, response: httpx.Response) -> bool:
        """Look at the answer's head; whether what came before has to be forgotten.

        :raises _Again: when the request is worth another try.
        :raises UpstreamError: when it is not.
        """
        status, headers = response.status_code, response.headers
        host = response.url.host
        if status in _RETRY_STATUS:
            raise _Again(f"{host} answered with status {status}", _pause(headers))
        if status == 416 and self.received:
            self.resumable = False
            raise _Again(f"{host} does not have the rest of the file")
        if status in (401, 403):
            raise UpstreamError(
                f"{host} does not give {self._file.label} without a login (status {status}).",
                hint="Choose the same product at another provider.",
            )
        if status == 206 and self.received:
            begin = _range_start(headers)
            if begin is None or begin[0] != self.received or begin[1] not in (None, self._total):
                self.resumable = False
                raise _Again(f"{host} sent another part of the file than was asked")
            return False
        if status != 200:
            raise UpstreamError(
                f"{host} does not give {self._file.label}: it answered with status {status}.",
            )
        anew = self.received > 0
        self.restart()
        plain = headers.get("content-encoding", "identity") == "identity"
        self.resumable = plain
        self.validator = _validator(headers) if plain else ""
        self._total = _length(headers) if plain else None
        if self._total is not None and self._file.size not in (None, self._total):
            raise damaged(
                self._file, f"the source has {self._total} bytes, not {self._file.size} as stated"
            )
        is_page = headers.get("content-type", "").startswith("text/html")
        if is_page and "html" not in self._file.media_type:
            raise UpstreamError(
                f"{host} answered with a web page instead of {self._file.label}.",
                hint="It may ask for a login; choose the same product at another provider.",
            )
        return anew

    async def read(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """The bytes of this answer.

        :raises _Again: when it ends before it should.
        """
        raw = response.headers.get("content-encoding", "identity") == "identity"
        async for chunk in response.aiter_raw() if raw else response.aiter_bytes():
            self.received += len(chunk)
            self.failures = 0
            yield chunk
        if self._total is not None and self.received < self._total:
            raise _Again("the connection ended before the file did")


class _Pouring:
    """Takes chunks, hashes them, and writes them as one object or as parts."""

    def __init__(self, store: ObjectStore, file: PlannedFile, part_size: int) -> None:
        self._store = store
        self._file = file
        # A stated size decides; without one, parts are as large as a 10,000th of the largest.
        self._part_size = max(part_size, (file.size or 0) // (MAX_PARTS - 1) + 1)
        self._upload: Upload | None = None
        self._begin()

    def _begin(self) -> None:
        self._buffer = bytearray()
        self._sha256: Any = Multihash("sha256", b"").hasher()
        self._stated: Any = self._file.checksum.hasher() if self._file.checksum else None
        self.size = 0

    async def restart(self) -> None:
        await self.abort()
        self._begin()

    async def add(self, chunk: bytes) -> None:
        self._buffer += chunk
        self.size += len(chunk)
        self._sha256.update(chunk)
        if self._stated is not None:
            self._stated.update(chunk)
        if self._file.size is not None and self.size > self._file.size:
            raise damaged(self._file, f"it has more than the stated {self._file.size} bytes")
        while len(self._buffer) > self._part_size:
            if self._upload is None:
                await self._start()
            part = bytes(self._buffer[: self._part_size])
            del self._buffer[: self._part_size]
            if self._upload is not None:
                await asyncio.to_thread(self._upload.part, part)

    async def _start(self) -> None:
        starting = asyncio.ensure_future(
            asyncio.to_thread(
                self._store.start_upload,
                self._file.address,
                content_type=_content_type(self._file.media_type),
                metadata=self._metadata_before(),
            )
        )
        try:
            await asyncio.shield(starting)
        finally:
            # Also when canceled meanwhile: an upload that began must be known to be aborted.
            self._upload = await starting

    async def finish(self, facts: dict[str, str]) -> StoredFile:
        """Verify, and then make the object visible."""
        digest: str = self._sha256.hexdigest()
        if self._file.size is not None and self.size != self._file.size:
            raise damaged(self._file, f"it has {self.size} bytes, not {self._file.size} as stated")
        stated = self._file.checksum
        if stated is not None and self._stated.digest() != stated.digest:
            raise damaged(self._file, f"its {stated.algorithm} checksum is not the stated one")
        metadata = {"sha256": digest, **{k: v for k, v in facts.items() if v}}
        if stated is not None and stated.algorithm != "sha256":
            metadata["source-digest"] = stated.digest.hex()
        data = bytes(self._buffer)
        if self._upload is None:
            await self._finish_small(data, metadata)
        else:
            await self._finish_large(data, metadata)
        return StoredFile(self.size, digest, fresh=True)

    async def _finish_small(self, data: bytes, metadata: dict[str, str]) -> None:
        if self._is_geotiff:
            await asyncio.to_thread(rasters.check_bytes, data, self._file.label)
        await asyncio.to_thread(
            self._store.put,
            self._file.address,
            data,
            content_type=_content_type(self._file.media_type),
            metadata=metadata,
        )

    async def _finish_large(self, data: bytes, metadata: dict[str, str]) -> None:
        if self._upload is None:
            return
        address = self._file.address
        if data:
            await asyncio.to_thread(self._upload.part, data)
        await asyncio.to_thread(self._upload.complete)
        self._upload = None
        if self._is_geotiff:
            url = await asyncio.to_thread(self._store.presign, address, 600)
            try:
                await asyncio.to_thread(rasters.check_url, url, self._file.label)
            except DamagedData:
                await asyncio.to_thread(self._store.delete, address)
                raise
        if metadata != self._metadata_before() and self.size <= _COPY_LIMIT:
            # The digest was not known when the upload began; a copy onto itself adds it.
            await asyncio.to_thread(
                self._store.copy,
                address,
                address,
                content_type=_content_type(self._file.media_type),
                metadata=metadata,
            )

    async def abort(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            await asyncio.to_thread(upload.abort)

    @property
    def _is_geotiff(self) -> bool:
        return rasters.is_geotiff(self._file.media_type, self._file.address.key)

    def _metadata_before(self) -> dict[str, str]:
        stated = self._file.checksum
        if stated is not None and stated.algorithm == "sha256":
            return {"sha256": stated.digest.hex()}
        return {}


def stated_checksum(text: Any) -> Multihash | None:
    """The checksum an asset states, or None where it states none.

    :raises InvalidInput: when it cannot be checked here.
    """
    return parse_multihash(text) if isinstance(text, str) and text else None
