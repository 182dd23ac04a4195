"""What a provider of the federation is: where its STAC API is, how to log in, what it holds.

The hub's settings, the site file of a user's server, the entries that are shipped and those read
from the EGI site registry (GOCDB) are all this one model. A data policy lets a search leave a
provider out before it is asked; retention classes as in the C-SCALE design papers (national
archives keep everything of a small area, redistributors keep the last weeks of everything).

Nothing here is secret: a login names its source, never the password.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from cscale_core.errors import InvalidInput

PROVIDER_ID = r"^[A-Za-z0-9._-]+$"
_DURATION = TypeAdapter(timedelta)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _area(value: tuple[float, ...]) -> tuple[float, ...]:
    west, south, east, north = value
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise ValueError("an area is west, south, east, north in degrees, south before north")
    return value


BBox = Annotated[tuple[float, ...], Field(min_length=4, max_length=4), AfterValidator(_area)]
"""west, south, east, north in degrees (EPSG:4326); west > east crosses the antimeridian."""


def _geometry(value: dict[str, Any]) -> dict[str, Any]:
    if value.get("type") not in ("Polygon", "MultiPolygon"):
        raise ValueError("an area is a bounding box, or a GeoJSON Polygon or MultiPolygon")
    polygons = value.get("coordinates")
    _positions([polygons] if value["type"] == "Polygon" else polygons)
    return value


def _positions(polygons: Any) -> None:
    """RFC 7946 section 3.1.6: rings of four and more positions, the last one as the first."""
    try:
        for ring in [ring for polygon in polygons for ring in polygon]:
            if len(ring) < 4 or ring[0] != ring[-1]:
                raise ValueError("a ring of an area has four and more positions and is closed")
            for longitude, latitude, *_ in ring:
                if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
                    raise ValueError("the positions of an area are longitude, latitude in degrees")
        if not polygons or not all(polygons):
            raise ValueError("an area has at least one ring")
    except TypeError as error:
        raise ValueError("the coordinates of an area are lists of positions") from error


Geometry = Annotated[dict[str, Any], AfterValidator(_geometry)]

Coverage = BBox | Geometry
"""A bounding box or a GeoJSON Polygon or MultiPolygon (not across the antimeridian: two parts)."""


def _end(text: str, now: datetime, *, last: bool) -> datetime | None:
    """One end of a policy's interval; of a date its first or last moment."""
    if text in ("", ".."):
        return None
    if text.startswith("-P"):
        try:
            return now + _DURATION.validate_python(text)
        except (ValidationError, OverflowError) as error:
            raise ValueError(f"{text!r} is not a duration such as -P30D") from error
    try:
        if len(text) == len("2015-06-23"):
            day = date.fromisoformat(text)
            return datetime.combine(day, time.max if last else time.min, tzinfo=UTC)
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a date, a time or a duration such as -P30D") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def policy_bounds(text: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """First and last moment of a policy's interval; None stands for an open end.

    An end is a date, an RFC 3339 time, ``..`` or nothing, or an ISO 8601 duration before now such
    as ``-P30D`` (a month counts 30 days and a year 365).

    :raises ValueError: when it is not such an interval, or ends before it starts.
    """
    if not text:
        return None, None
    first, slash, second = text.partition("/")
    if not slash or "/" in second:
        raise ValueError("an interval has two ends with a slash between, such as -P30D/..")
    start, end = _end(first, now, last=False), _end(second, now, last=True)
    if start is not None and end is not None and end < start:
        raise ValueError(f"the interval {text!r} ends before it starts")
    return start, end


def _interval(value: str) -> str:
    policy_bounds(value, datetime.now(UTC))
    return value


PolicyInterval = Annotated[str, AfterValidator(_interval)]


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        host = parts.hostname
    except ValueError as error:
        raise ValueError("the address cannot be read") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("an address begins with https:// or http:// and names a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("no user name and no password in an address; see auth")
    return value


def _host(value: str) -> str:
    try:
        # As cscale_core.http.allowed_hosts reads it.
        literal = value.count(":") > 1 and "[" not in value
        parts = urlsplit(f"//[{value}]" if literal else f"//{value}")
        plain = (
            parts.hostname
            and parts.port != 0
            and parts.netloc == (f"[{value}]" if literal else value)
        )
    except ValueError:
        plain = False
    if not plain or "@" in value or "*" in value or value != value.strip():
        raise ValueError("this is not host or host:port, such as stac.inside.example:8443")
    return value


AllowedHost = Annotated[str, AfterValidator(_host)]
"""``host``, ``host:port`` or ``[IPv6]:port``; no scheme, no path, no pattern."""


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
    interval: PolicyInterval = Field(
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
    interval: PolicyInterval = Field(
        default="", description="When, as for a collection; empty: always."
    )
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
    url: Annotated[str, AfterValidator(_address)] = Field(
        description="Landing page of the STAC API, or catalog.json of a static one."
    )
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

    url: Annotated[str, AfterValidator(_address)] = Field(
        default="https://goc.egi.eu/gocdbpi/public/",
        description="Its public programming interface.",
    )
    scope: str = Field(default="C-SCALE", description="Scope tag of the sites that take part.")
    interval: float = Field(default=3600.0, ge=1, description="Seconds between two readings.")
    only: tuple[str, ...] = Field(
        default=(), description="Sites that are taken; empty: all of the scope."
    )
    without: tuple[str, ...] = Field(default=(), description="Sites that are left out.")
    audiences: dict[str, str] = Field(
        default_factory=dict,
        description="Sites that get a bearer token, and its audience; others write the registry, "
        "so it cannot tell by itself whose tokens it gets.",
    )


class ProvidersFile(_Model):
    """A file that declares providers; a list of them alone is one too."""

    providers: tuple[Provider, ...] = Field(default=(), description="The nearest first.")
    archives: dict[str, bool] = Field(
        default_factory=dict,
        description="Archives that are shipped, such as cdse, and whether they are on; they come "
        "after the providers.",
    )
    site_registry: SiteRegistry | None = Field(
        default=None, description="Where further providers are read from; none: nowhere."
    )
    allowed_hosts: tuple[AllowedHost, ...] = Field(
        default=(),
        description="host or host:port that may be asked although private or loopback.",
    )
    entitlements: tuple[str, ...] = Field(
        default=(), description="AARC entitlements of whoever asks, for the providers' policies."
    )

    @model_validator(mode="before")
    @classmethod
    def _list_alone(cls, value: Any) -> Any:
        return {"providers": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _known_and_unique(self) -> ProvidersFile:
        # The archives that are shipped are such a file themselves.
        if self.archives or repeated(self.providers):
            with_archives(self.providers, self.archives)
        return self

    def everything(self) -> tuple[Provider, ...]:
        """The providers, then the archives that are on."""
        return with_archives(self.providers, self.archives)


def repeated(providers: Iterable[Provider]) -> list[str]:
    """The ids that more than one provider has."""
    return [name for name, n in Counter(each.id for each in providers).items() if n > 1]


def with_archives(
    providers: Iterable[Provider], archives: Mapping[str, bool]
) -> tuple[Provider, ...]:
    """Declared providers, and after them the shipped archives that are on.

    A variable's name holds no hyphen, so ``earth_search`` is ``earth-search`` too. A declared
    provider with the id of an archive takes its place.

    :raises ValueError: for an archive that is not shipped, or two providers of one id.
    """
    declared = tuple(providers)
    if twice := repeated(declared):
        raise ValueError(f"two providers have the id {', '.join(twice)}")
    chosen = {name.replace("_", "-"): on for name, on in archives.items()}
    shipped = shipped_providers() if chosen else {}
    if unknown := chosen.keys() - shipped.keys():
        raise ValueError(
            f"there is no archive {', '.join(sorted(unknown))}; there are {', '.join(shipped)}"
        )
    ids = {each.id for each in declared}
    return (
        *declared,
        *(each for name, each in shipped.items() if chosen.get(name) and name not in ids),
    )


def read_providers(text: str, name: str) -> ProvidersFile:
    """What a YAML text declares.

    :param name: what the text is called in an error.
    :raises InvalidInput: which says every wrong member and where it is.
    """
    hint = "Its form is in docs/reference/providers.md."
    try:
        return ProvidersFile.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(f"{name} is not YAML: {error}", hint=hint) from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'file'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        raise InvalidInput(f"{name} does not declare providers: {wrong}.", hint=hint) from error


def load_providers_file(path: str | Path) -> ProvidersFile:
    """What a file declares.

    :raises InvalidInput: when it cannot be read, or says something wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The providers' file {path} cannot be read: {error}") from error
    return read_providers(text, f"The providers' file {path}")


@cache
def shipped_providers() -> dict[str, Provider]:
    """The public archives that come with the package, by id; each is off until it is named."""
    text = resources.files(__package__).joinpath("providers.yaml").read_text(encoding="utf-8")
    return {each.id: each for each in read_providers(text, "providers.yaml").providers}
