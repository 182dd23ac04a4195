"""A folder of STAC items and their files, read as an archive."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote


class FolderError(Exception):
    """The folder cannot be served as an archive."""


@dataclass(frozen=True)
class Holding:
    """What the archive has: items with served addresses, their collections, the files behind."""

    items: list[dict[str, Any]]
    collections: list[dict[str, Any]]
    files: frozenset[str]


def read_items(folder: Path) -> list[dict[str, Any]]:
    """Every STAC item of a folder: FeatureCollections and single items in its ``.json`` files.

    :raises FolderError: when the folder is missing, a file is not JSON, or there is no item.
    """
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder")
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise FolderError(f"{path} is not JSON: {error}") from error
        features = document.get("features", [document]) if isinstance(document, dict) else []
        found |= {item["id"]: item for item in features if item.get("type") == "Feature"}
    if not found:
        raise FolderError(
            f"there are no STAC items in {folder} (wanted: items.json with a FeatureCollection, "
            "or one .json file an item)"
        )
    return list(found.values())


def hold(folder: Path, base_url: str) -> Holding:
    """The folder as an archive whose files are served below ``base_url``.

    Relative hrefs that stay inside the folder become addresses; any other asset is left as it is.

    :raises FolderError: as :func:`read_items`.
    """
    items, files = [], set()
    for original in read_items(folder):
        item = copy.deepcopy(original)
        item["links"] = [link for link in item.get("links", []) if "://" in link.get("href", "")]
        for asset in item.get("assets", {}).values():
            path = PurePosixPath(asset["href"])
            if "://" in asset["href"] or path.is_absolute() or ".." in path.parts:
                continue
            files.add(str(path))
            asset["href"] = f"{base_url}/{quote(str(path))}"
        items.append(item)
    return Holding(items, list(_collections(items)), frozenset(files))


def _collections(items: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for name in sorted({str(item["collection"]) for item in items}):
        members = [item for item in items if item["collection"] == name]
        boxes = [item["bbox"] for item in members]
        times = sorted(str(item["properties"]["datetime"]) for item in members)
        simulated = name.startswith("simulated-")
        yield {
            "type": "Collection",
            "stac_version": "1.1.0",
            "id": name,
            "title": "Simulated Sentinel-2 scenes" if simulated else name,
            "description": "Simulated for demonstrations; not observations."
            if simulated
            else "Scenes of a local folder.",
            "license": "other",
            "extent": {
                "spatial": {
                    "bbox": [
                        [
                            min(box[0] for box in boxes),
                            min(box[1] for box in boxes),
                            max(box[2] for box in boxes),
                            max(box[3] for box in boxes),
                        ]
                    ]
                },
                "temporal": {"interval": [[times[0], times[-1]]]},
            },
            "item_assets": {
                key: {
                    member: asset[member]
                    for member in ("type", "title", "roles", "bands", "gsd")
                    if member in asset
                }
                for key, asset in members[0].get("assets", {}).items()
            },
            "links": [],
        }
