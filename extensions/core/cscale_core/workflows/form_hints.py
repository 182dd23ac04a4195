"""What a form may fill in by itself, said in the JSON schema of a workflow's parameters.

The member ``x-cscale`` of a property: its value comes from the map or from what was chosen there.
"""

from __future__ import annotations

from typing import Any

HINT = "x-cscale"

Hint = dict[str, Any]

AREA: Hint = {HINT: "bbox"}
"""west, south, east, north of the area on the map."""

PERIOD: Hint = {HINT: "period"}
"""First day, and the day after the last, of the dates on the map."""

INTERVALS: Hint = {HINT: "intervals"}
"""Several such pairs; the dates on the map are divided into two of the same length."""

COLLECTION: Hint = {HINT: "collection"}
"""Id of a collection, as the back end that computes knows it."""

BANDS: Hint = {HINT: "bands"}
"""Names of bands of that collection."""
