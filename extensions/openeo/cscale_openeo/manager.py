"""Batch jobs from queue to end: start Spark, watch it, find it again after a crash, stop it.

Each start of a job has a folder of its own, ``jobs/<id>/run-<n>``, with ``task.json`` for the
application and ``spark/`` for :mod:`cscale_core.jobs.spark_submit`. Every state is on disk, so the
service may be killed at any moment: at its next start running applications are attached to, ended
ones are noticed, and queued jobs are started.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from pathlib import Path
from typing import Any

from cscale_core.errors import CScaleError, NotFound
from cscale_core.jobs import spark_submit
from cscale_core.jobs.spark_submit import SparkApplication, SparkProcess
from cscale_openeo.config import Config
from cscale_openeo.credentials import CredentialIssuer, job_token
from cscale_openeo.errors import OpenEOError
from cscale_openeo.freezing import digest
from cscale_openeo.joblog import JobLog, without_secrets
from cscale_openeo.object_store import explain, keyed_client
from cscale_openeo.store import Store, StoredJob, now
from cscale_openeo.tasks import APPLICATION, Task

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_SPARK_LINES = 12
_CLIENTS = 16
# The service itself has 5 seconds to stop.
_STOP_GRACE = 1.0


class JobFolder:
    """Where a job's files are."""

    def __init__(self, root: Path, identifier: str) -> None:
        self.path = root / identifier
        self.frozen = self.path / "items.json"
        self.log = self.path / "log.jsonl"
        self.token = self.path / "credentials.token"

    def run(self, number: int) -> Path:
        """The folder of one start."""
        return self.path / f"run-{number}"


