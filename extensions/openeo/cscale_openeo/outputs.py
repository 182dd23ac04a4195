"""Output files of a job: cubes assembled from tiles, written as COG, netCDF or JSON.

Names: ``PREFIX_<label>.tif`` for each label of a temporal dimension, ``PREFIX.tif`` without one,
``PREFIX.nc``, ``PREFIX.json``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
import rasterio.shutil
import xarray as xr
from rasterio.transform import Affine

from cscale_core.grids import Grid
from cscale_core.workflows.results.files import contents
from cscale_openeo.cube_processes import coordinates, grid_of
from cscale_openeo.errors import OpenEOError
from cscale_openeo.graph import DEFAULT_PREFIX, FORMATS

_JSON_VALUES = 1_000_000


class Assembly:
    """One output as it grows from parts, in a file on disk rather than in memory."""

    def __init__(self, folder: Path, number: int, grid: Grid, first: xr.DataArray) -> None:
        if not {"x", "y"} <= set(first.dims):
            raise OpenEOError("Internal", "A part of a cut graph came back without pixels.")
        self._rest = [str(d) for d in first.dims if d not in ("x", "y")]
        self._labels = {d: first[d].values for d in self._rest if d in first.coords}
        self._attrs = dict(first.attrs)
        self._grid = grid
        shape = (*(first.sizes[d] for d in self._rest), grid.height, grid.width)
        self._values = np.lib.format.open_memmap(
            folder / f"output-{number}.npy", mode="w+", dtype=np.float32, shape=shape
        )

    def put(self, column: int, row: int, part: xr.DataArray) -> None:
        """Set one part down at its place.

        :raises OpenEOError: when its labels are not those of the first part.
        """
        part = part.transpose(*self._rest, "y", "x")
        for dimension, labels in self._labels.items():
            if not np.array_equal(part[dimension].values, labels):
                raise OpenEOError(
                    "Internal", f"Parts of the cube have other labels along {dimension!r}."
                )
        height, width = part.shape[-2:]
        self._values[..., row : row + height, column : column + width] = part.values

    def cube(self) -> xr.DataArray:
        """The whole cube; its values stay on disk."""
        coords = {d: (d, labels) for d, labels in self._labels.items()}
        return xr.DataArray(
            self._values,
            dims=(*self._rest, "y", "x"),
            coords={**coords, **coordinates(self._grid)},
            attrs=self._attrs,
        )


def label_text(label: Any) -> str:
    """A label as a part of a file name: ``YYYY-MM-DD`` for instants at midnight."""
    if isinstance(label, np.datetime64):
        text = np.datetime_as_string(label, unit="s")
        return text[:10] if text.endswith("T00:00:00") else text.replace(":", "") + "Z"
    return re.sub(r"[^A-Za-z0-9._-]", "_", str(label))[:64]


def _label_texts(labels: Any) -> list[str]:
    """Short texts where dates are enough to tell labels apart, else with the time of day."""
    values = np.asarray(labels)
    if values.dtype.kind == "M":
        days = [str(np.datetime_as_string(v, unit="D")) for v in values]
        if len(set(days)) == len(days):
            return days
    return [label_text(v) for v in values]


def write_output(cube: Any, node: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Write what one save_result was given.

    :returns: a description of each file: ``name``, ``type``, ``roles``, projection, bands with
        statistics, size and checksum (members of the STAC asset), ``datetime`` of its label.
    :raises OpenEOError: when the format cannot hold the data.
    """
    arguments = node.get("arguments", {}) if node["process_id"] == "save_result" else {}
    kind = FORMATS[str(arguments.get("format", "GTiff")).lower()]
    options = arguments.get("options") or {}
    prefix = str(options.get("filename_prefix") or DEFAULT_PREFIX)
    folder.mkdir(parents=True, exist_ok=True)
    has_pixels = isinstance(cube, xr.DataArray) and {"x", "y"} <= set(cube.dims)
    if kind == "GTiff" and not has_pixels:
        raise OpenEOError(
            "ProcessParameterInvalid", "A result without pixels cannot be a GTiff; choose JSON."
        )
    if kind == "JSON":
        return [_write_json(cube, folder / f"{prefix}.json")]
    if kind == "netCDF":
        return [_write_netcdf(cube, folder / f"{prefix}.nc")]
    return _write_tiffs(cube, prefix, folder)


def _write_tiffs(cube: xr.DataArray, prefix: str, folder: Path) -> list[dict[str, Any]]:
    grid = grid_of(cube)
    time = next(
        (str(d) for d in cube.dims if d == "t" or (d in cube.coords and cube[d].dtype.kind == "M")),
        None,
    )
    if time is None:
        return [_write_tiff(cube, grid, folder / f"{prefix}.tif", None)]
    texts = _label_texts(cube[time].values)
    written = []
    for index, text in enumerate(texts):
        label = cube[time].values[index]
        path = folder / f"{prefix}_{text}.tif"
        written.append(_write_tiff(cube.isel({time: index}, drop=True), grid, path, label))
    return written


