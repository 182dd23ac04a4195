"""Running a process graph on cubes: nodes in order, child processes as callables.

openeo-pg-parser-networkx is not used to run graphs: its cache of node results also holds those of
child processes, so that a reducer called once per interval answers with the first interval's value
every time (seen with 2026.3.3: the means 2 and 5 of two years came out as 2 and 2), and it walks
only what the result node depends on, which leaves out other save_result nodes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from cscale_openeo import graph as graphs
from cscale_openeo.errors import OpenEOError
from cscale_openeo.implementations import ARRAY_PROCESSES, Frame
from cscale_openeo.processes import LIBRARY

Loader = Callable[[str, dict[str, Any]], xr.DataArray]


@functools.cache
def _accepted(function: Callable[..., Any]) -> frozenset[str] | None:
    """Names of the parameters a function takes; None when it takes any."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters)


@dataclass
class Evaluation:
    """One run of one graph.

    :param load: gives the cube of a loading node (name and node).
    """

    load: Loader
    # Functions on cubes, by process id; filled by cscale_openeo.cube_processes.
    cube_processes: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def outputs(self, graph: graphs.Graph) -> dict[str, Any]:
        """The value of each output node: what was given to each save_result."""
        wanted = graphs.leaves(graph)
        sequence = graphs.order(graph, wanted)
        uses: dict[str, int] = dict.fromkeys(wanted, 1)
        for name in sequence:
            for needed in graphs.inputs(graph[name]):
                uses[needed] = uses.get(needed, 0) + 1
        values: dict[str, Any] = {}
        for name in sequence:
            node = graph[name]
            if node["process_id"] in graphs.LOADERS:
                values[name] = self.load(name, node)
            else:
                values[name] = self._call(name, node, values, {}, None)
            for needed in graphs.inputs(node):
                uses[needed] -= 1
                if not uses[needed]:
                    del values[needed]  # cubes are large: keep only what is still needed
        return {name: values[name] for name in wanted}

    def _call(
        self,
        name: str,
        node: dict[str, Any],
        values: dict[str, Any],
        parameters: dict[str, Any],
        frame: Frame | None,
    ) -> Any:
        process_id = node["process_id"]
        arguments = {
            key: self._resolve(value, values, parameters)
            for key, value in node.get("arguments", {}).items()
        }
        if process_id == "save_result":
            return arguments["data"]
        function = self._function(process_id)
        accepted = _accepted(function)
        if frame is not None and accepted is not None:
            if "axis" in accepted and _follows_axis(arguments, frame):
                arguments["axis"] = frame.axis
            if "frame" in accepted:
                arguments["frame"] = frame
        try:
            return function(**arguments)
        except OpenEOError as error:
            if "(node " not in error.message:
                error.message = f"{error.message} (node {name})"
                error.args = (error.message,)
            raise
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"{process_id} cannot work with what it was given: {error} (node {name})",
            ) from error

    def _function(self, process_id: str) -> Callable[..., Any]:
        found = self.cube_processes.get(process_id) or ARRAY_PROCESSES.get(process_id)
        if found is not None:
            return found
        if process_id in LIBRARY:
            from cscale_openeo.library import library_process

            return library_process(process_id)
        raise OpenEOError("ProcessUnsupported", f"Process '{process_id}' is not available.")

    def _resolve(self, value: Any, values: dict[str, Any], parameters: dict[str, Any]) -> Any:
        if isinstance(value, dict):
            if set(value) == {"from_node"}:
                return values[value["from_node"]]
            if set(value) == {"from_parameter"}:
                return parameters.get(value["from_parameter"])
            if isinstance(value.get("process_graph"), dict):
                return ChildProcess(self, value["process_graph"], parameters)
            return {k: self._resolve(v, values, parameters) for k, v in value.items()}
        if isinstance(value, list):
            return [self._resolve(v, values, parameters) for v in value]
        return value


def _follows_axis(arguments: dict[str, Any], frame: Frame) -> bool:
    """Whether ``data`` still has the frame's axis: a list literal in a child process has not."""
    data = arguments.get("data", arguments.get("array1"))
    return frame.axis is not None and getattr(data, "ndim", 0) == frame.cube.ndim


class ChildProcess:
    """A child process graph, called by its parent process any number of times."""

    def __init__(self, evaluation: Evaluation, graph: graphs.Graph, outer: dict[str, Any]) -> None:
        self._evaluation = evaluation
        self._graph = graph
        self._outer = outer
        self._result = graphs.result_node(graph)
        self._order = graphs.order(graph, [self._result])

    def run(self, parameters: dict[str, Any], frame: Frame | None = None) -> Any:
        """The child's result for these parameters; nothing is kept between calls."""
        scope = {**self._outer, **parameters}
        values: dict[str, Any] = {}
        for name in self._order:
            values[name] = self._evaluation._call(name, self._graph[name], values, scope, frame)
        return values[self._result]

    def uses(self, process_id: str) -> bool:
        """Whether a process occurs in the child graph."""
        return any(node["process_id"] == process_id for node in self._graph.values())

    def __call__(
        self,
        *args: Any,
        positional_parameters: dict[str, int] | None = None,
        named_parameters: dict[str, Any] | None = None,
        axis: Any = None,
        **_special: Any,
    ) -> Any:
        """The calling convention of openeo-processes-dask."""
        parameters = dict(named_parameters or {})
        for name, position in (positional_parameters or {}).items():
            parameters[name] = args[position]
        data = parameters.get("data")
        frame = None
        if data is not None and axis is not None:
            along = axis[0] if isinstance(axis, tuple) and len(axis) == 1 else axis
            if isinstance(along, tuple):
                # Several axes at once (reduce_spatial): one axis of all their pixels, at the end.
                kept = [i for i in range(data.ndim) if i not in along]
                shape = tuple(data.shape[i] for i in kept)
                data = data.transpose(*kept, *along).reshape(*shape, -1)
                along = data.ndim - 1
            parameters["data"] = data
            frame = Frame(xr.DataArray(data), None, int(along))
        return self.run(parameters, frame)
