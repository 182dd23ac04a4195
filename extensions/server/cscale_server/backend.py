"""What the routes stand on: the parts of :mod:`cscale_core`, put together for one user's server.

Routes know only this class. Everything heavy is imported by :meth:`Backend.start`, in a thread,
after the server answers.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cscale_core.errors import CScaleError
from cscale_core.identity.tokens import CredentialSource
from cscale_core.jobs.model import Job
from cscale_core.saved.file import SavedFile
from cscale_core.saved.notices import NoticeStore
from cscale_core.saved.store import SavedStore
from cscale_core.site import Site
from cscale_server.catalog.key import signing_key

if TYPE_CHECKING:
    import httpx

    from cscale_core.ingest.register import RegisterReport
    from cscale_core.jobs.engines.openeo import OpenEOEngine
    from cscale_core.jobs.engines.spark.sizes import Size
    from cscale_core.jobs.manager import JobManager
    from cscale_core.workflows.offered import Workflow
    from cscale_server.catalog.service import Catalog
    from cscale_server.models import Code, CodeRequest
    from cscale_server.sharing.service import NotebookSharing
    from cscale_server.storage.service import Storage
    from cscale_server.tiles.service import Layers


REGISTRY_FILE = "providers.json"
"""In the data folder: the providers last read from the site registry."""

KEY_FILE = "cursor.key"
"""In the data folder: what signs the places in answers, over restarts."""

SAVED_FILE = "saved.sqlite"
"""In the data folder: saved searches, favourites and notices."""

_PARTS = (
    "cscale_core.catalog.collections",
    "cscale_core.catalog.federation",
    "cscale_core.catalog.health",
    "cscale_core.catalog.registry",
    "cscale_core.jobs.building",
    "cscale_core.codegen.items",
    "cscale_core.workflows.offered",
    "cscale_server.catalog.service",
    "cscale_server.catalog.thumbnails",
    "cscale_server.sharing.service",
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the extension gives to a backend."""

    site: Site
    data_dir: Path
    tokens: CredentialSource
    on_change: Callable[[Job], None]
    on_delete: Callable[[str, int], None]


