"""What graphs compute, against NumPy: whole and tile by tile."""

from __future__ import annotations

import datetime as dt
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from openeo_builders import (
    AREA,
    BANDS,
    CRS,
    INTERVALS,
    LEFT,
    PIXEL,
    THRESHOLD,
    TOP,
    TRANSFORM,
    Scene,
    aqua_monitor_graph,
    area_extent,
    child,
    damaged_copy,
    load_node,
    node,
    par,
    ref,
)

from cscale_core.grids import native_grid, resampled
from cscale_core.raster import Source, read
from cscale_openeo import graph as graphs
from cscale_openeo.errors import OpenEOError
from cscale_openeo.freezing import digest, frozen_item
from cscale_openeo.joblog import JobLog
from cscale_openeo.running import compute, compute_part, here, plan_run, run
from cscale_openeo.tasks import Task


def frozen(scenes: list[Scene], graph: graphs.Graph) -> dict[str, Any]:
    """Inputs of every load, as freezing against a catalogue would leave them."""
    local = Path(scenes[0].item["assets"]["B03"]["href"]).parents[1]
    result = {}
    for name in graphs.loads(graph):
        bands = graph[name]["arguments"]["bands"]
        items = [frozen_item(scene.item, bands, local) for scene in scenes]
        result[name] = {
            "collection": "scenes",
            "bands": bands,
            "common_names": {"B08": "nir", "B03": "green", "B11": "swir16"},
            "items": items,
            "skipped": [],
        }
    return result


def task_for(graph: graphs.Graph, scenes: list[Scene], tile_size: int = 48, **more: Any) -> Task:
    inputs = frozen(scenes, graph)
    return Task(
        job="j-test",
        process_graph=graph,
        frozen=inputs,
        frozen_digest=digest(inputs),
        tile_size=tile_size,
        **more,
    )


def run_here(
    graph: graphs.Graph, scenes: list[Scene], folder: Path, tile_size: int = 48
) -> dict[str, Any]:
    """File name -> array, after a run without Spark."""
    folder.mkdir(exist_ok=True)
    run(task_for(graph, scenes, tile_size), folder, JobLog(folder / "log.jsonl"), here, None)
    arrays = {}
    for path in (folder / "results").iterdir():
        with rasterio.open(path) as dataset:
            values = dataset.read()
            arrays[path.name] = values[0] if dataset.count == 1 else values
    return arrays


def numpy_aqua_monitor(scenes: list[Scene], min_images: int = 2) -> dict[str, Any]:
    """The algorithm straight from its description, in NumPy, on the whole area at once."""
    grid = resampled(native_grid(CRS, TRANSFORM, AREA), 30.0)
    stack = np.stack(
        [
            [read(Source.from_asset(scene.item["assets"][b]), grid, "cubic") for b in BANDS]
            for scene in scenes
        ]
    )
    times = [scene.time for scene in scenes]
    composites, counts = [], []
    for start, end in INTERVALS:
        a, b = (dt.datetime.fromisoformat(x).replace(tzinfo=dt.UTC) for x in (start, end))
        inside = [i for i, t in enumerate(times) if a <= t < b]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            composites.append(np.nanquantile(stack[inside], 0.2, axis=0))
        counts.append(np.sum(~np.isnan(stack[inside][:, 2]), axis=0))
    composite, count = np.stack(composites), np.stack(counts)
    swir, green = composite[:, 0], composite[:, 2]
    mndwi = (green - swir) / (green + swir)
    y = ((mndwi + 0.6) / 1.2).astype(np.float64)
    days = np.array([(dt.date.fromisoformat(s) - dt.date(2019, 1, 1)).days for s, _ in INTERVALS])
    tau = np.broadcast_to((days / 365.0)[:, None, None], y.shape)
    valid = ~np.isnan(y)
    n = valid.sum(axis=0)
    mean_t = np.where(valid, tau, 0).sum(axis=0) / n
    mean_y = np.where(valid, y, 0).sum(axis=0) / n
    above = np.where(valid, (tau - mean_t) * (y - mean_y), 0).sum(axis=0)
    below = np.where(valid, (tau - mean_t) ** 2, 0).sum(axis=0)
    slope = above / below
    keep = (
        (np.abs(slope) >= THRESHOLD)
        & (np.nanmin(mndwi, axis=0) < 0.5)
        & (np.nanmax(mndwi, axis=0) > -0.05)
        & (count >= min_images).all(axis=0)
    )
    return {
        "composite": composite,
        "count": count,
        "slope": slope,
        "keep": keep,
        "change": np.where(keep, slope, np.nan),
    }


