"""Code that loads the items that were chosen: xarray, openEO, GDAL, DuckDB.

It names the items by their references in the federation, so it runs in any server of the hub, with
the login and the addresses of whoever runs it. No signed address and no token is ever in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cscale_core.catalog.interval import item_interval
from cscale_core.codegen.python_text import comment, listed, literal
from cscale_core.errors import InvalidInput
from cscale_core.ingest.raster_members import is_raster

Kind = Literal["xarray", "openeo", "gdal", "duckdb"]

_MOST_BANDS = 50


@dataclass(frozen=True)
class Snippet:
    """A piece of code for one cell.

    :ivar notes: what whoever runs it should know, a sentence each.
    """

    kind: str
    title: str
    code: str
    notes: tuple[str, ...] = ()
    language: str = "python"


@dataclass(frozen=True)
class Chosen:
    """What was chosen.

    :ivar items: the items, in the order of ``refs``.
    :ivar bbox: west, south, east, north in degrees; None: all of them.
    :ivar assets: keys; empty: every raster with the role ``data``.
    :ivar backend: id of an openEO back end; empty: the site's first.
    """

    refs: Sequence[str]
    items: Sequence[Mapping[str, Any]]
    bbox: tuple[float, float, float, float] | None = None
    assets: tuple[str, ...] = ()
    backend: str = ""
    rasters: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rasters", self.assets or _rasters(self.items))

    @property
    def title(self) -> str:
        number = len(self.items)
        return f"{number} item{'s' if number != 1 else ''} chosen in the panel"


def snippet(kind: Kind, chosen: Chosen) -> Snippet:
    """The code of a kind.

    :raises InvalidInput: when nothing was chosen, or nothing of it can be loaded so.
    """
    if not chosen.items:
        raise InvalidInput("Nothing was chosen.", hint="Select items in the list or on the map.")
    return _KINDS[kind](chosen)


def _rasters(items: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Keys of rasters with the role ``data`` that every item has, in the first one's order."""
    found: list[dict[str, None]] = []
    for item in items:
        keys: dict[str, None] = {}
        for key, asset in (item.get("assets") or {}).items():
            roles = asset.get("roles")
            name = str(asset.get("href", "")).partition("?")[0]
            data = not isinstance(roles, list) or "data" in roles
            if data and is_raster(name, str(asset.get("type") or "")):
                keys[str(key)] = None
        found.append(keys)
    shared = [key for key in found[0] if all(key in keys for keys in found[1:])] if found else []
    return tuple(shared[:_MOST_BANDS])


def _require_rasters(chosen: Chosen) -> None:
    if not chosen.rasters:
        raise InvalidInput(
            "What was chosen has no raster that all of it shares.",
            hint="Choose items of one collection, or name the assets.",
        )


def _head(chosen: Chosen, imports: str) -> str:
    return f"{comment(chosen.title)}\n{imports}\n\nrefs = {listed(chosen.refs)}\n"


def _xarray(chosen: Chosen) -> Snippet:
    _require_rasters(chosen)
    arguments = [f"bands={literal(list(chosen.rasters))}"]
    if chosen.bbox is not None:
        arguments.append(f"bbox={literal(list(chosen.bbox))}")
    notes: tuple[str, ...] = ("Values are digital numbers: scale and offset are not applied.",)
    if not all(_is_placed(item, chosen.rasters) for item in chosen.items):
        arguments.append('crs="utm"')
        arguments.append("resolution=10")
        notes += ("The items do not state their projection: choose crs and resolution.",)
    arguments.append('chunks={"x": 2048, "y": 2048}')
    inside = "".join(f"    {argument},\n" for argument in arguments)
    code = (
        _head(
            chosen,
            "import odc.stac\nimport pystac\n\nfrom cscale_core.client import here",
        )
        + "items = [pystac.Item.from_dict(here().item(ref)) for ref in refs]\n"
        + f"data = odc.stac.load(\n    items,\n{inside})\n"
        + "data\n"
    )
    return Snippet("xarray", "xarray by odc-stac", code, notes)


def _is_placed(item: Mapping[str, Any], assets: Sequence[str]) -> bool:
    """Whether an item states projection and grid of its assets (Projection Extension)."""

    def states(part: Mapping[str, Any]) -> bool:
        code = part.get("proj:code") or part.get("proj:epsg") or part.get("proj:wkt2")
        return bool(code and part.get("proj:shape") and part.get("proj:transform"))

    properties = item.get("properties") or {}
    all_assets = item.get("assets") or {}
    return states(properties) or all(states(all_assets.get(key) or {}) for key in assets)


