"""The workflows that make one map of a period, on our own evaluator, against NumPy."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from openeo_builders import AREA, CRS, TRANSFORM, Scene, area_extent

from cscale_core.grids import native_grid
from cscale_core.raster import Source, read
from cscale_core.workflows.offered import workflow
from cscale_openeo.freezing import digest, frozen_item
from cscale_openeo.joblog import JobLog
from cscale_openeo.running import here, run
from cscale_openeo.tasks import Task

BANDS = ["B08", "B03"]


def result(name: str, scenes: list[Scene], folder: Path, **more: Any) -> dict[str, Any]:
    """The files of a run, by name, on the area of the other tests."""
    given = {
        "bbox": [-6, 36, -5, 37],
        "period": ["2019-01-01", "2022-01-01"],
        "collection": "scenes",
        "bands": BANDS,
        **more,
    }
    graph = workflow(name).process("openeo", given)["process_graph"]
    graph["load"]["arguments"]["spatial_extent"] = area_extent()
    local = Path(scenes[0].item["assets"]["B03"]["href"]).parents[1]
    loaded = {
        "load": {
            "collection": "scenes",
            "bands": BANDS,
            "common_names": {"B08": "nir", "B03": "green"},
            "items": [frozen_item(scene.item, BANDS, local) for scene in scenes],
            "skipped": [],
        }
    }
    task = Task(
        job="j-test",
        process_graph=graph,
        frozen=loaded,
        frozen_digest=digest(loaded),
        tile_size=96,
    )
    folder.mkdir(exist_ok=True)
    run(task, folder, JobLog(folder / "log.jsonl"), here, None)
    found = {}
    for path in (folder / "results").iterdir():
        with rasterio.open(path) as dataset:
            found[path.name] = dataset.read()
    return found


@pytest.fixture(scope="module")
def stack(scenes: list[Scene]) -> Any:
    """(time, band, y, x) on the native grid of the area."""
    grid = native_grid(CRS, TRANSFORM, AREA)
    return np.stack(
        [[read(Source.from_asset(s.item["assets"][b]), grid) for b in BANDS] for s in scenes]
    )


def reduced(values: Any, how: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a pixel that is missing everywhere
        return how(values, axis=0)


def test_a_composite_is_the_median_of_each_band(
    scenes: list[Scene], stack: Any, tmp_path: Path
) -> None:
    (values,) = result("composite", scenes, tmp_path / "run").values()
    np.testing.assert_allclose(values, reduced(stack, np.nanmedian), rtol=0, atol=1e-6)


def test_an_index_is_taken_of_each_acquisition(
    scenes: list[Scene], stack: Any, tmp_path: Path
) -> None:
    found = result("index-map", scenes, tmp_path / "run", index="NDWI", statistic="max")
    (name, values), *rest = found.items()
    assert (name, rest) == ("ndwi.tif", [])
    index = (stack[:, 0] - stack[:, 1]) / (stack[:, 0] + stack[:, 1])
    np.testing.assert_allclose(values[0], reduced(index, np.nanmax), rtol=0, atol=1e-5)
