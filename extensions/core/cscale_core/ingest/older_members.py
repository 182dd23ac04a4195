"""Assets written for STAC 1.0, in the words of STAC 1.1: ``bands`` and ``proj:code``.

``eo:bands`` and ``raster:bands`` are one list since STAC 1.1 (best practices, "Migrate to bands"),
``proj:epsg`` is ``proj:code`` since version 2 of the Projection Extension. Loaders look for either.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

_EO = ("common_name", "center_wavelength", "full_width_half_max", "solar_illumination")
_RASTER = ("scale", "offset", "spatial_resolution", "sampling", "bits_per_sample", "histogram")


def modern_asset(asset: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of an asset, its older members replaced."""
    changed = dict(asset)
    epsg = changed.pop("proj:epsg", None)
    if epsg and not changed.get("proj:code"):
        changed["proj:code"] = f"EPSG:{epsg}"
    optical = _listed(changed.pop("eo:bands", None))
    pixels = _listed(changed.pop("raster:bands", None))
    if not changed.get("bands") and (optical or pixels):
        changed["bands"] = [
            _with_prefix(one or {}, "eo", _EO) | _with_prefix(two or {}, "raster", _RASTER)
            for one, two in zip_longest(optical, pixels)
        ]
    return changed


def _listed(bands: Any) -> list[Mapping[str, Any]]:
    if not isinstance(bands, list):
        return []
    return [band if isinstance(band, Mapping) else {} for band in bands]


def _with_prefix(band: Mapping[str, Any], prefix: str, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        f"{prefix}:{name}" if name in names else name: value
        for name, value in band.items()
        if value is not None
    }
