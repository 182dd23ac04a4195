"""An answer as stac-geoparquet, with memory that does not grow with the answer.

A Parquet column has one type, but the archives of a federation do not agree on theirs: what is a
number here is text there. The items are therefore kept as lines in a temporary file beside the
target until the kinds of all values are known; a member of several kinds is written as text, and
the caller is told which. Format: https://github.com/radiantearth/stac-geoparquet-spec, GeoParquet
1.1.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shapely.errors import ShapelyError
from shapely.geometry import shape

from cscale_core.catalog.interval import format_time, parse_time
from cscale_core.errors import InvalidInput

_ITEMS_AT_ONCE = 1000
_GEOMETRY = "proj:geometry"
# stac-geoparquet turns these properties into timestamps and cannot go on where one is none.
_TIMES = (
    "datetime",
    "start_datetime",
    "end_datetime",
    "created",
    "updated",
    "expires",
    "published",
    "unpublished",
)
_EXAMPLE: dict[str, Any] = {
    "type": "Feature",
    "stac_version": "1.1.0",
    "id": "",
    "collection": "",
    "geometry": {"type": "Point", "coordinates": [0.0, 0.0]},
    "bbox": [0.0, 0.0, 0.0, 0.0],
    "properties": {"datetime": "1970-01-01T00:00:00Z"},
    "links": [],
    "assets": {},
}

_Place = tuple[str, ...]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "number" if -(2**63) <= value < 2**63 else "large number"
    if isinstance(value, float):
        return "number"
    if isinstance(value, dict):
        return "object"
    return "list" if isinstance(value, list) else "text"


class _Kinds:
    """The kinds of values that were seen at each path, and the paths that have several."""

    def __init__(self) -> None:
        self._seen: defaultdict[_Place, set[str]] = defaultdict(set)

    def learn(self, value: Any, path: _Place = ()) -> None:
        if value is None or value == {}:
            return
        self._seen[path].add(_kind(value))
        for name, inner in _inner(value):
            self.learn(inner, (*path, name))

    @property
    def mixed(self) -> list[_Place]:
        return [
            path
            for path, kinds in self._seen.items()
            if len(kinds) > 1 or kinds == {"large number"}
        ]


def _inner(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((name, inner) for name, inner in value.items() if name != _GEOMETRY)
    elif isinstance(value, list):
        yield from (("[]", inner) for inner in value)


def _uniform(value: Any, mixed: frozenset[_Place], path: _Place = ()) -> Any:
    """A value with text at every path of several kinds, and nothing for empty objects."""
    if value is None or value == {}:
        return None
    if path in mixed:
        return value if isinstance(value, str) else json.dumps(value)
    if isinstance(value, dict):
        return {
            name: inner if name == _GEOMETRY else _uniform(inner, mixed, (*path, name))
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_uniform(inner, mixed, (*path, "[]")) for inner in value]
    return value


def _has_shape(value: Any) -> bool:
    try:
        return isinstance(value, dict) and not shape(value).is_empty
    except (ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError):
        # shapely raises all of these on malformed GeoJSON.
        return False


def _moment(value: Any) -> str | None:
    try:
        return format_time(parse_time(value))
    except ValueError:
        return None


def _prepared(item: dict[str, Any]) -> dict[str, Any] | None:
    """An item that stac-geoparquet takes, or None where it has no footprint."""
    if not _has_shape(item.get("geometry")):
        return None
    properties = {
        name: _moment(value) if name in _TIMES else value
        for name, value in item["properties"].items()
    }
    properties.setdefault("datetime", None)
    assets = item["assets"]
    for holder in (properties, *assets.values()):
        if _GEOMETRY in holder and not _has_shape(holder[_GEOMETRY]):
            del holder[_GEOMETRY]
    bounds = shape(item["geometry"]).bounds
    box = item.get("bbox")
    if isinstance(box, list) and len(box) in (4, 6):
        half = len(box) // 2
        bounds = (box[0], box[1], box[half], box[half + 1])
    return {
        **item,
        "properties": properties,
        "assets": assets,
        "bbox": [float(bound) for bound in bounds],
    }


class ParquetWriter:
    """Collects items and writes them as one file at the end; until then nothing is at its place.

    As a context manager it leaves nothing behind but the file.

    :raises InvalidInput: when stac-geoparquet is not installed, or the folder is not there.
    """

    def __init__(self, path: Path) -> None:
        try:
            import stac_geoparquet.arrow as library
        except ImportError as error:
            raise InvalidInput(
                "Writing Parquet needs the package stac-geoparquet, which is not installed.",
                hint='Install it: pip install "cscale-hub[lab]". --json needs nothing.',
            ) from error
        self._library = library
        self._path = path
        self._kinds = _Kinds()
        self._count = 0
        self._without_footprint = 0
        try:
            self._folder = tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent)
        except OSError as error:
            raise InvalidInput(
                f"{path} cannot be written: {error.strerror}.",
                hint="Name a file in a folder that is there and that you may write to.",
            ) from error
        self._lines = Path(self._folder.name, "items.ndjson")
        self._spool = self._lines.open("w", encoding="utf-8")

    def __enter__(self) -> ParquetWriter:
        return self

    def __exit__(self, *failure: object) -> None:
        self._spool.close()
        self._folder.cleanup()

    def add(self, item: dict[str, Any]) -> None:
        """Take one item."""
        prepared = _prepared(item)
        if prepared is None:
            self._without_footprint += 1
            return
        self._kinds.learn({name: v for name, v in prepared.items() if name != "geometry"})
        self._spool.write(json.dumps(prepared) + "\n")
        self._count += 1

    def finish(self) -> list[str]:
        """Write the file; gives what is to be known about it, a sentence each."""
        self._spool.close()
        mixed = frozenset(self._kinds.mixed)
        target = Path(self._folder.name, "items.parquet")
        if self._count:
            uniform = Path(self._folder.name, "uniform.ndjson")
            with self._lines.open(encoding="utf-8") as source, uniform.open("w") as sink:
                for line in source:
                    item = json.loads(line)
                    geometry = item.pop("geometry")
                    sink.write(json.dumps(_uniform(item, mixed) | {"geometry": geometry}) + "\n")
            self._lines.unlink()
            self._library.parse_stac_ndjson_to_parquet(uniform, target, chunk_size=_ITEMS_AT_ONCE)
        else:
            one = self._library.parse_stac_items_to_arrow([_EXAMPLE]).read_all()
            self._library.to_parquet(one.slice(0, 0), target)
        target.replace(self._path)
        remarks = [f"{self._count:,} items are in {self._path}."]
        if self._without_footprint:
            verb = "is" if self._without_footprint == 1 else "are"
            remarks.append(f"{self._without_footprint:,} without a footprint {verb} not.")
        if mixed:
            named = ", ".join(sorted(".".join(path) for path in mixed))
            remarks.append(f"Written as text, because the archives differ in the type: {named}.")
        return remarks
