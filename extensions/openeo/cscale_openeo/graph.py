"""Process graphs as data: structure, checks, rewriting, and whether a graph can be cut into tiles.

Pure functions on the flat JSON form (openEO API 1.2, section "Process Graphs"). Nothing here
computes a pixel, and nothing heavy is imported.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cscale_openeo.errors import OpenEOError
from cscale_openeo.processes import specifications

Graph = dict[str, dict[str, Any]]

FORMATS = {"gtiff": "GTiff", "cog": "GTiff", "netcdf": "netCDF", "json": "JSON"}
DEFAULT_PREFIX = "openEO"
UDF_RUNTIMES = ("python", "python-jep")
_PREFIX = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")

LOADERS = frozenset({"load_collection"})

# Processes that only rename or select labels: a resampling may move up through them.
_TRANSPARENT = frozenset({"rename_labels", "filter_bands"})

# Processes that treat each pixel's column (t, bands) by itself.
_PIXELWISE = frozenset(
    [
        "load_collection",
        "save_result",
        "rename_labels",
        "rename_dimension",
        "add_dimension",
        "drop_dimension",
        "dimension_labels",
        "filter_bands",
        "filter_temporal",
        "filter_labels",
        "apply",
        "reduce_dimension",
        "apply_dimension",
        "aggregate_temporal",
        "aggregate_temporal_period",
        "merge_cubes",
        "mask",
        "ndvi",
    ]
)
_SPATIAL_DIMENSIONS = frozenset({"x", "y"})


@dataclass(frozen=True)
class Problem:
    """One finding of a check. Warnings do not prevent a run."""

    code: str
    message: str
    warning: bool = False

    def as_error(self) -> OpenEOError:
        return OpenEOError(self.code, self.message)


def process_graph_of(process: Any) -> Graph:
    """The flat graph of a ``process`` object.

    :raises OpenEOError: ProcessGraphMissing or ProcessGraphInvalid.
    """
    if not isinstance(process, dict):
        raise OpenEOError("ProcessInvalid", "process must be an object.")
    graph = process.get("process_graph")
    if not graph:
        raise OpenEOError(
            "ProcessGraphMissing", "Invalid process specified. It doesn't contain a process graph."
        )
    if not isinstance(graph, dict) or not all(
        isinstance(node, dict) and isinstance(node.get("process_id"), str)
        for node in graph.values()
    ):
        raise OpenEOError(
            "ProcessGraphInvalid", "Every node of a process graph is an object with a process_id."
        )
    return graph


def references(value: Any) -> Iterator[str]:
    """Names of the nodes an argument refers to by ``from_node``; child graphs are not entered."""
    if isinstance(value, dict):
        if set(value) == {"from_node"}:
            yield value["from_node"]
        elif "process_graph" not in value:
            for member in value.values():
                yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


def child_graphs(value: Any) -> Iterator[Graph]:
    """Child process graphs inside an argument."""
    if isinstance(value, dict):
        if isinstance(value.get("process_graph"), dict):
            yield value["process_graph"]
        else:
            for member in value.values():
                yield from child_graphs(member)
    elif isinstance(value, list):
        for member in value:
            yield from child_graphs(member)


def inputs(node: dict[str, Any]) -> list[str]:
    """Nodes this node needs, in the order of its arguments, each once."""
    return list(dict.fromkeys(references(node.get("arguments", {}))))


def order(graph: Graph, targets: list[str]) -> list[str]:
    """The targets and all they need, inputs first.

    :raises OpenEOError: when a reference leads nowhere or the graph has a cycle.
    """
    done: list[str] = []
    state: dict[str, int] = {}
    for target in targets:
        stack = [(target, False)]
        while stack:
            name, leave = stack.pop()
            if leave:
                state[name] = 2
                done.append(name)
                continue
            if state.get(name) == 2:
                continue
            if state.get(name) == 1:
                raise OpenEOError("ProcessGraphInvalid", f"Node {name!r} depends on itself.")
            if name not in graph:
                raise OpenEOError("ProcessGraphInvalid", f"There is no node {name!r}.")
            state[name] = 1
            stack.append((name, True))
            for needed in reversed(inputs(graph[name])):
                if state.get(needed) == 1:
                    raise OpenEOError("ProcessGraphInvalid", f"Node {needed!r} depends on itself.")
                if state.get(needed) != 2:
                    stack.append((needed, False))
    return done


def result_node(graph: Graph) -> str:
    """The node marked ``result: true``.

    :raises OpenEOError: when there is not exactly one.
    """
    marked = [name for name, node in graph.items() if node.get("result") is True]
    if len(marked) != 1:
        raise OpenEOError(
            "ProcessGraphInvalid",
            f"Exactly one node must have result=true, {len(marked)} have.",
        )
    return marked[0]


def leaves(graph: Graph) -> list[str]:
    """The outputs: every ``save_result`` that nothing but other outputs' bookkeeping follows.

    The specification runs all nodes, not only those the result depends on; each save_result
    is an output. A graph whose result is no save_result gets it as an output too.
    """
    saves = [name for name, node in graph.items() if node["process_id"] == "save_result"]
    final = result_node(graph)
    if final not in saves:
        saves.append(final)
    return saves


def loads(graph: Graph) -> list[str]:
    """Names of the loading nodes that the outputs depend on."""
    needed = set(order(graph, leaves(graph)))
    return [n for n in graph if n in needed and graph[n]["process_id"] in LOADERS]


# --- checks ---------------------------------------------------------------------------------------


def check(graph: Graph) -> list[Problem]:
    """Everything that can be said about a graph without a catalogue, all problems at once."""
    problems = list(_check_nodes(graph, frozenset()))
    try:
        outputs = leaves(graph)
        order(graph, list(graph))
    except OpenEOError as error:
        problems.append(Problem(error.code, error.message))
        return problems
    seen: dict[str, str] = {}
    for name in outputs:
        prefix = _prefix(graph[name])
        if prefix in seen:
            problems.append(
                Problem(
                    "ProcessParameterInvalid",
                    f"Nodes {seen[prefix]!r} and {name!r} write files of the same name; give each "
                    "save_result its own option filename_prefix.",
                )
            )
        seen[prefix] = name
    return problems


def _prefix(node: dict[str, Any]) -> str:
    options = node.get("arguments", {}).get("options") or {}
    prefix = options.get("filename_prefix") if isinstance(options, dict) else None
    return str(prefix or DEFAULT_PREFIX)


def _check_nodes(graph: Graph, parameters: frozenset[str]) -> Iterator[Problem]:
    known = specifications()
    for name, node in graph.items():
        process_id = node.get("process_id")
        namespace = node.get("namespace")
        if process_id not in known or namespace not in (None, "backend", "predefined"):
            yield Problem(
                "ProcessUnsupported",
                f"Process with identifier '{process_id}' is not available in namespace "
                f"'{namespace or 'backend'}' (node {name!r}).",
            )
            continue
        arguments = node.get("arguments", {})
        if not isinstance(arguments, dict):
            yield Problem("ProcessGraphInvalid", f"Arguments of node {name!r} are no object.")
            continue
        specified = {p["name"]: p for p in known[process_id]["parameters"]}
        for parameter, definition in specified.items():
            if parameter not in arguments and not definition.get("optional"):
                yield Problem(
                    "ProcessParameterRequired",
                    f"Process '{process_id}' parameter '{parameter}' is required (node {name!r}).",
                )
        for argument, value in arguments.items():
            if argument not in specified:
                yield Problem(
                    "ProcessParameterUnsupported",
                    f"Process '{process_id}' does not support parameter '{argument}' "
                    f"(node {name!r}).",
                )
                continue
            yield from _check_argument(name, value, graph, parameters)
            child_parameters = _child_parameters(specified[argument])
            for child in child_graphs(value):
                try:
                    process_graph_of({"process_graph": child})
                    result_node(child)
                    order(child, list(child))
                except OpenEOError as error:
                    yield Problem(error.code, f"{error.message} (in {argument} of {name!r})")
                    continue
                yield from _check_nodes(child, parameters | child_parameters)
        yield from _check_special(name, node)


def _child_parameters(definition: dict[str, Any]) -> frozenset[str]:
    schema = definition.get("schema", {})
    schemas = schema if isinstance(schema, list) else [schema]
    names = {p["name"] for s in schemas for p in s.get("parameters", [])}
    for one in schemas:  # load_collection.properties: an object of child processes
        extra = one.get("additionalProperties")
        if isinstance(extra, dict):
            names |= {p["name"] for p in extra.get("parameters", [])}
    return frozenset(names)


def _check_argument(
    node: str, value: Any, graph: Graph, parameters: frozenset[str]
) -> Iterator[Problem]:
    if isinstance(value, dict):
        if "from_parameter" in value and value["from_parameter"] not in parameters:
            yield Problem(
                "ProcessGraphInvalid",
                f"Node {node!r} uses parameter {value['from_parameter']!r}, which nobody gives.",
            )
        elif "process_graph" not in value:
            for member in value.values():
                yield from _check_argument(node, member, graph, parameters)
    elif isinstance(value, list):
        for member in value:
            yield from _check_argument(node, member, graph, parameters)


def _check_special(name: str, node: dict[str, Any]) -> Iterator[Problem]:
    process_id, arguments = node["process_id"], node.get("arguments", {})

    def invalid(parameter: str, reason: str) -> Problem:
        return Problem(
            "ProcessParameterInvalid",
            f"The value passed for parameter '{parameter}' in process '{process_id}' is invalid: "
            f"{reason} (node {name!r})",
        )

    if process_id == "save_result":
        if str(arguments.get("format", "")).lower() not in FORMATS:
            yield invalid("format", "choose GTiff, netCDF or JSON.")
        options = arguments.get("options") or {}
        if not isinstance(options, dict) or not _PREFIX.fullmatch(_prefix(node)):
            yield invalid(
                "options", "filename_prefix takes letters, digits, '.', '_' and '-', at most 100."
            )
    elif process_id == "run_udf":
        runtime = arguments.get("runtime")
        if isinstance(runtime, str) and runtime.lower() not in UDF_RUNTIMES:
            yield invalid("runtime", "only Python is served.")
        code = arguments.get("udf")
        if isinstance(code, str) and "def " not in code:
            yield invalid("udf", "the code of the UDF itself is expected, not a path or URL.")
    elif process_id == "load_collection":
        if not arguments.get("spatial_extent"):
            yield invalid("spatial_extent", "an area is needed; whole collections are not loaded.")
        if not arguments.get("temporal_extent"):
            yield invalid("temporal_extent", "a period is needed.")
    elif process_id == "resample_spatial" and arguments.get("projection") is not None:
        resolution = arguments.get("resolution")
        if resolution in (None, 0, [0, 0]):
            yield invalid(
                "resolution", "say the resolution, in units of the new projection, as well."
            )


# --- planning -------------------------------------------------------------------------------------


def push_down(graph: Graph) -> Graph:
    """Move each ``resample_spatial`` that follows a load into the load, so that it reads resampled.

    ``load -> rename_labels -> resample_spatial`` becomes ``load' -> rename_labels'`` where the
    loader reads straight onto the resampled grid (member ``resample`` beside ``arguments``). Other
    users of the plain load keep it. The names of the nodes that remain do not change.
    """
    result = copy.deepcopy(graph)
    for name in order(graph, leaves(graph)):
        node = result[name]
        if node["process_id"] != "resample_spatial":
            continue
        chain: list[str] = []
        source = _data_node(node)
        while source is not None and result[source]["process_id"] in _TRANSPARENT:
            chain.append(source)
            source = _data_node(result[source])
        if source is None or result[source]["process_id"] not in LOADERS:
            continue
        if "resample" in result[source]:
            continue
        loader = copy.deepcopy(result[source])
        loader["resample"] = {
            key: node["arguments"].get(key)
            for key in ("resolution", "projection", "method", "align")
        }
        loader["source"] = source
        loader.pop("result", None)
        previous = f"{name}::{source}"
        result[previous] = loader
        for link in reversed(chain):
            moved = copy.deepcopy(result[link])
            moved["arguments"]["data"] = {"from_node": previous}
            moved.pop("result", None)
            previous = f"{name}::{link}"
            result[previous] = moved
        _redirect(result, name, previous)
        if node.get("result"):
            result[previous]["result"] = True
        del result[name]
    kept = set(order(result, leaves(result)))
    return {name: node for name, node in result.items() if name in kept}


def _data_node(node: dict[str, Any]) -> str | None:
    data = node.get("arguments", {}).get("data")
    return data.get("from_node") if isinstance(data, dict) else None


def _redirect(graph: Graph, old: str, new: str) -> None:
    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if set(value) == {"from_node"}:
                if value["from_node"] == old:
                    value["from_node"] = new
            elif "process_graph" not in value:
                for member in value.values():
                    walk(member)
        elif isinstance(value, list):
            for member in value:
                walk(member)

    for node in graph.values():
        walk(node.get("arguments", {}))


def uncuttable(graph: Graph) -> list[str]:
    """Why a graph (after :func:`push_down`) must run whole; empty when tiles give the same result.

    A graph can be cut when each of its top-level processes treats every pixel by itself.
    """
    reasons = []
    for name in order(graph, leaves(graph)):
        node = graph[name]
        process_id, arguments = node["process_id"], node.get("arguments", {})
        if process_id not in _PIXELWISE:
            reasons.append(f"{process_id} (node {name}) needs neighbouring pixels or all of them")
        elif arguments.get("dimension") in _SPATIAL_DIMENSIONS:
            reasons.append(f"{process_id} (node {name}) works along {arguments['dimension']}")
        elif process_id == "apply" and any(
            child_node["process_id"] == "run_udf"
            for child in child_graphs(arguments)
            for child_node in child.values()
        ):
            reasons.append(f"the UDF in apply (node {name}) may look at neighbouring pixels")
    return reasons


# --- user-defined processes -----------------------------------------------------------------------

_DEPTH = 10


def expand(graph: Graph, defined: dict[str, dict[str, Any]], depth: int = 0) -> Graph:
    """Replace nodes that call user-defined processes by those processes' graphs, at every level.

    :param defined: process id -> user-defined process (``parameters``, ``process_graph``).
    :raises OpenEOError: when a required parameter is missing or processes call one another in a
        circle.
    """
    if depth > _DEPTH:
        raise OpenEOError("ProcessGraphComplexity", "User-defined processes are nested too deeply.")
    known = specifications()
    result: Graph = {}
    for name, node in graph.items():
        arguments = {
            key: _expand_children(value, defined, depth)
            for key, value in (node.get("arguments") or {}).items()
        }
        process_id = node["process_id"]
        own = node.get("namespace") == "user" or process_id not in known
        if not own or process_id not in defined:
            result[name] = {**node, "arguments": arguments}
            continue
        process = defined[process_id]
        values: dict[str, Any] = {}
        for parameter in process.get("parameters") or []:
            if parameter["name"] in arguments:
                values[parameter["name"]] = arguments[parameter["name"]]
            elif parameter.get("optional"):
                values[parameter["name"]] = parameter.get("default")
            else:
                raise OpenEOError(
                    "ProcessParameterRequired",
                    f"Process '{process_id}' parameter '{parameter['name']}' is required "
                    f"(node {name!r}).",
                )
        inner = expand(process_graph_of(process), defined, depth + 1)
        final = result_node(inner)
        for inner_name, inner_node in inner.items():
            moved = {
                **inner_node,
                "arguments": _substitute(inner_node.get("arguments", {}), values, f"{name}."),
            }
            moved.pop("result", None)
            # The last node takes the caller's name, so that references to it stay right.
            result[name if inner_name == final else f"{name}.{inner_name}"] = moved
        renamed = result[name]
        _redirect(result, f"{name}.{final}", name)
        if node.get("result"):
            renamed["result"] = True
    return result


def _expand_children(value: Any, defined: dict[str, dict[str, Any]], depth: int) -> Any:
    if isinstance(value, dict):
        if isinstance(value.get("process_graph"), dict):
            return {**value, "process_graph": expand(value["process_graph"], defined, depth)}
        return {k: _expand_children(v, defined, depth) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand_children(v, defined, depth) for v in value]
    return value


def _substitute(value: Any, values: dict[str, Any], prefix: str, inside: bool = False) -> Any:
    """Arguments with parameters put in, and references moved below a prefix.

    In child processes (``inside``) node names stay, and the child's own parameters too.
    """
    if isinstance(value, dict):
        if set(value) == {"from_node"} and not inside:
            return {"from_node": prefix + value["from_node"]}
        if set(value) == {"from_parameter"}:
            return values.get(value["from_parameter"], value)
        inside = inside or "process_graph" in value
        return {k: _substitute(v, values, prefix, inside) for k, v in value.items()}
    if isinstance(value, list):
        return [_substitute(v, values, prefix, inside) for v in value]
    return value
