"""Registering against a STAC API with Transactions that answers as stac-fastapi does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from catalogue_double import Catalogue, Tokens

from cscale_core.errors import InvalidInput, UpstreamError
from cscale_core.http import guarded_client
from cscale_core.ingest.register import RegisterReport, collection_for, register, same_item
from cscale_core.site import Site


def make_item(name: str = "x", collection: str = "s2", **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "geometry": {"type": "Point", "coordinates": [14.5, 45.8]},
        "bbox": [14.5, 45.8, 14.5, 45.8],
        "properties": {"datetime": "2024-05-01T10:00:00Z", **properties},
        "links": [{"rel": "via", "href": "https://cat.example.eu/x"}],
        "assets": {"a": {"href": "s3://b/x.tif", "file:size": 3}},
    }


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.fixture
def here(catalogue: Catalogue, serve: Any, make_site: Callable[..., Site]) -> Site:
    return make_site(catalogue={"url": serve(catalogue.app) + "/stac"})


async def run(site: Site, *items: dict[str, Any], tokens: Any = None) -> RegisterReport:
    async with guarded_client(site) as http:
        return await register(list(items), site, tokens or Tokens(), http)


def outcomes(report: RegisterReport) -> list[str]:
    return [item.outcome for item in report.items]


async def test_new_items_are_created_and_a_missing_collection_is_made(
    here: Site, catalogue: Catalogue
) -> None:
    report = await run(here, make_item("x"), make_item("y"))
    assert outcomes(report) == ["created", "created"]
    assert report.ok
    assert report.collections_created == ["s2"]
    made = catalogue.collections["s2"]
    assert made["extent"]["spatial"]["bbox"] == [[14.5, 45.8, 14.5, 45.8]]
    assert made["extent"]["temporal"]["interval"] == [["2024-05-01T10:00:00Z"] * 2]
    assert set(catalogue.items) == {("s2", "x"), ("s2", "y")}


async def test_the_same_item_again_is_unchanged_and_a_changed_one_replaced(
    here: Site, catalogue: Catalogue
) -> None:
    await run(here, make_item())
    catalogue.log.clear()
    assert outcomes(await run(here, make_item())) == ["unchanged"]
    assert not any(line.startswith("PUT") for line in catalogue.log)
    assert outcomes(await run(here, make_item(platform="sentinel-2b"))) == ["updated"]
    assert catalogue.items["s2", "x"]["properties"]["platform"] == "sentinel-2b"


async def test_ids_with_slashes_stay_one_segment(here: Site, catalogue: Catalogue) -> None:
    item = make_item("a/../b?x", "c|d e")
    await run(here, item)
    catalogue.log.clear()
    report = await run(here, item)
    assert report.items[0].id == "a/../b?x"
    assert not any(name == "b?x" for _, name in catalogue.items)


async def test_an_expired_token_is_renewed_once(here: Site) -> None:
    tokens = Tokens("old")
    assert outcomes(await run(here, make_item(), tokens=tokens)) == ["created"]
    assert tokens.forgotten == 1


async def test_a_lost_answer_is_looked_for_and_not_sent_again(
    here: Site, catalogue: Catalogue
) -> None:
    catalogue.loses_answers = 1
    report = await run(here, make_item())
    assert outcomes(report) == ["created"]
    assert "lost" in report.items[0].note
    assert catalogue.log.count("POST s2/items") == 1
    assert catalogue.log[-1] == "GET s2/items/x"


async def test_a_refusal_that_wrote_nothing_is_sent_again_after_looking(
    here: Site, catalogue: Catalogue
) -> None:
    catalogue.statuses = [503]
    assert outcomes(await run(here, make_item())) == ["created"]
    assert catalogue.log[-3:] == ["POST s2/items", "GET s2/items/x", "POST s2/items"]


async def test_one_refused_item_does_not_stop_the_others(here: Site, catalogue: Catalogue) -> None:
    catalogue.statuses = [400]
    report = await run(here, *(make_item(f"i{n}") for n in range(3)))
    assert sorted(outcomes(report)) == ["created", "created", "error"]
    assert not report.ok
    [failed] = [item for item in report.items if item.error]
    assert failed.error is not None
    assert failed.error["code"] == "invalid_input"
    assert "not now" in failed.error["message"]


async def test_few_requests_are_under_way_at_a_time(here: Site, catalogue: Catalogue) -> None:
    report = await run(here, *(make_item(f"i{n}") for n in range(20)))
    assert report.count("created") == 20
    assert 1 < catalogue.most_busy <= 4


async def test_no_catalogue_is_one_clear_error(
    make_site: Callable[..., Site], free_port: int
) -> None:
    site = make_site(catalogue={"url": f"http://127.0.0.1:{free_port}"})
    with pytest.raises(UpstreamError, match="cannot be reached"):
        await run(site, make_item())


async def test_items_that_cannot_be_registered_send_nothing(
    here: Site, catalogue: Catalogue
) -> None:
    homeless = make_item()
    del homeless["collection"]
    with pytest.raises(InvalidInput, match="names no collection"):
        await run(here, make_item("ok"), homeless)
    assert catalogue.log == []


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"links": []}, False),
        ({"bbox": [14.5, 45.8, 14.5, 45.8000000000001]}, True),
        ({"bbox": [14.5, 45.8, 14.5, 45.9]}, False),
        ({"assets": {}}, False),
        ({"stac_version": "1.0.0"}, True),
        ({"geometry": None}, False),
    ],
)
def test_items_are_compared_by_what_they_say(change: dict[str, Any], same: bool) -> None:
    assert same_item(make_item(), {**make_item(), **change}) is same
    assert same_item(make_item(), Catalogue.as_stored(make_item()))


def test_a_collection_without_places_or_times_is_still_valid() -> None:
    bare = make_item()
    bare["bbox"], bare["properties"] = None, {"datetime": None}
    made = collection_for("s2", [bare])
    assert made["extent"]["spatial"]["bbox"] == [[-180.0, -90.0, 180.0, 90.0]]
    assert made["extent"]["temporal"]["interval"] == [[None, None]]
