"""Who asks: bearer tokens ``oidc/<provider>/<access token>``, and the VOs behind them.

A token is accepted when its RS256 signature, issuer, audience and expiry are right; who its owner
is in comes from the issuer's userinfo, kept for a few minutes and never beyond the token's end.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

from cscale_core.identity.entitlements import vo_roles
from cscale_core.identity.slug import user_slug
from cscale_openeo.config import Config
from cscale_openeo.errors import OpenEOError

_LEEWAY = 10
# A key that is not in the set is asked for again, but not for every forged token.
_JWKS_PAUSE = 10.0
_REMEMBERED = 1000


@dataclass(frozen=True)
class User:
    """The person behind a request."""

    subject: str
    slug: str
    name: str
    email: str
    vos: tuple[str, ...]


def _invalid(reason: str) -> OpenEOError:
    return OpenEOError(
        "TokenInvalid",
        f"Authorization token has expired or is invalid ({reason}). Please authenticate again.",
    )


def _unavailable(what: str) -> OpenEOError:
    return OpenEOError(
        "UpstreamUnavailable",
        f"The identity provider does not answer ({what}). Your token may be good; try again later.",
    )


class Authenticator:
    """Checks bearer tokens against one issuer."""

    def __init__(self, config: Config, http: httpx.AsyncClient) -> None:
        self._config = config
        self._http = http
        self._keys: dict[str, Any] = {}
        self._keys_asked = float("-inf")
        self._keys_lock = asyncio.Lock()
        self._users: dict[str, tuple[float, User]] = {}

    async def user(self, authorization: str | None) -> User:
        """The user of an ``Authorization`` header, whatever VOs they are in.

        :raises OpenEOError: AuthenticationRequired (401), AuthenticationSchemeInvalid or
            TokenInvalid (403), UpstreamUnavailable (503).
        """
        token = self._token(authorization)
        claims = await self._claims(token)
        expires = float(claims["exp"])
        key = hashlib.sha256(token.encode()).hexdigest()
        now = time.time()
        known = self._users.get(key)
        if known is not None and known[0] > now:
            return known[1]
        info = await self._userinfo(token)
        if info.get("sub") != claims["sub"]:
            raise _invalid("userinfo speaks of somebody else")
        values = info.get("eduperson_entitlement") or info.get("entitlements") or []
        values = [values] if isinstance(values, str) else values
        roles = vo_roles(map(str, values), [vo.rule for vo in self._config.vos])
        user = User(
            subject=str(claims["sub"]),
            slug=user_slug(str(claims["sub"])),
            name=str(info.get("name") or info.get("preferred_username") or ""),
            email=str(info.get("email") or ""),
            vos=tuple(sorted(roles)),
        )
        if len(self._users) >= _REMEMBERED:
            self._users = {k: v for k, v in self._users.items() if v[0] > now}
            if len(self._users) >= _REMEMBERED:
                self._users.clear()
        self._users[key] = (min(now + self._config.userinfo_seconds, expires), user)
        return user

    async def member(self, authorization: str | None) -> User:
        """The user, who must be in at least one VO that may compute here.

        :raises OpenEOError: as :meth:`user`, and PermissionsInsufficient (403).
        """
        user = await self.user(authorization)
        if not user.vos:
            ways = "; ".join(
                f"{vo.name}" + (f" ({vo.enrol_url})" if vo.enrol_url else "")
                for vo in self._config.vos
            )
            raise OpenEOError(
                "PermissionsInsufficient",
                "You are in no virtual organisation that may compute here. Ask to enrol in one of: "
                f"{ways}. Then log in again.",
            )
        return user

    def _token(self, authorization: str | None) -> str:
        if not authorization:
            raise OpenEOError("AuthenticationRequired", "Unauthorized: log in with OpenID Connect.")
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise OpenEOError("AuthenticationSchemeInvalid", "Authentication method not supported.")
        method, _, rest = credentials.strip().partition("/")
        provider, _, token = rest.partition("/")
        if method != "oidc" or provider != self._config.provider_id or not token:
            raise OpenEOError(
                "AuthenticationSchemeInvalid",
                f"Authentication method not supported; send oidc/{self._config.provider_id}/TOKEN.",
            )
        return token

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise _invalid("it is not a JWT") from error
        if header.get("alg") != "RS256":
            raise _invalid("it is not signed by RS256")
        key = await self._key(str(header.get("kid", "")))
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=self._config.audience,
                issuer=self._config.issuer,
                leeway=_LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise _invalid("expired") from error
        except jwt.InvalidAudienceError as error:
            raise _invalid(f"its audience is not {self._config.audience}") from error
        except jwt.InvalidTokenError as error:
            raise _invalid(str(error)) from error
        return claims

    async def _key(self, kid: str) -> Any:
        if kid in self._keys:
            return self._keys[kid]
        async with self._keys_lock:
            if kid not in self._keys and time.monotonic() - self._keys_asked > _JWKS_PAUSE:
                self._keys = await self._fetch_keys()
                self._keys_asked = time.monotonic()
        if kid not in self._keys:
            raise _invalid("its signing key is not known")
        return self._keys[kid]

    async def _fetch_keys(self) -> dict[str, Any]:
        try:
            response = await self._http.get(self._config.jwks_url)
            response.raise_for_status()
            document = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise _unavailable("keys") from error
        keys: dict[str, Any] = {}
        for entry in document.get("keys", []):
            if entry.get("kty") == "RSA" and entry.get("use", "sig") == "sig":
                try:
                    keys[str(entry.get("kid", ""))] = jwt.PyJWK(entry, algorithm="RS256").key
                except jwt.PyJWTError:
                    # One key that cannot be read does not make the others unusable.
                    continue
        return keys

    async def _userinfo(self, token: str) -> dict[str, Any]:
        try:
            response = await self._http.get(
                self._config.userinfo_url, headers={"Authorization": f"Bearer {token}"}
            )
        except httpx.HTTPError as error:
            raise _unavailable("userinfo") from error
        if response.status_code in (400, 401, 403):
            raise _invalid("the identity provider refuses it")
        if response.status_code != 200:
            raise _unavailable(f"userinfo {response.status_code}")
        try:
            info = response.json()
        except ValueError as error:
            raise _unavailable("userinfo is no JSON") from error
        return info if isinstance(info, dict) else {}
