"""The items that were found, kept whole while slim ones go out, in bounded memory.

Nothing is lost when an item is dropped or the server restarts: it is asked of its provider again.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json, to_json

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of compressed items; about fifty thousand items of twenty assets."""


class ItemStore:
    """Items by reference; those not looked at for longest are dropped first.

    Safe to use from several threads: writing many at once is done beside the event loop.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def put(self, items: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Keep items as they are now; one with a known reference replaces the older."""
        for ref, item in items:
            packed = zlib.compress(to_json(item), 1)
            with self._lock:
                self._bytes += len(packed) - len(self._kept.pop(ref, b""))
                self._kept[ref] = packed
                while self._bytes > self._max_bytes:
                    self._bytes -= len(self._kept.popitem(last=False)[1])

    def get(self, ref: str) -> dict[str, Any] | None:
        """A copy of an item, or None when it is not here (any more)."""
        with self._lock:
            packed = self._kept.get(ref)
            if packed is None:
                return None
            self._kept.move_to_end(ref)
        item: dict[str, Any] = from_json(zlib.decompress(packed))
        return item

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return self._bytes
