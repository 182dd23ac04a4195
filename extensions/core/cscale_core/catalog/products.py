"""Which items of different archives are the same product.

Missions name their products by a convention in which processing, orbit and time are part of the
name, so that two items with the same full name are the same product, whatever else the archives
call them. Names that an archive has shortened (Planetary Computer leaves the baseline out, Earth
Search writes its own) are not guessed at: such items state the full name in a property, or are
compared by id, collection and second.

Sources of the conventions: Sentinel-1 and Sentinel-2 Product Specification, Sentinel-3 PDGS File
Naming Convention (GMES-S3GS-EOPG-IF-15-01), Sentinel-5P Level 2 file naming (S5P-L2-DLR-PRD),
Landsat Collection 2 product identifiers (LSDS-1656).
"""

from __future__ import annotations

import re
from typing import Any

from cscale_core.catalog.interval import item_interval

_NAMES = tuple(
    re.compile(pattern)
    for pattern in (
        # Sentinel-1: mode, type and resolution, level and class, polarisation, start, stop, orbit,
        # datatake, checksum; _COG where the images were rewritten, which is another product.
        (
            r"S1[A-D]_[A-Z0-9]{2}_[A-Z]{3}[FHM_]_[0-2][AS][A-Z]{2}_\d{8}T\d{6}_\d{8}T\d{6}"
            r"_\d{6}_[0-9A-F]{6}_[0-9A-F]{4}(?:_COG)?"
        ),
        # Sentinel-2: level, datatake, baseline, relative orbit, tile, discriminator.
        r"S2[A-D]_MSIL[12][ABC]_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d{2}[A-Z]{3}_\d{8}T\d{6}",
        # Sentinel-3: instrument, level, type, start, stop, creation, instance, centre, class.
        (
            r"S3[A-D_]_[A-Z]{2}_[0-2_]_[A-Z0-9_]{6}_\d{8}T\d{6}_\d{8}T\d{6}_\d{8}T\d{6}"
            r"_[A-Z0-9_]{17}_[A-Z0-9_]{3}_[A-Z_]_[A-Z]{2}_[A-Z0-9_]{3}"
        ),
        # Sentinel-5P: stream, type, start, stop, orbit, collection, processor, creation.
        r"S5P_[A-Z]{4}_[A-Z0-9_]{10}_\d{8}T\d{6}_\d{8}T\d{6}_\d{5}_\d{2}_\d{6}_\d{8}T\d{6}",
        # Landsat: sensor, correction, path and row, acquisition, processing, collection, tier.
        r"L[COTEM]\d{2}_L[A-Z0-9]{3}_\d{6}_\d{8}_\d{8}_\d{2}_(?:T1|T2|RT|A1|A2)",
    )
)
_PACKAGING = re.compile(r"(?:\.(?:SAFE|SEN3|EOF|zip|tar|gz|nc))+$", re.IGNORECASE)
# Where archives state the product's own name: Sentinel-2 (Earth Search, Planetary Computer), resto.
_STATED = (
    "s2:product_uri",
    "productIdentifier",
    "s1:product_identifier",
    "s3:product_name",
    "landsat:product_id",
    "title",
)


def product_name(item: dict[str, Any]) -> str | None:
    """The full name of the product by its mission's convention; None when none is stated."""
    properties = item["properties"]
    for stated in (item["id"], *(properties.get(name) for name in _STATED)):
        if not isinstance(stated, str):
            continue
        name = _PACKAGING.sub("", stated.strip())
        if any(pattern.fullmatch(name) for pattern in _NAMES):
            return name
    return None


def product_key(item: dict[str, Any]) -> str:
    """What the same product has in common at every archive.

    The product's name; where there is none, id, collection (without a provider before it) and
    second together: ids alone are unique in one collection of one archive only.
    """
    name = product_name(item)
    if name is not None:
        return name
    collection = str(item.get("collection") or "").rpartition("|")[2]
    sensed = item_interval(item["properties"])
    moment = sensed.start if sensed is not None else None
    second = "" if moment is None else moment.replace(microsecond=0).isoformat()
    return "\n".join((item["id"], collection, second))
