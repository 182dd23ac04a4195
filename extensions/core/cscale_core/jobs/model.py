"""The job as every engine, the store, the REST API and the panel see it."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class JobStatus(StrEnum):
    """One vocabulary for every engine."""

    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELED = "canceled"
    ERROR = "error"
    LOST = "lost"

    @property
    def ended(self) -> bool:
        """Nothing more happens to the job. One that is paused has not ended."""
        return self in (self.FINISHED, self.CANCELED, self.ERROR, self.LOST)


EngineName = Literal["staging", "openeo", "spark", "slurm"]


def utc_now() -> datetime:
    return datetime.now(UTC)


class JobSpec(BaseModel):
    """What was asked for. Never holds a secret: credentials are found at run time.

    ``process`` depends on the engine:

    - ``staging``: ``{"items": [STAC item, ...], "assets": [key, ...] | null, "register": bool}``,
      or ``{"job": ID, "assets": …, "register": …}`` for the results of a job of this list
    - ``openeo``: ``{"process_graph": {...}}`` (openEO API 1.2, ``POST /jobs``)
    - ``spark``: ``{"application": NAME, "arguments": {...}}`` with a name from
      ``cscale_core.workflows``, or a program of one's own, ``{"main": PATH or s3://….py,
      "arguments": […]}`` with optionally ``packages``, ``python``, ``py_files``, ``jars``,
      ``environment``; ``{output}`` and ``{inputs}`` are filled in. ``options`` are those of
      ``cscale_core.jobs.engines.spark.options.SparkOptions``
    - ``slurm``: the same ``{"application": NAME, "arguments": {...}}``, or a program of one's own,
      ``{"command": [PROGRAM, ARGUMENT, ...]}`` with optionally ``"modules": [NAME, ...]`` (of the
      cluster's module system), ``"container": IMAGE`` (for Apptainer) and ``"environment":
      {NAME: VALUE}``. It runs in the job's folder and leaves its results in ``$CSCALE_OUTPUT``.
      Arguments that are one of our three addresses become paths of the cluster where it mounts the
      buckets; ``{output}``, ``{inputs}`` (JSON file of ``inputs``) and ``{task}`` (index in an
      array) are filled in. ``options`` are those of
      ``cscale_core.jobs.engines.slurm.options.SlurmOptions``: partition, time, memory, array, …
    """

    model_config = ConfigDict(extra="forbid")

    engine: EngineName
    title: str = Field(default="", max_length=200)
    backend: str = Field(
        default="",
        description="Id of the openEO back end or Slurm cluster, local or kubernetes for Spark; "
        "empty: the first.",
    )
    vo: str = Field(default="", description="VO whose bucket takes the output; empty: the first.")
    process: dict[str, Any]
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Resources and other options, in the words of the engine: memory, time, …",
    )
    area: dict[str, Any] | None = Field(
        default=None,
        description="GeoJSON geometry (CRS84) that the job is about; null: not stated.",
    )
    period: str = Field(
        default="",
        description="Interval that the job is about, two RFC 3339 ends with a slash between; "
        "empty: not stated.",
    )
    inputs: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Frozen inputs, each {id, collection, assets: {key: {href, checksum}}}.",
    )
    output: str = Field(
        default="",
        description="s3:// prefix, or path on a mount, that takes the results, in a place where "
        "you may write; empty: jobs/<job id>/ of your home in the VO.",
    )


class JobError(BaseModel):
    """Why a job ended in error; the shape of ``CScaleError.as_dict``."""

    code: str
    message: str
    hint: str = ""
    retryable: bool = False
    details: dict[str, Any] = Field(default_factory=dict)


class ProcessFault(BaseModel):
    """What the place that would run a process finds wrong with it; its own words."""

    code: str
    message: str


class ProcessEntry(BaseModel):
    """A process that an openEO back end knows; its own words."""

    id: str
    summary: str
    own: bool = Field(description="Whether it is one that the user keeps there.")


class Phase(BaseModel):
    """A status of a job and when it began (UTC)."""

    status: JobStatus
    since: datetime


class Transferred(BaseModel):
    """How far the moving of files is, in files and bytes."""

    files_done: int = Field(ge=0)
    files_total: int = Field(ge=0)
    bytes_done: int = Field(ge=0)
    bytes_total: int | None = Field(default=None, ge=0, description="None: some state no size.")


class Job(BaseModel):
    """One job in the list."""

    model_config = ConfigDict(extra="forbid")

    id: str
    revision: int = Field(description="Grows by one with every change in the store.")
    spec: JobSpec
    status: JobStatus = JobStatus.CREATED
    progress: float | None = Field(default=None, ge=0, le=1, description="None: not known.")
    message: str = Field(default="", description="One line: what it does now.")
    created: datetime
    updated: datetime
    started: datetime | None = None
    ended: datetime | None = None
    phases: list[Phase] = Field(
        default_factory=list, description="Every status so far and when it began, in order."
    )
    wanted: Literal["", "cancel", "pause"] = Field(
        default="", description="What the user asked for and the engine has not done yet."
    )
    owner: str = Field(default="", description="The user's slug.")
    cloned_from: str = Field(default="", description="Id of the job that this repeats.")
    transferred: Transferred | None = Field(default=None, description="Of jobs that move files.")
    engine_id: str = Field(default="", description="The engine's own id of the job.")
    ui_path: str = Field(default="", description="Path of the engine's UI behind the hub, if any.")
    results: list[dict[str, Any]] = Field(
        default_factory=list, description="STAC items of the results."
    )
    usage: dict[str, Any] = Field(
        default_factory=dict, description="What it used, in the engine's words and units."
    )
    costs: float | None = Field(
        default=None, description="In the currency or credits of the back end; None: not known."
    )
    error: JobError | None = None
    idempotency_key: str = ""


class LogLine(BaseModel):
    """One line of a job's log; ``id`` is the cursor for the next question."""

    id: int
    time: datetime
    level: Literal["debug", "info", "warning", "error"]
    message: str


class BackendState(BaseModel):
    """A place that runs jobs (a back end, a cluster, this machine) as seen at ``checked``."""

    engine: EngineName
    id: str
    title: str
    online: bool
    checked: datetime
    seconds: float = Field(default=0.0, description="What the answer took.")
    version: str = ""
    logins: tuple[str, ...] = Field(
        default=(), description="How one logs in there; `hub`: the login at the hub is used."
    )
    estimates: bool = Field(default=False, description="Whether it estimates time and costs.")
    limits: dict[str, Any] = Field(
        default_factory=dict, description="The largest values of options that it takes."
    )
    problem: str = Field(default="", description="Why it is not online; empty when it is.")


class JobChanges(BaseModel):
    """What changed in the list after a revision.

    The marks of deletions are kept for the last thousand only. Who asks for an older revision, for
    one that this list never had (it was restored), or for 0, gets the ``whole`` list.
    """

    jobs: list[Job] = Field(description="The latest change last.")
    deleted: list[str] = Field(default_factory=list, description="Ids of jobs that were deleted.")
    revision: int = Field(description="Of the list; ask for what changed after it.")
    whole: bool = Field(
        default=False, description="`jobs` are all there are: what is not among them is gone."
    )


class StoreState(BaseModel):
    """How the file of the job list is."""

    writable: bool
    problem: JobError | None = Field(
        default=None, description="What hinders, what was kept and what to do; null: all is well."
    )
    backups: list[str] = Field(
        default_factory=list, description="Paths of the backups, the newest first."
    )
