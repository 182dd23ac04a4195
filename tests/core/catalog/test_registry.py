"""The list of providers stays good whatever the site registry does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cscale_core.catalog import gocdb
from cscale_core.catalog.federation import Federation, SearchQuery, SearchResult
from cscale_core.catalog.registry import Registry
from cscale_core.http import guarded_client
from cscale_core.site import Site
from tests.core.catalog.gocdb_double import BOMB, Gocdb, Serve, service, services, sites
from tests.waiting import soon

OWN = {"id": "own", "title": "Own", "url": "https://own.example.eu"}
GOOD = "https://stac.example.eu/v1"
OTHER = "https://stac.example.org"

MakeRegistry = Callable[..., Any]


@pytest.fixture
def double() -> Gocdb:
    return Gocdb(
        sites("EODC", "VITO"),
        {"EODC": services(service(GOOD)), "VITO": services(service(OTHER))},
    )


@pytest.fixture
def registry_of(serve: Serve, make_site: Callable[..., Site], double: Gocdb) -> MakeRegistry:
    url = serve(double.app()) + "/gocdbpi/public/"

    @asynccontextmanager
    async def make(cache: Path | None = None, **members: Any) -> AsyncIterator[Registry]:
        registry = {"url": url, **members.pop("site_registry", {})}
        site = make_site(**{"providers": [OWN], "site_registry": registry, **members})
        async with guarded_client(site) as http:
            made = Registry(site, http, cache=cache)
            try:
                yield made
            finally:
                await made.stop()

    return make


def ids(registry: Registry) -> list[str]:
    return [provider.id for provider in registry.providers]


def aged(cache: Path, by: timedelta) -> None:
    """Make the list on disk older."""
    kept = json.loads(cache.read_text(encoding="utf-8"))
    kept["read_at"] = (datetime.fromisoformat(kept["read_at"]) - by).isoformat()
    cache.write_text(json.dumps(kept), encoding="utf-8")


def times_read(double: Gocdb) -> int:
    return sum(asked["method"] == "get_site_list" for asked in double.asked)


async def searched(registry: Registry) -> SearchResult:
    site, http = registry._site, registry._http
    federation = Federation(site, http, None, providers=lambda: registry.providers)
    return await federation.search(SearchQuery())


async def test_the_sites_own_come_first_and_the_registry_is_asked_as_it_documents(
    registry_of: MakeRegistry, double: Gocdb
) -> None:
    async with registry_of() as registry:
        assert ids(registry) == ["own"]
        state = await registry.refresh()
        assert ids(registry) == ["own", "EODC", "VITO"]
    assert (state.problem, state.notes, state.sites) == ("", (), ("EODC", "VITO"))
    assert state.read_at is not None
    assert double.asked[0] == {"method": "get_site_list", "scope": "C-SCALE"}
    assert {"method": "get_service_endpoint", "sitename": "EODC", "scope": ""} in double.asked


async def test_a_single_site_and_chosen_sites(registry_of: MakeRegistry, double: Gocdb) -> None:
    async with registry_of(site_registry={"without": ["vito"]}) as registry:
        await registry.refresh()
        assert ids(registry) == ["own", "EODC"]
    async with registry_of(site_registry={"only": ["VITO"]}) as registry:
        await registry.refresh()
        assert ids(registry) == ["own", "VITO"]
    double.sites = sites("EODC")
    async with registry_of() as registry:
        await registry.refresh()
        assert ids(registry) == ["own", "EODC"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (sites(), "no provider"),
        (500, "answered 500"),
        (404, "answered 404"),
        ("<html>Maintenance</html>", "not its XML"),
        (b"\x00\x01 garbage", "not its XML"),
        (BOMB, "not its XML"),
        (b"<results>" + b" " * (gocdb.MAX_BYTES + 1), "more than 4 MB"),
    ],
    ids=["empty", "error", "missing", "html", "garbage", "bomb", "huge"],
)
async def test_a_reading_that_fails_keeps_the_last_good_list(
    registry_of: MakeRegistry, double: Gocdb, answer: Any, said: str
) -> None:
    async with registry_of() as registry:
        good = await registry.refresh()
        double.sites = answer
        state = await registry.refresh()
        assert ids(registry) == ["own", "EODC", "VITO"]
        assert said in state.problem
        assert state.read_at == good.read_at
        assert state.tried_at > good.tried_at
        double.sites = sites("VITO")
        assert (await registry.refresh()).problem == ""
        assert ids(registry) == ["own", "VITO"]


async def test_a_slow_registry_is_given_up_and_a_dead_one_told(
    registry_of: MakeRegistry, double: Gocdb, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setattr(gocdb, "TIMEOUT", 0.3)
    double.delay = 10.0
    begun = time.monotonic()
    async with registry_of() as registry:
        state = await registry.refresh()
    assert "did not answer within" in state.problem
    assert time.monotonic() - begun < 8
    async with registry_of(site_registry={"url": f"http://127.0.0.1:{free_port}/"}) as registry:
        assert "cannot be reached" in (await registry.refresh()).problem


async def test_one_site_that_cannot_be_read_keeps_its_last_entry_and_costs_the_others_nothing(
    registry_of: MakeRegistry, double: Gocdb
) -> None:
    async with registry_of() as registry:
        await registry.refresh()
        double.services = {"EODC": 503, "VITO": services(service(OTHER + "/v2"))}
        state = await registry.refresh()
        urls = {provider.id: provider.url for provider in registry.providers}
        assert urls["EODC"] == GOOD
        assert urls["VITO"] == OTHER + "/v2"
        assert state.problem == ""
        assert any(note.startswith("EODC: its last good entry is used") for note in state.notes)
        double.services["EODC"] = services()
        await registry.refresh()
        assert ids(registry) == ["own", "VITO"], "a site that says it has none has none"


async def test_what_an_entry_has_wrong_is_in_the_log_once(
    registry_of: MakeRegistry, double: Gocdb, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "cscale_core.catalog.registry")
    double.services["EODC"] = services(service(GOOD, said={"colour": "blue"}))
    async with registry_of() as registry:
        for _ in range(3):
            state = await registry.refresh()
    assert [note for note in state.notes if "colour" in note]
    assert len([each for each in caplog.messages if "EODC" in each and "colour" in each]) == 1


async def test_what_is_declared_already_is_not_taken_twice(
    registry_of: MakeRegistry, double: Gocdb
) -> None:
    double.services = {"EODC": services(service(GOOD)), "VITO": services(service(OTHER + "/"))}
    declared = [
        {"id": "eodc", "title": "EODC", "url": "https://other.example.eu"},
        {"id": "terrascope", "title": "T", "url": OTHER},
    ]
    async with registry_of(providers=declared) as registry:
        state = await registry.refresh()
        assert ids(registry) == ["eodc", "terrascope"]
    assert len([note for note in state.notes if "already" in note]) == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://stac.example.eu",
        "https://127.0.0.1/stac",
        "https://localhost/stac",
        "https://10.1.2.3",
        "https://192.168.1.1",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/stac",
        "https://[fe80::1]/stac",
        "https://[::ffff:127.0.0.1]/stac",
        "https://[fd00::1]",
        "https://0.0.0.0",
    ],
)
async def test_an_address_inside_or_in_the_clear_is_left_out_though_the_registry_names_it(
    registry_of: MakeRegistry, double: Gocdb, url: str
) -> None:
    double.services["EODC"] = services(service(url))
    async with registry_of() as registry:
        state = await registry.refresh()
        assert ids(registry) == ["own", "VITO"]
    assert [note for note in state.notes if note.startswith("EODC: left out")]


@pytest.mark.parametrize("url", ["https://catalogue.inside.eu/other", "https://127.0.0.1:9002/x"])
async def test_the_registry_cannot_name_a_service_of_this_site(
    registry_of: MakeRegistry, double: Gocdb, url: str
) -> None:
    double.services["EODC"] = services(service(url))
    own = [OWN, {"id": "near", "title": "Near", "url": "http://127.0.0.1:9002"}]
    inside = {"url": "https://catalogue.inside.eu/stac"}
    async with registry_of(providers=own, catalogue=inside) as registry:
        state = await registry.refresh()
        assert ids(registry) == ["own", "near", "VITO"]
    assert any("service of this site" in note for note in state.notes)


async def test_a_site_gets_a_token_when_the_settings_name_it_in_any_case(
    registry_of: MakeRegistry, double: Gocdb
) -> None:
    double.sites = sites("A", "B")
    for name in "AB":
        wants = service(f"https://{name}.eu", said={"auth": "bearer"})
        double.services[name] = services(wants)
    async with registry_of(site_registry={"audiences": {"a": "stac-a"}}) as registry:
        state = await registry.refresh()
        logins = {each.id: (each.auth, each.audience) for each in registry.providers[1:]}
    assert logins == {"A": ("bearer", "stac-a"), "B": ("none", "")}
    assert [note for note in state.notes if note.startswith("B: asks for a token")]


async def test_a_search_asks_no_registered_archive_inside_and_follows_no_redirect_there(
    registry_of: MakeRegistry, double: Gocdb, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def inside(request: Request) -> Response:
        asked.append(request.url.path)
        return JSONResponse({"type": "FeatureCollection", "features": []})

    async def outside(_: Request) -> Response:
        return RedirectResponse(target + "/search", 307)

    async def resolve(host: str, port: int) -> list[str]:
        return ["10.0.0.7"] if host == "stac.example.eu" else [host]

    monkeypatch.setattr("cscale_core.http._resolve", resolve)
    target = serve(Starlette(routes=[Route("/{path:path}", inside, methods=["GET", "POST"])]))
    away = serve(Starlette(routes=[Route("/{path:path}", outside, methods=["GET", "POST"])]))
    double.sites = sites("NAME", "AWAY", "TARGET")
    double.services = {
        "NAME": services(service("https://stac.example.eu")),
        "AWAY": services(service(away)),
        "TARGET": services(service(target)),
    }
    allowed = [away.removeprefix("http://")]
    async with registry_of(providers=[], allowed_hosts=allowed) as registry:
        await registry.refresh()
        assert ids(registry) == ["NAME", "AWAY"]
        found = await searched(registry)
    assert [(report.id, report.status) for report in found.providers] == [
        ("NAME", "error"),
        ("AWAY", "error"),
    ]
    assert "private address" in found.providers[0].error
    assert "not a service of this site" in found.providers[1].error
    assert asked == []


async def test_a_host_that_the_operator_allows_may_be_inside_and_in_the_clear(
    registry_of: MakeRegistry, double: Gocdb
) -> None:
    double.services["EODC"] = services(service("http://127.0.0.1:8765/stac"))
    async with registry_of(allowed_hosts=["127.0.0.1:8765"]) as registry:
        await registry.refresh()
        assert "EODC" in ids(registry)
    async with registry_of(allowed_hosts=["127.0.0.1:8766"]) as registry:
        await registry.refresh()
        assert "EODC" not in ids(registry)


async def test_the_list_on_disk_is_there_before_the_registry_answers(
    registry_of: MakeRegistry, double: Gocdb, tmp_path: Path
) -> None:
    cache = tmp_path / "state" / "registry.json"
    async with registry_of(cache) as registry:
        await registry.refresh()
    assert [file.name for file in cache.parent.iterdir()] == ["registry.json"]
    aged(cache, timedelta(days=3))
    double.sites = 500
    async with registry_of(cache) as registry:
        await registry.start()
        assert ids(registry) == ["own", "EODC", "VITO"]
        await soon(lambda: registry.state.problem, "the problem")
        assert ids(registry) == ["own", "EODC", "VITO"]
    async with registry_of(cache, site_registry={"scope": "Other"}) as registry:
        await registry.start()
        assert ids(registry) == ["own"], "it is the list of another scope"


async def test_a_young_list_on_disk_is_not_read_again_before_its_time(
    registry_of: MakeRegistry, double: Gocdb, tmp_path: Path
) -> None:
    cache = tmp_path / "registry.json"
    async with registry_of(cache) as registry:
        await registry.refresh()
    for _ in range(3):
        async with registry_of(cache) as registry:
            await registry.start()
            await asyncio.sleep(0.2)
            assert ids(registry) == ["own", "EODC", "VITO"]
    assert times_read(double) == 1
    aged(cache, timedelta(minutes=61))
    async with registry_of(cache) as registry:
        await registry.start()
        await soon(lambda: times_read(double) == 2, "the second reading")


async def test_a_list_on_disk_from_the_future_is_read_again_at_once(
    registry_of: MakeRegistry, double: Gocdb, tmp_path: Path
) -> None:
    cache = tmp_path / "registry.json"
    async with registry_of(cache) as registry:
        await registry.refresh()
    aged(cache, timedelta(days=-400))
    async with registry_of(cache) as registry:
        await registry.start()
        await soon(lambda: times_read(double) == 2, "the second reading")


async def test_whoever_asks_while_it_is_read_waits_for_that_reading(
    registry_of: MakeRegistry, double: Gocdb
) -> None:
    double.delay = 0.3
    async with registry_of() as registry:
        await registry.start()
        hasty = asyncio.create_task(registry.refresh())
        patient = [asyncio.create_task(registry.refresh()) for _ in range(3)]
        await asyncio.sleep(0.1)
        hasty.cancel()
        states = await asyncio.gather(*patient)
        assert times_read(double) == 1
        assert {state.sites for state in states} == {("EODC", "VITO")}
        await registry.refresh()
        assert times_read(double) == 2, "a reading that has ended is not joined"


async def test_the_end_does_not_wait_for_a_reading_and_nobody_waits_for_ever(
    registry_of: MakeRegistry, double: Gocdb
) -> None:
    double.delay = 25.0
    async with registry_of() as registry:
        await registry.start()
        waiting = asyncio.create_task(registry.refresh())
        await soon(lambda: times_read(double) == 1, "the first reading")
        async with asyncio.timeout(10):
            await registry.stop()
            state = await waiting
        assert state.read_at is None


async def test_a_folder_that_cannot_be_written_costs_the_list_on_disk_only(
    registry_of: MakeRegistry, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    async with registry_of(tmp_path / "file" / "registry.json") as registry:
        assert (await registry.refresh()).problem == ""
        assert ids(registry) == ["own", "EODC", "VITO"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"registry": {}, "sites": {"A": [{"id": 1}]}}'])
async def test_a_damaged_list_on_disk_is_as_good_as_none(
    registry_of: MakeRegistry, tmp_path: Path, text: str
) -> None:
    cache = tmp_path / "registry.json"
    cache.write_text(text, encoding="utf-8")
    async with registry_of(cache) as registry:
        await registry.start()
        await soon(lambda: registry.state.read_at, "a reading")
        assert ids(registry) == ["own", "EODC", "VITO"]
        await soon(lambda: cache.read_text(encoding="utf-8") != text, "the list on disk")
    assert set(json.loads(cache.read_text(encoding="utf-8"))["sites"]) == {"EODC", "VITO"}


async def test_an_inside_address_in_the_list_on_disk_is_checked_again(
    registry_of: MakeRegistry, double: Gocdb, tmp_path: Path
) -> None:
    cache = tmp_path / "registry.json"
    async with registry_of(cache) as registry:
        await registry.refresh()
    cache.write_text(
        cache.read_text(encoding="utf-8").replace(GOOD, "https://169.254.169.254"), encoding="utf-8"
    )
    double.sites = 500
    async with registry_of(cache) as registry:
        await registry.start()
        assert ids(registry) == ["own", "VITO"]


async def test_it_is_read_again_and_again_until_it_is_stopped(
    registry_of: MakeRegistry, double: Gocdb
) -> None:
    async with registry_of(site_registry={"interval": 1}) as registry:
        await registry.start()
        await soon(lambda: ids(registry) == ["own", "EODC", "VITO"], "the first list")
        double.sites = sites("VITO")
        await soon(lambda: ids(registry) == ["own", "VITO"], "the second list")
        await registry.stop()
        asked = len(double.asked)
        await asyncio.sleep(1.5)
        assert len(double.asked) == asked


async def test_without_a_registry_nothing_is_read(make_site: Callable[..., Site]) -> None:
    site = make_site(providers=[OWN])
    async with guarded_client(site) as http:
        registry = Registry(site, http)
        await registry.start()
        assert (await registry.refresh()).read_at is None
        assert ids(registry) == ["own"]
        await registry.stop()
