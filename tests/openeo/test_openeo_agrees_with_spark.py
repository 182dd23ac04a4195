"""The shared Aqua Monitor graph, run here, against the Spark application's own algorithm."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openeo_builders import BANDS, Scene
from rasterio.warp import transform_bounds

from cscale_core.workflows import aqua_monitor_spark as spark
from cscale_core.workflows.aqua_monitor import AquaMonitorParameters, process_graph
from cscale_openeo import graph as graphs
from cscale_openeo.freezing import digest, frozen_item
from cscale_openeo.running import compute, plan_run
from cscale_openeo.tasks import Task

SLOVENIA = Path(__file__).parents[3] / "shared" / "data" / "sentinel2-l1c-slovenia"


def both_engines(
    items: list[dict[str, Any]], parameters: AquaMonitorParameters, local: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Output name -> array, from the process graph and from the application."""
    graph = process_graph(parameters)
    assert graphs.check(graph) == []
    ordered = spark.ordered(items)
    frozen = {
        "load": {
            "collection": parameters.collection,
            "bands": list(parameters.bands),
            "items": [frozen_item(item, list(parameters.bands), local) for item in ordered],
            "skipped": [],
        }
    }
    task = Task(
        job="j-test",
        process_graph=graph,
        frozen=frozen,
        frozen_digest=digest(frozen),
        tile_size=64,
    )
    plan = plan_run(task)
    grid = spark.output_grid(ordered, parameters)
    assert plan.grid == grid
    outputs: dict[str, Any] = {}
    for name, cube in compute(plan).items():
        prefix = graph[name]["arguments"]["options"]["filename_prefix"]
        if "t" in cube.dims:
            for label, part in zip(parameters.labels, cube.transpose("t", ...), strict=True):
                outputs[f"{prefix}_{label}"] = part.values.astype(np.float32)
        else:
            outputs[prefix] = cube.values.astype(np.float32)
    layers = spark.compute_tile(grid, spark.by_interval(ordered, parameters), parameters)
    expected = {
        name: np.squeeze(layers[where]) for name, where in spark.layers(parameters.labels).items()
    }
    return outputs, expected


def assert_agree(outputs: dict[str, Any], expected: dict[str, Any]) -> None:
    assert outputs.keys() == expected.keys()
    for name, values in expected.items():
        if name.startswith(("count", "keep", "composite")):
            np.testing.assert_array_equal(np.squeeze(outputs[name]), values, err_msg=name)
        else:
            np.testing.assert_allclose(outputs[name], values, rtol=0, atol=1e-6, err_msg=name)


def parameters_for(bbox: Any, intervals: list[tuple[str, str]], least: int) -> Any:
    days = [(date.fromisoformat(a), date.fromisoformat(b)) for a, b in intervals]
    return AquaMonitorParameters(
        bbox=bbox, intervals=days, min_images=least, collection="scenes", bands=BANDS
    )


YEARS = [("2019-01-01", "2020-01-01"), ("2020-01-01", "2021-01-01"), ("2021-01-01", "2022-01-01")]


def scene_area() -> tuple[float, ...]:
    from openeo_builders import AREA, CRS

    return tuple(transform_bounds(CRS, "EPSG:4326", *AREA))


def test_simulated_scenes(scenes: list[Scene]) -> None:
    local = Path(scenes[0].item["assets"]["B03"]["href"]).parents[1]
    items = [scene.item for scene in scenes]
    outputs, expected = both_engines(items, parameters_for(scene_area(), YEARS, 2), local)
    assert_agree(outputs, expected)
    assert 0 < expected["keep"].sum() < expected["keep"].size


def test_an_interval_without_images(scenes: list[Scene]) -> None:
    local = Path(scenes[0].item["assets"]["B03"]["href"]).parents[1]
    items = [scene.item for scene in scenes if scene.time.year != 2020]
    outputs, expected = both_engines(items, parameters_for(scene_area(), YEARS, 1), local)
    assert_agree(outputs, expected)
    assert (expected["count_2020-01-01"] == 0).all()
    assert (outputs["keep"] == 0).all()


def test_real_sentinel_2_scenes() -> None:
    if not (SLOVENIA / "items.json").exists():
        pytest.skip(f"the shared test data are not at {SLOVENIA}")
    collection = json.loads((SLOVENIA / "items.json").read_text())
    items = collection["features"] if isinstance(collection, dict) else collection
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = str((SLOVENIA / asset["href"]).resolve())
    box = [f([i["bbox"][k] for i in items]) for k, f in enumerate((max, max, min, min))]
    intervals = [("2015-07-01", "2015-08-15"), ("2015-08-15", "2015-09-15")]
    outputs, expected = both_engines(items, parameters_for(tuple(box), intervals, 1), SLOVENIA)
    assert_agree(outputs, expected)
    assert np.isfinite(expected["slope"]).mean() > 0.9
