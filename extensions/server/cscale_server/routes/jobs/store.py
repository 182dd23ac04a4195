"""The file of the job list: whether it can be written, and a new one from a damaged one."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.errors import Conflict, StorageFull
from cscale_core.jobs.model import StoreState
from cscale_server.routes.base import CScaleHandler
from cscale_server.routes.table import Operation, Route


class StoreHandler(CScaleHandler):
    auth_resource = "cscale:jobs"
    _track_activity = False  # polled, see StatusHandler

    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.answer(await (await self.extension.backend()).jobs.store_state())


class RecoverHandler(CScaleHandler):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        self.answer(await (await self.extension.backend()).jobs.recover())


ROUTES: tuple[Route, ...] = (
    Route(
        "jobs/store",
        StoreHandler,
        (Operation("get", "Whether the list of jobs can be written", StoreState),),
    ),
    Route(
        "jobs/store/recover",
        RecoverHandler,
        (
            Operation(
                "post",
                "Write a new list from what can be read of a damaged one and its backup",
                StoreState,
                errors=(Conflict, StorageFull),
            ),
        ),
    ),
)
