"""Pages kept for a short while, so that the next merged page need not read them again.

A merged page ends in the middle of most providers' pages. What is kept are the answers as bytes:
they are small, and nobody can change them by accident.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

from cscale_core.http import Answer

_MOST_BYTES = 64 * 1024 * 1024
_FRESH = 300.0


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    since: float


class KeptPages:
    """Answers by provider and request; the ones used longest ago make room for others."""

    def __init__(self, most_bytes: int = _MOST_BYTES, fresh: float = _FRESH) -> None:
        self._most_bytes = most_bytes
        self._fresh = fresh
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    def get(self, provider: str, request: str) -> Answer | None:
        """The answer to this request, if it is still here and not too old."""
        kept = self._kept.get((provider, request))
        if kept is None or time.monotonic() - kept.since > self._fresh:
            return None
        self._kept.move_to_end((provider, request))
        return kept.answer

    def put(self, provider: str, request: str, answer: Answer) -> None:
        """Keep an answer; one that would take the place of all others is not kept."""
        if len(answer.data) > self._most_bytes // 4:
            return
        before = self._kept.pop((provider, request), None)
        if before is not None:
            self._bytes -= len(before.answer.data)
        self._kept[provider, request] = _Kept(answer, time.monotonic())
        self._bytes += len(answer.data)
        while self._bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.answer.data)
