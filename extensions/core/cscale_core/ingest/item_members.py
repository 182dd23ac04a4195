"""What follows from an item's assets for the whole item: extensions, shared pixels, place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cscale_core.addresses import ALTERNATE_EXTENSION
from cscale_core.ingest.checksums import FILE_EXTENSION
from cscale_core.ingest.outline import outline, together
from cscale_core.ingest.raster_members import (
    EO_EXTENSION,
    PROJECTION_EXTENSION,
    RASTER_EXTENSION,
)

PROCESSING_EXTENSION = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"

_BY_PREFIX = {
    "proj": PROJECTION_EXTENSION,
    "raster": RASTER_EXTENSION,
    "eo": EO_EXTENSION,
    "file": FILE_EXTENSION,
    "processing": PROCESSING_EXTENSION,
    "alternate": ALTERNATE_EXTENSION,
}
_PROJECTION = ("proj:code", "proj:wkt2", "proj:shape", "proj:transform", "proj:bbox")


def extensions_of(item: Mapping[str, Any]) -> list[str]:
    """The extensions whose members an item has."""
    places = [item["properties"], *item["assets"].values()]
    places += [band for asset in item["assets"].values() for band in asset.get("bands") or ()]
    used = {name.partition(":")[0] for place in places for name in place}
    return [uri for prefix, uri in _BY_PREFIX.items() if prefix in used]


def shared_projection(assets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The projection members that all assets with the role ``data`` have in common, or none."""
    grids = [
        {key: asset[key] for key in _PROJECTION if key in asset}
        for asset in assets.values()
        if "data" in asset.get("roles", ("data",))
    ]
    if not grids or any(grid != grids[0] for grid in grids):
        return {}
    return grids[0]


def place_of(assets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The outlines of all assets that state a CRS and a box, as one geometry; None without any."""
    places = {
        (str(asset.get("proj:code") or asset["proj:wkt2"]), tuple(asset["proj:bbox"]))
        for asset in assets.values()
        if asset.get("proj:bbox") and (asset.get("proj:code") or asset.get("proj:wkt2"))
    }
    outlines = [found for place in sorted(places) if (found := outline(*place)) is not None]
    return together(outlines) if outlines else None
