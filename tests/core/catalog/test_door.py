"""Logins go to whom they are meant for, and what a provider can do is read once."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cscale_core.catalog.capabilities import understood
from cscale_core.catalog.federation import Federation, SearchQuery
from cscale_core.http import guarded_client
from cscale_core.providers import Provider
from cscale_core.site import Site
from tests.core.catalog.doubles import (
    CORE,
    CQL2_JSON,
    CQL2_TEXT,
    EVERYTHING,
    FILTER,
    Behaviour,
    Doubles,
    make_item,
    running,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def guarded_archive(seen: list[str | None]) -> Starlette:
    async def search(request: Request) -> Response:
        seen.append(request.headers.get("authorization"))
        return JSONResponse({"features": [make_item("x", "2024-03-01T00:00:00Z")]})

    return Starlette(routes=[Route("/search", search, methods=["POST"])])


async def statuses(site: Site) -> list[tuple[str, str]]:
    async with guarded_client(site) as http:
        result = await Federation(site, http, None).search(SearchQuery())
    return [(report.status, report.error) for report in result.providers]


async def test_basic_logins_come_from_netrc(serve: Any, make_site: Any, home: Path) -> None:
    seen: list[str | None] = []
    provider = {"id": "a", "title": "A", "url": serve(guarded_archive(seen)), "auth": "basic"}
    site = make_site(providers=[provider])
    ((status, error),) = await statuses(site)
    assert status == "error"
    assert "user name" in error
    assert seen == []
    (home / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    (home / ".netrc").chmod(0o600)
    assert await statuses(site) == [("ok", "")]
    assert seen == ["Basic " + base64.b64encode(b"me:s3cret").decode()]
    # The entry for every host is not meant for a host that somebody else wrote into a registry.
    (home / ".netrc").write_text("default login me password s3cret\n")
    ((status, error),) = await statuses(site)
    assert (status, len(seen)) == ("error", 1)
    (home / ".netrc").write_text("machine 127.0.0.1 login me passw\n")
    ((status, error),) = await statuses(site)
    assert status == "error"
    assert "cannot be read" in error
    assert "s3cret" not in error


async def test_a_bearer_login_without_tokens_is_an_error_of_that_provider(
    serve: Any, make_site: Any
) -> None:
    seen: list[str | None] = []
    provider = {"id": "a", "title": "A", "url": serve(guarded_archive(seen)), "auth": "bearer"}
    ((status, error),) = await statuses(make_site(providers=[provider]))
    assert (status, seen) == ("error", [])
    assert "needs a login" in error


@pytest.fixture
def doubles() -> Iterator[tuple[Doubles, str]]:
    application = Doubles()
    with running(application) as url:
        yield application, url


async def test_landing_pages_are_read_once_and_beforehand(
    doubles: tuple[Doubles, str], make_site: Callable[..., Site]
) -> None:
    application, url = doubles
    application.archives = {"a": Behaviour(), "b": Behaviour(landing=500)}
    site = make_site(
        providers=[{"id": name, "title": name, "url": f"{url}/{name}"} for name in "ab"]
    )
    async with guarded_client(site) as http:
        federation = Federation(site, http, None)
        await federation.warm()
        for _ in range(2):
            assert (await federation.search(SearchQuery())).complete
    for archive in application.archives.values():
        assert [path for _, path, _ in archive.asked] == ["/", "/search", "/search"]


async def test_providers_of_a_registry_are_asked_at_public_addresses_only(
    doubles: tuple[Doubles, str], make_site: Callable[..., Site]
) -> None:
    application, url = doubles
    application.archives = {"a": Behaviour([make_item("x", "2024-03-01T00:00:00Z")])}
    registered = [Provider(id="a", title="A", url=f"{url}/a")]
    site = make_site()
    async with guarded_client(site) as http:
        federation = Federation(site, http, None, providers=lambda: registered)
        (report,) = (await federation.search(SearchQuery())).providers
        assert report.status == "error"
        assert "private address" in report.error
        registered.clear()
        assert (await federation.search(SearchQuery())).providers == []


@pytest.mark.parametrize(
    ("conforms_to", "by_post", "by_get"),
    [
        (EVERYTHING, "cql2-json", "cql2-text"),
        ((*CORE, *FILTER, CQL2_JSON), "cql2-json", "cql2-json"),
        ((*CORE, *FILTER, CQL2_TEXT), "cql2-text", "cql2-text"),
        ((*CORE, CQL2_JSON, CQL2_TEXT), "", ""),
        ((*CORE, *FILTER), "", ""),
        (CORE, "", ""),
    ],
)
def test_filters_go_in_a_language_that_is_stated(
    conforms_to: tuple[str, ...], by_post: str, by_get: str
) -> None:
    found = understood({"conformsTo": list(conforms_to)}, "https://a.eu/v1")
    assert (found.language("POST"), found.language("GET")) == (by_post, by_get)


def test_landing_pages_are_read_with_care() -> None:
    url = "https://a.eu/v1/"
    landing = {
        "conformsTo": [5, *EVERYTHING],
        "links": [
            "text",
            {"rel": "search"},
            {"rel": "search", "href": "find", "type": "application/geo+json"},
            {
                "rel": "search",
                "href": "https://a.eu/osdd",
                "type": "application/opensearchdescription+xml",
            },
            {"rel": "search", "href": "https://evil.eu/search"},
            {"rel": "search", "href": "http://["},
            {"rel": "http://www.opengis.net/def/rel/ogc/1.0/queryables", "href": "queryables"},
        ],
    }
    found = understood(landing, url)
    assert (found.search, found.queryables) == (
        "https://a.eu/v1/find",
        "https://a.eu/v1/queryables",
    )
    assert (found.sort, found.fields, found.read) == (True, True, True)
    for nonsense in (None, [], "x", {"conformsTo": "x"}, {"conformsTo": [], "links": 5}):
        assert understood(nonsense, url).search == "https://a.eu/v1/search"
