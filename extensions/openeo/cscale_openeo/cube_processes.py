"""Processes on data cubes: xarray with the dimensions t, bands, y, x and the CRS in ``attrs``.

A cube is a float ``xarray.DataArray``; ``attrs["crs"]`` is an authority code, coordinates x and y
are pixel centres. Definitions: openEO processes 2.0 (https://processes.openeo.org).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from cscale_core.grids import Grid, resampled
from cscale_openeo.errors import OpenEOError
from cscale_openeo.evaluation import ChildProcess
from cscale_openeo.implementations import Frame, divide, is_null, to_instant

UDF_ORDER = ("t", "bands", "y", "x")

#: openEO's names of resampling methods -> rasterio's.
RESAMPLING = {
    "near": "nearest",
    "average": "average",
    "bilinear": "bilinear",
    "cubic": "cubic",
    "cubicspline": "cubic_spline",
    "lanczos": "lanczos",
    "max": "max",
    "med": "med",
    "min": "min",
    "mode": "mode",
    "q1": "q1",
    "q3": "q3",
    "rms": "rms",
    "sum": "sum",
}


def _need(data: xr.DataArray, dimension: str) -> None:
    if dimension not in data.dims:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"The cube has no dimension {dimension!r}, only {', '.join(map(str, data.dims))} "
            "(DimensionNotAvailable).",
        )


def _temporal(data: xr.DataArray, dimension: str | None) -> str:
    if dimension is not None:
        _need(data, dimension)
        return dimension
    for name in data.dims:
        if name in data.coords and data[name].dtype.kind == "M":
            return str(name)
    _need(data, "t")
    return "t"


def _labels(values: list[Any]) -> Any:
    """Labels as instants when all are dates or date-times, else as they are."""
    try:
        return np.array([to_instant(value) for value in values], dtype="datetime64[ns]")
    except ValueError:
        return np.asarray(values)


def _plain(value: Any) -> Any:
    """The array of a child's result, whichever of cube, array or number it is."""
    return value.values if isinstance(value, xr.DataArray) else np.asarray(value)


def _without(
    data: xr.DataArray, dimension: str, reducer: ChildProcess, context: Any
) -> xr.DataArray:
    """The reducer's result as a cube that lacks the dimension."""
    axis = data.get_axis_num(dimension)
    frame = Frame(data, dimension, axis)
    result = reducer.run({"data": data.values, "context": context}, frame)
    rest = [d for d in data.dims if d != dimension]
    shape = tuple(data.sizes[d] for d in rest)
    if isinstance(result, xr.DataArray):
        if dimension in result.dims:
            if result.sizes[dimension] != 1:
                raise OpenEOError(
                    "UDFFailed",
                    f"The reducer must remove the dimension {dimension!r}, and gave back "
                    f"{result.sizes[dimension]} labels.",
                )
            result = result.squeeze(dimension, drop=True)
        if set(result.dims) == set(rest):
            result = result.transpose(*rest)
    values = _plain(result)
    if values.shape != shape and values.ndim == len(shape) + 1 and values.shape[axis] == 1:
        values = np.squeeze(values, axis=axis)
    if values.shape != shape:
        try:
            values = np.broadcast_to(values, shape).copy()
        except ValueError as error:
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"The reducer must give one value per pixel: {shape} was expected, "
                f"{values.shape} came.",
            ) from error
    return xr.DataArray(
        values,
        dims=rest,
        coords={d: data[d] for d in rest if d in data.coords},
        attrs=data.attrs,
    )


def reduce_dimension(
    data: xr.DataArray, reducer: ChildProcess, dimension: str, context: Any = None
) -> xr.DataArray:
    """One value for all labels of a dimension, which then is gone."""
    _need(data, dimension)
    return _without(data, dimension, reducer, context)


