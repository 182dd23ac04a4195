"""Reading rasters onto a :class:`~cscale_core.grids.Grid`: NaN where there is no data.

The one reader of the openEO loader, the Spark applications and of results in notebooks. Needs
rasterio (extras ``lab``, ``openeo`` or ``spark``).
"""

from __future__ import annotations

import functools
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.session import AWSSession
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT

from cscale_core.errors import DamagedData
from cscale_core.grids import Grid
from cscale_core.identity.keys import wait_for_keys

FloatArray = npt.NDArray[np.float32]

# Where the standard chain looks first.
_CHAIN = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
# Members that describe pixels; on the asset they speak for the bands that do not say it.
_PIXEL_MEMBERS = ("raster:scale", "raster:offset", "nodata")
_GDAL: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_CACHEMAX": 128,
}


#: In what GDAL says when its chain finds no keys of the object store.
_NO_KEYS = "AWS_SECRET_ACCESS_KEY"


@dataclass(frozen=True)
class ObjectStoreAccess:
    """How GDAL reaches the object store; none of it is secret.

    Keys come from the standard chain (``AWS_CONTAINER_CREDENTIALS_FULL_URI``), asked at each use.
    """

    endpoint: str
    region: str

    def environment(self, *, anew: bool = False) -> AbstractContextManager[Any]:
        """A GDAL environment with fresh credentials, for one thread.

        :param anew: nothing that was read of an object before is taken for it now.
        """
        https = self.endpoint.startswith("https://")
        environment: AbstractContextManager[Any] = rasterio.Env(
            AWSSession(
                _session(self.region, *(os.environ.get(name, "") for name in _CHAIN)),
                endpoint_url=self.endpoint.partition("://")[2].rstrip("/"),
            ),
            AWS_HTTPS="YES" if https else "NO",
            AWS_VIRTUAL_HOSTING="FALSE",
            CPL_VSIL_CURL_NON_CACHED="/vsis3/" if anew else "",
            **_GDAL,
        )
        return environment


@functools.lru_cache(maxsize=4)
def _session(region: str, *chain: str) -> Any:
    """One session for as long as the process's credentials come from the same place.

    It remembers its keys and asks anew before they end.
    """
    import boto3

    return boto3.Session(region_name=region)


def gdal_environment(access: ObjectStoreAccess | None) -> AbstractContextManager[Any]:
    """The environment to read rasters in, with or without an object store."""
    environment: AbstractContextManager[Any] = (
        rasterio.Env(**_GDAL) if access is None else access.environment()
    )
    return environment


@dataclass(frozen=True, slots=True)
class Source:
    """One band of a raster and how its digital numbers become physical values.

    ``value = number * scale + offset`` (STAC Raster Extension v2.0.0); ``nodata`` is a digital
    number, None where the file's own header decides; ``band`` counts from 1.
    """

    href: str
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    band: int = 1

    @classmethod
    def from_asset(cls, asset: dict[str, Any], href: str | None = None, band: int = 1) -> Source:
        """From a STAC asset: 1.1 common ``bands``/``nodata`` or the older ``raster:bands``."""
        bands = asset.get("bands") or asset.get("raster:bands") or [{}]
        own: dict[str, Any] = bands[band - 1] if band <= len(bands) else {}
        said: dict[str, Any] = {key: asset[key] for key in _PIXEL_MEMBERS if key in asset} | own
        nodata = said.get("nodata")
        return cls(
            href=href or str(asset["href"]),
            scale=float(said.get("raster:scale", said.get("scale", 1))),
            offset=float(said.get("raster:offset", said.get("offset", 0))),
            # A number, or "nan", "inf", "-inf" as JSON has none of them.
            nodata=None if nodata is None else float(nodata),
            band=band,
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


def read(source: Source, grid: Grid, resampling: str = "nearest", driver: str = "") -> FloatArray:
    """The source's band on the grid.

    :param resampling: a name of ``rasterio.enums.Resampling`` (``nearest``, ``bilinear``,
        ``cubic``, ``average``, ...); weights of missing pixels are left out.
    :param driver: the only format of GDAL that is tried, as some may name files of this machine;
        empty: all.
    :returns: float32, shape (height, width); NaN outside the source and where it has no data.
    :raises DamagedData: when the file cannot be opened or decoded.
    """
    values: FloatArray = _numbers(source, grid, resampling, "float32", driver)
    if source.scale != 1.0 or source.offset != 0.0:
        values = values * np.float32(source.scale) + np.float32(source.offset)
    return values


def read_exactly(
    source: Source, grid: Grid, resampling: str = "nearest", driver: str = ""
) -> npt.NDArray[np.float64]:
    """As :func:`read`, in float64, which holds every integer of up to 53 bits."""
    values = _numbers(source, grid, resampling, "float64", driver)
    return values * source.scale + source.offset


def _numbers(
    source: Source, grid: Grid, resampling: str, dtype: str, driver: str
) -> npt.NDArray[Any]:
    """The digital numbers, NaN where there are none.

    :raises DamagedData: when the file cannot be opened or decoded.
    """
    for again in (True, False):
        try:
            return _warped(source, grid, resampling, dtype, driver)
        except rasterio.errors.RasterioError as error:
            if again and _NO_KEYS in str(error) and wait_for_keys():
                continue  # the server that gives them out was being restarted
            # A signed address is told without what signs it; GDAL's own text holds all of it.
            shown, signed, _ = source.href.partition("?")
            raise DamagedData(
                f"{shown} cannot be read as a raster.",
                hint="Stage the product again; the copy may be cut short.",
                reason="" if signed else str(error),
            ) from error
    raise AssertionError("the second try returns or raises")


def _warped(
    source: Source, grid: Grid, resampling: str, dtype: str, driver: str
) -> npt.NDArray[Any]:
    with (
        rasterio.open(source.href, driver=driver or None) as dataset,
        WarpedVRT(
            dataset,
            crs=grid.crs,
            transform=Affine(*grid.transform),
            width=grid.width,
            height=grid.height,
            resampling=Resampling[resampling],
            src_nodata=dataset.nodata if source.nodata is None else source.nodata,
            nodata=float("nan"),
            dtype=dtype,
            **_fixed_scale(dataset, grid),
        ) as warped,
    ):
        values: npt.NDArray[Any] = warped.read(source.band, out_dtype=dtype)
    return values
