"""The page of one shared notebook for people who follow a link; its answers are HTML."""

from __future__ import annotations

import os
import secrets
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import JupyterHandler
from tornado import web

from cscale_core.errors import CScaleError, Forbidden, InvalidInput
from cscale_core.notebooks.places import MAX_VERSION, NotebookRef
from cscale_server import problems
from cscale_server.routes.base import OWNER_VARIABLE
from cscale_server.routes.sharing.notebooks import root_of

if TYPE_CHECKING:
    from cscale_server.app import CScaleExtension


class SharedNotebookPage(JupyterHandler):
    """Look at a shared notebook, and take a copy of it."""

    auth_resource = "cscale:sharing"

    def initialize(self, extension: CScaleExtension) -> None:
        """Called by tornado for each request, before anything else."""
        self.extension = extension

    @cached_property
    def nonce(self) -> str:
        """What the page's style is known by."""
        return secrets.token_urlsafe(16)

    @property
    def content_security_policy(self) -> str:
        """Nothing loads and nothing runs, but our style."""
        from cscale_server.sharing.page import policy

        return policy(self.nonce)

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        # The link of the page is told to no site that an author points to.
        self.set_header("Referrer-Policy", "no-referrer")

    @web.authenticated
    @authorized
    async def get(self, *parts: str) -> None:
        from cscale_server.sharing.page import page_of

        self._require_owner()
        sharing = (await self.extension.backend()).sharing
        shown = await sharing.show(NotebookRef.of(*parts), self._version)
        self.finish(page_of(shown, nonce=self.nonce, xsrf=self.xsrf_form_html()))

    @web.authenticated
    @authorized
    async def post(self, *parts: str) -> None:
        self._require_owner()
        sharing = (await self.extension.backend()).sharing
        ref = NotebookRef.of(*parts)
        path = await sharing.copy(ref, self._version, root_of(self.settings))
        self.redirect(f"{self.base_url}lab/tree/{quote(path)}", status=303)

    @property
    def _version(self) -> int | None:
        text = self.get_query_argument("version", "")
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text)):
            raise InvalidInput(f"version: a number from 1 to {MAX_VERSION} is expected.")
        return int(text)

    def _require_owner(self) -> None:
        owner = os.environ.get(OWNER_VARIABLE, "")
        if owner and self.current_user.username != owner:
            raise Forbidden(
                "This is the server of somebody else, to which you were let in.",
                hint="Open the link in your own server.",
            )

    def log_exception(self, *exc_info: Any) -> None:
        error = exc_info[1]
        if isinstance(error, CScaleError):
            self.log.info("%s: %s: %s", self.request.path, error.code, error.message)
        else:
            super().log_exception(*exc_info)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        from cscale_server.sharing.page import page_of_error

        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, web.HTTPError):
            super().write_error(status_code, **kwargs)
            return
        if not isinstance(error, CScaleError):
            error = CScaleError("Something went wrong.", hint="Your server's log tells more.")
        self.set_status(problems.status_of(error))
        self.finish(page_of_error(error, nonce=self.nonce, lab=f"{self.base_url}lab"))
