"""The manager with all engines of a site, put together.

Importing this module loads boto3; a server does it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cscale_core.identity.tokens import CredentialSource
from cscale_core.jobs.engine import Engine
from cscale_core.jobs.engines.openeo import OpenEOEngine
from cscale_core.jobs.engines.slurm.engine import SlurmEngine
from cscale_core.jobs.engines.spark import SparkEngine
from cscale_core.jobs.engines.staging import StagingEngine
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import EngineName, Job
from cscale_core.jobs.repeating import with_job_document
from cscale_core.jobs.store import JobStore
from cscale_core.objects import ObjectStore
from cscale_core.site import Site

if TYPE_CHECKING:
    import httpx


def build_manager(
    site: Site,
    data_dir: Path,
    http: httpx.AsyncClient,
    tokens: CredentialSource,
    on_change: Callable[[Job], None],
    *,
    on_delete: Callable[[str, int], None] = lambda job_id, revision: None,
    ui_base: str | None = None,
) -> JobManager:
    """The manager with all engines of a site.

    :param data_dir: folder of the job list and of the work folders; may be NFS.
    :param on_delete: hears the id of every job that was deleted, and the list's revision.
    :param ui_base: path behind the hub under which a local port is proxied, ``{port}`` in it;
        default: jupyter-server-proxy's, below ``JUPYTERHUB_SERVICE_PREFIX``.
    """
    if ui_base is None:
        ui_base = os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "/").rstrip("/") + "/proxy/{port}"

    objects = ObjectStore(site)

    async def results(job_id: str, refused: bool) -> list[dict[str, Any]]:
        items = await manager.results(job_id, refused)
        return await with_job_document(items, await manager.get(job_id), site, objects)

    engines: dict[EngineName, Engine] = {
        "staging": StagingEngine(site, http, tokens, results=results),
        "openeo": OpenEOEngine(site, tokens),
        "spark": SparkEngine(site, data_dir / "spark", tokens, ui_base=ui_base),
    }
    if site.slurm:
        engines["slurm"] = SlurmEngine(site, tokens)
    store = JobStore(data_dir / "jobs.sqlite")
    manager = JobManager(site, store, engines, on_change, on_delete=on_delete)
    return manager
