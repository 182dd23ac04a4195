"""Two OpenID providers with switches: a small one for single rules, and the issuer of the local
federation for a whole hub."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from cscale_hub.auth.checkin import AcceptedVO, CheckinAuthenticator
from cscale_hub.vos import load_vos
from tests.hub.auth.running_hub import RunningHub, Visitor, running
from tests.hub.auth.switched_issuer import SwitchedIssuer
from tests.hub.spawn.conftest import free_ports

SUBJECT = f"{'ab' * 32}@egi.eu"
MEMBER = "urn:mace:egi.eu:group:aquamonitor.c-scale.eu:role=member#aai.egi.eu"


class Provider:
    """A provider in this process; each test turns its switches."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = "key-1"
        self.issuer = ""
        self.discovery_failures = 0
        self.outage = False
        self.userinfo_status = 200
        self.rotate = True
        self.lifetime = 3600
        self.entitlements = [MEMBER]
        self.userinfo_subject = SUBJECT
        self.claims: dict[str, Any] = {}
        self.renewed_id_token = ""
        self.refused = "invalid_grant"
        self.gate = asyncio.Event()  # cleared: the token endpoint thinks
        self.gate.set()
        self.reached = asyncio.Event()
        self.told = asyncio.Event()  # a session was ended
        self.discoveries = 0
        self.userinfo_asked = 0
        self.keys_asked = 0
        self.revoked: list[dict[str, str]] = []
        self.valid_refresh = {"refresh-0"}
        self.refreshes: list[dict[str, str]] = []
        self.count = 0

    def id_token(self, nonce: str | None = None, **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": SUBJECT,
            "aud": "cscale-hub",
            "azp": "cscale-hub",
            "exp": now + 300,
            "iat": now,
            **({"nonce": nonce} if nonce else {}),
            **self.claims,
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, self.key, "RS256", {"kid": self.kid})

    async def discovery(self, request: web.Request) -> web.Response:
        self.discoveries += 1
        if self.discovery_failures > 0:
            self.discovery_failures -= 1
            return web.Response(status=503)
        base = f"{self.issuer}/protocol/openid-connect"
        return web.json_response(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{base}/auth",
                "token_endpoint": f"{base}/token",
                "userinfo_endpoint": f"{base}/userinfo",
                "jwks_uri": f"{base}/certs",
                "revocation_endpoint": f"{base}/revoke",
            }
        )

    async def certs(self, request: web.Request) -> web.Response:
        self.keys_asked += 1
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return web.json_response({"keys": [{**key, "kid": self.kid, "alg": "RS256"}]})

    async def token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if self.outage:
            return web.Response(status=503)
        self.reached.set()
        await self.gate.wait()
        self.count += 1
        answer: dict[str, Any] = {
            "access_token": f"access-{self.count}",
            "token_type": "Bearer",
            "expires_in": self.lifetime,
        }
        if form["grant_type"] == "authorization_code":
            answer["id_token"] = self.id_token(form["code"])  # the test puts the nonce there
            answer["refresh_token"] = "refresh-0"
            return web.json_response(answer)
        self.refreshes.append(form)
        if form["refresh_token"] not in self.valid_refresh:
            return web.json_response({"error": self.refused}, status=400)
        if self.renewed_id_token:
            answer["id_token"] = self.renewed_id_token
        if self.rotate:
            self.valid_refresh = {f"refresh-{self.count}"}
            answer["refresh_token"] = f"refresh-{self.count}"
        return web.json_response(answer)

    async def revoke(self, request: web.Request) -> web.Response:
        self.revoked.append({name: str(value) for name, value in (await request.post()).items()})
        self.told.set()
        return web.Response()

    async def userinfo(self, request: web.Request) -> web.Response:
        self.userinfo_asked += 1
        if self.outage:
            return web.Response(status=503)
        if self.userinfo_status != 200:
            return web.Response(status=self.userinfo_status)
        return web.json_response(
            {
                "sub": self.userinfo_subject,
                "name": "Aqua Monitor member",
                "eduperson_entitlement": self.entitlements,
            }
        )


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    base = "/auth/realms/egi"
    app = web.Application()
    app.router.add_get(f"{base}/.well-known/openid-configuration", made.discovery)
    app.router.add_get(f"{base}/protocol/openid-connect/certs", made.certs)
    app.router.add_post(f"{base}/protocol/openid-connect/token", made.token)
    app.router.add_get(f"{base}/protocol/openid-connect/userinfo", made.userinfo)
    app.router.add_post(f"{base}/protocol/openid-connect/revoke", made.revoke)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    made.issuer = f"http://127.0.0.1:{port}{base}"
    yield made
    await runner.cleanup()


@pytest.fixture
def make_authenticator(provider: Provider) -> Callable[..., CheckinAuthenticator]:
    """Authenticators with settings of their own."""

    def make(
        kind: type[CheckinAuthenticator] = CheckinAuthenticator, **settings: Any
    ) -> CheckinAuthenticator:
        vos = load_vos()
        usual: dict[str, Any] = {
            "issuer": provider.issuer,
            "client_id": "cscale-hub",
            "client_secret": "secret",
            "login_service": "EGI Check-in",
            "scope": ["openid", "offline_access"],
            "vo_rules": list(vos.rules()),
            "accepted_vos": [
                AcceptedVO(name, vo.title, vo.enrolment_url) for name, vo in vos.vos.items()
            ],
            "enrolment_url": "https://join.example.org",
            "enable_auth_state": True,
            "manage_groups": True,
            "refresh_ahead": 600,
            "discovery_timeout": 3.0,
            "patience": 30.0,
            "outage_grace": 100.0,
            "oauth_callback_url": "http://127.0.0.1:8000/hub/oauth_callback",
        }
        return kind(**usual | settings)

    return make


@pytest.fixture
def authenticator(make_authenticator: Callable[..., CheckinAuthenticator]) -> CheckinAuthenticator:
    return make_authenticator()


@pytest.fixture(scope="package")
def hub_ports() -> list[int]:
    return free_ports(4)


@pytest.fixture(scope="package")
def running_issuer(
    tmp_path_factory: pytest.TempPathFactory, hub_ports: list[int]
) -> Iterator[SwitchedIssuer]:
    made = SwitchedIssuer(
        tmp_path_factory.mktemp("issuer"), hub_ports[3], f"http://127.0.0.1:{hub_ports[0]}"
    )
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="package")
def running_hub(
    tmp_path_factory: pytest.TempPathFactory, running_issuer: SwitchedIssuer, hub_ports: list[int]
) -> Iterator[RunningHub]:
    with running(tmp_path_factory.mktemp("hub"), running_issuer, hub_ports[:3]) as hub:
        yield hub


@pytest.fixture
def issuer(running_issuer: SwitchedIssuer) -> Iterator[SwitchedIssuer]:
    """The issuer, with every switch off at the beginning and the end."""
    running_issuer.reset()
    yield running_issuer
    running_issuer.reset()


@pytest.fixture
def hub(running_hub: RunningHub, issuer: SwitchedIssuer) -> RunningHub:
    return running_hub


@pytest.fixture
def visitor(hub: RunningHub) -> Iterator[Visitor]:
    with Visitor(hub) as made:
        yield made
