"""The bodies of requests and answers of the routes of jobs; as :mod:`cscale_server.models`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cscale_core.catalog.query import SearchQuery
from cscale_core.jobs.model import (
    BackendState,
    EngineName,
    Job,
    JobError,
    JobStatus,
    LogLine,
    Phase,
    ProcessEntry,
    ProcessFault,
    Transferred,
)
from cscale_server.models import Item, Items, Refs, Request

Action = Literal["cancel", "pause", "resume", "clone", "publish", "delete"]


class StageRequest(Request):
    """Which items to bring into the bucket of a VO: given, named, or found by a search."""

    items: Items | None = Field(default=None, description="The items themselves.")
    refs: Refs | None = Field(
        default=None, description="References of items, as the pages of a search give them."
    )
    query: SearchQuery | None = Field(
        default=None, description="Stage the first page of what this search finds."
    )
    assets: list[str] | None = Field(
        default=None, description="Keys of the assets to copy; null: all that can be read."
    )
    vo: str = Field(default="", description="Empty: the user's first VO.")
    title: str = Field(default="", max_length=200)
    register_items: bool = Field(
        default=True, alias="register", description="Also write them to the catalogue."
    )

    @model_validator(mode="after")
    def _one_selection(self) -> Self:
        if sum(given is not None for given in (self.items, self.refs, self.query)) != 1:
            raise ValueError("give one of items, refs and query")
        return self


class CloneChanges(Request):
    """What a clone has different; what is not given stays as it is."""

    title: str = Field(default="", max_length=200)
    backend: str = ""
    process: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(
        default_factory=dict, description="Laid over the options of the job; null takes one away."
    )
    vo: str = ""
    output: str = ""


class CloneRequest(Request):
    """How to repeat a job."""

    suggested: bool = Field(
        default=False, description="With the options that the failure of the job suggested."
    )
    changes: CloneChanges = CloneChanges()


class SpecSummary(BaseModel):
    """What was asked for, without the process and the inputs."""

    engine: EngineName
    title: str
    backend: str
    vo: str


class JobSummary(BaseModel):
    """A job as the list shows it: without process, inputs, options and result items."""

    id: str
    revision: int
    spec: SpecSummary
    status: JobStatus
    progress: float | None
    message: str
    created: datetime
    updated: datetime
    started: datetime | None
    ended: datetime | None
    phases: list[Phase]
    wanted: Literal["", "cancel", "pause"]
    owner: str
    cloned_from: str
    transferred: Transferred | None
    engine_id: str
    ui_path: str
    result_count: int
    usage: dict[str, Any]
    costs: float | None
    error: JobError | None
    actions: list[Action] = Field(description="What would be accepted of the job now.")

    @classmethod
    def of(cls, job: Job, actions: Sequence[Action]) -> JobSummary:
        """The summary of a job, whose members were looked at before: a list has a thousand."""
        same = {name: getattr(job, name) for name in _SAME}
        spec = SpecSummary.model_construct(
            **{name: getattr(job.spec, name) for name in SpecSummary.model_fields}
        )
        return cls.model_construct(
            **same, spec=spec, result_count=len(job.results), actions=list(actions)
        )


_SAME = tuple(
    name for name in JobSummary.model_fields if name in Job.model_fields.keys() - {"spec"}
)


class JobList(BaseModel):
    """Jobs that changed after ``since``."""

    jobs: list[JobSummary]
    deleted: list[str] = Field(description="Ids of jobs that were deleted after since.")
    revision: int = Field(
        description="Give this as since the next time; no revision of an event, as the events of "
        "two jobs may come in another order than their changes."
    )
    whole: bool = Field(description="These are all jobs: what is not among them is gone.")


class Logs(BaseModel):
    """Lines of a job's log after ``after``."""

    logs: list[LogLine]
    next: int = Field(description="Give this as after the next time.")


class Results(BaseModel):
    """Result items as a STAC ItemCollection, with the addresses of this server."""

    type: Literal["FeatureCollection"] = "FeatureCollection"
    features: list[Item]


