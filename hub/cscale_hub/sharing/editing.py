"""Editing a notebook together in JupyterLab (jupyter-collaboration): where the VO wants it.

Elsewhere it is off altogether: documents then are saved as ever, and nothing of it is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cscale_hub.vo_model import VOFile

COOKIES = {"SameSite": "Lax"}
"""How the hub and its servers set cookies: no browser sends them along with what a foreign page
asks. The sockets of editing together look at no origin themselves."""

_FRONT_END = ("@jupyter/collaboration-extension", "@jupyter/docprovider-extension")
_SERVER = ("jupyter_server_ydoc", "jupyter_server_fileid")


def edits_together(vos: VOFile, vo: str) -> bool:
    """Whether servers that run for a VO have it."""
    return vo in vos.vos and vos.vos[vo].shared_notebooks.co_editing


def with_editing(config: dict[str, Any], wanted: bool, folder: Path) -> dict[str, Any]:
    """The configuration of a Jupyter server, with it on or off.

    :param folder: of this user, for what is kept of documents under way.
    """
    server = config.get("ServerApp", {})
    extensions = {**server.get("jpserver_extensions", {}), **dict.fromkeys(_SERVER, wanted)}
    made = {**config, "ServerApp": {**server, "jpserver_extensions": extensions}}
    if wanted:
        # Names of files by their paths alone: those in buckets are not on the disk.
        made["ArbitraryFileIdManager"] = {"db_path": str(folder / "names.sqlite")}
        made["SQLiteYStore"] = {"db_path": str(folder / "documents.sqlite")}
        made["YDocExtension"] = {"session_store_path": str(folder / "sessions.json")}
    return made


def disabled_in_front_end(wanted: bool) -> tuple[str, ...]:
    """JupyterLab's extensions that are not to be loaded."""
    return () if wanted else _FRONT_END
