"""Results, searches and the panel's state on a notebook's map, with a server that is played.

Maps move by tasks of the event loop, which a kernel has; the tests with a map have one, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import traitlets
from ipyleaflet import GeoJSON, Map, TileLayer, WidgetControl

from cscale_core.client import Workspace
from cscale_core.errors import InvalidInput
from cscale_server.layer_models import LegendAnswer, LegendStop, NamedValue, PointAnswer, TileJson
from cscale_server.problems import problem
from cscale_widget import map_layers
from cscale_widget.showing import MOST_LAYERS, add_search, show_results, to_leafmap

API = "/user/u/cscale/api/v1/"
BOX = (-6.0, 36.0, -5.0, 37.0)
SQUARE = {"type": "Polygon", "coordinates": [[[-6, 36], [-5, 36], [-5, 37], [-6, 37], [-6, 36]]]}
EVIL = '<img src=x onerror="alert(1)">'


class Played:
    """A user's server: results of one job, a search, items; ``asked`` are the calls."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.results: list[dict[str, Any]] = [{"id": "water"}]
        self.broken: set[str] = set()
        self.lines: list[dict[str, Any]] = []
        self.hub = Workspace(
            "http://hub/user/u/", httpx.Client(transport=httpx.MockTransport(self._answer))
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode().partition("?")[0].removeprefix(API)
        self.asked.append((path, dict(request.url.params)))
        if path == "jobs/j-1/results":
            return httpx.Response(200, json={"type": "FeatureCollection", "features": self.results})
        if path == "jobs/j-1":
            spec = {"engine": "openeo", "title": "", "backend": "", "vo": "", "process": {}}
            return httpx.Response(200, json={"id": "j-1", "spec": spec, "status": "finished"})
        if path == "catalog/search":
            text = "".join(json.dumps(line) + "\n" for line in self.lines)
            return httpx.Response(200, text=text)
        if path.startswith("catalog/items/"):
            ref = unquote(path.removeprefix("catalog/items/"))
            if ref in self.broken:
                return self._problem("There is no such item.")
            return httpx.Response(200, json={"id": ref, "geometry": SQUARE})
        name, _, what = path.removeprefix("layers/").partition("/")
        layer = unquote(name)
        if layer in self.broken:
            return self._problem("It is no GeoTIFF.")
        answers: dict[str, Any] = {
            "tilejson": TileJson(
                name=EVIL,
                tiles=[f"{API}layers/{name}/tiles/{{z}}/{{x}}/{{y}}?show=x"],
                bounds=BOX,
                minzoom=3,
                maxzoom=12,
            ),
            "legend": LegendAnswer(
                title=EVIL,
                kind="values",
                unit="m",
                limits=[(0.0, 3.0)],
                colormap="viridis",
                colormaps=[],
                stops=[
                    LegendStop(value=0, colour="#000000", label=""),
                    LegendStop(value=3, colour='red;}"', label=""),
                ],
            ),
            "point": PointAnswer(
                title="", datetime=None, values=[NamedValue(name=EVIL, value=1.5, unit="m")]
            ),
        }
        return httpx.Response(200, text=answers[what].model_dump_json())

    @staticmethod
    def _problem(message: str) -> httpx.Response:
        return httpx.Response(422, json=problem(InvalidInput(message, hint="Download it."), "r"))


@pytest.fixture
def played() -> Played:
    return Played()


def of(m: Any, kind: type) -> list[Any]:
    return [one for one in (*m.layers, *m.controls) if type(one) is kind]


def own_layers(m: Any) -> list[Any]:
    """Without the basemap that ipyleaflet's own map begins with."""
    return list(m.layers)[1:]


def click(m: Any, latitude: float, longitude: float) -> None:
    m._interaction_callbacks(type="click", coordinates=[latitude, longitude])


async def test_results_are_tiles_of_the_page_s_own_origin(played: Played) -> None:
    m = Map()
    assert show_results("j-1", m, hub=played.hub, colormap="magma", opacity=0.5) is m
    (layer,) = own_layers(m)
    assert isinstance(layer, TileLayer)
    assert layer.url.startswith("/user/u/cscale/api/v1/layers/job%7Cj-1%7Cwater/tiles/{z}")
    assert (layer.max_native_zoom, layer.opacity) == (12, 0.5)
    assert "<img" not in layer.name
    asked = dict(played.asked)
    assert asked["layers/job%7Cj-1%7Cwater/tilejson"] == {"colormap": "magma"}


async def test_the_legend_and_values_are_text(played: Played) -> None:
    m = Map()
    show_results("j-1", m, hub=played.hub)
    (control,) = of(m, WidgetControl)
    legend = control.widget.value
    assert "<img" not in legend
    assert "&lt;img" in legend
    assert "0 … 3 m" in legend
    assert "red" not in legend
    click(m, 36.5, -5.5)
    assert "1.5 m" in control.widget.value
    assert "<img" not in control.widget.value
    assert dict(played.asked)["layers/job%7Cj-1%7Cwater/point"] == {
        "longitude": "-5.5",
        "latitude": "36.5",
    }
    before = len(played.asked)
    click(m, 0.0, 0.0)
    assert "nothing here" in control.widget.value
    assert len(played.asked) == before


async def test_what_cannot_be_shown_is_told_and_the_rest_is_shown(played: Played) -> None:
    played.results = [{"id": "table"}, {"id": "a|b/c"}]
    played.broken = {"job|j-1|table"}
    m = Map()
    with pytest.warns(UserWarning, match="no GeoTIFF"):
        show_results("j-1", m, hub=played.hub)
    assert [layer.url.split("/")[7] for layer in own_layers(m)] == ["job%7Cj-1%7Ca%257Cb%252Fc"]


async def test_nothing_to_show_is_an_error_that_says_why(played: Played) -> None:
    played.broken = {"job|j-1|water"}
    with pytest.raises(InvalidInput, match="no GeoTIFF") as caught:
        show_results("j-1", Map(), hub=played.hub)
    assert caught.value.hint == "Download it."
    played.results = []
    with pytest.raises(InvalidInput, match="no results"):
        show_results("j-1", Map(), hub=played.hub)


async def test_many_results_are_cut_and_it_is_said(played: Played) -> None:
    played.results = [{"id": f"r{number}"} for number in range(MOST_LAYERS + 5)]
    m = Map()
    with pytest.warns(UserWarning, match="5 further items"):
        show_results("j-1", m, hub=played.hub)
    assert len(own_layers(m)) == MOST_LAYERS


def slim(ref: str, **more: Any) -> dict[str, Any]:
    return {"ref": ref, "geometry": SQUARE, "datetime": "2024-05-01T10:00:00Z", **more}


async def test_a_search_is_one_layer_of_footprints(played: Played) -> None:
    failed = {"type": "report", "id": "b", "status": "timeout", "error": "B did not answer."}
    played.lines = [
        {"type": "items", "provider": "a", "items": [slim("a|1", cloud_cover=7), slim("a|2")]},
        {"type": "items", "provider": "c", "items": [slim("c|1"), slim("c|2", geometry=None)]},
        failed,
        {"type": "page", "order": [2, 0, 3], "next": "", "complete": False},
    ]
    m = Map()
    with pytest.warns(UserWarning, match="B did not answer"):
        add_search(m, hub=played.hub, collections=["s2"], limit=9999)
    (layer,) = own_layers(m)
    assert isinstance(layer, GeoJSON)
    assert [one["properties"]["ref"] for one in layer.data["features"]] == ["c|1", "a|1"]
    assert layer.data["features"][1]["properties"]["cloud_cover"] == 7


class Panel(traitlets.HasTraits):
    """What is used of a panel."""

    area = traitlets.Dict(None, allow_none=True)
    selection = traitlets.List()
    basemap_url = ""
    basemap_attribution = ""


async def test_a_map_follows_the_panel(played: Played) -> None:
    panel, m = Panel(), Map()
    assert to_leafmap(panel, m, hub=played.hub) is m  # type: ignore[arg-type]
    area, selected = own_layers(m)
    assert area.data["features"] == []
    panel.area = SQUARE
    assert area.data["features"][0]["geometry"] == SQUARE
    panel.selection = ["a|1", "a|2"]
    assert len(selected.data["features"]) == 2
    panel.selection = ["a|2"]
    assert [one["properties"]["ref"] for one in selected.data["features"]] == ["a|2"]
    # An item that is known is not asked for again.
    assert sum(path.startswith("catalog/items/") for path, _ in played.asked) == 2
    played.broken = {"a|3"}
    with pytest.warns(UserWarning, match="no such item"):
        panel.selection = ["a|2", "a|3"]
    assert len(selected.data["features"]) == 1


def test_a_new_map_asks_nothing_of_the_internet() -> None:
    m = map_layers.new_map()
    assert type(m).__module__.startswith("leafmap")
    assert list(m.layers) == []
    m = map_layers.new_map("/tiles/{z}/{x}/{y}", EVIL)
    (layer,) = m.layers
    assert layer.url == "/tiles/{z}/{x}/{y}"
    assert "<img" not in layer.attribution


def test_the_package_loads_no_map_before_one_is_wanted() -> None:
    code = (
        "import sys, cscale_widget;"
        "heavy = {'leafmap', 'ipyleaflet', 'geopandas', 'pandas', 'rasterio', 'boto3', 'openeo'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
