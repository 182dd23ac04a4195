"""The bodies of requests and answers of the REST API, from which ``openapi.yaml`` is made.

Those of jobs are in :mod:`cscale_server.job_models`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from cscale_core.catalog.health import ProviderHealth
from cscale_core.catalog.histogram import Bins, Count, HistogramReport
from cscale_core.catalog.query import SearchQuery
from cscale_core.catalog.registry import RegistryState
from cscale_core.catalog.report import ProviderReport
from cscale_core.providers import BBox

Item = dict[str, Any]
"""A STAC item (or any JSON object that claims to be one; the core validates what it needs)."""

Items = Annotated[list[Item], Field(min_length=1, max_length=1000)]

Ref = Annotated[str, Field(min_length=1, max_length=2000)]
"""``PROVIDER|COLLECTION|ID`` with percent-encoded parts: names an item in the federation."""

Refs = Annotated[list[Ref], Field(min_length=1, max_length=1000)]

MAX_CURSOR = 64 * 1024


_BY_TYPE = Field(discriminator="type")


class Request(BaseModel):
    """A body that is sent to us: a member that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid")


class SearchRequest(SearchQuery):
    """A question to the federation, or for the next page of its answer."""

    cursor: str = Field(
        default="",
        max_length=MAX_CURSOR,
        description="next of the page before, for the page that follows; the question is the same.",
    )

    def question(self) -> SearchQuery:
        """What is looked for, without the place in the answer."""
        members = {name: getattr(self, name) for name in SearchQuery.model_fields}
        return SearchQuery.model_construct(self.model_fields_set - {"cursor"}, **members)


class CodeRequest(Request):
    """Which items to load, and how."""

    kind: Literal["xarray", "openeo", "gdal", "duckdb"]
    refs: Refs
    bbox: BBox | None = Field(
        default=None, description="west, south, east, north in degrees; null: all of the items."
    )
    assets: list[str] = Field(
        default_factory=list,
        max_length=100,
        description="Keys; empty: every raster that all items have.",
    )
    backend: str = Field(
        default="", max_length=200, description="openeo: id of the back end; empty: the first."
    )


class Code(BaseModel):
    """A piece of code for one cell of a notebook."""

    kind: str
    title: str
    language: str
    code: str
    notes: list[str] = Field(description="What whoever runs it should know, a sentence each.")


class RegisterRequest(Request):
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
    detail: str = Field(description="Why the state is not ok, or how it is written.")


class Status(BaseModel):
    """Whether everything the panel needs is there."""

    version: str
    user: str
    ready: bool = Field(description="Whether search and jobs can be used.")
    detail: str = Field(description="Why not ready; empty when it is.")
    mount_mode: Literal["fuse", "given", "contents", "none"]
    mount_detail: str = Field(description="One line where the mode is not the wished one.")
    mounts: list[MountStatus]


class SearchAnswer(BaseModel):
    """One page of the items of all providers, whole, and how each provider did."""

    items: list[Item]
    providers: list[ProviderReport]
    next: str = Field(description="Give this as cursor for the next page; empty: there is none.")
    complete: bool = Field(description="Whether every provider that was asked answered in full.")
    matched: int | None = Field(
        description="How many items there are in all, where every provider says its number."
    )


class Document(RootModel[dict[str, Any]]):
    """A STAC or JSON Schema document as its provider gives it."""


class ProvidersAnswer(BaseModel):
    """The providers that are searched, the nearest first."""

    providers: list[ProviderHealth]
    registry: RegistryState | None = Field(
        description="How the site registry was read; null where this place reads none."
    )


class SlimItem(BaseModel):
    """What a map and a list need of an item."""

    ref: Ref
    geometry: dict[str, Any] | None = Field(
        description="GeoJSON in two dimensions, coordinates to five decimals, at most sixty "
        "vertices: to be drawn, not to be measured."
    )
    datetime: str | None = Field(description="When it was sensed, or the start of that; UTC.")
    cloud_cover: float | None = Field(default=None, description="Percent, where it is stated.")
    mirrors: int = Field(default=0, description="At how many other providers it is, too.")


class ItemsLine(BaseModel):
    """Items of one provider, as soon as they came, in its order."""

    type: Literal["items"] = "items"
    provider: str
    items: list[SlimItem]


class ReportLine(ProviderReport):
    """How one provider did, as soon as it is known."""

    type: Literal["report"] = "report"


class PageLine(BaseModel):
    """The merged page; the last line of a good answer."""

    type: Literal["page"] = "page"
    order: list[int] = Field(
        description="The items of the page in their order: positions, from 0, in all the items "
        "that were sent. What is not named is a mirror, or belongs to a later page."
    )
    mirrors: dict[int, int] = Field(
        description="By position, at how many other providers an item is, too; 0 is left out."
    )
    providers: list[ProviderReport]
    next: str = Field(description="Give this as cursor for the next page; empty: there is none.")
    complete: bool = Field(description="Whether every provider that was asked answered in full.")
    matched: int | None = Field(
        description="How many items there are in all, where every provider says its number."
    )


class BinsLine(Bins):
    """The parts of the time that are counted; the first line."""

    type: Literal["bins"] = "bins"


class CountLine(Count):
    """What one archive has in one part, as soon as it is known."""

    type: Literal["count"] = "count"


class CountedLine(HistogramReport):
    """How one archive was counted; its last line."""

    type: Literal["report"] = "report"


class ProblemLine(Problem):
    """It failed on its way; the last line."""

    type: Literal["problem"] = "problem"


class SearchLine(RootModel[Annotated[ItemsLine | ReportLine | PageLine | ProblemLine, _BY_TYPE]]):
    """One line of a streamed answer."""


class HistogramLine(
    RootModel[Annotated[BinsLine | CountLine | CountedLine | ProblemLine, _BY_TYPE]]
):
    """One line of a streamed histogram."""