def _write_tiff(cube: xr.DataArray, grid: Grid, path: Path, label: Any) -> dict[str, Any]:
    """A Cloud-Optimised GeoTIFF of float32, NaN where there is no data."""
    rest = [d for d in cube.dims if d not in ("x", "y")]
    layers = cube.transpose(*rest, "y", "x")
    names = [""]
    for d in rest:
        names = [f"{a}_{b}".strip("_") for a in names for b in _label_texts(cube[d].values)]
    flat = layers.values.reshape(-1, grid.height, grid.width)
    temporary = path.with_suffix(".plain.tif")
    with rasterio.open(
        temporary,
        "w",
        driver="GTiff",
        width=grid.width,
        height=grid.height,
        count=len(flat),
        dtype="float32",
        crs=grid.crs,
        transform=Affine(*grid.transform),
        nodata=float("nan"),
        tiled=True,
        blockxsize=256,
        blockysize=256,
        BIGTIFF="IF_SAFER",
    ) as dataset:
        for number, layer in enumerate(flat, start=1):
            dataset.write(np.asarray(layer, dtype=np.float32), number)
            if names[number - 1]:
                dataset.set_band_description(number, names[number - 1])
        if isinstance(label, np.datetime64):
            dataset.update_tags(DATETIME=str(np.datetime_as_string(label, unit="s")) + "Z")
    rasterio.shutil.copy(
        temporary,
        path,
        driver="COG",
        COMPRESS="DEFLATE",
        PREDICTOR="YES",
        OVERVIEW_RESAMPLING="AVERAGE",
        BIGTIFF="IF_SAFER",
    )
    temporary.unlink()
    return _file(path, label, tuple(name or path.stem for name in names))


def _instant(label: Any) -> str | None:
    if isinstance(label, np.datetime64):
        return str(np.datetime_as_string(label, unit="s")) + "Z"
    return None


def _file(path: Path, label: Any = None, bands: tuple[str, ...] = ()) -> dict[str, Any]:
    """What is in a written file, as every engine describes its results."""
    return {
        "name": path.name,
        "title": path.name,
        "datetime": _instant(label),
        **contents(path, bands=bands),
    }


def _write_netcdf(cube: Any, path: Path) -> dict[str, Any]:
    """A netCDF file (64-bit offset format, which needs no HDF5) with a CF grid mapping."""
    if not isinstance(cube, xr.DataArray):
        raise OpenEOError("ProcessParameterInvalid", "Only a data cube can be a netCDF file.")
    array = cube.astype(np.float32)
    array.attrs = {}
    if {"x", "y"} <= set(cube.dims):
        grid = grid_of(cube)
        crs = pyproj.CRS.from_user_input(grid.crs)
        axes = _axis_attributes(crs)
        array.attrs["grid_mapping"] = "crs"
        array = array.assign_coords(
            crs=xr.DataArray(0, attrs=_grid_mapping(crs, grid)),
            x=array["x"].assign_attrs(axes["x"]),
            y=array["y"].assign_attrs(axes["y"]),
        )
    array.to_dataset(name="result").to_netcdf(path, engine="scipy", format="NETCDF3_64BIT")
    return _file(path)


def _grid_mapping(crs: pyproj.CRS, grid: Grid) -> dict[str, Any]:
    """CF's (section 5.6) and GDAL's way of saying where the pixels lie."""
    a, b, c, d, e, f = grid.transform
    return {
        **crs.to_cf(),
        "spatial_ref": crs.to_wkt(),
        "GeoTransform": f"{c} {a} {b} {f} {d} {e}",
    }


def _axis_attributes(crs: pyproj.CRS) -> dict[str, dict[str, str]]:
    return {axis["axis"].lower(): axis for axis in crs.cs_to_cf() if axis["axis"] in ("X", "Y")}


def _write_json(cube: Any, path: Path) -> dict[str, Any]:
    path.write_text(json.dumps(json_value(cube), allow_nan=False), encoding="utf-8")
    return _file(path)


def json_value(value: Any) -> Any:
    """A result as JSON: cubes as ``{dims, coords, data}``, NaN as null.

    :raises OpenEOError: when a cube is too large for JSON.
    """
    if hasattr(value, "xvec") and not isinstance(value, xr.DataArray):
        value = value.to_array()
    if isinstance(value, xr.DataArray):
        if value.size > _JSON_VALUES:
            raise OpenEOError(
                "ProcessGraphComplexity",
                "The result is too large for JSON; choose GTiff or netCDF.",
            )
        coords = {
            str(d): [_json_label(v) for v in value[d].values]
            for d in value.dims
            if d in value.coords
        }
        return {
            "dims": [str(d) for d in value.dims],
            "coords": coords,
            "data": json_value(value.values),
        }
    if isinstance(value, np.ndarray):
        return [json_value(member) for member in value] if value.ndim else json_value(value.item())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [json_value(member) for member in value]
    if isinstance(value, dict):
        return {str(k): json_value(v) for k, v in value.items()}
    return value


def _json_label(label: Any) -> Any:
    if isinstance(label, np.datetime64):
        return _instant(label)
    if isinstance(label, np.generic):
        return label.item()
    if hasattr(label, "__geo_interface__"):
        return label.__geo_interface__
    return label
