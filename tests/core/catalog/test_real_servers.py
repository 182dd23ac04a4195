"""The engine over servers of three kinds at once: stac-fastapi with a database, files, a double."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cscale_core.catalog.federation import Federation, SearchQuery, SearchResult
from cscale_core.http import guarded_client
from cscale_core.site import Site
from cscale_hub.local.catalogue.application import build_application
from cscale_hub.local.catalogue.config import CatalogueConfig
from cscale_hub.local.catalogue.sqlite_store import SqliteStore
from tests.core.catalog.doubles import Behaviour, Doubles, Item, make_item, running

COLLECTION = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "id": "s2",
    "description": "for tests",
    "license": "other",
    "extent": {
        "spatial": {"bbox": [[-180, -90, 180, 90]]},
        "temporal": {"interval": [[None, None]]},
    },
    "links": [],
}


def day(number: int, prefix: str, **properties: Any) -> Item:
    return make_item(
        f"{prefix}{number}", f"2024-03-{number:02d}T10:00:00Z", properties=dict(properties)
    )


@pytest.fixture(scope="module")
def stac_fastapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The project's catalogue on SQLite, with 28 items: stac-fastapi over real HTTP."""
    folder = tmp_path_factory.mktemp("catalogue")

    async def fill() -> None:
        store = SqliteStore(folder / "items.db")
        await store.start()
        await store.create_collection(COLLECTION)
        items = [day(n, "db", **{"eo:cloud_cover": n}) for n in range(1, 29)]
        await store.create_items("s2", items)
        await store.stop()

    asyncio.run(fill())
    config = CatalogueConfig(port=1, data_dir=folder, issuer="http://127.0.0.1:9", read_only=True)
    application = build_application(config, SqliteStore(folder / "items.db"))
    with running(application, lifespan=True) as url:
        yield f"{url}/services/catalogue"


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    # With the default of 5, a burst of connections waits a second for the kernel's next try.
    request_queue_size = 128


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A static catalogue: two collections, one of them in a sub-catalogue, items beside them."""
    root = tmp_path / "static"
    asked: list[str] = []

    class Handler(_Files):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

    def write(path: str, document: dict[str, Any]) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(document))

    def items(folder: str, collection: str, numbers: range, lon: float) -> list[dict[str, str]]:
        links = []
        for number in numbers:
            item = day(number, f"{collection}-", **{"eo:cloud_cover": number})
            item |= {"collection": collection, "assets": {"B04": {"href": "./B04.tif"}}}
            item["geometry"]["coordinates"][0] = [
                [lon + x, 45 + y] for x, y in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))
            ]
            item["bbox"] = [lon, 45, lon + 1, 46]
            write(f"{folder}/{item['id']}/item.json", item)
            links.append({"rel": "item", "href": f"./{item['id']}/item.json"})
        return links

    def collection(name: str, lon: float, links: list[dict[str, str]]) -> dict[str, Any]:
        extent = {
            "spatial": {"bbox": [[lon, 45, lon + 1, 46]]},
            "temporal": {"interval": [["2024-03-01T00:00:00Z", "2024-03-31T00:00:00Z"]]},
        }
        return {**COLLECTION, "id": name, "extent": extent, "links": links}

    write("near/collection.json", collection("s2", 10, items("near", "s2", range(1, 13), 10)))
    write(
        "sub/far/collection.json", collection("far", 100, items("sub/far", "far", range(1, 5), 100))
    )
    catalogue = {"type": "Catalog", "id": "c", "description": "c", "stac_version": "1.1.0"}
    write(
        "sub/catalog.json",
        {**catalogue, "links": [{"rel": "child", "href": "far/collection.json"}]},
    )
    write(
        "catalog.json",
        {
            **catalogue,
            "links": [
                {"rel": "self", "href": "https://elsewhere.example.eu/catalog.json"},
                {"rel": "child", "href": "./near/collection.json"},
                {"rel": "child", "href": "./sub/catalog.json"},
            ],
        },
    )
    server = _Server(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/catalog.json", root, asked
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def double() -> Iterator[tuple[str, Behaviour]]:
    application = Doubles()
    behaviour = Behaviour([day(n, "double") for n in range(28, 0, -1)], largest_page=6)
    application.archives = {"d": behaviour}
    with running(application) as url:
        yield f"{url}/d", behaviour


@pytest.fixture
def three(
    make_site: Callable[..., Site], stac_fastapi: str, files: Any, double: Any
) -> Callable[..., Site]:
    def make(**members: Any) -> Site:
        common = {"deadline": 10.0, "limit": 10, **members}
        return make_site(
            providers=[
                {"id": "db", "title": "Database", "url": stac_fastapi, **common},
                {"id": "files", "title": "Files", "url": files[0], "kind": "static", **common},
                {"id": "double", "title": "Double", "url": double[0], **common},
            ]
        )

    return make


async def search(site: Site, cursor: str = "", **query: Any) -> SearchResult:
    async with guarded_client(site) as http:
        federation = Federation(site, http, None, key=b"the same after a restart")
        return await federation.search(SearchQuery(**query), cursor)


async def all_pages(site: Site, **query: Any) -> tuple[list[Item], list[SearchResult]]:
    """Page by page to the end, with a new engine and a new client for each."""
    pages = [await search(site, **query)]
    while pages[-1].next:
        assert len(pages) < 100
        pages.append(await search(site, pages[-1].next, **query))
    return [item for page in pages for item in page.items], pages


async def test_three_kinds_of_servers_are_one_archive(three: Any) -> None:
    items, pages = await all_pages(three(), limit=7)
    assert [item["id"] for item in items] == [
        name
        for n in range(28, 0, -1)
        for name in (
            f"db{n}",
            *([f"s2-{n}"] if n <= 12 else []),
            *([f"far-{n}"] if n <= 4 else []),
            f"double{n}",
        )
    ]
    assert all(page.complete for page in pages)
    assert all(len(page.items) == 7 for page in pages[:-1])
    assert pages[0].matched == 28 + 16 + 28


async def test_everything_at_once_is_the_same_as_page_by_page(three: Any) -> None:
    site = three()
    items, _ = await all_pages(site, limit=9)
    async with guarded_client(site) as http:
        streamed = [item async for item in Federation(site, http, None).items(SearchQuery())]
    assert [item["id"] for item in streamed] == [item["id"] for item in items]


async def test_one_question_means_the_same_everywhere(three: Any) -> None:
    result = await search(
        three(),
        bbox=(9, 44, 12, 47),
        datetime="2024-03-03/2024-03-06",
        collections=["s2"],
        filter="eo:cloud_cover <= 5",
        sortby="+datetime",
    )
    assert [item["id"] for item in result.items] == [
        name for n in range(3, 6) for name in (f"db{n}", f"s2-{n}")
    ]
    reports = {report.id: report for report in result.providers}
    assert reports["db"].applied_here == []
    assert reports["files"].applied_here == ["filter", "sortby"]
    assert result.complete


@pytest.mark.parametrize("post", [405, 501])
async def test_a_double_without_post_is_asked_by_get(three: Any, double: Any, post: int) -> None:
    double[1].post = post
    items, pages = await all_pages(three(), limit=20)
    assert len(items) == 28 + 16 + 28
    assert pages[-1].complete


async def test_the_two_others_answer_while_one_hangs(three: Any, double: Any) -> None:
    double[1].hangs = {0}
    result = await search(three(deadline=2.0), limit=10)
    assert [item["id"] for item in result.items[:3]] == ["db28", "db27", "db26"]
    assert [report.status for report in result.providers] == ["ok", "ok", "timeout"]
    assert not result.complete


async def test_collections_that_cannot_have_it_are_not_opened(three: Any, files: Any) -> None:
    _, _, asked = files
    result = await search(three(), providers=["files"], bbox=(100, 45, 100.5, 45.5))
    assert {item["collection"] for item in result.items} == {"far"}
    assert not any("/near/" in path and "item" in path for path in asked)
    asked.clear()
    result = await search(three(), providers=["files"], collections=["s2"])
    assert len(result.items) == 12
    assert not any("/far/" in path and "item" in path for path in asked)
    result = await search(three(), providers=["files"], datetime="2023")
    assert result.items == []
    assert result.complete


async def test_addresses_in_files_are_relative_to_where_they_were_read(
    three: Any, files: Any
) -> None:
    result = await search(three(), providers=["files"], ids=["s2-3"])
    base = files[0].removesuffix("catalog.json")
    assert result.items[0]["assets"]["B04"]["href"] == f"{base}near/s2-3/B04.tif"


async def test_files_that_are_missing_are_told_and_the_rest_is_kept(three: Any, files: Any) -> None:
    (files[1] / "near/s2-5/item.json").unlink()
    (files[1] / "near/s2-6/item.json").write_text("<html>")
    result = await search(three(), providers=["files"])
    assert len(result.items) == 14
    report = next(report for report in result.providers if report.id == "files")
    assert report.status == "error"
    assert "2 of its files could not be read" in report.error
    assert not result.complete
    assert result.next == ""


async def test_more_files_than_are_read_is_told(three: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("cscale_core.catalog.static.MOST_ITEMS", 5)
    result = await search(three(), providers=["files"])
    assert len(result.items) == 5
    assert not result.complete
    assert "more than 5 items" in next(r.error for r in result.providers if r.id == "files")
    assert result.next == ""


async def test_a_catalogue_that_is_gone_is_an_error(make_site: Any, files: Any) -> None:
    url = files[0].replace("catalog.json", "nothing.json")
    site = make_site(providers=[{"id": "a", "title": "A", "url": url, "kind": "static"}])
    result = await search(site)
    assert result.providers[0].status == "error"
    assert "404" in result.providers[0].error


async def test_an_item_of_every_kind_is_found_by_its_reference(three: Any) -> None:
    site = three()
    async with guarded_client(site) as http:
        federation = Federation(site, http, None)
        for name in ("db|s2|db3", "files|far|far-2", "double|s2|double4"):
            assert federation.ref(await federation.item(name)) == name
