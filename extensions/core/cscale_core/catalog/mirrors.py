"""One result for one product: the nearest copy, with the copies at other archives beside it.

An asset that another archive has too gets that archive's address as an alternate (STAC Alternate
Assets Extension v1.2.0), under the archive's id. Assets belong together when they have the same
key, or are the only ones on both sides with the same bands, resolution and kind of file. What the
nearest copy lacks (one of which only some files were staged) is added, marked with its archive.
The same bands in another form are listed with their archive in ``cscale:mirrors`` and stay out of
``assets``, so that a band is not staged twice; nothing is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from cscale_core.addresses import ALTERNATE_EXTENSION, readable
from cscale_core.catalog.items import PROVIDER_MEMBER, self_link
from cscale_core.providers import Provider
from cscale_core.site import Site

MIRRORS_MEMBER = "cscale:mirrors"
"""The item member that lists the other archives which have the product."""

Item = dict[str, Any]
Rank = Callable[[Item], tuple[int, int]]
"""Smaller is nearer."""

# Members of an asset that say where it is and how to get it; the rest is about its content.
_OF_THE_PLACE = ("href", "type", "title", "file:size", "file:checksum", "auth:refs")


def nearness(site: Site, providers: Sequence[Provider], *, login: bool) -> Rank:
    """How near an item is: our own buckets, then archives without a login, then those with one
    that the user has, then others; within each, in the order of the site.

    :param login: whether there are tokens of EGI Check-in for providers that want one.
    """
    order = {provider.id: number for number, provider in enumerate(providers)}
    by_id = {provider.id: provider for provider in providers}

    def rank(item: Item) -> tuple[int, int]:
        name = str(item.get(PROVIDER_MEMBER, ""))
        place = order.get(name, len(order))
        if any(
            readable(asset["href"], site, found=True) is not None
            for asset in item["assets"].values()
        ):
            return 0, place
        provider = by_id.get(name)
        if provider is None:
            return 3, place
        if provider.auth == "none":
            return 1, place
        return (2, place) if provider.auth == "basic" or login else (3, place)

    return rank


def merge_mirrors(items: Sequence[Item], rank: Rank) -> Item:
    """One item of a product's items at several archives; those given are not changed.

    :param items: at least one; equally near ones keep their order.
    """
    nearest, *others = sorted(items, key=rank)
    if not others:
        return nearest
    assets = {key: dict(asset) for key, asset in nearest["assets"].items()}
    mirrors: list[dict[str, Any]] = []
    linked = False
    for other in others:
        provider = str(other.get(PROVIDER_MEMBER, ""))
        pairs = _pairs(assets, other["assets"])
        for key, theirs in pairs.items():
            before = assets[key].get("alternate")
            alternate = dict(before) if isinstance(before, dict) else {}
            alternate[_free(provider, alternate)] = _place(other["assets"][theirs], provider)
            assets[key]["alternate"] = alternate
            linked = True
        paired = set(pairs.values())
        lacking = _lacking(
            assets, other["assets"], paired, alike=any(k == v for k, v in pairs.items())
        )
        for key in lacking:
            assets[key] = {**other["assets"][key], PROVIDER_MEMBER: provider}
        mirrors.append(
            {
                "provider": provider,
                "collection": other.get("collection"),
                "id": other["id"],
                "href": self_link(other),
                "assets": {
                    key: asset
                    for key, asset in other["assets"].items()
                    if key not in paired and key not in lacking
                },
            }
        )
    merged = {**nearest, "assets": assets, MIRRORS_MEMBER: mirrors}
    extensions = list(nearest.get("stac_extensions") or [])
    if linked and ALTERNATE_EXTENSION not in extensions:
        merged["stac_extensions"] = [*extensions, ALTERNATE_EXTENSION]
    return merged


def _place(asset: dict[str, Any], provider: str) -> dict[str, Any]:
    place = {name: asset[name] for name in _OF_THE_PLACE if name in asset}
    further = asset.get("alternate")
    if isinstance(further, dict) and further:
        place["alternate"] = further
    return {**place, "alternate:name": provider}


def _free(name: str, taken: dict[str, Any]) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


def _pairs(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, str]:
    """Keys of our assets with the key of the same asset of the other archive."""
    pairs = {
        key: key
        for key, asset in ours.items()
        if key in theirs and not _contradict(asset, theirs[key])
    }
    left = {key: asset for key, asset in ours.items() if key not in pairs}
    right = {key: asset for key, asset in theirs.items() if key not in pairs}
    known = _unique(left)
    for content, key in _unique(right).items():
        if content in known:
            pairs[known[content]] = key
    return pairs


def _lacking(
    ours: dict[str, Any], theirs: dict[str, Any], paired: set[str], *, alike: bool
) -> list[str]:
    """Keys of their assets that ours has in no form.

    :param alike: both name their assets in the same way, so that a key that ours has not is
        something that ours has not; else only bands that ours has not tell.
    """
    known = {content[0] for asset in ours.values() if (content := _content(asset))[0]}
    lacking = []
    for key, asset in theirs.items():
        if key in paired or key in ours:
            continue
        bands = _content(asset)[0]
        if (bands and bands not in known) or (alike and not bands):
            lacking.append(key)
    return lacking


def _contradict(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two assets of the same key say that they are of different content."""
    return any(a and b and a != b for a, b in zip(_content(one), _content(other), strict=True))


def _unique(assets: dict[str, Any]) -> dict[tuple[Any, ...], str]:
    """The content of assets that say what it is, where no other asset has the same."""
    contents = {key: _content(asset) for key, asset in assets.items()}
    counted = Counter(contents.values())
    return {
        content: key
        for key, content in contents.items()
        if counted[content] == 1 and (content[0] or content[1] in (("thumbnail",), ("overview",)))
    }


def _content(asset: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...], float]:
    """Bands by common name (else name), roles that tell what it is for, and resolution in metres.

    Sources: STAC 1.1 ``bands``, EO extension ``eo:bands`` and ``eo:common_name``, ``gsd``.
    """
    bands = asset.get("bands") or asset.get("eo:bands") or []
    names = []
    for band in bands if isinstance(bands, list) else []:
        if isinstance(band, dict):
            name = band.get("eo:common_name") or band.get("common_name") or band.get("name")
            names.append(str(name))
    roles = asset.get("roles")
    told = tuple(
        sorted(
            role
            for role in (roles if isinstance(roles, list) else [])
            if role in ("thumbnail", "overview", "metadata")
        )
    )
    return tuple(names), told, _resolution(asset)


def _resolution(asset: dict[str, Any]) -> float:
    """Metres of a pixel; 0 where it is not stated."""
    for name in ("gsd", "raster:spatial_resolution", "proj:transform"):
        value = asset.get(name)
        if name == "proj:transform" and isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return 0.0
