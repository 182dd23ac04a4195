"""Items and collections of others as this service shows them: ids and links that lead back here.

A collection is named ``PROVIDER|collection``; the bar stands percent-encoded in addresses. What a
provider linked to stays, except for the structure of its own tree: that is replaced by ours, and
its own page of the same thing is linked as ``via`` and ``canonical``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from starlette.requests import Request

from cscale_core.catalog.items import PROVIDER_MEMBER

JSON = "application/json"
GEOJSON = "application/geo+json"
SCHEMA = "application/schema+json"
QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
SEPARATOR = "|"
REPAIRED_MEMBER = "cscale:repaired"

_TREE = frozenset(
    {"self", "root", "parent", "collection", "items", "item", "child", "children", "data"}
    | {"next", "prev", "previous", "first", "last", "search", "queryables", QUERYABLES}
)


def link(rel: str, href: str, media_type: str = JSON, **more: Any) -> dict[str, Any]:
    """One STAC link object."""
    return {"rel": rel, "href": href, "type": media_type, **more}


def own_page(document: Mapping[str, Any]) -> str:
    """The http(s) address that a document states as its own, or empty."""
    for entry in _entries(document):
        if entry.get("rel") == "self" and _is_web(entry["href"]):
            return str(entry["href"])
    return ""


def _is_web(href: str) -> bool:
    try:
        return urlsplit(href).scheme in ("http", "https")
    except ValueError:
        # An address that cannot be read is no address.
        return False


def _entries(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = document.get("links")
    if not isinstance(found, list):
        return []
    return [
        entry
        for entry in found
        if isinstance(entry, dict)
        and isinstance(entry.get("href"), str)
        and isinstance(entry.get("rel"), str)
    ]


def _theirs(document: Mapping[str, Any], media_type: str) -> list[dict[str, Any]]:
    """The links of a provider's document that stay, and those to its own page."""
    base = own_page(document)
    kept = []
    for entry in _entries(document):
        if entry["rel"] in _TREE:
            continue
        href = entry["href"]
        if not _is_web(href):
            if not base or href.startswith("#"):
                continue
            try:
                href = urljoin(base, href)
            except ValueError:
                # An address that cannot be read leads nowhere.
                continue
        kept.append({**entry, "href": href})
    if base:
        named = {entry["rel"] for entry in kept if entry["rel"] in ("via", "canonical")}
        kept += [link(rel, base, media_type) for rel in ("via", "canonical") if rel not in named]
    return kept


class Links:
    """The links that the service makes, below one public address."""

    def __init__(self, request: Request) -> None:
        self.root: str = request.scope["state"]["public_root"]

    def to(self, path: str) -> str:
        """The address of a page of this service."""
        return f"{self.root}{path}"

    def collection_url(self, identifier: str) -> str:
        """The page of ``PROVIDER|collection``."""
        return f"{self.root}/collections/{quote(identifier, safe=':')}"

    def item_url(self, collection: str, item: str) -> str:
        """The page of an item of ``PROVIDER|collection``."""
        return f"{self.collection_url(collection)}/items/{quote(item, safe=':')}"

    def home(self) -> dict[str, Any]:
        """The link to the landing page."""
        return link("root", self.root + "/")

    def item(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """A provider's item as this service shows it.

        :param item: as the federation gives it, with :data:`PROVIDER_MEMBER`.
        """
        name = f"{item[PROVIDER_MEMBER]}{SEPARATOR}{item.get('collection') or ''}"
        collection = self.collection_url(name)
        made = [
            link("self", self.item_url(name, str(item["id"])), GEOJSON),
            self.home(),
            link("parent", collection),
            link("collection", collection),
        ]
        return {**item, "collection": name, "links": made + _theirs(item, GEOJSON)}

    def collection(self, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """A provider's collection as this service shows it.

        :param name: ``PROVIDER|collection``.
        :param document: the provider's own document.
        """
        own = self.collection_url(name)
        made = [
            link("self", own),
            self.home(),
            link("parent", self.root + "/"),
            link("items", f"{own}/items", GEOJSON),
            link(QUERYABLES, f"{own}/queryables", SCHEMA),
        ]
        return {**_whole(document), "id": name, "links": made + _theirs(document, JSON)}


def _whole(document: Mapping[str, Any]) -> dict[str, Any]:
    """A collection with the members that STAC requires; what is made up is named in it.

    Clients refuse a list for one collection that lacks one, so a lax archive would hide all.
    """
    needed: dict[str, Any] = {
        "type": "Collection",
        "stac_version": "1.0.0",
        "description": document.get("title") or document["id"],
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [[None, None]]},
        },
    }
    missing = {name: value for name, value in needed.items() if not document.get(name)}
    if not missing:
        return dict(document)
    return {**document, **missing, REPAIRED_MEMBER: sorted(missing)}
