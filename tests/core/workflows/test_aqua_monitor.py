"""Aqua Monitor's parameters, process graph and numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from cscale_core.workflows import aqua_monitor_spark as application
from cscale_core.workflows.aqua_monitor import (
    REGRESSION_UDF,
    AquaMonitorArguments,
    AquaMonitorParameters,
    output_names,
    process_graph,
)

YEARS = ((2019, 2020), (2020, 2021), (2021, 2022))


def parameters(**changes: Any) -> AquaMonitorParameters:
    return AquaMonitorParameters.model_validate(
        {
            "bbox": (-5.7077, 36.4022, -5.6765, 36.4315),
            "intervals": [(date(a, 1, 1), date(b, 1, 1)) for a, b in YEARS],
            "collection": "sentinel-2",
            **changes,
        }
    )


def test_threshold_is_that_of_the_use_case() -> None:
    assert parameters().threshold == 0.12497148722627738


def test_steps_are_days_in_units_of_the_first_step() -> None:
    assert parameters().steps == (0.0, 1.0, (365 + 366) / 365)


@pytest.mark.parametrize(
    "changes",
    [
        {"bbox": (5, 36, -5, 37)},
        {"bbox": (-5, 91, 5, 92)},
        {"intervals": [("2019-01-01", "2020-01-01")]},
        {"intervals": [("2019-01-01", "2020-01-01"), ("2019-06-01", "2021-01-01")]},
        {"intervals": [("2019-01-01", "2019-01-01"), ("2020-01-01", "2021-01-01")]},
        {"bands": ("B11", "B11", "B03")},
        {"min_images": 0},
        {"colour": "blue"},
    ],
)
def test_parameters_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parameters(**changes)


def slopes_by_udf(values: np.ndarray[Any, Any], labels: list[str]) -> np.ndarray[Any, Any]:
    """The UDF's text run as a back end runs it."""
    xarray = pytest.importorskip("xarray", reason="install cscale-hub[openeo]")
    udf = pytest.importorskip("openeo.udf", reason="install cscale-hub[openeo]")
    scope: dict[str, Any] = {}
    exec(REGRESSION_UDF, scope)  # noqa: S102 - our own text
    cube = udf.XarrayDataCube(
        xarray.DataArray(
            values,
            dims=("t", "y", "x"),
            coords={"t": np.array(labels, dtype="datetime64[ns]")},
        )
    )
    slope: np.ndarray[Any, Any] = scope["apply_datacube"](cube, {}).get_array().values
    return slope


def slopes_by_application(values: np.ndarray[Any, Any], labels: list[str]) -> np.ndarray[Any, Any]:
    days = [date.fromisoformat(label) for label in labels]
    return application.slope(values, [(day - days[0]) / (days[1] - days[0]) for day in days])


BOTH_SLOPES = pytest.mark.parametrize("slopes", [slopes_by_udf, slopes_by_application])
Slopes = Callable[[np.ndarray[Any, Any], list[str]], np.ndarray[Any, Any]]
LABELS = ["2019-01-01", "2020-01-01", "2021-01-01"]


@BOTH_SLOPES
def test_slope_knows_that_2020_has_366_days(slopes: Slopes) -> None:
    values = np.array([0.2, 0.5, 0.8]).reshape(3, 1, 1)
    assert slopes(values, LABELS)[0, 0] == pytest.approx(0.2995894, abs=5e-8)


@BOTH_SLOPES
def test_missing_middle_leaves_the_line_through_the_outer_points(slopes: Slopes) -> None:
    values = np.array([0.2, np.nan, 0.8]).reshape(3, 1, 1)
    assert slopes(values, LABELS)[0, 0] == pytest.approx(0.2995896, abs=5e-8)


@BOTH_SLOPES
def test_fewer_than_two_values_have_no_slope(slopes: Slopes) -> None:
    values = np.full((3, 1, 2), np.nan)
    values[1, 0, 0] = 0.4
    assert np.isnan(slopes(values, LABELS)).all()


