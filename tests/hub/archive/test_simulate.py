"""The simulated scenes: what is known of them is true, and they say that they are simulated."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cscale_hub.local.archive import simulate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenes")
    simulate.simulate(path, per_year=3)
    return path


@pytest.fixture(scope="module")
def items(folder: Path) -> list[dict]:
    return json.loads((folder / "items.json").read_text())["features"]


def test_every_item_says_that_it_is_simulated(items: list[dict]) -> None:
    assert len(items) == 9
    for item in items:
        assert item["id"].startswith("SIM_")
        assert item["collection"].startswith("simulated-")
        assert item["properties"]["platform"] == "simulated"
        assert "not an observation" in item["properties"]["description"]
        for asset in item["assets"].values():
            assert "simulated" in asset["title"]


def test_sizes_and_checksums_are_those_of_the_files(folder: Path, items: list[dict]) -> None:
    for asset in items[0]["assets"].values():
        data = (folder / asset["href"]).read_bytes()
        assert asset["file:size"] == len(data)
        assert asset["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest()


def test_bands_lie_where_the_item_says(folder: Path, items: list[dict]) -> None:
    for band, resolution in simulate.BANDS.items():
        asset = items[0]["assets"][band]
        with rasterio.open(folder / asset["href"]) as dataset:
            assert dataset.crs.to_string() == items[0]["properties"]["proj:code"]
            assert list(dataset.shape) == asset["proj:shape"]
            assert list(dataset.transform)[:6] == asset["proj:transform"]
            assert dataset.res == (resolution, resolution)
            assert dataset.nodata == 0
            assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_area_of_interest_is_covered(items: list[dict]) -> None:
    for item in items:
        west, south, east, north = item["bbox"]
        assert west < simulate.BBOX[0] < simulate.BBOX[2] < east
        assert south < simulate.BBOX[1] < simulate.BBOX[3] < north


def test_clear_pixels_show_water_where_the_truth_has_it(folder: Path, items: list[dict]) -> None:
    place = simulate.landscape(20190101)
    clear = min(items, key=lambda item: item["properties"]["eo:cloud_cover"])
    assert clear["properties"]["eo:cloud_cover"] < 20
    with rasterio.open(folder / clear["assets"]["B03"]["href"]) as green_file:
        green = green_file.read(1).astype(float)
    with rasterio.open(folder / clear["assets"]["B11"]["href"]) as swir_file:
        swir = swir_file.read(1).astype(float).repeat(2, 0).repeat(2, 1)
    seen = (green > 0) & (swir > 0)
    ratio = (green - swir) / np.where(seen, green + swir, 1)
    days = (
        np.datetime64(clear["properties"]["datetime"][:10]) - np.datetime64("2019-01-01")
    ).astype(int)
    truth = simulate.wetness(place, days / 365.25)
    water, land = (truth > 0.95) & seen, (truth < 0.05) & seen
    assert (ratio[water] > 0).mean() > 0.85
    assert (ratio[land] < 0).mean() > 0.75


def test_same_seed_gives_same_scenes_and_another_seed_others(tmp_path: Path) -> None:
    one = simulate.simulate(tmp_path / "one", per_year=1)
    two = simulate.simulate(tmp_path / "two", per_year=1)
    other = simulate.simulate(tmp_path / "other", per_year=1, seed=7)

    def checksums(items: list[dict]) -> list[str]:
        return [asset["file:checksum"] for item in items for asset in item["assets"].values()]

    assert checksums(one) == checksums(two)
    assert checksums(one) != checksums(other)


def test_folder_made_before_is_taken_as_it_is(folder: Path) -> None:
    stamp = (folder / "items.json").stat().st_mtime_ns
    assert len(simulate.simulate(folder, per_year=3)) == 9
    assert (folder / "items.json").stat().st_mtime_ns == stamp
