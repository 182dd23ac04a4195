"""What the panel asks of a user's server, through the hub and its proxy, on the real services."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from rasterio.io import MemoryFile

from cscale_cli.demo.session import HubSession
from cscale_core.client import Workspace
from cscale_core.errors import Conflict, InvalidInput
from cscale_hub.local.archive import simulate

WEST, SOUTH, EAST, NORTH = simulate.BBOX
MIDDLE = {"longitude": (WEST + EAST) / 2, "latitude": (SOUTH + NORTH) / 2}
QUESTION: dict[str, Any] = {
    "bbox": list(simulate.BBOX),
    "collections": [simulate.COLLECTION],
    "providers": ["site-b"],
}


@pytest.fixture(scope="module")
def workspace(researcher: HubSession) -> Workspace:
    return researcher.workspace


@pytest.fixture(scope="module")
def ref(workspace: Workspace) -> str:
    """A scene of an archive that knows nothing of us."""
    told = list(workspace.search_stream(limit=1, **QUESTION))
    found: str = next(line for line in told if line["type"] == "items")["items"][0]["ref"]
    return found


def layer(name: str) -> str:
    return f"layers/{quote(name, safe='')}"


def picture(researcher: HubSession, template: str, z: int, x: int, y: int) -> Any:
    """A tile as the page gets it: from the address in the TileJSON, with its cookies."""
    origin = researcher.workspace.url.partition("/user/")[0]
    address = template.replace("{z}", str(z)).replace("{x}", str(x)).replace("{y}", str(y))
    answer = researcher.get(origin + address)
    assert answer.headers["Content-Type"] == "image/png"
    with MemoryFile(answer.content) as file, file.open() as dataset:
        return dataset.read()


def tile_of(told: dict[str, Any]) -> tuple[int, int, int]:
    """The tile in the middle of the test's area, as close as the layer goes."""
    from rasterio.warp import transform

    (x,), (y,) = transform("EPSG:4326", "EPSG:3857", [MIDDLE["longitude"]], [MIDDLE["latitude"]])
    half, z = 20037508.342789244, told["maxzoom"]
    side = 2 * half / 2**z
    return z, int((x + half) / side), int((half - y) / side)


def test_a_scene_of_an_archive_is_shown_before_it_is_staged(
    researcher: HubSession, workspace: Workspace, ref: str
) -> None:
    name = f"item|{ref}"
    info = workspace.call("GET", layer(name))
    shown = [one["id"] for one in info["renderings"]]
    assert {"true-colour", "ndvi", "ndwi", "mndwi"} <= set(shown)
    for show in ("true-colour", "mndwi"):
        told = workspace.call("GET", f"{layer(name)}/tilejson", params={"show": show})
        assert picture(researcher, told["tiles"][0], *tile_of(told))[3].max() == 255
    point = workspace.call("GET", f"{layer(name)}/point", params={"show": "mndwi", **MIDDLE})
    (value,) = point["values"]
    assert value["value"] is None or -1 <= value["value"] <= 1
    legend = workspace.call("GET", f"{layer(name)}/legend", params={"show": "mndwi"})
    assert legend["stops"]


def test_a_staged_file_is_shown_from_the_bucket(
    researcher: HubSession, workspace: Workspace, ref: str
) -> None:
    job = workspace.stage([ref], ["B03"], register=False).wait()
    (item,) = job.results()
    bucket, _, key = item["assets"]["B03"]["href"].removeprefix("s3://").partition("/")
    listed = workspace.call(
        "GET",
        "storage/objects",
        params={"bucket": bucket, "prefix": key.rpartition("/")[0] + "/"},
    )
    (found,) = [one for one in listed["objects"] if one["key"] == key]
    result = f"job|{job.id}|{quote(item['id'], safe='')}"
    values = set()
    for name in (found["layer"], result):
        told = workspace.call("GET", f"{layer(name)}/tilejson")
        assert picture(researcher, told["tiles"][0], *tile_of(told)).shape == (4, 256, 256)
        point = workspace.call("GET", f"{layer(name)}/point", params=MIDDLE)
        values.add(round(point["values"][0]["value"] or 0.0, 6))
    # The item states the scale of the numbers, the bare object may not.
    assert len(values) <= 2
    (notice,) = [n for n in workspace.call("GET", "notices")["notices"] if n["job"] == job.id]
    assert notice["status"] == "finished"


def test_values_over_time_come_line_by_line(workspace: Workspace) -> None:
    told = list(workspace.search_stream(limit=4, **QUESTION))
    refs = [one["ref"] for line in told if line["type"] == "items" for one in line["items"]][:4]
    body = {"layers": [f"item|{ref}" for ref in refs], "show": "mndwi", **MIDDLE}
    lines = list(workspace.jobs.connection.lines("layers/series", body))
    assert [line["type"] for line in lines] == ["value"] * 4 + ["end"]
    assert len({line["datetime"] for line in lines[:-1]}) == 4