def apply(data: xr.DataArray, process: ChildProcess, context: Any = None) -> xr.DataArray:
    """A process on each value; a UDF gets the cube."""
    result = process.run({"x": data.values, "context": context}, Frame(data))
    if isinstance(result, xr.DataArray):
        if set(result.dims) != set(data.dims) or result.size != data.size:
            raise OpenEOError(
                "UDFFailed", "In apply a UDF must give back a cube of the same shape."
            )
        result = result.transpose(*data.dims).values
    return data.copy(data=np.broadcast_to(np.asarray(result), data.shape).copy())


def apply_dimension(
    data: xr.DataArray,
    process: ChildProcess,
    dimension: str,
    target_dimension: str | None = None,
    context: Any = None,
) -> xr.DataArray:
    """A process on all values along a dimension, which gives any number of new ones."""
    _need(data, dimension)
    axis = data.get_axis_num(dimension)
    result = process.run({"data": data.values, "context": context}, Frame(data, dimension, axis))
    new_labels = None
    if isinstance(result, xr.DataArray):
        result = result.transpose(*data.dims)
        if dimension in result.coords:
            new_labels = result[dimension].values
    values = _plain(result)
    if values.ndim == data.ndim - 1:
        values = np.expand_dims(values, axis)
    if values.ndim != data.ndim:
        raise OpenEOError(
            "ProcessParameterInvalid", "The process must give an array along the dimension."
        )
    length = values.shape[axis]
    if new_labels is None:
        same = length == data.sizes[dimension] and target_dimension is None
        new_labels = data[dimension].values if same else np.arange(length)
    coords: dict[Any, Any] = {d: data[d] for d in data.dims if d in data.coords and d != dimension}
    coords[dimension] = (dimension, new_labels)
    cube = xr.DataArray(values, dims=data.dims, coords=coords, attrs=data.attrs)
    if target_dimension is not None and target_dimension != dimension:
        if target_dimension in cube.dims:
            if cube.sizes[target_dimension] != 1:
                raise OpenEOError(
                    "ProcessParameterInvalid",
                    f"The target dimension {target_dimension!r} has more than one label.",
                )
            cube = cube.squeeze(target_dimension, drop=True)
        cube = cube.rename({dimension: target_dimension})
    return cube


def aggregate_temporal(
    data: xr.DataArray,
    intervals: list[list[Any]],
    reducer: ChildProcess,
    labels: list[Any] | None = None,
    dimension: str | None = None,
    context: Any = None,
) -> xr.DataArray:
    """One value per interval ``[start, end)``; intervals may overlap or hold nothing."""
    t = _temporal(data, dimension)
    times = data[t].values
    names = labels or [interval[0] for interval in intervals]
    if len(names) != len(intervals):
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"{len(intervals)} intervals need as many labels, {len(names)} were given.",
        )
    if len({str(name) for name in names}) != len(names):
        raise OpenEOError(
            "ProcessParameterInvalid",
            "The labels are not distinct (DistinctDimensionLabelsRequired).",
        )
    slices = []
    for start, end in intervals:
        inside = np.ones(times.shape, dtype=bool)
        first = None if start is None else to_instant(start)
        last = None if end is None else to_instant(end)
        if first is not None and last is not None and last <= first:
            raise OpenEOError("ProcessParameterInvalid", f"The interval {start} to {end} is empty.")
        if first is not None:
            inside &= times >= first
        if last is not None:
            inside &= times < last
        if inside.any():
            chosen = data.isel({t: np.flatnonzero(inside)})
        else:
            # As for a pixel that no image shows: a column of null, so that count and sum are 0 and
            # everything else is null, in an empty interval and in one that is all clouds alike.
            chosen = xr.full_like(data.isel({t: [0]}), np.nan)
        slices.append(_without(chosen, t, reducer, context))
    stacked = np.stack([_plain(s) for s in slices], axis=data.get_axis_num(t))
    coords: dict[Any, Any] = {d: data[d] for d in data.dims if d in data.coords and d != t}
    coords[t] = (t, _labels(names))
    return xr.DataArray(stacked, dims=data.dims, coords=coords, attrs=data.attrs)


