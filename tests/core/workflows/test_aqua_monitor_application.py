"""The PySpark application against an independent computation, pixel by pixel."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject

from cscale_core.addresses import parse
from cscale_core.jobs import spark_submit
from cscale_core.raster import Source
from cscale_core.site import Catalogue, S3Site, Site
from cscale_core.workflows import aqua_monitor_spark as application
from cscale_core.workflows.applications import APPLICATIONS, ApplicationRun
from cscale_core.workflows.aqua_monitor import AquaMonitorArguments, AquaMonitorParameters
from cscale_core.workflows.results.files import multihash
from tests.waiting import until

sys.path.insert(0, str(Path(__file__).parent))
import aqua_scenes

SITE = Site(
    user="u1",
    s3=S3Site(endpoint="http://127.0.0.1:1"),
    catalogue=Catalogue(url="http://127.0.0.1:2"),
)
INTERVALS = tuple((date(year, 1, 1), date(year + 1, 1, 1)) for year in (2019, 2020, 2021))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return aqua_scenes.write_scenes(tmp_path_factory.mktemp("scenes"))


def parameters(**changes: Any) -> AquaMonitorParameters:
    return AquaMonitorParameters.model_validate(
        {
            "bbox": aqua_scenes.bbox(),
            "intervals": INTERVALS,
            "min_images": 4,
            "collection": "synthetic",
            **changes,
        }
    )


def expected(items: list[dict[str, Any]], asked: AquaMonitorParameters) -> dict[str, Any]:
    """Whole scenes at once, NumPy's own quantile and polyfit; shares only the grid rule."""
    grid = application.output_grid(items, asked)
    shape = (grid.height, grid.width)

    def warped(href: str) -> np.ndarray[Any, Any]:
        with rasterio.open(href) as dataset:
            values = dataset.read(1).astype("float32")
            values[values == 0] = np.nan
            values = values * np.float32(0.0001) + np.float32(-0.1)
            target = np.full(shape, np.nan, "float32")
            reproject(
                values,
                target,
                src_transform=dataset.transform,
                src_crs=dataset.crs,
                src_nodata=np.nan,
                dst_transform=Affine(*grid.transform),
                dst_crs=grid.crs,
                dst_nodata=np.nan,
                resampling=Resampling.cubic,
                XSCALE=1 / 3,
                YSCALE=1 / 3,
            )
        return target

    composites = np.full((3, 3, *shape), np.nan)
    counts = np.zeros((3, *shape))
    for index, (start, end) in enumerate(asked.intervals):
        chosen = [
            item
            for item in items
            if start.isoformat() <= item["properties"]["datetime"][:10] < end.isoformat()
        ]
        for band, key in enumerate(asked.bands):
            stack = np.stack([warped(item["assets"][key]["href"]) for item in chosen])
            composites[index, band] = np.nanquantile(stack, 0.2, axis=0)
            if key == "B03":
                counts[index] = np.isfinite(stack).sum(axis=0)
    index_values = (composites[:, 2] - composites[:, 0]) / (composites[:, 2] + composites[:, 0])
    days = np.array([(start - INTERVALS[0][0]).days for start, _ in INTERVALS], float)
    slope = np.full(shape, np.nan)
    for row, column in np.ndindex(*shape):
        series = (index_values[:, row, column] + 0.6) / 1.2
        valid = np.isfinite(series)
        if valid.sum() >= 2:
            slope[row, column] = np.polyfit(days[valid] / days[1], series[valid], 1)[0]
    keep = (
        (np.abs(slope) >= asked.threshold)
        & (np.nanmin(index_values, axis=0) < 0.5)
        & (np.nanmax(index_values, axis=0) > -0.05)
        & (counts >= asked.min_images).all(axis=0)
    )
    return {"composites": composites, "counts": counts, "slope": slope, "keep": keep}


