"""Grids: tiles cover each pixel once, at exactly the place it has in the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cscale_core.grids import Grid, native_grid, resampled, stated_lattice

GRIDS = st.builds(
    Grid,
    crs=st.just("EPSG:32630"),
    left=st.integers(100_000, 900_000).map(float),
    top=st.integers(1_000_000, 9_000_000).map(float),
    xres=st.sampled_from([10.0, 20.0, 30.0, 9.99479222007154]),
    yres=st.sampled_from([10.0, 20.0, 30.0, 9.997448467363668]),
    width=st.integers(1, 120),
    height=st.integers(1, 120),
)


@given(GRIDS, st.integers(1, 128))
def test_tiles_cover_every_pixel_once(grid: Grid, size: int) -> None:
    covered = np.zeros((grid.height, grid.width), dtype=int)
    for column, row, part in grid.tiles(size):
        assert 0 < part.width <= size
        assert 0 < part.height <= size
        covered[row : row + part.height, column : column + part.width] += 1
        # Exactly, not nearly: the same numbers, so that every engine computes the same place.
        assert part.left == grid.left + column * grid.xres
        assert part.top == grid.top - row * grid.yres
        assert (part.crs, part.xres, part.yres) == (grid.crs, grid.xres, grid.yres)
    assert (covered == 1).all()


@given(GRIDS, st.data())
def test_a_native_grid_covers_its_area_on_the_sources_pixels(
    source: Grid, data: st.DataObject
) -> None:
    left, bottom, right, top = source.bounds
    west = data.draw(st.floats(left - 500, right))
    east = data.draw(st.floats(west + 1, west + 5000))
    south = data.draw(st.floats(bottom - 500, top))
    north = data.draw(st.floats(south + 1, south + 5000))
    cut = native_grid(source.crs, source.transform, (west, south, east, north))
    tolerance = 2e-6 * max(cut.xres, cut.yres)
    assert cut.bounds[0] <= west + tolerance
    assert cut.bounds[1] <= south + tolerance
    assert cut.bounds[2] >= east - tolerance
    assert cut.bounds[3] >= north - tolerance
    assert cut.bounds[0] > west - cut.xres - tolerance
    assert cut.bounds[3] < north + cut.yres + tolerance
    columns = (cut.left - source.left) / source.xres
    assert columns == pytest.approx(round(columns), abs=1e-6)


def test_an_area_on_pixel_edges_is_not_widened() -> None:
    grid = native_grid(
        "EPSG:32630", (10, 0, 600_000, 0, -10, 4_000_000), (600_100, 3_999_000, 600_200, 3_999_500)
    )
    assert (grid.left, grid.top, grid.width, grid.height) == (600_100, 3_999_500, 10, 50)


@given(GRIDS, st.sampled_from([10.0, 30.0, 60.0]))
def test_a_resampled_grid_keeps_the_corner_and_covers_the_grid(
    grid: Grid, resolution: float
) -> None:
    coarse = resampled(grid, resolution)
    assert (coarse.left, coarse.top) == (grid.left, grid.top)
    assert coarse.xres == coarse.yres == resolution
    slack = 2e-6 * resolution
    assert coarse.width * resolution >= grid.width * grid.xres - slack
    assert (coarse.width - 1) * resolution < grid.width * grid.xres
    assert coarse.height * resolution >= grid.height * grid.yres - slack


@pytest.mark.parametrize(
    ("transform", "bounds"),
    [
        ((10, 1, 0, 0, -10, 0), (0, 0, 1, 1)),
        ((10, 0, 0, 0, 10, 0), (0, 0, 1, 1)),
        ((10, 0, 0, 0, -10, 0), (1, 0, 1, 1)),
        ((10, 0, 0, 0, -10, 0), (0, 2, 1, 1)),
    ],
)
def test_rotated_sources_and_empty_areas_are_refused(
    transform: tuple[float, ...], bounds: tuple[float, float, float, float]
) -> None:
    with pytest.raises(ValueError, match=r"north-up|empty"):
        native_grid("EPSG:32630", transform, bounds)


def test_lattice_is_the_items_then_the_assets_also_in_the_older_words() -> None:
    transform = [10, 0, 500_000, 0, -10, 4_000_000]
    own = {"proj:code": "EPSG:32630", "proj:transform": transform}
    finer = {"proj:transform": [5, 0, 500_000, 0, -5, 4_000_000]}
    lattice = stated_lattice(own, finer)
    assert lattice == ("EPSG:32630", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0))
    assert stated_lattice({}, own) == lattice
    older = {"proj:epsg": 32630, "proj:transform": [*transform, 0, 0, 1]}
    assert stated_lattice({}, older) == lattice
    assert stated_lattice({"proj:code": "EPSG:32630"}, {}) is None
