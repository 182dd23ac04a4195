"""Which files of some items are downloaded, from where, and to which path below a folder.

``<folder>/<item>/<file>``. The names are ours (:mod:`cscale_core.ingest.names`), as those of
catalogues are not to be trusted: nothing is ever written outside the folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from cscale_core.addresses import ObjectAddress, readable
from cscale_core.catalog.items import fault, self_link
from cscale_core.errors import CScaleError, Forbidden, InvalidInput
from cscale_core.http import origin
from cscale_core.ingest.files import PlannedFile, stated_checksum
from cscale_core.ingest.names import asset_names, safe_name
from cscale_core.ingest.unsigned import unsigned
from cscale_core.site import Site

Items = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file on its way to a path. ``file.address`` is its source's where that is an object."""

    file: PlannedFile
    path: Path

    @property
    def part(self) -> Path:
        """What has arrived of it."""
        return self.path.with_name(f".{self.path.name}.part")

    @property
    def note(self) -> Path:
        """By what the source knows whether the part still fits."""
        return self.path.with_name(f".{self.path.name}.part.json")


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """What is to be downloaded; ``left_out`` says in sentences what is not, and why."""

    files: tuple[LocalFile, ...]
    left_out: tuple[str, ...]


def plan_download(
    items: Iterable[Mapping[str, Any]],
    folder: Path,
    assets: Sequence[str] | None,
    site: Site | None,
) -> DownloadPlan:
    """Work out what comes from where and goes to which path; nothing is asked or written.

    :param assets: keys of the assets; None: all that have an address that can be read.
    :raises InvalidInput: when an item is not valid, or no item has a chosen asset.
    """
    given = [dict(item) for item in items]
    for item in given:
        if reason := fault(item):
            raise InvalidInput(f"An item cannot be downloaded, it is {reason}.")
    known = {key for item in given for key in item["assets"]}
    if assets is not None and (missing := [key for key in assets if key not in known]):
        raise InvalidInput(
            f"There is no asset {', '.join(missing)}.",
            hint="There are: " + (", ".join(sorted(known)) or "none") + ".",
        )
    files: dict[Path, LocalFile] = {}
    left_out: list[str] = []
    for item, name in zip(given, _folders(given), strict=True):
        names = asset_names(item["assets"])
        for key in item["assets"] if assets is None else dict.fromkeys(assets):
            if key not in item["assets"]:
                continue
            source = source_of(item, key, site)
            if source is None:
                shown = unsigned(str(item["assets"][key]["href"]))
                left_out.append(f"{key} of {item['id']} cannot be read from here ({shown})")
                continue
            path = folder / name / names[key]
            files.setdefault(path, LocalFile(_planned(item, key, source, left_out), path))
    return DownloadPlan(tuple(files.values()), tuple(left_out))


def source_of(item: Mapping[str, Any], key: str, site: Site | None) -> str | ObjectAddress | None:
    """Where an asset is read: the object of our own store, else its first http(s) address."""
    asset = item["assets"][key]
    alternates = asset.get("alternate")
    others = alternates.values() if isinstance(alternates, dict) else ()
    hrefs = [asset["href"], *(one.get("href") for one in others if isinstance(one, dict))]
    texts = [href for href in hrefs if isinstance(href, str) and href]
    if site is not None:
        for href in texts:
            if own := readable(href, site, found=False):
                return own
    base = self_link(dict(item))
    for href in texts:
        address = urljoin(base, href) if base and not href.startswith("/") else href
        try:
            origin(address)
        except (CScaleError, ValueError):
            # Another scheme, a path, a user name in it: the next address may do.
            continue
        return address
    return None


def inside(path: Path, folder: Path) -> None:
    """Make the path's folder.

    :raises Forbidden: when a link on the way leads out of the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise Forbidden(
            f"{path.parent} leads out of {folder}; nothing was written there.",
            hint="Remove the link, or download to another folder.",
        )


def _folders(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """A folder for each item; those that share an id get their collection in front."""
    plain = [safe_name(str(item["id"])) for item in items]
    taken = Counter(name.lower() for name in plain)
    return [
        safe_name(f"{item.get('collection') or ''}/{item['id']}")
        if taken[name.lower()] > 1
        else name
        for item, name in zip(items, plain, strict=True)
    ]


def _planned(
    item: Mapping[str, Any], key: str, source: str | ObjectAddress, left_out: list[str]
) -> PlannedFile:
    asset = item["assets"][key]
    size = asset.get("file:size")
    known = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    try:
        checksum = stated_checksum(asset.get("file:checksum"))
    except InvalidInput as error:
        checksum = None
        left_out.append(f"the checksum of {key} of {item['id']}: {error.message}")
    return PlannedFile(
        item=str(item["id"]),
        asset=key,
        source=source,
        address=source if isinstance(source, ObjectAddress) else ObjectAddress("", key),
        size=size if known else None,
        checksum=checksum,
        media_type=str(asset.get("type") or ""),
    )
