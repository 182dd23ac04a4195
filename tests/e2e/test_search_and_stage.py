"""Searching and staging as the server does it, at the edges: nothing there, damaged, full."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from cscale_cli.demo.session import HubSession
from cscale_core.client import JobFailed
from cscale_core.errors import InvalidInput
from cscale_hub.local.archive import simulate
from cscale_hub.local.lifecycle import Federation


def scenes(researcher: HubSession, count: int) -> list[dict]:
    found = researcher.workspace.search(
        bbox=list(simulate.BBOX),
        collections=[simulate.COLLECTION],
        limit=count,
        providers=["site-b"],
    )
    items: list[dict] = found["items"]
    assert len(items) == count
    return items


def renamed(item: dict, name: str) -> dict:
    """The same scene under an id that no other test stages, so that tests need no order."""
    return copy.deepcopy(item) | {"id": f"{item['id']}-{name}"}


def by_id(answer: dict) -> dict[str, dict]:
    return {provider["id"]: provider for provider in answer["providers"]}


def test_dead_archive_is_reported_and_the_others_answer(researcher: HubSession) -> None:
    answer = researcher.workspace.search(bbox=list(simulate.BBOX), limit=5)
    providers = by_id(answer)
    assert providers["site-c"]["status"] == "error"
    assert providers["site-c"]["error"]
    assert providers["site-b"]["status"] == "ok"
    assert answer["items"]


def test_slim_items_stream_through_the_hub_and_the_rest_is_asked_for(
    researcher: HubSession,
) -> None:
    workspace = researcher.workspace
    # The catalogue may hold results of other tests there, which are no scenes.
    question = {"bbox": list(simulate.BBOX), "collections": [simulate.COLLECTION]}
    told = list(workspace.search_stream(limit=5, **question))
    assert {line["type"] for line in told[:-1]} == {"items", "report"}
    page = told[-1]
    assert (page["type"], page["complete"]) == ("page", False)
    assert len(page["order"]) == 5
    sent = [small for line in told if line["type"] == "items" for small in line["items"]]
    small = sent[page["order"][0]]
    assert small["geometry"]["type"] == "Polygon"
    whole = workspace.item(small["ref"])
    assert "B03" in whole["assets"]
    picture = researcher.get(
        f"{workspace.url}/cscale/api/v1/catalog/items/{quote(small['ref'], safe='')}/thumbnail"
    )
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    (staged,) = workspace.stage([small["ref"]], ["B03"], register=False).wait().results()
    # Others of its assets may have been staged before; they stay.
    assert staged["assets"]["B03"]["href"].startswith("s3://")


def test_every_page_once_and_the_dead_archive_is_a_warning(researcher: HubSession) -> None:
    question = {"bbox": list(simulate.BBOX), "collections": [simulate.COLLECTION]}
    with pytest.warns(UserWarning, match="missing"):
        found = list(researcher.workspace.search_all(limit=20, **question))
    whole = researcher.workspace.search(limit=1000, **question)
    assert [item["id"] for item in found] == [item["id"] for item in whole["items"]]
    assert len({item["id"] for item in found}) == len(found) > 40


def test_collections_and_providers_of_the_federation(researcher: HubSession) -> None:
    listed = researcher.workspace.collections()
    assert f"site-b|{simulate.COLLECTION}" in [entry["id"] for entry in listed["collections"]]
    assert by_id(listed)["site-c"]["status"] == "error"
    online = {each["id"]: each["online"] for each in researcher.workspace.providers()}
    assert (online["site-b"], online["site-c"]) == (True, False)


def test_empty_is_not_an_error(researcher: HubSession) -> None:
    answer = researcher.workspace.search(
        bbox=list(simulate.BBOX), datetime="1999-01-01T00:00:00Z/1999-12-31T00:00:00Z"
    )
    assert answer["items"] == []
    assert by_id(answer)["site-b"]["status"] == "ok"
    assert by_id(answer)["site-b"]["returned"] == 0


def test_area_outside_everything_finds_nothing(researcher: HubSession) -> None:
    answer = researcher.workspace.search(bbox=[170, -60, 171, -59])
    assert answer["items"] == []
    assert by_id(answer)["site-b"]["status"] == "ok"


@pytest.mark.parametrize(
    "query",
    [
        {"bbox": [1, 2, 3]},
        {"bbox": [0, 50, 1, 40]},
        {"datetime": "yesterday"},
        {"limit": 0},
        {"providers": ["nobody"]},
        {"unknown": 1},
    ],
)
def test_wrong_question_is_explained(researcher: HubSession, query: dict) -> None:
    with pytest.raises(InvalidInput) as caught:
        researcher.workspace.search(**query)
    assert caught.value.message


def test_staged_twice_is_fetched_once(researcher: HubSession) -> None:
    items = [renamed(item, "twice") for item in scenes(researcher, 2)]
    workspace = researcher.workspace
    first = workspace.stage(items, ["B03", "thumbnail"], register=False).wait().results()
    second = workspace.stage(items, ["B03", "thumbnail"], register=False).wait()
    assert [item["id"] for item in first] == [item["id"] for item in items]
    assert first[0]["assets"].keys() == {"B03", "thumbnail"}
    said = " ".join(line.message for line in second.logs(level="debug"))
    assert "skipped" in said or "already" in said
    path = first[0]["assets"]["B03"]["href"].replace("s3://", "s3/")
    assert researcher.read_file(path)[:4] in (b"II*\0", b"II+\0")


def test_corrupt_file_is_refused_and_nothing_is_published(
    federation: Federation, researcher: HubSession
) -> None:
    """The archive's file is cut short: declared size and checksum no longer match."""
    scene = scenes(researcher, 3)[2]
    item = renamed(scene, "short")
    path = federation.data / "archive/scenes" / scene["id"] / "B04.tif"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        with pytest.raises(JobFailed) as caught:
            researcher.workspace.stage([item], ["B03", "B04"], register=False).wait()
    finally:
        path.write_bytes(whole)
    error = researcher.workspace.jobs[caught.value.details["job"]].error
    assert error is not None
    assert error.code == "damaged_data"
    assert error.hint
    folder = f"s3/aquamonitor/products/{simulate.COLLECTION}/{item['id']}"
    names = {entry["name"] for entry in researcher.list_folder(folder)}
    assert "item.json" not in names
    assert "B04.tif" not in names
    repaired = researcher.workspace.stage([item], ["B03", "B04"], register=False).wait()
    assert repaired.results()[0]["id"] == item["id"]


