"""What a demo run looks at: the area, the intervals and the bands."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from cscale_core.errors import InvalidInput
from cscale_hub.local.archive.items import FolderError, read_items

ROLES = ("swir", "nir", "green")
# Asset keys and common names (STAC EO extension) that can play each role.
CANDIDATES = {
    "swir": ("B11", "swir16"),
    "nir": ("B08", "nir"),
    "green": ("B03", "green"),
    "red": ("B04", "red"),
    "blue": ("B02", "blue"),
}
LOWEST_CLOUD_LIMIT = 60.0
USUAL_MIN_IMAGES = 10


@dataclass(frozen=True)
class Question:
    """What is searched for.

    :param bbox: west, south, east, north in degrees.
    :param period: half-open [start, end).
    :param collections: empty asks for all.
    """

    title: str
    subtitle: str
    bbox: tuple[float, float, float, float]
    period: tuple[date, date]
    collections: tuple[str, ...]
    simulated: bool

    @property
    def datetime(self) -> str:
        """The period as an interval of RFC 3339, its end one second before the open bound."""
        last = self.period[1] - timedelta(days=1)
        return f"{self.period[0]}T00:00:00Z/{last}T23:59:59Z"


def _day(item: dict[str, Any]) -> date:
    return date.fromisoformat(str(item["properties"]["datetime"])[:10])


def question_of_folder(folder: Path) -> Question:
    """The question that finds every item of a folder of STAC items.

    :raises InvalidInput: when the folder has no items.
    """
    try:
        items = read_items(folder)
    except FolderError as error:
        raise InvalidInput(f"INPUT cannot be used: {error}.") from error
    boxes = [item["bbox"] for item in items]
    days = sorted(map(_day, items))
    return Question(
        title=f"Aqua Monitor, {folder.name}",
        subtitle=f"{len(items)} scenes, {days[0]} to {days[-1]}",
        bbox=(
            min(box[0] for box in boxes),
            min(box[1] for box in boxes),
            max(box[2] for box in boxes),
            max(box[3] for box in boxes),
        ),
        period=(days[0], days[-1] + timedelta(days=1)),
        collections=tuple(sorted({str(item["collection"]) for item in items})),
        simulated=False,
    )


def asset_of(item: dict[str, Any], role: str) -> str:
    """The key of the asset that holds a band.

    :raises InvalidInput: when the item has none.
    """
    assets: dict[str, Any] = item["assets"]
    for candidate in CANDIDATES[role]:
        if candidate in assets:
            return candidate
    for key, asset in assets.items():
        for band in asset.get("bands", asset.get("eo:bands", [])):
            names = {band.get("name"), band.get("eo:common_name"), band.get("common_name")}
            if names & set(CANDIDATES[role]):
                return key
    raise InvalidInput(f"Item {item['id']} has no {role} band.")


@dataclass(frozen=True)
class Plan:
    """The scenes chosen and how they are cut in time."""

    items: tuple[dict[str, Any], ...]
    bands: tuple[str, str, str]
    colours: tuple[str, str, str]
    intervals: tuple[tuple[date, date], ...]
    min_images: int
    unit: str

    @property
    def assets(self) -> list[str]:
        return list(dict.fromkeys((*self.bands, *self.colours)))

    @property
    def labels(self) -> list[str]:
        return [start.isoformat() for start, _ in self.intervals]


def choose(items: Sequence[dict[str, Any]], question: Question) -> Plan:
    """Scenes that are clear enough, and intervals that each hold some.

    Two years and more are cut at New Year; a shorter period into two to three parts of whole days.

    :raises InvalidInput: when there are too few scenes for a change.
    """
    clear = [
        item
        for item in items
        if (item["properties"].get("eo:cloud_cover") or 0) <= LOWEST_CLOUD_LIMIT
    ]
    clear.sort(key=lambda item: (item["properties"]["datetime"], item["id"]))
    start, end = question.period
    if (end - start).days >= 2 * 365:
        years = range(start.year, end.year + (1 if end > date(end.year, 1, 1) else 0))
        intervals = [(date(year, 1, 1), date(year + 1, 1, 1)) for year in years]
        unit = "year"
    else:
        intervals, unit = _parts(clear, start, end)
    counts = [sum(first <= _day(item) < last for item in clear) for first, last in intervals]
    if len(intervals) < 2 or min(counts) == 0:
        raise InvalidInput(
            f"{len(clear)} clear scenes are too few for a change over time.",
            hint="Ask for a longer period; every interval needs one scene at least.",
        )
    first = clear[0]
    return Plan(
        items=tuple(clear),
        bands=(asset_of(first, "swir"), asset_of(first, "nir"), asset_of(first, "green")),
        colours=(asset_of(first, "red"), asset_of(first, "green"), asset_of(first, "blue")),
        intervals=tuple(intervals),
        min_images=max(1, min(USUAL_MIN_IMAGES, min(counts) - 1)),
        unit=unit,
    )


def _parts(
    items: Sequence[dict[str, Any]], start: date, end: date
) -> tuple[list[tuple[date, date]], str]:
    for parts in (3, 2):
        length = (end - start).days // parts
        edges = [start + timedelta(days=length * part) for part in range(parts)] + [end]
        intervals = list(itertools.pairwise(edges))
        if length and all(
            any(first <= _day(item) < last for item in items) for first, last in intervals
        ):
            return intervals, f"{length} days"
    return [], ""
