"""The processes that openeo-processes-dask runs for us, behind our cubes' conventions.

Importing the library takes seconds, so it happens only in a job whose graph needs it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from cscale_openeo.cube_processes import grid_of, resample_spatial
from cscale_openeo.errors import OpenEOError


@functools.cache
def library_process(process_id: str) -> Callable[..., Any]:
    """The library's process as a function on our cubes.

    :raises OpenEOError: when the library has no such process.
    """
    from openeo_processes_dask.process_implementations import core

    for function in core.standard_processes:
        if function.__name__.strip("_") == process_id:
            return functools.partial(_call, process_id, core.process(function))
    raise OpenEOError("ProcessUnsupported", f"Process '{process_id}' is not available.")


def _call(process_id: str, function: Callable[..., Any], **arguments: Any) -> Any:
    import rioxarray  # noqa: F401  registers the accessor that the library reads the CRS from
    from openeo_pg_parser_networkx.pg_schema import BoundingBox

    if process_id == "resample_cube_spatial":
        return _resample_to(**arguments)
    attrs: dict[str, Any] = {}
    for name, value in list(arguments.items()):
        if isinstance(value, xr.DataArray):
            attrs = attrs or value.attrs
            if "crs" in value.attrs and {"x", "y"} <= set(value.dims):
                marked = value.rio.write_crs(value.attrs["crs"])
                marked.attrs = {**value.attrs}
                arguments[name] = marked
        elif name == "extent" and isinstance(value, dict):
            arguments[name] = BoundingBox.model_validate(value)
        elif name == "geometries" and not isinstance(value, dict):
            # The library would fetch a URL by itself.
            raise OpenEOError("ProcessParameterInvalid", "geometries must be GeoJSON.")
        elif name == "kernel":
            arguments[name] = np.asarray(value)
    result = function(**arguments)
    if isinstance(result, xr.DataArray):
        result = result.compute().drop_vars("spatial_ref", errors="ignore")
        result.attrs = {**attrs}
    return result


def _resample_to(data: xr.DataArray, target: xr.DataArray, method: str = "near") -> xr.DataArray:
    """Onto the target's very pixels (the library's own loses the last row and column)."""
    grid = grid_of(target)
    cube = resample_spatial(
        data, [grid.xres, grid.yres], None if data.attrs["crs"] == grid.crs else grid.crs, method
    )
    return cube.reindex(x=target["x"], y=target["y"], method="nearest", tolerance=grid.xres / 2)