_SEASONS = {12: "djf", 3: "mam", 6: "jja", 9: "son"}


def _periods(first: pd.Timestamp, last: pd.Timestamp, period: str) -> tuple[list[Any], list[str]]:
    """Starts of all periods that cover first to last, plus one end, and the labels."""
    frequencies = {"hour": "h", "day": "D", "month": "M", "year": "Y", "season": "Q-NOV"}
    if period in frequencies:
        span = pd.period_range(first, last, freq=frequencies[period])
        starts = [p.start_time for p in span] + [(span[-1] + 1).start_time]
    elif period == "week":  # weeks that start on Monday, numbered as by ISO 8601
        begin = (first - pd.Timedelta(days=first.weekday())).normalize()
        starts = list(pd.date_range(begin, last + pd.Timedelta(days=7), freq="7D"))
        starts = [s for s in starts if s <= last] + [
            max(s for s in starts if s <= last) + pd.Timedelta(days=7)
        ]
    elif period in ("decade", "decade-ad"):
        shift = 1 if period == "decade-ad" else 0
        begin_year = (first.year - shift) // 10 * 10 + shift
        years = range(begin_year, last.year + 11, 10)
        starts = [pd.Timestamp(year=y, month=1, day=1) for y in years]
        starts = [s for s in starts if s <= last] + [
            pd.Timestamp(year=max(y for y in years if y <= last.year) + 10, month=1, day=1)
        ]
    elif period == "dekad":
        months = pd.period_range(first, last, freq="M")
        starts = [m.start_time + pd.Timedelta(days=d) for m in months for d in (0, 10, 20)]
        starts.append((months[-1] + 1).start_time)
        inside = [i for i in range(len(starts) - 1) if starts[i + 1] > first and starts[i] <= last]
        starts = starts[inside[0] : inside[-1] + 2]
    else:
        raise OpenEOError("ProcessParameterInvalid", f"The period {period!r} is not served.")

    def label(s: pd.Timestamp) -> str:
        if period == "hour":
            return str(s.strftime("%Y-%m-%d-%H"))
        if period == "day":
            return str(s.strftime("%Y-%j"))
        if period == "week":
            year, week, _ = s.isocalendar()
            return f"{year}-{week:02d}"
        if period == "dekad":
            return f"{s.year}-{(s.month - 1) * 3 + min((s.day - 1) // 10, 2):02d}"
        if period == "month":
            return str(s.strftime("%Y-%m"))
        if period == "season":
            return f"{s.year + (s.month == 12)}-{_SEASONS[s.month]}"
        if period == "year":
            return str(s.year)
        return f"{s.year:04d}"[:3] + ("0" if period == "decade" else "1")

    return starts, [label(s) for s in starts[:-1]]


def aggregate_temporal_period(
    data: xr.DataArray,
    period: str,
    reducer: ChildProcess,
    dimension: str | None = None,
    context: Any = None,
) -> xr.DataArray:
    """One value per calendar period from the first to the last label; labels as specified."""
    t = _temporal(data, dimension)
    times = pd.DatetimeIndex(data[t].values)
    starts, labels = _periods(times.min(), times.max(), period)
    intervals = [
        [np.datetime64(a, "ns"), np.datetime64(b, "ns")] for a, b in itertools.pairwise(starts)
    ]
    cube = aggregate_temporal(data, intervals, reducer, labels, t, context)
    return cube.assign_coords({t: (t, np.asarray(labels))})


def _same_grid(a: xr.DataArray, b: xr.DataArray) -> None:
    for axis in ("x", "y"):
        if (axis in a.dims) != (axis in b.dims) or (
            axis in a.dims
            and (
                a.sizes[axis] != b.sizes[axis]
                or not np.allclose(a[axis].values, b[axis].values, rtol=0, atol=1e-6)
            )
        ):
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"The cubes do not lie on the same pixels along {axis}; resample one of them "
                "(resample_cube_spatial).",
            )


