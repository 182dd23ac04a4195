"""The whole way on real HTTP: the server, the engine, archives that are quick, slow and down."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from cscale_core.providers import Provider
from tests.server.catalog_doubles import PNG, item

SEARCH = "catalog/search"
WHOLE = {"Accept": "application/json"}
ITEM_SEARCH = "https://api.stacspec.org/v1.0.0/item-search"


class Archive:
    """A STAC API with a few items and a picture; ``gate`` holds its searches up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.url = ""
        self.items: list[dict[str, Any]] = []
        self.gate: asyncio.Event | None = None
        self.searches = 0
        self.given_up = asyncio.Event()

    def add(self, name: str, day: int, **more: Any) -> None:
        """An item of that day of May 2024."""
        found = item(name, **more)
        del found["cscale:provider"]
        found["properties"] = {"datetime": f"2024-05-{day:02d}T10:00:00Z", "eo:cloud_cover": day}
        found["assets"] = {
            "B03": {"href": f"{self.url}/{name}/B03.tif"},
            "thumbnail": {"href": f"{self.url}/picture.png", "roles": ["thumbnail"]},
        }
        self.items.append(found)

    def page(self, question: dict[str, Any]) -> dict[str, Any]:
        ids = question.get("ids")
        found = [each for each in self.items if not ids or each["id"] in ids]
        found.sort(key=lambda each: str(each["properties"]["datetime"]), reverse=True)
        start, limit = int(question.get("token") or 0), int(question.get("limit", 10))
        links = []
        if start + limit < len(found):
            body = {**question, "token": str(start + limit)}
            links = [{"rel": "next", "method": "POST", "href": f"{self.url}/search", "body": body}]
        return {
            "type": "FeatureCollection",
            "features": found[start : start + limit],
            "links": links,
            "numberMatched": len(found),
        }

    def provider(self, **more: Any) -> Provider:
        return Provider(id=self.name, title=self.name.title(), url=self.url, **more)


def application(archive: Archive) -> Application:
    class Json(RequestHandler):
        def answer(self, content: Any) -> None:
            self.set_header("Content-Type", "application/geo+json")
            self.finish(json.dumps(content))

    class Landing(Json):
        def get(self) -> None:
            conforms = [ITEM_SEARCH, f"{ITEM_SEARCH}#sort"]
            links = [{"rel": "search", "method": "POST", "href": f"{archive.url}/search"}]
            self.answer(
                {"type": "Catalog", "id": archive.name, "conformsTo": conforms, "links": links}
            )

    class Collections(Json):
        def get(self) -> None:
            self.answer({"collections": [{"type": "Collection", "id": "s2"}], "links": []})

    class Search(Json):
        async def post(self) -> None:
            archive.searches += 1
            if archive.gate is not None:
                await archive.gate.wait()
            self.answer(archive.page(json.loads(self.request.body)))

        def on_connection_close(self) -> None:
            archive.given_up.set()

    class Item(Json):
        def get(self, name: str) -> None:
            found = [each for each in archive.items if each["id"] == name]
            if not found:
                self.send_error(404)
            else:
                self.answer(found[0])

    class Picture(RequestHandler):
        def get(self) -> None:
            self.finish(PNG)

    return Application(
        [
            ("/", Landing),
            ("/collections", Collections),
            ("/collections/s2/items/(.*)", Item),
            ("/search", Search),
            ("/picture.png", Picture),
        ]
    )


@pytest.fixture
async def archives() -> AsyncIterator[Callable[[str], Archive]]:
    """Starts archives on loopback."""
    running: list[HTTPServer] = []

    def start(name: str) -> Archive:
        archive = Archive(name)
        server = HTTPServer(application(archive))
        server.listen(0, "127.0.0.1")
        running.append(server)
        archive.url = f"http://127.0.0.1:{next(iter(server._sockets.values())).getsockname()[1]}"
        return archive

    yield start
    for server in running:
        server.stop()
        await server.close_all_connections()


Join = Callable[..., Awaitable[Any]]


@pytest.fixture
def join(start_server: Any, make_site: Any) -> Join:
    """A server whose site has these archives."""

    async def start(*providers: Provider) -> Any:
        hosts = tuple(provider.url.removeprefix("http://") for provider in providers)
        server = await start_server(make_site(providers=providers, allowed_hosts=hosts))
        await server.extension.backend()
        return server

    return start


async def told(server: Any, **query: Any) -> list[Any]:
    answer = await server.api("POST", SEARCH, json=query)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.split("\n") if line]


async def test_the_quick_archive_is_shown_while_the_slow_one_works_and_the_dead_one_is_named(
    archives: Any, join: Join
) -> None:
    quick, slow, dead = archives("quick"), archives("slow"), Archive("dead")
    dead.url = "http://127.0.0.1:9"
    quick.add("old", 1)
    quick.add("new", 3)
    slow.add("middle", 2)
    slow.gate = asyncio.Event()
    server = await join(quick.provider(), slow.provider(), dead.provider())
    events: list[Any] = []
    async with server.http.stream("POST", f"cscale/api/v1/{SEARCH}", json={}) as answer:
        async for line in answer.aiter_lines():
            events.append(json.loads(line))
            if events[-1]["type"] == "items" and events[-1]["provider"] == "quick":
                assert not slow.gate.is_set()
                slow.gate.set()
    sent = [small["ref"] for line in events if line["type"] == "items" for small in line["items"]]
    page = events[-1]
    assert [sent[at] for at in page["order"]] == ["quick|s2|new", "slow|s2|middle", "quick|s2|old"]
    statuses = {each["id"]: each["status"] for each in page["providers"]}
    assert statuses == {"quick": "ok", "slow": "ok", "dead": "error"}
    assert page["complete"] is False


