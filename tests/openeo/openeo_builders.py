"""Builders for the openEO tests: small scenes as GeoTIFFs, their STAC items, and the graph."""

from __future__ import annotations

import copy
import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import Affine
from rasterio.warp import transform_bounds

CRS = "EPSG:32630"
LEFT, TOP, PIXEL, SIZE = 260000.0, 4035000.0, 10.0, 250
BANDS = ("B11", "B08", "B03")
TRANSFORM = (PIXEL, 0.0, LEFT, 0.0, -PIXEL, TOP)
# Well inside the scenes and on no pixel boundary.
AREA = (LEFT + 103.0, TOP - 1897.0, LEFT + 2003.0, TOP - 97.0)

UDF = """
import xarray
from openeo.udf import XarrayDataCube


def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:
    array = cube.get_array()
    step = (array.t[1] - array.t[0]).values.astype("timedelta64[ns]").astype(float)
    fit = array.polyfit(dim="t", deg=1).polyfit_coefficients.sel(degree=1, drop=True)
    return XarrayDataCube(fit * step)
"""


@dataclass(frozen=True)
class Scene:
    """One acquisition: digital numbers (bands, rows, columns), nodata 0."""

    id: str
    time: dt.datetime
    numbers: Any
    item: dict[str, Any]


def scene_box() -> list[float]:
    """WGS 84 box of every scene."""
    bounds = (LEFT, TOP - SIZE * PIXEL, LEFT + SIZE * PIXEL, TOP)
    return list(transform_bounds(CRS, "EPSG:4326", *bounds))


def build_scenes(folder: Path, times: list[dt.datetime], seed: int = 7) -> list[Scene]:
    """Scenes whose reflectance drifts slowly, with noise and gaps, written band by band."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    scenes = []
    for index, time in enumerate(times):
        wet = np.clip((columns - 60 - 3 * index) / 80.0, 0, 1)
        base = {
            "B03": 0.06 + 0.06 * wet + 0.01 * np.sin(rows / 9),
            "B08": 0.30 - 0.26 * wet,
            "B11": 0.25 - 0.22 * wet + 0.005 * np.cos(rows / 5),
        }
        hole = (rows - 90 - 7 * index) ** 2 + (columns - 120 + 5 * index) ** 2 < 18**2
        numbers = []
        identifier = f"SCENE_{time:%Y%m%dT%H%M%S}"
        assets = {}
        for band in BANDS:
            layer = base[band] + random.normal(0, 0.004, (SIZE, SIZE))
            number = np.clip(np.round(layer * 10000), 1, 65535).astype(np.uint16)
            number[hole] = 0
            numbers.append(number)
            path = folder / identifier / f"{band}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            with rasterio.open(
                path,
                "w",
                driver="GTiff",
                width=SIZE,
                height=SIZE,
                count=1,
                dtype="uint16",
                crs=CRS,
                transform=Affine(*TRANSFORM),
                nodata=0,
                tiled=True,
                blockxsize=64,
                blockysize=64,
            ) as dataset:
                dataset.write(number, 1)
            assets[band] = {
                "href": str(path),
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
                "bands": [{"name": band}],
                "nodata": 0,
                "raster:scale": 0.0001,
                "raster:offset": 0.0,
            }
        item = {
            "type": "Feature",
            "stac_version": "1.1.0",
            "id": identifier,
            "collection": "scenes",
            "bbox": scene_box(),
            "geometry": None,
            "properties": {
                "datetime": time.isoformat().replace("+00:00", "Z"),
                "proj:code": CRS,
                "proj:transform": list(TRANSFORM),
                "proj:shape": [SIZE, SIZE],
                "eo:cloud_cover": float(index * 10),
            },
            "assets": assets,
            "links": [],
        }
        scenes.append(Scene(identifier, time, np.stack(numbers), item))
    return scenes


def scene_times(years: tuple[int, ...] = (2019, 2020, 2021), each: int = 3) -> list[dt.datetime]:
    """Some dates in each year; the first exactly at the start of its interval."""
    days = ((1, 1, 0), (4, 10, 11), (8, 20, 11), (10, 3, 11))
    return [
        dt.datetime(year, month, day, hour, tzinfo=dt.UTC)
        for year in years
        for month, day, hour in days[:each]
    ]


def damaged_copy(scene: Scene, folder: Path) -> Scene:
    """The same scene with a green band that is cut short, in a folder of its own."""
    item = copy.deepcopy(scene.item)
    for band, asset in item["assets"].items():
        whole = Path(asset["href"]).read_bytes()
        path = folder / scene.id / f"{band}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(whole[: len(whole) // 2] if band == "B03" else whole)
        asset["href"] = str(path)
    return replace(scene, item=item)


def area_extent() -> dict[str, Any]:
    """The area as an openEO bounding box in the scenes' own CRS."""
    west, south, east, north = AREA
    return {"west": west, "south": south, "east": east, "north": north, "crs": 32630}


def node(process_id: str, result: bool = False, **arguments: Any) -> dict[str, Any]:
    """A node of a process graph."""
    made: dict[str, Any] = {"process_id": process_id, "arguments": arguments}
    if result:
        made["result"] = True
    return made


def ref(name: str) -> dict[str, str]:
    return {"from_node": name}


def par(name: str) -> dict[str, str]:
    return {"from_parameter": name}


