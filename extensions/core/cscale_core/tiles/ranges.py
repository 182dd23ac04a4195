"""Files read piece by piece, as GDAL asks, through our own guard instead of GDAL's HTTP.

GDAL would follow redirects to anywhere and cannot be stopped. Here every piece comes through
:mod:`cscale_core.http` or the object store, counts against what one question may cost, and ends
when nobody waits for the answer any more. Pieces are whole pages, kept for a while in memory that
is shared by all questions: moving the map reads a header once.
"""

from __future__ import annotations

import io
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import rasterio
from rasterio.abc import FileContainer
from rasterio.errors import RasterioError

from cscale_core.errors import CScaleError, DamagedData, InvalidInput, UpstreamTimeout

PAGE = 64 * 1024
"""Bytes of a page."""

MAX_BYTES = 48 * 1024 * 1024
"""Bytes that one question reads at most: a tile of three bands of a well laid out file needs 1."""

MAX_REQUESTS = 300
"""Requests that one question makes at most."""

SECONDS = 30.0
"""After so long nobody looks at that part of the map any more."""

_T = TypeVar("_T")

_KEPT_BYTES = 64 * 1024 * 1024
_KEPT_SECONDS = 30.0

_GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_CACHEMAX": 64,
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GDAL_NUM_THREADS": "1",
}


class GivenUp(CScaleError):
    """Nobody waits for the answer any more."""

    code = "given_up"


class Allowance:
    """What one question may still cost, and whether somebody waits for its answer.

    Safe to use from the thread that reads and from the one that gives up.
    """

    def __init__(
        self,
        *,
        seconds: float = SECONDS,
        max_bytes: int = MAX_BYTES,
        max_requests: int = MAX_REQUESTS,
    ) -> None:
        self._until = time.monotonic() + seconds
        self._bytes = max_bytes
        self._requests = max_requests
        self._given_up = False
        self._waiting: Future[Any] | None = None
        self._lock = threading.Lock()

    def give_up(self) -> None:
        """End what is under way; what is asked next fails at once."""
        with self._lock:
            self._given_up = True
            waiting = self._waiting
        if waiting is not None:
            waiting.cancel()

    def spend(self, size: int) -> float:
        """Take the cost of one request; gives the seconds that are left for it.

        :raises GivenUp: when nobody waits any more.
        :raises UpstreamTimeout: when the time is over.
        :raises InvalidInput: when the file takes more than one question may cost.
        """
        with self._lock:
            if self._given_up:
                raise GivenUp("The map was moved on.")
            left = self._until - time.monotonic()
            if left <= 0:
                raise UpstreamTimeout("The file was not read in time.", retryable=True)
            self._requests -= 1
            self._bytes -= size
            if self._requests < 0 or self._bytes < 0:
                raise InvalidInput(
                    "The file is not laid out to be looked at in parts.",
                    hint="Stage it, or zoom in: only cloud-optimised GeoTIFFs are quick to show.",
                )
            return left

    def wait(self, future: Future[_T], seconds: float) -> _T:
        """The outcome of a request that runs elsewhere.

        :raises GivenUp: when it was given up meanwhile.
        :raises UpstreamTimeout: when it takes longer.
        """
        with self._lock:
            self._waiting = future
            given_up = self._given_up
        if given_up:
            future.cancel()
        try:
            return future.result(seconds)
        except TimeoutError as error:
            future.cancel()
            raise UpstreamTimeout("The file was not read in time.", retryable=True) from error
        except CScaleError:
            raise
        except BaseException as error:
            if future.cancelled():
                raise GivenUp("The map was moved on.") from error
            raise
        finally:
            with self._lock:
                self._waiting = None


@dataclass(frozen=True)
class Begun:
    """How a file is when it is looked at.

    :ivar size: bytes of the whole.
    :ivar validator: another one when the file was written anew; empty: not told.
    :ivar head: its first page, where that came with the rest.
    """

    size: int
    validator: str = ""
    head: bytes = b""


class Source(Protocol):
    """A file of known size of which parts can be read. Its methods block."""

    @property
    def key(self) -> str:
        """Names the file among all that are read here; holds no secret."""

    @property
    def name(self) -> str:
        """For people."""

    def begin(self, allowance: Allowance) -> Begun:
        """How the file is now."""

    def read(self, start: int, length: int, allowance: Allowance) -> bytes:
        """``length`` bytes from ``start``; fewer only at the end of the file."""


@dataclass
class _Kept:
    """What is known of one file."""

    size: int
    validator: str
    since: float
    pages: OrderedDict[int, bytes] = field(default_factory=OrderedDict)


