"""What a job leaves: the lines of its log, and its results."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.errors import Conflict, NotFound
from cscale_server.job_models import Logs, Results
from cscale_server.routes.base import CScaleHandler
from cscale_server.routes.jobs.answers import JobAnswers
from cscale_server.routes.table import UPSTREAM, Operation, Parameter, Route

LEVELS = ("debug", "info", "warning", "error")
LONGEST_WAIT = 30
"""Seconds for which a question for lines is held; proxies give up after a minute."""


class LogsHandler(CScaleHandler):
    auth_resource = "cscale:jobs"
    _track_activity = False  # polled, see StatusHandler

    @web.authenticated
    @authorized
    async def get(self, job_id: str) -> None:
        after, limit = self.number("after", 0), self.number("limit", 500, largest=5000)
        level = self.choice("level", LEVELS)
        wait = self.seconds("wait", longest=LONGEST_WAIT)
        jobs = (await self.extension.backend()).jobs
        lines = await self.while_connected(
            jobs.logs(job_id, after=after, limit=limit, level=level, wait=wait)
        )
        if lines is not None:
            self.answer(Logs(logs=lines, next=lines[-1].id if lines else after))


class ResultsHandler(JobAnswers):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def get(self, job_id: str) -> None:
        refused = self.choice("refused", ("false", "true")) == "true"
        jobs = (await self.extension.backend()).jobs
        self.answer(Results(features=self.localised(await jobs.results(job_id, refused=refused))))


_AFTER = Parameter(
    "after", "query", {"type": "integer", "minimum": 0, "default": 0}, "id of the last line known."
)
_LIMIT = Parameter(
    "limit",
    "query",
    {"type": "integer", "minimum": 0, "maximum": 5000, "default": 500},
    "Lines at most.",
)
_LEVEL = Parameter(
    "level",
    "query",
    {"type": "string", "enum": list(LEVELS), "default": LEVELS[0]},
    "The least level that is shown.",
)
_WAIT = Parameter(
    "wait",
    "query",
    {"type": "number", "minimum": 0, "default": 0},
    "Seconds to wait for a line when there is none; the end of the job ends it. More than "
    f"{LONGEST_WAIT} is {LONGEST_WAIT}.",
)
_REFUSED = Parameter(
    "refused",
    "query",
    {"type": "boolean", "default": False},
    "A link was refused (403, 410): links are made anew, whatever they say of their end.",
)

ROUTES: tuple[Route, ...] = (
    Route(
        "jobs/{job_id}/logs",
        LogsHandler,
        (
            Operation(
                "get",
                "Log lines",
                Logs,
                parameters=(_AFTER, _LIMIT, _LEVEL, _WAIT),
                errors=(NotFound,),
            ),
        ),
    ),
    Route(
        "jobs/{job_id}/results",
        ResultsHandler,
        (
            Operation(
                "get",
                "Result items, with links that work now",
                Results,
                parameters=(_REFUSED,),
                errors=(NotFound, Conflict, *UPSTREAM),
            ),
        ),
    ),
)
