"""What the hub has to know of an OpenID provider: its endpoints, and whether an ID token is true.

Rules: OpenID Connect Discovery 1.0 section 4 and Core 1.0 section 3.1.3.7. Only signatures with a
public key are accepted (Check-in's are RS256) and only by the algorithm of the key, keys are found
by ``kid``, and an unknown ``kid`` makes the key set be fetched once more, because keys are rotated.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import jwt

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
LEEWAY_SECONDS = 30
# A key that the provider withdrew is believed no longer than this.
_KEYS_SECONDS = 3600.0

Fetch = Callable[[str], Awaitable[Any]]


class TokenError(Exception):
    """An ID token or a userinfo answer that must not be believed."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints of a provider, from its discovery document."""

    authorization: str
    token: str
    userinfo: str
    jwks: str
    revocation: str
    """Empty when the provider cannot end a session."""

    @classmethod
    def from_discovery(cls, document: object, issuer: str) -> Endpoints:
        """Read a discovery document.

        :raises TokenError: when it names another issuer (mix-up), lacks an endpoint, or has one
            that is less protected than the issuer itself.
        """
        if not isinstance(document, dict) or document.get("issuer") != issuer:
            raise TokenError("the discovery document is not that of the configured issuer")
        schemes = {"https", urlsplit(issuer).scheme}
        for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"):
            if not isinstance(document.get(name), str):
                raise TokenError(f"the discovery document lacks {name}")
            if urlsplit(document[name]).scheme not in schemes:
                raise TokenError(f"{name} of the discovery document is not protected by TLS")
        revocation = document.get("revocation_endpoint")
        usable = isinstance(revocation, str) and urlsplit(revocation).scheme in schemes
        return cls(
            authorization=document["authorization_endpoint"],
            token=document["token_endpoint"],
            userinfo=document["userinfo_endpoint"],
            jwks=document["jwks_uri"],
            revocation=str(revocation) if usable else "",
        )


def nonce_for(code_verifier: str) -> str:
    """The nonce of a login, derived from the PKCE verifier that only this browser's cookie holds.

    A one-way function of it, so the nonce (seen by the provider before the verifier is) gives
    nothing away.
    """
    return hashlib.sha256(b"cscale-nonce:" + code_verifier.encode()).hexdigest()


class KeySet:
    """The provider's public keys, kept between calls."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._fetching = asyncio.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked_at = float("-inf")

    async def key(self, kid: str, url: str) -> jwt.PyJWK:
        """The key with this id; when it is not known, the set is fetched once more.

        :raises TokenError: when the provider has no such key.
        """
        if not self._knows(kid):
            async with self._fetching:
                if not self._knows(kid):  # others may have waited for the same
                    await self._fetch_again(url)
        try:
            return self._keys[kid]
        except KeyError as error:
            raise TokenError("the token is signed with a key the provider does not have") from error

    def _knows(self, kid: str) -> bool:
        return kid in self._keys and time.monotonic() - self._asked_at <= _KEYS_SECONDS

    async def _fetch_again(self, url: str) -> None:
        asked_at = time.monotonic()
        document = await self._fetch(url)
        try:
            keys = jwt.PyJWKSet.from_dict(document).keys
        except (jwt.PyJWTError, AttributeError, TypeError) as error:
            raise TokenError("the provider's key set cannot be read") from error
        self._keys = {key.key_id: key for key in keys if key.key_id and _signs(key)}
        self._asked_at = asked_at


def _signs(key: jwt.PyJWK) -> bool:
    """Whether it is a public key for signatures: not one to encrypt with, not a shared secret."""
    return key.algorithm_name in ALGORITHMS and key.public_key_use in (None, "sig")


async def verified_claims(
    id_token: str,
    *,
    keys: KeySet,
    jwks_url: str,
    issuer: str,
    client_id: str,
    nonce: str | None,
) -> dict[str, Any]:
    """The claims of an ID token, after every check of Core 1.0 section 3.1.3.7.

    :param nonce: what the login request carried; None for a token from a refresh, which need not
        have one (Core 1.0 section 12.2).
    :raises TokenError: when anything is wrong with it.
    """
    try:
        header = jwt.get_unverified_header(id_token)
        kid = header.get("kid")
        if header.get("alg") not in ALGORITHMS or not isinstance(kid, str):
            raise TokenError("the ID token is not signed with a public key and a key id")
        key = await keys.key(kid, jwks_url)
        if header["alg"] != key.algorithm_name:
            raise TokenError("the ID token is not signed with the algorithm of its key")
        claims: dict[str, Any] = jwt.decode(
            id_token,
            key=key,
            algorithms=[key.algorithm_name],
            audience=client_id,
            issuer=issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except jwt.PyJWTError as error:
        raise TokenError(f"the ID token is not valid: {error}") from error
    audience = claims["aud"]
    several = isinstance(audience, list) and len(audience) > 1
    if (several or "azp" in claims) and claims.get("azp") != client_id:
        raise TokenError("the ID token was issued to another client")
    if nonce is not None and claims.get("nonce") != nonce:
        raise TokenError("the ID token does not belong to this login")
    return claims
