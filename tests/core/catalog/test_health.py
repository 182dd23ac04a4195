"""Who answers, how fast, and that nobody is asked when nobody wants to know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cscale_core.catalog.federation import Federation
from cscale_core.catalog.health import HealthWatch
from cscale_core.http import guarded_client
from cscale_core.site import Site
from tests.waiting import soon

Watch = Callable[..., Any]


class Landing:
    """A landing page that counts, and answers as it is told."""

    def __init__(self, status: int = 200, delay: float = 0.0, *, html: bool = False) -> None:
        self.status = status
        self.delay = delay
        self.html = html
        self.asked = 0

    def app(self) -> Starlette:
        async def root(_: Request) -> Response:
            self.asked += 1
            await asyncio.sleep(self.delay)
            if self.html:
                return HTMLResponse("<html>Sign in to the network</html>")
            return JSONResponse({"type": "Catalog"}, status_code=self.status)

        return Starlette(routes=[Route("/", root)])


@pytest.fixture
def watch_of(make_site: Callable[..., Site]) -> Watch:
    @asynccontextmanager
    async def make(
        urls: dict[str, str], auth: str = "none", **options: Any
    ) -> AsyncIterator[HealthWatch]:
        site = make_site(
            providers=[
                {"id": name, "title": name.upper(), "url": url, "deadline": 1.0, "auth": auth}
                for name, url in urls.items()
            ]
        )
        async with guarded_client(site) as http:
            watch = HealthWatch(Federation(site, http, None), **options)
            try:
                yield watch
            finally:
                await watch.stop()

    return make


async def test_each_provider_is_told_with_what_is_wrong(
    serve: Any, watch_of: Watch, free_port: int
) -> None:
    urls = {
        "good": serve(Landing().app()),
        "login": serve(Landing(401).app()),
        "broken": serve(Landing(500).app()),
        "portal": serve(Landing(html=True).app()),
        "slow": serve(Landing(delay=8).app()),
        "dead": f"http://127.0.0.1:{free_port}",
    }
    begun = time.monotonic()
    async with watch_of(urls) as watch:
        found = {each.id: each for each in await watch.list()}
    assert time.monotonic() - begun < 6
    assert list(found) == list(urls)
    assert {name: each.online for name, each in found.items()} == {
        "good": True,
        "login": True,
        "broken": False,
        "portal": False,
        "slow": False,
        "dead": False,
    }
    assert found["good"].latency is not None
    assert found["good"].latency < 1
    assert found["good"].error == ""
    assert found["login"].error == "It asks for a login."
    assert "500" in found["broken"].error
    assert "not JSON" in found["portal"].error
    assert "within 1 seconds" in found["slow"].error
    assert "cannot be reached" in found["dead"].error
    assert all(each.last_checked is not None for each in found.values())


async def test_many_questions_are_one_look_and_what_is_known_is_told_at_once(
    serve: Any, watch_of: Watch
) -> None:
    landing = Landing(delay=0.2)
    async with watch_of({"a": serve(landing.app())}) as watch:
        await asyncio.gather(*(watch.list() for _ in range(20)))
        assert landing.asked == 1
        landing.delay = 30
        async with asyncio.timeout(5):
            [told] = await watch.list()
        assert told.online


async def test_it_looks_again_while_somebody_asks_and_ends_when_nobody_does(
    serve: Any, watch_of: Watch
) -> None:
    landing = Landing()
    async with watch_of({"a": serve(landing.app())}, interval=0.1, idle=0.6) as watch:
        await watch.list()
        landing.status = 503
        await soon(watch.list, "the outage", 10, fits=lambda told: not told[0].online)
        await asyncio.sleep(1.5)
        asked = landing.asked
        await asyncio.sleep(0.5)
        assert landing.asked == asked
        landing.status = 200
        await soon(watch.list, "the end of the outage", 10, fits=lambda told: told[0].online)


async def test_nobodys_login_is_sent_and_no_redirect_leads_inside(
    serve: Any, watch_of: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, str]] = []
    inside = Landing()
    secret = serve(inside.app())

    async def root(request: Request) -> Response:
        seen.append(dict(request.headers))
        if request.url.path == "/away/":
            return RedirectResponse(secret + "/", 302)
        return JSONResponse({})

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password hush\n")
    (tmp_path / ".netrc").chmod(0o600)
    url = serve(Starlette(routes=[Route("/{path:path}", root)]))
    providers = {"basic": f"{url}/basic/", "away": f"{url}/away/"}
    async with watch_of(providers, auth="basic") as watch:
        found = {each.id: each for each in await watch.list()}
    assert found["basic"].online
    assert not found["away"].online
    assert "not a service of this site" in found["away"].error
    assert inside.asked == 0
    assert len(seen) == 2
    assert not [headers for headers in seen if {"authorization", "cookie"} & headers.keys()]


async def test_after_a_long_pause_the_first_question_waits_for_what_is_true_now(
    serve: Any, watch_of: Watch
) -> None:
    landing = Landing()
    async with watch_of({"a": serve(landing.app())}, interval=60.0, idle=0.2) as watch:
        assert (await watch.list())[0].online
        landing.status = 503
        await asyncio.sleep(0.5)
        assert (await watch.list())[0].online is False


async def test_one_who_stops_waiting_does_not_stop_the_others(serve: Any, watch_of: Watch) -> None:
    async with watch_of({"a": serve(Landing(delay=0.5).app())}) as watch:
        hasty = asyncio.create_task(watch.list())
        patient = asyncio.create_task(watch.list())
        await asyncio.sleep(0.1)
        hasty.cancel()
        [told] = await patient
    assert told.online
