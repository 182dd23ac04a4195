"""Pixel grids: the one rule by which every engine lays its pixels, so that results can be compared.

A native grid is the source's own pixel lattice cut to an area, snapped outward; a resampled grid
starts at the same upper-left corner (openEO ``resample_spatial`` with ``align=upper-left``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Lattice coordinates closer than this to a whole number of pixels count as whole.
_SNAP = 1e-6


@dataclass(frozen=True, slots=True)
class Grid:
    """A north-up raster grid.

    :param crs: authority code such as ``EPSG:32630``.
    :param left, top: upper-left corner, in units of the CRS.
    :param xres, yres: pixel size, both positive, in units of the CRS.
    :param width, height: pixels.
    """

    crs: str
    left: float
    top: float
    xres: float
    yres: float
    width: int
    height: int

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients (a, b, c, d, e, f), row-major, as in ``proj:transform``."""
        return (self.xres, 0.0, self.left, 0.0, -self.yres, self.top)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in units of the CRS."""
        return (
            self.left,
            self.top - self.height * self.yres,
            self.left + self.width * self.xres,
            self.top,
        )

    def window(self, column: int, row: int, width: int, height: int) -> Grid:
        """The part that starts at (column, row), cut at this grid's edge."""
        return Grid(
            self.crs,
            self.left + column * self.xres,
            self.top - row * self.yres,
            self.xres,
            self.yres,
            min(width, self.width - column),
            min(height, self.height - row),
        )

    def tiles(self, size: int) -> Iterator[tuple[int, int, Grid]]:
        """(column, row, part) for each tile of ``size`` pixels, row by row, none empty."""
        for row in range(0, self.height, size):
            for column in range(0, self.width, size):
                yield column, row, self.window(column, row, size, size)


def stated_lattice(
    properties: dict[str, Any], asset: dict[str, Any]
) -> tuple[str, tuple[float, float, float, float, float, float]] | None:
    """CRS and transform of an asset; None if neither the item's properties nor the asset say so.

    The item's own come first, so that all its assets share one lattice where it states one.
    STAC Projection Extension v2.0.0; ``proj:epsg`` of v1 is understood too.
    """
    places = (properties, asset)
    code = next(filter(None, (place.get("proj:code") for place in places)), None)
    if code is None:
        epsg = next(filter(None, (place.get("proj:epsg") for place in places)), None)
        code = f"EPSG:{epsg}" if epsg else None
    transform = next(filter(None, (place.get("proj:transform") for place in places)), None)
    if code is None or transform is None:
        return None
    a, b, c, d, e, f = (float(value) for value in transform[:6])
    return str(code), (a, b, c, d, e, f)


def native_grid(
    crs: str,
    transform: tuple[float, ...],
    bounds: tuple[float, float, float, float],
) -> Grid:
    """The source lattice cut to ``bounds`` (left, bottom, right, top in the CRS), snapped outward.

    :param transform: the source's affine coefficients (``proj:transform``), north-up.
    :raises ValueError: when the source is rotated or the bounds are empty.
    """
    a, b, c, d, e, f = transform[:6]
    if b or d or a <= 0 or e >= 0:
        raise ValueError("only north-up grids are supported")
    left, bottom, right, top = bounds
    if right <= left or top <= bottom:
        raise ValueError("the area is empty")
    first_column = math.floor((left - c) / a + _SNAP)
    last_column = math.ceil((right - c) / a - _SNAP)
    first_row = math.floor((f - top) / -e + _SNAP)
    last_row = math.ceil((f - bottom) / -e - _SNAP)
    return Grid(
        crs,
        c + first_column * a,
        f + first_row * e,
        a,
        -e,
        max(1, last_column - first_column),
        max(1, last_row - first_row),
    )


def resampled(grid: Grid, resolution: float) -> Grid:
    """Square pixels of ``resolution`` from the same upper-left corner, covering the grid."""
    return Grid(
        grid.crs,
        grid.left,
        grid.top,
        resolution,
        resolution,
        max(1, math.ceil(grid.width * grid.xres / resolution - _SNAP)),
        max(1, math.ceil(grid.height * grid.yres / resolution - _SNAP)),
    )
