"""What a provider of the federation is: where its STAC API is, how to log in, what it holds.

The hub's settings, the site file of a user's server, the entries that are shipped and those read
from the EGI site registry (GOCDB) are all this one model. A data policy lets a search leave a
provider out before it is asked; retention classes as in the C-SCALE design papers (national
archives keep everything of a small area, redistributors keep the last weeks of everything).

Nothing here is secret: a login names its source, never the password.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

PROVIDER_ID = r"^[A-Za-z0-9._-]+$"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _area(value: tuple[float, ...]) -> tuple[float, ...]:
    if len(value) != 4:
        raise ValueError("an area is west, south, east, north")
    west, south, east, north = value
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise ValueError("an area is west, south, east, north in degrees, south before north")
    return value


BBox = Annotated[tuple[float, ...], AfterValidator(_area)]
"""west, south, east, north in degrees (EPSG:4326); west > east crosses the antimeridian."""

Coverage = BBox | dict[str, Any]
"""A bounding box or a GeoJSON geometry."""


class CollectionPolicy(_Model):
    """What a provider keeps of one collection."""

    id: str = Field(description="The provider's own id of the collection.")
    product_type: str = Field(
        default="", description="Type of product in it, such as S2MSI2A or GRD; empty: unsaid."
    )
    aliases: tuple[str, ...] = Field(
        default=(),
        description="Names by which others know the same collection, such as sentinel-2-l2a.",
    )
    retention: Literal["full", "rolling", "on-demand"] = Field(
        default="full",
        description="full: everything since the start; rolling: the interval moves on; "
        "on-demand: older products are fetched from an archive when asked for.",
    )
    coverage: Coverage | None = Field(default=None, description="Where; none: as the provider.")
    interval: str = Field(
        default="",
        description="When: RFC 3339 times or ISO 8601 durations before now around a slash, "
        "such as 2015-06-23/.. or -P30D/..; empty: as the provider.",
    )


class DataPolicy(_Model):
    """What a provider keeps, for whom, and under which terms."""

    collections: tuple[CollectionPolicy, ...] = Field(
        default=(), description="Empty: not stated, every collection may be there."
    )
    complete: bool = Field(
        default=False,
        description="Whether the collections above are all; then others are not asked for here.",
    )
    coverage: Coverage | None = Field(default=None, description="Where; none: everywhere.")
    interval: str = Field(default="", description="When, as for a collection; empty: always.")
    licence: str = Field(default="", description="Terms of use: SPDX identifier or address.")
    contacts: tuple[str, ...] = Field(default=(), description="E-mail or web addresses.")
    entitlement: str = Field(
        default="",
        description="AARC entitlement that a person must hold to use it; empty: anybody.",
    )


class Provider(_Model):
    """One STAC API, or one static STAC catalogue, of the federation."""

    id: str = Field(
        pattern=PROVIDER_ID, description="Name by which searches and items refer to it."
    )
    title: str = Field(description="Name shown to people.")
    url: str = Field(description="Landing page of the STAC API, or catalog.json of a static one.")
    kind: Literal["api", "static"] = Field(
        default="api", description="api: STAC API with Item Search; static: files over HTTP."
    )
    deadline: float = Field(default=20.0, gt=0, description="Seconds allowed for one search.")
    limit: int = Field(default=100, gt=0, le=10_000, description="Items asked per page.")
    auth: Literal["none", "basic", "bearer"] = Field(
        default="none",
        description="basic: user name and password of ~/.netrc; bearer: token of EGI Check-in.",
    )
    audience: str = Field(default="", description="Audience of the bearer token, if auth=bearer.")
    policy: DataPolicy = Field(default=DataPolicy(), description="What it keeps, and for whom.")


class SiteRegistry(_Model):
    """The EGI site registry (GOCDB), from which further providers are read."""

    url: str = Field(
        default="https://goc.egi.eu/gocdbpi/public/",
        description="Its public programming interface.",
    )
    scope: str = Field(default="C-SCALE", description="Scope tag of the sites that take part.")
    interval: float = Field(default=3600.0, ge=1, description="Seconds between two readings.")
    only: tuple[str, ...] = Field(
        default=(), description="Sites that are taken; empty: all of the scope."
    )
    without: tuple[str, ...] = Field(default=(), description="Sites that are left out.")
