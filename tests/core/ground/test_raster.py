"""Reading rasters: scale, missing pixels, and the same value whatever the tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from cscale_core import raster
from cscale_core.errors import DamagedData
from cscale_core.grids import Grid, resampled
from cscale_core.raster import Source

SCENES = Path(__file__).parents[3].parent / "shared/data/sentinel2-l1c-slovenia"


@pytest.fixture
def scene(tmp_path: Path) -> tuple[str, Grid]:
    """A smooth field with noise and some missing pixels (0), odd pixel sizes."""
    grid = Grid("EPSG:32633", 465181.05, 5080254.63, 9.99479222007154, 9.997448467363668, 211, 190)
    rows, columns = np.mgrid[0 : grid.height, 0 : grid.width]
    random = np.random.default_rng(3)
    values = (
        3000 + 2000 * np.sin(rows / 9) * np.cos(columns / 7) + random.normal(0, 200, rows.shape)
    )
    values[40:60, 90:120] = 0
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=grid.width,
        height=grid.height,
        count=1,
        dtype="uint16",
        crs=grid.crs,
        transform=Affine(*grid.transform),
        nodata=0,
    ) as dataset:
        dataset.write(values.astype("uint16"), 1)
    return str(path), grid


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize("size", [7, 16, 33])
def test_a_pixel_is_the_same_in_every_tiling(
    scene: tuple[str, Grid], resampling: str, size: int
) -> None:
    path, native = scene
    grid = resampled(native, 30)
    source = Source(path, scale=0.0001)
    whole = raster.read(source, grid, resampling)
    tiled = np.full_like(whole, -1)
    for column, row, part in grid.tiles(size):
        tiled[row : row + part.height, column : column + part.width] = raster.read(
            source, part, resampling
        )
    assert np.isnan(whole).any()
    np.testing.assert_array_equal(np.isnan(tiled), np.isnan(whole))
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-6)


@pytest.mark.skipif(not SCENES.exists(), reason="../shared/data/sentinel2-l1c-slovenia is absent")
def test_a_pixel_of_a_real_scene_is_the_same_in_every_tiling() -> None:
    path = sorted(SCENES.glob("S2A*/B08.tif"))[0]
    with rasterio.open(path) as dataset:
        native = Grid(
            str(dataset.crs),
            dataset.transform.c,
            dataset.transform.f,
            dataset.transform.a,
            -dataset.transform.e,
            dataset.width,
            dataset.height,
        )
    grid = resampled(native, 30)
    source = Source(str(path), scale=0.0001)
    whole = raster.read(source, grid, "cubic")
    for column, row, part in grid.tiles(10):
        np.testing.assert_allclose(
            raster.read(source, part, "cubic"),
            whole[row : row + part.height, column : column + part.width],
            rtol=0,
            atol=1e-6,
        )


def test_on_its_own_grid_a_raster_is_its_numbers_scaled(scene: tuple[str, Grid]) -> None:
    path, grid = scene
    with rasterio.open(path) as dataset:
        numbers = dataset.read(1)
    values = raster.read(Source(path, scale=0.0001, offset=-0.1), grid)
    assert values.dtype == np.float32
    expected = np.where(numbers == 0, np.nan, numbers * np.float32(0.0001) + np.float32(-0.1))
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_outside_the_source_there_is_no_data(scene: tuple[str, Grid]) -> None:
    path, grid = scene
    beside = Grid(grid.crs, grid.left - 5000, grid.top, grid.xres, grid.yres, 20, 20)
    assert np.isnan(raster.read(Source(path), beside, "cubic")).all()


def test_a_file_that_is_no_raster_is_damaged_data(tmp_path: Path, scene: tuple[str, Grid]) -> None:
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"II*\0 not really")
    with pytest.raises(DamagedData, match=r"bad\.tif"):
        raster.read(Source(str(bad)), scene[1])
    with pytest.raises(DamagedData):
        raster.read(Source(str(tmp_path / "absent.tif")), scene[1])


@pytest.mark.parametrize(
    "asset",
    [
        {"raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 0},
        {"bands": [{"name": "B04", "raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 0}]},
        {"raster:bands": [{"scale": 0.0001, "offset": -0.1, "nodata": 0}]},
    ],
)
def test_scale_and_offset_are_found_in_every_writing_of_stac(asset: dict[str, object]) -> None:
    source = Source.from_asset({"href": "x.tif", **asset})
    assert source == Source("x.tif", scale=0.0001, offset=-0.1, nodata=0)
    assert Source.from_asset({"href": "x.tif"}, "y.tif") == Source("y.tif")
