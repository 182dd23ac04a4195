"""What every user's Jupyter server is configured with, as the files of a configuration folder.

The spawners write them where the server finds them; nothing in them is secret.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cscale_hub.announcement_feed import PATH as FEED
from cscale_hub.settings import Settings, public_url
from cscale_hub.sharing.editing import disabled_in_front_end, with_editing

SERVER, PAGE, DEFAULTS = (
    "jupyter_server_config.json",
    "labconfig/page_config.json",
    "labconfig/default_setting_overrides.json",
)
FILES = (SERVER, PAGE, DEFAULTS)
# A front-end extension that would ask servers on the internet: jupyter-fs with its web fonts (it
# comes with other packages; its server side is not used here).
_DISABLED_EXTENSIONS = ("jupyter-fs",)
# JupyterLab shows the hub's announcements in place of Jupyter's news, and asks nobody for updates.
_FRONT_END_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "true", "checkForUpdates": False}
}


def configuration(
    settings: Settings, *, together: bool, documents: Path, as_root: bool = False
) -> dict[str, str]:
    """The text of each of the files.

    :param together: whether notebooks are edited together.
    :param documents: folder for what is kept of documents under way; it exists.
    :param as_root: whether the server may run as root.
    """
    disabled = (*_DISABLED_EXTENSIONS, *disabled_in_front_end(together))
    found: dict[str, Any] = {
        SERVER: with_editing(server_config(settings, as_root=as_root), together, documents),
        PAGE: {"disabledExtensions": dict.fromkeys(disabled, True)},
        DEFAULTS: _FRONT_END_SETTINGS,
    }
    return {name: json.dumps(each, indent=1) for name, each in found.items()}


def server_config(settings: Settings, *, as_root: bool = False) -> dict[str, Any]:
    """Configuration of the server itself."""
    return {
        "ServerApp": {
            "jpserver_extensions": {"cscale_server": True, "jupyter_server_proxy": True},
            "allow_root": as_root,
        },
        # A trash folder on a mounted bucket would be outside what the user may write.
        "FileContentsManager": {"delete_to_trash": False},
        "LabApp": {
            "news_url": f"{public_url(settings)}/hub{FEED}",
            "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        },
        "CScaleExtension": {
            "longest_staging": settings.culling.longest_staging_hours,
            "longest_computing": settings.culling.longest_computing_hours,
        },
    }
