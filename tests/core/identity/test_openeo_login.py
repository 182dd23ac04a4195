"""The official openEO client with the hub's token, against a small openEO API."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cscale_core.errors import InvalidInput, NotFound
from cscale_core.identity import connect
from cscale_core.site import Site


@pytest.fixture
def seen(
    serve: Any,
    make_site: Callable[..., Site],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str | None]:
    """The Authorization header of each question to ``/me``; a site of two back ends."""
    headers: list[str | None] = []
    numbers = itertools.count(1)

    async def token(request: Request) -> Response:
        return JSONResponse({"access_token": f"{request.query_params['audience']}{next(numbers)}"})

    async def root(request: Request) -> Response:
        return JSONResponse({"api_version": "1.2.0", "backend_version": "1", "endpoints": []})

    async def me(request: Request) -> Response:
        headers.append(request.headers.get("authorization"))
        return JSONResponse({"user_id": "utest"})

    url = serve(Starlette(routes=[Route("/v1/token", token), Route("/", root), Route("/me", me)]))
    site = make_site(
        openeo=[
            {"id": "own", "title": "Own", "url": url, "audience": "openeo"},
            {"id": "open", "title": "Open", "url": url},
            {"id": "other", "title": "O", "url": url, "audience": "openeo", "provider": "aai"},
        ]
    )
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(site.model_dump(mode="json")), encoding="utf-8")
    password = tmp_path / "password"
    password.write_text("p", encoding="utf-8")
    monkeypatch.setenv("CSCALE_SITE_FILE", str(file))
    monkeypatch.setenv("CSCALE_TOKEN_URL", url)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(password))
    return headers


def test_each_request_carries_the_token_of_that_moment(seen: list[str | None]) -> None:
    connection = connect()
    connection.describe_account()
    connection.describe_account()
    first, second = seen
    assert first is not None
    assert second is not None
    assert first.startswith("Bearer oidc/egi/openeo")
    assert first != second


def test_a_back_end_may_know_the_provider_by_another_name(seen: list[str | None]) -> None:
    connect("other").describe_account()
    assert str(seen[0]).startswith("Bearer oidc/aai/openeo")


def test_a_back_end_without_audience_gets_no_token(seen: list[str | None]) -> None:
    connect("open").describe_account()
    assert seen == [None]


def test_an_unknown_back_end_is_told_with_the_known_ones(
    seen: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound) as caught:
        connect("nope")
    assert "own, open, other" in caught.value.hint
    monkeypatch.delenv("CSCALE_SITE_FILE")
    with pytest.raises(InvalidInput):
        connect()
