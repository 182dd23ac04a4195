"""Code for notebooks: it runs, and what others wrote stays text in it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cscale_core import client
from cscale_core.codegen.items import Chosen, Kind, snippet
from cscale_core.codegen.jobs import job_snippet
from cscale_core.errors import InvalidInput
from cscale_core.ingest.item_members import extensions_of
from cscale_core.ingest.raster_members import raster_members
from tests.core.workflows.raster_builders import asset, item, write

KINDS: tuple[Kind, ...] = ("xarray", "openeo", "gdal", "duckdb")
HOSTILE = "x'); import os; os.system('id') #\n\u2028\u202e__import__('os')\"\"\""


@pytest.fixture
def scenes(tmp_path: Path) -> list[dict[str, Any]]:
    """Two dates of two bands on one grid, as an archive gives them."""
    found = []
    for day in (1, 2):
        assets = {}
        for number, key in enumerate(("B04", "B08")):
            path = write(
                tmp_path / f"{key}-{day}.tif", np.full((40, 40), day * 10 + number, "uint16")
            )
            assets[key] = asset(path, **raster_members(path, [key]))
        scene = item(f"scene-{day}", f"2024-05-0{day}T10:00:00Z", **assets)
        scene["stac_extensions"] = extensions_of(scene)
        # Where the test's rasters are.
        scene["bbox"] = [-5.9, 36.41, -5.88, 36.43]
        west, south, east, north = scene["bbox"]
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        scene["geometry"] = {"type": "Polygon", "coordinates": [ring]}
        found.append(scene)
    return found


def chosen(scenes: list[dict[str, Any]], **more: Any) -> Chosen:
    return Chosen([f"a|c|{scene['id']}" for scene in scenes], scenes, **more)


def run(code: str, scenes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the last line of the code gives, in a server that knows these items."""

    class Here:
        def item(self, ref: str) -> dict[str, Any]:
            return next(one for one in scenes if ref == f"a|c|{one['id']}")

    monkeypatch.setattr("cscale_core.client.here", Here)
    tree = ast.parse(code)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {}
    exec(compile(tree, "cell", "exec"), names)  # noqa: S102  # that is what is tested
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307


def test_xarray_code_loads_what_was_chosen(
    scenes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = snippet("xarray", chosen(scenes))
    data = run(made.code, scenes, monkeypatch)
    assert set(data.data_vars) == {"B04", "B08"}
    assert data.sizes["time"] == 2
    assert int(data.B08.isel(time=1).max()) == 21


def test_gdal_code_opens_each_file(
    scenes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    data = run(snippet("gdal", chosen(scenes, assets=("B04",))).code, scenes, monkeypatch)
    assert list(data.data_vars) == ["B04"]
    assert capsys.readouterr().out.count("GTiff") == 2


def test_duckdb_code_makes_a_table(
    scenes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = run(snippet("duckdb", chosen(scenes)).code, scenes, monkeypatch)
    assert list(table["id"]) == ["scene-1", "scene-2"]


def test_openeo_code_asks_for_the_same_place_and_time(scenes: list[dict[str, Any]]) -> None:
    made = snippet("openeo", chosen(scenes, backend="cdse"))
    ast.parse(made.code)
    assert "connect('cdse')" in made.code
    assert "'2024-05-01', '2024-05-02T23:59:59Z'" in made.code
    assert "['B04', 'B08']" in made.code
    assert made.notes
    scenes[1]["collection"] = "other"
    with pytest.raises(InvalidInput, match="several collections"):
        snippet("openeo", chosen(scenes))


def test_items_without_a_projection_get_one(scenes: list[dict[str, Any]]) -> None:
    for scene in scenes:
        for one in scene["assets"].values():
            del one["proj:code"]
    made = snippet("xarray", chosen(scenes))
    assert 'crs="utm"' in made.code
    assert any("projection" in note for note in made.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_what_others_wrote_stays_text(kind: Kind, scenes: list[dict[str, Any]]) -> None:
    for scene in scenes:
        scene["id"] = scene["collection"] = HOSTILE
        scene["assets"] = {HOSTILE: scene["assets"]["B04"]}
    made = snippet(kind, chosen(scenes, backend=HOSTILE))
    assert made.code.isascii()
    tree = ast.parse(made.code)
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert "os" not in imported
    called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "__import__" not in called


def test_nothing_chosen_is_told(scenes: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidInput, match="Nothing was chosen"):
        snippet("xarray", chosen([]))
    for scene in scenes:
        scene["assets"] = {"readme": {"href": "x.txt", "type": "text/plain"}}
    with pytest.raises(InvalidInput, match="no raster"):
        snippet("gdal", chosen(scenes))


def test_no_signed_address_is_in_the_code(scenes: list[dict[str, Any]]) -> None:
    for scene in scenes:
        for one in scene["assets"].values():
            one["href"] = "https://a.example/x.tif?X-Amz-Signature=secret"
    for kind in KINDS:
        assert "secret" not in snippet(kind, chosen(scenes)).code


# -- jobs ------------------------------------------------------------------------------------------

SPEC: dict[str, Any] = {
    "engine": "openeo",
    "title": HOSTILE,
    "backend": "cdse",
    "process": {"process_graph": {"load": {"process_id": "load_collection", "arguments": {}}}},
    "options": {"driver-memory": "2g"},
    "vo": "",
    "area": None,
}


def made_of(code: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """What the code of a job submits."""

    class Jobs:
        def submit(self, *given: Any, **members: Any) -> Any:
            return given, members

    monkeypatch.setitem(vars(client), "jobs", Jobs())
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    job: tuple[Any, ...] = names["job"]
    return job


def test_code_that_made_a_job_makes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made = job_snippet("submit", "j-1", SPEC)
    assert not {"\u2028", "\u202e"} & set(made.code)
    (engine, process), members = made_of(made.code, monkeypatch)
    assert (engine, process) == ("openeo", SPEC["process"])
    assert members == {name: SPEC[name] for name in ("title", "backend", "options")}
    assert made.notes == ()


def test_secrets_are_left_out_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    process = {"command": ["fetch", "--password", "hunter2"], "environment": {"API_TOKEN": "abc"}}
    made = job_snippet("submit", "j-1", SPEC | {"engine": "slurm", "process": process})
    assert "hunter2" not in made.code
    assert "abc" not in made.code
    assert any("left out" in note for note in made.notes)


def test_a_process_that_is_too_long_is_taken_from_the_job() -> None:
    long = {"items": [{"id": "x" * 1000} for _ in range(200)]}
    made = job_snippet("submit", "j-1", SPEC | {"process": long})
    assert ".clone()" in made.code
    assert len(made.code) < 1000


def test_results_are_opened_by_the_id_of_the_job() -> None:
    made = job_snippet("results", HOSTILE, SPEC)
    ast.parse(made.code)
    assert not {"\u2028", "\u202e"} & set(made.code)
    assert ".results()" in made.code
