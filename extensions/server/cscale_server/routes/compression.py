"""Answers that are worth it, compressed on their way: found items shrink to a fifth.

Jupyter Server compresses nothing by itself. Small answers stay as they are: nothing is to be won,
and those that hold something secret, such as a presigned link, are small.
"""

from __future__ import annotations

import zlib

SMALLEST = 16 * 1024
"""Bytes of an answer that is compressed."""

_LEVEL = 5
_GZIP = 31  # zlib's number for a window of 32 kB within a gzip header and trailer


def takes_gzip(accepted: str) -> bool:
    """Whether who sent this ``Accept-Encoding`` reads gzip (RFC 9110 section 12.5.3)."""
    for entry in accepted.split(","):
        name, _, weight = entry.replace(" ", "").lower().partition(";q=")
        if name in ("gzip", "*"):
            return weight.rstrip("0.") != "" if weight else True
    return False


class Compressor:
    """The pieces of one answer, each of which can be read as soon as it is there."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)

    def piece(self, data: bytes) -> bytes:
        """A further piece."""
        return self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def last(self, data: bytes = b"") -> bytes:
        """The last piece, or the whole answer."""
        return self._deflate.compress(data) + self._deflate.flush()
