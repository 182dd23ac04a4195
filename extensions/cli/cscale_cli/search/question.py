"""The options of ``cscale search`` as a question to the federation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cscale_core.catalog.query import SearchQuery
from cscale_core.errors import InvalidInput

_LARGEST_AREA = 10 * 2**20
# How an option is called that sets a member of the question.
_OPTIONS = {
    "collections": "--collection",
    "ids": "--id",
    "max_cloud_cover": "--cloud-cover",
    "providers": "--provider",
}
_HINTS = {
    "bbox": "Write west,south,east,north in degrees, such as --bbox -6.1,36.1,-5.5,36.6.",
    "datetime": "Write 2024-05-01/2024-06-30, 2024-05 or 2024-05-01T00:00:00Z/.. .",
    "filter": "Write CQL2, such as --filter \"eo:cloud_cover < 20 AND platform = 'sentinel-2a'\".",
    "intersects": "Name a GeoJSON or WKT file, or write POLYGON((10 45, 11 45, 11 46, 10 45)).",
    "sortby": "Write -datetime or +eo:cloud_cover, several with commas between.",
}


def question(
    *,
    bbox: str = "",
    intersects: str = "",
    datetime: str = "",
    collections: Sequence[str] = (),
    ids: Sequence[str] = (),
    cloud_cover: float | None = None,
    condition: str = "",
    sortby: str = "",
    limit: int = 100,
    providers: Sequence[str] = (),
) -> SearchQuery:
    """The question that the options ask.

    :raises InvalidInput: when an option cannot be understood; the hint says how it is written.
    """
    given: dict[str, Any] = {
        "bbox": _numbers(bbox) if bbox else None,
        "intersects": _area(intersects) if intersects else None,
        "datetime": datetime or None,
        "collections": list(collections),
        "ids": list(ids),
        "max_cloud_cover": cloud_cover,
        "filter": condition or None,
        "sortby": sortby.split(",") if sortby else [],
        "limit": limit,
        "providers": list(providers),
    }
    try:
        return SearchQuery.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        member = str(problem["loc"][0]) if problem["loc"] else ""
        option = _OPTIONS.get(member, f"--{member}" if member else "")
        said = problem["msg"].removeprefix("Value error, ")
        raise InvalidInput(
            f"{option}: {said}" if option else said, hint=_HINTS.get(member, "")
        ) from error


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidInput(f"--bbox: {text!r} are not numbers.", hint=_HINTS["bbox"]) from error


def _area(text: str) -> dict[str, Any] | str:
    """GeoJSON or WKT, written out or in a file; what it says is checked with the question."""
    said = text.strip()
    if not said.startswith("{") and "(" not in said and not said.upper().endswith("EMPTY"):
        said = _contents(Path(text)).strip()
    if not said.startswith("{"):
        return said
    try:
        geometry = json.loads(said)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            "--intersects: this is not readable as GeoJSON.", hint=_HINTS["intersects"]
        ) from error
    return dict(geometry)


def _contents(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_AREA:
            raise InvalidInput(f"--intersects: {path} is larger than {_LARGEST_AREA >> 20} MB.")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"--intersects: {path} cannot be read, and is no WKT.", hint=_HINTS["intersects"]
        ) from error
