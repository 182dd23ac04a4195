"""openEO back ends: logging in by a code, and the processes that they know."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.errors import NotFound
from cscale_server.job_models import Login, LoginRequest, LoginState, Processes
from cscale_server.models import Document
from cscale_server.routes.base import CScaleHandler
from cscale_server.routes.table import UPSTREAM, Operation, Route


class BackendHandler(CScaleHandler):
    """What the handlers of one back end have in common. Holds no verbs."""

    def require_backend(self, backend: str) -> None:
        """:raises NotFound: when the site has no such openEO back end."""
        if all(known.id != backend for known in self.extension.require_site().openeo):
            raise NotFound(f"There is no openEO back end {backend[:100]} here.")


class LoginHandler(BackendHandler):
    auth_resource = "cscale:jobs"

    @property
    def _track_activity(self) -> bool:  # type: ignore[override]
        return self.request.method != "GET"  # polled while the code is typed, see StatusHandler

    @web.authenticated
    @authorized
    async def get(self, backend: str) -> None:
        self.require_owner()  # the code is for the owner's eyes
        self.require_backend(backend)
        begun = (await self.extension.backend()).openeo().login(backend)
        self.answer(Login(login=None if begun is None else LoginState(**asdict(begun))))

    @web.authenticated
    @authorized
    async def post(self, backend: str) -> None:
        self.require_owner()
        self.require_backend(backend)
        request = await self.body(LoginRequest)
        openeo = (await self.extension.backend()).openeo()
        begun = await openeo.begin_login(backend, keep=request.keep)
        self.answer(LoginState(**asdict(begun)), HTTPStatus.CREATED)


class ProcessesHandler(BackendHandler):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def get(self, backend: str) -> None:
        self.require_owner()  # the back end is asked with the owner's login
        self.require_backend(backend)
        openeo = (await self.extension.backend()).openeo()
        self.answer(Processes(processes=await openeo.processes(backend)))


class ProcessHandler(BackendHandler):
    auth_resource = "cscale:jobs"

    @web.authenticated
    @authorized
    async def get(self, backend: str, process: str) -> None:
        self.require_owner()
        self.require_backend(backend)
        openeo = (await self.extension.backend()).openeo()
        self.answer(await openeo.own_process(backend, process))


ROUTES: tuple[Route, ...] = (
    Route(
        "jobs/backends/{backend}/login",
        LoginHandler,
        (
            Operation(
                "get",
                "How the login begun last at an openEO back end goes",
                Login,
                errors=(NotFound,),
            ),
            Operation(
                "post",
                "Begin to log in at an openEO back end by a code; one that still waits to be "
                "typed is given again",
                LoginState,
                request=LoginRequest,
                status=HTTPStatus.CREATED,
                errors=(NotFound, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "jobs/backends/{backend}/processes",
        ProcessesHandler,
        (
            Operation(
                "get",
                "The processes that an openEO back end knows, the user's own first",
                Processes,
                errors=(NotFound, *UPSTREAM),
            ),
        ),
    ),
    Route(
        "jobs/backends/{backend}/processes/{process}",
        ProcessHandler,
        (
            Operation(
                "get",
                "A process that the user keeps at an openEO back end, with its graph",
                Document,
                errors=(NotFound, *UPSTREAM),
            ),
        ),
    ),
)