def child(**nodes: Any) -> dict[str, Any]:
    """A child process; the last node is its result."""
    nodes[list(nodes)[-1]]["result"] = True
    return {"process_graph": nodes}


def index_of_bands(rescaled: bool) -> dict[str, Any]:
    """(green - swir) / (green + swir) of the bands (swir, nir, green)."""
    nodes = {
        "g": node("array_element", data=par("data"), index=2),
        "s": node("array_element", data=par("data"), index=0),
        "d": node("subtract", x=ref("g"), y=ref("s")),
        "a": node("add", x=ref("g"), y=ref("s")),
        "q": node("divide", x=ref("d"), y=ref("a")),
    }
    if rescaled:
        nodes["m"] = node("subtract", x=ref("q"), y=-0.6)
        nodes["r"] = node("divide", x=ref("m"), y=1.2)
    return child(**nodes)


def load_node(**more: Any) -> dict[str, Any]:
    return node(
        "load_collection",
        id="scenes",
        spatial_extent=area_extent(),
        temporal_extent=["2019-01-01", "2022-01-01"],
        bands=list(BANDS),
        **more,
    )


INTERVALS = [
    ["2019-01-01", "2020-01-01"],
    ["2020-01-01", "2021-01-01"],
    ["2021-01-01", "2022-01-01"],
]
LABELS = [start for start, _ in INTERVALS]
THRESHOLD = 0.025 * 15 * 365.25 / 1096


def aqua_monitor_graph(min_images: int = 2, udf: str = UDF) -> dict[str, Any]:
    """The Aqua Monitor of the reference, with every intermediate saved under its own name."""

    def over_t(process_id: str) -> dict[str, Any]:
        return child(r=node(process_id, data=par("data")))

    def each(process_id: str, y: float) -> dict[str, Any]:
        return child(c=node(process_id, x=par("x"), y=y), f=node("multiply", x=ref("c"), y=1.0))

    def both(a: str, b: str) -> dict[str, Any]:
        resolver = child(m=node("multiply", x=par("x"), y=par("y")))
        return node("merge_cubes", cube1=ref(a), cube2=ref(b), overlap_resolver=resolver)

    def save(data: str, prefix: str, result: bool = False) -> dict[str, Any]:
        return node(
            "save_result",
            result,
            data=ref(data),
            format="GTiff",
            options={"filename_prefix": prefix},
        )

    aggregate = {"intervals": INTERVALS, "labels": LABELS}
    return {
        "load": load_node(),
        "rename": node(
            "rename_labels",
            data=ref("load"),
            dimension="bands",
            source=list(BANDS),
            target=["swir", "nir", "green"],
        ),
        "resample": node(
            "resample_spatial",
            data=ref("rename"),
            resolution=30.0,
            projection=None,
            method="cubic",
            align="upper-left",
        ),
        "composite": node(
            "aggregate_temporal",
            data=ref("resample"),
            reducer=child(q=node("quantiles", data=par("data"), probabilities=[0.2])),
            **aggregate,
        ),
        "rescaled": node(
            "reduce_dimension",
            data=ref("composite"),
            dimension="bands",
            reducer=index_of_bands(True),
        ),
        "slope": node(
            "reduce_dimension",
            data=ref("rescaled"),
            dimension="t",
            reducer=child(u=node("run_udf", data=par("data"), runtime="Python", udf=udf)),
        ),
        "steep": node("apply", data=ref("slope"), process=child(a=node("absolute", x=par("x")))),
        "strong": node("apply", data=ref("steep"), process=each("gte", THRESHOLD)),
        "mndwi": node(
            "reduce_dimension",
            data=ref("composite"),
            dimension="bands",
            reducer=index_of_bands(False),
        ),
        "lowest": node("reduce_dimension", data=ref("mndwi"), dimension="t", reducer=over_t("min")),
        "not_always_wet": node("apply", data=ref("lowest"), process=each("lt", 0.5)),
        "highest": node(
            "reduce_dimension", data=ref("mndwi"), dimension="t", reducer=over_t("max")
        ),
        "sometimes_wet": node("apply", data=ref("highest"), process=each("gt", -0.05)),
        "green": node(
            "reduce_dimension",
            data=ref("resample"),
            dimension="bands",
            reducer=child(g=node("array_element", data=par("data"), index=2)),
        ),
        "ones": node(
            "apply",
            data=ref("green"),
            process=child(z=node("multiply", x=par("x"), y=0), o=node("add", x=ref("z"), y=1)),
        ),
        "count": node("aggregate_temporal", data=ref("ones"), reducer=over_t("sum"), **aggregate),
        "enough_each": node("apply", data=ref("count"), process=each("gte", min_images)),
        "enough": node(
            "reduce_dimension", data=ref("enough_each"), dimension="t", reducer=over_t("product")
        ),
        "both1": both("strong", "not_always_wet"),
        "both2": both("both1", "sometimes_wet"),
        "keep": both("both2", "enough"),
        "drop": node("apply", data=ref("keep"), process=each("eq", 0)),
        "change": node("mask", data=ref("slope"), mask=ref("drop")),
        "save_composite": save("composite", "composite"),
        "save_count": save("count", "count"),
        "save_slope": save("slope", "slope"),
        "save_keep": save("keep", "keep"),
        "save_change": save("change", "change", result=True),
    }