class JobManager:
    """Starts, watches and stops the jobs of the store."""

    def __init__(self, config: Config, store: Store, credentials: CredentialIssuer) -> None:
        self._config = config
        self._store = store
        self._credentials = credentials
        self._root = config.data_dir / "jobs"
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._running: dict[str, SparkProcess] = {}
        self._wake = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._locks: dict[str, asyncio.Lock] = {}
        # Making a client takes a tenth of a second and some megabytes.
        self._clients: dict[str, Any] = {}

    def folder(self, identifier: str) -> JobFolder:
        """The files of a job."""
        return JobFolder(self._root, identifier)

    def log(self, job: StoredJob) -> JobLog:
        """The log of a job, at the level it asked for."""
        return JobLog(self.folder(job.id).log, str(job.body.get("log_level", "info")))

    # --- life of the service --------------------------------------------------------------------

    async def start(self) -> None:
        """Find again what runs, then begin to work through the queue."""
        for job in self._store.with_status("running"):
            process = await self._attached(self.folder(job.id).run(job.run) / "spark")
            if process is None:
                # Killed between marking the job and starting Spark: it never ran.
                job.status = "queued"
                self._store.save(job, expected=("running",))
                continue
            self._running[job.id] = process
            if process.poll() is None:
                self.log(job).info("The service was restarted; the job went on running.")
        self._loop_task = asyncio.create_task(self._loop())

    @staticmethod
    async def _attached(folder: Path) -> SparkProcess | None:
        """The application of a folder; one that was just started gets time to note itself."""
        for _ in range(50 if folder.exists() else 1):
            try:
                return SparkProcess.attach(folder)
            except NotFound:
                await asyncio.sleep(0.1)
        return None

    async def stop(self) -> None:
        """Stop watching. Running applications end too and their jobs wait for the next start.

        With ``keep_jobs_on_stop`` they go on, and are found again.
        """
        if self._loop_task is not None:
            self._loop_task.cancel()
            try:
                await self._loop_task
            except asyncio.CancelledError:
                # That is what we asked for.
                self._loop_task = None
        if not self._config.keep_jobs_on_stop:
            running = list(self._running.items())
            self._running.clear()
            await asyncio.gather(*(self._put_back(name, process) for name, process in running))

    async def _put_back(self, identifier: str, process: SparkProcess) -> None:
        if process.poll() is not None:
            return  # it has ended: the next start settles it
        await asyncio.to_thread(process.terminate, _STOP_GRACE)
        job = self._store.get(identifier)
        if job is not None and job.status == "running":
            job.status = "queued"
            self._store.save(job, expected=("running",))
            self.log(job).info("The service is stopping; the job is queued to start anew.")

    async def _loop(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:
                # One job that cannot be handled must not stop all others; it is looked at again.
                logger.exception("looking after jobs failed")
            self._wake.clear()
            try:
                timeout = _POLL_SECONDS if self._running else 30.0
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        for identifier, process in list(self._running.items()):
            code = await asyncio.to_thread(process.poll)
            if code is not None:
                async with self._lock(identifier):
                    self._running.pop(identifier, None)
                    job = self._store.get(identifier)
                    if job is not None and job.status == "running":
                        self._end(job, code)
        waiting = self._store.with_status("queued")
        for job in waiting:
            if len(self._running) >= self._config.max_concurrent_jobs:
                break
            owners = [self._store.get(identifier) for identifier in self._running]
            mine = sum(1 for other in owners if other is not None and other.owner == job.owner)
            if mine < self._config.max_concurrent_jobs_per_user:
                async with self._lock(job.id):
                    await self._launch(job)

    def _lock(self, identifier: str) -> asyncio.Lock:
        return self._locks.setdefault(identifier, asyncio.Lock())

    # --- what users ask -------------------------------------------------------------------------

    def submit(self, job: StoredJob, frozen: dict[str, Any]) -> None:
        """Store a new job with its frozen inputs."""
        folder = self.folder(job.id)
        folder.path.mkdir(mode=0o700)
        self.freeze(job, frozen)
        self._store.add(job)

    def freeze(self, job: StoredJob, frozen: dict[str, Any]) -> None:
        """Keep the inputs of a job, and say in its log what they are."""
        folder = self.folder(job.id)
        folder.frozen.write_text(json.dumps(frozen, indent=1), encoding="utf-8")
        job.body["frozen_digest"] = digest(frozen)
        log = self.log(job)
        for load in frozen.values():
            count = len(load["items"])
            text = f"{count} items of {load['collection']} were frozen as input."
            (log.info if count else log.warning)(text)
            if load["skipped"]:
                names = ", ".join(load["skipped"][:5])
                log.warning(
                    f"{len(load['skipped'])} items lack a requested band and are left out: {names}."
                )

    def queue(self, job: StoredJob) -> None:
        """Put a job into the queue; no effect when it is queued or running already.

        :raises OpenEOError: NoDataAvailable when it has nothing to read.
        """
        if job.active:
            return
        frozen = json.loads(self.folder(job.id).frozen.read_text(encoding="utf-8"))
        empty = [load["collection"] for load in frozen.values() if not load["items"]]
        job.body.pop("error", None)
        if empty:
            error = OpenEOError(
                "NoDataAvailable",
                f"There is no data of {', '.join(empty)} for the given area, period and filters.",
            )
            self.log(job).error(error.message, code=error.code)
            job.status = "error"
            job.body["error"] = error.as_dict()
            self._store.save(job)
            raise error
        job.status, job.queued = "queued", now()
        job.body.pop("usage", None)
        self._store.save(job, expected=("created", "canceled", "error", "finished"))
        self.log(job).info("The job is queued.")
        self._wake.set()

    async def cancel(self, job: StoredJob) -> None:
        """Stop a queued or running job; no effect on others."""
        async with self._lock(job.id):
            current = self._store.get(job.id)
            if current is None or not current.active:
                return
            current.status = "canceled"
            self._store.save(current, expected=("queued", "running"))
            process = self._running.pop(job.id, None)
            if process is not None:
                await asyncio.to_thread(process.terminate)
            self.log(current).info("The job was canceled.")
        self._credentials.forget(job.id)
        self._wake.set()

    async def delete(self, job: StoredJob) -> None:
        """Stop a job and remove everything of it, its results in the bucket too."""
        await self.cancel(job)
        async with self._lock(job.id):
            names: set[str] = set()
            for run in range(1, job.run + 1):
                report = _read_json(self.folder(job.id).run(run) / "results.json") or {}
                names |= {file["name"] for file in report.get("files", [])}
            if names:
                await self._remove_objects(job, sorted(names))
            self._store.remove(job.id)
            await asyncio.to_thread(shutil.rmtree, self.folder(job.id).path, True)
        self._credentials.forget(job.id)
        self._locks.pop(job.id, None)

    async def _remove_objects(self, job: StoredJob, names: list[str]) -> None:
        client = await self.client(job)
        bucket, prefix = self.destination(job)

        def remove() -> None:
            from botocore.exceptions import BotoCoreError, ClientError

            for name in names:
                try:
                    client.delete_object(Bucket=bucket, Key=prefix + name)
                except (BotoCoreError, ClientError) as error:
                    raise explain(error, f"s3://{bucket}/{prefix}{name}") from error

        await asyncio.to_thread(remove)

    # --- one run --------------------------------------------------------------------------------

    def destination(self, job: StoredJob) -> tuple[str, str]:
        """Bucket and key prefix of a job's results."""
        return self._config.vo(job.vo).bucket, f"users/{job.slug}/jobs/{job.id}/"

    async def client(self, job: StoredJob) -> Any:
        """An S3 client with the rights of the job and no more."""
        bucket, _ = self.destination(job)
        keys = await self._credentials.credentials(bucket, job.slug, job.id)
        identity = keys["AccessKeyId"] + keys["Token"]
        client = self._clients.get(identity)
        if client is None:
            client = await asyncio.to_thread(
                keyed_client, self._config.s3.endpoint, self._config.s3.region, keys
            )
            if len(self._clients) >= _CLIENTS:
                self._clients.pop(next(iter(self._clients)))
            self._clients[identity] = client
        return client

    def task(self, job: StoredJob, frozen: dict[str, Any]) -> Task:
        """What the application gets to know."""
        bucket, prefix = self.destination(job)
        config = self._config
        return Task(
            job=job.id,
            title=str(job.body.get("title") or ""),
            process_graph=job.body["process"]["process_graph"],
            frozen=frozen,
            frozen_digest=job.body["frozen_digest"],
            tile_size=config.tile_size,
            log_level=str(job.body.get("log_level", "info")),
            s3_endpoint=config.s3.endpoint,
            s3_region=config.s3.region,
            s3_public_url=config.site.public_url,
            mount_root=config.site.mount_root,
            catalogue_url=config.catalogue_url,
            bucket=bucket,
            key_prefix=prefix,
        )

    def environment(self, identifier: str) -> dict[str, str]:
        """Variables of a job's processes: where to ask for keys, and never a key.

        The AWS files of whoever runs the service are shut out; variables are dropped at start.
        """
        token = self.folder(identifier).token
        job_token(token)
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": (
                f"http://{self._config.host}:{self._config.port}/internal/credentials/{identifier}"
            ),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token.resolve()),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_ENDPOINT_URL_S3": self._config.s3.endpoint,
            "AWS_REGION": self._config.s3.region,
            "AWS_DEFAULT_REGION": self._config.s3.region,
            # Spark runs one Python process a core; more threads in each would only fight.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    async def _launch(self, job: StoredJob) -> None:
        current = self._store.get(job.id)
        if current is None or current.status != "queued":
            return
        job = current
        folder = self.folder(job.id)
        job.run += 1
        job.status = "running"
        if not self._store.save(job, expected=("queued",)):
            return
        run = folder.run(job.run)
        shutil.rmtree(run, ignore_errors=True)  # of a start that never came to be
        run.mkdir(mode=0o700)
        try:
            frozen = json.loads(folder.frozen.read_text(encoding="utf-8"))
            task = self.task(job, frozen)
            (run / "task.json").write_text(task.model_dump_json(), encoding="utf-8")
            spark = self._config.spark
            process = await asyncio.to_thread(
                spark_submit.start,
                SparkApplication(
                    main=APPLICATION,
                    arguments=["--folder", str(run), "--log", str(folder.log)],
                    name=f"openEO {job.id}",
                    work_dir=run / "spark",
                    master=spark.master,
                    driver_memory=spark.driver_memory,
                    environment=self.environment(job.id),
                    conf={"spark.ui.enabled": "true" if spark.ui else "false"},
                ),
            )
        except (CScaleError, OSError, ValueError) as error:
            message = error.message if isinstance(error, CScaleError) else str(error)
            self._fail(job, OpenEOError("JobCrashed", f"Spark could not be started: {message}"))
            return
        self._running[job.id] = process
        self.log(job).info(f"The job is running on Spark ({spark.master}).")

    def _end(self, job: StoredJob, code: int) -> None:
        """Settle a job whose application has ended."""
        run = self.folder(job.id).run(job.run)
        self._credentials.forget(job.id)
        results = _read_json(run / "results.json")
        if code == 0 and results is not None:
            job.status = "finished"
            job.body["usage"] = results.get("usage", {})
            if self._store.save(job, expected=("running",)):
                self.log(job).info("The job is finished.")
                shutil.rmtree(run / "scratch", ignore_errors=True)
            return
        explained = _read_json(run / "error.json")
        if explained is not None:
            self._fail(job, OpenEOError(explained["code"], explained["message"]), said=True)
            return
        what = "was killed" if code in (spark_submit.VANISHED, 137, 143) else f"ended with {code}"
        tail = _spark_tail(run / "spark" / "spark.log")
        error = OpenEOError("JobCrashed", f"The Spark application {what}. Start the job again.")
        self._fail(job, error, data=tail)

    def _fail(
        self,
        job: StoredJob,
        error: OpenEOError,
        *,
        said: bool = False,
        data: list[str] | None = None,
    ) -> None:
        job.status = "error"
        job.body["error"] = error.as_dict()
        if self._store.save(job, expected=("running", "queued")) and not said:
            more = {"data": data} if data else {}
            self.log(job).error(error.message, code=error.code, **more)

    # --- looking at a job -----------------------------------------------------------------------

    def progress(self, job: StoredJob) -> tuple[float | None, str]:
        """Percent done and one line, None when nothing is known."""
        if job.status == "finished":
            return 100.0, "finished"
        if job.status not in ("running", "error", "canceled") or not job.run:
            return (0.0, "queued") if job.status == "queued" else (None, "")
        report = _read_json(self.folder(job.id).run(job.run) / "progress.json") or {}
        fraction = float(report.get("fraction", 0.0))
        return round(100 * fraction, 1), str(report.get("message", "starting Spark"))

    def results(self, job: StoredJob) -> dict[str, Any] | None:
        """What the last run left, None when it left nothing."""
        return _read_json(self.folder(job.id).run(job.run) / "results.json") if job.run else None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _spark_tail(path: Path) -> list[str]:
    """The last lines of Spark's output that say something of an error."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 64_000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    telling = [line for line in lines if "ERROR" in line or "Error" in line or "Exception" in line]
    return [without_secrets(line)[:500] for line in (telling or lines)[-_SPARK_LINES:]]
