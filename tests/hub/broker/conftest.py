"""A broker whose upstreams are one object: a hub, an identity provider and an STS with switches.

The answers have the shapes that JupyterHub 6.1, the local issuer and SeaweedFS 4.48 give;
``test_broker_real_upstreams.py`` runs the broker against the real programs.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import httpx
import pytest

from cscale_hub.broker.app import create_app
from cscale_hub.broker.config import BrokerConfig

HUB, TOKENS, S3 = "http://127.0.0.1:1/hub/api", "http://127.0.0.1:2/token", "http://127.0.0.1:3"
ROLE = "arn:aws:iam::role/cscale-researcher"
SLUG = "uabcdefgh234"
SCOPE = "custom:cscale-broker:use"
SERVER_TOKEN = "server-token-of-the-user"

STS_ANSWER = """<?xml version="1.0" encoding="UTF-8"?>
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIA{n}</AccessKeyId>
<SecretAccessKey>very-secret-{n}</SecretAccessKey><SessionToken>session-{n}</SessionToken>
<Expiration>{expires}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""

STS_ERROR = """<?xml version="1.0" encoding="UTF-8"?>
<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"""


@dataclass
class World:
    """All upstreams of one broker."""

    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    vo: str = "aquamonitor.c-scale.eu"
    lives: dict[str, float] = field(default_factory=dict)
    renew_to: str = ""
    down: set[str] = field(default_factory=set)
    answers: dict[str, httpx.Response] = field(default_factory=dict)
    delay: float = 0
    asked: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    exchanged: int = 0

    def add_user(self, slug: str = SLUG, token: str = SERVER_TOKEN, *groups: str) -> None:
        self.tokens[token] = {
            "kind": "user",
            "name": slug,
            "token_id": f"id-of-{slug}",
            "scopes": ["access:servers!server=" + slug + "/", f"{SCOPE}!server={slug}/"],
        }
        self.users[slug] = {
            "name": slug,
            "groups": list(groups)
            or ["vo:aquamonitor.c-scale.eu", "vo:aquamonitor.c-scale.eu:member"],
        }
        self.log_in(slug, f"login-of-{slug}")

    def log_in(self, slug: str, token: str, life: float = 3600) -> None:
        self.users[slug] |= {"access_token": token, "expires_at": int(time.time() + life)}
        self.lives[token] = life

    def make_token(self, audience: str) -> str:
        return f"{audience}-token-{self.exchanged}"

    def count(self, path: str) -> int:
        return sum(each.startswith(path) for each in self.asked)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        path = f"{request.url.copy_with(query=None)}"
        self.asked.append(path)
        await asyncio.sleep(self.delay)
        for part in self.down:
            if path.startswith(part):
                raise httpx.ConnectError("refused")
        for part, answer in self.answers.items():
            if path.startswith(part):
                return answer
        if path.startswith(HUB):
            return self._hub(path.removeprefix(HUB), request.headers["Authorization"])
        form = {name: each[0] for name, each in parse_qs(request.content.decode()).items()}
        self.forms.append(form)
        self.headers = request.headers
        return self._exchange(form, request) if path.startswith(TOKENS) else self._sts(form)

    def _hub(self, path: str, authorization: str) -> httpx.Response:
        token = authorization.removeprefix("token ")
        if path == "/user":
            if self.renew_to and token in self.tokens:
                self.log_in(self.tokens[token]["name"], self.renew_to)
            model = self.tokens.get(token)
            return httpx.Response(200, json=model) if model else httpx.Response(403, json={})
        if token != "token-of-the-service":
            return httpx.Response(403, json={})
        name = unquote(path.removeprefix("/cscale/logins/"))
        servers = {"": {"vo": self.vo, "shared": name in self.shared}}
        found = self.users.get(name)
        return httpx.Response(200 if found else 404, json={"servers": servers, **(found or {})})

    def _exchange(self, form: dict[str, str], request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == httpx.BasicAuth(
            "cscale-hub", "client-secret"
        )._build_auth_header("cscale-hub", "client-secret")
        life = self.lives.get(form["subject_token"])
        if life is None or life <= 0:
            return httpx.Response(400, json={"error": "invalid_request"})
        self.exchanged += 1
        token = self.make_token(form["audience"])
        return httpx.Response(
            200, json={"access_token": token, "token_type": "Bearer", "expires_in": int(life)}
        )

    def _sts(self, form: dict[str, str]) -> httpx.Response:
        moment = datetime.fromtimestamp(time.time() + int(form["DurationSeconds"]), UTC)
        expires = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        number = sum("Policy" in each for each in self.forms)
        return httpx.Response(200, text=STS_ANSWER.format(n=number, expires=expires))


@dataclass
class Running:
    """A broker, its world, and a client that asks as the user's server does."""

    world: World
    http: httpx.AsyncClient
    audit_file: Path
    transport: httpx.MockTransport

    def answers_with(self, handle: Callable[[httpx.Request], Any]) -> None:
        """Put something before the world."""
        self.transport.handler = handle

    async def get(self, path: str, token: str = SERVER_TOKEN) -> httpx.Response:
        headers = {"Authorization": f"token {token}"} if token else {}
        return await self.http.get(f"/services/broker{path}", headers=headers)

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit_file.read_text().splitlines()]


MakeBroker = Callable[..., Running]


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """A configuration with its files in a folder."""
    (folder / "client-secret").write_text("client-secret\n")
    vos = {
        name: {"title": name, "entitlement": {"group": name}, "bucket": name.split(".")[0]}
        for name in ("aquamonitor.c-scale.eu", "waterwatch.c-scale.eu")
    }
    return {
        "port": 8001,
        "token_url": TOKENS,
        "client_id": "cscale-hub",
        "client_secret_file": str(folder / "client-secret"),
        "s3": {"endpoint": S3, "role_arn": ROLE},
        "vos": {"vos": vos},
        "audit_log": str(folder / "audit" / "broker.jsonl"),
    } | changes


ENVIRONMENT = {"JUPYTERHUB_API_URL": HUB, "JUPYTERHUB_API_TOKEN": "token-of-the-service"}


@pytest.fixture
async def make_broker(tmp_path: Path) -> AsyncIterator[MakeBroker]:
    clients: list[httpx.AsyncClient] = []

    def make(outwards: Any = httpx.MockTransport, **changes: Any) -> Running:
        world = World()
        world.add_user()
        config = BrokerConfig.model_validate(settings(tmp_path, **changes))
        upstreams = outwards(world.handle)
        app = create_app(config, ENVIRONMENT, upstreams)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        http = httpx.AsyncClient(transport=transport, base_url="http://broker")
        clients.append(http)
        return Running(world, http, config.audit_log, upstreams)

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def broker(make_broker: MakeBroker) -> Running:
    return make_broker()
