"""Workflows that are offered by name: forms and the jobs that they make."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from cscale_core.errors import InvalidInput, NotFound
from cscale_core.jobs.engines.spark.process import process_of
from cscale_core.workflows.form_hints import HINT
from cscale_core.workflows.offered import WORKFLOWS, Workflow, workflow

BOX = [-6.0, 36.0, -5.9, 36.1]
GIVEN: dict[str, dict[str, Any]] = {
    "aqua-monitor": {
        "bbox": BOX,
        "intervals": [["2019-01-01", "2020-01-01"], ["2021-01-01", "2022-01-01"]],
        "collection": "s2",
    },
    "composite": {"bbox": BOX, "period": ["2024-06-01", "2024-07-01"], "collection": "s2"},
    "index-map": {"bbox": BOX, "period": ["2024-06-01", "2024-07-01"], "collection": "s2"},
}
SCENE = {
    "id": "scene",
    "properties": {"datetime": "2019-05-01T00:00:00Z"},
    "assets": {band: {"href": f"s3://b/{band}.tif"} for band in ("B11", "B08", "B03")},
}


@pytest.fixture(params=list(WORKFLOWS))
def offered(request: pytest.FixtureRequest) -> Workflow:
    return workflow(request.param)


def test_a_card_has_all_that_people_need(offered: Workflow) -> None:
    assert offered.answers.endswith("?")
    assert offered.needs
    picture = ElementTree.fromstring(offered.picture)  # noqa: S314  # our own file
    assert picture.get("aria-label")
    assert b"script" not in offered.picture


def test_a_form_can_be_made_of_the_schema(offered: Workflow) -> None:
    schema = offered.schema
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(GIVEN[offered.name], schema)
    hints = {part[HINT] for part in schema["properties"].values() if HINT in part}
    assert {"bbox", "collection", "bands"} < hints
    assert all("title" in part for part in schema["properties"].values())


def test_openeo_gets_a_graph_with_one_result(offered: Workflow) -> None:
    graph = offered.process("openeo", GIVEN[offered.name])["process_graph"]
    assert sum(1 for node in graph.values() if node.get("result")) == 1
    load = graph["load"]["arguments"]
    assert (load["id"], load["spatial_extent"]["west"]) == ("s2", -6.0)


def test_spark_gets_the_chosen_items() -> None:
    process = workflow("aqua-monitor").process("spark", GIVEN["aqua-monitor"], [SCENE])
    assert process_of(process)
    assert process["arguments"]["items"] == [SCENE]
    with pytest.raises(InvalidInput, match="none were chosen"):
        workflow("aqua-monitor").process("spark", GIVEN["aqua-monitor"])


def test_clouds_can_be_left_out() -> None:
    given = GIVEN["composite"] | {"max_cloud_cover": 20}
    load = workflow("composite").process("openeo", given)["process_graph"]["load"]
    test = load["arguments"]["properties"]["eo:cloud_cover"]["process_graph"]["clear"]
    assert (test["process_id"], test["arguments"]["y"]) == ("lte", 20)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bbox": [1, 2, 3]}, "bbox"),
        ({"bbox": [5, 0, 1, 1]}, "parameters"),
        ({"period": ["2024-07-01", "2024-06-01"]}, "parameters"),
        ({"statistic": "sum"}, "statistic"),
        ({"collection": ""}, "collection"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_wrong_parameters_are_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        workflow("composite").process("openeo", GIVEN["composite"] | change)
    assert field in {one["field"].split(".")[0] for one in caught.value.details["fields"]}


def test_what_is_not_offered_is_told() -> None:
    with pytest.raises(NotFound, match="no workflow"):
        workflow("../etc")
    with pytest.raises(InvalidInput, match="not run by the engine spark"):
        workflow("composite").process("spark", GIVEN["composite"])
