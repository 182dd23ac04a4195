"""One file over HTTP, with patience: over several requests, connections and addresses.

A download that broke off goes on where it stopped, if the source knows ranges and the file did not
change meanwhile (``If-Range``); else it starts anew.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from cscale_core.errors import CScaleError, UpstreamError
from cscale_core.http import Egress, explained, open_response
from cscale_core.ingest.files import PlannedFile

TIMEOUT = httpx.Timeout(60.0, connect=10.0)

_TRIES_WITHOUT_PROGRESS = 5
_TRIES = 50
_RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
# What servers answer to a signed link that has ended, or to no login at all.
_REFUSED_STATUS = frozenset({401, 403, 410})
_LONGEST_PAUSE = 20.0

Renew = Callable[[PlannedFile, str], Awaitable[str | None]]
"""Gives an address of a file that works now, for one that was refused; None: there is none."""


class _Again(Exception):
    """The request may be tried again, after a pause in seconds if the source named one."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class _Refused(UpstreamError):
    """The address is not, or no longer, one that gives the file."""


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


def validator(headers: httpx.Headers) -> str:
    """What ``If-Range`` may carry: a strong ETag, or the time of change (RFC 9110 13.1.5)."""
    etag: str = headers.get("etag", "")
    if etag and not etag.startswith("W/"):
        return etag
    modified: str = headers.get("last-modified", "")
    return modified


def content_length(headers: httpx.Headers) -> int | None:
    """``Content-Length``, where it is given."""
    text = headers.get("content-length", "")
    return int(text) if text.isdigit() else None


def _range(headers: httpx.Headers) -> tuple[int | None, int | None]:
    """Where the bytes of an answer begin, and the size of the whole; None where it is not said."""
    match = re.match(r"bytes (\d+)-\d+/(\d+|\*)$", headers.get("content-range", ""))
    if match is None:
        return None, None
    return int(match[1]), None if match[2] == "*" else int(match[2])


class Download:
    """The state of one download.

    :ivar received: bytes that have arrived and hold.
    :ivar size: bytes of the whole file, as the source says.
    :ivar validator: by which the source knows whether the file is still the same.
    :ivar resumable: whether the rest can be asked for.
    """

    def __init__(
        self, file: PlannedFile, *, received: int = 0, size: int | None = None, validator: str = ""
    ) -> None:
        self._file = file
        self._failures = 0
        self.received = received
        self.size = size
        self.validator = validator
        self.resumable = True

    async def chunks(
        self,
        http: httpx.AsyncClient,
        egress: Egress,
        url: str,
        *,
        renew: Renew | None,
        first_pause: float,
    ) -> AsyncGenerator[bytes | None]:
        """The bytes that are missing; None means: forget what came so far, it starts anew.

        :raises UpstreamError: when the source fails for good.
        :raises DamagedData: when it has another size than was stated.
        """
        tries = 0
        renewed_at = -1
        while not self.size or self.received != self.size:
            tries += 1
            try:
                async with open_response(
                    http, egress, "GET", url, headers=self._headers(), timeout=TIMEOUT
                ) as response:
                    if self._begins_anew(response):
                        yield None
                    async for chunk in self._read(response):
                        yield chunk
                return
            except _Refused:
                # Once at each place: a fresh link that is refused too will not do.
                ask = renew if self.received != renewed_at else None
                fresh = await ask(self._file, url) if ask is not None else None
                if fresh is None or fresh == url:
                    raise
                renewed_at, url = self.received, fresh
            except (httpx.HTTPError, UpstreamError, _Again) as error:
                if isinstance(error, UpstreamError) and not error.retryable:
                    raise
                self._failures += 1
                if self._failures >= _TRIES_WITHOUT_PROGRESS or tries >= _TRIES:
                    raise self._given_up(url, error) from error
                pause = error.pause if isinstance(error, _Again) else None
                if pause is None:
                    pause = first_pause * 2 ** (self._failures - 1)
                    pause *= random.uniform(0.7, 1.3)  # noqa: S311  # spreads retries, no secret
                await asyncio.sleep(min(pause, _LONGEST_PAUSE))
                if not self.resumable and self.received:
                    self._restart()
                    yield None

    def _given_up(self, url: str, error: Exception) -> CScaleError:
        reason = explained(error, url).message if isinstance(error, httpx.HTTPError) else str(error)
        return UpstreamError(
            f"{self._file.label} could not be fetched from {urlsplit(url).hostname}: {reason}",
            hint="The source has trouble; try again later.",
            retryable=True,
        )

    def _restart(self) -> None:
        self.received = 0
        self.size = None
        self.validator = ""
        self.resumable = True

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", "Accept": "*/*"}
        if self.received:
            headers["Range"] = f"bytes={self.received}-"
            if self.validator:
                headers["If-Range"] = self.validator
        return headers

    def _begins_anew(self, response: httpx.Response) -> bool:
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
        if status in _REFUSED_STATUS:
            raise _Refused(
                f"{host} does not give {self._file.label} without a login, or the link has ended "
                f"(status {status}).",
                hint="Choose the same product at another provider, or take a fresh link.",
            )
        if status == 206 and self.received:
            start, size = _range(headers)
            if start != self.received or (size and self.size and size != self.size):
                self.resumable = False
                raise _Again(f"{host} sent another part of the file than was asked")
            self.size = self.size or size
            return False
        if status != 200:
            raise UpstreamError(
                f"{host} does not give {self._file.label}: it answered with status {status}.",
            )
        anew = self.received > 0
        self._restart()
        plain = headers.get("content-encoding", "identity") == "identity"
        self.resumable = plain
        self.validator = validator(headers) if plain else ""
        self.size = content_length(headers) if plain else None
        if self.size is not None and self._file.size not in (None, self.size):
            raise self._file.damaged(
                f"the source has {self.size} bytes, not {self._file.size} as stated"
            )
        is_page = headers.get("content-type", "").startswith("text/html")
        if is_page and "html" not in self._file.media_type:
            raise UpstreamError(
                f"{host} answered with a web page instead of {self._file.label}.",
                hint="It may ask for a login; choose the same product at another provider.",
            )
        return anew

    async def _read(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """The bytes of this answer.

        :raises _Again: when it ends before it should.
        """
        raw = response.headers.get("content-encoding", "identity") == "identity"
        async for chunk in response.aiter_raw() if raw else response.aiter_bytes():
            self.received += len(chunk)
            self._failures = 0
            yield chunk
        if self.size is not None and self.received < self.size:
            raise _Again("the connection ended before the file did")
