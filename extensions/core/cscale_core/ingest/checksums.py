"""Checksums of the STAC File Extension: multihashes, written in hexadecimal.

Source: STAC File Extension v2.1.0 (``file:checksum``) and the multicodec table for the codes.
A code and a length are unsigned varints of one or two bytes here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from cscale_core.errors import InvalidInput

FILE_EXTENSION = "https://stac-extensions.github.io/file/v2.1.0/schema.json"

_SHA2_256 = 0x12
_ALGORITHMS = {
    0x11: "sha1",
    _SHA2_256: "sha256",
    0x13: "sha512",
    0x14: "sha3_512",
    0x15: "sha3_384",
    0x16: "sha3_256",
    0x17: "sha3_224",
    0x20: "sha384",
    0xD5: "md5",
    0x1013: "sha224",
}


@dataclass(frozen=True, slots=True)
class Multihash:
    """One checksum and the hashlib algorithm that makes it."""

    algorithm: str
    digest: bytes

    def hasher(self) -> Any:
        """A new hashlib object of this algorithm."""
        return hashlib.new(self.algorithm, usedforsecurity=False)


def _varint(data: bytes, start: int) -> tuple[int, int]:
    value, shift = 0, 0
    for index in range(start, min(start + 4, len(data))):
        value |= (data[index] & 0x7F) << shift
        shift += 7
        if not data[index] & 0x80:
            return value, index + 1
    raise ValueError("cut short")


def parse_multihash(text: str) -> Multihash:
    """A multihash in hexadecimal.

    :raises InvalidInput: when it is not one, or of an algorithm that cannot be computed here.
        A checksum that cannot be checked is never taken as checked.
    """
    try:
        data = bytes.fromhex(text)
        code, start = _varint(data, 0)
        length, start = _varint(data, start)
    except ValueError as error:
        raise InvalidInput(f"The checksum {text[:40]!r} is not a multihash.") from error
    algorithm = _ALGORITHMS.get(code)
    if algorithm is None or algorithm not in hashlib.algorithms_available:
        raise InvalidInput(f"Checksums of the multihash kind 0x{code:x} cannot be checked here.")
    digest = data[start:]
    if len(digest) != length or length != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise InvalidInput(f"The checksum {text[:40]!r} is cut short.")
    return Multihash(algorithm, digest)


def sha256_multihash(hexdigest: str) -> str:
    """``file:checksum`` for a SHA-256 given in hexadecimal."""
    return f"1220{hexdigest}"
