"""What the routes stand on: the parts of :mod:`cscale_core`, put together for one user's server.

Routes know only this class. Everything heavy is imported by :meth:`Backend.start`, in a thread,
after the server answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cscale_core.errors import CScaleError
from cscale_core.jobs.model import Job
from cscale_core.site import Site
from cscale_server.listener import CredentialSource

if TYPE_CHECKING:
    import httpx

    from cscale_core.catalog.federation import Federation, SearchResult
    from cscale_core.catalog.query import SearchQuery
    from cscale_core.ingest.register import RegisterReport
    from cscale_core.jobs.manager import JobManager


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the extension gives to a backend."""

    site: Site
    data_dir: Path
    tokens: CredentialSource
    on_change: Callable[[Job], None]


class Backend:
    """Search, registration and jobs of one user. Replaceable by configuration, as in tests."""

    jobs: JobManager
    """The one list of jobs; there after :meth:`start`, as everything else."""
    _federation: Federation
    _http: httpx.AsyncClient

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._open = AsyncExitStack()

    async def start(self) -> None:
        """Import the parts, open the store of jobs and reconcile what was under way."""
        await asyncio.to_thread(_import_parts)
        from cscale_core.catalog.federation import Federation
        from cscale_core.http import guarded_client
        from cscale_core.jobs.manager import build_manager

        here = self._surroundings
        async with AsyncExitStack() as opened:
            self._http = await opened.enter_async_context(guarded_client(here.site))
            self._federation = Federation(here.site, self._http, here.tokens)
            self.jobs = build_manager(
                here.site, here.data_dir, self._http, here.tokens, here.on_change
            )
            opened.push_async_callback(self.jobs.stop)
            await self.jobs.start()
            self._open = opened.pop_all()

    async def stop(self) -> None:
        """Stop watching. Jobs of remote engines go on and are found again at the next start."""
        await self._open.aclose()

    @property
    def problem(self) -> CScaleError | None:
        """Why the list of jobs cannot be used (its file is damaged); None when all is well."""
        return self.jobs.problem

    async def search(self, query: SearchQuery) -> SearchResult:
        """Ask every provider of the federation."""
        return await self._federation.search(query)

    async def register(self, items: list[dict[str, Any]]) -> RegisterReport:
        """Write items to the community's catalogue."""
        from cscale_core.ingest.register import register

        here = self._surroundings
        return await register(items, here.site, here.tokens, self._http)


def _import_parts() -> None:
    import cscale_core.catalog.federation
    import cscale_core.jobs.manager  # noqa: F401
