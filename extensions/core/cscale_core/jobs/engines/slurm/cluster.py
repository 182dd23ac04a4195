"""One cluster as the engine has it: the way there, its files, and the one watch over its jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cscale_core.clusters import SlurmCluster
from cscale_core.errors import CScaleError, NotFound
from cscale_core.identity.tokens import TokenSource
from cscale_core.jobs.engines.slurm.commands import CommandSlurm
from cscale_core.jobs.engines.slurm.files import LocalFiles, NoFiles
from cscale_core.jobs.engines.slurm.rest import RestSlurm
from cscale_core.jobs.engines.slurm.ssh import Ssh, SshFiles
from cscale_core.jobs.engines.slurm.states import Task
from cscale_core.jobs.engines.slurm.transport import Files, Slurm
from cscale_core.jobs.polling import Limiter, Looked, Looker, Pace, Watch
from cscale_core.site import Site

Tasks = tuple[Task, ...]
#: Seconds for which the end of a job waits for its figures.
FIGURES_SECONDS = 2.0


class _Looker(Looker[Tasks]):
    """Asks a cluster for all the jobs that are followed, in one list."""

    def __init__(self, slurm: Slurm, limiter: Limiter) -> None:
        self._slurm = slurm
        self._limiter = limiter

    def cost(self, jobs: int) -> int:
        """One request, whatever their number."""
        return min(1, jobs)

    async def look(self, due: Sequence[str], followed: Sequence[str]) -> Looked[Tasks]:
        """Look at all that are followed."""
        await self._limiter.turn()
        found = await self._slurm.jobs(followed)
        gone: dict[str, CScaleError] = {
            identifier: NotFound("Slurm does not know this job any more.")
            for identifier in followed
            if identifier not in found
        }
        return Looked(found=found, gone=gone)


class Cluster:
    """How a cluster is reached.

    :ivar slurm: its Slurm.
    :ivar files: the files of its jobs.
    :ivar watch: wakes those that follow a job.
    """

    def __init__(self, settings: SlurmCluster, site: Site, tokens: TokenSource, pace: Pace) -> None:
        self.settings = settings
        self.title = settings.title
        self.slurm: Slurm
        self.files: Files
        if settings.kind == "rest":
            self.slurm = RestSlurm(settings, site.user, tokens)
            here = settings.local_folder.replace("{user}", settings.account_name(site.user))
            there = settings.working_folder(site.user)
            self.files = LocalFiles(there, Path(here).expanduser()) if here else NoFiles()
        else:
            ssh = Ssh(settings, site.user)
            self.slurm = CommandSlurm(ssh)
            self.files = SshFiles(ssh)
        self._limiter = Limiter(pace.rate, pace.burst)
        self.watch: Watch[Tasks] = Watch(_Looker(self.slurm, self._limiter), pace)

    async def ended(self, identifier: str) -> Tasks:
        """What accounting knows of a job that the controller has forgotten.

        :raises CScaleError: when it cannot be asked now.
        """
        await self._limiter.turn()
        return await self.slurm.ended(identifier)

    async def figures(self, identifier: str) -> Tasks:
        """What accounting knows of a job just ended, when it can be had at once."""
        try:
            async with asyncio.timeout(FIGURES_SECONDS):
                await self._limiter.spare()
            return await self.slurm.ended(identifier)
        except (CScaleError, TimeoutError):
            # The figures are a courtesy; that it ended is what is waited for.
            return ()

    async def small_file(self, path: str, limit: int = 64 * 1024) -> bytes:
        """A file of a job; empty when it is not there, or files are not seen from here.

        :raises CScaleError: when the cluster cannot be asked now.
        """
        try:
            return (await self.files.tails({path: 0}, limit)).get(path, b"")
        except NotFound:
            return b""

    async def close(self) -> None:
        """Stop watching and give back connections."""
        await self.watch.close()
        await self.slurm.close()
