"""Notebooks as documents: reading foreign ones, taking outputs out, writing provenance in."""

# nbformat carries no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import copy
import json
from typing import Any

import nbformat

from cscale_core.errors import DamagedData, InvalidInput
from cscale_core.notebooks.card import Provenance

Notebook = dict[str, Any]

MAX_NOTEBOOK = 24 * 1024 * 1024
"""Bytes of the largest notebook that is published or opened."""

METADATA = "cscale"
"""Member of a notebook's metadata in which provenance is."""

# Marks of trust and of where a cell was seen are of the reader, not of the notebook.
_CELL_MARKS = ("trusted", "execution", "collapsed", "scrolled", "ExecuteTime")


def read(data: bytes) -> Notebook:
    """A notebook from its bytes, in the present format.

    :raises DamagedData: when it is none.
    """
    if len(data) > MAX_NOTEBOOK:
        raise DamagedData(f"The notebook has more than {MAX_NOTEBOOK // 2**20} MiB.")
    try:
        found = nbformat.reads(data.decode("utf-8"), as_version=4)
        nbformat.validate(found)
        text = nbformat.writes(found, version=nbformat.NO_CONVERT)
        text.encode()  # half a character, which JSON can hold, is no text
        notebook: Notebook = json.loads(text)
    except Exception as error:  # nbformat has no one class for what it cannot read
        raise DamagedData("What is there cannot be read as a notebook.") from error
    return notebook


def write(notebook: Notebook) -> bytes:
    """The bytes of a notebook, as Jupyter writes them.

    :raises InvalidInput: when it is not valid, or too large.
    """
    try:
        node = nbformat.from_dict(notebook)
        nbformat.validate(node)
        data: bytes = nbformat.writes(node, version=nbformat.NO_CONVERT).encode()
    except Exception as error:  # as above
        raise InvalidInput(
            "The file is not a valid notebook.",
            hint="Nothing was published. Open it in JupyterLab, save it, and try again.",
        ) from error
    if len(data) > MAX_NOTEBOOK:
        raise InvalidInput(
            f"The notebook has more than {MAX_NOTEBOOK // 2**20} MiB.",
            hint="Nothing was published. Publish it without its outputs, or clear the largest.",
        )
    return data


def prepared(notebook: Notebook, *, outputs: bool) -> Notebook:
    """A copy for others: without marks of trust, and with outputs only where they are wanted."""
    made = copy.deepcopy(notebook)
    metadata = made.setdefault("metadata", {})
    metadata.pop("signature", None)
    metadata.pop("trusted", None)
    if not outputs:
        metadata.pop("widgets", None)
    for cell in made.get("cells", ()):
        for mark in _CELL_MARKS:
            cell.get("metadata", {}).pop(mark, None)
        if cell.get("cell_type") == "code" and not outputs:
            cell["outputs"], cell["execution_count"] = [], None
    return made


def stamped(notebook: Notebook, provenance: Provenance) -> Notebook:
    """A copy that says where it comes from."""
    made = copy.deepcopy(notebook)
    made["metadata"][METADATA] = {"published": provenance.model_dump(exclude_defaults=True)}
    return made


def private_copy(notebook: Notebook, ref: str, version: int, date: str) -> Notebook:
    """A copy for one reader, which says what it is a copy of; what the author said stays.

    Nothing in it is marked as trusted: its outputs are shown without active content until its new
    owner runs the cells.
    """
    made = prepared(notebook, outputs=True)
    kept = made["metadata"].get(METADATA)
    published = kept.get("published") if isinstance(kept, dict) else None
    made["metadata"][METADATA] = {
        "opened": {"ref": ref, "version": version, "date": date},
        **({"published": published} if isinstance(published, dict) else {}),
    }
    return made


def opened_from(notebook: Notebook) -> str:
    """What a notebook says it began as a copy of; empty where it says nothing."""
    kept = notebook.get("metadata", {}).get(METADATA)
    opened = kept.get("opened") if isinstance(kept, dict) else None
    if not isinstance(opened, dict) or not isinstance(opened.get("ref"), str):
        return ""
    return f"{opened['ref']} version {opened.get('version', '?')}"[:200]


def language(notebook: Notebook) -> str:
    """The programming language of the cells, where it is said."""
    metadata = notebook.get("metadata", {})
    for member, name in (("language_info", "name"), ("kernelspec", "language")):
        part = metadata.get(member)
        if isinstance(part, dict) and isinstance(part.get(name), str) and part[name]:
            return str(part[name])[:200]
    return ""


def text_of(value: Any) -> str:
    """Text that notebooks keep as one string or as a list of lines."""
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""