class Backend:
    """Search, registration and jobs of one user. Replaceable by configuration, as in tests."""

    jobs: JobManager
    """The one list of jobs; there after :meth:`start`, as everything else."""
    catalog: Catalog
    """The federation: search, items, pictures, collections, providers."""
    sharing: NotebookSharing
    """The notebooks that members of the user's VOs share."""
    _http: httpx.AsyncClient

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._open = AsyncExitStack()
        kept = SavedFile(surroundings.data_dir / SAVED_FILE)
        self.saved = SavedStore(kept)
        self.notices = NoticeStore(kept)
        self._layers: Layers | None = None
        self._storage: Storage | None = None
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Import the parts, open the store of jobs and reconcile what was under way."""
        await asyncio.to_thread(_import_parts)
        from cscale_core.http import guarded_client
        from cscale_core.jobs.building import build_manager

        here = self._surroundings
        async with AsyncExitStack() as opened:
            self._http = await opened.enter_async_context(guarded_client(here.site))
            self.catalog = await self._open_catalog(opened)
            self.sharing = self._open_sharing()
            self.jobs = build_manager(
                here.site,
                here.data_dir,
                self._http,
                here.tokens,
                here.on_change,
                on_delete=here.on_delete,
            )
            opened.push_async_callback(self.jobs.stop)
            await self.jobs.start()
            self._open = opened.pop_all()

    async def _open_catalog(self, opened: AsyncExitStack) -> Catalog:
        from cscale_core.catalog.collections import Collections
        from cscale_core.catalog.federation import Federation
        from cscale_core.catalog.health import HealthWatch
        from cscale_core.catalog.registry import Registry
        from cscale_server.catalog.service import Catalog
        from cscale_server.catalog.thumbnails import Thumbnails

        here = self._surroundings
        registry = Registry(here.site, self._http, cache=here.data_dir / REGISTRY_FILE)
        opened.push_async_callback(registry.stop)
        await registry.start()
        federation = Federation(
            here.site,
            self._http,
            here.tokens,
            providers=lambda: registry.providers,
            key=await asyncio.to_thread(_cursor_key, here.data_dir / KEY_FILE),
        )
        health = HealthWatch(federation)
        opened.push_async_callback(health.stop)
        # Beside the start: a provider that hangs must not hold up the jobs.
        warming = asyncio.create_task(federation.warm(), name="cscale warm")
        opened.push_async_callback(_ended, warming)
        return Catalog(
            here.site,
            federation,
            registry,
            Collections(federation),
            health,
            Thumbnails(here.site, self._http),
        )

    def _open_sharing(self) -> NotebookSharing:
        from cscale_core.notebooks.library import SharedNotebooks
        from cscale_core.objects import ObjectStore
        from cscale_server.sharing.service import NotebookSharing

        here = self._surroundings
        library = SharedNotebooks(here.site, ObjectStore(here.site), image=made_with())
        return NotebookSharing(library, here.tokens)

    async def stop(self) -> None:
        """Stop watching. Jobs of remote engines go on and are found again at the next start."""
        await self._open.aclose()

    async def layers(self) -> Layers:
        """What draws the map's layers; imported at the first call, which takes seconds."""
        async with self._lock:
            if self._layers is None:
                service = await asyncio.to_thread(import_module, "cscale_server.tiles.service")
                made: Layers = service.Layers(
                    self._surroundings.site,
                    self._http,
                    lambda ref: self.catalog.item(ref),
                    lambda job, anew: self.jobs.results(job, refused=anew),
                )
                self._open.push_async_callback(made.close)
                self._layers = made
            return self._layers

    async def storage(self) -> Storage:
        """The user's places in the object store."""
        async with self._lock:
            if self._storage is None:
                service = await asyncio.to_thread(import_module, "cscale_server.storage.service")
                made: Storage = service.open_storage(self._surroundings.site)
                self._storage = made
            return self._storage

    async def code(self, request: CodeRequest) -> Code:
        """Code that loads items."""
        from cscale_core.codegen.items import Chosen, snippet
        from cscale_server.models import Code

        refs = list(dict.fromkeys(request.refs))
        bbox = None if request.bbox is None else tuple(request.bbox)
        chosen = Chosen(
            refs,
            await self.catalog.items(refs),
            cast("tuple[float, float, float, float] | None", bbox),
            tuple(request.assets),
            request.backend,
        )
        return Code.model_validate(asdict(snippet(request.kind, chosen)))

    async def job_code(self, kind: str, job_id: str) -> Code:
        """Code that opens the results of a job, or makes the same.

        :raises NotFound: when there is no such job.
        """
        from cscale_core.codegen.jobs import job_snippet
        from cscale_server.models import Code

        job = await self.jobs.get(job_id)
        made = job_snippet(cast("Any", kind), job.id, job.spec.model_dump(mode="json"))
        return Code.model_validate(asdict(made))

    def openeo(self) -> OpenEOEngine:
        """The engine of openEO jobs, for what only openEO back ends have."""
        return cast("OpenEOEngine", self.jobs.engine("openeo"))

    def spark_sizes(self) -> list[Size]:
        """Sizes of Spark applications, and whether they fit here."""
        from cscale_core.jobs.engines.spark.sizes import sizes

        return sizes(self._surroundings.site)

    @property
    def workflows(self) -> Mapping[str, Workflow]:
        """The workflows that are offered, by name."""
        from cscale_core.workflows.offered import WORKFLOWS

        return WORKFLOWS

    def workflow(self, name: str) -> Workflow:
        """One of them.

        :raises NotFound: when there is none of that name.
        """
        from cscale_core.workflows.offered import workflow

        return workflow(name)

    @property
    def problem(self) -> CScaleError | None:
        """Why the list of jobs cannot be used (its file is damaged); None when all is well."""
        return self.jobs.problem

    async def register(self, items: list[dict[str, Any]]) -> RegisterReport:
        """Write items to the community's catalogue."""
        from cscale_core.ingest.register import register

        here = self._surroundings
        return await register(items, here.site, here.tokens, self._http)


def software_version() -> str:
    """The version of this software."""
    try:
        return version("cscale-hub")
    except PackageNotFoundError:
        return "unknown"


def made_with(environment: Mapping[str, str] = os.environ) -> str:
    """The container image of this server, or the software where there is none."""
    image = environment.get("JUPYTER_IMAGE_SPEC") or environment.get("JUPYTER_IMAGE")
    return image or f"cscale-hub {software_version()}"


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    (failure,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(failure, Exception):
        _log.error("learning what the providers can do failed", exc_info=failure)


def _cursor_key(path: Path) -> bytes | None:
    try:
        return signing_key(path)
    except OSError as error:
        _log.warning("Pages of a search cannot be continued after a restart: %s", error)
        return None


def _import_parts() -> None:
    for name in _PARTS:
        import_module(name)