@BOTH_SLOPES
def test_slope_is_that_of_polyfit_whatever_is_missing(slopes: Slopes) -> None:
    random = np.random.default_rng(4)
    labels = ["2018-02-01", "2018-03-15", "2019-01-01", "2019-08-20", "2021-05-05"]
    values = random.random((5, 6, 7))
    values[random.random(values.shape) < 0.4] = np.nan
    days = np.array(labels, dtype="datetime64[D]")
    steps = (days - days[0]) / (days[1] - days[0])
    expected = np.full((6, 7), np.nan)
    for row, column in np.ndindex(6, 7):
        series = values[:, row, column]
        valid = np.isfinite(series)
        if valid.sum() >= 2:
            expected[row, column] = np.polyfit(steps[valid], series[valid], 1)[0]
    assert np.isnan(expected).any()
    np.testing.assert_allclose(slopes(values, labels), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_quantile_is_numpys_to_the_last_bit() -> None:
    random = np.random.default_rng(5)
    for images in (1, 2, 5, 6, 11, 40):
        stack = random.random((images, 20, 20)).astype(np.float32)
        stack[random.random(stack.shape) < 0.3] = np.nan
        stack[:, 0, 0] = np.nan
        expected = np.nanquantile(stack, 0.2, axis=0)
        assert expected.dtype == np.float32
        np.testing.assert_array_equal(application.quantile(stack, 0.2), expected)


def test_quantile_of_no_images_is_missing() -> None:
    assert np.isnan(application.quantile(np.empty((0, 2, 2), np.float32), 0.2)).all()


def kept(slope: float, lowest: float, highest: float, count: float, others: float = 99) -> bool:
    index = np.array([lowest, highest]).reshape(2, 1, 1)
    counts = np.array([others, count]).reshape(2, 1, 1)
    return bool(application.keep(np.array([[slope]]), index, counts, 0.125, 5)[0, 0])


def test_all_conditions_hold() -> None:
    assert kept(0.2, 0.0, 0.4, 5)


@pytest.mark.parametrize(("slope", "expected"), [(0.125, True), (-0.125, True), (0.1249, False)])
def test_slope_of_exactly_the_threshold_is_kept(slope: float, expected: bool) -> None:
    assert kept(slope, 0.0, 0.4, 5) is expected


@pytest.mark.parametrize(("lowest", "expected"), [(0.5, False), (0.4999, True)])
def test_lowest_index_of_exactly_a_half_is_dropped(lowest: float, expected: bool) -> None:
    assert kept(0.2, lowest, 0.9, 5) is expected


@pytest.mark.parametrize(("highest", "expected"), [(-0.05, False), (-0.0499, True)])
def test_highest_index_of_exactly_minus_a_twentieth_is_dropped(
    highest: float, expected: bool
) -> None:
    assert kept(0.2, -0.3, highest, 5) is expected


@pytest.mark.parametrize(("count", "expected"), [(5, True), (4, False)])
def test_exactly_enough_images_are_enough(count: float, expected: bool) -> None:
    assert kept(0.2, 0.0, 0.4, count) is expected


def test_no_slope_is_not_kept() -> None:
    assert not kept(float("nan"), 0.0, 0.4, 9)


def test_constant_scene_changes_nowhere() -> None:
    composites = np.full((3, 3, 2, 2), 0.1, np.float32)
    index = application.mndwi(composites)
    slope = application.slope((index + 0.6) / 1.2, parameters().steps)
    assert (slope == 0).all()
    counts = np.full((3, 2, 2), 99)
    assert not application.keep(slope, index, counts, parameters().threshold, 1).any()


def test_graph_saves_each_output_under_its_own_name() -> None:
    graph = process_graph(parameters())
    saved = {
        node["arguments"]["options"]["filename_prefix"]: node.get("result", False)
        for node in graph.values()
        if node["process_id"] == "save_result"
    }
    assert saved == {
        "composite": False,
        "count": False,
        "slope": False,
        "keep": False,
        "change": True,
    }
    assert [name for name, node in graph.items() if node.get("result")] == ["savechange"]


def test_graph_has_dates_without_times_and_is_json() -> None:
    text = json.dumps(process_graph(parameters()))
    assert "2019-01-01" in text
    assert "00:00" not in text
    assert "SENTINEL" not in text


def test_graph_has_the_chain_of_the_use_case() -> None:
    graph = process_graph(parameters(min_images=7))

    def source(name: str) -> str:
        return str(graph[name]["arguments"]["data"]["from_node"])

    assert source("composite") == "smooth"
    assert source("smooth") == "named"
    assert source("named") == "load"
    assert graph["smooth"]["arguments"]["method"] == "cubic"
    assert graph["load"]["arguments"]["temporal_extent"] == ["2019-01-01", "2022-01-01"]
    assert graph["composite"]["arguments"]["labels"] == list(parameters().labels)
    enough = graph["enough"]["arguments"]["process"]["process_graph"]["comparison"]
    assert (enough["process_id"], enough["arguments"]["y"]) == ("gte", 7)
    steep = graph["steep"]["arguments"]["process"]["process_graph"]["comparison"]
    assert steep["arguments"]["y"] == parameters().threshold


def test_graph_can_load_from_a_stac_address() -> None:
    load = process_graph(parameters(), "https://example.org/collections/c")["load"]
    assert load["process_id"] == "load_stac"
    assert load["arguments"]["url"] == "https://example.org/collections/c"


def check_against_specification(graph: dict[str, Any], specs: dict[str, Any]) -> None:
    """Every process exists, every argument is known, every required one is there."""
    for node in graph.values():
        spec = {
            parameter["name"]: parameter for parameter in specs[node["process_id"]]["parameters"]
        }
        assert set(node["arguments"]) <= set(spec), node
        required = {name for name, parameter in spec.items() if not parameter.get("optional")}
        assert required <= set(node["arguments"]), node
        for value in node["arguments"].values():
            if isinstance(value, dict) and "process_graph" in value:
                children = value["process_graph"]
                assert sum(child.get("result", False) for child in children.values()) == 1
                check_against_specification(children, specs)
            if isinstance(value, dict) and "from_node" in value:
                assert value["from_node"] in graph


def test_graph_keeps_to_the_specification_of_each_process() -> None:
    specs = pytest.importorskip("openeo_processes_dask.specs", reason="install cscale-hub[openeo]")

    def spec(name: str) -> Any:
        found = getattr(specs, name, None) or getattr(specs, f"_{name}", None)
        return getattr(specs, f"{name}_") if found is None else found

    graph = process_graph(parameters())
    names = set()

    def collect(part: dict[str, Any]) -> None:
        for node in part.values():
            names.add(node["process_id"])
            for value in node["arguments"].values():
                if isinstance(value, dict) and "process_graph" in value:
                    collect(value["process_graph"])

    collect(graph)
    check_against_specification(graph, {name: spec(name) for name in names})


def test_output_names_follow_the_intervals() -> None:
    assert output_names(("2019-01-01", "2020-01-01")) == (
        "composite_2019-01-01",
        "composite_2020-01-01",
        "count_2019-01-01",
        "count_2020-01-01",
        "slope",
        "keep",
        "change",
    )


def item(identifier: str = "a", **properties: Any) -> dict[str, Any]:
    return {
        "id": identifier,
        "properties": properties or {"datetime": "2019-06-01T00:00:00Z"},
        "assets": {band: {"href": f"/{band}.tif"} for band in ("B11", "B08", "B03")},
    }


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "at least 1"),
        ([item(), item()], "twice"),
        ([item(datetime=None)], "no datetime"),
        ([{**item(), "assets": {"B11": {"href": "/x"}}}], "no asset B08"),
    ],
)
def test_scenes_that_cannot_be_used_are_refused_before_anything_starts(
    items: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        AquaMonitorArguments(parameters=parameters(), items=items)


def test_scene_at_midnight_belongs_to_the_interval_that_starts() -> None:
    scenes = [
        item("last", datetime="2019-12-31T23:59:59Z"),
        item("first", datetime="2020-01-01T00:00:00Z"),
    ]
    intervals = application.by_interval(scenes, parameters())
    assert [len(part) for part in intervals] == [1, 1, 0]


def test_scenes_are_ordered_by_time_then_id() -> None:
    scenes = [item("b"), item("a"), item("c", datetime="2018-01-01T00:00:00Z")]
    assert [scene["id"] for scene in application.ordered(scenes)] == ["c", "a", "b"]