def test_aqua_monitor_agrees_with_numpy(scenes: list[Scene], tmp_path: Path) -> None:
    files = run_here(aqua_monitor_graph(), scenes, tmp_path / "run")
    truth = numpy_aqua_monitor(scenes)
    assert sorted(files) == [
        "change.tif",
        *(f"composite_{year}-01-01.tif" for year in (2019, 2020, 2021)),
        *(f"count_{year}-01-01.tif" for year in (2019, 2020, 2021)),
        "keep.tif",
        "slope.tif",
    ]
    for index, year in enumerate((2019, 2020, 2021)):
        np.testing.assert_allclose(
            files[f"composite_{year}-01-01.tif"], truth["composite"][index], rtol=0, atol=1e-6
        )
        np.testing.assert_array_equal(files[f"count_{year}-01-01.tif"], truth["count"][index])
    np.testing.assert_allclose(files["slope.tif"], truth["slope"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(files["keep.tif"], truth["keep"].astype(np.float32))
    np.testing.assert_allclose(files["change.tif"], truth["change"], rtol=0, atol=1e-5)
    # The case is not trivial: something is kept, something is not, something is cloudy.
    assert 0 < truth["keep"].sum() < truth["keep"].size
    assert (truth["count"] < 3).any()


@pytest.mark.parametrize("tile_size", [23, 64])
def test_tiles_give_the_same_bits_as_the_whole(
    scenes: list[Scene], tmp_path: Path, tile_size: int
) -> None:
    graph = aqua_monitor_graph()
    plan = plan_run(task_for(graph, scenes))
    assert plan.grid is not None
    whole = compute(plan)
    for column, row, part in plan.grid.tiles(tile_size):
        for name, cube in compute_part(plan, (column, row, part)).items():
            expected = (
                whole[name]
                .astype("float32")
                .values[..., row : row + part.height, column : column + part.width]
            )
            np.testing.assert_array_equal(cube.values, expected, err_msg=f"{name} {column} {row}")


def test_outputs_lie_on_the_common_grid(scenes: list[Scene], tmp_path: Path) -> None:
    graph = aqua_monitor_graph()
    task = task_for(graph, scenes, 64)
    results = run(task, tmp_path, JobLog(tmp_path / "log.jsonl"), here, None)
    grid = resampled(native_grid(CRS, TRANSFORM, AREA), 30.0)
    assert (grid.left, grid.top) == (LEFT + 100.0, TOP - 90.0)
    for file in results["files"]:
        with rasterio.open(tmp_path / "results" / file["name"]) as dataset:
            assert tuple(dataset.transform)[:6] == grid.transform
            assert (dataset.width, dataset.height) == (grid.width, grid.height)
            assert dataset.crs.to_epsg() == 32630
            assert dataset.dtypes[0] == "float32"
            assert np.isnan(dataset.nodata)
            assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file["proj:shape"] == [grid.height, grid.width]
        assert file["file:size"] == (tmp_path / "results" / file["name"]).stat().st_size
    assert {d["id"] for d in results["derived_from"]} == {scene.id for scene in scenes}


def simple(*, reducer: dict[str, Any], dimension: str = "t", fmt: str = "GTiff") -> graphs.Graph:
    return {
        "load": load_node(),
        "reduce": node("reduce_dimension", data=ref("load"), dimension=dimension, reducer=reducer),
        "save": node("save_result", True, data=ref("reduce"), format=fmt),
    }


def native_stack(scenes: list[Scene]) -> Any:
    grid = native_grid(CRS, TRANSFORM, AREA)
    column, row = round((grid.left - LEFT) / PIXEL), round((TOP - grid.top) / PIXEL)
    cut = np.stack([s.numbers for s in scenes])[
        :, :, row : row + grid.height, column : column + grid.width
    ].astype(np.float32)
    return np.where(cut == 0, np.nan, cut * np.float32(1e-4))


@pytest.mark.parametrize(
    ("process_id", "reference"),
    [
        ("min", np.nanmin),
        ("max", np.nanmax),
        ("mean", np.nanmean),
        ("median", np.nanmedian),
        ("sum", np.nansum),
        ("product", np.nanprod),
        ("count", lambda a, axis: np.sum(~np.isnan(a), axis=axis)),
        ("sd", lambda a, axis: np.nanstd(a, axis=axis, ddof=1)),
        ("variance", lambda a, axis: np.nanvar(a, axis=axis, ddof=1)),
    ],
)
def test_reducers_agree_with_numpy(
    scenes: list[Scene], tmp_path: Path, process_id: str, reference: Any
) -> None:
    graph = simple(reducer=child(r=node(process_id, data=par("data"))))
    files = run_here(graph, scenes, tmp_path, tile_size=64)
    assert list(files) == ["openEO.tif"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference(native_stack(scenes), axis=0)
    np.testing.assert_allclose(files["openEO.tif"], expected, rtol=1e-5, atol=1e-7)


def test_integers_do_not_wrap_around(scenes: list[Scene], tmp_path: Path) -> None:
    """green - swir is negative on land; on uint16 it would be a large number."""
    difference = child(
        g=node("array_element", data=par("data"), label="B03"),
        s=node("array_element", data=par("data"), label="B11"),
        d=node("subtract", x=ref("g"), y=ref("s")),
    )
    graph = simple(reducer=difference, dimension="bands")
    files = run_here(graph, scenes[:1], tmp_path, tile_size=256)
    stack = native_stack(scenes[:1])[0]
    np.testing.assert_allclose(files["openEO_2019-01-01.tif"], stack[2] - stack[0], atol=1e-6)
    assert files["openEO_2019-01-01.tif"].min(initial=0, where=stack[0] > 0) < 0


def test_intervals_include_their_start_and_exclude_their_end(
    scenes: list[Scene], tmp_path: Path
) -> None:
    graph = {
        "load": load_node(),
        "a": node(
            "aggregate_temporal",
            data=ref("load"),
            intervals=[["2019-01-01", "2019-04-10T11:00:00Z"], ["2019-04-10T11:00:00Z", None]],
            labels=["early", "late"],
            reducer=child(r=node("count", data=par("data"))),
        ),
        "save": node("save_result", True, data=ref("a"), format="GTiff"),
    }
    plan = plan_run(task_for(graph, scenes))
    result = compute(plan)["save"]
    assert list(result["t"].values) == ["early", "late"]
    assert result.sel(t="early").max() == 1
    assert result.sel(t="late").max() == len(scenes) - 1


def test_an_interval_without_images_is_null(scenes: list[Scene]) -> None:
    graph = {
        "load": load_node(),
        "a": node(
            "aggregate_temporal",
            data=ref("load"),
            intervals=[["2018-01-01", "2019-01-01"], ["2019-01-01", "2020-01-01"]],
            reducer=child(q=node("quantiles", data=par("data"), probabilities=[0.2])),
        ),
        "n": node(
            "aggregate_temporal",
            data=ref("load"),
            intervals=[["2018-01-01", "2019-01-01"], ["2019-01-01", "2020-01-01"]],
            reducer=child(q=node("count", data=par("data"))),
        ),
        "s1": node("save_result", data=ref("n"), format="GTiff", options={"filename_prefix": "n"}),
        "s2": node("save_result", True, data=ref("a"), format="GTiff"),
    }
    result = compute(plan_run(task_for(graph, scenes)))
    assert np.isnan(result["s2"].isel(t=0)).all()
    assert not np.isnan(result["s2"].isel(t=1)).all()
    assert (result["s1"].isel(t=0) == 0).all()


def test_quantiles_are_type_seven(scenes: list[Scene], tmp_path: Path) -> None:
    graph = simple(reducer=child(q=node("quantiles", data=par("data"), probabilities=[0.37])))
    files = run_here(graph, scenes, tmp_path, tile_size=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.nanquantile(native_stack(scenes), 0.37, axis=0, method="linear")
    np.testing.assert_allclose(files["openEO.tif"], expected, rtol=0, atol=1e-6)


def test_plain_and_resampled_use_of_one_load_runs_whole_and_says_so(
    scenes: list[Scene], tmp_path: Path
) -> None:
    graph = {
        "load": load_node(),
        "fine": node(
            "reduce_dimension",
            data=ref("load"),
            dimension="t",
            reducer=child(r=node("mean", data=par("data"))),
        ),
        "coarse": node("resample_spatial", data=ref("load"), resolution=30, method="average"),
        "mean": node(
            "reduce_dimension",
            data=ref("coarse"),
            dimension="t",
            reducer=child(r=node("mean", data=par("data"))),
        ),
        "s1": node(
            "save_result", data=ref("fine"), format="GTiff", options={"filename_prefix": "fine"}
        ),
        "s2": node(
            "save_result",
            True,
            data=ref("mean"),
            format="GTiff",
            options={"filename_prefix": "coarse"},
        ),
    }
    files = run_here(graph, scenes[:2], tmp_path)
    assert files["fine.tif"].shape == (3, 181, 191)
    assert files["coarse.tif"].shape == (3, 61, 64)
    log = JobLog(tmp_path / "log.jsonl").entries()
    assert any("runs whole" in entry["message"] for entry in log)


def test_resampling_in_memory_never_collapses(scenes: list[Scene]) -> None:
    graph = {
        "load": load_node(),
        "mean": node(
            "reduce_dimension",
            data=ref("load"),
            dimension="t",
            reducer=child(r=node("mean", data=par("data"))),
        ),
        "coarse": node("resample_spatial", data=ref("mean"), resolution=20, method="near"),
        "save": node("save_result", True, data=ref("coarse"), format="GTiff"),
    }
    result = compute(plan_run(task_for(graph, scenes[:2])))["save"]
    assert result.shape == (3, 91, 96)
    problems = graphs.check(
        graph | {"coarse": node("resample_spatial", data=ref("mean"), projection=4326)}
    )
    assert [p.code for p in problems] == ["ProcessParameterInvalid"]


def test_loading_onto_another_projection(scenes: list[Scene]) -> None:
    graph = {
        "load": load_node(),
        "warp": node(
            "resample_spatial",
            data=ref("load"),
            projection=4326,
            resolution=0.0003,
            method="bilinear",
        ),
        "mean": node(
            "reduce_dimension",
            data=ref("warp"),
            dimension="t",
            reducer=child(r=node("mean", data=par("data"))),
        ),
        "save": node("save_result", True, data=ref("mean"), format="GTiff"),
    }
    plan = plan_run(task_for(graph, scenes[:2]))
    assert plan.grid is not None
    assert plan.grid.crs == "EPSG:4326"
    result = compute(plan)["save"]
    assert result.shape[-1] > 50
    assert np.nanmean(result.sel(bands="B08")) == pytest.approx(
        np.nanmean(native_stack(scenes[:2])[:, 1]), abs=0.02
    )


def test_udf_errors_name_the_line(scenes: list[Scene]) -> None:
    broken = (
        "from openeo.udf import XarrayDataCube\n"
        "def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:\n"
        "    return cube.no_such_thing\n"
    )
    graph = aqua_monitor_graph(udf=broken)
    with pytest.raises(OpenEOError, match=r"no_such_thing.*line 3 of the UDF") as caught:
        compute(plan_run(task_for(graph, scenes)))
    assert caught.value.code == "UDFFailed"


def test_udf_apply_timeseries_along_time(scenes: list[Scene]) -> None:
    doubled = (
        "import pandas as pd\n"
        "def apply_timeseries(series: pd.Series, context: dict) -> pd.Series:\n"
        "    return series * context['factor']\n"
    )
    graph = {
        "load": load_node(),
        "resample": node("resample_spatial", data=ref("load"), resolution=100, method="average"),
        "twice": node(
            "apply_dimension",
            data=ref("resample"),
            dimension="t",
            process=child(
                u=node(
                    "run_udf",
                    data=par("data"),
                    runtime="Python",
                    udf=doubled,
                    context={"factor": 2},
                )
            ),
        ),
        "s1": node(
            "save_result", data=ref("resample"), format="GTiff", options={"filename_prefix": "once"}
        ),
        "s2": node(
            "save_result",
            True,
            data=ref("twice"),
            format="GTiff",
            options={"filename_prefix": "twice"},
        ),
    }
    result = compute(plan_run(task_for(graph, scenes[:3])))
    np.testing.assert_allclose(result["s2"].values, result["s1"].values * 2)
    assert list(result["s2"]["t"].values) == list(result["s1"]["t"].values)


def test_netcdf_and_json(scenes: list[Scene], tmp_path: Path) -> None:
    import xarray as xr

    mean = child(r=node("mean", data=par("data")))
    graph = simple(reducer=mean, fmt="netCDF")
    graph["total"] = node("reduce_spatial", data=ref("reduce"), reducer=mean)
    graph["json"] = node(
        "save_result", data=ref("total"), format="JSON", options={"filename_prefix": "total"}
    )
    run(task_for(graph, scenes[:2]), tmp_path, JobLog(tmp_path / "log.jsonl"), here, None)
    expected = np.nanmean(native_stack(scenes[:2]), axis=0)
    with xr.open_dataset(tmp_path / "results" / "openEO.nc", engine="scipy") as dataset:
        np.testing.assert_allclose(dataset["result"].values, expected, atol=1e-6)
        assert "32630" in dataset["crs"].attrs["crs_wkt"]
    total = json.loads((tmp_path / "results" / "total.json").read_text())
    assert total["dims"] == ["bands"]
    np.testing.assert_allclose(total["data"], np.nanmean(expected, axis=(1, 2)), rtol=1e-4)


def test_damaged_input_is_named(scenes: list[Scene], tmp_path: Path) -> None:
    broken = damaged_copy(scenes[0], tmp_path)
    graph = simple(reducer=child(r=node("mean", data=par("data"))))
    with pytest.raises(OpenEOError, match=r"B03\.tif") as caught:
        compute(plan_run(task_for(graph, [broken])))
    assert caught.value.code == "InputUnreadable"


def test_frozen_inputs_that_were_changed_are_refused(scenes: list[Scene]) -> None:
    graph = simple(reducer=child(r=node("mean", data=par("data"))))
    task = task_for(graph, scenes)
    task.frozen["load"]["items"].pop()
    with pytest.raises(OpenEOError, match="changed after submission"):
        plan_run(task)


def test_area_outside_the_images_is_all_null(scenes: list[Scene]) -> None:
    graph = simple(reducer=child(r=node("mean", data=par("data"))))
    extent = {"west": 250000, "south": 4000000, "east": 250100, "north": 4000100, "crs": 32630}
    graph["load"]["arguments"]["spatial_extent"] = extent
    assert np.isnan(compute(plan_run(task_for(graph, scenes[:1])))["save"]).all()


def test_polygon_extent_masks_what_is_outside(scenes: list[Scene]) -> None:
    from rasterio.warp import transform

    west, south, east, north = area_extent()["west"], *AREA[1:]
    xs, ys = transform(CRS, "EPSG:4326", [west, east, west, west], [south, south, north, south])
    polygon = {"type": "Polygon", "coordinates": [[list(p) for p in zip(xs, ys, strict=True)]]}
    graph = simple(reducer=child(r=node("count", data=par("data"))))
    graph["load"]["arguments"]["spatial_extent"] = polygon
    plan = plan_run(task_for(graph, scenes[:1]))
    whole = compute(plan)["save"]
    share = float((whole > 0).mean())
    assert 0.4 < share < 0.5  # a triangle, less the gap
    assert plan.grid is not None
    for column, row, part in plan.grid.tiles(64):
        cube = compute_part(plan, (column, row, part))["save"]
        expected = whole.values[..., row : row + part.height, column : column + part.width]
        np.testing.assert_array_equal(cube.values, expected)
