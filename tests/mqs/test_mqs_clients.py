"""Clients as they are: pystac-client, STAC Browser's requests, and stac-api-validator."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from pystac_client import Client

VALIDATOR = Path(__file__).parent / "offline_validator.py"
SQUARE = {
    "type": "Polygon",
    "coordinates": [[[19, 19], [21, 19], [21, 21], [19, 21], [19, 19]]],
}


@pytest.fixture(scope="module")
def client(mqs: Any) -> Client:
    return Client.open(mqs.root)


def test_pystac_client_lists_collections(client: Client) -> None:
    found = {each.id: each for each in client.get_collections()}
    assert set(found) == {"alpha|s2", "alpha|landsat", "still|quiet", "plain|urn:eop:plain"}
    quiet = client.get_collection("still|quiet")
    assert quiet.title == "Scenes of quiet"
    assert sorted(each.id for each in quiet.get_items()) == [f"s{n:02d}" for n in range(3, 12)]
    assert [each.id for each in quiet.get_items("s04", "a01")] == ["s04"]
    assert quiet.get_item("s05").id == "s05"
    searched = client.collection_search(q="landsat").collections_as_dicts()
    assert [each["id"] for each in searched] == ["alpha|landsat"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pystac_client_pages_over_all_archives(client: Client, method: Any) -> None:
    found = list(client.search(method=method, limit=8).items())
    assert len({(each.collection_id, each.id) for each in found}) == len(found) == 60
    moments = [each.datetime for each in found if each.datetime is not None]
    assert moments == sorted(moments, reverse=True)
    few = client.search(method=method, limit=5, max_items=12)
    assert len(list(few.items())) == 12


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pystac_client_filters_sorts_and_chooses_fields(client: Client, method: Any) -> None:
    texts = client.search(method=method, filter="eo:cloud_cover < 10", sortby="+datetime", limit=3)
    condition = {"op": "<", "args": [{"property": "eo:cloud_cover"}, 10]}
    objects = client.search(method=method, filter=condition, sortby="+datetime", limit=3)
    queried = client.search(
        method=method, query={"eo:cloud_cover": {"lt": 10}}, sortby="+datetime", limit=3
    )
    found = [each.id for each in texts.items()]
    assert found == [each.id for each in objects.items()] == [each.id for each in queried.items()]
    assert sorted(found) == ["a-east", "a-west", "a01", "a02", "l01", "p01", "p02", "p03"]
    fields = client.search(method=method, fields=["properties.eo:cloud_cover"], limit=60)
    for each in fields.items_as_dicts():
        assert set(each["properties"]) == {"eo:cloud_cover"}
    some = client.search(method=method, collections=["plain|urn:eop:plain"], ids=["p02", "a01"])
    assert [each.id for each in some.items()] == ["p02"]
    there = client.search(method=method, intersects=SQUARE, datetime="2024-05-03")
    assert sorted(each.id for each in there.items()) == ["a03", "p03", "s03"]


def test_pystac_client_follows_an_item_back_to_its_collection(client: Client) -> None:
    found = next(iter(client.search(collections=["alpha|landsat"]).items()))
    assert found.get_collection().id == "alpha|landsat"
    parent = found.get_parent()
    assert parent is not None
    assert parent.id == "alpha|landsat"
    assert found.get_root().id == "cscale-mqs"


def test_pystac_client_reads_queryables(client: Client) -> None:
    assert "eo:cloud_cover" in client.get_queryables()["properties"]


class Browser:
    """Sends what STAC Browser sends: no slash at the end, Accept-Language, whole bodies of links
    (it does not merge)."""

    def __init__(self, mqs: Any) -> None:
        self.http = mqs.http
        self.headers = {
            "Accept": "application/json, text/plain, */*",
            "Accept-Language": "en",
            "Origin": "https://radiantearth.github.io",
        }

    def load(self, link: Any) -> Any:
        link = {"href": link} if isinstance(link, str) else link
        answer = self.http.request(
            link.get("method", "GET"),
            link["href"].rstrip("/"),
            headers=self.headers,
            json=link.get("body"),
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["access-control-allow-origin"] == "*"
        return answer.json()


def test_stac_browser_walks_from_the_root_to_an_item(mqs: Any, made: SimpleNamespace) -> None:
    browser = Browser(mqs)
    root = browser.load(mqs.root)
    first = browser.load(made.link(root, "data")["href"] + "?limit=3")
    second = browser.load(made.link(first, "next"))
    names = [each["id"] for each in first["collections"] + second["collections"]]
    assert len(names) == len(set(names)) == 4
    [shown] = [each for each in first["collections"] if each["id"] == "alpha|s2"]
    collection = browser.load(made.link(shown, "self"))
    page = browser.load(made.link(collection, "items")["href"] + "?limit=12&sortby=-datetime")
    assert len(page["features"]) == 12
    rest = browser.load(made.link(page, "next"))
    assert len(page["features"]) + len(rest["features"]) == 22
    item = browser.load(made.link(rest["features"][0], "self"))
    assert browser.load(made.link(item, "collection"))["id"] == "alpha|s2"
    assert browser.load(made.link(item, "root"))["id"] == "cscale-mqs"


def test_stac_browser_searches_by_get_and_post(mqs: Any, made: SimpleNamespace) -> None:
    browser = Browser(mqs)
    links = {link["method"]: link for link in made.links(browser.load(mqs.root), "search")}
    text = quote("eo:cloud_cover <= 20", safe="")
    times = quote("2024-05-01T00:00:00.000Z/2024-05-10T23:59:59.999Z", safe="")
    names = quote("alpha|s2,plain|urn:eop:plain", safe="")
    got = browser.load(
        f"{links['GET']['href']}?limit=20&datetime={times}&collections={names}"
        f"&bbox=19,19,21,21&filter-lang=cql2-text&filter={text}&sortby=-datetime"
    )
    body = {
        "limit": 7,
        "datetime": "2024-05-01T00:00:00.000Z/2024-05-10T23:59:59.999Z",
        "collections": ["alpha|s2", "plain|urn:eop:plain"],
        "bbox": [19, 19, 21, 21],
        "filter-lang": "cql2-json",
        "filter": {"op": "<=", "args": [{"property": "eo:cloud_cover"}, 20]},
        "sortby": [{"field": "datetime", "direction": "desc"}],
    }
    posted = browser.load({**links["POST"], "body": body})
    following = browser.load(made.link(posted, "next"))
    found = made.ids(posted) + made.ids(following)
    assert found == made.ids(got)
    assert sorted(found) == [f"a{n:02d}" for n in range(1, 6)] + [f"p{n:02d}" for n in range(1, 9)]
    queryables = browser.load(
        made.link(browser.load(mqs.root), "http://www.opengis.net/def/rel/ogc/1.0/queryables")
    )
    assert "eo:cloud_cover" in queryables["properties"]


@pytest.mark.parametrize(
    ("collection", "classes"),
    [
        ("alpha|s2", ("core", "collections", "features", "item-search")),
        ("plain|urn:eop:plain", ("core", "collections", "features")),
        ("still|quiet", ("core", "collections", "features")),
    ],
)
def test_stac_api_validator_finds_no_error(mqs: Any, collection: str, classes: Any) -> None:
    """With paging, and offline: see the runner. It compares addresses as texts, so it is given
    the collection's name as it stands in an address."""
    run = subprocess.run(
        [
            *(sys.executable, str(VALIDATOR), "--root-url", mqs.root, "--log-level", "WARNING"),
            *(word for name in classes for word in ("--conformance", name)),
            *("--collection", quote(collection, safe=":"), "--geometry", json.dumps(SQUARE)),
            "--validate-pagination",
        ],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    assert "Errors: none" in run.stdout
    assert "outside: nothing" in run.stdout, run.stdout[-500:]
    # What was read to validate with is what it is said to be.
    for kind in ("item", "collection"):
        assert f"https://schemas.stacspec.org/v1.1.0/{kind}-spec/json-schema/" in run.stdout
