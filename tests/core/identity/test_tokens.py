"""Tokens from a broker and from a loopback listener, both real HTTP servers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cscale_core.errors import (
    Conflict,
    CScaleError,
    Forbidden,
    InvalidInput,
    LoginRequired,
    UpstreamError,
)
from cscale_core.identity.tokens import BrokerTokens, LoopbackTokens, RenewableTokens


class Broker:
    """Numbers its tokens; ``refusal`` replaces the answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.refusal: Response | None = None
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.life = timedelta(hours=1)
        self.app = Starlette(
            routes=[
                Route("/services/broker/v1/token", self.token),
                Route("/services/broker/v1/s3", self.s3),
            ]
        )

    def clock(self) -> datetime:
        return self.now

    async def token(self, request: Request) -> Response:
        audience = request.query_params["audience"]
        self.asked.append((request.headers["authorization"], audience))
        await asyncio.sleep(0.02)
        return self.refusal or JSONResponse(
            {
                "access_token": f"{audience}-{len(self.asked)}",
                "token_type": "Bearer",
                "audience": audience,
                "expires_at": (self.now + self.life).isoformat(),
            }
        )

    async def s3(self, request: Request) -> Response:
        self.asked.append((request.headers["authorization"], "s3"))
        return self.refusal or JSONResponse(
            {
                "AccessKeyId": f"key{len(self.asked)}",
                "SecretAccessKey": "secret",
                "Token": "session",
                "Expiration": (self.now + self.life).isoformat().replace("+00:00", "Z"),
            }
        )


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
async def tokens(broker: Broker, serve: Any) -> Any:
    async with httpx.AsyncClient() as http:
        yield BrokerTokens(serve(broker.app) + "/services/broker/", "apitoken", http, broker.clock)


@pytest.mark.parametrize(("life", "kept"), [(3600, 60), (50, 40)])
async def test_a_token_is_kept_for_a_minute_and_not_beyond_four_fifths_of_its_life(
    broker: Broker, tokens: BrokerTokens, life: float, kept: float
) -> None:
    broker.life = timedelta(seconds=life)
    assert await tokens.token("openeo") == "openeo-1"
    broker.now += timedelta(seconds=kept - 1)
    assert await tokens.token("openeo") == "openeo-1"
    broker.now += timedelta(seconds=2)
    assert await tokens.token("openeo") == "openeo-2"
    assert broker.asked[0] == ("token apitoken", "openeo")


@pytest.mark.parametrize(("status", "kind"), [(409, Conflict), (401, LoginRequired)])
async def test_what_the_broker_refuses_from_now_on_ends_within_a_minute(
    broker: Broker, tokens: BrokerTokens, status: int, kind: type[CScaleError]
) -> None:
    """A server that is shared, or a login that ended: though what was given lives on."""
    await tokens.s3_credentials()
    broker.refusal = JSONResponse({"message": "no more"}, status)
    broker.now += timedelta(seconds=61)
    with pytest.raises(kind):
        await tokens.s3_credentials()
    # Nor does it come back when the broker cannot be asked.
    broker.refusal = JSONResponse({"message": "down"}, 503)
    with pytest.raises(UpstreamError):
        await tokens.s3_credentials()


async def test_many_questions_at_once_ask_the_broker_once_per_audience(
    broker: Broker, tokens: BrokerTokens
) -> None:
    got = await asyncio.gather(*(tokens.token(a) for a in ["openeo", "catalogue"] * 5))
    assert len(set(got)) == 2
    assert len(broker.asked) == 2


async def test_a_forgotten_token_is_asked_anew(broker: Broker, tokens: BrokerTokens) -> None:
    await tokens.token("catalogue")
    assert isinstance(tokens, RenewableTokens)
    tokens.forget("catalogue")
    assert await tokens.token("catalogue") == "catalogue-2"