def merge_cubes(
    cube1: xr.DataArray,
    cube2: xr.DataArray,
    overlap_resolver: ChildProcess | None = None,
    context: Any = None,
) -> xr.DataArray:
    """Join two cubes on the same pixels: along one dimension, or value by value."""
    _same_grid(cube1, cube2)

    def resolve(a: xr.DataArray, b: xr.DataArray) -> Any:
        if overlap_resolver is None:
            raise OpenEOError(
                "ProcessParameterRequired",
                "The cubes overlap and no overlap_resolver is given (OverlapResolverMissing).",
            )
        result = overlap_resolver.run({"x": a.values, "y": b.values, "context": context}, Frame(a))
        return np.broadcast_to(_plain(result), a.shape)

    dims1, dims2 = set(cube1.dims), set(cube2.dims)
    if dims1 != dims2:
        if not (dims1 < dims2 or dims2 < dims1):
            raise OpenEOError(
                "ProcessParameterInvalid", "Each of the two cubes has a dimension the other lacks."
            )
        larger, smaller = (cube1, cube2) if dims2 < dims1 else (cube2, cube1)
        spread = smaller.broadcast_like(larger).transpose(*larger.dims)
        pair = (larger, spread) if larger is cube1 else (spread, larger)
        return larger.copy(data=resolve(*pair).copy())

    cube2 = cube2.transpose(*cube1.dims)
    different = [
        str(d)
        for d in cube1.dims
        if d not in ("x", "y")
        and not (
            cube1.sizes[d] == cube2.sizes[d] and bool(np.all(cube1[d].values == cube2[d].values))
        )
    ]
    if not different:
        return cube1.copy(data=resolve(cube1, cube2).copy())
    if len(different) > 1:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"The cubes have other labels in more than one dimension ({', '.join(different)}).",
        )
    d = different[0]
    labels1, labels2 = list(cube1[d].values), list(cube2[d].values)
    both = [label for label in labels1 if label in labels2]
    pieces = [cube1.sel({d: [label for label in labels1 if label not in both]})]
    if both:
        a, b = cube1.sel({d: both}), cube2.sel({d: both})
        pieces.append(a.copy(data=resolve(a, b).copy()))
    pieces.append(cube2.sel({d: [label for label in labels2 if label not in both]}))
    for index, piece in enumerate(pieces[1:], start=1):
        pieces[index] = piece.assign_coords(
            {axis: cube1[axis] for axis in ("x", "y") if axis in cube1.dims}
        )
    merged = xr.concat(
        [p for p in pieces if p.sizes[d]], dim=d, combine_attrs="override", join="override"
    )
    wanted: list[Any] = labels1 + [label for label in labels2 if label not in both]
    if cube1[d].dtype.kind == "M":
        wanted = sorted(wanted)
    return merged.sel({d: wanted}).transpose(*cube1.dims)


def mask(data: xr.DataArray, mask: xr.DataArray, replacement: Any = None) -> xr.DataArray:
    """Replace values where the mask is neither zero nor null."""
    _same_grid(data, mask)
    extra = set(mask.dims) - set(data.dims)
    if extra:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"The mask has dimensions the data lacks: {', '.join(map(str, extra))}.",
        )
    for d in mask.dims:
        if d not in ("x", "y") and not np.array_equal(mask[d].values, data[d].values):
            raise OpenEOError(
                "ProcessParameterInvalid", f"Mask and data have other labels along {d!r}."
            )
    aligned = mask.assign_coords({a: data[a] for a in ("x", "y") if a in mask.dims})
    hit = ((aligned != 0) & aligned.notnull()).broadcast_like(data).transpose(*data.dims)
    return data.copy(
        data=np.where(hit.values, np.nan if replacement is None else replacement, data.values)
    )


