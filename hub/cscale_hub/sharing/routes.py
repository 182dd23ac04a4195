"""The hub's addresses of sharing: a page for people, and where servers tell of notebooks."""

from __future__ import annotations

from typing import Any

from cscale_hub.sharing import page, publications

HANDLERS: list[tuple[str, Any]] = [
    (page.PATH, page.SharedServerHandler),
    (publications.PATH, publications.PublicationHandler),
]
