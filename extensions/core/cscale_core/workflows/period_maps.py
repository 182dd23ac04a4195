"""One map of a period, as openEO process graphs (API 1.2, flat form): of bands, or of an index.

All acquisitions of the period are brought to one value a pixel, missing ones left out. What clouds
hide is left out where the archive masked it; the median of enough acquisitions does the rest.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cscale_core.workflows.form_hints import AREA, BANDS, COLLECTION, PERIOD

Statistic = Literal["median", "mean", "min", "max"]
Index = Literal["NDVI", "NDWI", "MNDWI"]


class PeriodParameters(BaseModel):
    """What every map of a period is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bbox: tuple[float, float, float, float] = Field(
        title="Area",
        description="west, south, east, north in degrees (EPSG:4326).",
        json_schema_extra=AREA,
    )
    period: tuple[date, date] = Field(
        title="Period",
        description="First day, and the day after the last (UTC).",
        json_schema_extra=PERIOD,
    )
    collection: str = Field(
        min_length=1,
        max_length=200,
        title="Collection",
        description="Its id at the back end.",
        json_schema_extra=COLLECTION,
    )
    statistic: Statistic = Field(
        default="median", title="Statistic", description="Of all acquisitions of the period."
    )
    max_cloud_cover: float | None = Field(
        default=None,
        ge=0,
        le=100,
        title="Cloud cover at most (%)",
        description="Acquisitions with more are left out; empty: all are taken.",
    )

    @model_validator(mode="after")
    def _real(self) -> PeriodParameters:
        west, south, east, north = self.bbox
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            raise ValueError("bbox is west, south, east, north in degrees, with west < east")
        if self.period[0] >= self.period[1]:
            raise ValueError("the period ends after it starts")
        return self


class CompositeParameters(PeriodParameters):
    """A composite of bands."""

    bands: tuple[str, ...] = Field(
        default=("B04", "B03", "B02"),
        min_length=1,
        max_length=20,
        title="Bands",
        description="Their names at the back end.",
        json_schema_extra=BANDS,
    )


class IndexParameters(PeriodParameters):
    """A map of an index."""

    index: Index = Field(
        default="NDVI",
        title="Index",
        description="NDVI: vegetation; NDWI and MNDWI: open water.",
    )
    bands: tuple[str, str] = Field(
        default=("B08", "B04"),
        title="Bands",
        description="Of NDVI near infrared and red, of NDWI green and near infrared, of MNDWI "
        "green and short-wave infrared, by their names at the back end.",
        json_schema_extra=BANDS,
    )


def _loaded(parameters: PeriodParameters, bands: tuple[str, ...]) -> dict[str, Any]:
    west, south, east, north = parameters.bbox
    arguments: dict[str, Any] = {
        "id": parameters.collection,
        "spatial_extent": {"west": west, "south": south, "east": east, "north": north, "crs": 4326},
        "temporal_extent": [day.isoformat() for day in parameters.period],
        "bands": list(bands),
    }
    if parameters.max_cloud_cover is not None:
        test = {
            "process_id": "lte",
            "arguments": {"x": {"from_parameter": "value"}, "y": parameters.max_cloud_cover},
            "result": True,
        }
        arguments["properties"] = {"eo:cloud_cover": {"process_graph": {"clear": test}}}
    return {"process_id": "load_collection", "arguments": arguments}


def _reduced(data: str, dimension: str, child: dict[str, Any]) -> dict[str, Any]:
    return {
        "process_id": "reduce_dimension",
        "arguments": {
            "data": {"from_node": data},
            "dimension": dimension,
            "reducer": {"process_graph": child},
        },
    }


def _over_time(data: str, statistic: str) -> dict[str, Any]:
    child = {
        "process_id": statistic,
        "arguments": {"data": {"from_parameter": "data"}},
        "result": True,
    }
    return _reduced(data, "t", {"statistic": child})


def _saved(data: str, name: str) -> dict[str, Any]:
    return {
        "process_id": "save_result",
        "arguments": {
            "data": {"from_node": data},
            "format": "GTiff",
            "options": {"filename_prefix": name},
        },
        "result": True,
    }


def composite_graph(parameters: CompositeParameters) -> dict[str, Any]:
    """The bands of a period in one map: ``composite``, in the order of ``bands``."""
    return {
        "load": _loaded(parameters, parameters.bands),
        "reduce": _over_time("load", parameters.statistic),
        "save": _saved("reduce", "composite"),
    }


def index_graph(parameters: IndexParameters) -> dict[str, Any]:
    """The index of each acquisition, then of the period in one map, named after the index."""

    def band(place: int) -> dict[str, Any]:
        return {
            "process_id": "array_element",
            "arguments": {"data": {"from_parameter": "data"}, "index": place},
        }

    difference = {
        "process_id": "normalized_difference",
        "arguments": {"x": {"from_node": "first"}, "y": {"from_node": "second"}},
        "result": True,
    }
    child = {"first": band(0), "second": band(1), "difference": difference}
    return {
        "load": _loaded(parameters, parameters.bands),
        "index": _reduced("load", "bands", child),
        "reduce": _over_time("index", parameters.statistic),
        "save": _saved("reduce", parameters.index.lower()),
    }
