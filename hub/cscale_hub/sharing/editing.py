"""Editing a notebook together in JupyterLab (jupyter-collaboration): where the VO wants it.

Elsewhere it is off altogether: documents then are saved as ever, and nothing of it is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cscale_hub.vo_model import VOFile

_FRONT_END = ("@jupyter/collaboration-extension", "@jupyter/docprovider-extension")
_SERVER = "jupyter_server_ydoc"
# Comes with it and would keep a database of all files; it is not needed.
_FILE_IDS = "jupyter_server_fileid"


def edits_together(vos: VOFile, vo: str) -> bool:
    """Whether servers that run for a VO have it."""
    return vo in vos.vos and vos.vos[vo].shared_notebooks.co_editing


def with_editing(config: dict[str, Any], wanted: bool, folder: Path) -> dict[str, Any]:
    """The configuration of a Jupyter server, with it on or off.

    :param folder: of this user, for what is kept of documents under way.
    """
    server = config.get("ServerApp", {})
    extensions = {**server.get("jpserver_extensions", {}), _SERVER: wanted, _FILE_IDS: False}
    made = {**config, "ServerApp": {**server, "jpserver_extensions": extensions}}
    if wanted:
        made["SQLiteYStore"] = {"db_path": str(folder / "documents.sqlite")}
        made["YDocExtension"] = {"session_store_path": str(folder / "sessions.json")}
    return made


def disabled_in_front_end(wanted: bool) -> tuple[str, ...]:
    """JupyterLab's extensions that are not to be loaded."""
    return () if wanted else _FRONT_END
