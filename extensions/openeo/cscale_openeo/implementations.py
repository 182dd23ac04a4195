"""Processes on arrays and numbers, the leaves of process graphs: float arithmetic, null is NaN.

openEO's ``null`` is NaN in arrays. Comparisons and logic return arrays of 1, 0 and NaN, so that
null stays null. Reducers take ``data`` and ``axis`` and return the array without that axis.
Definitions: openEO processes 2.0 (https://processes.openeo.org).
"""

from __future__ import annotations

import datetime as dt
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from cscale_openeo.errors import OpenEOError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Frame:
    """Where a child process runs: the cube it was cut from, and the axis it works along.

    :param axis: of ``data`` in the child process; None when it works on single values.
    """

    cube: xr.DataArray
    dimension: str | None = None
    axis: int | None = None

    @property
    def labels(self) -> Array:
        """Labels along the dimension; empty when there is none."""
        if self.dimension is None or self.dimension not in self.cube.coords:
            return np.array([])
        return np.asarray(self.cube[self.dimension].values)


def is_null(x: Any) -> Any:
    """Where a value is null: None, NaN or NaT."""
    if x is None:
        return True
    array = np.asarray(x)
    if array.dtype.kind == "f":
        return np.isnan(array)
    if array.dtype.kind in "mM":
        return np.isnat(array)
    if array.dtype.kind == "O":
        # None, and NaN: the one value that differs from itself.
        return np.vectorize(lambda v: v is None or v != v, otypes=[bool])(array)
    return np.zeros(array.shape, dtype=bool)


def _with_null(result: Any, *operands: Any) -> Any:
    """A truth value as 1/0 with NaN where an operand is null; plain bool for plain operands."""
    null = np.logical_or.reduce([np.broadcast_to(is_null(o), np.shape(result)) for o in operands])
    if np.ndim(result) == 0:
        return np.nan if bool(null) else bool(result)
    return np.where(null, np.float32(np.nan), np.asarray(result, dtype=np.float32))


def _number(x: Any) -> Any:
    """Null as NaN, where a number is expected."""
    return np.nan if x is None else x


