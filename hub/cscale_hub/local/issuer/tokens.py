"""The tokens themselves: access and id tokens are RS256 JWTs in the shape of Check-in's.

Nothing here decides who gets a token; that is the work of the grants.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from authlib.oidc.core.util import create_half_hash
from joserfc import jwt
from joserfc.errors import JoseError

from cscale_hub.local.issuer.config import ClientConfig, IssuerConfig
from cscale_hub.local.issuer.keys import KeyRing
from cscale_hub.local.issuer.store import Grant, Store, SupportsClientId
from cscale_hub.local.issuer.users import User, UserDirectory


@dataclass(frozen=True, slots=True)
class Principal:
    """A person together with the grant in whose name a token is made."""

    user: User
    grant: Grant

    def get_user_id(self) -> str:
        """The ``sub``; authlib asks for it by this name."""
        return self.user.subject


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A verified access token: signature, issuer, life and revocation were checked."""

    subject: str
    client_id: str
    audience: tuple[str, ...]
    scope: str
    jti: str
    issued_at: int
    expires_at: int
    grant: Grant | None
    user: User | None
    """None for a service account."""

    def get_scope(self) -> str:
        """The scope; authlib asks by this name."""
        return self.scope

    def is_expired(self) -> bool:
        """Whether its time is over; authlib asks by this name."""
        return self.expires_at <= time.time()

    def is_revoked(self) -> bool:
        """False: a revoked token is not verified in the first place."""
        return False

    def check_client(self, client: SupportsClientId) -> bool:
        """Whether it was given to this client; authlib asks by this name."""
        return self.client_id == client.client_id


class TokenFactory:
    """Makes and verifies the signed tokens of this issuer."""

    def __init__(
        self, config: IssuerConfig, keys: KeyRing, store: Store, users: UserDirectory
    ) -> None:
        self._config = config
        self._keys = keys
        self._store = store
        self._users = users

    def access_token(
        self,
        *,
        client: ClientConfig,
        principal: Principal | None,
        scope: str,
        audience: Sequence[str],
        expires_at: int | None = None,
    ) -> tuple[str, int]:
        """Sign an access token and say when it ends.

        :param principal: None makes a service account's token: ``service-account-<client_id>``.
        :param expires_at: end earlier than after ``access_token_seconds``.
        """
        now = int(time.time())
        expires = now + self._config.access_token_seconds
        if expires_at is not None:
            expires = min(expires, expires_at)
        claims: dict[str, object] = {
            "iss": self._config.issuer,
            "aud": list(audience),
            "azp": client.client_id,
            "client_id": client.client_id,
            "exp": expires,
            "iat": now,
            "jti": secrets.token_urlsafe(16),
            "scope": scope,
            "typ": "Bearer",
        }
        if principal is None:
            claims["sub"] = f"service-account-{client.client_id}"
        else:
            claims["sub"] = principal.user.subject
            claims["sid"] = principal.grant.id
            claims["auth_time"] = principal.grant.auth_time
        return self._sign(claims), expires

    def id_token(
        self, *, client: ClientConfig, principal: Principal, access_token: str, nonce: str | None
    ) -> str:
        """Sign an id_token (OpenID Connect Core, section 2).

        As at Check-in it says who logged in and nothing about entitlements: those are released
        at userinfo and introspection only.
        """
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": self._config.issuer,
            "sub": principal.user.subject,
            "aud": client.client_id,
            "azp": client.client_id,
            "exp": now + self._config.access_token_seconds,
            "iat": now,
            "auth_time": principal.grant.auth_time,
            "sid": principal.grant.id,
            "typ": "ID",
            "at_hash": create_half_hash(access_token, "RS256").decode(),
        }
        if nonce:
            claims["nonce"] = nonce
        return self._sign(claims)

    def _sign(self, claims: dict[str, object]) -> str:
        key = self._keys.signing_key()
        return jwt.encode({"alg": "RS256", "typ": "JWT", "kid": key.kid}, claims, key)

    def verify(self, token: str) -> AccessToken | None:
        """The access token, or None when it is not ours, has ended, or was revoked."""
        try:
            decoded = jwt.decode(token, self._keys.verification_keys(), algorithms=["RS256"])
            jwt.JWTClaimsRegistry(
                leeway=0,
                iss={"essential": True, "value": self._config.issuer},
                exp={"essential": True},
                sub={"essential": True},
                jti={"essential": True},
                typ={"essential": True, "value": "Bearer"},
            ).validate(decoded.claims)
        except (JoseError, ValueError):
            return None  # whatever is wrong with it, it is no token of ours in force
        claims = decoded.claims
        if self._store.is_revoked(claims["jti"]):
            return None
        grant: Grant | None = None
        user: User | None = None
        if "sid" in claims:
            grant = self._store.grant(claims["sid"])
            user = self._users.by_subject(claims["sub"])
            if grant is None or grant.revoked or user is None:
                return None
        return AccessToken(
            subject=claims["sub"],
            client_id=claims["azp"],
            audience=tuple(claims["aud"]),
            scope=claims["scope"],
            jti=claims["jti"],
            issued_at=claims["iat"],
            expires_at=claims["exp"],
            grant=grant,
            user=user,
        )


def user_claims(user: User, scope: str) -> dict[str, object]:
    """What userinfo and introspection release about a person for the granted scopes."""
    scopes = set(scope.split())
    claims: dict[str, object] = {"sub": user.subject}
    if "profile" in scopes:
        claims["name"] = user.display_name
        claims["preferred_username"] = user.username
    if "email" in scopes:
        claims["email"] = user.email
        claims["email_verified"] = True
    if "voperson_id" in scopes:
        claims["voperson_id"] = user.subject
    if "eduperson_entitlement" in scopes:
        claims["eduperson_entitlement"] = list(user.entitlements)
    return claims
