"""Shared notebooks over an object store in memory, for the routes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cscale_core.notebooks.library import SharedNotebooks
from cscale_server.sharing.service import NotebookSharing
from tests.core.notebooks.doubles import (
    ALICE,
    BOB,
    MemoryStore,
    code,
    markdown,
    notebook,
    output,
    picture_output,
    png,
    site_of,
    submission,
)

NOTEBOOK = f"aqua.example%7C{BOB}%7Cwater-quality"
MISSING = f"aqua.example%7C{BOB}%7Cmissing"
FILE = "analysis.ipynb"


def of_bob() -> dict[str, Any]:
    """A notebook with something of everything."""
    return notebook(
        markdown("# Turbidity <script>alert(1)</script>\n\n![x](https://tracker.example/x.png)"),
        code("plot('<img src=x>')", picture_output(png())),
        code("show()", output(**{"text/html": "<script>alert(2)</script>"})),
    )


@dataclass
class Sharing:
    """Alice's server, and a store in which Bob has published one notebook."""

    memory: MemoryStore
    bob: SharedNotebooks
    service: NotebookSharing


def sharing(tokens: Any, **roles: str) -> Sharing:
    """What Alice has, by her role in each VO; a member of one when nothing is said."""
    memory = MemoryStore()
    bobs, alices = site_of(BOB, aqua="member"), site_of(ALICE, **(roles or {"aqua": "member"}))
    bob = SharedNotebooks(bobs, memory.of(bobs))  # type: ignore[arg-type]
    bob.publish(submission(of_bob(), title="Water quality", description="<i>The lake</i>"))
    alice = SharedNotebooks(alices, memory.of(alices))  # type: ignore[arg-type]
    return Sharing(memory, bob, NotebookSharing(alice, tokens))


def write_notebook(home: Path, made: dict[str, Any] | None = None, name: str = FILE) -> Path:
    """A notebook in the file browser."""
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made or notebook(code("1 + 1"))), encoding="utf-8")
    return path
