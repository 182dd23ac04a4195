"""Downloads to a folder: resumed, verified, several at a time; for notebooks and the command line.

What is there and right is not fetched again, what is there in part goes on where it ended, also
after the program was stopped. A file gets its name only when its size and checksum are found right.
Addresses that others named are asked under the guard of :mod:`cscale_core.http`.
"""

from __future__ import annotations

import asyncio
import os
import queue
import shutil
import threading
import warnings
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import (
    CScaleError,
    DamagedData,
    Forbidden,
    InvalidInput,
    LoginRequired,
    StorageFull,
)
from cscale_core.http import Egress, GuardedClient, guarded_client, open_response, site_egress
from cscale_core.ingest import local_parts
from cscale_core.ingest.checksums import Multihash
from cscale_core.ingest.download import TIMEOUT, Download, content_length
from cscale_core.ingest.download_plan import (
    Items,
    LocalFile,
    inside,
    plan_download,
    source_of,
)
from cscale_core.ingest.files import PlannedFile
from cscale_core.ingest.pace import bytes_in_words
from cscale_core.site import SITE_FILE_VARIABLE, Site, load_site

if TYPE_CHECKING:
    from cscale_core.objects import ObjectStore

AT_ONCE = 4
#: Links are asked for anew at most so often; a back end that signs nothing that holds is told of.
MOST_RENEWALS = 20

_PIECE = 8 * 1024 * 1024
_ENDING = (StorageFull, Forbidden, LoginRequired)

Progress = Callable[[int, int, int, int | None, str], object]


def download(
    items: Items,
    folder: Path | str,
    *,
    assets: Sequence[str] | None = None,
    fresh: Callable[[], Items] | None = None,
    progress: Progress | None = None,
    site: Site | None = None,
) -> list[Path]:
    """Bring the files of items into ``<folder>/<item>/``; the same call again goes on.

    Blocks. An interrupt (Ctrl-C) ends it and keeps what has arrived.

    :param assets: keys of the assets; None: all that can be read from here.
    :param fresh: gives the same items with links that work, when one was refused (401, 403, 410).
    :param progress: told in this thread, some times a second: files that are there, files, bytes
        that are there, bytes (None: not known), one line.
    :param site: default: the one of this server; without one, only public addresses are asked.
    :returns: the files, in the order of the items and their assets.
    :raises StorageFull: before anything is fetched when the folder has no room for what is known,
        or when the disk is full.
    :raises DamagedData: when a file is not what its item states.
    :raises CScaleError: when a source fails for good; the other files were still brought.
    """
    if site is None and os.environ.get(SITE_FILE_VARIABLE):
        site = load_site()
    target = Path(folder)
    planned = plan_download(items, target, assets, site)
    if not planned.files:
        raise InvalidInput(
            "There is no file that can be downloaded." if planned.left_out else "No files.",
            hint="; ".join(planned.left_out[:5]),
        )
    if planned.left_out and progress is None:
        warnings.warn("Not downloaded: " + "; ".join(planned.left_out), stacklevel=2)
    told: queue.SimpleQueue[tuple[int, int, int, int | None, str]] = queue.SimpleQueue()
    for sentence in planned.left_out:
        told.put((0, len(planned.files), 0, None, f"not downloaded: {sentence}"))
    work = _Downloads(planned.files, target, site, fresh, told)
    _in_a_thread(work, told, progress)
    return [local.path for local in planned.files]


def _in_a_thread(work: _Downloads, told: queue.SimpleQueue[Any], progress: Progress | None) -> None:
    """Run to the end; a loop of events may be running in this thread already (notebooks)."""
    thread = threading.Thread(target=work.run, name="download", daemon=True)
    thread.start()

    def tell() -> None:
        while not told.empty():
            news = told.get()
            if progress is not None:
                progress(*news)

    try:
        while thread.is_alive():
            thread.join(timeout=0.1)
            tell()
        tell()
    finally:
        # Reached by an interrupt, or by a progress that failed, while it still runs.
        work.stop()
        thread.join()
    if work.error is not None:
        raise work.error


