"""Bring items into the bucket, as a job; write staged items to the community's catalogue."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.errors import Conflict, InvalidInput, NotFound
from cscale_core.ingest.register import RegisterReport
from cscale_core.jobs.model import Job, JobSpec
from cscale_server.job_models import StageRequest
from cscale_server.models import Item, RegisterRequest
from cscale_server.routes.base import CScaleHandler
from cscale_server.routes.jobs.answers import IDEMPOTENCY, JobAnswers
from cscale_server.routes.table import UPSTREAM, Operation, Route

if TYPE_CHECKING:
    from cscale_server.catalog.service import Catalog


class StageHandler(JobAnswers):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        request = await self.body(StageRequest)
        backend = await self.extension.backend()
        items = await self._chosen(request, backend.catalog)
        spec = JobSpec(
            engine="staging",
            title=request.title or f"Stage {len(items)} item" + ("s" if len(items) > 1 else ""),
            vo=request.vo,
            process={
                "items": items,
                "assets": request.assets,
                "register": request.register_items,
            },
        )
        self.answer_new(await backend.jobs.submit(spec, self.idempotency_key))

    @staticmethod
    async def _chosen(request: StageRequest, catalog: Catalog) -> list[Item]:
        if request.refs is not None:
            return await catalog.items(request.refs)
        if request.query is None:
            return request.items or []
        # Without ``fields``: what is staged is whole.
        found = await catalog.search(request.query.model_copy(update={"fields": None}))
        if not found.items:
            failed = [report.id for report in found.providers if report.error]
            raise InvalidInput(
                "The search finds nothing, so there is nothing to stage."
                + (f" These did not answer: {', '.join(failed)}." if failed else ""),
                hint="Widen the area, the dates or the list of collections.",
            )
        return list(found.items)


class RegisterHandler(CScaleHandler):
    auth_resource = "cscale:register"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        request = await self.body(RegisterRequest)
        backend = await self.extension.backend()
        self.answer(await backend.register(request.items))


ROUTES: tuple[Route, ...] = (
    Route(
        "stage",
        StageHandler,
        (
            Operation(
                "post",
                "Bring items into the bucket, as a job",
                Job,
                request=StageRequest,
                status=HTTPStatus.CREATED,
                parameters=(IDEMPOTENCY,),
                errors=(NotFound, Conflict, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "register",
        RegisterHandler,
        (
            Operation(
                "post",
                "Write staged items to the community's catalogue",
                RegisterReport,
                request=RegisterRequest,
                errors=UPSTREAM,
            ),
        ),
    ),
)
