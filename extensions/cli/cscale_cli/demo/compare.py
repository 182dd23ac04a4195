"""Whether two runs of Aqua Monitor agree, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.io import MemoryFile

from cscale_cli.demo.reference import AquaMonitor

Floats = npt.NDArray[np.floating]

# Slopes of float32 pipelines against float64: the bound the product promises.
SLOPE_TOLERANCE = 1e-5
COMPOSITE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Outputs:
    """An engine's results, read back; shapes as in :class:`AquaMonitor`."""

    composites: Floats
    counts: Floats
    slope: Floats
    keep: npt.NDArray[np.bool_]
    change: Floats
    transform: tuple[float, ...]
    crs: str


def read_outputs(fetch: Callable[[str], bytes], labels: Sequence[str]) -> Outputs:
    """Read an engine's output files.

    :param fetch: gives the bytes of a file name such as ``slope.tif``.
    :param labels: interval starts, ``YYYY-MM-DD``.
    """

    def bands(name: str) -> Floats:
        with MemoryFile(fetch(name)) as memory, memory.open() as dataset:
            values: Floats = dataset.read()
            return values

    with MemoryFile(fetch("slope.tif")) as memory, memory.open() as dataset:
        slope = dataset.read(1)
        transform = tuple(dataset.transform)[:6]
        crs = dataset.crs.to_string()
    return Outputs(
        composites=np.stack([bands(f"composite_{label}.tif") for label in labels]),
        counts=np.stack([bands(f"count_{label}.tif")[0] for label in labels]),
        slope=slope,
        keep=np.nan_to_num(bands("keep.tif")[0]) == 1,
        change=bands("change.tif")[0],
        transform=transform,
        crs=crs,
    )


def _difference(one: Floats, other: Floats) -> tuple[float, int]:
    """Largest absolute difference where both have data, and pixels where only one has."""
    if one.shape != other.shape:
        return float("inf"), max(one.size, other.size)
    both = np.isfinite(one) & np.isfinite(other)
    largest = float(np.abs(one[both] - other[both]).max()) if both.any() else 0.0
    return largest, int((np.isfinite(one) != np.isfinite(other)).sum())


def compare(outputs: Outputs, reference: AquaMonitor) -> dict[str, Any]:
    """The figures of one engine against the reference, and whether they agree.

    A pixel whose reference lies within the tolerance of a threshold could fall on either side; it
    is counted as a mask difference all the same: masks have to be identical.
    """
    figures: dict[str, Any] = {"pixels": int(reference.slope.size)}
    same_grid = outputs.slope.shape == reference.slope.shape and bool(
        np.allclose(outputs.transform, reference.grid.transform, rtol=0, atol=1e-6)
    )
    figures["same_grid"] = same_grid
    composite, composite_missing = _difference(outputs.composites, reference.composites)
    slope, slope_missing = _difference(outputs.slope, reference.slope)
    change, change_missing = _difference(outputs.change, reference.change)
    counts = (
        int((np.nan_to_num(outputs.counts) != reference.counts).sum())
        if outputs.counts.shape == reference.counts.shape
        else reference.counts.size
    )
    masks = (
        int((outputs.keep != reference.keep).sum())
        if outputs.keep.shape == reference.keep.shape
        else reference.keep.size
    )
    figures |= {
        "max_composite_difference": composite,
        "max_slope_difference": slope,
        "max_change_difference": change,
        "count_differences": counts,
        "mask_differences": masks,
        "missing_data_differences": composite_missing + slope_missing + change_missing,
        "kept_pixels": int(reference.keep.sum()),
    }
    figures["agree"] = bool(
        same_grid
        and composite <= COMPOSITE_TOLERANCE
        and slope <= SLOPE_TOLERANCE
        and change <= SLOPE_TOLERANCE
        and counts == masks == figures["missing_data_differences"] == 0
    )
    return figures