def test_corrupt_cog_without_a_checksum_is_found_by_opening_it(
    federation: Federation, researcher: HubSession
) -> None:
    scene = scenes(researcher, 4)[3]
    item = renamed(scene, "zeros")
    for member in ("file:checksum", "file:size"):
        del item["assets"]["B11"][member]
    path = federation.data / "archive/scenes" / scene["id"] / "B11.tif"
    whole = path.read_bytes()
    path.write_bytes(b"\0" * len(whole))
    try:
        with pytest.raises(JobFailed) as caught:
            researcher.workspace.stage([item], ["B11"], register=False).wait()
    finally:
        path.write_bytes(whole)
    error = researcher.workspace.jobs[caught.value.details["job"]].error
    assert error is not None
    assert error.code == "damaged_data"


def test_address_inside_the_network_is_not_asked(researcher: HubSession) -> None:
    """An item whose file lies at the metadata service of a cloud: refused, not fetched."""
    item = renamed(scenes(researcher, 1)[0], "elsewhere")
    item["assets"] = {"B03": item["assets"]["B03"] | {"href": "http://169.254.169.254/latest"}}
    with pytest.raises((JobFailed, InvalidInput)) as caught:
        researcher.workspace.stage([item], None, register=False).wait()
    assert "169.254.169.254" in str(caught.value)


def test_other_vos_bucket_is_out_of_reach(researcher: HubSession) -> None:
    item = scenes(researcher, 1)[0]
    with pytest.raises(InvalidInput):
        researcher.workspace.stage([item], ["B03"], vo="waterwatch.c-scale.eu")


def test_registered_items_carry_three_addresses(
    federation: Federation, researcher: HubSession
) -> None:
    items = scenes(researcher, 2)
    workspace = researcher.workspace
    staged = workspace.stage(items, ["B03"], register=True).wait().results().items
    found = workspace.search(ids=[staged[0]["id"]], providers=["catalogue"])["items"]
    assert len(found) == 1
    asset = found[0]["assets"]["B03"]
    assert asset["href"].startswith("s3://aquamonitor/products/")
    assert set(asset["alternate"]) >= {"https", "mount"}
    raw = json.loads(
        researcher.get(
            f"{federation.hub_url}/services/catalogue/collections/{simulate.COLLECTION}"
            f"/items/{staged[0]['id']}"
        ).text
    )
    canonical = raw["assets"]["B03"]["alternate"]["mount"]["href"]
    assert canonical == "/s3/" + asset["href"].removeprefix("s3://")
    again = workspace.register(staged)
    assert {outcome["outcome"] for outcome in again["items"]} == {"unchanged"}


def test_local_mount_path_is_a_file(researcher: HubSession) -> None:
    status = researcher.workspace.call("GET", "status")
    if status["mount_mode"] != "fuse":
        pytest.skip("install fuse3 (Debian) and give access to /dev/fuse for mounted buckets")
    items = scenes(researcher, 1)
    workspace = researcher.workspace
    staged = workspace.stage(items, ["B03"], register=True).wait().results().items
    asset = workspace.search(ids=[staged[0]["id"]], providers=["catalogue"])["items"][0]["assets"][
        "B03"
    ]
    path = Path(asset["alternate"]["mount"]["href"])
    assert path.is_file()
    assert path.stat().st_size == asset["file:size"]
