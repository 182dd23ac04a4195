"""The workflows that are offered by name: what each answers, what it needs, and the job it makes.

A workflow is parameters with a JSON schema, from which a form is made, and for each engine that can
run it a way from the parameters to the process of a job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from cscale_core.errors import InvalidInput, NotFound
from cscale_core.workflows.aqua_monitor import AquaMonitorParameters, process_graph
from cscale_core.workflows.period_maps import (
    CompositeParameters,
    IndexParameters,
    composite_graph,
    index_graph,
)

Item = Mapping[str, Any]
Process = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """How one engine runs a workflow.

    :ivar items: whether it computes on items that were chosen, and not on a collection by name.
    :param make: the process of a job, from valid parameters and the items.
    """

    engine: Literal["openeo", "spark"]
    items: bool
    make: Callable[[Any, Sequence[Item]], Process]


@dataclass(frozen=True)
class Workflow:
    """One workflow.

    :ivar answers: the question that it answers, in one sentence.
    :ivar needs: what it needs, a sentence each.
    :ivar makes: what comes out, in one sentence.
    """

    name: str
    title: str
    answers: str
    needs: tuple[str, ...]
    makes: str
    parameters: type[BaseModel]
    ways: tuple[Way, ...]

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the parameters; see :mod:`cscale_core.workflows.form_hints`."""
        return self.parameters.model_json_schema()

    @property
    def picture(self) -> bytes:
        """A picture for its card, SVG."""
        folder = resources.files("cscale_core.workflows") / "pictures"
        return (folder / f"{self.name}.svg").read_bytes()

    def process(self, engine: str, parameters: Any, items: Sequence[Item] = ()) -> Process:
        """The process of a job that runs it.

        :raises InvalidInput: when the engine cannot run it, or parameters are wrong or missing.
        """
        way = next((way for way in self.ways if way.engine == engine), None)
        if way is None:
            raise InvalidInput(
                f"{self.title} is not run by the engine {engine}.",
                hint=f"It is run by {' and '.join(way.engine for way in self.ways)}.",
            )
        if way.items and not items:
            raise InvalidInput(
                f"{self.title} by {engine} computes on items, and none were chosen.",
                hint="Search for them and select them, staged ones if the cluster is to read them.",
            )
        return way.make(self._valid(parameters), items)

    def _valid(self, parameters: Any) -> BaseModel:
        try:
            return self.parameters.model_validate(parameters)
        except ValidationError as error:
            fields = [
                {
                    "field": ".".join(str(part) for part in mistake["loc"]) or "parameters",
                    "message": str(mistake["msg"]).removeprefix("Value error, "),
                }
                for mistake in error.errors(include_url=False, include_input=False)
            ]
            said = "; ".join(f"{one['field']}: {one['message']}" for one in fields[:5])
            raise InvalidInput(
                f"The parameters of {self.title} are not right: {said}.",
                hint="Correct the named fields.",
                fields=fields,
            ) from error


def _graph(make: Callable[[Any], dict[str, Any]]) -> Way:
    return Way("openeo", False, lambda given, items: {"process_graph": make(given)})


def _aqua_monitor_on_items(given: AquaMonitorParameters, items: Sequence[Item]) -> Process:
    arguments = {"parameters": given.model_dump(mode="json"), "items": [dict(i) for i in items]}
    return {"application": "aqua-monitor", "arguments": arguments}


WORKFLOWS: dict[str, Workflow] = {
    workflow.name: workflow
    for workflow in (
        Workflow(
            name="aqua-monitor",
            title="Aqua Monitor",
            answers="Where did water become land, and land water, between several periods?",
            needs=(
                "An area and two or more intervals of time, best of whole years.",
                "A collection with short-wave infrared, near infrared and green.",
                "Ten clear images in each interval, or fewer if you say so.",
            ),
            makes="A map of change, composites and image counts of each interval, as COGs.",
            parameters=AquaMonitorParameters,
            ways=(_graph(process_graph), Way("spark", True, _aqua_monitor_on_items)),
        ),
        Workflow(
            name="composite",
            title="Composite of a period",
            answers="What did the area look like in a period, without most of the clouds?",
            needs=("An area and a period.", "A collection and the names of its bands."),
            makes="One COG with a band for each band asked for.",
            parameters=CompositeParameters,
            ways=(_graph(composite_graph),),
        ),
        Workflow(
            name="index-map",
            title="Map of an index",
            answers="How green was the area in a period, or where was open water?",
            needs=("An area and a period.", "A collection with the two bands of the index."),
            makes="One COG of NDVI, NDWI or MNDWI.",
            parameters=IndexParameters,
            ways=(_graph(index_graph),),
        ),
    )
}


def workflow(name: str) -> Workflow:
    """The workflow of that name.

    :raises NotFound: when there is none.
    """
    try:
        return WORKFLOWS[name]
    except KeyError:
        raise NotFound(
            f"There is no workflow {name[:100]!r}.", hint=f"Known: {', '.join(WORKFLOWS)}."
        ) from None
