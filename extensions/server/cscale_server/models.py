"""The bodies of requests and answers of the REST API, from which ``openapi.yaml`` is made."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cscale_core.catalog.federation import ProviderReport
from cscale_core.catalog.query import SearchQuery
from cscale_core.jobs.model import EngineName, Job, JobError, JobStatus, LogLine

Item = dict[str, Any]
"""A STAC item (or any JSON object that claims to be one; the core validates what it needs)."""

Items = Annotated[list[Item], Field(min_length=1, max_length=1000)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StageRequest(_Request):
    """Which items to bring into the bucket of a VO: given, or found by a search."""

    items: Items | None = Field(default=None, description="The items themselves.")
    query: SearchQuery | None = Field(default=None, description="Stage what this search finds.")
    assets: list[str] | None = Field(
        default=None, description="Keys of the assets to copy; null: all that hold data."
    )
    vo: str = Field(default="", description="Empty: the user's first VO.")
    title: str = Field(default="", max_length=200)
    register_items: bool = Field(
        default=True, alias="register", description="Also write them to the catalogue."
    )

    @model_validator(mode="after")
    def _one_selection(self) -> Self:
        if (self.items is None) == (self.query is None):
            raise ValueError("give either items or query")
        return self


class RegisterRequest(_Request):
    """Staged items to write to the community's catalogue."""

    items: Items


class Problem(BaseModel):
    """Every error answer."""

    code: str = Field(description="Stable name of the kind of failure.")
    message: str = Field(description="What happened, in one sentence.")
    hint: str = Field(description="What was kept and what can be done.")
    retryable: bool = Field(description="Whether the same call may succeed later.")
    request_id: str = Field(description="Under this the server's log tells more.")
    details: dict[str, Any] = Field(default_factory=dict)


class MountStatus(BaseModel):
    """One grant in the file system of the user's server."""

    path: str = Field(description="The folder; in mode contents its path in the file browser.")
    bucket: str
    prefix: str
    access: Literal["ro", "rw"]
    state: Literal["ok", "starting", "stalled", "off"]
    detail: str = Field(description="Why the state is not ok; empty when it is.")


class Status(BaseModel):
    """Whether everything the panel needs is there."""

    version: str
    user: str
    ready: bool = Field(description="Whether search and jobs can be used.")
    detail: str = Field(description="Why not ready; empty when it is.")
    mount_mode: Literal["fuse", "contents", "none"]
    mount_detail: str = Field(description="One line where the mode is not the wished one.")
    mounts: list[MountStatus]


class SearchAnswer(BaseModel):
    """Items of all providers, and how each provider did."""

    items: list[Item]
    providers: list[ProviderReport]


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
    ui_path: str
    result_count: int
    usage: dict[str, Any]
    error: JobError | None

    @classmethod
    def of(cls, job: Job) -> JobSummary:
        """The summary of a job."""
        return cls(
            spec=SpecSummary(**job.spec.model_dump(include=set(SpecSummary.model_fields))),
            result_count=len(job.results),
            **job.model_dump(include=set(cls.model_fields) - {"spec", "result_count"}),
        )


class JobList(BaseModel):
    """Jobs that changed after ``since``."""

    jobs: list[JobSummary]
    revision: int = Field(description="Give this as since the next time.")


class Logs(BaseModel):
    """Lines of a job's log after ``after``."""

    logs: list[LogLine]
    next: int = Field(description="Give this as after the next time.")


class Results(BaseModel):
    """Result items as a STAC ItemCollection, with the addresses of this server."""

    type: Literal["FeatureCollection"] = "FeatureCollection"
    features: list[Item]
