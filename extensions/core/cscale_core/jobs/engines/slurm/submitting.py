"""Bringing a job to its cluster, once, whatever dies in between.

That a job is about to be sent is written down before it is sent. From then on it is first looked
for: by its name in Slurm's queue and accounting, and by the file that its script leaves when it
starts. Two that were sent all the same (the first still under way when the second was) are no harm:
the script runs once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cscale_core.errors import CScaleError, InvalidInput
from cscale_core.jobs.engine import JobHandle
from cscale_core.jobs.engines.slurm.cluster import Cluster
from cscale_core.jobs.engines.slurm.options import resources
from cscale_core.jobs.engines.slurm.script import Places, Submission, job_name
from cscale_core.jobs.polling import Backoff

#: Seconds between two attempts: the first, and the longest.
FIRST_SECONDS, LONGEST_SECONDS = 2.0, 60.0
#: Seconds for which a canceled job that may have been sent is looked for.
CANCEL_SECONDS = 300.0


class UnknownOutcome(CScaleError):
    """Nobody can say whether the job was submitted."""

    code = "lost"


class Submitting:
    """One job on its way.

    :param places: where the job's files will be.
    :param prepare: makes the submission, given the dependency with Slurm's ids.
    :param expected: whether a job of ours has yet to be submitted, by this server.
    """

    def __init__(
        self,
        handle: JobHandle,
        cluster: Cluster,
        places: Places,
        prepare: Callable[[str], Submission],
        expected: Callable[[str], bool],
    ) -> None:
        self._handle = handle
        self._cluster = cluster
        self._places = places
        self._prepare = prepare
        self._expected = expected
        self._backoff = Backoff(FIRST_SECONDS, LONGEST_SECONDS)

    async def identifier(self) -> str:
        """Slurm's id of the job; empty when it was canceled before it was sent.

        While the cluster cannot be asked it is tried again.

        :raises UnknownOutcome: when it was canceled and the cluster does not say whether it has it.
        :raises CScaleError: when the cluster refuses it; nothing was submitted then.
        """
        handle = self._handle
        while True:
            if handle.state.get("submitting"):
                found = await self._looked_up()
                if found:
                    return found
            if handle.cancel_requested.is_set():
                return ""
            try:
                return await self._submit()
            except CScaleError as error:
                if not error.retryable:
                    # Some refusals are warnings: the job waits, for a node that is down, say.
                    found = await self._looked_up() if isinstance(error, InvalidInput) else ""
                    if not found:
                        raise
                    await handle.log(f"{error.message}; it was accepted all the same", "warning")
                    return found
                await self._wait(f"not submitted yet: {error.message}")

    async def _wait(self, message: str) -> None:
        self._handle.report(None, message)
        await self._handle.rest(self._backoff.failed())

    async def _looked_up(self) -> str:
        """The job at the cluster, or nothing; a second one is worse than waiting."""
        loop = asyncio.get_running_loop()
        canceled: float | None = None
        while True:
            try:
                return await running_id(self._cluster, self._places) or next(
                    iter(await self._cluster.slurm.find(job_name(self._places.job_id))), ""
                )
            except CScaleError as error:
                reason = error.message
            if not self._handle.cancel_requested.is_set():
                await self._wait(f"looking for the job: {reason}")
                continue
            canceled = canceled or loop.time()
            if loop.time() - canceled > CANCEL_SECONDS:
                raise UnknownOutcome(
                    f"It is not known whether the job reached {self._cluster.title}: {reason}",
                    hint=f"Look there for a job of the name {job_name(self._places.job_id)}.",
                )
            await asyncio.sleep(self._backoff.failed())

    async def _submit(self) -> str:
        prepared = self._prepare(await self._dependency())
        await self._handle.log("the batch script:\n" + prepared.script, "debug")
        self._handle.state["submitting"] = True
        await self._handle.save_state()
        return await self._cluster.slurm.submit(prepared)

    async def _dependency(self) -> str:
        """The dependency as sbatch takes it, our ids turned into Slurm's.

        :raises InvalidInput: when a job it names is not known, or ended otherwise than it has to.
        """
        conditions = []
        for condition, jobs in resources(self._handle.job.spec.options).dependency.items():
            numbers = [await self._slurm_id(condition, job) for job in jobs]
            known = [number for number in numbers if number]
            if known:
                conditions.append(":".join([condition, *known]))
        return ",".join(conditions)

    async def _slurm_id(self, condition: str, job: str) -> str:
        """Slurm's id of a job; empty when it has ended as it had to, and Slurm has forgotten it."""
        if not job.startswith("j-"):
            return job
        while True:
            # Asked first: it may arrive there while we look.
            expected = self._expected(job)
            found = await self._cluster.slurm.find(job_name(job))
            if found:
                return found[0]
            if not expected:
                break
            await self._wait(f"waiting for job {job} to be submitted")
            if self._handle.cancel_requested.is_set():
                return ""
        ended = await self._cluster.small_file(f"{self._places.base}/{job}/exit")
        if not ended.strip().isdigit():
            raise InvalidInput(
                f"Job {job}, which this one depends on, is not known at {self._cluster.title}.",
                hint="A dependency names a job at the same cluster.",
            )
        well = int(ended) == 0
        if (condition in ("afterok", "aftercorr") and not well) or (
            condition == "afternotok" and well
        ):
            raise InvalidInput(
                f"Job {job} ended with exit code {int(ended)}, so that what comes {condition} it "
                "never runs."
            )
        return ""


async def running_id(cluster: Cluster, places: Places) -> str:
    """The id of the Slurm job that does a job's work, once its script has started."""
    noted = (await cluster.small_file(f"{places.work}/owner", 100)).strip()
    return noted.decode("ascii") if noted.isdigit() else ""