def test_what_there_is_when_is_counted(workspace: Workspace) -> None:
    body = {**QUESTION, "datetime": "2019-01-01/2021-12-31"}
    lines = list(workspace.jobs.connection.lines("catalog/histogram", body))
    counts = [line["count"] for line in lines if line["type"] == "count"]
    whole = workspace.search(**body, limit=1000)
    assert sum(counts) == len(whole["items"]) > 0
    assert len(lines[0]["bins"]) == len(counts) == 36


def test_a_file_goes_to_the_bucket_in_pieces_and_out_by_a_link(
    researcher: HubSession, workspace: Workspace
) -> None:
    places = workspace.call("GET", "storage/places")["places"]
    assert all(place["online"] for place in places), places
    home = next(place for place in places if place["purpose"] == "home")
    key = f"{home['prefix']}panel/my file.bin"
    data = bytes(range(256)) * (6 * 4096)
    target = {"bucket": home["bucket"], "key": key}
    upload = workspace.call(
        "POST", "storage/uploads", json={**target, "size": len(data), "replace": True}
    )
    at = 0
    while at < len(data):
        piece = data[at : at + 5 * 1024 * 1024]
        path = f"storage/uploads/{upload['id']}"
        at = workspace.call("PUT", path, params={"at": at}, content=piece)["received"]
    workspace.call("POST", f"storage/uploads/{upload['id']}/complete")
    with pytest.raises(Conflict):
        workspace.call("POST", "storage/uploads", json={**target, "size": 1})
    link = workspace.call("POST", "storage/links", json=target)["url"]
    assert researcher.get(link).content == data
    usage = list_lines(researcher, workspace, home["bucket"], f"{home['prefix']}panel/")
    assert usage[-1]["size"] == len(data)
    workspace.call("DELETE", "storage/objects", params=target)
    listed = workspace.call(
        "GET",
        "storage/objects",
        params={"bucket": home["bucket"], "prefix": f"{home['prefix']}panel/"},
    )
    assert listed["objects"] == []


def list_lines(
    researcher: HubSession, workspace: Workspace, bucket: str, prefix: str
) -> list[dict[str, Any]]:
    query = f"bucket={quote(bucket)}&prefix={quote(prefix)}"
    answer = researcher.get(f"{workspace.url}/cscale/api/v1/storage/usage?{query}")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_workflow_is_checked_by_the_back_end_before_it_is_submitted(
    workspace: Workspace, ref: str
) -> None:
    # The back end knows what the community's catalogue has.
    workspace.stage([ref], ["B08", "B04"], register=True).wait()
    offered = {one["name"]: one for one in workspace.call("GET", "workflows")["workflows"]}
    assert {"aqua-monitor", "composite", "index-map"} <= offered.keys()
    parameters = {
        "bbox": list(simulate.BBOX),
        "period": ["2018-01-01", "2023-01-01"],
        "collection": simulate.COLLECTION,
        "bands": ["B08", "B04"],
    }
    body = {"engine": "openeo", "parameters": parameters}
    spec = workspace.call("POST", "workflows/index-map/spec", json=body)
    assert workspace.call("POST", "jobs/validate", json=spec) == {"asked": True, "faults": []}
    spec["process"]["process_graph"]["save"]["process_id"] = "save_resullt"
    checked = workspace.call("POST", "jobs/validate", json=spec)
    assert checked["asked"]
    assert "save_resullt" in checked["faults"][0]["message"]
    (backend,) = [
        one
        for one in workspace.call("GET", "jobs/backends")["backends"]
        if one["engine"] == "openeo"
    ]
    known = workspace.call("GET", f"jobs/backends/{backend['id']}/processes")["processes"]
    assert "load_collection" in {one["id"] for one in known}
    # The hub logs in there by itself.
    with pytest.raises(InvalidInput, match="by a code"):
        workspace.call("POST", f"jobs/backends/{backend['id']}/login", json={})


def test_code_for_a_notebook_runs_in_a_kernel_and_results_are_on_its_map(
    researcher: HubSession, workspace: Workspace, ref: str
) -> None:
    body = {"refs": [ref], "assets": ["B03", "B04"]}
    for kind, printed in (("xarray", "print(*data.data_vars)"), ("gdal", "print(*data.data_vars)")):
        made = workspace.call("POST", "catalog/code", json={"kind": kind, **body})
        told = researcher.run_in_kernel(f"{made['code']}\n{printed}")
        assert told.splitlines()[-1].split() == ["B03", "B04"], kind
    job = workspace.stage([ref], ["B03"], register=False).wait()
    told = researcher.run_in_kernel(
        "from cscale_widget import add_search, show_results\n"
        f"m = show_results({job.id!r})\n"
        f"add_search(m, collections=[{simulate.COLLECTION!r}], providers=['site-b'], limit=5)\n"
        "print(type(m).__module__, m.layers[0].url, len(m.layers[1].data['features']))"
    )
    module, url, count = told.splitlines()[-1].split()
    assert module.startswith("leafmap")
    assert url.startswith(workspace.url[workspace.url.index("/user/") :])
    assert count == "5"
    opened = workspace.call("GET", f"jobs/{job.id}/code")
    # And what other tests brought of the same item.
    assert "B03" in researcher.run_in_kernel(f"{opened['code']}\nprint(*data.data_vars)").split()
