"""A question to the federation: what is looked for, in which order, how much of it at once.

The rules are those of STAC API Item Search 1.0 with its extensions Filter, Sort and Fields. What
comes in is brought to one form here (areas as one GeoJSON geometry, order as a list of keys), so
that two ways to write the same question are the same question.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from cscale_core.catalog.area import box_area, parse_area
from cscale_core.catalog.cql import Filter, parse_filter
from cscale_core.catalog.interval import parse_interval
from cscale_core.errors import InvalidInput

_FIELD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:.\-]{0,127}")
_MOST_KEYS = 10


class SortKey(BaseModel):
    """One member to sort by: ``id``, ``collection``, ``datetime`` or another property's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: str = Field(description="Without ``properties.`` before it.")
    direction: Literal["asc", "desc"] = "asc"

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        # The plus of +datetime arrives as a space where a URL was decoded once too often.
        text = value.strip()
        descending = text.startswith("-")
        return {"field": text.lstrip("+-"), "direction": "desc" if descending else "asc"}

    @field_validator("field")
    @classmethod
    def _valid_field(cls, value: str) -> str:
        return _member(value)

    @property
    def descending(self) -> bool:
        """Whether the largest comes first."""
        return self.direction == "desc"

    def __str__(self) -> str:
        """As ``GET`` takes it."""
        return ("-" if self.descending else "+") + self.field


class Fields(BaseModel):
    """Which members the items shall have; both empty: all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = value.split(",")
        if not isinstance(value, list | tuple):
            return value
        names = [str(name).strip() for name in value]
        return {
            "include": [name.lstrip("+") for name in names if name and name[0] != "-"],
            "exclude": [name[1:] for name in names if name and name[0] == "-"],
        }

    @field_validator("include", "exclude")
    @classmethod
    def _valid_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _FIELD.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a member")
        return value


def _member(name: str) -> str:
    """The name of a member as it is kept: ``properties.`` before it says nothing."""
    short = name.strip().removeprefix("properties.")
    if not _FIELD.fullmatch(short):
        raise ValueError(f"{name!r} is not the name of a property")
    return short


class SearchQuery(BaseModel):
    """What is looked for. Everything given must hold; nothing given finds everything.

    ``limit`` counts the items of one merged page.
    """

    model_config = ConfigDict(extra="forbid")

    bbox: tuple[float, ...] | None = Field(
        default=None,
        description="west, south, east, north in degrees (or six numbers with heights); "
        "west > east crosses the antimeridian.",
    )
    intersects: dict[str, Any] | None = Field(
        default=None,
        description="A GeoJSON geometry; a Feature, a FeatureCollection or WKT is read into one.",
    )
    datetime: str | None = Field(default=None, description="A moment, a date, or an interval a/b.")
    collections: list[str] = Field(
        default_factory=list,
        description="Ids, aliases of them, or ``PROVIDER|id`` for those of one provider.",
    )
    ids: list[str] = Field(default_factory=list)
    filter: dict[str, Any] | None = Field(
        default=None, description="A condition in CQL2: JSON, or text, which is read into it."
    )
    sortby: list[SortKey] = Field(
        default_factory=list,
        description="``+property``, ``-property`` or objects; empty: newest first.",
    )
    fields: Fields | None = Field(
        default=None, description="Members of the items: ``+a``, ``-b``, or include and exclude."
    )
    limit: int = Field(default=100, ge=1, le=10_000)
    providers: list[str] = Field(default_factory=list, description="Ids; empty: all.")
    max_cloud_cover: float | None = Field(default=None, ge=0, le=100, description="Percent.")

    @field_validator("bbox")
    @classmethod
    def _valid_bbox(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is None:
            return value
        if len(value) not in (4, 6):
            raise ValueError("bbox needs four or six numbers")
        half = len(value) // 2
        west, south, east, north = value[0], value[1], value[half], value[half + 1]
        if not (-180 <= west <= 180 and -180 <= east <= 180):
            raise ValueError("longitudes lie between -180 and 180")
        if not -90 <= south <= north <= 90:
            raise ValueError("latitudes lie between -90 and 90, south before north")
        return value

    @field_validator("intersects", mode="before")
    @classmethod
    def _valid_geometry(cls, value: Any) -> Any:
        if value is None:
            return None
        try:
            return parse_area(value)
        except InvalidInput as error:
            raise ValueError(_sentences(error)) from error

    @field_validator("datetime")
    @classmethod
    def _valid_datetime(cls, value: str | None) -> str | None:
        if not value:
            return None
        try:
            return str(parse_interval(value))
        except InvalidInput as error:
            raise ValueError(error.message) from error

    @field_validator("filter", mode="before")
    @classmethod
    def _valid_filter(cls, value: Any) -> Any:
        if value is None or value == "":
            return None
        if not isinstance(value, str | dict):
            raise ValueError("a filter is CQL2 text or a CQL2 JSON object")
        try:
            return parse_filter(value).as_json()
        except InvalidInput as error:
            raise ValueError(_sentences(error)) from error

    @field_validator("sortby", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if value is None:
            return []
        return value.split(",") if isinstance(value, str) else value

    @field_validator("sortby")
    @classmethod
    def _few_keys(cls, value: list[SortKey]) -> list[SortKey]:
        if len(value) > _MOST_KEYS:
            raise ValueError(f"sortby takes at most {_MOST_KEYS} properties")
        if len({key.field for key in value}) < len(value):
            raise ValueError("sortby names a property twice")
        return value

    @model_validator(mode="after")
    def _one_area(self) -> SearchQuery:
        if self.bbox is not None and self.intersects is not None:
            raise ValueError("give bbox or intersects, not both (STAC API Item Search)")
        return self

    @property
    def condition(self) -> Filter | None:
        """The filter, to be written for a provider or applied here."""
        return None if self.filter is None else parse_filter(self.filter)

    def fingerprint(self) -> str:
        """The same for the same question, whatever the size of a page and whoever is asked."""
        asked = self.model_dump(mode="json", exclude={"limit", "providers"}, exclude_defaults=True)
        text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def body(self, limit: int) -> dict[str, Any]:
        """The STAC API search body that every provider takes, with the page size."""
        body: dict[str, Any] = {"limit": limit}
        if self.bbox is not None:
            body["bbox"] = list(self.bbox)
        if self.intersects is not None:
            body["intersects"] = self.intersects
        if self.datetime is not None:
            body["datetime"] = self.datetime
        if self.collections:
            body["collections"] = self.collections
        if self.ids:
            body["ids"] = self.ids
        return body


def _sentences(error: InvalidInput) -> str:
    return " ".join(filter(None, [error.message, error.hint]))


def area(query: SearchQuery) -> BaseGeometry | None:
    """Where is looked, in longitude and latitude (EPSG:4326), split at the antimeridian."""
    if query.intersects is not None:
        return shape(query.intersects)
    return None if query.bbox is None else box_area(query.bbox)
