"""Each listed process does what its specification says, on arrays and on cubes."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import xarray as xr
from openeo_builders import child, node, par, ref

from cscale_core.grids import Grid
from cscale_openeo import graph as graphs
from cscale_openeo.cube_processes import CUBE_PROCESSES, coordinates
from cscale_openeo.errors import OpenEOError
from cscale_openeo.evaluation import Evaluation
from cscale_openeo.graph import LOADERS
from cscale_openeo.implementations import ARRAY_PROCESSES
from cscale_openeo.library import library_process
from cscale_openeo.processes import LIBRARY, OWN, specifications


def test_every_listed_process_has_an_implementation() -> None:
    assert set(CUBE_PROCESSES) | set(ARRAY_PROCESSES) | LOADERS | {"save_result"} == OWN
    for name in sorted(LIBRARY):
        assert callable(library_process(name))
    assert set(specifications()) == OWN | LIBRARY


def plain(value: Any) -> Any:
    """NaN as None, arrays as lists."""
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value.tolist()]
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


# Examples whose answer depends on things that do not exist in arrays of numbers.
_NOT_HERE = {"array_create", "array_element", "array_labels", "count", "is_nodata", "is_valid"}


def examples() -> list[Any]:
    found = []
    for name in sorted(set(ARRAY_PROCESSES) - _NOT_HERE):
        for index, example in enumerate(specifications()[name].get("examples") or []):
            if "returns" in example:
                arguments = example["arguments"]
                found.append(
                    pytest.param(name, arguments, example["returns"], id=f"{name}-{index}")
                )
    return found


@pytest.mark.parametrize(("name", "arguments", "expected"), examples())
def test_examples_of_the_specification(name: str, arguments: Any, expected: Any) -> None:
    result = plain(ARRAY_PROCESSES[name](**arguments))
    if (isinstance(expected, int | float) and not isinstance(expected, bool)) or (
        isinstance(expected, list)
        and expected
        and all(isinstance(v, int | float) for v in expected)
    ):
        assert result == pytest.approx(expected)
    else:
        assert result == expected


GRID = Grid("EPSG:32630", 500000.0, 4000000.0, 10.0, 10.0, 6, 5)


def cube(bands: tuple[str, ...] = ("B08", "B04"), times: int = 4) -> xr.DataArray:
    random = np.random.default_rng(3)
    values = random.random((times, len(bands), GRID.height, GRID.width)).astype(np.float32)
    values[1, :, 2, 3] = np.nan
    return xr.DataArray(
        values,
        dims=("t", "bands", "y", "x"),
        coords={
            "t": np.array(
                ["2020-01-05", "2020-02-10", "2020-02-20", "2021-12-31"][:times],
                dtype="datetime64[ns]",
            ),
            "bands": list(bands),
            **coordinates(GRID),
        },
        attrs={
            "crs": GRID.crs,
            "xres": 10.0,
            "yres": 10.0,
            "common_names": {"B08": "nir", "B04": "red"},
        },
    )


def evaluate(nodes: dict[str, Any], data: xr.DataArray | None = None) -> Any:
    """The result of nodes after a node ``load`` that gives the cube."""
    last = list(nodes)[-1]
    nodes[last]["result"] = True
    graph: graphs.Graph = {"load": node("load_collection", id="x"), **nodes}
    given = cube() if data is None else data
    return Evaluation(lambda _name, _node: given, CUBE_PROCESSES).outputs(graph)[last]


def reducer(process_id: str, **arguments: Any) -> dict[str, Any]:
    return child(r=node(process_id, data=par("data"), **arguments))


def test_ndvi_uses_common_names() -> None:
    data = cube()
    result = evaluate({"n": node("ndvi", data=ref("load"))})
    nir, red = data.sel(bands="B08"), data.sel(bands="B04")
    np.testing.assert_allclose(result.values, ((nir - red) / (nir + red)).values, rtol=1e-6)
    added = evaluate({"n": node("ndvi", data=ref("load"), target_band="ndvi")})
    assert list(added["bands"].values) == ["B08", "B04", "ndvi"]


def test_aggregate_temporal_calls_the_reducer_anew_for_each_interval() -> None:
    result = evaluate(
        {
            "a": node(
                "aggregate_temporal",
                data=ref("load"),
                intervals=[["2020-01-01", "2021-01-01"], ["2021-01-01", "2022-01-01"]],
                reducer=child(
                    m=node("mean", data=par("data")), d=node("multiply", x=ref("m"), y=2)
                ),
            )
        }
    )
    data = cube()
    np.testing.assert_allclose(result[0], data[:3].mean("t") * 2, rtol=1e-6)
    np.testing.assert_allclose(result[1], data[3] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("period", "labels"),
    [
        ("year", ["2020", "2021"]),
        ("month", ["2020-01", "2020-02"]),
        ("day", ["2020-005", "2020-006"]),
        ("week", ["2020-01", "2020-02"]),
        ("season", ["2020-djf", "2020-mam"]),
        ("dekad", ["2020-00", "2020-01"]),
        ("decade", ["2020"]),
    ],
)
def test_periods_have_the_labels_of_the_specification(period: str, labels: list[str]) -> None:
    result = evaluate(
        {
            "a": node(
                "aggregate_temporal_period",
                data=ref("load"),
                period=period,
                reducer=reducer("mean"),
            )
        }
    )
    assert list(result["t"].values)[: len(labels)] == labels
    if period == "month":
        assert result.sizes["t"] == 24
        np.testing.assert_allclose(result.sel(t="2020-02"), cube()[1:3].mean("t"), rtol=1e-6)
        assert np.isnan(result.sel(t="2020-03")).all()


def test_merge_of_other_bands_and_of_the_same() -> None:
    nodes = {
        "a": node("filter_bands", data=ref("load"), bands=["B08"]),
        "b": node("filter_bands", data=ref("load"), bands=["red"]),
        "m": node("merge_cubes", cube1=ref("b"), cube2=ref("a")),
    }
    merged = evaluate(nodes)
    assert list(merged["bands"].values) == ["B04", "B08"]
    np.testing.assert_array_equal(merged.sel(bands="B08"), cube().sel(bands="B08"))
    total = child(s=node("add", x=par("x"), y=par("y")))
    doubled = evaluate(
        {"m": node("merge_cubes", cube1=ref("load"), cube2=ref("load"), overlap_resolver=total)}
    )
    np.testing.assert_allclose(doubled, cube() * 2)
    with pytest.raises(OpenEOError, match="OverlapResolverMissing"):
        evaluate({"m": node("merge_cubes", cube1=ref("load"), cube2=ref("load"))})


def test_mask_leaves_pixels_where_the_mask_is_null() -> None:
    nodes = {
        "m": node("apply", data=ref("load"), process=child(g=node("gt", x=par("x"), y=0.5))),
        "r": node("mask", data=ref("load"), mask=ref("m"), replacement=-1),
    }
    result, data = evaluate(nodes), cube()
    assert np.isnan(result.values[1, 0, 2, 3])
    np.testing.assert_array_equal(result.values == -1, (data > 0.5).values)


def test_labels_and_dimensions() -> None:
    data = cube()
    assert evaluate({"d": node("dimension_labels", data=ref("load"), dimension="t")})[0] == (
        "2020-01-05T00:00:00Z"
    )
    kept = evaluate(
        {"f": node("filter_temporal", data=ref("load"), extent=["2020-02-10", "2021-12-31"])}
    )
    assert kept.sizes["t"] == 2
    some = evaluate(
        {
            "f": node(
                "filter_labels",
                data=ref("load"),
                dimension="bands",
                condition=child(e=node("eq", x=par("value"), y="B04")),
            )
        }
    )
    assert list(some["bands"].values) == ["B04"]
    with_dimension = evaluate(
        {
            "a": node("add_dimension", data=ref("load"), name="source", label="s2", type="other"),
            "r": node("rename_dimension", data=ref("a"), source="source", target="origin"),
            "d": node("drop_dimension", data=ref("r"), name="origin"),
        }
    )
    xr.testing.assert_equal(with_dimension, data)


def test_apply_dimension_gives_several_quantiles() -> None:
    result = evaluate(
        {
            "q": node(
                "apply_dimension",
                data=ref("load"),
                dimension="t",
                target_dimension="quantile",
                process=reducer("quantiles", probabilities=[0.25, 0.5, 0.75]),
            )
        }
    )
    assert result.sizes["quantile"] == 3
    np.testing.assert_allclose(
        result.isel(quantile=1).values, np.nanmedian(cube().values, axis=0), rtol=1e-6
    )


def test_library_processes_on_our_cubes() -> None:
    data = cube()
    mean = evaluate({"r": node("reduce_spatial", data=ref("load"), reducer=reducer("mean"))})
    np.testing.assert_allclose(mean.values, data.mean(("x", "y")).values, rtol=1e-5)

    kernel = evaluate(
        {
            "f": node(
                "apply_kernel",
                data=ref("load"),
                kernel=[[0, 1, 0], [1, 1, 1], [0, 1, 0]],
                factor=0.2,
            )
        }
    )
    expected = data.fillna(0).values
    middle = expected[0, 0, 1:4, 1:4].sum() - expected[0, 0, [1, 1, 3, 3], [1, 3, 1, 3]].sum()
    assert kernel.values[0, 0, 2, 2] == pytest.approx(0.2 * middle, rel=1e-5)

    box = {"west": 500010, "south": 3999960, "east": 500040, "north": 3999990, "crs": 32630}
    cut = evaluate({"f": node("filter_bbox", data=ref("load"), extent=box)})
    assert cut.sizes["x"] == 3
    assert cut.sizes["y"] == 3
    np.testing.assert_array_equal(cut.values, data.values[..., 1:4, 1:4])

    half = evaluate(
        {
            "c": node("resample_spatial", data=ref("load"), resolution=20, method="average"),
            "b": node("resample_cube_spatial", data=ref("c"), target=ref("load"), method="near"),
        }
    )
    assert half.shape == data.shape
    assert half.values[0, 0, 0, 0] == pytest.approx(data.values[0, 0, :2, :2].mean(), rel=1e-5)


def test_aggregate_spatial_over_a_polygon() -> None:
    from rasterio.warp import transform_geom

    west, north = GRID.left, GRID.top
    ring = [
        [west, north],
        [west + 30, north],
        [west + 30, north - 30],
        [west, north - 30],
        [west, north],
    ]
    polygon = transform_geom(GRID.crs, "EPSG:4326", {"type": "Polygon", "coordinates": [ring]})
    collection = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {}, "geometry": polygon}],
    }
    result = evaluate(
        {
            "a": node(
                "aggregate_spatial",
                data=ref("load"),
                geometries=collection,
                reducer=reducer("mean"),
            )
        }
    )
    values = np.squeeze(np.asarray(result.to_array() if isinstance(result, xr.Dataset) else result))
    assert values[0, 0] == pytest.approx(cube().values[0, 0, :3, :3].mean(), rel=1e-4)
    with pytest.raises(OpenEOError, match="GeoJSON"):
        evaluate(
            {
                "a": node(
                    "aggregate_spatial",
                    data=ref("load"),
                    geometries="http://127.0.0.1:1/x.json",
                    reducer=reducer("mean"),
                )
            }
        )


def test_the_service_imports_nothing_that_computes() -> None:
    code = (
        "import sys, cscale_openeo.app\n"
        "heavy = {'xarray', 'rasterio', 'dask', 'openeo', 'pyspark', 'pandas', "
        "'openeo_processes_dask.process_implementations'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
