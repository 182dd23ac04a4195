"""Notebooks that come with a home: copied once, and so complete that opening changes nothing."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

KERNEL = "python3"
_COPIED = ".notebooks-copied"


def copy_notebooks(source: Path | None, home: Path) -> list[str]:
    """Copy notebooks that the home never had; the user's own files are never touched.

    A notebook the user deleted does not come back.

    :returns: the names that were copied.
    """
    if source is None or not source.is_dir():
        return []
    note = home / _COPIED
    known = set(note.read_text(encoding="utf-8").splitlines()) if note.exists() else set()
    copied: list[str] = []
    for notebook in sorted(source.glob("*.ipynb")):
        if notebook.name in known:
            continue
        target = home / notebook.name
        if not target.exists():
            target.write_bytes(completed(notebook.read_bytes()))
            copied.append(notebook.name)
        known.add(notebook.name)
    note.write_text("\n".join(sorted(known)) + "\n", encoding="utf-8")
    return copied


def completed(notebook: bytes) -> bytes:
    """The notebook with what JupyterLab would add when it meets the kernel, and then want to save.

    What is for another kernel, or no notebook, stays as it is.
    """
    try:
        document: dict[str, Any] = json.loads(notebook)
        metadata = document["metadata"]
        ours = metadata["kernelspec"]["name"] == KERNEL
    except (ValueError, KeyError, TypeError):
        return notebook
    if not ours:
        return notebook
    metadata["language_info"] = language_info()
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def language_info() -> dict[str, Any]:
    """What the kernel of this Python says of its language (Jupyter messaging, kernel_info)."""
    return {
        "name": "python",
        "version": platform.python_version(),
        "mimetype": "text/x-python",
        "codemirror_mode": {"name": "ipython", "version": sys.version_info.major},
        "pygments_lexer": "ipython3",
        "nbconvert_exporter": "python",
        "file_extension": ".py",
    }