class _Downloads:
    """All files of one call. Runs in a thread with a loop of its own."""

    def __init__(
        self,
        files: Sequence[LocalFile],
        folder: Path,
        site: Site | None,
        fresh: Callable[[], Items] | None,
        told: queue.SimpleQueue[Any],
    ) -> None:
        self.error: BaseException | None = None
        self._files = files
        self._folder = folder
        self._site = site
        self._told = told
        self._links = _Links(fresh, site)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = threading.Event()
        self._store: ObjectStore | None = None
        self._here: dict[Path, int] = {}
        self._done: set[Path] = set()
        total = [local.file.size for local in files]
        self._total = None if None in total else sum(size or 0 for size in total)

    # -- life ------------------------------------------------------------------------------

    def run(self) -> None:
        """Bring everything; what went wrong is in ``error``."""
        try:
            asyncio.run(self._run())
        except asyncio.CancelledError:
            # The caller knows why.
            pass
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        """End soon; what has arrived is kept."""
        self._stopped.set()
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(self._task.cancel)
            except RuntimeError:
                # It has just ended by itself.
                return

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        if self._stopped.is_set():
            return
        missing = await asyncio.to_thread(self._missing)
        async with _client(self._site) as http:
            await self._all(missing, http)

    async def _all(self, missing: Sequence[LocalFile], http: httpx.AsyncClient) -> None:
        failures: list[CScaleError] = []
        waiting = iter(missing)

        async def work() -> None:
            for local in waiting:
                try:
                    await self._one(local, http)
                except _ENDING as error:
                    raise self._with_kept(error) from error.__cause__
                except CScaleError as error:
                    failures.append(error)
                    self._tell(error.message)
                else:
                    self._done.add(local.path)
                    self._tell(f"{local.file.label} is here")

        tasks = [asyncio.create_task(work()) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            # How the others ended is told by the failure that made them stop.
            await asyncio.gather(*tasks, return_exceptions=True)
        if failures:
            raise self._with_kept(failures[0], len(failures))

    def _with_kept(self, error: CScaleError, count: int = 1) -> CScaleError:
        others = f"{count - 1} other files failed too. " if count > 1 else ""
        error.hint = (
            f"{error.hint} {others}{len(self._done)} of {len(self._files)} files are in "
            f"{self._folder} and what arrived of the others is kept; download again to go on."
        ).strip()
        return error

    def _tell(self, message: str) -> None:
        self._told.put(
            (len(self._done), len(self._files), sum(self._here.values()), self._total, message)
        )

    # -- before it starts ------------------------------------------------------------------

    def _missing(self) -> list[LocalFile]:
        """The files that are not there, after a look whether there is room for them."""
        missing, needed = [], 0
        for local in self._files:
            inside(local.path, self._folder)
            if local_parts.is_there(local):
                self._done.add(local.path)
                self._here[local.path] = local.path.stat().st_size
                self._tell(f"{local.file.label} is here already")
                continue
            missing.append(local)
            part = local_parts.kept(local).received
            needed += max(0, (local.file.size or 0) - part)
        free = shutil.disk_usage(self._folder).free if missing else 0
        if missing and needed > free:
            raise StorageFull(
                f"{bytes_in_words(needed)} are missing and {self._folder} has room for "
                f"{bytes_in_words(free)}.",
                hint="Nothing was fetched. Make room, choose another folder, or fewer files.",
            )
        return missing

    # -- one file --------------------------------------------------------------------------

    async def _one(self, local: LocalFile, http: httpx.AsyncClient) -> None:
        source = self._links.now(local.file)
        if isinstance(source, ObjectAddress):
            await self._object(local, source)
            return
        egress = _egress(self._site)
        file = local.file
        if local.path.is_file() and file.size is None and file.checksum is None:
            size = await _length(http, egress, source)
            if size is not None and await asyncio.to_thread(local_parts.is_there, local, size):
                self._here[local.path] = size
                return
        start = await asyncio.to_thread(local_parts.kept, local)
        try:
            await self._link(local, source, start, http)
        except DamagedData:
            if not start.received:
                raise
            # The part may have been of another version: once more from the beginning.
            await self._link(local, source, local_parts.Kept(), http)

    async def _link(
        self, local: LocalFile, source: str, start: local_parts.Kept, http: httpx.AsyncClient
    ) -> None:
        state = Download(
            local.file, received=start.received, size=start.size, validator=start.validator
        )
        renew = self._links.renew
        chunks = state.chunks(http, _egress(self._site), source, renew=renew, first_pause=0.5)
        await self._pour(local, start, chunks, state)

    async def _pour(
        self,
        local: LocalFile,
        start: local_parts.Kept,
        chunks: AsyncGenerator[bytes | None],
        state: Download,
    ) -> None:
        part = await asyncio.to_thread(local_parts.Part, local, start)
        here, noted = start.received, start.validator if start.received else None
        try:
            async with aclosing(chunks) as stream:
                async for chunk in stream:
                    if chunk is None:
                        await asyncio.to_thread(part.restart)
                        here, noted = 0, None
                        continue
                    if noted != state.validator:
                        await asyncio.to_thread(part.remember, state.size, state.validator)
                        noted = state.validator
                    await asyncio.to_thread(part.add, chunk)
                    here += len(chunk)
                    self._arrived(local, here)
            await asyncio.to_thread(part.finish)
        finally:
            # Also when it is stopped: what was written is flushed and kept.
            part.close()

    async def _object(self, local: LocalFile, source: ObjectAddress) -> None:
        store = await asyncio.to_thread(self._objects)
        head = await asyncio.to_thread(store.head, source)
        if local.file.size not in (None, head.size):
            raise local.file.damaged(
                f"the bucket has {head.size} bytes, not {local.file.size} as stated"
            )
        digest = _digest(head.metadata)
        if await asyncio.to_thread(local_parts.is_there, local, head.size, digest):
            self._here[local.path] = head.size
            return
        start = await asyncio.to_thread(local_parts.kept, local)
        if start.validator != head.etag or start.received > head.size:
            start = local_parts.Kept()
        part = await asyncio.to_thread(local_parts.Part, local, start)
        try:
            await asyncio.to_thread(part.remember, head.size, head.etag)
            for begin in range(start.received, head.size, _PIECE):
                length = min(_PIECE, head.size - begin)
                data = await asyncio.to_thread(store.get, source, start=begin, length=length)
                await asyncio.to_thread(part.add, data)
                self._arrived(local, begin + len(data))
            await asyncio.to_thread(part.finish, digest)
        finally:
            part.close()

    def _objects(self) -> ObjectStore:
        if self._store is None:
            # boto3, only where files are in our own store.
            from cscale_core.objects import ObjectStore

            if self._site is None:
                raise InvalidInput("There is no site whose object store could be asked.")
            self._store = ObjectStore(self._site)
        return self._store

    def _arrived(self, local: LocalFile, here: int) -> None:
        self._here[local.path] = here
        if self._told.empty():
            self._tell(f"fetching {local.file.label}")


class _Links:
    """Where each file is read now; fresh links are asked for once for all files that need some."""

    def __init__(self, fresh: Callable[[], Items] | None, site: Site | None) -> None:
        self._fresh = fresh
        self._site = site
        self._lock = asyncio.Lock()
        self._asked = 0
        self._sources: dict[tuple[str, str], str | ObjectAddress] = {}

    def now(self, file: PlannedFile) -> str | ObjectAddress:
        return self._sources.get((file.item, file.asset), file.source)

    async def renew(self, file: PlannedFile, refused: str) -> str | None:
        """Another address of the file than the refused one; None when there is none."""
        async with self._lock:
            if self.now(file) == refused and self._fresh is not None:
                if self._asked >= MOST_RENEWALS:
                    return None
                self._asked += 1
                for item in await asyncio.to_thread(self._fresh):
                    for key in item.get("assets") or {}:
                        if source := source_of(item, key, self._site):
                            self._sources[str(item["id"]), key] = source
            present = self.now(file)
        return present if isinstance(present, str) and present != refused else None


def _egress(site: Site | None) -> Egress:
    if site is None:
        return Egress(frozenset(), frozenset(), public=True)
    return site_egress(site, public=True)


def _client(site: Site | None) -> httpx.AsyncClient:
    return GuardedClient(_egress(None)) if site is None else guarded_client(site)


async def _length(http: httpx.AsyncClient, egress: Egress, url: str) -> int | None:
    """What the source says of the file's size; by GET, as a signed link is signed for that."""
    headers = {"Accept-Encoding": "identity", "Accept": "*/*"}
    async with open_response(http, egress, "GET", url, headers=headers, timeout=TIMEOUT) as answer:
        return content_length(answer.headers) if answer.status_code == 200 else None


def _digest(metadata: Mapping[str, str]) -> Multihash | None:
    """The SHA-256 that was noted at an object when it was verified."""
    text = metadata.get("sha256", "")
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        return None
    return Multihash("sha256", digest) if len(digest) == 32 else None
