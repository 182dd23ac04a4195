"""Routes that tell about this server, and the answer for paths that are not in the table."""

from __future__ import annotations

from http import HTTPStatus

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.site import Site
from cscale_server.models import Status
from cscale_server.routes.base import PREFIX, CScaleHandler
from cscale_server.routes.table import Operation, Route


class StatusHandler(CScaleHandler):
    auth_resource = "cscale:status"
    _track_activity = False  # polled: a forgotten tab must not keep the server alive

    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.answer(self.extension.status())


class SiteHandler(CScaleHandler):
    auth_resource = "cscale:site"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.answer(self.extension.require_site())


class UnknownHandler(CScaleHandler):
    """What is not in the table: a problem in JSON instead of Jupyter's page."""

    auth_resource = "cscale:status"

    @web.authenticated
    @authorized
    async def get(self, path: str | None) -> None:
        self._refuse(path)

    @web.authenticated
    @authorized
    async def post(self, path: str | None) -> None:
        self._refuse(path)

    @web.authenticated
    @authorized
    async def put(self, path: str | None) -> None:
        self._refuse(path)

    @web.authenticated
    @authorized
    async def patch(self, path: str | None) -> None:
        self._refuse(path)

    @web.authenticated
    @authorized
    async def delete(self, path: str | None) -> None:
        self._refuse(path)

    def _refuse(self, path: str | None) -> None:
        raise web.HTTPError(HTTPStatus.NOT_FOUND, f"There is no {PREFIX}/{path or ''}")


ROUTES: tuple[Route, ...] = (
    Route("status", StatusHandler, (Operation("get", "Readiness and mounts", Status),)),
    Route("site", SiteHandler, (Operation("get", "What this place offers to this user", Site),)),
)
