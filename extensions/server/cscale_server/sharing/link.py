"""The link of a shared notebook: the same for everybody, and it opens it for members only."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cscale_core.notebooks.places import NotebookRef

PAGE = "cscale/notebooks"
"""Below a server's address: the page of a shared notebook, ``VO/AUTHOR/NAME``."""

_PUBLIC_HUB = "JUPYTERHUB_PUBLIC_HUB_URL"
_HUB_BASE = "JUPYTERHUB_BASE_URL"


def link(
    ref: NotebookRef,
    version: int | None,
    base_url: str,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """The address of a shared notebook's page.

    The hub sends who comes there to a login, to their own server (which it starts if need be), and
    in that to the page. It says nothing but what the reference says.

    :param base_url: of this server; used where no hub started it.
    """
    page = f"{PAGE}/{ref.vo}/{ref.author}/{ref.name}"  # nothing in these needs quoting
    query = f"?version={version}" if version is not None else ""
    if _HUB_BASE not in environment:
        return f"{base_url}{page}{query}"
    hub = environment.get(_PUBLIC_HUB) or f"{environment[_HUB_BASE].rstrip('/')}/hub/"
    return f"{hub.rstrip('/')}/user-redirect/{page}{query}"
