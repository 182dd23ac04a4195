"""Results as STAC items: what a raster says, three addresses, lineage."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from cscale_core.errors import DamagedData, InvalidInput
from cscale_core.ingest.raster_members import raster_members
from cscale_core.site import Site
from cscale_core.workflows.results.files import ResultFile, multihash
from cscale_core.workflows.results.items import described_item, item_id, result_item
from cscale_core.workflows.results.provenance import Lineage

LINEAGE = Lineage(engine="spark", job_id="j1", inputs=[{"id": "scene one", "collection": "c"}])


def write(path: Path, values: np.ndarray[Any, Any], **changes: Any) -> Path:
    profile = {
        "driver": "GTiff",
        "count": 1,
        "dtype": "float32",
        "height": values.shape[0],
        "width": values.shape[1],
        "crs": "EPSG:32630",
        "transform": Affine(30, 0, 240_000, 0, -30, 4_035_000),
        "nodata": float("nan"),
        **changes,
    }
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values.astype("float32"), 1)
    return path


def item_of(files: list[ResultFile], site: Site, **changes: Any) -> dict[str, Any]:
    arguments = {"identifier": "r", "collection": "c", "site": site, "lineage": LINEAGE}
    return result_item(files, **{**arguments, **changes})


def test_statistics_leave_missing_pixels_out(tmp_path: Path) -> None:
    values = np.arange(600 * 700, dtype=float).reshape(600, 700)
    values[:300] = np.nan
    path = write(tmp_path / "a.tif", values, tiled=True, blockxsize=256, blockysize=256)
    (band,) = raster_members(path)["bands"]
    statistics = band["statistics"]
    assert statistics["valid_percent"] == 50
    assert statistics["minimum"] == np.nanmin(values)
    assert statistics["maximum"] == np.nanmax(values)
    assert statistics["mean"] == pytest.approx(np.nanmean(values), rel=1e-6)
    assert statistics["stddev"] == pytest.approx(np.nanstd(values), rel=1e-4)


def test_empty_raster_has_no_invented_statistics(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.full((4, 4), np.nan))
    assert raster_members(path)["bands"][0]["statistics"] == {"valid_percent": 0.0}


def test_item_is_json_without_nan(tmp_path: Path, make_site: Callable[..., Site]) -> None:
    path = write(tmp_path / "a.tif", np.full((4, 4), np.nan))
    item = item_of([ResultFile("a", path, "s3://vobucket/users/utest/a.tif")], make_site())
    assert json.loads(json.dumps(item, allow_nan=False)) == item
    assert item["assets"]["a"]["nodata"] == "nan"


def test_file_in_our_store_gets_three_addresses(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    path = write(tmp_path / "a.tif", np.zeros((4, 4)))
    item = item_of([ResultFile("a", path, "s3://vobucket/users/utest/a b.tif")], make_site())
    asset = item["assets"]["a"]
    assert asset["href"] == "s3://vobucket/users/utest/a b.tif"
    assert asset["alternate"]["https"]["href"].endswith("/vobucket/users/utest/a%20b.tif")
    assert asset["alternate"]["mount"]["href"] == "/s3/vobucket/users/utest/a b.tif"
    assert asset["file:checksum"] == multihash(path)
    assert asset["file:checksum"].startswith("1220")


def test_outline_and_box_are_where_the_pixels_are(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    path = write(tmp_path / "a.tif", np.zeros((100, 100)))
    item = item_of([ResultFile("a", path, "/a.tif")], make_site())
    west, south, east, north = item["bbox"]
    assert -6 < west < east < -5.8
    assert 36.3 < south < north < 36.5
    ring = item["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1]
    assert west == pytest.approx(min(x for x, _ in ring), abs=1e-5)
    assert north == pytest.approx(max(y for _, y in ring), abs=1e-5)


def test_projection_is_the_items_only_when_all_files_share_it(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    one = ResultFile("a", write(tmp_path / "a.tif", np.zeros((10, 10))), "/a.tif")
    two = ResultFile("b", write(tmp_path / "b.tif", np.zeros((20, 10))), "/b.tif")
    assert item_of([one], make_site())["properties"]["proj:shape"] == [10, 10]
    both = item_of([one, two], make_site())
    assert "proj:shape" not in both["properties"]
    assert both["assets"]["b"]["proj:shape"] == [20, 10]
    assert both["bbox"][1] < item_of([one], make_site())["bbox"][1]


def test_inputs_are_linked_by_their_own_address_or_the_catalogues(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    inputs = [
        {"id": "a", "collection": "c"},
        {"id": "b", "collection": "c", "links": [{"rel": "self", "href": "https://b.example/b"}]},
    ]
    path = write(tmp_path / "a.tif", np.zeros((4, 4)))
    lineage = Lineage(engine="spark", job_id="j", inputs=inputs)
    item = item_of([ResultFile("a", path, "/a.tif")], make_site(), lineage=lineage)
    assert [link["href"] for link in item["links"]] == [
        "http://127.0.0.1:9/catalogue/collections/c/items/a",
        "https://b.example/b",
    ]


def test_period_is_the_one_given_else_that_of_the_inputs(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    file = ResultFile("a", write(tmp_path / "a.tif", np.zeros((4, 4))), "/a.tif")
    days = [datetime(2019, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)]
    given = item_of([file], make_site(), period=(days[0], days[1]))["properties"]
    assert (given["start_datetime"], given["end_datetime"]) == (
        "2019-01-01T00:00:00Z",
        "2020-01-01T00:00:00Z",
    )
    inputs = [{"id": str(n), "properties": {"datetime": f"201{n}-05-05T00:00:00Z"}} for n in (7, 5)]
    lineage = Lineage(engine="spark", job_id="j", inputs=inputs)
    found = item_of([file], make_site(), lineage=lineage)["properties"]
    assert found["start_datetime"] == "2015-05-05T00:00:00Z"
    assert found["end_datetime"] == "2017-05-05T00:00:00Z"


@pytest.mark.parametrize("content", [b"", b"II*\x00 cut short"])
def test_file_that_is_no_raster_is_damaged(
    tmp_path: Path, make_site: Callable[..., Site], content: bytes
) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DamagedData, match=r"a\.tif"):
        item_of([ResultFile("a", tmp_path / "a.tif", "/a.tif")], make_site())


def test_no_files_and_files_of_one_name_are_refused(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    file = ResultFile("a", write(tmp_path / "a.tif", np.zeros((4, 4))), "/a.tif")
    with pytest.raises(InvalidInput):
        item_of([], make_site())
    with pytest.raises(InvalidInput, match="same name"):
        item_of([file, file], make_site())


def test_assets_without_a_place_take_the_results_box(make_site: Callable[..., Site]) -> None:
    item = described_item(
        {"a": {"href": "https://x.example/a.json"}},
        identifier="r",
        collection="c",
        site=make_site(),
        lineage=LINEAGE,
        bbox=[1, 2, 3, 4],
    )
    assert item["bbox"] == [1, 2, 3, 4]
    assert sorted(map(tuple, item["geometry"]["coordinates"][0]))[0] == (1, 2)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Aqua Monitor (PySpark)", "aqua-monitor-pyspark-j1"),
        ("../../etc", "etc-j1"),
        ("Água é vida", "gua-vida-j1"),
        ("", "j1"),
    ],
)
def test_item_id_is_safe_in_addresses(title: str, expected: str) -> None:
    assert item_id(title, "j1") == expected
