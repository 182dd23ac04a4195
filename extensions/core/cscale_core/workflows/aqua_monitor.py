"""Aqua Monitor: where land became water, or water land, between two dates.

The 20th percentile of reflectance per interval (which keeps clouds out), the water index MNDWI of
these composites, its linear trend, and four conditions a trustworthy change fulfils. After the
C-SCALE use case of Deltares (``use-case-aquamonitor``, Apache-2.0) and Donchyts et al. 2016,
doi:10.1038/nclimate3111. This module has the parameters and the openEO process graph; the same
algorithm as a Spark application is :mod:`cscale_core.workflows.aqua_monitor_spark`.

Both write the same files (:func:`output_names`), float32 COGs with NaN where there is no data:
``composite_<label>`` (bands swir, nir, green), ``count_<label>`` (valid images), ``slope`` (change
of rescaled MNDWI over the first interval's length, not masked), ``keep`` (1 where all conditions
hold, else 0) and ``change`` (``slope`` where ``keep``). A label is an interval's first day.
"""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cscale_core.workflows.form_hints import AREA, BANDS, COLLECTION, INTERVALS

#: 20th percentile: low enough to be free of clouds, high enough to be free of their shadows.
QUANTILE = 0.2
#: MNDWI in [-0.6, 0.6] is stretched to [0, 1] before the trend is taken.
RESCALE_FROM, RESCALE_TO = -0.6, 0.6
#: Somewhere in time a pixel of interest is not certainly water and not certainly dry.
MNDWI_MIN_BELOW, MNDWI_MAX_ABOVE = 0.5, -0.05

BAND_NAMES = ("swir", "nir", "green")


class AquaMonitorParameters(BaseModel):
    """What Aqua Monitor is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bbox: tuple[float, float, float, float] = Field(
        title="Area",
        description="west, south, east, north in degrees (EPSG:4326).",
        json_schema_extra=AREA,
    )
    intervals: tuple[tuple[date, date], ...] = Field(
        min_length=2,
        title="Intervals",
        description="Half-open [start, end) in UTC, in order, not overlapping.",
        json_schema_extra=INTERVALS,
    )
    min_images: int = Field(
        default=10,
        ge=1,
        title="Images at least",
        description="Valid images each interval must have.",
    )
    resolution: float = Field(
        default=30.0, gt=0, title="Pixel size", description="Pixel size in units of the CRS."
    )
    collection: str = Field(
        min_length=1,
        title="Collection",
        description="Collection id in the catalogue.",
        json_schema_extra=COLLECTION,
    )
    bands: tuple[str, str, str] = Field(
        default=("B11", "B08", "B03"),
        title="Bands",
        description="Asset keys of swir, nir, green.",
        json_schema_extra=BANDS,
    )

    @field_validator("bbox")
    @classmethod
    def _real_area(
        cls, bbox: tuple[float, float, float, float]
    ) -> tuple[float, float, float, float]:
        west, south, east, north = bbox
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            raise ValueError("bbox is west, south, east, north in degrees, with west < east")
        return bbox

    @field_validator("intervals")
    @classmethod
    def _in_order(cls, intervals: tuple[tuple[date, date], ...]) -> tuple[tuple[date, date], ...]:
        if any(start >= end for start, end in intervals):
            raise ValueError("an interval ends after it starts")
        if any(one[1] > other[0] for one, other in itertools.pairwise(intervals)):
            raise ValueError("intervals are in order and do not overlap")
        return intervals

    @field_validator("bands")
    @classmethod
    def _three_bands(cls, bands: tuple[str, str, str]) -> tuple[str, str, str]:
        if len(set(bands)) != 3 or not all(bands):
            raise ValueError("three different bands are needed: swir, nir, green")
        return bands

    @property
    def labels(self) -> tuple[str, ...]:
        """The interval starts, ``YYYY-MM-DD``."""
        return tuple(start.isoformat() for start, _ in self.intervals)

    @property
    def threshold(self) -> float:
        """Smallest |slope| that counts as change.

        0.025 over the 15 years of the original study, for the period asked for.
        """
        days = (self.intervals[-1][1] - self.intervals[0][0]).days
        return 0.025 * 15 * 365.25 / days

    @property
    def steps(self) -> tuple[float, ...]:
        """The labels in units of the first step: days since the first / days to the second."""
        first = self.intervals[0][0]
        one: timedelta = self.intervals[1][0] - first
        return tuple((start - first) / one for start, _ in self.intervals)


class AquaMonitorArguments(BaseModel):
    """Arguments of the Spark application: the parameters and the frozen scenes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: AquaMonitorParameters
    items: list[dict[str, Any]] = Field(min_length=1, description="STAC items, whole.")
    tile: int = Field(default=64, ge=16, le=4096, description="Pixels of a tile's side.")

    @model_validator(mode="after")
    def _items_have_what_is_needed(self) -> AquaMonitorArguments:
        for item in self.items:
            if not isinstance(item.get("id"), str) or not item["id"]:
                raise ValueError("an item has no id")
            scene_day(item)
            for band in self.parameters.bands:
                if not item.get("assets", {}).get(band, {}).get("href"):
                    raise ValueError(f"item {item['id']} has no asset {band}")
        if len({(item.get("collection"), item["id"]) for item in self.items}) != len(self.items):
            raise ValueError("an item is named twice")
        return self


