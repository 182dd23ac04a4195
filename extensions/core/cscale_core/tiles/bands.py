"""What of an item can be shown on a map: its bands, and pictures and indices made of them.

Bands are found by what they are called in common (Electro-Optical Extension v2.0.0), else by the
names that Sentinel-2 and Landsat give them. Nothing is read here; what an item does not say is
found out when its file is opened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from cscale_core.ingest.older_members import modern_asset
from cscale_core.workflows.results.items import moment_of, without_stamp

Kind = Literal["colours", "values", "classes", "unknown"]

TRUE_COLOUR = "true-colour"
_MOST_ASSETS = 100
_MOST_BANDS = 50

_DRIVERS = {
    ".tif": "GTiff",
    ".tiff": "GTiff",
    ".jp2": "JP2OpenJPEG",
}
_MEDIA_TYPES = {"image/tiff": "GTiff", "image/jp2": "JP2OpenJPEG"}
# Thumbnails and previews are pictures already, and often nowhere.
_NOT_SHOWN = frozenset({"thumbnail", "metadata"})
_VISUAL = re.compile(r"^(visual|tci)([_-]?10m)?$", re.IGNORECASE)
# Sentinel-2 MSI: the finest copy of a band has its own name or ends with its resolution.
_SENTINEL_2 = re.compile(r"^(B0[2348]|B8A|B1[12])(_?(10|20|60)m)?$", re.IGNORECASE)
_SENTINEL_2_NAMES = {
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B08": "nir",
    "B8A": "nir08",
    "B11": "swir16",
    "B12": "swir22",
}
_COMMON = frozenset({"blue", "green", "red", "nir", "nir08", "swir16", "swir22"})


@dataclass(frozen=True)
class Index:
    """A normalised difference (a - b) / (a + b) of two bands.

    :ivar bands: common names of a and b; of each the first that there is.
    """

    title: str
    bands: tuple[tuple[str, ...], tuple[str, ...]]
    limits: tuple[float, float]
    colormap: str


INDICES: Mapping[str, Index] = {
    # Rouse et al. 1974.
    "ndvi": Index("Vegetation (NDVI)", (("nir", "nir08"), ("red",)), (-0.2, 0.9), "rdylgn"),
    # McFeeters 1996.
    "ndwi": Index("Open water (NDWI)", (("green",), ("nir", "nir08")), (-0.8, 0.8), "brbg"),
    # Xu 2006.
    "mndwi": Index("Water (MNDWI)", (("green",), ("swir16",)), (-0.8, 0.8), "brbg"),
}


@dataclass(frozen=True)
class PixelClass:
    """One class of a classified raster (Classification Extension v2.0.0)."""

    value: int
    name: str
    colour: str


@dataclass(frozen=True)
class Band:
    """One band of one file.

    :ivar number: counts from 1.
    :ivar scale, offset: ``value = number * scale + offset``; None where the item does not say.
    :ivar limits: what most digital numbers lie between, where statistics say it.
    """

    asset: str
    number: int
    name: str
    title: str
    driver: str
    common: str = ""
    unit: str = ""
    data_type: str = ""
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    limits: tuple[float, float] | None = None
    classes: tuple[PixelClass, ...] = ()


@dataclass(frozen=True)
class Rendering:
    """One way to show an item.

    :ivar id: names it: ``true-colour``, the name of an index, ``asset|KEY`` or
        ``asset|KEY|NUMBER``.
    :ivar kind: ``unknown``: the item does not say, the file will.
    :ivar moment: what time it speaks of; None: as the item.
    :ivar series: the same for all assets that show the same at other times.
    """

    id: str
    title: str
    kind: Kind
    bands: tuple[Band, ...]
    index: str = ""
    moment: datetime | None = None
    series: str = ""

    @property
    def unit(self) -> str:
        return "" if self.index or len(self.bands) != 1 else self.bands[0].unit


@dataclass
class _Found:
    """What the assets of an item hold."""

    single: list[Rendering] = field(default_factory=list)
    visual: Rendering | None = None
    common: dict[str, Band] = field(default_factory=dict)


def renderings(item: Mapping[str, Any]) -> list[Rendering]:
    """What can be shown of an item, the most telling first."""
    found = _Found()
    for key, asset in list((item.get("assets") or {}).items())[:_MOST_ASSETS]:
        if isinstance(asset, Mapping):
            _look(found, str(key), asset, item)
    first: list[Rendering] = []
    if found.visual is not None:
        first.append(found.visual)
    elif all(name in found.common for name in ("red", "green", "blue")):
        bands = tuple(found.common[name] for name in ("red", "green", "blue"))
        first.append(Rendering(TRUE_COLOUR, "True colour", "colours", bands))
    for name, index in INDICES.items():
        pair = [
            next((found.common[one] for one in names if one in found.common), None)
            for names in index.bands
        ]
        if pair[0] is not None and pair[1] is not None:
            first.append(Rendering(name, index.title, "values", (pair[0], pair[1]), index=name))
    return [*first, *found.single]


def driver_of(asset: Mapping[str, Any]) -> str:
    """GDAL's format of an asset that can be shown; empty: it cannot."""
    said = str(asset.get("type") or "").partition(";")[0].strip().lower()
    if said in _MEDIA_TYPES:
        return _MEDIA_TYPES[said]
    try:
        path = urlsplit(str(asset.get("href", ""))).path
    except ValueError:
        return ""
    return _DRIVERS.get(PurePosixPath(path).suffix.lower(), "") if not said else ""


