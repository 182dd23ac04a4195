"""Names of layers: by what the page names a raster. Never by an address, so that none can be asked.

``item|PROVIDER|COLLECTION|ID``, ``job|JOB|ITEM`` and ``object|BUCKET|KEY``, the parts
percent-encoded, as references of items are.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

from cscale_core.errors import NotFound

MAX_LENGTH = 4000

_SHOWN = (".tif", ".tiff", ".jp2")


@dataclass(frozen=True)
class ItemLayer:
    """An item of the federation."""

    ref: str


@dataclass(frozen=True)
class JobLayer:
    """One result item of a job."""

    job: str
    item: str


@dataclass(frozen=True)
class ObjectLayer:
    """One object in a bucket."""

    bucket: str
    key: str


def parsed(layer: str) -> ItemLayer | JobLayer | ObjectLayer:
    """What a name stands for.

    :raises NotFound: when it is none.
    """
    kind, _, rest = layer.partition("|")
    parts = rest.split("|")
    if len(layer) <= MAX_LENGTH and all(parts[:2]):
        if kind == "item" and len(parts) == 3:
            return ItemLayer(rest)
        if kind == "job" and len(parts) == 2:
            return JobLayer(unquote(parts[0]), unquote(parts[1]))
        if kind == "object" and len(parts) == 2:
            return ObjectLayer(unquote(parts[0]), unquote(parts[1]))
    raise NotFound(f"There is no layer {layer[:200]}.")


def object_layer(bucket: str, key: str) -> str:
    """The name of an object in a bucket."""
    return f"object|{quote(bucket, safe='')}|{quote(key, safe='')}"


def can_be_shown(key: str) -> bool:
    """Whether an object of this name is worth trying."""
    return key.lower().endswith(_SHOWN)
