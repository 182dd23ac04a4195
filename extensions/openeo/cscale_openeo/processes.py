"""Which processes can really be executed here, with their specifications.

Implementations of our own (:mod:`cscale_openeo.implementations`, ``cube_processes``) cover what
workflows use most and where openeo-processes-dask is wrong; the rest of the list is run by that
library. Specifications are the JSON files it ships; nothing of it is imported for that.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path
from typing import Any

OWN = frozenset(
    [
        "absolute",
        "add",
        "add_dimension",
        "aggregate_temporal",
        "aggregate_temporal_period",
        "all",
        "and",
        "any",
        "apply",
        "apply_dimension",
        "arccos",
        "arcosh",
        "arcsin",
        "arctan",
        "arctan2",
        "array_concat",
        "array_contains",
        "array_create",
        "array_element",
        "array_find",
        "array_labels",
        "arsinh",
        "artanh",
        "between",
        "ceil",
        "clip",
        "constant",
        "cos",
        "cosh",
        "count",
        "cummax",
        "cummin",
        "cumproduct",
        "cumsum",
        "dimension_labels",
        "divide",
        "drop_dimension",
        "e",
        "eq",
        "exp",
        "filter_bands",
        "filter_labels",
        "filter_temporal",
        "first",
        "floor",
        "gt",
        "gte",
        "if",
        "int",
        "is_infinite",
        "is_nan",
        "is_nodata",
        "is_valid",
        "last",
        "linear_scale_range",
        "ln",
        "load_collection",
        "log",
        "lt",
        "lte",
        "mask",
        "max",
        "mean",
        "median",
        "merge_cubes",
        "min",
        "mod",
        "multiply",
        "nan",
        "ndvi",
        "neq",
        "normalized_difference",
        "not",
        "or",
        "pi",
        "power",
        "product",
        "quantiles",
        "reduce_dimension",
        "rename_dimension",
        "rename_labels",
        "resample_spatial",
        "round",
        "run_udf",
        "save_result",
        "sd",
        "sgn",
        "sin",
        "sinh",
        "sqrt",
        "subtract",
        "sum",
        "tan",
        "tanh",
        "variance",
        "xor",
    ]
)

LIBRARY = frozenset(
    [
        "aggregate_spatial",
        "apply_kernel",
        "filter_bbox",
        "filter_spatial",
        "mask_polygon",
        "reduce_spatial",
        "resample_cube_spatial",
        "text_begins",
        "text_concat",
        "text_contains",
        "text_ends",
    ]
)

# Parameters in the library's specifications that we do not serve, so that they are refused rather
# than ignored.
_REMOVED_PARAMETERS = {
    "apply_kernel": {"border", "replace_invalid"},
    "filter_bands": {"wavelengths"},
}

# Part of the process since openEO processes 1.0, left out of the library's copy.
_ALIGN: dict[str, Any] = {
    "name": "align",
    "description": "The corner of the area that stays where it is.",
    "schema": {
        "type": "string",
        "enum": ["lower-left", "upper-left", "lower-right", "upper-right"],
    },
    "default": "upper-left",
    "optional": True,
}


def _folder() -> Path:
    found = importlib.util.find_spec("openeo_processes_dask")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("openeo-processes-dask is not installed: install cscale-hub[openeo]")
    return Path(found.submodule_search_locations[0]) / "specs" / "openeo-processes"


@functools.cache
def specifications() -> dict[str, dict[str, Any]]:
    """Process id -> specification, for every process that can be executed."""
    folder = _folder()
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(OWN | LIBRARY):
        specification = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        removed = _REMOVED_PARAMETERS.get(name, set())
        specification["parameters"] = [
            p for p in specification["parameters"] if p["name"] not in removed
        ]
        found[name] = specification
    _describe_save_result(found["save_result"])
    found["resample_spatial"]["parameters"] = [
        p for p in found["resample_spatial"]["parameters"] if p["name"] != "align"
    ] + [_ALIGN]
    return found


def _describe_save_result(specification: dict[str, Any]) -> None:
    specification["description"] += (
        "\n\nEvery `save_result` of a process graph is executed. Files are named after the option "
        "`filename_prefix`: `PREFIX_<label>.tif` for each label of a temporal dimension, "
        "`PREFIX.tif` without one."
    )