def _look(found: _Found, key: str, asset: Mapping[str, Any], item: Mapping[str, Any]) -> None:
    driver = driver_of(asset)
    roles = asset.get("roles")
    shown = not isinstance(roles, list) or not _NOT_SHOWN & {str(role) for role in roles}
    if not driver or not shown:
        return
    said = modern_asset(asset)
    listed = said.get("bands")
    described = [one for one in listed if isinstance(one, Mapping)] if listed else []
    bands = tuple(
        _band(key, number, said, one, driver)
        for number, one in enumerate(described[:_MOST_BANDS], start=1)
    )
    title = str(asset.get("title") or key)[:200]
    moment = moment_of(asset)
    if _is_visual(key, asset, bands):
        found.visual = Rendering(
            TRUE_COLOUR, "True colour", "colours", bands[:3] or _unnamed(key, said, driver, 3)
        )
        return
    if not bands:
        bands = _unnamed(key, said, driver, 1)
        kind: Kind = "unknown"
        if common := bands[0].common:
            found.common = _with(found.common, common, bands[0])
            kind = "values"
        found.single.append(
            Rendering(f"asset|{key}", title, kind, bands, moment=moment, series=_plain(key, moment))
        )
        return
    for band in bands:
        if band.common:
            found.common = _with(found.common, band.common, band)
        alone = len(bands) == 1
        found.single.append(
            Rendering(
                f"asset|{key}" if alone else f"asset|{key}|{band.number}",
                title if alone else f"{title}: {band.title}",
                "classes" if band.classes else "values",
                (band,),
                moment=moment,
                series=_plain(key, moment) + ("" if alone else f"|{band.number}"),
            )
        )


def _is_visual(key: str, asset: Mapping[str, Any], bands: Sequence[Band]) -> bool:
    roles = asset.get("roles")
    said = bool(_VISUAL.match(key)) or (isinstance(roles, list) and "visual" in roles)
    return said and len(bands) in (0, 3, 4)


def _with(known: dict[str, Band], common: str, band: Band) -> dict[str, Band]:
    """The bands by their common names; COGs go before other formats, the first before others."""
    other = known.get(common)
    if other is None or (other.driver != "GTiff" and band.driver == "GTiff"):
        return known | {common: band}
    return known


def _unnamed(key: str, said: Mapping[str, Any], driver: str, count: int) -> tuple[Band, ...]:
    return tuple(_band(key, number, said, {}, driver) for number in range(1, count + 1))


def _band(
    key: str, number: int, said: Mapping[str, Any], own: Mapping[str, Any], driver: str
) -> Band:
    """One band; what it does not say itself its asset says for all."""

    def told(name: str) -> Any:
        return own.get(name, said.get(name))

    name = str(own.get("name") or f"b{number}")[:100]
    common = str(own.get("eo:common_name") or "").lower()
    if not common:
        common = _known_name(name) or (_known_name(key) if number == 1 else "")
    return Band(
        asset=key,
        number=number,
        name=name,
        title=str(own.get("title") or own.get("description") or name)[:200],
        driver=driver,
        common=common if common in _COMMON else "",
        unit=str(told("unit") or "")[:50],
        data_type=str(told("data_type") or "")[:20],
        scale=_number(told("raster:scale")),
        offset=_number(told("raster:offset")),
        nodata=_number(told("nodata")),
        limits=_limits(own.get("statistics") or said.get("statistics")),
        classes=_classes(told("classification:classes")),
    )


def _known_name(name: str) -> str:
    match = _SENTINEL_2.match(name)
    if match is not None:
        return _SENTINEL_2_NAMES[match[1].upper()]
    return name.lower() if name.lower() in _COMMON else ""


def _number(value: Any) -> float | None:
    """A number, or "nan", "inf", "-inf" as JSON has none of them."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _limits(said: Any) -> tuple[float, float] | None:
    """Two deviations around the mean, within the least and the largest."""
    if not isinstance(said, Mapping):
        return None
    low, high, mean, deviation = (
        _number(said.get(name)) for name in ("minimum", "maximum", "mean", "stddev")
    )
    if low is None or high is None or not low < high:
        return None
    if mean is not None and deviation is not None and deviation > 0:
        low, high = max(low, mean - 2 * deviation), min(high, mean + 2 * deviation)
    return (low, high) if low < high else None


def _classes(said: Any) -> tuple[PixelClass, ...]:
    if not isinstance(said, list):
        return ()
    found = []
    for one in said[:256]:
        if not isinstance(one, Mapping) or not isinstance(one.get("value"), int):
            continue
        colour = str(one.get("color_hint") or "")
        found.append(
            PixelClass(
                value=int(one["value"]),
                name=str(one.get("title") or one.get("description") or one.get("name") or "")[:200],
                colour=f"#{colour.lower()}" if re.fullmatch(r"[0-9A-Fa-f]{6}", colour) else "",
            )
        )
    return tuple(found)


def _plain(key: str, moment: datetime | None) -> str:
    """An asset's key without the time that it speaks of at its end."""
    return key if moment is None else without_stamp(key, moment) or key
