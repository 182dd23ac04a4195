"""What the hub's groups may do: JupyterHub roles from the VO file.

Everybody may start, stop and use their own server (JupyterHub's role ``user``); groups add only
what the rule of shared notebooks allows, and only towards the same VO.
"""

from __future__ import annotations

from typing import Any

from cscale_hub.vo_model import VOFile
from cscale_hub.vos import GROUP_PREFIX


def group_roles(vos: VOFile) -> list[dict[str, Any]]:
    """Entries of ``JupyterHub.load_roles``: letting others of the VO into an own server.

    A share is given to the VO's group as a whole or to one person of it by name, so these names
    have to be readable; nothing else of others is. JupyterHub makes the groups that do not exist
    yet, without members.
    """
    return [
        {
            "name": role_name(name),
            "description": f"Members of {name} let each other into their own servers",
            "scopes": [
                "shares!user",
                f"read:groups:name!group={GROUP_PREFIX}{name}",
                f"read:users:name!group={GROUP_PREFIX}{name}",
            ],
            "groups": [f"{GROUP_PREFIX}{name}"],
        }
        for name, vo in vos.vos.items()
        if vo.shared_notebooks.co_editing
    ]


def role_name(vo: str) -> str:
    """The name of the VO's role: JupyterHub takes lower-case letters, digits and a few signs."""
    return f"share-{vo.lower()}"
