"""The extension itself: loads cheaply, starts in the background, and cleans up at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, cast

import httpx
from jupyter_core.paths import jupyter_data_dir
from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp
from traitlets import Float, Type, Unicode, default
from traitlets.config import Config

from cscale_core.errors import CScaleError
from cscale_core.identity.tokens import BrokerTokens, CredentialSource
from cscale_core.jobs.model import Job, JobStatus
from cscale_core.site import Site, load_site
from cscale_server import notices
from cscale_server.backend import Backend, Surroundings, software_version
from cscale_server.computing import ComputingWatch
from cscale_server.events import SCHEMA_FILE, SCHEMA_ID, JobEvents
from cscale_server.given_mounts import GivenMounts
from cscale_server.listener import LoopbackListener, NoBroker
from cscale_server.models import MountStatus, Status
from cscale_server.mounts import Mounts
from cscale_server.problems import NotConfigured
from cscale_server.reports import JobReports
from cscale_server.routes import handlers, pages
from cscale_server.sharing.telling import Telling
from cscale_ui import STATIC

CONTENTS_MANAGER = "cscale_server.contents.BucketContentsManager"
ACTIVITY_SETTING = "cscale_last_activity"
"""Setting of the web application that holds when a copy was last seen to run here."""

LOOPBACK_VARIABLES = ("CSCALE_LOOPBACK_PORT", "CSCALE_LOOPBACK_TOKEN_FILE")
"""What the hub sets where containers beside the server ask it for credentials."""

_STATIC_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


class CScaleExtension(ExtensionApp):
    """C-SCALE Hub in the user's server."""

    name = "cscale"
    static_paths = (str(STATIC),)

    backend_class = Type(
        Backend,
        klass=Backend,
        help="""What searches, registers and runs jobs. Replaced in tests.""",
    ).tag(config=True)

    longest_computing = Float(
        24.0,
        min=0.0,
        help="""Hours for which a kernel that is busy and says nothing keeps the hub from culling
        the server, counted from the last it said.""",
    ).tag(config=True)

    data_dir = Unicode(
        help="""Folder of the store of jobs and of the mounts' write caches; it outlives the server
        and may be on NFS. Default: "cscale" in Jupyter's data folder.""",
    ).tag(config=True)

    longest_staging = Float(
        4.0,
        min=0.0,
        help="""Hours for which a copy into a bucket that runs in this process keeps the hub from
        culling the server, counted from the start of its job. Jobs elsewhere never do: they go on
        without the server.""",
    ).tag(config=True)

    @default("data_dir")  # type: ignore[untyped-decorator]
    def _default_data_dir(self) -> str:
        return str(Path(jupyter_data_dir()) / "cscale")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._site: Site | None = None
        self._why_not = "the extension was not started"
        self._listener: LoopbackListener | None = None
        self._broker_http: httpx.AsyncClient | None = None
        self._source: CredentialSource = NoBroker()
        self._mounts: Mounts | GivenMounts | None = None
        self._events: JobEvents | None = None
        self._notices: notices.Notices | None = None
        self._starting: asyncio.Task[Backend] | None = None
        self._handles_interrupt = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._shown: set[str] = set()
        self._hub_http: httpx.AsyncClient | None = None
        self._reports: JobReports | None = None
        self._computing: ComputingWatch | None = None
        self._reporting: asyncio.Task[None] | None = None
        self._telling: Telling | None = None

    # -- loading: nothing here may take time or need the event loop ----------------------------

    def _link_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        super()._link_jupyter_server_extension(serverapp)
        try:
            self._site = load_site()
        except CScaleError as error:
            self._why_not = f"{error.message} {error.hint}".strip()
            self.log.warning("C-SCALE Hub is not available in this server: %s", self._why_not)
            return
        # Now is the last moment: the contents manager is made before extensions are loaded.
        if "contents_manager_class" in serverapp.config.ServerApp:
            self.log.info("A contents manager is configured; buckets are not in the file browser.")
        else:
            serverapp.update_config(
                Config({"ServerApp": {"contents_manager_class": CONTENTS_MANAGER}})
            )

    def initialize_handlers(self) -> None:
        self.handlers.extend((*handlers(self), *pages(self)))

    def initialize_settings(self) -> None:
        self._server.event_logger.register_event_schema(SCHEMA_FILE)
        self._server.event_logger.register_event_schema(notices.SCHEMA_FILE)
        if self._site is None:
            return
        if self._site.broker_url:
            # Not the guarded client of the core: the broker is the hub's own and may be private.
            self._broker_http = httpx.AsyncClient(trust_env=False)
            self._source = BrokerTokens(
                self._site.broker_url,
                os.environ.get("JUPYTERHUB_API_TOKEN", ""),
                self._broker_http,
            )
        self._listener = LoopbackListener(
            self._source,
            Path(self._server.runtime_dir) / "cscale",
            self.log,
            kept=Path(self.data_dir) / "loopback.port",
            agreed=_agreed_listener(),
        )
        self._listener.bind()
        # Before any kernel or terminal starts, so that all of them inherit it.
        os.environ.update(self._listener.environment(self._site))
        overriding = [name for name in _STATIC_KEYS if os.environ.get(name)]
        if overriding:
            self.log.warning(
                "%s in the environment will be used instead of the hub's credentials.",
                ", ".join(overriding),
            )

    @property
    def _server(self) -> ServerApp:
        return cast(ServerApp, self.serverapp)  # there from linking on

    # -- running -----------------------------------------------------------------------------

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        if self._site is None or self._listener is None:
            return
        self._stop_at_interrupt()
        self._computing = ComputingWatch(
            serverapp.kernel_manager.list_kernels,
            serverapp.web_app.settings,
            timedelta(hours=self.longest_computing),
        )
        self._computing.start()
        await self._listener.start()
        self._loop = asyncio.get_running_loop()
        self._events = JobEvents(self._emit, self._loop)
        self._starting = asyncio.create_task(self._start_backend(self._site), name="cscale start")
        # Not in the runtime folder, which may be emptied between two starts: what was written to
        # a mount and had not reached the bucket when the server was killed is kept in here.
        if self._site.mount_mode == "given":
            self._mounts = GivenMounts(self._site, self.log)
        else:
            self._mounts = Mounts(
                self._site,
                Path(self.data_dir) / "mounts",
                self._listener.environment(self._site),
                self.log,
            )
        await self._mounts.start()

    def _stop_at_interrupt(self) -> None:
        """Make SIGINT a clean stop.

        Without a terminal Jupyter Server leaves SIGINT to Python, and ends without stopping its
        extensions: buckets would stay mounted with writes pending. SIGINT is what JupyterHub's
        local spawners send first. A second one ends the server at once.
        """
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        ):
            return  # Jupyter's own question to the terminal, or somebody's choice

        def stop(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._server.stop(from_signal=True)

        signal.signal(signal.SIGINT, stop)
        self._handles_interrupt = True

    async def _start_backend(self, site: Site) -> Backend:
        try:
            backend: Backend = self.backend_class(
                Surroundings(site, Path(self.data_dir), self._source, self._changed, self._deleted)
            )
            self._notices = notices.Notices(
                backend.notices, self._emit_notice, asyncio.get_running_loop(), self.log
            )
            await backend.start()
        except Exception:
            self.log.exception("C-SCALE Hub: search and jobs could not be started")
            raise
        self.log.info("C-SCALE Hub: search and jobs are ready")
        self._report_to_hub(site, backend)
        return backend

    def _report_to_hub(self, site: Site, backend: Backend) -> None:
        """Tell the hub of jobs that end and of notebooks, where a hub started this server."""
        hub = os.environ.get("JUPYTERHUB_API_URL", "")
        token = os.environ.get("JUPYTERHUB_API_TOKEN", "")
        if not hub or not token:
            return
        self._hub_http = httpx.AsyncClient(trust_env=False)
        self._reports = JobReports(
            backend.jobs.changes,
            self._hub_http,
            f"{hub}/cscale/jobs",
            token,
            Path(self.data_dir) / "reported.json",
            self.log,
            default_vo=os.environ.get("CSCALE_VO", "") or next(iter(site.vos), ""),
            spark_default=site.spark.kinds[0],
        )
        self._reporting = asyncio.create_task(self._reports.run(), name="cscale job reports")
        self._telling = Telling(self._hub_http, f"{hub}/cscale/notebooks", token, self.log)
        backend.sharing.telling = self._telling

    async def stop_extension(self) -> None:
        """Stop the backend, flush and unmount, close the listener: in this order, as the later
        ones are used by the earlier."""
        if self._handles_interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._handles_interrupt = False
        if self._computing is not None:
            self._computing.stop()
            self._computing = None
        if self._starting is not None:
            self._starting.cancel()
            ended = await asyncio.gather(self._starting, return_exceptions=True)
            if self._reporting is not None:
                self._reporting.cancel()
                await asyncio.gather(self._reporting, return_exceptions=True)
                self._reporting = self._reports = None
            if self._telling is not None:
                await self._telling.stop()
                self._telling = None
            if isinstance(ended[0], Backend):
                await ended[0].stop()
            self._starting = None
        if self._events is not None:
            self._events.flush()
        if self._notices is not None:
            await self._notices.stop()
        if self._mounts is not None:
            await self._mounts.stop()
            self._mounts = None
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None
        for client in (self._broker_http, self._hub_http):
            if client is not None:
                await client.aclose()
        self._broker_http = self._hub_http = None

    # -- what the routes ask -------------------------------------------------------------------

    def require_site(self) -> Site:
        """The site.

        :raises NotConfigured: in a server that was not started by the hub.
        """
        if self._site is None:
            raise NotConfigured(
                "This server has no site file.", hint=f"{self._why_not} Ask the operator."
            )
        return self._site

    async def backend(self) -> Backend:
        """The backend, when it is ready.

        :raises NotConfigured: when there is no site, or the backend could not be started.
        """
        self.require_site()
        if self._starting is None:
            raise NotConfigured("The server is starting or stopping.", retryable=True)
        try:
            # Shielded: a request that is given up must not stop the start.
            return await asyncio.shield(self._starting)
        except Exception as error:
            raise NotConfigured(
                f"Search and jobs could not be started: {error}",
                hint="Restart the server from the hub; the server's log tells more.",
            ) from error

    async def refresh_mounts(self) -> None:
        """Let the mounts show what jobs wrote to the buckets."""
        if self._mounts is not None:
            await self._mounts.refresh()

    async def show_files(self, job: Job) -> None:
        """Before anybody reads that a job has ended, its files are seen in the mounts.

        Who was told opens them at once, and must not meet a listing from before.
        """
        if job.status.ended and job.id not in self._shown:
            await self.refresh_mounts()
            self._shown.add(job.id)

    def status(self) -> Status:
        """For ``GET status``."""
        starting, mounts = self._starting, self._mounts
        ready, detail = False, self._why_not
        if starting is not None:
            detail = "search and jobs are being started"
            if starting.done() and not starting.cancelled():
                failure = starting.exception() or starting.result().problem
                ready, detail = failure is None, str(failure or "")
        return Status(
            version=software_version(),
            user=self._site.user if self._site else "",
            ready=ready,
            detail=detail,
            mount_mode=mounts.mode if mounts else "none",
            mount_detail=mounts.detail if mounts else "",
            mounts=[
                MountStatus.model_validate(grant, from_attributes=True)
                for grant in (mounts.status() if mounts else ())
            ],
        )

    # -- what the jobs tell ----------------------------------------------------------------------

    def _changed(self, job: Job) -> None:
        """A job changed; called from any thread."""
        if self._events is not None:
            self._events.changed(job)
        if self._notices is not None:
            self._notices.changed(job)
        if job.status.ended and self._loop is not None and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self.refresh_mounts(), self._loop)
            if self._reports is not None:
                self._loop.call_soon_threadsafe(self._reports.wake)
        self._note_activity(job)

    def _note_activity(self, job: Job) -> None:
        """Jupyter Server counts every setting that ends in ``_last_activity`` as activity.

        A copy runs in this process; remote jobs go on without it, so they do not hold it.
        """
        if job.spec.engine != "staging" or job.status != JobStatus.RUNNING:
            return
        starting = self._starting
        if starting is None or not starting.done() or not starting.result().jobs.runs_jobs:
            return  # of two servers of one user the other one copies
        now = datetime.now(UTC)
        if now - (job.started or job.created) < timedelta(hours=self.longest_staging):
            self._server.web_app.settings[ACTIVITY_SETTING] = now

    def _deleted(self, job_id: str, revision: int) -> None:
        """A job was deleted; the list has this revision since. Called from any thread."""
        if self._events is not None:
            self._events.deleted(job_id, revision)
        if self._notices is not None:
            self._notices.deleted(job_id)

    def _emit_notice(self, data: dict[str, Any]) -> None:
        self._server.event_logger.emit(schema_id=notices.SCHEMA_ID, data=data)

    def _emit(self, data: dict[str, Any]) -> None:
        self._server.event_logger.emit(schema_id=SCHEMA_ID, data=data)


def _agreed_listener() -> tuple[int, Path] | None:
    """Where containers beside this one were told to ask for credentials."""
    port, token = (os.environ.get(name) for name in LOOPBACK_VARIABLES)
    return (int(port), Path(token)) if port and token else None