class Estimate(BaseModel):
    """What a job would cost, where its back end says; further members are the engine's own."""

    model_config = ConfigDict(extra="allow")

    known: bool = Field(description="Whether anything could be said.")
    costs: float | None = Field(
        default=None, description="In the currency or credits of the back end."
    )
    duration: str = Field(default="", description="ISO 8601 duration; empty: not known.")
    size: int | None = Field(default=None, description="Bytes of the results.")
    pods: list[dict[str, Any]] = Field(default_factory=list, description="What it asks for.")


class Script(BaseModel):
    """A batch script as it would be submitted."""

    script: str


class Faults(BaseModel):
    """What the place that would run a job finds wrong with it."""

    asked: bool = Field(description="Whether the place was asked; not all can say.")
    faults: list[ProcessFault] = Field(description="Empty: it found nothing wrong.")


class SparkSize(BaseModel):
    """A size of a Spark application by name, and what it really asks for."""

    name: str
    title: str
    options: dict[str, Any] = Field(description="For options of a spec.")
    pods: list[dict[str, Any]] = Field(description="As in an estimate.")
    fits: bool | None = Field(description="Whether a node has room for each; null: not known.")
    problem: str = Field(description="Why it does not fit, and what would; empty when it does.")


class SparkSizes(BaseModel):
    """The sizes, the smallest first; none where Spark runs on this machine only."""

    sizes: list[SparkSize]


class LoginRequest(Request):
    """How to log in at a back end."""

    keep: bool = Field(
        default=False,
        description="Keep the login in the home beyond the life of this server, in a file that "
        "only the user can read.",
    )


class LoginState(BaseModel):
    """A login at a back end by a code that the user types at its identity provider."""

    backend: str
    verification_uri: str = Field(description="https; the page where the code is typed.")
    verification_uri_complete: str = Field(description="With the code in it; may be empty.")
    user_code: str
    expires: datetime
    kept: bool
    state: Literal["pending", "done", "denied", "expired", "failed"]
    problem: str = Field(description="Why it failed; empty when it did not.")


class Login(BaseModel):
    """The login begun last at a back end."""

    login: LoginState | None = Field(description="null: none was begun by this server.")


class Processes(BaseModel):
    """The processes that a back end knows."""

    processes: list[ProcessEntry] = Field(description="The user's own first.")


class WorkflowEntry(BaseModel):
    """A workflow, for its card and its form."""

    name: str
    title: str
    answers: str = Field(description="The question that it answers.")
    needs: list[str]
    makes: str
    engines: list[EngineName] = Field(description="Those of this site that can run it.")
    items: list[EngineName] = Field(description="Those of them that compute on chosen items.")
    parameters: dict[str, Any] = Field(
        description="JSON schema. The member x-cscale of a property says what a form may fill in "
        "by itself: bbox, period, intervals, collection, bands."
    )


class Workflows(BaseModel):
    """The workflows that are offered."""

    workflows: list[WorkflowEntry]


class WorkflowRequest(Request):
    """A workflow with its parameters, to be made a job."""

    engine: EngineName
    parameters: dict[str, Any] = Field(default_factory=dict)
    refs: Refs | None = Field(default=None, description="Items that it computes on.")
    backend: str = ""
    vo: str = ""
    title: str = Field(default="", max_length=200)
    options: dict[str, Any] = Field(default_factory=dict)
    area: dict[str, Any] | None = None


class BackendEntry(BackendState):
    """A place that runs jobs, and the user's own jobs there."""

    queued: int = Field(description="Jobs of the user that have not begun there.")
    running: int = Field(description="Jobs of the user that run there.")

    @classmethod
    def of(cls, state: BackendState, jobs: Sequence[Job]) -> BackendEntry:
        """A place with its part of the user's jobs."""
        here = [
            job.status
            for job in jobs
            if (job.spec.engine, job.spec.backend) == (state.engine, state.id)
        ]
        return cls(
            **state.model_dump(),
            queued=here.count(JobStatus.CREATED) + here.count(JobStatus.QUEUED),
            running=here.count(JobStatus.RUNNING),
        )


class BackendList(BaseModel):
    """The places that run jobs, as they were last seen."""

    backends: list[BackendEntry]
