"""Names of objects, made from the names that catalogues use, which are not ours to trust.

``<prefix>products/<collection>/<item-id>/<asset file name>``. Nothing that comes out of here has
a slash, a percent sign, a control character or a leading dot, is longer than a file name may be,
or equals the name made of another original.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from cscale_core.site import Grant

ITEM_FILE = "item.json"
"""The item itself, written last: an item is published when this object is there."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
# File systems take 255 bytes; the rest is for suffixes of those who copy.
_LONGEST = 200
_SUFFIX = re.compile(r"(\.[A-Za-z0-9]{1,8}){1,2}$")
_BY_TYPE = {
    "application/geo+json": ".geojson",
    "application/json": ".json",
    "application/xml": ".xml",
    "image/jp2": ".jp2",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/tiff": ".tif",
    "text/xml": ".xml",
}


def safe_name(original: str) -> str:
    """One path segment for any text.

    Text that had to be changed ends in a hash of itself (before its file suffix), so that two
    different texts never become one name.
    """
    name = _UNSAFE.sub("_", original).lstrip(".")
    if name == original and name and len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(original.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    suffix = match.group() if (match := _SUFFIX.search(name)) else ""
    stem = name.removesuffix(suffix)[: _LONGEST - len(suffix) - len(digest) - 1]
    return f"{stem}-{digest}{suffix}" if stem else f"{digest}{suffix}"


def item_prefix(grant: Grant, collection: str, item_id: str) -> str:
    """Prefix of one item's objects in the grant's bucket; ends with ``/``."""
    root = grant.prefix
    if not root.endswith("products/"):
        root += "products/"
    return f"{root}{safe_name(collection)}/{safe_name(item_id)}/"


def _file_name(key: str, asset: dict[str, Any]) -> str:
    try:
        last = PurePosixPath(unquote(urlsplit(str(asset.get("href", ""))).path)).name
    except ValueError:
        # Not an address at all; the asset's own name serves.
        last = ""
    if _SUFFIX.search(last):
        return safe_name(last)
    media_type = str(asset.get("type") or "").partition(";")[0].strip().lower()
    return safe_name(key + _BY_TYPE.get(media_type, ""))


def asset_names(assets: dict[str, dict[str, Any]]) -> dict[str, str]:
    """A file name for each asset of an item, all different.

    Assets that would share a name (``R10m/B02.jp2``, ``R20m/B02.jp2``) get their key in front.
    The names depend on the whole item, not on which assets are staged, so that staging some now
    and others later gives the same names.
    """
    names = {key: _file_name(key, asset) for key, asset in assets.items()}
    taken = Counter(name.lower() for name in names.values())
    for key, name in names.items():
        if taken[name.lower()] > 1 or name.lower() == ITEM_FILE:
            names[key] = safe_name(f"{key}-{name}")
    # Keys made to collide on purpose end here: a slash cannot be in any other original.
    again = Counter(name.lower() for name in names.values())
    for key, name in names.items():
        if again[name.lower()] > 1 or name.lower() == ITEM_FILE:
            names[key] = safe_name(f"{key}/{name}")
    return names
