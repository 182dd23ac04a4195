"""Before a job is submitted: the places that run jobs, what it would cost, whether it is right."""

from __future__ import annotations

from dataclasses import asdict

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.jobs.model import JobSpec
from cscale_server.job_models import (
    BackendEntry,
    BackendList,
    Estimate,
    Faults,
    Script,
    SparkSize,
    SparkSizes,
)
from cscale_server.routes.base import CScaleHandler
from cscale_server.routes.table import UPSTREAM, Operation, Route


class BackendsHandler(CScaleHandler):
    auth_resource = "cscale:jobs"
    _track_activity = False  # polled, see StatusHandler

    @web.authenticated
    @authorized
    async def get(self) -> None:
        jobs = (await self.extension.backend()).jobs
        states, listed = await jobs.backends(), (await jobs.changes()).jobs
        self.answer(BackendList(backends=[BackendEntry.of(state, listed) for state in states]))


class EstimateHandler(CScaleHandler):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()  # the back end is asked with the owner's login
        spec = await self.body(JobSpec)
        found = await (await self.extension.backend()).jobs.estimate(spec)
        self.answer(Estimate(**{**(found or {}), "known": found is not None}))


class ValidateHandler(CScaleHandler):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        spec = await self.body(JobSpec)
        found = await (await self.extension.backend()).jobs.faults(spec)
        self.answer(Faults(asked=found is not None, faults=found or []))


class SizesHandler(CScaleHandler):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        found = (await self.extension.backend()).spark_sizes()
        self.answer(SparkSizes(sizes=[SparkSize(**asdict(size)) for size in found]))


class ScriptHandler(CScaleHandler):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.require_owner()
        spec = await self.body(JobSpec)
        self.answer(Script(script=await (await self.extension.backend()).jobs.script(spec)))


ROUTES: tuple[Route, ...] = (
    Route(
        "jobs/backends",
        BackendsHandler,
        (Operation("get", "The places that run jobs, and whether they answer", BackendList),),
    ),
    Route(
        "jobs/estimate",
        EstimateHandler,
        (
            Operation(
                "post",
                "What a job would cost, where its back end says; nothing is submitted",
                Estimate,
                request=JobSpec,
                errors=UPSTREAM,
            ),
        ),
    ),
    Route(
        "jobs/validate",
        ValidateHandler,
        (
            Operation(
                "post",
                "What the place that would run a job finds wrong with it; nothing is submitted",
                Faults,
                request=JobSpec,
                errors=UPSTREAM,
            ),
        ),
    ),
    Route(
        "jobs/sizes",
        SizesHandler,
        (Operation("get", "Sizes of Spark applications, and whether they fit", SparkSizes),),
    ),
    Route(
        "jobs/script",
        ScriptHandler,
        (
            Operation(
                "post",
                "The batch script of a Slurm job; nothing is submitted",
                Script,
                request=JobSpec,
            ),
        ),
    ),
)
