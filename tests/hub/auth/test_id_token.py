"""An ID token is believed only when everything about it is right."""

from __future__ import annotations

import asyncio
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


async def verify(token: str, **jwk: Any) -> dict[str, Any]:
    public = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)

    async def fetch(url: str) -> Any:
        return {"keys": [{**public, "kid": "k", **jwk}]}

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
    with pytest.raises(TokenError, match="public key"):
        await verify(jwt.encode(claims(), None, "none", {"kid": "k"}))


async def test_token_signed_with_the_public_key_as_password_is_refused() -> None:
    # The classic confusion of HS256 with RS256.
    with pytest.raises(TokenError, match="public key"):
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


@pytest.mark.parametrize("jwk", [{"use": "enc"}, {"alg": "RSA-OAEP"}, {"kid": None}])
async def test_key_that_is_not_for_signatures_is_not_used(jwk: dict[str, Any]) -> None:
    with pytest.raises(TokenError):
        await verify(jwt.encode(claims(), KEY, "RS256", {"kid": "k"}), **jwk)


async def test_other_algorithm_than_that_of_the_key_is_refused() -> None:
    with pytest.raises(TokenError, match="algorithm of its key"):
        await verify(jwt.encode(claims(), KEY, "PS256", {"kid": "k"}), alg="RS256")


async def test_shared_secret_among_the_keys_is_not_used() -> None:
    token = jwt.encode(claims(), "x" * 64, "HS256", {"kid": "k"})
    with pytest.raises(TokenError):
        await verify(token, kty="oct", k="eHh4eHh4", alg="HS256")


async def test_unknown_key_has_the_set_fetched_once_more_and_no_oftener() -> None:
    fetched: list[str] = []
    public = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)

    async def fetch(url: str) -> Any:
        fetched.append(url)
        await asyncio.sleep(0)
        return {"keys": [{**public, "kid": "k"}]}

    keys = KeySet(fetch)
    await asyncio.gather(*(keys.key("k", "https://issuer.example/certs") for _ in range(20)))
    assert len(fetched) == 1
    with pytest.raises(TokenError):
        await keys.key("forged", "https://issuer.example/certs")
    assert len(fetched) == 2


async def test_key_that_was_withdrawn_is_not_believed_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    public = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    published = [{**public, "kid": "k"}]

    async def fetch(url: str) -> Any:
        return {"keys": list(published)}

    keys = KeySet(fetch)
    await keys.key("k", "https://issuer.example/certs")
    published[0] = {**public, "kid": "other"}
    monkeypatch.setattr("cscale_hub.auth.oidc._KEYS_SECONDS", -1.0)
    with pytest.raises(TokenError):
        await keys.key("k", "https://issuer.example/certs")


DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "jwks_uri": f"{ISSUER}/certs",
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"issuer": "https://other.example"}, "configured issuer"),
        ({"token_endpoint": None}, "lacks token_endpoint"),
        ({"userinfo_endpoint": "http://issuer.example/userinfo"}, "not protected"),
        ({"jwks_uri": "file:///etc/keys"}, "not protected"),
    ],
)
def test_discovery_document_with_a_fault_is_refused(changes: dict[str, Any], words: str) -> None:
    assert Endpoints.from_discovery(DOCUMENT, ISSUER).revocation == ""
    with pytest.raises(TokenError, match=words):
        Endpoints.from_discovery({**DOCUMENT, **changes}, ISSUER)
    with pytest.raises(TokenError):
        Endpoints.from_discovery([], ISSUER)


def test_nonce_does_not_give_the_verifier_away() -> None:
    assert nonce_for("a") != nonce_for("b")
    assert "verifier-value" not in nonce_for("verifier-value")
