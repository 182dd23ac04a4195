"""An OpenID provider with switches."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from cscale_hub.auth.checkin import CheckinAuthenticator
from cscale_hub.vos import load_vos

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
            }
        )

    async def certs(self, request: web.Request) -> web.Response:
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return web.json_response({"keys": [{**key, "kid": self.kid, "alg": "RS256"}]})

    async def token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if self.outage:
            return web.Response(status=503)
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
            return web.json_response({"error": "invalid_grant"}, status=400)
        if self.rotate:
            self.valid_refresh = {f"refresh-{self.count}"}
            answer["refresh_token"] = f"refresh-{self.count}"
        return web.json_response(answer)

    async def userinfo(self, request: web.Request) -> web.Response:
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
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    made.issuer = f"http://127.0.0.1:{port}{base}"
    yield made
    await runner.cleanup()


@pytest.fixture
def authenticator(provider: Provider) -> CheckinAuthenticator:
    return CheckinAuthenticator(
        issuer=provider.issuer,
        client_id="cscale-hub",
        client_secret="secret",
        login_service="EGI Check-in",
        scope=["openid", "offline_access"],
        vo_rules=list(load_vos().rules()),
        enrolment_url="https://join.example.org",
        enable_auth_state=True,
        manage_groups=True,
        refresh_ahead=600,
        discovery_timeout=3.0,
        oauth_callback_url="http://127.0.0.1:8000/hub/oauth_callback",
    )
