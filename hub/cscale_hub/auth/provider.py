"""The conversation with an OpenID provider: discovery, tokens, userinfo, the end of a session.

Every answer is told apart into three: it can be believed and is returned, it says no
(:class:`Refused`), or there is none that could be used (:class:`Unreachable`). Redirects are not
followed, because they would carry tokens to addresses that discovery did not name. Nothing here
knows JupyterHub, and nothing of what was asked or answered is logged.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from tornado.httpclient import HTTPClientError, HTTPResponse

from cscale_hub.auth.oidc import Endpoints, KeySet, TokenError, verified_claims
from cscale_hub.auth.renewal import OneAtATime

_RETRY_SECONDS = 0.5
# A renewal that is given up too soon may have spent the refresh token at the provider.
_RENEWAL_SECONDS = 60.0
_REVOKE_SECONDS = 5.0
# Endpoints that the provider changed are found out within an hour.
_READ_SECONDS = 3600.0
_COME_BACK = (408, 425, 429)

Fetch = Callable[..., Awaitable[HTTPResponse]]


class ProviderError(Exception):
    """The provider did not give what it was asked for."""


class Unreachable(ProviderError):
    """The provider does not answer, not now, or not in a way that can be read."""


class Refused(ProviderError):
    """The provider says no; ``error`` is its OAuth error code, or else the HTTP status."""

    def __init__(self, error: str, status: int) -> None:
        super().__init__(f"it refuses: {error}")
        self.error = error
        self.status = status


class Provider:
    """One OpenID provider, asked as one client.

    :param fetch: ``OAuthenticator.httpfetch``, which knows proxies and certificates.
    :param patience: seconds for which discovery is tried again.
    :param trust: seconds for which a provider that answered counts as being there.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str,
        *,
        fetch: Fetch,
        patience: float,
        trust: float,
    ) -> None:
        self.issuer = issuer
        self._client_id = client_id
        self._client = {
            "client_id": client_id,
            **({"client_secret": client_secret} if client_secret else {}),
        }
        self._fetch = fetch
        self._patience = patience
        self._trust = trust
        self._answered_at = self._read_at = float("-inf")
        self._endpoints: Endpoints | None = None
        self._discoveries = OneAtATime()
        self._keys = KeySet(lambda url: self._ask("asking for the provider's keys", url))

    async def discover(self, *, again: bool = False, patient: bool = True) -> Endpoints:
        """The provider's endpoints.

        :param again: ask also when they are known already, unless the provider answered anything a
            moment ago and they were read within the hour.
        :param patient: ask again when there is no answer: the issuer of the local federation
            starts at the same time as the hub.
        :raises Unreachable: when it does not answer, or as another issuer.
        :raises Refused: when there is no such document.
        """
        if self._endpoints is not None and (not again or self._there()):
            return self._endpoints
        return await self._discoveries.run(patient, lambda: self._discovered(patient=patient))

    def _there(self) -> bool:
        now = time.monotonic()
        return now - self._answered_at < self._trust and now - self._read_at < _READ_SECONDS

    async def _discovered(self, *, patient: bool) -> Endpoints:
        url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        until = time.monotonic() + (self._patience if patient else 0)
        while True:
            try:
                document = await self._ask("asking for the provider's endpoints", url)
                break
            except ProviderError:
                if time.monotonic() >= until:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)
        try:
            self._endpoints = Endpoints.from_discovery(document, self.issuer)
        except TokenError as error:
            raise Unreachable(str(error)) from error
        self._read_at = time.monotonic()
        return self._endpoints

    async def redeem(self, form: Mapping[str, str]) -> dict[str, Any]:
        """The tokens for an authorization code.

        :param form: the members of the request (RFC 6749 section 4.1.3) without the client's.
        :raises ProviderError: as its class says.
        """
        endpoints = await self.discover()
        return await self._tokens(endpoints, form)

    async def renew(self, refresh_token: str, scope: str) -> dict[str, Any]:
        """New tokens for a refresh token, which may be spent by it.

        :param scope: Check-in wants it here too (its documentation, "Refresh request").
        :raises ProviderError: as its class says.
        """
        endpoints = await self.discover(patient=False)
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "scope": scope}
        return await self._tokens(endpoints, form, request_timeout=_RENEWAL_SECONDS)

    async def _tokens(
        self, endpoints: Endpoints, form: Mapping[str, str], **options: Any
    ) -> dict[str, Any]:
        tokens = await self._ask(
            "asking for tokens",
            endpoints.token,
            method="POST",
            headers={"Accept": "application/json"},
            body=urlencode({**form, **self._client}).encode(),
            **options,
        )
        if not isinstance(tokens.get("access_token"), str) or not tokens["access_token"]:
            raise Unreachable("it sent no access token")
        return tokens

    async def claims(self, tokens: Mapping[str, Any], nonce: str | None) -> dict[str, Any]:
        """The verified claims of the ID token.

        :param nonce: as in :func:`cscale_hub.auth.oidc.verified_claims`.
        :raises TokenError: when it must not be believed.
        :raises ProviderError: when its key cannot be had.
        """
        endpoints = await self.discover(patient=False)
        if not isinstance(tokens.get("id_token"), str):
            raise TokenError("the provider sent no ID token")
        return await verified_claims(
            tokens["id_token"],
            keys=self._keys,
            jwks_url=endpoints.jwks,
            issuer=self.issuer,
            client_id=self._client_id,
            nonce=nonce,
        )

    async def userinfo(self, access_token: str, subject: str) -> dict[str, Any]:
        """Userinfo, where Check-in tells entitlements; it must be about the same person.

        :raises TokenError: when it is about somebody else.
        :raises ProviderError: as its class says.
        """
        endpoints = await self.discover(patient=False)
        userinfo = await self._ask(
            "asking for userinfo",
            endpoints.userinfo,
            headers={"Accept": "application/json", "Authorization": f"Bearer {access_token}"},
        )
        if userinfo.get("sub") != subject:
            # Core 1.0 section 5.3.2: else tokens of two persons could be mixed.
            raise TokenError("userinfo is about another person than the ID token")
        return userinfo

    async def revoke(self, kind: str, token: str) -> bool:
        """Have the session of a token ended (RFC 7009).

        :param kind: ``refresh_token``, which takes the session's access tokens with it, or
            ``access_token``.
        :returns: False when the provider cannot do that.
        :raises ProviderError: as its class says.
        """
        endpoints = await self.discover(patient=False)
        if not endpoints.revocation:
            return False
        form = {"token": token, "token_type_hint": kind, **self._client}
        await self._answer(
            "ending a session",
            endpoints.revocation,
            method="POST",
            body=urlencode(form).encode(),
            request_timeout=_REVOKE_SECONDS,
        )
        return True

    async def _ask(self, label: str, url: str, **request: Any) -> dict[str, Any]:
        """The JSON object of a good answer."""
        answer = await self._answer(label, url, **request)
        try:
            body = json.loads(answer.body or b"")
        except ValueError as error:
            raise Unreachable("its answer is not JSON") from error
        if not isinstance(body, dict):
            raise Unreachable("its answer is not a JSON object")
        return body

    async def _answer(self, label: str, url: str, **request: Any) -> HTTPResponse:
        try:
            answer = await self._fetch(
                url,
                label=label,
                parse_json=False,
                raise_error=False,
                follow_redirects=False,
                **request,
            )
        except (OSError, ValueError, HTTPClientError) as error:
            self._answered_at = float("-inf")
            raise Unreachable(str(error) or type(error).__name__) from error
        refused = 400 <= answer.code < 500 and answer.code not in _COME_BACK
        there = refused or answer.code == 200
        self._answered_at = time.monotonic() if there else float("-inf")
        if refused:
            raise Refused(_oauth_error(answer.body) or str(answer.code), answer.code)
        if there:
            return answer
        raise Unreachable(f"it answers {answer.code}")


def _oauth_error(body: bytes | None) -> str:
    """The ``error`` member of an OAuth error answer (RFC 6749 section 5.2), else nothing."""
    try:
        answer = json.loads(body or b"")
    except ValueError:
        return ""  # an answer, but not in the shape of the RFC
    error = answer.get("error") if isinstance(answer, dict) else None
    # Of the characters that the RFC allows, and short: it is shown in the log.
    known = isinstance(error, str) and error.isascii() and error.isprintable() and len(error) < 80
    return str(error) if known else ""
