"""STAC items as plain dictionaries: what must be true before an untrusted one is used."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

PROVIDER_MEMBER = "cscale:provider"
"""The item member that names the provider an item was found at."""


def fault(item: Any) -> str:
    """Why this is not a STAC item that can be used; empty when it is one."""
    if not isinstance(item, dict):
        return "not an object"
    if item.get("type") != "Feature":
        return "not a Feature"
    if not isinstance(item.get("id"), str) or not item["id"]:
        return "without an id"
    if not isinstance(item.get("properties"), dict):
        return "without properties"
    assets = item.get("assets")
    if not isinstance(assets, dict) or not all(
        isinstance(asset, dict) and isinstance(asset.get("href"), str) for asset in assets.values()
    ):
        return "without usable assets"
    if not isinstance(item.get("geometry"), dict | None):
        return "with a geometry that is none"
    if not isinstance(item.get("collection"), str | None):
        return "with a collection that is no name"
    if not isinstance(item.get("links", []), list):
        return "with links that are no list"
    return ""


def self_link(item: dict[str, Any]) -> str:
    """The http(s) address of an item's own ``self`` link, or empty."""
    for link in item.get("links") or []:
        if isinstance(link, dict) and link.get("rel") == "self":
            href = str(link.get("href", ""))
            try:
                scheme = urlsplit(href).scheme
            except ValueError:
                # An address that cannot be read is no address.
                return ""
            if scheme in ("http", "https"):
                return href
    return ""
