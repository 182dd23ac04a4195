"""Routes of the notebooks that members of a VO share, and the page that a copied link opens."""

from __future__ import annotations

from cscale_server.routes.sharing.notebooks import ROUTES
from cscale_server.routes.sharing.page import SharedNotebookPage

__all__ = ["ROUTES", "SharedNotebookPage"]