def _openeo(chosen: Chosen) -> Snippet:
    _require_rasters(chosen)
    collections = {str(item.get("collection") or "") for item in chosen.items}
    if len(collections) != 1 or collections == {""}:
        raise InvalidInput(
            "What was chosen is of several collections; openEO loads one.",
            hint="Choose items of one collection.",
        )
    times = [item_interval(dict(item.get("properties") or {})) for item in chosen.items]
    starts = [time.start for time in times if time is not None and time.start is not None]
    ends = [time.end for time in times if time is not None and time.end is not None]
    period = [min(starts).date().isoformat(), max(ends).date().isoformat()] if starts else None
    if period is not None:
        period[1] = f"{period[1]}T23:59:59Z"
    west, south, east, north = chosen.bbox or _box(chosen.items)
    code = (
        f"{comment(chosen.title)}\n"
        "from cscale_core.client import jobs\n"
        "from cscale_core.identity.openeo_login import connect\n\n"
        f"connection = connect({literal(chosen.backend) if chosen.backend else ''})\n"
        "cube = connection.load_collection(\n"
        f"    {literal(collections.pop())},\n"
        f'    spatial_extent={{"west": {west!r}, "south": {south!r}, '
        f'"east": {east!r}, "north": {north!r}}},\n'
        f"    temporal_extent={literal(period)},\n"
        f"    bands={literal(list(chosen.rasters))},\n"
        ")\n"
        'composite = cube.reduce_dimension(dimension="t", reducer="median")\n'
        '# job = jobs.openeo(composite.save_result("GTiff"), title="Composite")\n'
        "cube.metadata\n"
    )
    note = "The back end loads what it has of the collection at these dates, not these very items."
    return Snippet("openeo", "openEO", code, (note,))


def _box(items: Sequence[Mapping[str, Any]]) -> tuple[float, float, float, float]:
    boxes = [box for item in items if (box := _numbers(item.get("bbox"))) is not None]
    if not boxes:
        raise InvalidInput("The items say no place.", hint="Draw an area on the map.")
    west, south, east, north = zip(*boxes, strict=True)
    return min(west), min(south), max(east), max(north)


def _numbers(bbox: Any) -> tuple[float, float, float, float] | None:
    if not isinstance(bbox, list | tuple) or len(bbox) not in (4, 6):
        return None
    half = len(bbox) // 2
    try:
        west, south, east, north = (float(bbox[i]) for i in (0, 1, half, half + 1))
    except (TypeError, ValueError):
        return None
    return west, south, east, north


def _gdal(chosen: Chosen) -> Snippet:
    _require_rasters(chosen)
    code = (
        _head(
            chosen,
            "import rasterio\n\n"
            "from cscale_core.client import here\n"
            "from cscale_core.workflows.opening import open_items",
        )
        + "items = [here().item(ref) for ref in refs]\n"
        + f"assets = {literal(list(chosen.rasters))}\n\n"
        + "for item in items:\n"
        + "    for key in assets:\n"
        + "        # GDAL reads s3:// of the hub's store with your own credentials.\n"
        + '        with rasterio.open(item["assets"][key]["href"]) as dataset:\n'
        + '            print(item["id"], key, dataset.profile)\n\n'
        + "# All of them on one grid, scale and offset applied:\n"
        + "data = open_items(items, assets)\n"
        + "data\n"
    )
    return Snippet("gdal", "GDAL (rasterio)", code)


def _duckdb(chosen: Chosen) -> Snippet:
    code = (
        _head(
            chosen,
            "import duckdb\nimport stac_geoparquet.arrow\n\nfrom cscale_core.client import here",
        )
        + "items = [here().item(ref) for ref in refs]\n"
        + "scenes = stac_geoparquet.arrow.parse_stac_items_to_arrow(items).read_all()\n"
        + "duckdb.sql(\n"
        + '    "FROM scenes SELECT id, collection, datetime ORDER BY datetime"\n'
        + ").df()\n"
    )
    note = "The table has a column for each property; names with a colon are written in quotes."
    return Snippet("duckdb", "DuckDB", code, (note,))


_KINDS: Mapping[Kind, Callable[[Chosen], Snippet]] = {
    "xarray": _xarray,
    "openeo": _openeo,
    "gdal": _gdal,
    "duckdb": _duckdb,
}