class Pages:
    """The pages of files that were read lately. Safe to use from several threads."""

    def __init__(self, max_bytes: int = _KEPT_BYTES, seconds: float = _KEPT_SECONDS) -> None:
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._files: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def size(self, source: Source, allowance: Allowance) -> int:
        """Bytes of a file; looked at again after a while, as it may have been written anew."""
        with self._lock:
            kept = self._files.get(source.key)
            if kept is not None and time.monotonic() - kept.since < self._seconds:
                self._files.move_to_end(source.key)
                return kept.size
        begun = source.begin(allowance)
        with self._lock:
            kept = self._files.get(source.key)
            if kept is None or (kept.size, kept.validator) != (begun.size, begun.validator):
                self._drop(source.key)
                kept = _Kept(begun.size, begun.validator, 0.0)
                self._files[source.key] = kept
            kept.since = time.monotonic()
        if len(begun.head) == min(PAGE, begun.size):
            self._keep(source.key, {0: begun.head})
        return begun.size

    def read(self, source: Source, start: int, length: int, allowance: Allowance) -> bytes:
        """Bytes of a file; the pages that are missing are read in as few requests as there are
        gaps between those that are kept."""
        size = self.size(source, allowance)
        end = min(start + length, size)
        if start >= end:
            return b""
        first, last = start // PAGE, (end - 1) // PAGE
        with self._lock:
            kept = self._files.get(source.key)
            have = {
                number: kept.pages[number]
                for number in range(first, last + 1)
                if kept is not None and number in kept.pages
            }
        for begin, stop in _gaps(first, last, have):
            data = source.read(begin * PAGE, min(stop * PAGE, size) - begin * PAGE, allowance)
            if len(data) != min(stop * PAGE, size) - begin * PAGE:
                raise DamagedData(f"{source.name} is shorter than was said.", retryable=True)
            got = {
                number: data[(number - begin) * PAGE : (number - begin + 1) * PAGE]
                for number in range(begin, stop)
            }
            have |= got
            self._keep(source.key, got)
        joined = b"".join(have[number] for number in range(first, last + 1))
        return joined[start - first * PAGE : end - first * PAGE]

    def clear(self) -> None:
        """Forget everything that was read."""
        with self._lock:
            for key in list(self._files):
                self._drop(key)

    def _keep(self, key: str, pages: dict[int, bytes]) -> None:
        with self._lock:
            kept = self._files.get(key)
            if kept is None:
                return  # dropped meanwhile
            for number, page in pages.items():
                self._bytes += len(page) - len(kept.pages.pop(number, b""))
                kept.pages[number] = page
            while self._bytes > self._max_bytes and self._files:
                self._drop(next(iter(self._files)))

    def _drop(self, key: str) -> None:
        kept = self._files.pop(key, None)
        if kept is not None:
            self._bytes -= sum(len(page) for page in kept.pages.values())


def _gaps(first: int, last: int, have: dict[int, bytes]) -> Iterator[tuple[int, int]]:
    """The runs (from, up to and without) of pages that are not there."""
    begin: int | None = None
    for number in range(first, last + 2):
        missing = number <= last and number not in have
        if missing and begin is None:
            begin = number
        elif not missing and begin is not None:
            yield begin, number
            begin = None


class _File(io.RawIOBase):
    """One file as GDAL reads it. A failure is kept for :func:`open_source` to raise."""

    def __init__(self, opened: _Opened) -> None:
        self._opened = opened
        self._at = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._opened.length}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        wanted = self._opened.length - self._at if size < 0 else size
        data = self._opened.read(self._at, max(0, wanted))
        self._at += len(data)
        return data


class _Opened(FileContainer):  # type: ignore[misc]
    """A folder with one file in it, for GDAL. Nothing else is found beside it."""

    def __init__(self, source: Source, pages: Pages, allowance: Allowance) -> None:
        self._source = source
        self._pages = pages
        self._allowance = allowance
        self.failure: CScaleError | None = None
        self.file = f"{uuid4().hex}.tif"
        self.length = pages.size(source, allowance)

    def read(self, start: int, length: int) -> bytes:
        if self.failure is not None:
            return b""
        try:
            return self._pages.read(self._source, start, length, self._allowance)
        except CScaleError as error:
            self.failure = error
            return b""

    def _is_it(self, path: str) -> bool:
        return path.rsplit("/", 1)[-1] == self.file

    def open(self, path: str, mode: str = "r", **kwargs: Any) -> _File:
        if not self._is_it(path):
            raise FileNotFoundError(path)
        return _File(self)

    def isfile(self, path: str) -> bool:
        return self._is_it(path)

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str) -> list[str]:
        return [self.file]

    def mtime(self, path: str) -> int:
        return 0

    def rm(self, path: str) -> None:
        raise PermissionError(path)

    def size(self, path: str) -> int:
        return self.length if self._is_it(path) else 0


@contextmanager
def open_source(
    source: Source, pages: Pages, allowance: Allowance, driver: str = "GTiff"
) -> Iterator[Any]:
    """A raster as rasterio's data set, for one thread.

    :param driver: the only format of GDAL that is tried, as some may name files of this machine.
    :raises DamagedData: when it cannot be opened or decoded.
    :raises CScaleError: what kept it from being read.
    """
    opened = _Opened(source, pages, allowance)
    try:
        with (
            rasterio.Env(**_GDAL),
            rasterio.open(opened.file, driver=driver, opener=opened) as dataset,
        ):
            yield dataset
    except RasterioError as error:
        if opened.failure is None:
            raise DamagedData(
                f"{source.name} cannot be read as a raster.",
                hint="It is damaged, or of a kind that is not shown.",
            ) from error
        raise opened.failure from error
    if opened.failure is not None:
        # GDAL may take missing bytes for missing values.
        raise opened.failure
