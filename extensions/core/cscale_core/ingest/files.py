"""What is brought: one file from a source to its place in the store, and what became of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import DamagedData
from cscale_core.ingest.checksums import Multihash, parse_multihash, sha256_multihash

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

    @property
    def content_type(self) -> str:
        """The media type that the object gets."""
        stated = self.media_type
        if _MEDIA_TYPE.match(stated) and not any(word in stated.lower() for word in _ACTIVE):
            return stated
        return "application/octet-stream"

    def damaged(self, why: str, hint: str = "") -> DamagedData:
        """The error for a file that is not what the item says."""
        return DamagedData(
            f"{self.label} is damaged: {why}.",
            hint=hint
            or "The provider's copy differs from what its catalogue says; tell the provider.",
            item=self.item,
            asset=self.asset,
        )


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that lies in the store, verified. ``fresh`` is False when it was there already."""

    size: int
    sha256: str
    fresh: bool

    @property
    def multihash(self) -> str:
        return sha256_multihash(self.sha256)


def stated_checksum(text: Any) -> Multihash | None:
    """The checksum an asset states, or None where it states none.

    :raises InvalidInput: when it cannot be checked here.
    """
    return parse_multihash(text) if isinstance(text, str) and text else None
