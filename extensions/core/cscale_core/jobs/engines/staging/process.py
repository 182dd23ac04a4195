"""What a staging job is asked to bring: named items, or the results of another job."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import InvalidInput
from cscale_core.ingest.staging import PlannedItem, StagingPlan
from cscale_core.ingest.unsigned import unsigned
from cscale_core.jobs.model import Job, JobSpec

#: Member of an error's details: ids of the staged items that are not in the catalogue.
UNREGISTERED = "unregistered"


class StagingProcess(BaseModel):
    """``JobSpec.process`` of a staging job.

    :ivar job: id of a finished job whose results are brought. They are asked for when the staging
        runs, so that no signed link is kept, and again when a link ends on the way.
    """

    model_config = ConfigDict(extra="forbid")

    items: list[dict[str, Any]] = Field(default_factory=list)
    job: str = ""
    assets: list[str] | None = None
    register_items: bool = Field(default=False, alias="register")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.items) == bool(self.job):
            raise ValueError("name either items, or a job whose results they are")
        return self


def staging_process(spec: JobSpec) -> StagingProcess:
    """The process of a spec.

    :raises InvalidInput: when it is not right.
    """
    try:
        return StagingProcess.model_validate(spec.process)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "".join(f"{part}: " for part in first["loc"])
        raise InvalidInput(f"The staging is not right: {place}{first['msg']}") from error


def frozen_inputs(planned: StagingPlan) -> list[dict[str, Any]]:
    """``JobSpec.inputs``: the files that will be brought, without what signs their addresses."""
    return [_frozen(one) for one in planned.items]


def _frozen(one: PlannedItem) -> dict[str, Any]:
    sources = {file.asset: file.source for file in one.files}
    return {
        "id": one.item["id"],
        "collection": one.collection,
        "assets": {
            key: {
                "href": source.s3 if isinstance(source, ObjectAddress) else unsigned(source),
                "checksum": one.item["assets"][key].get("file:checksum"),
            }
            for key, source in sources.items()
        },
    }


def only_unregistered(job: Job) -> dict[str, Any] | None:
    """The process that registers what a job staged and could not register; None: nothing is so."""
    missing = set(job.error.details.get(UNREGISTERED, ())) if job.error is not None else set()
    items = [item for item in job.results if item["id"] in missing]
    return {"items": items, "assets": None, "register": True} if items else None
