"""Reading rasters onto a :class:`~cscale_core.grids.Grid`: float32, NaN where there is no data.

The one reader of the openEO loader and the Spark applications. Needs rasterio (extras ``lab``,
``openeo`` or ``spark``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT

from cscale_core.errors import DamagedData
from cscale_core.grids import Grid

FloatArray = npt.NDArray[np.float32]

# Members that describe pixels; on the asset they speak for all its bands.
_PIXEL_MEMBERS = ("raster:scale", "raster:offset", "nodata")


@dataclass(frozen=True, slots=True)
class Source:
    """One single-band raster and how its digital numbers become physical values.

    ``value = number * scale + offset`` (STAC Raster Extension v2.0.0); ``nodata`` is a digital
    number, None where the file's own header decides.
    """

    href: str
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None

    @classmethod
    def from_asset(cls, asset: dict[str, Any], href: str | None = None) -> Source:
        """From a STAC asset: 1.1 common ``bands``/``nodata`` or the older ``raster:bands``."""
        bands = asset.get("bands") or asset.get("raster:bands") or [{}]
        band = bands[0] | {key: asset[key] for key in _PIXEL_MEMBERS if key in asset}
        return cls(
            href=href or str(asset["href"]),
            scale=float(band.get("raster:scale", band.get("scale", 1))),
            offset=float(band.get("raster:offset", band.get("offset", 0))),
            nodata=band.get("nodata"),
        )


def _fixed_scale(dataset: Any, grid: Grid) -> dict[str, float]:
    """Warp options that fix the resampling factor (destination pixels per source pixel).

    GDAL derives it anew from the rounded source window of each chunk, so that the same pixel
    differs by some percent with the tile it is read in; measured on Sentinel-2 (10 m to 30 m,
    cubic): up to 0.009 in reflectance. Only a shared CRS has one factor for the whole raster.
    """
    if dataset.crs != CRS.from_user_input(grid.crs):
        return {}
    return {
        "XSCALE": min(1.0, dataset.transform.a / grid.xres),
        "YSCALE": min(1.0, -dataset.transform.e / grid.yres),
    }


def read(source: Source, grid: Grid, resampling: str = "nearest") -> FloatArray:
    """The source's first band on the grid.

    :param resampling: a name of ``rasterio.enums.Resampling`` (``nearest``, ``bilinear``,
        ``cubic``, ``average``, ...); weights of missing pixels are left out.
    :returns: float32, shape (height, width); NaN outside the source and where it has no data.
    :raises DamagedData: when the file cannot be opened or decoded.
    """
    try:
        with (
            rasterio.open(source.href) as dataset,
            WarpedVRT(
                dataset,
                crs=grid.crs,
                transform=Affine(*grid.transform),
                width=grid.width,
                height=grid.height,
                resampling=Resampling[resampling],
                src_nodata=dataset.nodata if source.nodata is None else source.nodata,
                nodata=float("nan"),
                dtype="float32",
                **_fixed_scale(dataset, grid),
            ) as warped,
        ):
            values: FloatArray = warped.read(1, out_dtype="float32")
    except rasterio.errors.RasterioError as error:
        raise DamagedData(
            f"{source.href} cannot be read as a raster.",
            hint="Stage the product again; the copy may be cut short.",
            reason=str(error),
        ) from error
    if source.scale != 1.0 or source.offset != 0.0:
        values = values * np.float32(source.scale) + np.float32(source.offset)
    return values
