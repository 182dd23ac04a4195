"""Routes of the notices of jobs that have ended: what there is, and that it was seen."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.errors import Conflict, CScaleError, DamagedData, StorageFull
from cscale_server.routes.base import CScaleHandler
from cscale_server.routes.table import Operation, Parameter, Route
from cscale_server.saved_models import NoticeList, SeenRequest


class NoticesHandler(CScaleHandler):
    auth_resource = "cscale:jobs"
    _track_activity = False  # polled, see StatusHandler

    @web.authenticated
    @authorized
    async def get(self) -> None:
        unseen = self.choice("unseen", ("false", "true")) == "true"
        notices = (await self.extension.backend()).notices
        self.answer(NoticeList(notices=await asyncio.to_thread(notices.list, unseen=unseen)))


class SeenHandler(CScaleHandler):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        request = await self.body(SeenRequest)
        notices = (await self.extension.backend()).notices
        await asyncio.to_thread(notices.see, request.jobs)
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


_UNSEEN = Parameter(
    "unseen", "query", {"type": "boolean", "default": False}, "Only those that nobody has seen."
)
_FILE: tuple[type[CScaleError], ...] = (Conflict, DamagedData, StorageFull)

ROUTES: tuple[Route, ...] = (
    Route(
        "notices",
        NoticesHandler,
        (
            Operation(
                "get",
                "Jobs that have ended, the latest first",
                NoticeList,
                parameters=(_UNSEEN,),
                errors=_FILE,
            ),
        ),
    ),
    Route(
        "notices/seen",
        SeenHandler,
        (
            Operation(
                "post",
                "Somebody has seen the notices of these jobs",
                None,
                request=SeenRequest,
                status=HTTPStatus.NO_CONTENT,
                errors=_FILE,
            ),
        ),
    ),
)