async def test_s3_credentials_come_in_container_format_and_are_kept(
    broker: Broker, tokens: BrokerTokens
) -> None:
    first = await tokens.s3_credentials()
    assert set(first) == {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
    first.clear()
    assert (await tokens.s3_credentials())["AccessKeyId"] == "key1"


async def test_an_outage_does_not_take_a_token_that_is_still_valid(
    broker: Broker, tokens: BrokerTokens
) -> None:
    await tokens.token("openeo")
    broker.refusal = JSONResponse({"code": "upstream_error", "message": "issuer is down"}, 502)
    broker.now += timedelta(minutes=55)
    assert await tokens.token("openeo") == "openeo-1"
    broker.now += timedelta(minutes=5)
    with pytest.raises(UpstreamError, match="issuer is down"):
        await tokens.token("openeo")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"code": "login_required", "message": "m", "hint": "h"}, LoginRequired),
        (401, {}, LoginRequired),
        (403, {"code": "forbidden", "message": "m"}, Forbidden),
        (409, {"code": "conflict", "message": "the server is shared"}, Conflict),
        (502, "<html>", UpstreamError),
        (200, {"expires_at": "2026-01-01T02:00:00Z"}, UpstreamError),
        (200, {"access_token": "t", "expires_at": "soon"}, UpstreamError),
        (200, [], UpstreamError),
        (302, {}, UpstreamError),
    ],
)
async def test_refusals_are_told_by_kind_and_never_hold_the_api_token(
    broker: Broker, tokens: BrokerTokens, status: int, body: Any, kind: type[CScaleError]
) -> None:
    broker.refusal = JSONResponse(body, status)
    with pytest.raises(kind) as caught:
        await tokens.token("openeo")
    assert "apitoken" not in str(caught.value.as_dict())


@pytest.fixture
def listener(broker: Broker, serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    async def token(request: Request) -> Response:
        if request.headers.get("authorization") != "password":
            return JSONResponse({"code": "forbidden", "message": "wrong password"}, 403)
        if request.url.path == "/v1/s3":
            return JSONResponse({"AccessKeyId": "key"})
        return JSONResponse({"access_token": f"for-{request.query_params['audience']}"})

    routes = [Route(path, token) for path in ("/v1/token", "/v1/s3")]
    file = tmp_path / "token"
    file.write_text("password\n", encoding="utf-8")
    monkeypatch.setenv("CSCALE_TOKEN_URL", serve(Starlette(routes=routes)))
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(file))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    return file


async def test_the_loopback_listener_gives_tokens_async_and_sync(listener: Path) -> None:
    assert await LoopbackTokens().token("openeo") == "for-openeo"
    assert await asyncio.to_thread(LoopbackTokens().read, "catalogue") == "for-catalogue"


async def test_the_loopback_listener_gives_s3_credentials(listener: Path) -> None:
    given = await LoopbackTokens().s3_credentials()
    assert given["AccessKeyId"] == "key"


async def test_a_wrong_password_file_is_told(listener: Path) -> None:
    listener.write_text("other", encoding="utf-8")
    with pytest.raises(Forbidden):
        await LoopbackTokens().token("openeo")
    listener.unlink()
    with pytest.raises(LoginRequired, match="password file"):
        await LoopbackTokens().token("openeo")


async def test_the_password_never_leaves_this_machine(
    listener: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSCALE_TOKEN_URL", "http://example.eu:8080")
    with pytest.raises(InvalidInput, match="this machine"):
        await LoopbackTokens().token("openeo")


async def test_without_a_listener_a_login_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CSCALE_TOKEN_URL", raising=False)
    with pytest.raises(LoginRequired, match="CSCALE_TOKEN_URL"):
        await LoopbackTokens().token("openeo")


async def test_a_dead_listener_is_an_upstream_error(
    listener: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setenv("CSCALE_TOKEN_URL", f"http://127.0.0.1:{free_port}")
    with pytest.raises(UpstreamError, match="cannot be reached"):
        await LoopbackTokens().token("openeo")