def ndvi(
    data: xr.DataArray, nir: str = "nir", red: str = "red", target_band: str | None = None
) -> xr.DataArray:
    """``(nir - red) / (nir + red)``, in place of the bands or as a band more."""
    a, b = _band(data, nir), _band(data, red)
    values = divide(a - b, a + b)
    cube = xr.DataArray(values, dims=a.dims, coords=a.coords, attrs=data.attrs)
    cube = cube.drop_vars("bands", errors="ignore")
    if target_band is None:
        return cube
    return xr.concat(
        [data, cube.expand_dims(bands=[target_band])], dim="bands", combine_attrs="override"
    ).transpose(*data.dims)


def _band(data: xr.DataArray, name: str) -> xr.DataArray:
    _need(data, "bands")
    labels = [str(label) for label in data["bands"].values]
    common = data.attrs.get("common_names", {})
    for position, label in enumerate(labels):
        if name in (label, common.get(label)):
            return data.isel(bands=position)
    raise OpenEOError(
        "ProcessParameterInvalid", f"There is no band {name!r} among {', '.join(labels)}."
    )


def filter_bands(data: xr.DataArray, bands: list[str] | None = None) -> xr.DataArray:
    """The named bands (or common names), in that order."""
    if not bands:
        raise OpenEOError("ProcessParameterRequired", "filter_bands needs bands.")
    picked = [_band(data, name) for name in bands]
    positions = [
        int(np.flatnonzero(data["bands"].values == band["bands"].values)[0]) for band in picked
    ]
    return data.isel(bands=positions)


def filter_temporal(
    data: xr.DataArray, extent: list[Any], dimension: str | None = None
) -> xr.DataArray:
    """Labels in ``[start, end)``."""
    t = _temporal(data, dimension)
    inside = np.ones(data.sizes[t], dtype=bool)
    if extent[0] is not None:
        inside &= data[t].values >= to_instant(extent[0])
    if extent[1] is not None:
        inside &= data[t].values < to_instant(extent[1])
    return data.isel({t: np.flatnonzero(inside)})


def filter_labels(
    data: xr.DataArray, condition: ChildProcess, dimension: str, context: Any = None
) -> xr.DataArray:
    """The labels for which the condition is true."""
    _need(data, dimension)
    values = data[dimension].values
    kept = []
    for position, label in enumerate(values):
        known = np.datetime_as_string(label, unit="s") + "Z" if values.dtype.kind == "M" else label
        known = known.item() if isinstance(known, np.generic) else known
        result = condition.run({"value": known, "x": known, "context": context})
        if not is_null(result) and bool(result):
            kept.append(position)
    return data.isel({dimension: kept})


def rename_labels(
    data: xr.DataArray, dimension: str, target: list[Any], source: list[Any] | None = None
) -> xr.DataArray:
    """New names for labels: those listed in source, or all in order."""
    _need(data, dimension)
    present = list(data[dimension].values)
    if not source:
        if len(target) != len(present):
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"{len(present)} labels need as many new names, {len(target)} were given.",
            )
        new = list(target)
    else:
        if len(source) != len(target):
            raise OpenEOError(
                "ProcessParameterInvalid", "source and target are not of the same length."
            )
        if data[dimension].dtype.kind == "M":
            source = [to_instant(s) for s in source]
        missing = [s for s in source if s not in present]
        if missing:
            raise OpenEOError("ProcessParameterInvalid", f"There is no label {missing[0]!r}.")
        translation = dict(zip(source, target, strict=True))
        new = [translation.get(label, label) for label in present]
    if len({str(label) for label in new}) != len(new):
        raise OpenEOError("ProcessParameterInvalid", "The labels would not be distinct.")
    labels = _labels(new) if data[dimension].dtype.kind == "M" else np.asarray(new)
    renamed = data.assign_coords({dimension: (dimension, labels)})
    common = data.attrs.get("common_names", {})
    if dimension == "bands" and common:
        pairs = zip(new, present, strict=True)
        renamed.attrs["common_names"] = {
            str(n): common[str(o)] for n, o in pairs if str(o) in common
        }
    return renamed