def scene_day(item: dict[str, Any]) -> date:
    """The UTC day of a scene: ``datetime``, or ``start_datetime`` where that is null.

    :raises ValueError: when the item has neither.
    """
    properties = item.get("properties", {})
    text = properties.get("datetime") or properties.get("start_datetime")
    if not text:
        raise ValueError(f"item {item.get('id')} has no datetime")
    moment = datetime.fromisoformat(str(text))
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date()


def output_names(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The names of all output files, without ``.tif``."""
    return (
        *(f"composite_{label}" for label in labels),
        *(f"count_{label}" for label in labels),
        "slope",
        "keep",
        "change",
    )


#: The user-defined function for ``run_udf`` in ``reduce_dimension`` over ``t``: the slope of a line
#: through the values, missing ones left out, per first step. The same as xarray's ``polyfit`` of
#: degree 1 times the first step, in closed form. NaN where fewer than two values are there.
REGRESSION_UDF = '''\
import numpy as np
import xarray
from openeo.udf import XarrayDataCube


def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:
    """Slope of the linear regression over "t", per length of the first step."""
    array = cube.get_array()
    labels = np.asarray(array["t"].values).astype("datetime64[ns]").astype("int64")
    steps = (labels - labels[0]) / (labels[1] - labels[0])
    values = array.transpose("t", ...)
    numbers = np.asarray(values.values, dtype="float64")
    valid = np.isfinite(numbers)
    steps = np.where(valid, steps.reshape((-1,) + (1,) * (numbers.ndim - 1)), 0.0)
    numbers = np.where(valid, numbers, 0.0)
    count = valid.sum(axis=0)
    some = np.maximum(count, 1)
    deviation = np.where(valid, steps - steps.sum(axis=0) / some, 0.0)
    products = (deviation * (numbers - numbers.sum(axis=0) / some)).sum(axis=0)
    squares = (deviation * deviation).sum(axis=0)
    slope = np.where(count >= 2, products / np.where(squares > 0, squares, 1.0), np.nan)
    rest = values.isel(t=0, drop=True)
    return XarrayDataCube(xarray.DataArray(slope, dims=rest.dims, coords=rest.coords))
'''


def _node(process_id: str, *, result: bool = False, **arguments: Any) -> dict[str, Any]:
    node: dict[str, Any] = {"process_id": process_id, "arguments": arguments}
    if result:
        node["result"] = True
    return node


def _from(node: str) -> dict[str, str]:
    return {"from_node": node}


def _parameter(name: str) -> dict[str, str]:
    return {"from_parameter": name}


def _reducer(process_id: str, **arguments: Any) -> dict[str, Any]:
    """A child graph of one process on ``data``."""
    node = _node(process_id, data=_parameter("data"), **arguments, result=True)
    return {"process_graph": {f"{process_id}1": node}}


def _mndwi(*, rescaled: bool) -> dict[str, Any]:
    """A reducer of bands (swir, nir, green) to (green - swir) / (green + swir)."""
    green, swir = _from("green"), _from("swir")
    graph = {
        "green": _node("array_element", data=_parameter("data"), index=2),
        "swir": _node("array_element", data=_parameter("data"), index=0),
        "difference": _node("subtract", x=green, y=swir),
        "sum": _node("add", x=green, y=swir),
        "mndwi": _node("divide", x=_from("difference"), y=_from("sum")),
    }
    if rescaled:
        graph["above"] = _node("subtract", x=_from("mndwi"), y=RESCALE_FROM)
        width = RESCALE_TO - RESCALE_FROM
        graph["rescaled"] = _node("divide", x=_from("above"), y=width, result=True)
    else:
        graph["mndwi"]["result"] = True
    return {"process_graph": graph}


def _compared(process_id: str, y: float, *, absolute: bool = False) -> dict[str, Any]:
    """A process for ``apply``: 1.0 where ``x`` (or its absolute value) compares, else 0.0."""
    x: dict[str, Any] = _parameter("x")
    graph: dict[str, Any] = {}
    if absolute:
        graph["absolute1"] = _node("absolute", x=x)
        x = _from("absolute1")
    graph["comparison"] = _node(process_id, x=x, y=y)
    graph["number"] = _node("multiply", x=_from("comparison"), y=1.0, result=True)
    return {"process_graph": graph}


def _both(cube1: str, cube2: str) -> dict[str, Any]:
    """Both conditions hold: the product of two cubes of 0 and 1."""
    product = _node("multiply", x=_parameter("x"), y=_parameter("y"), result=True)
    return _node(
        "merge_cubes",
        cube1=_from(cube1),
        cube2=_from(cube2),
        overlap_resolver={"process_graph": {"multiply1": product}},
    )


def _saved(node: str, prefix: str, *, result: bool = False) -> dict[str, Any]:
    return _node(
        "save_result",
        data=_from(node),
        format="GTiff",
        options={"filename_prefix": prefix},
        result=result,
    )


def process_graph(parameters: AquaMonitorParameters, source: str = "") -> dict[str, Any]:
    """Aqua Monitor as an openEO process graph (API 1.2, flat form).

    It follows the use case's own graph; dates are date-only, since strict back ends refuse labels
    such as ``2019-01-01 00:00:00``. ``align`` of ``resample_spatial`` is left to its default,
    ``upper-left``, since not every back end knows it. Besides ``change``, the result, it saves the
    composites, the image counts, the unmasked slope and the mask.

    :param source: URL of a STAC API collection for ``load_stac``; empty: ``load_collection`` of
        ``parameters.collection``.
    """
    west, south, east, north = parameters.bbox
    start, end = parameters.intervals[0][0], parameters.intervals[-1][1]
    extent: dict[str, Any] = {
        "spatial_extent": {
            "west": west,
            "south": south,
            "east": east,
            "north": north,
            "crs": 4326,
        },
        "temporal_extent": [start.isoformat(), end.isoformat()],
        "bands": list(parameters.bands),
    }
    load = (
        _node("load_stac", url=source, **extent)
        if source
        else _node("load_collection", id=parameters.collection, **extent)
    )
    time: dict[str, Any] = {
        "intervals": [[a.isoformat(), b.isoformat()] for a, b in parameters.intervals],
        "labels": list(parameters.labels),
    }
    ones = {
        "zero": _node("multiply", x=_parameter("x"), y=0),
        "one": _node("add", x=_from("zero"), y=1, result=True),
    }
    green = _reducer("array_element", index=2)
    missing = _node("is_nan", x=_parameter("x"), result=True)
    return {
        "load": load,
        "named": _node(
            "rename_labels",
            data=_from("load"),
            dimension="bands",
            target=list(BAND_NAMES),
            source=list(parameters.bands),
        ),
        "smooth": _node(
            "resample_spatial",
            data=_from("named"),
            resolution=parameters.resolution,
            projection=None,
            method="cubic",
        ),
        "composite": _node(
            "aggregate_temporal",
            data=_from("smooth"),
            reducer=_reducer("quantiles", probabilities=[QUANTILE]),
            **time,
        ),
        "water": _node(
            "reduce_dimension",
            data=_from("composite"),
            dimension="bands",
            reducer=_mndwi(rescaled=True),
        ),
        "slope": _node(
            "reduce_dimension",
            data=_from("water"),
            dimension="t",
            reducer=_reducer("run_udf", udf=REGRESSION_UDF, runtime="Python"),
        ),
        "steep": _node(
            "apply",
            data=_from("slope"),
            process=_compared("gte", parameters.threshold, absolute=True),
        ),
        "mndwi": _node(
            "reduce_dimension",
            data=_from("composite"),
            dimension="bands",
            reducer=_mndwi(rescaled=False),
        ),
        "lowest": _node(
            "reduce_dimension", data=_from("mndwi"), dimension="t", reducer=_reducer("min")
        ),
        "notalwayswater": _node(
            "apply", data=_from("lowest"), process=_compared("lt", MNDWI_MIN_BELOW)
        ),
        "highest": _node(
            "reduce_dimension", data=_from("mndwi"), dimension="t", reducer=_reducer("max")
        ),
        "notalwaysdry": _node(
            "apply", data=_from("highest"), process=_compared("gt", MNDWI_MAX_ABOVE)
        ),
        "green": _node("reduce_dimension", data=_from("smooth"), dimension="bands", reducer=green),
        "image": _node("apply", data=_from("green"), process={"process_graph": ones}),
        "count": _node("aggregate_temporal", data=_from("image"), reducer=_reducer("sum"), **time),
        "enough": _node(
            "apply", data=_from("count"), process=_compared("gte", parameters.min_images)
        ),
        "alwaysenough": _node(
            "reduce_dimension", data=_from("enough"), dimension="t", reducer=_reducer("product")
        ),
        "both1": _both("steep", "notalwayswater"),
        "both2": _both("both1", "notalwaysdry"),
        "both3": _both("both2", "alwaysenough"),
        # Where there is no slope a comparison gives null, which is no yes: 0.
        "unknown": _node(
            "apply", data=_from("both3"), process={"process_graph": {"isnan1": missing}}
        ),
        "keep": _node("mask", data=_from("both3"), mask=_from("unknown"), replacement=0),
        "out": _node("apply", data=_from("keep"), process=_compared("eq", 0)),
        "change": _node("mask", data=_from("slope"), mask=_from("out")),
        "savecomposite": _saved("composite", "composite"),
        "savecount": _saved("count", "count"),
        "saveslope": _saved("slope", "slope"),
        "savekeep": _saved("keep", "keep"),
        "savechange": _saved("change", "change", result=True),
    }
