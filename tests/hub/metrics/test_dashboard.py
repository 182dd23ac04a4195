"""The dashboard is committed as the code makes it, and every panel has its place and colours."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from cscale_hub.metrics.dashboard import dashboard, text

FILE = Path(__file__).parents[3] / "helm-values" / "cscale" / "dashboards" / "cscale-hub.json"


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dashboard()["panels"]
    return found


def test_the_committed_dashboard_is_what_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run: make dashboard"


def test_panels_lie_beside_each_other() -> None:
    places = [panel["gridPos"] for panel in panels()]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in itertools.combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_expressions_are_closed_and_their_legends_are_labels_they_have() -> None:
    for panel in panels():
        for target in panel.get("targets", ()):
            expression, legend = target["expr"], target["legendFormat"]
            for opening, closing in ("()", "[]", "{}"):
                assert expression.count(opening) == expression.count(closing), expression
            for part in legend.split("{{")[1:]:
                assert part.split("}}")[0] in expression, legend


def test_colours_change_upwards() -> None:
    for panel in panels():
        if panel["type"] == "row":
            continue
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        values = [step["value"] for step in steps]
        assert values[0] is None
        assert values[1:] == sorted(values[1:])
    starts = next(each for each in panels() if each["title"] == "Starts that succeed")
    colours = [step["color"] for step in starts["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    assert colours == ["red", "orange", "green"]


def test_nobody_is_named() -> None:
    assert "user" not in json.dumps([panel.get("targets") for panel in panels()]).replace(
        "jupyterhub_active_users", ""
    )
