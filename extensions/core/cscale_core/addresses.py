"""One object, three addresses: the path on the mount, ``s3://`` and HTTPS.

Items in a catalogue carry the ``s3://`` address as main ``href`` and the two others as
``alternate`` (STAC Alternate Assets Extension v1.2.0) with the keys ``mount`` and ``https``.
The path in a catalogue is the canonical one (``site.mount_root``); :func:`localise` turns it into
the path this user's server sees, :func:`canonicalise` back.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from cscale_core.errors import InvalidInput
from cscale_core.site import Site

ALTERNATE_EXTENSION = "https://stac-extensions.github.io/alternate-assets/v1.2.0/schema.json"


@dataclass(frozen=True, slots=True)
class ObjectAddress:
    """Bucket and key of one object."""

    bucket: str
    key: str

    @property
    def s3(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def _checked(bucket: str, key: str, address: str) -> ObjectAddress:
    if not bucket or not key or any(part in (".", "..") for part in key.split("/")):
        raise InvalidInput(f"{address!r} does not name an object.")
    return ObjectAddress(bucket, key)


def parse(address: str, site: Site) -> ObjectAddress | None:
    """The object behind any of the three addresses, or None for a foreign one.

    :raises InvalidInput: when the address is ours but names no object (no key, ``..``).
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return None  # such as http://[, which an item from elsewhere may hold
    if parts.scheme == "s3":
        return _checked(parts.netloc, address.removeprefix(f"s3://{parts.netloc}/"), address)
    if parts.scheme in ("http", "https"):
        for base in filter(None, (site.s3.public_url, site.s3.endpoint)):
            prefix = base.rstrip("/") + "/"
            if address.startswith(prefix):
                path = unquote(address.removeprefix(prefix).partition("?")[0])
                bucket, _, key = path.partition("/")
                return _checked(bucket, key, address)
        return None
    if parts.scheme in ("", "file"):
        path = unquote(parts.path) if parts.scheme == "file" else address
        roots = [(root, "") for root in (site.mount, site.mount_root)]
        # First: they may lie below the roots.
        for root, place in [*site.shortcuts.items(), *roots]:
            prefix = root.rstrip("/") + "/"
            if path.startswith(prefix):
                inside = f"{place}/{path.removeprefix(prefix)}".removeprefix("/")
                bucket, _, key = inside.partition("/")
                return _checked(bucket, key, address)
    return None


def readable(address: str, site: Site, *, found: bool) -> ObjectAddress | None:
    """The object of our store behind an address, if the user may read it; else None.

    :param found: whether the item came from a search. Such an item may name anything, and must
        not make the user show or copy files of their own folder to where others can read them.
    """
    try:
        known = parse(address, site)
    except InvalidInput:
        # ``..`` in the address: no object that we would touch.
        return None
    for grant in site.grants if known is not None else ():
        if found and grant.purpose == "home":
            continue
        if known and known.bucket == grant.bucket and known.key.startswith(grant.prefix):
            return known
    return None


def https_url(address: ObjectAddress, site: Site) -> str:
    """The HTTPS address (HTTP on a laptop's loopback), percent-encoded."""
    base = (site.s3.public_url or site.s3.endpoint).rstrip("/")
    return f"{base}/{address.bucket}/{quote(address.key)}"


def mount_path(address: ObjectAddress, site: Site, *, canonical: bool = False) -> str:
    """The path on the mount: this server's, or the canonical one used in catalogues."""
    root = site.mount_root if canonical else site.mount
    return str(PurePosixPath(root) / address.bucket / address.key)


def asset_addresses(address: ObjectAddress, site: Site) -> dict[str, Any]:
    """The ``href`` and ``alternate`` members of an asset that lies in our object store."""
    return {
        "href": address.s3,
        "alternate": {
            "https": {"href": https_url(address, site), "alternate:name": "HTTPS"},
            "mount": {
                "href": mount_path(address, site, canonical=True),
                "alternate:name": "Mounted bucket",
            },
        },
    }


def localise(item: dict[str, Any], site: Site) -> dict[str, Any]:
    """A copy of an item whose alternate addresses are those of this user's server.

    Assets that do not lie in a bucket this user has a grant in are left as they are: an ``s3://``
    address of a public archive is not ours, though it looks alike.
    """
    return _with_mount(item, site, canonical=False)


def canonicalise(item: dict[str, Any], site: Site) -> dict[str, Any]:
    """A copy of an item as it belongs in a catalogue: the inverse of :func:`localise`."""
    return _with_mount(item, site, canonical=True)


def _with_mount(item: dict[str, Any], site: Site, *, canonical: bool) -> dict[str, Any]:
    changed = copy.deepcopy(item)
    buckets = {grant.bucket for grant in site.grants}
    for asset in changed.get("assets", {}).values():
        try:
            address = parse(str(asset.get("href", "")), site)
        except InvalidInput:
            continue  # an item from elsewhere may hold anything; this one names no object of ours
        if address is None or address.bucket not in buckets:
            continue
        alternate = asset["alternate"] = _members(asset.get("alternate"))
        for name, href in (
            ("https", https_url(address, site)),
            ("mount", mount_path(address, site, canonical=canonical)),
        ):
            alternate[name] = _members(alternate.get(name)) | {"href": href}
    return changed


def _members(value: Any) -> dict[str, Any]:
    """What should be an object, and may be anything in an item from elsewhere."""
    return value if isinstance(value, dict) else {}