def agree(tile: np.ndarray[Any, Any], reference: dict[str, Any]) -> None:
    shape = tile.shape[1:]
    np.testing.assert_allclose(
        tile[:9].reshape(3, 3, *shape), reference["composites"], rtol=0, atol=2e-6
    )
    np.testing.assert_array_equal(tile[9:12], reference["counts"])
    np.testing.assert_allclose(tile[12], reference["slope"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(tile[13] == 1, reference["keep"])
    np.testing.assert_allclose(
        tile[14], np.where(reference["keep"], reference["slope"], np.nan), rtol=0, atol=1e-5
    )


@pytest.mark.filterwarnings("ignore:All-NaN")
def test_tiles_are_the_same_numbers_as_the_whole(scenes: list[dict[str, Any]]) -> None:
    asked = parameters()
    grid = application.output_grid(scenes, asked)
    intervals = application.by_interval(scenes, asked)
    whole = np.full((15, grid.height, grid.width), np.nan, np.float32)
    for column, row, tile in grid.tiles(40):
        values = application.compute_tile(tile, intervals, asked)
        whole[:, row : row + tile.height, column : column + tile.width] = values
    np.testing.assert_array_equal(whole, application.compute_tile(grid, intervals, asked))
    reference = expected(scenes, asked)
    assert 0 < reference["keep"].sum() < reference["keep"].size
    agree(whole, reference)


def test_scene_elsewhere_is_not_opened(scenes: list[dict[str, Any]]) -> None:
    asked = parameters()
    far = json.loads(json.dumps(scenes[0]))
    far["properties"]["proj:bbox"] = [9e5, 9e5, 9.1e5, 9.1e5]
    far["assets"] = {band: {"href": "/nowhere.tif"} for band in asked.bands}
    grid = application.output_grid(scenes, asked).window(0, 0, 8, 8)
    values = application.compute_tile(grid, [[application.scene(far, asked.bands)]] * 3, asked)
    assert np.isnan(values[:9]).all()
    assert (values[9:12] == 0).all()


def application_run(
    tmp_path: Path, scenes: list[dict[str, Any]], **changes: Any
) -> spark_submit.SparkApplication:
    arguments = AquaMonitorArguments(parameters=parameters(), items=scenes, tile=40)
    asked = ApplicationRun(
        job_id="j1",
        title="Aqua Monitor test",
        arguments=arguments.model_dump(mode="json"),
        output=f"{tmp_path}/output/",
        collection="aqua-monitor",
        site=SITE,
    )
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    (work_dir / "parameters.json").write_text(asked.model_dump_json())
    return spark_submit.SparkApplication(
        main=APPLICATIONS["aqua-monitor"].main,
        arguments=["--parameters", str(work_dir / "parameters.json")],
        name="aqua",
        work_dir=work_dir,
        driver_memory="512m",
        **changes,
    )


def ended(process: spark_submit.SparkProcess, seconds: float = 150) -> int:
    try:
        code = until(
            process.poll,
            "the end of Spark",
            seconds,
            fits=lambda code: code is not None,
            beside=process.log_path.read_text,
        )
    finally:
        process.terminate()
    assert code is not None
    return code


@pytest.mark.spark
@pytest.mark.filterwarnings("ignore:All-NaN")
def test_application_on_spark_agrees_with_numpy_and_describes_its_files(
    tmp_path: Path, scenes: list[dict[str, Any]]
) -> None:
    process = spark_submit.start(application_run(tmp_path, scenes))
    assert ended(process) == 0, process.log_path.read_text()
    work_dir = tmp_path / "work"
    progress = json.loads((work_dir / "progress.json").read_text())
    assert progress["done"] == progress["total"]
    lines = [
        json.loads(line)
        for line in process.log_path.read_text().splitlines()
        if line.startswith("{")
    ]
    assert any("12 of 12 scenes" in line["message"] for line in lines)

    names = application.output_names(parameters().labels)
    arrays = []
    for name in names:
        path = tmp_path / "output" / f"{name}.tif"
        with rasterio.open(path) as dataset:
            assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert dataset.dtypes[0] == "float32"
            assert np.isnan(dataset.nodata)
            arrays.append(dataset.read())
    agree(np.concatenate(arrays), expected(scenes, parameters()))

    (item,) = json.loads((work_dir / "items.json").read_text())["features"]
    assert item == json.loads((tmp_path / "output" / "item.json").read_text())
    assert set(item["assets"]) == set(names)
    grid = application.output_grid(scenes, parameters())
    assert item["properties"]["proj:code"] == aqua_scenes.CRS
    assert item["properties"]["proj:transform"] == list(grid.transform)
    assert item["properties"]["proj:shape"] == [grid.height, grid.width]
    assert item["properties"]["start_datetime"] == "2019-01-01T00:00:00Z"
    assert {link["rel"] for link in item["links"]} == {"derived_from"}
    assert len(item["links"]) == 12
    slope = item["assets"]["slope"]
    path = tmp_path / "output" / "slope.tif"
    assert slope["file:size"] == path.stat().st_size
    assert slope["file:checksum"] == multihash(path)
    assert [band["name"] for band in item["assets"]["composite_2019-01-01"]["bands"]] == [
        "swir",
        "nir",
        "green",
    ]
    assert parse(slope["href"], SITE) is None
    assert Source.from_asset(slope).scale == 1.0


@pytest.mark.spark
def test_scene_that_cannot_be_read_ends_the_application_with_its_name(
    tmp_path: Path, scenes: list[dict[str, Any]]
) -> None:
    broken = json.loads(json.dumps(scenes))
    (tmp_path / "cut.tif").write_bytes(Path(scenes[3]["assets"]["B08"]["href"]).read_bytes()[:900])
    broken[3]["assets"]["B08"]["href"] = str(tmp_path / "cut.tif")
    process = spark_submit.start(application_run(tmp_path, broken))
    assert ended(process) == 1
    error = json.loads((tmp_path / "work" / "error.json").read_text())
    assert error["code"] == "damaged_data"
    assert "cut.tif" in error["message"]
    assert not (tmp_path / "output").exists()
