"""The REST API below ``cscale/api/v1``: handlers that only translate HTTP, and their table.

Beside it the pages, which people open by their address.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cscale_server.routes.base import PREFIX, CScaleHandler
from cscale_server.routes.catalog import ROUTES as OF_THE_CATALOGUE
from cscale_server.routes.jobs import ROUTES as OF_JOBS
from cscale_server.routes.layers import ROUTES as OF_LAYERS
from cscale_server.routes.notices import ROUTES as OF_NOTICES
from cscale_server.routes.saved import ROUTES as OF_SAVED
from cscale_server.routes.server import ROUTES as OF_THE_SERVER
from cscale_server.routes.server import UnknownHandler
from cscale_server.routes.sharing import ROUTES as OF_SHARING
from cscale_server.routes.sharing import SharedNotebookPage
from cscale_server.routes.storage import ROUTES as OF_STORAGE
from cscale_server.routes.table import Route
from cscale_server.routes.workflows import ROUTES as OF_WORKFLOWS
from cscale_server.sharing.link import PAGE

if TYPE_CHECKING:
    from jupyter_server.base.handlers import JupyterHandler

    from cscale_server.app import CScaleExtension

ROUTES: tuple[Route, ...] = (
    *OF_THE_SERVER,
    *OF_THE_CATALOGUE,
    *OF_SAVED,
    *OF_LAYERS,
    *OF_STORAGE,
    *OF_WORKFLOWS,
    *OF_NOTICES,
    *OF_JOBS,
    *OF_SHARING,
)

_SEGMENT = re.compile(r"\{\w+\}")


def handlers(extension: CScaleExtension) -> list[tuple[str, type[CScaleHandler], dict[str, Any]]]:
    """The table as tornado takes it; the base URL is put before it by Jupyter Server."""
    arguments = {"extension": extension}
    table: list[tuple[str, type[CScaleHandler], dict[str, Any]]] = [
        (f"{PREFIX}/" + _SEGMENT.sub(r"([^/]+)", route.path), route.handler, arguments)
        for route in ROUTES
    ]
    return [*table, (f"{PREFIX}(?:/(.*))?", UnknownHandler, arguments)]


def pages(extension: CScaleExtension) -> list[tuple[str, type[JupyterHandler], dict[str, Any]]]:
    """What is opened in a browser by its own address; the answers are HTML."""
    segments = "/([^/]+)" * 3
    return [(PAGE + segments, SharedNotebookPage, {"extension": extension})]
