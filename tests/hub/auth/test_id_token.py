"""An ID token is believed only when everything about it is right."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from cscale_hub.auth.oidc import Endpoints, KeySet, TokenError, nonce_for, verified_claims

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ISSUER = "https://issuer.example/realm"


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": ISSUER,
        "sub": "s",
        "aud": "hub",
        "exp": now + 60,
        "iat": now,
        "nonce": "n",
        **changes,
    }


async def verify(token: str) -> dict[str, Any]:
    public = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)

    async def fetch(url: str) -> Any:
        return {"keys": [{**public, "kid": "k"}]}

    return await verified_claims(
        token,
        keys=KeySet(fetch),
        jwks_url="https://issuer.example/certs",
        issuer=ISSUER,
        client_id="hub",
        nonce="n",
    )


async def test_right_token_is_believed() -> None:
    assert (await verify(jwt.encode(claims(), KEY, "RS256", {"kid": "k"})))["sub"] == "s"


async def test_unsigned_token_is_refused() -> None:
    with pytest.raises(TokenError, match="RS256"):
        await verify(jwt.encode(claims(), None, "none", {"kid": "k"}))


async def test_token_signed_with_the_public_key_as_password_is_refused() -> None:
    # The classic confusion of HS256 with RS256.
    with pytest.raises(TokenError, match="RS256"):
        await verify(jwt.encode(claims(), "x" * 64, "HS256", {"kid": "k"}))


async def test_token_with_unknown_key_is_refused() -> None:
    with pytest.raises(TokenError, match="does not have"):
        await verify(jwt.encode(claims(), KEY, "RS256", {"kid": "other"}))


async def test_token_signed_by_somebody_else_is_refused() -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(TokenError, match="not valid"):
        await verify(jwt.encode(claims(), other, "RS256", {"kid": "k"}))


async def test_token_without_key_id_is_refused() -> None:
    with pytest.raises(TokenError, match="key id"):
        await verify(jwt.encode(claims(), KEY, "RS256"))


async def test_garbage_is_refused() -> None:
    with pytest.raises(TokenError):
        await verify("not.a.token")


def test_discovery_of_another_issuer_or_without_endpoints_is_refused() -> None:
    with pytest.raises(TokenError, match="configured issuer"):
        Endpoints.from_discovery({"issuer": "https://other.example"}, ISSUER)
    with pytest.raises(TokenError, match="authorization_endpoint"):
        Endpoints.from_discovery({"issuer": ISSUER}, ISSUER)


def test_nonce_does_not_give_the_verifier_away() -> None:
    assert nonce_for("a") != nonce_for("b")
    assert "verifier-value" not in nonce_for("verifier-value")