def _comparison(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def compare(x: Any, y: Any) -> Any:
        if x is None or y is None:
            return np.full(np.shape(x if y is None else y), np.nan, np.float32)[()]
        if isinstance(x, bool | str) or isinstance(y, bool | str):
            return False  # only numbers have an order
        return _with_null(function(x, y), x, y)

    return compare


gt = _comparison(np.greater)
gte = _comparison(np.greater_equal)
lt = _comparison(np.less)
lte = _comparison(np.less_equal)


def eq(x: Any, y: Any, delta: float | None = None, case_sensitive: bool = True) -> Any:
    """Equality within ``delta``; values of different kinds are not equal."""
    if x is None or y is None:
        return np.full(np.shape(x if y is None else y), np.nan, np.float32)[()]
    if isinstance(x, str) and isinstance(y, str) and not case_sensitive:
        x, y = x.casefold(), y.casefold()
    kinds = [str if isinstance(v, str) else bool if isinstance(v, bool) else float for v in (x, y)]
    if kinds[0] is not kinds[1] and np.ndim(x) == np.ndim(y) == 0:
        return False
    if delta is not None and not isinstance(x, str):
        return _with_null(np.abs(np.subtract(x, y)) <= delta, x, y)
    return _with_null(np.equal(x, y), x, y)


def neq(x: Any, y: Any, delta: float | None = None, case_sensitive: bool = True) -> Any:
    """The opposite of :func:`eq`; null stays null."""
    return logical_not(eq(x, y, delta, case_sensitive))


def between(x: Any, min: Any, max: Any, exclude_max: bool = False) -> Any:  # noqa: A002
    """``min <= x <= max``, or ``x < max`` with ``exclude_max``."""
    x, min, max = _number(x), _number(min), _number(max)  # noqa: A001
    upper = np.less(x, max) if exclude_max else np.less_equal(x, max)
    return _with_null(np.logical_and(np.greater_equal(x, min), upper), x)


def _truth(x: Any) -> tuple[Any, Any]:
    null = is_null(x)
    return np.where(null, False, np.asarray(0 if x is None else x) != 0), null


def logical_not(x: Any) -> Any:
    """Not; null stays null."""
    truth, null = _truth(x)
    return _with_null(np.logical_not(truth), np.where(null, np.nan, 0.0))


def logical_and(x: Any, y: Any) -> Any:
    """And in three-valued logic: false wins over null."""
    (a, null_a), (b, null_b) = _truth(x), _truth(y)
    false = (~a & ~null_a) | (~b & ~null_b)
    return _with_null(a & b, np.where((null_a | null_b) & ~false, np.nan, 0.0))


def logical_or(x: Any, y: Any) -> Any:
    """Or in three-valued logic: true wins over null."""
    (a, null_a), (b, null_b) = _truth(x), _truth(y)
    return _with_null(a | b, np.where((null_a | null_b) & ~(a | b), np.nan, 0.0))


def logical_xor(x: Any, y: Any) -> Any:
    """Exclusive or; null if an operand is null."""
    (a, null_a), (b, null_b) = _truth(x), _truth(y)
    return _with_null(a ^ b, np.where(null_a | null_b, np.nan, 0.0))


def choose(value: Any, accept: Any, reject: Any = None) -> Any:
    """``if``: accept where the value is true, else reject (null when not given)."""
    truth, _ = _truth(value)
    if np.ndim(truth) == 0:
        chosen = accept if bool(truth) else reject
        return np.nan if chosen is None else chosen
    return np.where(
        truth, np.nan if accept is None else accept, np.nan if reject is None else reject
    )


# --- reducers -------------------------------------------------------------------------------------


def _values(data: Any) -> Array:
    if isinstance(data, list | tuple):
        if any(isinstance(value, str) for value in data):
            return np.array(data, dtype=object)
        data = [np.nan if value is None else value for value in data]
    array = np.asarray(data)
    if array.dtype.kind in "iub":
        return array.astype(np.float64 if array.ndim < 2 else np.float32)
    return array


def _reducer(ignoring: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(data: Any, ignore_nodata: bool = True, *, axis: int | None = None) -> Any:
        values = _values(data)
        along = 0 if axis is None else axis
        if values.shape[along] == 0:
            return np.full(np.delete(values.shape, along), np.nan, np.float32)[()]
        with warnings.catch_warnings():
            # All-NaN columns are null, which is what the caller gets; numpy also warns.
            warnings.simplefilter("ignore", category=RuntimeWarning)
            return (ignoring if ignore_nodata else plain)(values, axis=along)

    return reduce


def _sample(function: Callable[..., Any]) -> Callable[..., Any]:
    def compute(values: Array, axis: int) -> Any:
        return function(values, axis=axis, ddof=1)

    return compute


reduce_min = _reducer(np.nanmin, np.min)
reduce_max = _reducer(np.nanmax, np.max)
reduce_sum = _reducer(np.nansum, np.sum)
reduce_product = _reducer(np.nanprod, np.prod)
reduce_mean = _reducer(np.nanmean, np.mean)
reduce_median = _reducer(np.nanmedian, np.median)
reduce_sd = _reducer(_sample(np.nanstd), _sample(np.std))
reduce_variance = _reducer(_sample(np.nanvar), _sample(np.var))


def _first(data: Any, ignore_nodata: bool, axis: int | None, backwards: bool) -> Any:
    values = np.moveaxis(_values(data), 0 if axis is None else axis, 0)
    if backwards:
        values = values[::-1]
    if values.shape[0] == 0:
        return np.full(values.shape[1:], np.nan, np.float32)[()]
    if not ignore_nodata:
        return values[0]
    position = np.argmax(~is_null(values), axis=0)
    return np.take_along_axis(values, np.expand_dims(position, 0), axis=0)[0]


def first(data: Any, ignore_nodata: bool = True, *, axis: int | None = None) -> Any:
    """The first element, by default the first that is not null."""
    return _first(data, ignore_nodata, axis, False)


def last(data: Any, ignore_nodata: bool = True, *, axis: int | None = None) -> Any:
    """The last element, by default the last that is not null."""
    return _first(data, ignore_nodata, axis, True)


def count(data: Any, condition: Any = None, context: Any = None, *, axis: int | None = None) -> Any:
    """How many elements are valid (neither null nor infinite), all, or fulfil a condition."""
    values = _values(data)
    along = 0 if axis is None else axis
    if condition is True:
        chosen = np.ones(values.shape, dtype=bool)
    elif condition is None:
        chosen = np.asarray(is_valid(values), dtype=bool)
    else:
        result = condition.run({"x": values, "context": context})
        chosen = _truth(result)[0]
    counted = np.sum(chosen, axis=along)
    return counted.astype(np.float32) if np.ndim(counted) else int(counted)


def quantiles(
    data: Any,
    probabilities: Any = None,
    q: int | None = None,
    ignore_nodata: bool = True,
    *,
    axis: int | None = None,
) -> Any:
    """Quantiles by linear interpolation (type 7), each along ``axis``.

    One probability gives the array without the axis, so that it can stand in a reducer; more give
    one element per probability on the axis.
    """
    if (probabilities is None) == (q is None):
        raise OpenEOError(
            "ProcessParameterInvalid", "quantiles takes either probabilities or q, not both."
        )
    if q is not None or isinstance(probabilities, int):
        parts = int(probabilities if q is None else q)
        wanted = [i / parts for i in range(1, parts)]
    else:
        wanted = [float(p) for p in probabilities]
    values = np.moveaxis(_values(data), 0 if axis is None else axis, 0)
    results = [_quantile(values, p, ignore_nodata) for p in wanted]
    if np.ndim(values) == 1:
        return np.asarray(results)
    if len(results) == 1:
        return results[0]
    return np.moveaxis(np.stack(results), 0, 0 if axis is None else axis)


def _quantile(values: Array, p: float, ignore_nodata: bool) -> Any:
    """One quantile along axis 0 of all columns at once (numpy's nanquantile goes one by one)."""
    if values.shape[0] == 0:
        return np.full(values.shape[1:], np.nan, np.float32)[()]
    ordered = np.sort(values, axis=0)  # NaN comes last
    valid = np.sum(~is_null(ordered), axis=0)
    position = np.maximum(valid - 1, 0) * p
    lower = np.floor(position).astype(np.intp)
    upper = np.minimum(lower + 1, np.maximum(valid - 1, 0))
    low = np.take_along_axis(ordered, lower[np.newaxis], axis=0)[0]
    high = np.take_along_axis(ordered, upper[np.newaxis], axis=0)[0]
    part = position - lower
    kind = ordered.dtype
    with np.errstate(invalid="ignore"):
        # The same sums as numpy's, from whichever neighbour is nearer, so that bits agree.
        step = high - low
        result = np.where(
            part >= 0.5, high - step * (1 - part).astype(kind), low + step * part.astype(kind)
        )
    missing = valid == 0 if ignore_nodata else valid < values.shape[0]
    return np.where(missing, np.array(np.nan, ordered.dtype), result)


def any_true(data: Any, ignore_nodata: bool = True, *, axis: int | None = None) -> Any:
    """Whether at least one element is true; null values are left out by default."""
    truth, null = _truth(_values(data))
    if not truth.size:
        return np.nan
    result = np.any(truth, axis=0 if axis is None else axis)
    if ignore_nodata:
        return _with_null(result)
    unknown = np.any(null, axis=0 if axis is None else axis) & ~result
    return _with_null(result, np.where(unknown, np.nan, 0.0))


def all_true(data: Any, ignore_nodata: bool = True, *, axis: int | None = None) -> Any:
    """Whether all elements are true; null values are left out by default."""
    truth, null = _truth(_values(data))
    along = 0 if axis is None else axis
    if not truth.size:
        return np.nan
    result = np.all(truth | null, axis=along)
    if ignore_nodata:
        return _with_null(result)
    unknown = np.any(null, axis=along) & result
    return _with_null(result, np.where(unknown, np.nan, 0.0))


# --- arrays ---------------------------------------------------------------------------------------


def array_element(
    data: Any,
    index: int | None = None,
    label: Any = None,
    return_nodata: bool = False,
    *,
    axis: int | None = None,
    frame: Frame | None = None,
) -> Any:
    """The element at an index or label along the axis."""
    if (index is None) == (label is None):
        raise OpenEOError(
            "ProcessParameterInvalid", "array_element takes either an index or a label."
        )
    values = _values(data)
    along = 0 if axis is None else axis
    if label is not None:
        labels = frame.labels if frame is not None else np.array([])
        if labels.dtype.kind == "M":
            found = np.flatnonzero(labels == to_instant(label))
        else:
            found = np.flatnonzero([str(known) == str(label) for known in labels])
        index = int(found[0]) if len(found) else None
    if index is None or not -values.shape[along] <= index < values.shape[along]:
        if return_nodata:
            return np.full(np.delete(values.shape, along), np.nan, np.float32)[()]
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"The array has no element {label if label is not None else index!r} "
            "(ArrayElementNotAvailable).",
        )
    return np.take(values, index, axis=along)


def array_create(data: Any = None, repeat: int = 1) -> Any:
    """An array of numbers, repeated; arrays of pixels are put behind one another on axis 0."""
    parts = [data] if np.ndim(data) == 0 and data is not None else list(data or [])
    parts = [np.nan if part is None else part for part in parts] * repeat
    return np.stack(np.broadcast_arrays(*parts)) if parts else np.array([])


def array_concat(array1: Any, array2: Any, *, axis: int | None = None) -> Any:
    """Two arrays one behind the other."""
    if isinstance(array1, list) and isinstance(array2, list):
        return array1 + array2
    return np.concatenate([_values(array1), _values(array2)], axis=0 if axis is None else axis)


def array_contains(data: Any, value: Any) -> bool:
    """Whether a list has the value; null is contained in nothing."""
    return value is not None and any(member == value for member in list(data))


def array_find(data: Any, value: Any, reverse: bool = False) -> Any:
    """The index of the first (last) element with the value, null when there is none."""
    members = list(data)
    if not isinstance(value, int | float | str | bool):
        return np.nan
    positions = range(len(members) - 1, -1, -1) if reverse else range(len(members))
    return next((i for i in positions if members[i] == value), np.nan)


def array_labels(data: Any, *, frame: Frame | None = None) -> Any:
    """The labels along the dimension a child process works on."""
    return frame.labels if frame is not None else np.arange(len(data))


def _cumulative(function: Callable[..., Any], fill: float) -> Callable[..., Any]:
    def compute(data: Any, ignore_nodata: bool = True, *, axis: int | None = None) -> Any:
        values = _values(data)
        null = is_null(values)
        filled = np.where(null, np.array(fill, values.dtype), values) if ignore_nodata else values
        result = function(filled, axis=0 if axis is None else axis)
        return np.where(null, np.nan, result)

    return compute


# --- numbers --------------------------------------------------------------------------------------


def clip(x: Any, min: Any, max: Any) -> Any:  # noqa: A002
    """Values below min become min, above max become max."""
    x = _number(x)
    if min > max:
        raise OpenEOError(
            "ProcessParameterInvalid", "clip: min is greater than max (MinMaxSwapped)."
        )
    return np.clip(x, min, max)


def linear_scale_range(
    x: Any,
    inputMin: float,  # noqa: N803
    inputMax: float,  # noqa: N803
    outputMin: float = 0.0,  # noqa: N803
    outputMax: float = 1.0,  # noqa: N803
) -> Any:
    """Linear transformation between two ranges; values outside the input range are clipped."""
    x = _number(x)
    low, high = min(inputMin, inputMax), max(inputMin, inputMax)
    scaled = (np.clip(x, low, high) - inputMin) / (inputMax - inputMin)
    return scaled * (outputMax - outputMin) + outputMin


def normalized_difference(x: Any, y: Any) -> Any:
    """``(x - y) / (x + y)``; null where the sum is zero."""
    x, y = _wide(_number(x)), _wide(_number(y))
    return divide(np.subtract(x, y), np.add(x, y))


def divide(x: Any, y: Any) -> Any:
    """Division of floats; by zero it gives an infinity or NaN, without a warning."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.true_divide(_wide(_number(x)), _wide(_number(y)))


def is_valid(x: Any) -> Any:
    """Neither null nor infinite."""
    if x is None:
        return False
    values = np.asarray(x)
    valid = np.isfinite(values) if values.dtype.kind == "f" else ~np.asarray(is_null(values))
    return bool(valid) if np.ndim(valid) == 0 else valid


def is_nan(x: Any) -> Any:
    """Not a number: NaN, null, and everything that is no number at all."""
    if isinstance(x, str | list | dict):
        return True
    found = is_null(x)
    return bool(found) if np.ndim(found) == 0 else found


def power(base: Any, p: Any) -> Any:
    """``base`` to the power of ``p``, in floating point; null if either is."""
    base, p = _wide(_number(base)), _wide(_number(p))
    with np.errstate(all="ignore"):
        raised = np.float_power(base, p)
    null = np.logical_or(is_null(base), is_null(p))
    return np.where(null, np.nan, raised)[()]


def is_nodata(x: Any) -> Any:
    """Null, which is NaN here."""
    return is_null(x)


def round_half_even(x: Any, p: int = 0) -> Any:
    """Rounding half to even (IEEE 754), to ``p`` decimal places."""
    return np.round(x, p)


def to_instant(value: Any) -> np.datetime64:
    """A date or date-time string as an instant in UTC.

    :raises ValueError: when it is neither.
    """
    if isinstance(value, np.datetime64):
        instant: np.datetime64 = value.astype("datetime64[ns]")
        return instant
    text = str(value).strip()
    if text.endswith(("Z", "z")):
        text = text[:-1]
    elif len(text) > 19 and text[-6] in "+-" and text[-3] == ":":
        moment = dt.datetime.fromisoformat(text).astimezone(dt.UTC).replace(tzinfo=None)
        return np.datetime64(moment, "ns")
    if len(text) < 10:
        raise ValueError(f"{value!r} is neither a date nor a date-time")
    return np.datetime64(text.replace(" ", "T"), "ns")


def _wide(value: Any) -> Any:
    """Arrays of less than double precision as double, so that results do not hang on rounding."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "iubf" and value.dtype.itemsize < 8:
        return value.astype(np.float64)
    return value


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    def compute(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return compute


def _log(x: Any, base: float) -> Any:
    with np.errstate(all="ignore"):
        return np.log(x) / np.log(base)


def _unary(function: Callable[[Any], Any], name: str = "x") -> Callable[..., Any]:
    quiet = _quiet(function)

    def compute(**arguments: Any) -> Any:
        value = arguments[name]
        return np.nan if value is None else quiet(value)

    return compute


def _binary(
    function: Callable[[Any, Any], Any], first_name: str = "x", second_name: str = "y"
) -> Callable[..., Any]:
    quiet = _quiet(function)

    def compute(**arguments: Any) -> Any:
        x, y = arguments[first_name], arguments[second_name]
        return quiet(np.nan if x is None else _wide(x), np.nan if y is None else _wide(y))

    return compute


#: Process id -> implementation on arrays and numbers.
ARRAY_PROCESSES: dict[str, Callable[..., Any]] = {
    "absolute": _unary(np.abs),
    "add": _binary(np.add),
    "all": all_true,
    "and": logical_and,
    "any": any_true,
    "arccos": _unary(np.arccos),
    "arcosh": _unary(np.arccosh),
    "arcsin": _unary(np.arcsin),
    "arctan": _unary(np.arctan),
    "arctan2": _binary(np.arctan2, "y", "x"),
    "array_concat": array_concat,
    "array_contains": array_contains,
    "array_create": array_create,
    "array_element": array_element,
    "array_find": array_find,
    "array_labels": array_labels,
    "arsinh": _unary(np.arcsinh),
    "artanh": _unary(np.arctanh),
    "between": between,
    "ceil": _unary(np.ceil),
    "clip": clip,
    "constant": lambda x: x,
    "cos": _unary(np.cos),
    "cosh": _unary(np.cosh),
    "count": count,
    "cummax": _cumulative(np.maximum.accumulate, -np.inf),
    "cummin": _cumulative(np.minimum.accumulate, np.inf),
    "cumproduct": _cumulative(np.cumprod, 1.0),
    "cumsum": _cumulative(np.cumsum, 0.0),
    "divide": divide,
    "e": lambda: math.e,
    "eq": eq,
    "exp": _unary(np.exp, "p"),
    "first": first,
    "floor": _unary(np.floor),
    "gt": gt,
    "gte": gte,
    "if": choose,
    "int": _unary(np.trunc),
    "is_infinite": _unary(np.isinf),
    "is_nan": is_nan,
    "is_nodata": is_nodata,
    "is_valid": is_valid,
    "last": last,
    "linear_scale_range": linear_scale_range,
    "ln": _unary(np.log),
    "log": _log,
    "lt": lt,
    "lte": lte,
    "max": reduce_max,
    "mean": reduce_mean,
    "median": reduce_median,
    "min": reduce_min,
    "mod": _binary(np.mod),
    "multiply": _binary(np.multiply),
    "nan": lambda: float("nan"),
    "neq": neq,
    "normalized_difference": normalized_difference,
    "not": logical_not,
    "or": logical_or,
    "pi": lambda: math.pi,
    "power": power,
    "product": reduce_product,
    "quantiles": quantiles,
    "round": round_half_even,
    "sd": reduce_sd,
    "sgn": _unary(np.sign),
    "sin": _unary(np.sin),
    "sinh": _unary(np.sinh),
    "sqrt": _unary(np.sqrt),
    "subtract": _binary(np.subtract),
    "sum": reduce_sum,
    "tan": _unary(np.tan),
    "tanh": _unary(np.tanh),
    "variance": reduce_variance,
    "xor": logical_xor,
}
