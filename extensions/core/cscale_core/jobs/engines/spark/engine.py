"""Spark jobs: the applications of :mod:`cscale_core.workflows.applications`, by spark-submit.

An application outlives the server that started it; its work folder says how it is and how it
ended, so a new server takes it up again.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from cscale_core.errors import Conflict, CScaleError, InvalidInput, NotFound, UpstreamError
from cscale_core.jobs import spark_submit
from cscale_core.jobs.engine import Engine, JobHandle, Outcome
from cscale_core.jobs.engines.spark.output import log_entries
from cscale_core.jobs.model import EngineName, Job, JobError, JobSpec, JobStatus
from cscale_core.jobs.spark_submit import VANISHED, SparkApplication, SparkProcess
from cscale_core.site import Site
from cscale_core.workflows.applications import APPLICATIONS, Application, ApplicationRun, validated

#: Seconds between two looks at an application.
LOOK_SECONDS = 0.5
#: Seconds between two questions to Spark's own monitoring, and before the first: its first answer
#: costs the application seconds of processor time, which a short one should not pay.
FIGURES_SECONDS = 5.0
_LOG_CHUNK = 256 * 1024

class SparkEngine(Engine):
    """Runs Spark applications, one at a time on this machine.

    :param folder: holds one work folder a job.
    :param ui_base: path behind the hub that shows a local port, with ``{port}`` in it.
    """

    name: ClassVar[EngineName] = "spark"

    def __init__(
        self,
        site: Site,
        folder: Path,
        *,
        ui_base: str = "",
        applications: Mapping[str, Application] = APPLICATIONS,
        concurrent: int = 1,
    ) -> None:
        self._site = site
        self._folder = folder
        self._ui_base = ui_base
        self._applications = applications
        self._turn = asyncio.Semaphore(concurrent)

    def work_dir(self, job_id: str) -> Path:
        """The work folder of a job."""
        return self._folder / job_id

    def output(self, job: Job) -> str:
        """Where a job's files go: ``s3://<home of the user in the VO>/jobs/<job id>/``."""
        grant = self._site.grant("home", job.spec.vo)
        return f"s3://{grant.bucket}/{grant.prefix}jobs/{job.id}/"

    async def check(self, spec: JobSpec) -> JobSpec:
        """The spec with the application's defaults filled in and the inputs noted.

        :raises InvalidInput: when the application, its arguments or the place are not right.
        """
        unknown = set(spec.process) - {"application", "arguments"}
        if unknown:
            raise InvalidInput(f"Unknown members of a Spark process: {', '.join(sorted(unknown))}.")
        self._site.grant("home", spec.vo)
        name = str(spec.process.get("application", ""))
        arguments = await asyncio.to_thread(
            validated, name, spec.process.get("arguments", {}), self._applications
        )
        title = spec.title or self._applications[name].title
        inputs = spec.inputs or [frozen(item) for item in arguments.get("items", ())]
        return spec.model_copy(
            update={
                "title": title,
                "process": {"application": name, "arguments": arguments},
                "inputs": inputs,
            }
        )

    async def run(self, handle: JobHandle) -> Outcome:
        """Start the application, or find it again, and follow it to its end.

        :raises CScaleError: when it cannot be started.
        """
        work_dir = self.work_dir(handle.job.id)
        if self._turn.locked():
            await handle.update(
                status=JobStatus.QUEUED, message="waiting for another Spark application"
            )
        waiting = asyncio.create_task(self._turn.acquire())
        asked = asyncio.create_task(handle.cancel_requested.wait())
        try:
            await asyncio.wait({waiting, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                return Outcome.canceled("canceled before it started")
            return await self._run(handle, work_dir)
        finally:
            asked.cancel()
            if not waiting.cancel():
                self._turn.release()

    async def _run(self, handle: JobHandle, work_dir: Path) -> Outcome:
        try:
            process = await asyncio.to_thread(SparkProcess.attach, work_dir)
            if process.poll() is None:
                await handle.log("the server was restarted; the application was found running")
        except NotFound:
            if handle.cancel_requested.is_set():
                return Outcome.canceled("canceled before it started")
            process = await self._start(handle, work_dir)
        ui = process.ui_url
        port = ui.rpartition(":")[2]
        ui_path = self._ui_base.replace("{port}", port) + "/jobs/" if ui and self._ui_base else ""
        await handle.update(
            status=JobStatus.RUNNING,
            message=handle.job.message or "starting Spark",
            engine_id=str(process.pid),
            ui_path=ui_path,
        )
        usage = await self._follow(handle, process)
        await self._copy_log(handle, process)
        code = process.poll()
        assert code is not None  # noqa: S101 - followed to its end
        return await asyncio.to_thread(self._outcome, handle, work_dir, code, usage)

    async def _start(self, handle: JobHandle, work_dir: Path) -> SparkProcess:
        job = handle.job
        application = self._applications[job.spec.process["application"]]
        run = ApplicationRun(
            job_id=job.id,
            title=job.spec.title,
            arguments=job.spec.process["arguments"],
            output=self.output(job),
            collection=str(job.spec.options.get("collection", application.name)),
            site=self._site,
        )
        memory = str(job.spec.options.get("driver_memory", self._site.spark.driver_memory))
        if not re.fullmatch(r"[1-9]\d{0,5}[mg]", memory):
            raise InvalidInput(f"driver_memory {memory!r} is not like 1g or 512m.")

        def begin() -> SparkProcess:
            work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            parameters = work_dir / "parameters.json"
            parameters.write_text(run.model_dump_json(), encoding="utf-8")
            started = SparkApplication(
                main=application.main,
                arguments=["--parameters", str(parameters)],
                name=job.spec.title,
                work_dir=work_dir,
                master=self._site.spark.master,
                driver_memory=memory,
                ui_proxy_base=self._ui_base,
            )
            try:
                return spark_submit.start(started)
            except Conflict:
                # Started in the moment before the earlier server died.
                return SparkProcess.attach(work_dir)

        await handle.log(f"starting {application.title} on Spark {self._site.spark.master}")
        return await asyncio.to_thread(begin)

    async def _follow(self, handle: JobHandle, process: SparkProcess) -> dict[str, Any]:
        """Look at the application until it ends; ends it when asked. Returns the last figures."""
        usage = dict(handle.job.usage)
        working_since: float | None = None
        while await asyncio.to_thread(process.poll) is None:
            await self._copy_log(handle, process)
            if handle.cancel_requested.is_set():
                await asyncio.to_thread(process.terminate)
                break
            now = time.monotonic()
            if self._report(handle, process.work_dir) and working_since is None:
                working_since = now
            if process.ui_url and working_since and now - working_since > FIGURES_SECONDS:
                try:
                    usage["spark"] = await asyncio.to_thread(spark_submit.figures, process.ui_url)
                    await handle.update(usage=usage)
                except UpstreamError:
                    # Its UI is not up yet, or not any more: the figures of before stay.
                    pass
                working_since = time.monotonic()
            await handle.rest(LOOK_SECONDS)
        return usage

    @staticmethod
    def _report(handle: JobHandle, work_dir: Path) -> bool:
        """Pass on what the application says of its progress; False when it has said nothing."""
        try:
            told = json.loads((work_dir / "progress.json").read_text(encoding="utf-8"))
            handle.report(told["done"] / max(1, told["total"]), str(told["message"]))
        except (OSError, ValueError, KeyError, TypeError):
            # The application has not said anything yet.
            return False
        return True

    async def _copy_log(self, handle: JobHandle, process: SparkProcess) -> None:
        """Bring whole new lines of the application's output into the job's log."""
        while True:
            offset = int(handle.state.get("log_offset", 0))
            data = await asyncio.to_thread(_read_from, process.log_path, offset)
            end = data.rfind(b"\n") + 1
            if not end and process.poll() is None and len(data) < _LOG_CHUNK:
                return
            end = end or len(data)
            if not end:
                return
            await handle.log_lines(log_entries(data[:end].decode("utf-8", "replace")))
            handle.state["log_offset"] = offset + end
            await handle.save_state()

    def _outcome(
        self, handle: JobHandle, work_dir: Path, code: int, usage: dict[str, Any]
    ) -> Outcome:
        """What the work folder of an ended application says."""
        if code == 0:
            try:
                document = json.loads((work_dir / "items.json").read_text(encoding="utf-8"))
                items = document["features"]
            except (OSError, ValueError, KeyError) as error:
                return Outcome.failed(
                    CScaleError(f"The application ended without a result item: {error}.")
                )
            files = sum(len(item["assets"]) for item in items)
            return Outcome(JobStatus.FINISHED, f"{files} files written", items, usage)
        if handle.cancel_requested.is_set():
            return Outcome.canceled()
        said = _said_error(work_dir)
        if said is None and code == VANISHED:
            return Outcome.lost(
                "The Spark application is gone and left no word.",
                "The machine or container was restarted while it ran. Submit the job again.",
            )
        if said is None:
            said = JobError(
                code="internal",
                message=f"The Spark application ended with status {code}.",
                hint="Perhaps it needed more memory than there is: give it fewer scenes, smaller "
                "tiles or more driver_memory."
                if code in (137, 143)
                else "The job's log says more.",
            )
        return Outcome(JobStatus.ERROR, said.message, usage=usage, error=said)

    async def forget(self, job: Job) -> None:
        """Remove the work folder; the files in the bucket stay."""
        await asyncio.to_thread(shutil.rmtree, self.work_dir(job.id), True)


def _said_error(work_dir: Path) -> JobError | None:
    """The error the application wrote down, if it came to that."""
    try:
        return JobError.model_validate_json((work_dir / "error.json").read_bytes())
    except (OSError, ValueError):
        return None


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(_LOG_CHUNK)
    except FileNotFoundError:
        return b""


def frozen(item: dict[str, Any]) -> dict[str, Any]:
    """What is noted of an input: its id, collection, address and checksums by asset."""
    return {
        "id": item.get("id"),
        "collection": item.get("collection"),
        "assets": {
            key: {"href": asset.get("href"), "checksum": asset.get("file:checksum")}
            for key, asset in item.get("assets", {}).items()
        },
    }