def rename_dimension(data: xr.DataArray, source: str, target: str) -> xr.DataArray:
    """Another name for a dimension."""
    _need(data, source)
    if target in data.dims:
        raise OpenEOError("ProcessParameterInvalid", f"There is a dimension {target!r} already.")
    return data.rename({source: target})


def add_dimension(
    data: xr.DataArray,
    name: str,
    label: Any,
    type: str = "other",  # noqa: A002
) -> xr.DataArray:
    """A new dimension with one label, in the usual order."""
    if name in data.dims:
        raise OpenEOError("ProcessParameterInvalid", f"There is a dimension {name!r} already.")
    labels = _labels([label]) if type == "temporal" else np.asarray([label])
    cube = data.expand_dims({name: labels})
    usual = [d for d in UDF_ORDER if d in cube.dims]
    others = [d for d in cube.dims if d not in usual]
    return cube.transpose(*others, *usual)


def drop_dimension(data: xr.DataArray, name: str) -> xr.DataArray:
    """Remove a dimension that has one label."""
    _need(data, name)
    if data.sizes[name] != 1:
        raise OpenEOError(
            "ProcessParameterInvalid", f"The dimension {name!r} has {data.sizes[name]} labels."
        )
    return data.squeeze(name, drop=True)


def dimension_labels(data: xr.DataArray, dimension: str) -> Any:
    """The labels of a dimension, instants as strings."""
    _need(data, dimension)
    values = data[dimension].values
    if values.dtype.kind == "M":
        return [np.datetime_as_string(v, unit="s") + "Z" for v in values]
    return values.tolist()


def run_udf(
    data: Any,
    udf: str,
    runtime: str,
    version: str | None = None,
    context: Any = None,
    *,
    frame: Frame | None = None,
) -> xr.DataArray:
    """User code by openEO's official runtime (``openeo.udf``), on the cube as it is here."""
    from openeo.udf import UdfData, XarrayDataCube
    from openeo.udf.run_code import run_udf_code

    if isinstance(data, xr.DataArray):
        cube = data
    elif frame is not None and np.shape(data) == frame.cube.shape:
        cube = frame.cube.copy(data=np.asarray(data))
    else:
        cube = xr.DataArray(np.asarray(data))
    cube = cube.transpose(*[d for d in UDF_ORDER if d in cube.dims], ...)
    given = UdfData(
        proj={"EPSG": cube.attrs["crs"]} if "crs" in cube.attrs else None,
        datacube_list=[XarrayDataCube(cube.copy(deep=True))],
        user_context=context or {},
    )
    try:
        result = run_udf_code(code=udf, data=given)
    except Exception as error:
        # Whatever user code raises is the user's to see, with the line it came from.
        raise OpenEOError(
            "UDFFailed", f"The UDF failed: {type(error).__name__}: {error}{_udf_line(error)}"
        ) from error
    cubes = result.get_datacube_list() or []
    if len(cubes) != 1:
        raise OpenEOError("UDFFailed", f"The UDF gave back {len(cubes)} cubes, one is needed.")
    array: xr.DataArray = cubes[0].get_array()
    return array


def _udf_line(error: BaseException) -> str:
    line, traceback = 0, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<string>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return f" (line {line} of the UDF)" if line else ""


def grid_of(data: xr.DataArray) -> Grid:
    """The pixel grid of a cube.

    :raises OpenEOError: when it has no x and y or their steps are not even.
    """
    for axis in ("x", "y"):
        _need(data, axis)
    xs, ys = data["x"].values, data["y"].values
    xres = float(data.attrs.get("xres") or (xs[1] - xs[0]))
    yres = float(data.attrs.get("yres") or (ys[0] - ys[1]))
    return Grid(
        str(data.attrs["crs"]),
        float(xs[0]) - xres / 2,
        float(ys[0]) + yres / 2,
        xres,
        yres,
        len(xs),
        len(ys),
    )


