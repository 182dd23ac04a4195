"""Which bands of which items are opened, where and when each lies, and what it is called."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from cscale_core.errors import InvalidInput
from cscale_core.ingest.older_members import modern_asset
from cscale_core.ingest.raster_members import is_raster, raster_members
from cscale_core.raster import Source
from cscale_core.workflows.reading_places import Places
from cscale_core.workflows.results.items import moment_of, without_stamp

# Names that only count.
_UNNAMED = re.compile(r"^(b|band[ _-]?)?\d+$", re.IGNORECASE)
# Digital numbers that float32 holds exactly.
_SINGLE = frozenset({"int8", "uint8", "int16", "uint16", "float16", "float32"})
_OTHERS = {
    ".nc": "xarray.open_dataset",
    ".zarr": "xarray.open_zarr",
    ".parquet": "geopandas.read_parquet (pandas.read_parquet without a geometry)",
    ".geojson": "geopandas.read_file",
    ".gpkg": "geopandas.read_file",
    ".csv": "pandas.read_csv",
}


@dataclass(frozen=True)
class Layer:
    """One band of one file.

    :param key: the asset's key without the time in it.
    :param moment: what time it speaks of (UTC).
    :param single: whether float32 holds its values.
    """

    item: str
    asset: str
    key: str
    band: str
    title: str
    unit: str
    moment: np.datetime64
    source: Source
    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]
    single: bool

    @property
    def label(self) -> str:
        return f"{self.asset} of {self.item}"

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in its CRS."""
        a, _, c, _, e, f = self.transform[:6]
        height, width = self.shape
        return (c, f + height * e, c + width * a, f)


def layers_of(
    items: Sequence[Mapping[str, Any]], assets: Sequence[str] | None, places: Places
) -> list[Layer]:
    """The bands of the chosen rasters, by time, item and asset.

    :param assets: keys, also without the time in them; None: every raster with the role ``data``.
    :raises InvalidInput: when there are none, or a chosen asset is none.
    """
    found: list[Layer] = []
    seen: set[str] = set()
    for item in items:
        for key, asset in (item.get("assets") or {}).items():
            moment = moment_of(asset) or _item_moment(item)
            plain = without_stamp(key, moment) or key
            seen |= {key, plain}
            if assets is not None and not {key, plain} & set(assets):
                continue
            if not is_raster(_name(asset), str(asset.get("type") or "")) or _is_cube(asset):
                if assets is not None:
                    raise _another(key, asset)
                continue
            if assets is None and "data" not in asset.get("roles", ("data",)):
                continue
            found += _layers(str(item["id"]), key, plain, moment, item, asset, places)
    if assets is not None and (missing := [key for key in assets if key not in seen]):
        raise InvalidInput(
            f"There is no asset {', '.join(missing)}.",
            hint="There are: " + (", ".join(sorted(seen)) or "none") + ".",
        )
    if not found:
        first = next((a for item in items for a in (item.get("assets") or {}).items()), None)
        raise _another(*first) if first else InvalidInput("There are no files to open.")
    return sorted(found, key=lambda layer: (layer.moment, layer.item, layer.asset))


def variables(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    """The layers of each variable, by its name."""
    keys: dict[str, set[str]] = defaultdict(set)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for layer in layers:
        keys[layer.band].add(layer.key)
        counts[layer.item, layer.asset] += 1
    named: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        alone = counts[layer.item, layer.asset] == 1
        name = layer.band
        if _UNNAMED.match(name):
            name = layer.key if alone else f"{layer.key}_{name}"
        elif len(keys[name]) > 1:
            # Two bands of one name in one file differ by nothing; their asset has to do.
            name = layer.key if alone else f"{layer.key}_{name}"
        named[re.sub(r"\W", "_", name) or "values"].append(layer)
    return dict(named)


def _name(asset: Mapping[str, Any]) -> str:
    return str(asset.get("href", "")).partition("?")[0]


def _is_cube(asset: Mapping[str, Any]) -> bool:
    """Whether it is a netCDF, which may have dimensions of its own and xarray opens itself."""
    return _name(asset).lower().endswith(".nc") or "netcdf" in str(asset.get("type") or "").lower()


def _another(key: str, asset: Mapping[str, Any]) -> InvalidInput:
    name = _name(asset)
    suffix = f".{name.rpartition('.')[2].lower()}"
    tool = _OTHERS.get(suffix)
    hint = f"Download it and open it with {tool}." if tool else "Download it."
    return InvalidInput(
        f"{key} is no GeoTIFF ({asset.get('type') or 'of no stated type'}).", hint=hint
    )


def _item_moment(item: Mapping[str, Any]) -> datetime:
    properties = item.get("properties") or {}
    for name in ("datetime", "start_datetime"):
        if moment := moment_of({"datetime": properties.get(name)}):
            return moment
    return datetime(1970, 1, 1, tzinfo=UTC)


def _layers(
    item_id: str,
    key: str,
    plain: str,
    moment: datetime,
    item: Mapping[str, Any],
    asset: Mapping[str, Any],
    places: Places,
) -> list[Layer]:
    said = _inherited(item, modern_asset(asset))
    if not _says_enough(said):
        # One request for the header, where the item does not tell.
        header: dict[str, Any] = places.open(
            item_id, key, lambda href: raster_members(href, statistics=False)
        )
        said = said | header | {"bands": _named_bands(said, header)}
    transform = tuple(float(value) for value in said["proj:transform"][:6])
    height, width = said["proj:shape"]
    layers = []
    for number, band in enumerate(said["bands"], start=1):
        known = {name: said.get(name) for name in ("data_type", "unit")} | band
        layers.append(
            Layer(
                item=item_id,
                asset=key,
                key=plain,
                band=str(band.get("name") or f"b{number}"),
                title=str(asset.get("title") or key),
                unit=str(known.get("unit") or ""),
                moment=np.datetime64(moment.replace(tzinfo=None), "ns"),
                source=Source.from_asset(said, href=str(asset["href"]), band=number),
                crs=str(said.get("proj:code") or said["proj:wkt2"]),
                transform=transform,
                shape=(int(height), int(width)),
                single=known.get("data_type") in _SINGLE,
            )
        )
    return layers


def _inherited(item: Mapping[str, Any], asset: dict[str, Any]) -> dict[str, Any]:
    """The asset with the item's projection, where it states none of its own."""
    properties = modern_asset(item.get("properties") or {})
    shared = {name: value for name, value in properties.items() if name.startswith("proj:")}
    own = {name: value for name, value in asset.items() if value is not None}
    return {name: value for name, value in shared.items() if value is not None} | own


def _says_enough(said: Mapping[str, Any]) -> bool:
    bands = said.get("bands") or ()
    typed = all("data_type" in band or "data_type" in said for band in bands)
    placed = said.get("proj:code") or said.get("proj:wkt2")
    return bool(
        placed and said.get("proj:transform") and said.get("proj:shape") and bands and typed
    )


def _named_bands(said: Mapping[str, Any], header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The header's bands, by the item's names where it has as many."""
    own = said.get("bands") or []
    if len(own) != len(header["bands"]):
        return list(header["bands"])
    return [known | band for known, band in zip(header["bands"], own, strict=True)]
