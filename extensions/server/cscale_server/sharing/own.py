"""The notebooks in the user's home folder, to choose one that is published.

Only names are looked at. Mounted buckets are left out: looking through them asks the object store
for every folder, and may hang where a mount does.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cscale_server.mounts import mount_points
from cscale_server.sharing.models import OwnNotebook, OwnNotebooks

SECONDS = 4.0
"""So long is looked at most; a home folder on a slow server may hold a lot."""

MOST = 500
"""Notebooks that are told at most, the newest."""

_NEVER = {"node_modules", "site-packages", "__pycache__"}
_ENVIRONMENT = {"pyvenv.cfg", "conda-meta"}
"""A folder with one of these in it holds programs, and notebooks that came with them."""


def own_notebooks(root: Path, *, seconds: float = SECONDS) -> OwnNotebooks:
    """The notebooks below the root of the file browser, the one that was changed last first.

    Blocks, and may hang where a network folder does: call it by
    :func:`cscale_server.mounts.in_thread`.
    """
    found: list[OwnNotebook] = []
    complete = True
    end = time.monotonic() + seconds
    waiting = deque([""])
    elsewhere = {os.fspath(path) for path in mount_points(root)}
    while waiting:
        if time.monotonic() > end:
            complete = False
            break
        folder = waiting.popleft()
        entries = list(_entries(root / folder))
        if _ENVIRONMENT & {entry.name for entry in entries}:
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in _NEVER and entry.path not in elsewhere:
                        waiting.append(path)
                elif entry.name.endswith(".ipynb") and entry.is_file(follow_symlinks=False):
                    changed = datetime.fromtimestamp(entry.stat().st_mtime, UTC)
                    found.append(OwnNotebook(path=path, modified=changed))
            except OSError:
                continue  # it was taken away while we looked
    newest = heapq.nlargest(MOST, found, key=lambda each: each.modified)
    return OwnNotebooks(notebooks=newest, complete=complete and len(found) <= MOST)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What the file browser shows of a folder; nothing where it may not be read."""
    try:
        with os.scandir(folder) as entries:
            yield from (
                entry for entry in entries if not entry.name.startswith(".") and _text(entry.name)
            )
    except OSError:
        return


def _text(name: str) -> bool:
    """Whether a name can be told; file systems know others, too."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
