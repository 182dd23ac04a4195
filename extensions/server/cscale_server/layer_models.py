"""The bodies of requests and answers of the routes of layers; as :mod:`cscale_server.models`."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import BaseModel, Field, RootModel

from cscale_server.models import Request
from cscale_server.tiles.names import MAX_LENGTH

LayerName = Annotated[str, Field(min_length=1, max_length=MAX_LENGTH)]
"""``item|PROVIDER|COLLECTION|ID``, ``job|JOB|ITEM`` or ``object|BUCKET|KEY``."""

Limits = tuple[float, float]


class RenderingEntry(BaseModel):
    """One way to show a layer."""

    id: str = Field(description="Give this as show.")
    title: str
    kind: Literal["colours", "values", "classes", "unknown"] = Field(
        description="colours: a picture; values: a scale; classes; unknown: its file will tell."
    )
    unit: str
    datetime: dt.datetime | None = Field(description="What time it speaks of; null: as the item.")
    series: str = Field(description="The same for all that show the same at other times.")


class LayerInfo(BaseModel):
    """What can be shown of a layer; nothing is read for this."""

    layer: str
    title: str
    datetime: dt.datetime | None
    renderings: list[RenderingEntry] = Field(description="The most telling first.")
    problem: str = Field(description="Why there is nothing to show; empty when there is.")


class TileJson(BaseModel):
    """TileJSON 3.0.0; the range of values is in the addresses, so that all tiles have the same."""

    tilejson: Literal["3.0.0"] = "3.0.0"
    name: str
    scheme: Literal["xyz"] = "xyz"
    tiles: list[str] = Field(description="Relative to the origin of the server.")
    bounds: tuple[float, float, float, float] = Field(description="west, south, east, north.")
    minzoom: int
    maxzoom: int


class LegendStop(BaseModel):
    """A value and its colour."""

    value: float
    colour: str = Field(description="#rrggbb")
    label: str = Field(description="Name of the class; empty on a scale.")


class LegendAnswer(BaseModel):
    """What the colours of a layer mean."""

    title: str
    kind: Literal["colours", "values", "classes"]
    unit: str
    limits: list[Limits] = Field(description="Least and largest value, of each band of a picture.")
    colormap: str
    colormaps: list[str] = Field(description="Those that can be chosen; also with _r at the end.")
    stops: list[LegendStop]


class NamedValue(BaseModel):
    """The value of one band; of an index its own."""

    name: str
    value: float | None = Field(description="null: there is none.")
    unit: str


class PointAnswer(BaseModel):
    """The values at a point."""

    title: str
    datetime: dt.datetime | None
    values: list[NamedValue]


class SeriesRequest(Request):
    """A point, and the layers whose values there are wanted."""

    layers: list[LayerName] = Field(min_length=1, max_length=200)
    longitude: float = Field(ge=-180, le=180, allow_inf_nan=False)
    latitude: float = Field(ge=-90, le=90, allow_inf_nan=False)
    show: str = Field(
        default="",
        max_length=MAX_LENGTH,
        description="Id of a rendering, the same in all layers; all of its series are read. "
        "Empty: the first of each.",
    )


class ValueLine(PointAnswer):
    """The values of one layer at one time, as soon as they are known."""

    type: Literal["value"] = "value"
    layer: str


class FailedLine(BaseModel):
    """A layer whose values could not be had."""

    type: Literal["failed"] = "failed"
    layer: str
    message: str


class EndLine(BaseModel):
    """All layers were asked; the last line."""

    type: Literal["end"] = "end"
    layers: int
    failed: int


class SeriesLine(
    RootModel[Annotated[ValueLine | FailedLine | EndLine, Field(discriminator="type")]]
):
    """One line of the answer."""
