"""Routes of the workflows that are offered: cards, pictures, and the job that one makes."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.errors import NotFound
from cscale_core.jobs.model import JobSpec
from cscale_server.job_models import WorkflowEntry, WorkflowRequest, Workflows
from cscale_server.routes.base import CScaleHandler
from cscale_server.routes.table import UPSTREAM, Operation, Route

_DAY = 24 * 60 * 60


class WorkflowsHandler(CScaleHandler):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        offered = (await self.extension.backend()).workflows
        site = self.extension.require_site()
        here = {"openeo": bool(site.openeo), "spark": bool(site.spark.kinds)}
        self.answer(
            Workflows(
                workflows=[
                    WorkflowEntry(
                        name=one.name,
                        title=one.title,
                        answers=one.answers,
                        needs=list(one.needs),
                        makes=one.makes,
                        engines=[way.engine for way in one.ways if here.get(way.engine)],
                        items=[way.engine for way in one.ways if way.items],
                        parameters=one.schema,
                    )
                    for one in offered.values()
                ]
            )
        )


class PictureHandler(CScaleHandler):
    auth_resource = "cscale:jobs"

    @property
    def content_security_policy(self) -> str:
        return super().content_security_policy + "; sandbox"

    @web.authenticated
    @authorized
    async def get(self, workflow: str) -> None:
        chosen = (await self.extension.backend()).workflow(workflow)
        self.set_header("Cache-Control", f"private, max-age={_DAY}")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(chosen.picture, set_content_type="image/svg+xml")


class SpecHandler(CScaleHandler):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self, workflow: str) -> None:
        self.require_owner()
        request = await self.body(WorkflowRequest)
        backend = await self.extension.backend()
        chosen = backend.workflow(workflow)
        items = await backend.catalog.items(request.refs or [])
        self.answer(
            JobSpec(
                engine=request.engine,
                title=request.title or chosen.title,
                backend=request.backend,
                vo=request.vo,
                process=chosen.process(request.engine, request.parameters, items),
                options=request.options,
                area=request.area,
            )
        )


ROUTES: tuple[Route, ...] = (
    Route(
        "workflows",
        WorkflowsHandler,
        (Operation("get", "The workflows that are offered, with their parameters", Workflows),),
    ),
    Route(
        "workflows/{workflow}/picture",
        PictureHandler,
        (
            Operation(
                "get",
                "A picture for the card of a workflow",
                None,
                media_types=("image/svg+xml",),
                errors=(NotFound,),
            ),
        ),
    ),
    Route(
        "workflows/{workflow}/spec",
        SpecHandler,
        (
            Operation(
                "post",
                "The job that a workflow makes of parameters; nothing is submitted",
                JobSpec,
                request=WorkflowRequest,
                errors=(NotFound, *UPSTREAM),
            ),
        ),
    ),
)
