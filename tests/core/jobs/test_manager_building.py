"""The manager that a server builds: all engines of its site, wired to each other."""

from __future__ import annotations

from pathlib import Path

from cscale_core.http import guarded_client
from cscale_core.jobs.building import build_manager
from cscale_core.jobs.engines.staging import StagingEngine
from cscale_core.jobs.model import JobSpec, JobStatus
from cscale_core.site import Site

SITE = Site.model_validate(
    {
        "user": "u1",
        "s3": {"endpoint": "http://127.0.0.1:9"},
        "catalogue": {"url": "http://127.0.0.1:9"},
        "openeo": [{"id": "here", "title": "Here", "url": "http://127.0.0.1:9"}],
        "slurm": [
            {"id": "hpc", "title": "HPC", "kind": "ssh", "host": "login", "folder": "/work/{user}"}
        ],
    }
)


class NoTokens:
    async def token(self, audience: str, *, refresh: bool = False) -> str:
        raise AssertionError("nothing is asked for")


async def test_built_manager_has_all_engines_and_the_staging_one_gets_results_of_jobs(
    tmp_path: Path,
) -> None:
    async with guarded_client(SITE) as http:
        manager = build_manager(SITE, tmp_path / "data", http, NoTokens(), lambda job: None)
        assert set(manager._engines) == {"staging", "openeo", "spark", "slurm"}
        await manager.start()
        try:
            job, _ = manager.store.create(JobSpec(engine="slurm", process={}))
            manager.store.update(job.id, status=JobStatus.FINISHED, results=[{"id": "r"}])
            staging = manager._engines["staging"]
            assert isinstance(staging, StagingEngine)
            assert staging._results is not None
            assert await staging._results(job.id, False) == [{"id": "r"}]
        finally:
            await manager.stop()
    assert (tmp_path / "data" / "jobs.sqlite").exists()