async def test_a_browser_that_goes_away_ends_the_requests_to_the_archives(
    archives: Any, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    quick, slow = archives("quick"), archives("slow")
    quick.add("a", 1)
    slow.gate = asyncio.Event()
    server = await join(quick.provider(), slow.provider(deadline=300))
    async with server.http.stream("POST", f"cscale/api/v1/{SEARCH}", json={}) as answer:
        await anext(answer.aiter_lines())
        assert not slow.given_up.is_set()
    async with asyncio.timeout(20):
        await slow.given_up.wait()
    assert (await server.api("GET", "status")).status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_pages_go_on_after_a_restart_and_items_are_asked_again(
    archives: Any, join: Join, tmp_path: Path
) -> None:
    one, two = archives("one"), archives("two")
    for day in range(1, 21):
        (one if day % 2 else two).add(f"day{day:02d}", day)
    server = await join(one.provider(), two.provider())
    found: list[str] = []
    cursor, last = "", ""
    for number in range(10):
        if number == 2:
            server = await join(one.provider(), two.provider())
        body = {"limit": 6, "cursor": cursor}
        page = (await server.api("POST", SEARCH, json=body, headers=WHOLE)).json()
        assert page["complete"] is True
        found += [each["id"] for each in page["items"]]
        cursor = page["next"]
        last = last or f"two%7Cs2%7C{page['items'][0]['id']}"
        if not cursor:
            break
    assert found == [f"day{day:02d}" for day in range(20, 0, -1)]
    again = await server.api("GET", f"catalog/items/{last}")
    assert again.status_code == 200
    assert again.json()["cscale:provider"] == "two"
    key = tmp_path / "data" / "cscale" / "cursor.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


async def test_a_cursor_of_another_question_is_refused_before_the_stream(
    archives: Any, join: Join
) -> None:
    one = archives("one")
    for day in range(1, 9):
        one.add(f"day{day}", day)
    server = await join(one.provider())
    cursor = (await told(server, limit=2))[-1]["next"]
    assert cursor
    for body in ({"limit": 2, "cursor": cursor, "ids": ["x"]}, {"cursor": cursor[:-4] + "AAAA"}):
        answer = await server.api("POST", SEARCH, json=body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["code"] == "invalid_input"


async def test_the_same_scene_in_two_archives_comes_once_with_its_mirror(
    archives: Any, join: Join
) -> None:
    one, two = archives("one"), archives("two")
    name = "S2B_MSIL2A_20240501T100000_N0510_R122_T33UVQ_20240501T142105"
    one.add(name, 1)
    two.add(name, 1)
    server = await join(one.provider(), two.provider())
    events = await told(server)
    sent = [small["ref"] for line in events if line["type"] == "items" for small in line["items"]]
    assert len(sent) == 2
    [at] = events[-1]["order"]
    assert events[-1]["mirrors"] == {str(at): 1}
    whole = (await server.api("GET", "catalog/items/" + sent[at].replace("|", "%7C"))).json()
    assert len(whole["cscale:mirrors"]) == 1
    hrefs = {each["href"] for each in whole["assets"]["B03"]["alternate"].values()}
    other = two if sent[at].startswith("one") else one
    assert f"{other.url}/{name}/B03.tif" in hrefs


async def test_a_picture_collections_and_health_of_a_real_archive(
    archives: Any, join: Join
) -> None:
    one = archives("one")
    one.add("a", 1)
    server = await join(one.provider())
    picture = await server.api("GET", "catalog/items/one%7Cs2%7Ca/thumbnail")
    assert (picture.status_code, picture.content) == (200, PNG)
    listed = (await server.api("GET", "catalog/collections")).json()
    assert [entry["id"] for entry in listed["collections"]] == ["one|s2"]
    health = (await server.api("GET", "catalog/providers")).json()["providers"]
    assert [(each["id"], each["online"]) for each in health] == [("one", True)]
    missing = await server.api("GET", "catalog/items/nobody%7Cs2%7Ca")
    assert missing.status_code == 404


async def test_items_are_staged_by_reference(archives: Any, join: Join) -> None:
    one = archives("one")
    one.add("a", 1)
    server = await join(one.provider())
    body = {"refs": ["one|s2|a"], "assets": ["B03"], "register": False}
    job = (await server.api("POST", "stage", json=body)).json()
    assert job["spec"]["process"]["items"][0]["assets"]["B03"]["href"] == f"{one.url}/a/B03.tif"
    assert job["spec"]["process"]["items"][0]["cscale:provider"] == "one"
