"""The outputs of a program of one's own: all files below a prefix or folder, as one item.

The number of files and the bytes that are read for checksums are bounded; what is left out is
said. Needs rasterio, and boto3 for a prefix in the object store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from cscale_core.addresses import ObjectAddress, asset_addresses, parse
from cscale_core.errors import DamagedData, InvalidInput, NotFound
from cscale_core.ingest.checksums import sha256_multihash
from cscale_core.ingest.names import ITEM_FILE
from cscale_core.ingest.raster_members import is_raster, raster_members
from cscale_core.raster import ObjectStoreAccess
from cscale_core.site import Site
from cscale_core.workflows.results.files import asset_key, contents, media_type
from cscale_core.workflows.results.items import described_item
from cscale_core.workflows.results.provenance import Lineage
from cscale_core.workflows.results.sidecar import JOB_FILE

if TYPE_CHECKING:
    from cscale_core.objects import ObjectStore

#: More files than these are a data set of its own, not the result of a job.
MOST_FILES = 200
#: Bytes that are read for checksums and statistics; what comes after has none.
MOST_BYTES = 20 * 1024**3
_PIECE = 16 * 1024 * 1024


@dataclass(frozen=True)
class Outputs:
    """The items of what was found, and sentences on what was left out."""

    items: list[dict[str, Any]]
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    """One file: its name below the prefix, its size."""

    name: str
    size: int


class _Place(Protocol):
    """Where the files are, and how they are read."""

    def files(self) -> Iterator[_Found]: ...

    def asset(self, found: _Found, *, whole: bool) -> dict[str, Any]:
        """Addresses and contents; without ``whole`` only what the header says."""
        ...


def describe_outputs(
    prefix: str,
    lineage: Lineage,
    site: Site,
    *,
    identifier: str,
    collection: str = "results",
    title: str = "",
    period: tuple[datetime, datetime] | None = None,
    area: Mapping[str, Any] | None = None,
    most_files: int = MOST_FILES,
    most_bytes: int = MOST_BYTES,
) -> Outputs:
    """Describe every file below a prefix; blocks, and reads what it describes.

    Hidden and empty files, Hadoop's marks (``_SUCCESS``) and our own descriptions are no results.

    :param prefix: ``s3://bucket/prefix/``, or a folder of this machine or of a mount.
    :param area: where the result lies, when its files do not say it (GeoJSON).
    :raises NotFound: when a folder is not there.
    :raises CScaleError: when the files cannot be listed or read.
    """
    place = _place(prefix, site)
    found = sorted(place.files(), key=lambda one: one.name)
    left_out = []
    stores = sorted({store for one in found if (store := _zarr_store(one.name))})
    left_out += [f"{store}: a Zarr store is a folder of many files" for store in stores]
    chosen = [one for one in found if one.size and not _is_mark(one.name)]
    chosen = [one for one in chosen if not _zarr_store(one.name)]
    if len(chosen) > most_files:
        left_out.append(
            f"{len(chosen) - most_files} of {len(chosen)} files, from {chosen[most_files].name} on"
        )
        chosen = chosen[:most_files]
    assets: dict[str, dict[str, Any]] = {}
    read = unread = 0
    for one in chosen:
        whole = read + one.size <= most_bytes
        read += one.size if whole else 0
        unread += not whole
        asset = place.asset(one, whole=whole)
        assets[asset_key(one.name, assets)] = {"title": one.name, **asset}
    if unread:
        left_out.append(f"checksums and statistics of {unread} files: they are too large together")
    if not assets:
        return Outputs([], left_out)
    item = described_item(
        assets,
        identifier=identifier,
        collection=collection,
        site=site,
        lineage=lineage,
        title=title,
        period=period,
        area=area,
    )
    return Outputs([item], left_out)


def _is_mark(name: str) -> bool:
    """Whether a file is hidden, one of Hadoop's marks, or one that we wrote ourselves."""
    parts = PurePosixPath(name).parts
    return any(part.startswith((".", "_")) for part in parts) or name in (ITEM_FILE, JOB_FILE)


def _zarr_store(name: str) -> str:
    for number, part in enumerate(PurePosixPath(name).parts[:-1], start=1):
        if part.endswith(".zarr"):
            return "/".join(PurePosixPath(name).parts[:number])
    return ""


def _place(prefix: str, site: Site) -> _Place:
    root = prefix if prefix.endswith("/") else prefix + "/"
    if not root.startswith("s3://"):
        return _Folder(Path(prefix), root, site)
    bucket, _, key = root.removeprefix("s3://").partition("/")
    if not bucket or any(part in (".", "..") for part in key.split("/")):
        raise InvalidInput(f"{prefix!r} names no place in a bucket.")
    # boto3 is needed only where the output is in an object store.
    from cscale_core.objects import ObjectStore

    return _Prefix(ObjectStore(site), ObjectAddress(bucket, key), site)


class _Folder:
    """Files of this machine or of a mounted bucket."""

    def __init__(self, path: Path, root: str, site: Site) -> None:
        self._path = path
        self._root = root
        self._site = site

    def files(self) -> Iterator[_Found]:
        if not self._path.is_dir():
            raise NotFound(f"{self._path} is not there.")
        for path in self._path.rglob("*"):
            # A link may lead anywhere.
            if path.is_file() and not path.is_symlink():
                yield _Found(path.relative_to(self._path).as_posix(), path.stat().st_size)

    def asset(self, found: _Found, *, whole: bool) -> dict[str, Any]:
        path = self._path / found.name
        address = parse(self._root + found.name, self._site)
        where = asset_addresses(address, self._site) if address else {"href": str(path)}
        if whole:
            return {**where, **contents(path)}
        return {**where, **_header(str(path), found)}


class _Prefix:
    """Objects of the store."""

    def __init__(self, store: ObjectStore, root: ObjectAddress, site: Site) -> None:
        self._store = store
        self._root = root
        self._site = site
        self._access = ObjectStoreAccess(site.s3.endpoint, site.s3.region)

    def files(self) -> Iterator[_Found]:
        for head in self._store.list(self._root.bucket, self._root.key):
            yield _Found(head.address.key.removeprefix(self._root.key), head.size)

    def asset(self, found: _Found, *, whole: bool) -> dict[str, Any]:
        address = ObjectAddress(self._root.bucket, self._root.key + found.name)
        with self._access.environment(anew=True):
            members = _header(f"/vsis3/{address.bucket}/{address.key}", found, statistics=whole)
        if whole:
            members["file:checksum"] = self._checksum(address, found.size)
        return {**asset_addresses(address, self._site), **members}

    def _checksum(self, address: ObjectAddress, size: int) -> str:
        digest = hashlib.sha256()
        for start in range(0, size, _PIECE):
            digest.update(self._store.get(address, start=start, length=min(_PIECE, size - start)))
        return sha256_multihash(digest.hexdigest())


def _header(name: str, found: _Found, *, statistics: bool = False) -> dict[str, Any]:
    members: dict[str, Any] = {"type": media_type(found.name), "roles": ["data"]}
    if is_raster(found.name):
        try:
            members |= raster_members(name, statistics=statistics)
        except DamagedData:
            # A picture without a place on Earth, or something else under that name.
            members["type"] = media_type(found.name)
    return members | {"file:size": found.size}