def coordinates(grid: Grid) -> dict[str, Any]:
    """x and y of pixel centres, in float64 and independent of the tile they are computed in."""
    return {
        "y": grid.top - (np.arange(grid.height) + 0.5) * grid.yres,
        "x": grid.left + (np.arange(grid.width) + 0.5) * grid.xres,
    }


def resampled_grid(grid: Grid, spec: dict[str, Any]) -> Grid:
    """The target of ``resample_spatial`` for a cube on ``grid``.

    :param spec: arguments resolution, projection, align of the process.
    """
    resolution = spec.get("resolution") or 0
    pair = resolution if isinstance(resolution, list) else [resolution, resolution]
    xres, yres = float(pair[0]), float(pair[1])
    projection = spec.get("projection")
    crs = grid.crs if projection is None else _crs_code(projection)
    if crs != grid.crs:
        from rasterio.warp import transform_bounds

        left, bottom, right, top = transform_bounds(grid.crs, crs, *grid.bounds)
        grid = Grid(crs, left, top, right - left, top - bottom, 1, 1)
    xres, yres = xres or grid.xres, yres or grid.yres
    across, down = resampled(grid, xres), resampled(grid, yres)
    left, bottom, right, top = grid.bounds
    align = spec.get("align") or "upper-left"
    if align.endswith("right"):
        left = right - across.width * xres
    if align.startswith("lower"):
        top = bottom + down.height * yres
    return Grid(crs, left, top, xres, yres, across.width, down.height)


def _crs_code(value: Any) -> str:
    from rasterio.crs import CRS

    if isinstance(value, int) or str(value).isdigit():
        return f"EPSG:{value}"
    code = CRS.from_user_input(value).to_epsg()
    return f"EPSG:{code}" if code else str(value)


def resample_spatial(
    data: xr.DataArray,
    resolution: Any = 0,
    projection: Any = None,
    method: str = "near",
    align: str = "upper-left",
) -> xr.DataArray:
    """Resample a cube in memory (one that comes straight from a load is read resampled instead)."""
    from rasterio.enums import Resampling
    from rasterio.transform import Affine
    from rasterio.warp import reproject

    source = grid_of(data)
    target = resampled_grid(
        source, {"resolution": resolution, "projection": projection, "align": align}
    )
    ordered = data.transpose(..., "y", "x")
    flat = ordered.values.astype(np.float32).reshape(-1, source.height, source.width)
    result = np.full((len(flat), target.height, target.width), np.nan, np.float32)
    for index, layer in enumerate(flat):
        reproject(
            layer,
            result[index],
            src_transform=Affine(*source.transform),
            src_crs=source.crs,
            src_nodata=np.nan,
            dst_transform=Affine(*target.transform),
            dst_crs=target.crs,
            dst_nodata=np.nan,
            resampling=Resampling[RESAMPLING[method]],
        )
    other = ordered.dims[:-2]
    coords = {d: ordered[d] for d in other if d in ordered.coords}
    return xr.DataArray(
        result.reshape(*(ordered.sizes[d] for d in other), target.height, target.width),
        dims=ordered.dims,
        coords={**coords, **coordinates(target)},
        attrs={**data.attrs, "crs": target.crs, "xres": target.xres, "yres": target.yres},
    ).transpose(*data.dims)


#: Process id -> implementation on cubes.
CUBE_PROCESSES: dict[str, Callable[..., Any]] = {
    "add_dimension": add_dimension,
    "aggregate_temporal": aggregate_temporal,
    "aggregate_temporal_period": aggregate_temporal_period,
    "apply": apply,
    "apply_dimension": apply_dimension,
    "dimension_labels": dimension_labels,
    "drop_dimension": drop_dimension,
    "filter_bands": filter_bands,
    "filter_labels": filter_labels,
    "filter_temporal": filter_temporal,
    "mask": mask,
    "merge_cubes": merge_cubes,
    "ndvi": ndvi,
    "reduce_dimension": reduce_dimension,
    "rename_dimension": rename_dimension,
    "rename_labels": rename_labels,
    "resample_spatial": resample_spatial,
    "run_udf": run_udf,
}
