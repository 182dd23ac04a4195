"""Applications on this machine, by spark-submit, one at a time.

An application outlives the server that started it; its work folder says how it is and how it
ended, so a new server takes it up again.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cscale_core.errors import Conflict, CScaleError, InvalidInput, NotFound
from cscale_core.jobs import spark_submit
from cscale_core.jobs.engine import JobHandle, Outcome
from cscale_core.jobs.engines.programs import NamedApplication
from cscale_core.jobs.engines.spark import results
from cscale_core.jobs.engines.spark.backend import Backend, Work
from cscale_core.jobs.engines.spark.delivery import delivered
from cscale_core.jobs.engines.spark.figures import figures_of_log, progress
from cscale_core.jobs.engines.spark.local.ending import failure, said_error
from cscale_core.jobs.engines.spark.local.program import (
    check_requirements,
    output_folder,
    prepare,
)
from cscale_core.jobs.engines.spark.monitoring import figures_at
from cscale_core.jobs.engines.spark.options import SparkOptions
from cscale_core.jobs.engines.spark.output import log_entries
from cscale_core.jobs.engines.spark.process import Process, Program
from cscale_core.jobs.model import BackendState, Job, JobStatus, utc_now
from cscale_core.jobs.spark_submit import VANISHED, SparkApplication, SparkProcess
from cscale_core.site import Site
from cscale_core.workflows.applications import Application

#: Seconds between two looks at an application.
LOOK_SECONDS = 0.5
#: Seconds between two questions to Spark's own monitoring, and before the first: its first answer
#: costs the application seconds of processor time, which a short one should not pay.
FIGURES_SECONDS = 5.0
_LOG_CHUNK = 256 * 1024


class LocalSpark(Backend):
    """Spark applications on this machine.

    :param folder: holds one work folder a job.
    :param ui_base: path behind the hub that shows a local port, with ``{port}`` in it.
    """

    id = "local"

    def __init__(
        self,
        site: Site,
        folder: Path,
        *,
        ui_base: str,
        applications: Mapping[str, Application],
        concurrent: int,
    ) -> None:
        self._site = site
        self._folder = folder
        self._ui_base = ui_base
        self._applications = applications
        self._turn = asyncio.Semaphore(concurrent)

    def work_dir(self, job_id: str) -> Path:
        """The work folder of a job."""
        return self._folder / job_id

    def check(self, process: Process, options: SparkOptions) -> None:
        """Refuse what is for a cluster, and Python requirements that are not here."""
        if options.of_executors and self._site.spark.master.startswith("local"):
            raise InvalidInput(
                f"{', '.join(options.of_executors)}: on this machine everything runs in the "
                "driver, there are no executors.",
                hint="Give driver_memory, or choose another back end.",
            )
        if isinstance(process, Program):
            check_requirements(process)

    def pods(self, options: SparkOptions) -> list[dict[str, Any]]:
        """None: nothing is asked of a cluster."""
        return []

    async def state(self) -> BackendState:
        """Whether Spark and Java are here."""
        started = time.monotonic()
        version, problem = "", ""

        def look() -> str:
            spark_submit.spark_home()
            spark_submit.find_java()
            return importlib.metadata.version("pyspark")

        try:
            version = await asyncio.to_thread(look)
        except importlib.metadata.PackageNotFoundError:
            problem = "Spark is not installed."
        except CScaleError as error:
            problem = error.message
        return BackendState(
            engine="spark",
            id=self.id,
            title=f"Spark on this machine ({self._site.spark.master})",
            online=not problem,
            checked=utc_now(),
            seconds=time.monotonic() - started,
            version=version,
            problem=problem,
        )

    async def forget(self, job: Job) -> None:
        """Remove the work folder; the files in the bucket stay."""
        await asyncio.to_thread(shutil.rmtree, self.work_dir(job.id), True)

    # -- running -------------------------------------------------------------------------------

    async def run(self, handle: JobHandle, work: Work) -> Outcome:
        """Start the application, or find it again, and follow it to its end.

        :raises CScaleError: when it cannot be started.
        """
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
            return await self._run(handle, work)
        finally:
            asked.cancel()
            if not waiting.cancel():
                self._turn.release()

    async def _run(self, handle: JobHandle, work: Work) -> Outcome:
        try:
            process = await asyncio.to_thread(SparkProcess.attach, self.work_dir(handle.job.id))
            if process.poll() is None:
                await handle.log("the server was restarted; the application was found running")
        except NotFound:
            if handle.cancel_requested.is_set():
                return Outcome.canceled("canceled before it started")
            process = await self._start(handle, work)
        ui = process.ui_url
        port = ui.rpartition(":")[2]
        ui_path = self._ui_base.replace("{port}", port) + "/jobs/" if ui and self._ui_base else ""
        await handle.update(
            status=JobStatus.RUNNING,
            message=handle.job.message or "starting Spark",
            engine_id=str(process.pid),
            ui_path=ui_path,
        )
        late = await self._follow(handle, process, work)
        await self._copy_log(handle, process)
        code = process.poll()
        assert code is not None  # noqa: S101 - followed to its end
        last = await asyncio.to_thread(figures_of_log, process.work_dir / "events")
        usage = handle.job.usage if last is None else {**handle.job.usage, "spark": last}
        return await self._outcome(handle, work, code, usage, late=late)

    async def _start(self, handle: JobHandle, work: Work) -> SparkProcess:
        def begin() -> SparkProcess:
            work_dir = self.work_dir(work.job.id)
            work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                return spark_submit.start(self._application(work, work_dir.resolve()))
            except Conflict:
                # Started in the moment before the earlier server died.
                return SparkProcess.attach(work_dir)

        await handle.log(f"starting {work.spec.title} on Spark {self._site.spark.master}")
        return await asyncio.to_thread(begin)

    def _application(self, work: Work, work_dir: Path) -> SparkApplication:
        """What is given to spark-submit; writes the files that the application reads."""
        spark, options = self._site.spark, work.options
        (work_dir / "events").mkdir(exist_ok=True)
        conf = {
            **options.conf,
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": (work_dir / "events").as_uri(),
            "spark.eventLog.rolling.enabled": "false",
            "spark.eventLog.compress": "false",
        }
        for key, value in (
            ("spark.driver.memoryOverhead", options.driver_memory_overhead),
            ("spark.driver.cores", options.driver_cores),
            ("spark.executor.memory", options.executor_memory),
            ("spark.executor.memoryOverhead", options.executor_memory_overhead),
            ("spark.executor.pyspark.memory", options.python_memory),
            ("spark.executor.cores", options.executor_cores),
            ("spark.executor.instances", options.executors),
            ("spark.dynamicAllocation.maxExecutors", options.max_executors),
            ("spark.dynamicAllocation.minExecutors", options.min_executors),
            ("spark.dynamicAllocation.enabled", "true" if options.max_executors else ""),
        ):
            if value not in (None, ""):
                conf[key] = str(value)
        shared: dict[str, Any] = {
            "name": work.spec.title,
            "work_dir": work_dir,
            "master": spark.master,
            "driver_memory": options.driver_memory or spark.driver_memory,
            "ui_proxy_base": self._ui_base,
            "conf": conf,
        }
        if isinstance(work.process, NamedApplication):
            parameters = work_dir / "parameters.json"
            run = work.application_run(self._site)
            parameters.write_text(run.model_dump_json(), encoding="utf-8")
            return SparkApplication(
                main=self._applications[work.process.application].main,
                arguments=["--parameters", str(parameters)],
                **shared,
            )
        prepared = prepare(work, work_dir, self._site)
        return SparkApplication(
            main=prepared.main,
            arguments=prepared.arguments,
            environment=prepared.environment,
            py_files=prepared.py_files,
            jars=prepared.jars,
            packages=tuple(work.process.packages),
            repositories=spark.repositories,
            **shared,
        )

    async def _follow(self, handle: JobHandle, process: SparkProcess, work: Work) -> bool:
        """Look at the application until it ends; ends it when asked, or when its time is over.

        :returns: whether its time was over.
        """
        working_since: float | None = None
        while await asyncio.to_thread(process.poll) is None:
            await self._copy_log(handle, process)
            if handle.cancel_requested.is_set():
                await asyncio.to_thread(process.terminate)
                return False
            limit = work.options.seconds
            if limit and await asyncio.to_thread(_age, process) > limit:
                await handle.log(f"the time limit of {limit} seconds is over", "error")
                await asyncio.to_thread(process.terminate)
                return True
            now = time.monotonic()
            own = isinstance(work.process, Program)
            told = self._report(handle, process.work_dir)
            if (told or own) and working_since is None:
                working_since = now
            if process.ui_url and working_since and now - working_since > FIGURES_SECONDS:
                try:
                    figures = await figures_at(process.ui_url)
                    await handle.update(usage={**handle.job.usage, "spark": figures})
                    if not told:
                        handle.report(progress(figures, handle.job.progress), "running")
                except CScaleError:
                    # Its UI is not up yet, or not any more: the figures of before stay.
                    pass
                working_since = time.monotonic()
            await handle.rest(LOOK_SECONDS)
        return False

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
            handle.state["log_offset"] = offset + end
            text = data[:end].decode("utf-8", "replace")
            await handle.log_lines(log_entries(text), with_state=True)

    async def _outcome(
        self, handle: JobHandle, work: Work, code: int, usage: dict[str, Any], *, late: bool
    ) -> Outcome:
        """What the work folder of an ended application says."""
        work_dir = self.work_dir(handle.job.id)
        if code == 0:
            items = await self._results(handle, work, work_dir)
            files = sum(len(item["assets"]) for item in items)
            return Outcome(JobStatus.FINISHED, f"{files} files written", items, usage)
        if handle.cancel_requested.is_set():
            return Outcome.canceled()
        said = await asyncio.to_thread(said_error, work_dir)
        if said is None and code == VANISHED:
            return Outcome.lost(
                "The Spark application is gone and left no word.",
                "The machine or container was restarted while it ran. Submit the job again.",
            )
        if said is None:
            memory = work.options.driver_memory or self._site.spark.driver_memory
            said = await asyncio.to_thread(failure, work_dir, code, memory, late)
        return Outcome(JobStatus.ERROR, said.message, usage=usage, error=said)

    async def _results(self, handle: JobHandle, work: Work, work_dir: Path) -> list[dict[str, Any]]:
        """The result items.

        :raises CScaleError: when there are none where there should be, or the bucket takes none.
        """
        if isinstance(work.process, Program):
            folder = output_folder(work_dir)
            return await delivered(
                handle, lambda report: results.of_folder(work, self._site, folder, report)
            )

        def written() -> list[dict[str, Any]]:
            document = json.loads((work_dir / "items.json").read_text(encoding="utf-8"))
            return list(document["features"])

        try:
            return await asyncio.to_thread(written)
        except (OSError, ValueError, KeyError) as error:
            raise CScaleError(
                f"The application ended without a result item: {error}.",
                hint="The job's log says what it did.",
            ) from error


def _age(process: SparkProcess) -> float:
    """Seconds since it was started, by whichever server."""
    return time.time() - (process.work_dir / "pid").stat().st_mtime


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(_LOG_CHUNK)
    except FileNotFoundError:
        return b""
