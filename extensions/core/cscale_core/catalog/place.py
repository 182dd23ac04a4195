"""How far one provider has been read: what a cursor remembers of it between two merged pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

from cscale_core.catalog.wire import Request

Mode = Literal["", "asked", "checked", "own", "whole"]
MOST_FAILURES = 3
"""After so many failures in a row a provider is not asked again in this search."""
REMEMBERED = 8
"""Items and pages just taken from a provider that are known again when its pages shift."""


@dataclass(slots=True)
class Place:
    """Where to go on with one provider."""

    mode: Mode = ""
    """Empty: not begun. asked: it sorts; checked: its order was found right; own: its order is
    kept although it is not the one asked for; whole: read to its end and sorted here."""
    request: Request | None = None
    """The page to go on in; None: the first."""
    taken: int = 0
    """Items of that page (of everything, with ``whole``) that are behind us."""
    last: tuple[bytes, ...] = ()
    """Marks of the items taken last, the newest at the end."""
    behind: tuple[bytes, ...] = ()
    """Hashes of the requests for the pages read last, the one to go on in at the end."""
    reached: float | None = None
    """When the last of them was sensed, a POSIX time."""
    failures: int = 0
    """How often in a row it has failed."""
    done: bool = False
    """Whether it has nothing more."""
    count: int | None = None
    """How many items it has for the question, if that is known."""
    sent: tuple[str, ...] = field(default=())
    """The extensions of Item Search that it was asked with."""

    @property
    def open(self) -> bool:
        """Whether anything may still come from it."""
        return not self.done and self.failures < MOST_FAILURES


def mark(item: dict[str, Any]) -> bytes:
    """A short hash that names an item within its provider."""
    return short(f"{item.get('collection')}\n{item['id']}")


def short(text: str) -> bytes:
    """A hash of five bytes; two texts of some thousand have the same once in a million cases."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=5).digest()
