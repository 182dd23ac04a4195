"""An answer as one GeoJSON FeatureCollection, written item by item.

The report of the providers is in it: ``cscale:providers`` and ``cscale:complete``, so that a file
that is kept says by itself whether an archive was missing.
"""

from __future__ import annotations

import json
from typing import Any, TextIO

from cscale_cli.search.report import Outcome


def _text(value: Any) -> str:
    # ASCII: also what terminals take for control characters is escaped then.
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


class GeoJSONWriter:
    """Writes the features as they come and the other members at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._count = 0

    def add(self, item: dict[str, Any]) -> None:
        """Write one item."""
        start = ",\n" if self._count else '{"type":"FeatureCollection","features":[\n'
        self._stream.write(start + _text(item))
        self._count += 1

    def close(self, outcome: Outcome) -> None:
        """Write what is known at the end."""
        members: dict[str, Any] = {"numberReturned": self._count}
        if outcome.matched is not None:
            members["numberMatched"] = outcome.matched
        members["cscale:complete"] = outcome.complete
        members["cscale:providers"] = [report.model_dump() for report in outcome.reports]
        start = "" if self._count else '{"type":"FeatureCollection","features":['
        self._stream.write(f"{start}\n],{_text(members)[1:]}\n")
        self._stream.flush()
