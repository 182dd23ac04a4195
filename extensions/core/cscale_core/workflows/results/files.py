"""What a result file is, as a STAC asset: its kind by looking, its pixels, size and checksum.

Needs rasterio. These functions block.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from cscale_core import addresses
from cscale_core.errors import DamagedData
from cscale_core.ingest.checksums import sha256_multihash
from cscale_core.ingest.raster_members import is_raster, raster_members
from cscale_core.site import Site

#: Media types by suffix; rasters are looked at.
MEDIA_TYPES = {
    ".csv": "text/csv",
    ".fgb": "application/vnd.flatgeobuf",
    ".geojson": "application/geo+json",
    ".gpkg": "application/geopackage+sqlite3",
    ".h5": "application/x-hdf5",
    ".html": "text/html",
    ".jp2": "image/jp2",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".md": "text/markdown",
    ".nc": "application/x-netcdf",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".txt": "text/plain",
    ".webp": "image/webp",
    ".xml": "application/xml",
    ".zarr": "application/vnd+zarr",
    ".zip": "application/zip",
}


@dataclass(frozen=True)
class ResultFile:
    """One file of a result.

    :param key: asset key, such as ``slope``.
    :param path: where it can be read now (a local file).
    :param href: its address: ``s3://``, HTTPS or a path; those in our store get all three.
    :param title: for people.
    :param bands: names of its bands; empty: as in the file, else ``b1``, ``b2``, …
    :param moment: what time this file speaks of, where it is not the whole result's.
    """

    key: str
    path: Path
    href: str
    title: str = ""
    bands: tuple[str, ...] = ()
    moment: datetime | None = None


def asset_key(path: str, taken: Container[str] = ()) -> str:
    """A name for an asset, from the file's, that no other has."""
    stem = str(PurePosixPath(path).with_suffix("")) or path
    key = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("_") or "file"
    name, number = key, 2
    while name in taken:
        name, number = f"{key}_{number}", number + 1
    return name


def media_type(name: str) -> str:
    """What a file is by its name alone."""
    return MEDIA_TYPES.get(PurePosixPath(name).suffix.lower(), "application/octet-stream")


def multihash(path: Path) -> str:
    """SHA-256 of a file as multihash in hexadecimal (STAC File Extension v2.1.0)."""
    with path.open("rb") as file:
        return sha256_multihash(hashlib.file_digest(file, "sha256").hexdigest())


def contents(path: Path, name: str = "", bands: tuple[str, ...] = ()) -> dict[str, Any]:
    """What is in a file: media type, pixels where it is a raster, size and checksum.

    A file that only looks like a raster is described by its name.

    :param name: the file's own name, where ``path`` has another.
    """
    known = name or path.name
    members: dict[str, Any] = {"type": media_type(known), "roles": ["data"]}
    if is_raster(known):
        try:
            members |= raster_members(path, bands)
        except DamagedData:
            # A picture without a place on Earth, or something else under that name.
            members["type"] = media_type(known)
    return members | {"file:size": path.stat().st_size, "file:checksum": multihash(path)}


def described(file: ResultFile, site: Site) -> dict[str, Any]:
    """The asset of a raster.

    :raises DamagedData: when it cannot be read as one.
    """
    address = addresses.parse(file.href, site)
    where = addresses.asset_addresses(address, site) if address else {"href": file.href}
    return {
        **where,
        "roles": ["data"],
        "title": file.title or file.key,
        **raster_members(file.path, file.bands),
        "file:size": file.path.stat().st_size,
        "file:checksum": multihash(file.path),
    }
