"""Items of results, completed from the files themselves: what a back end did not say of its output.

Many openEO back ends describe their results without projection or bands, and then no ``load_stac``
can use them. When such files have been staged to our own store, their headers are read there.
"""

from __future__ import annotations

import asyncio
import copy
from pathlib import PurePosixPath
from typing import Any

from cscale_core.addresses import ObjectAddress, parse
from cscale_core.errors import DamagedData, InvalidInput
from cscale_core.ingest.older_members import modern_asset
from cscale_core.site import Site

_GRID = ("proj:shape", "proj:transform", "proj:bbox")


def lacks_members(asset: dict[str, Any], name: str) -> bool:
    """Whether an asset is data in a raster, and does not say enough to be loaded."""
    if "data" not in asset.get("roles", ("data",)) or not _looks_like_raster(asset, name):
        return False
    placed = asset.get("proj:code") or asset.get("proj:wkt2") or asset.get("proj:projjson")
    grid = sum(1 for member in _GRID if asset.get(member))
    bands = asset.get("bands") or []
    named = bool(bands) and all(isinstance(band, dict) and band.get("name") for band in bands)
    return not placed or grid < len(_GRID) or not named


def _looks_like_raster(asset: dict[str, Any], name: str) -> bool:
    said = str(asset.get("type") or "").partition(";")[0].strip().lower()
    known = (".tif", ".tiff", ".jp2")
    return said in ("image/tiff", "image/jp2") or PurePosixPath(name).suffix.lower() in known


async def complete_asset(
    asset: dict[str, Any], address: ObjectAddress, site: Site
) -> dict[str, Any]:
    """The asset with the members that its file's header knows and it does not.

    What the asset says itself stays, but for a list of bands of another length than the file's.
    Without a change when it says enough, is no raster, or its file has no place on the Earth.

    :param address: where the file lies in our store.
    """
    if not lacks_members(asset, address.key):
        return asset
    return await asyncio.to_thread(_completed, asset, address, site)


async def complete_item(item: dict[str, Any], site: Site) -> dict[str, Any]:
    """A copy of an item whose assets in our store are complete, and which says where it lies.

    :param item: with our addresses, as it is about to be published.
    """
    changed = copy.deepcopy(item)
    grown = False
    for key, asset in changed["assets"].items():
        try:
            address = parse(str(asset.get("href", "")), site)
        except InvalidInput:
            continue  # it names no object of ours
        if address is not None:
            changed["assets"][key] = await complete_asset(asset, address, site)
            grown = grown or changed["assets"][key] is not asset
    if grown:
        await asyncio.to_thread(_extended, changed)
    return changed


def _completed(asset: dict[str, Any], address: ObjectAddress, site: Site) -> dict[str, Any]:
    # Here and below: rasterio, which a server should load in a thread and only when it must.
    from cscale_core.ingest.raster_members import raster_members
    from cscale_core.raster import ObjectStoreAccess

    try:
        with ObjectStoreAccess(site.s3.endpoint, site.s3.region).environment(anew=True):
            known = raster_members(f"/vsis3/{address.bucket}/{address.key}", statistics=False)
    except DamagedData:
        # A picture without a place: the transfer has found that it can be read.
        return asset
    said = {name: value for name, value in modern_asset(asset).items() if value is not None}
    bands = _joined(said.pop("bands", None), known["bands"])
    return known | said | {"type": known["type"], "bands": bands}


def _joined(said: Any, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not isinstance(said, list) or len(said) != len(known):
        return known
    return [
        header | (band if isinstance(band, dict) else {})
        for header, band in zip(known, said, strict=True)
    ]


def _extended(item: dict[str, Any]) -> None:
    """Extensions, pixels and place of the whole item, after its assets."""
    from cscale_core.ingest.item_members import extensions_of, place_of, shared_projection
    from cscale_core.ingest.outline import box_of

    item["properties"] = shared_projection(item["assets"]) | item["properties"]
    place = place_of(item["assets"])
    if place is not None and all(
        asset.get("proj:bbox")
        for asset in item["assets"].values()
        if "data" in asset.get("roles", ("data",))
    ):
        item["geometry"], item["bbox"] = place, box_of(place)
    # Ours in place of other versions of the same.
    ours = extensions_of(item)
    bases = tuple(uri.rsplit("/", 2)[0] + "/" for uri in ours)
    stated = item.get("stac_extensions") or []
    others = [uri for uri in stated if isinstance(uri, str) and not uri.startswith(bases)]
    item["stac_extensions"] = [*others, *ours]
