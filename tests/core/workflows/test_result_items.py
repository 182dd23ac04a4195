"""Items of results by the rules of STAC 1.1 and its extensions, as loaders need them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio.shutil
from jsonschema import Draft7Validator
from pystac.validation.local_validator import get_local_schema_cache
from raster_builders import CRS, LEFT, PIXEL, TOP, write
from rasterio.transform import Affine
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from cscale_core.errors import DamagedData
from cscale_core.ingest.older_members import modern_asset
from cscale_core.ingest.raster_members import COG_TYPE, GEOTIFF_TYPE, raster_members
from cscale_core.site import Site
from cscale_core.workflows.results.files import ResultFile, contents
from cscale_core.workflows.results.items import described_items, result_items
from cscale_core.workflows.results.provenance import Lineage

GRAPH = {"a": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
LINEAGE = Lineage(
    engine="openeo",
    job_id="j1",
    expression={"process_graph": GRAPH},
    inputs=[
        {"id": "scene", "collection": "S2", "properties": {"datetime": "2020-05-05T00:00:00Z"}}
    ],
    software={"cscale-hub": "1.0"},
    level="L3",
)
# Members that are known of each extension (their specifications' tables of fields).
KNOWN = {
    "proj": {"code", "wkt2", "projjson", "geometry", "bbox", "centroid", "shape", "transform"},
    "raster": {"sampling", "bits_per_sample", "spatial_resolution", "scale", "offset", "histogram"},
    "file": {"byte_order", "checksum", "header_size", "size", "values", "local_path"},
    "processing": {
        *("expression", "lineage", "level", "facility", "datetime", "version", "software"),
    },
    "eo": {
        *("common_name", "center_wavelength", "full_width_half_max", "solar_illumination"),
        *("cloud_cover", "snow_cover"),
    },
    "alternate": {"name"},
    "cscale": {"job", "engine"},
}
DATA_TYPES = {
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "cint16", "cint32", "cfloat32", "cfloat64", "other"),
}


def core_schema() -> Draft7Validator:
    """Item of STAC 1.1, with all that its schema refers to."""
    schemas = get_local_schema_cache()
    resources = [
        (uri, Resource.from_contents(schema, default_specification=DRAFT7))
        for uri, schema in schemas.items()
    ]
    item = next(schema for uri, schema in schemas.items() if uri.endswith("/item.json"))
    return Draft7Validator(item, registry=Registry().with_resources(resources))


CORE = core_schema()


def items_of(site: Site, *files: ResultFile, **about: Any) -> list[dict[str, Any]]:
    arguments = {"identifier": "r", "collection": "c", "site": site, "lineage": LINEAGE}
    return result_items(files, **{**arguments, **about})


def members(item: dict[str, Any]) -> list[str]:
    """The names of all members with a prefix, wherever they are."""
    places = [item["properties"], *item["assets"].values()]
    places += [band for asset in item["assets"].values() for band in asset.get("bands", ())]
    return [name for place in places for name in place if ":" in name]


def check_rules(item: dict[str, Any]) -> None:
    for name in members(item):
        prefix, _, member = name.partition(":")
        assert member in KNOWN[prefix], name
        declared = any(f"/{prefix}" in uri for uri in item["stac_extensions"])
        assert declared or prefix == "cscale", name
    used = {name.partition(":")[0] for name in members(item)}
    used |= {"alternate" for asset in item["assets"].values() if "alternate" in asset}
    for uri in item["stac_extensions"]:
        assert any(uri.split("/")[3].startswith(prefix) for prefix in used), uri
    for asset in item["assets"].values():
        for band in [asset, *asset.get("bands", ())]:
            assert band.get("data_type", "other") in DATA_TYPES
            nodata = band.get("nodata", 0)
            assert isinstance(nodata, int | float) or nodata in ("nan", "inf", "-inf")
            known = {"minimum", "maximum", "mean", "stddev", "count", "valid_percent"}
            assert set(band.get("statistics", ())) <= known
            assert "statistics" not in band or band["statistics"]
    # The schemas of the core come with pystac. A catalogue adds the link to the collection.
    whole = copy.deepcopy(item)
    whole["links"].append({"rel": "collection", "href": "https://c.example/collections/c"})
    assert [error.message for error in CORE.iter_errors(whole)] == []
    pystac.Item.from_dict(whole)


def loadable(item: dict[str, Any]) -> None:
    """What ``load_stac`` of openEO back ends asks of an item."""
    for asset in item["assets"].values():
        if "data" not in asset["roles"]:
            continue
        known = {**item["properties"], **asset}
        assert known["proj:code"]
        assert sum(bool(known.get(f"proj:{m}")) for m in ("bbox", "shape", "transform")) >= 2
        assert all(band["name"] for band in asset["bands"])
        assert asset["type"].startswith("image/tiff; application=geotiff")


def test_items_keep_the_rules_and_can_be_loaded(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    composite = write(
        tmp_path / "c.tif",
        np.ones((3, 600, 600), "int16"),
        names=("swir", "nir", "green"),
        cog=True,
        nodata=-1,
        scale=0.1,
    )
    empty = write(tmp_path / "e.tif", np.full((6, 6), np.nan, "float32"), nodata=float("nan"))
    first, second = items_of(
        make_site(),
        ResultFile("empty", empty, "s3://vobucket/users/utest/e.tif"),
        ResultFile(
            "composite_2020-01-01",
            composite,
            "s3://vobucket/users/utest/c.tif",
            moment=datetime(2020, 1, 1, tzinfo=UTC),
        ),
    )
    for item in (first, second):
        check_rules(item)
        loadable(item)
    assert set(second["assets"]) == {"composite"}
    asset = second["assets"]["composite"]
    assert asset["type"] == COG_TYPE
    assert (asset["data_type"], asset["nodata"]) == ("int16", -1)
    assert (asset["raster:scale"], asset["raster:offset"]) == (0.1, 0)
    assert [band.get("eo:common_name") for band in asset["bands"]] == [None, "nir", "green"]
    assert asset["raster:spatial_resolution"] == PIXEL
    assert second["id"] == "r-2020-01-01"
    assert second["properties"]["datetime"] == "2020-01-01T00:00:00Z"
    assert first["properties"]["datetime"] is None
    assert first["properties"]["start_datetime"] == "2020-05-05T00:00:00Z"
    properties = first["properties"]
    assert properties["processing:level"] == "L3"
    assert properties["processing:software"] == {"cscale-hub": "1.0"}
    assert properties["processing:expression"]["format"] == "openeo"
    assert properties["processing:expression"]["expression"] == {"process_graph": GRAPH}
    assert first["links"][0]["rel"] == "derived_from"
    assert asset["created"] == second["properties"]["created"]


def test_crs_without_a_code_is_told_as_wkt(tmp_path: Path, make_site: Callable[..., Site]) -> None:
    path = write(tmp_path / "a.tif", np.ones((6, 6), "float32"), crs="+proj=laea +lat_0=1 +lon_0=2")
    (item,) = items_of(make_site(), ResultFile("a", path, "/a.tif"))
    check_rules(item)
    assert item["assets"]["a"]["proj:code"] is None
    assert "Lambert" in item["assets"]["a"]["proj:wkt2"]
    assert item["geometry"]["type"] == "Polygon"


def test_layout_decides_whether_a_geotiff_is_a_cog(tmp_path: Path) -> None:
    values = np.arange(1_000_000, dtype="float32").reshape(1000, 1000)
    striped = write(tmp_path / "striped.tif", values)
    tiled = write(tmp_path / "tiled.tif", values, tiled=True, blockxsize=256, blockysize=256)
    with rasterio.open(tiled, "r+") as dataset:
        dataset.build_overviews([2, 4])
    cog = write(tmp_path / "cog.tif", values, cog=True)
    copied = tmp_path / "copied.tif"
    rasterio.shutil.copy(tiled, copied, driver="GTiff", COPY_SRC_OVERVIEWS="YES", TILED="YES")
    types = [
        raster_members(path, statistics=False)["type"] for path in (striped, tiled, cog, copied)
    ]
    assert types == [GEOTIFF_TYPE, GEOTIFF_TYPE, COG_TYPE, COG_TYPE]


def test_degrees_are_no_metres(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.ones((4, 4)), crs="EPSG:4326", left=0, top=1, pixel=0.1)
    assert "raster:spatial_resolution" not in raster_members(path)
    feet = write(tmp_path / "f.tif", np.ones((4, 4)), crs="EPSG:2263", left=1e6, top=2e5, pixel=10)
    assert raster_members(feet)["raster:spatial_resolution"] == pytest.approx(3.048, rel=1e-4)


def test_bands_that_differ_say_it_themselves(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.ones((2, 4, 4), "uint8"))
    with rasterio.open(path, "r+") as dataset:
        dataset.units = ("K", "m")
        dataset.scales = (0.5, 1.0)
    known = raster_members(path)
    assert "unit" not in known
    assert [band.get("unit") for band in known["bands"]] == ["K", "m"]
    assert [band.get("raster:scale") for band in known["bands"]] == [0.5, None]
    assert known["data_type"] == "uint8"


def test_netcdf_is_described_where_it_has_a_place(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    pyproj = pytest.importorskip("pyproj")
    crs = pyproj.CRS.from_user_input(CRS)
    axes = {axis["axis"].lower(): axis for axis in crs.cs_to_cf()}
    cube = xarray.DataArray(
        np.ones((4, 6), "float32"),
        dims=("y", "x"),
        coords={
            "y": ("y", TOP - (np.arange(4) + 0.5) * PIXEL, axes["y"]),
            "x": ("x", LEFT + (np.arange(6) + 0.5) * PIXEL, axes["x"]),
            "crs": xarray.DataArray(0, attrs=crs.to_cf()),
        },
        attrs={"grid_mapping": "crs"},
    )
    path = tmp_path / "a.nc"
    cube.to_dataset(name="depth").to_netcdf(path, engine="scipy")
    known = contents(path)
    assert known["type"] == "application/x-netcdf"
    assert (known["proj:code"], known["proj:shape"]) == (CRS, [4, 6])
    assert [band["name"] for band in known["bands"]] == ["depth"]
    plain = tmp_path / "b.nc"
    xarray.Dataset({"v": ("t", [1.0, 2.0])}).to_netcdf(plain, engine="scipy")
    assert "proj:code" not in contents(plain)
    assert contents(plain)["type"] == "application/x-netcdf"


def test_picture_without_a_place_is_no_result_raster(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.ones((4, 4), "uint8"))
    with rasterio.open(path, "r+") as dataset:
        dataset.transform = Affine.identity()
    with pytest.raises(DamagedData, match="no place"):
        raster_members(path)
    assert contents(path)["type"] == "image/tiff"


def test_times_in_names_are_the_items_not_the_assets(make_site: Callable[..., Site]) -> None:
    def asset(moment: str | None) -> dict[str, Any]:
        return {"href": "https://h/a.tif", "roles": ["data"], "datetime": moment}

    items = described_items(
        {
            "openEO_2020-01-01Z": asset("2020-01-01T00:00:00Z"),
            "openEO_20210101T103000Z": asset("2021-01-01T10:30:00+00:00"),
            "count_2020-01-01": asset("2020-01-01"),
            "year_2019": asset("2020-01-01T00:00:00Z"),
            "2020-01-01": asset("2020-01-01T00:00:00Z"),
            "whole": asset(None),
        },
        identifier="r",
        collection="c",
        site=make_site(),
        lineage=LINEAGE,
        bbox=[170, 0, -170, 10],
    )
    assert [(item["id"], sorted(item["assets"])) for item in items] == [
        ("r", ["whole"]),
        ("r-2020-01-01", ["2020-01-01", "count", "openEO", "year_2019"]),
        ("r-20210101T103000Z", ["openEO"]),
    ]
    assert items[0]["bbox"] == [170, 0, -170, 10]
    assert items[0]["geometry"]["type"] == "MultiPolygon"


def test_older_members_become_those_of_stac_1_1() -> None:
    old = {
        "href": "https://h/a.tif",
        "proj:epsg": 32630,
        "eo:bands": [{"name": "B03", "common_name": "green", "center_wavelength": 0.56}],
        "raster:bands": [{"data_type": "uint16", "scale": 0.1, "nodata": 0}, {"data_type": "int8"}],
    }
    assert modern_asset(old) == {
        "href": "https://h/a.tif",
        "proj:code": "EPSG:32630",
        "bands": [
            {
                "name": "B03",
                "eo:common_name": "green",
                "eo:center_wavelength": 0.56,
                "data_type": "uint16",
                "raster:scale": 0.1,
                "nodata": 0,
            },
            {"data_type": "int8"},
        ],
    }
    new = {"proj:code": "EPSG:1", "bands": [{"name": "a"}], "eo:bands": [{"name": "b"}]}
    assert modern_asset(new) == {"proj:code": "EPSG:1", "bands": [{"name": "a"}]}
