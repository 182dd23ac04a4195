"""Login with EGI Check-in, and tokens that are renewed before they end.

A thin subclass of :class:`GenericOAuthenticator`: state, PKCE and the code flow are its, here are
only discovery, verification of the ID token, the user's name and groups, and the renewal of
tokens. Who may come in is decided by virtual organisations alone: a person with none that this
hub accepts gets a page that says so.

Renewal. JupyterHub asks :meth:`CheckinAuthenticator.refresh_user` at most once per request, but
for many requests at the same time; refresh tokens are rotated, so the second use of one would end
the session. Therefore one renewal at a time per user, under a lock, with auth_state read again
inside it. An answer ``invalid_grant`` means a new login; an outage of the provider changes nothing
until the access token ends.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import urlencode

from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import OAuthLoginHandler
from tornado.httpclient import HTTPClientError
from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError
from traitlets import Float, Int, List, Unicode

from cscale_core.identity.entitlements import VORule, parse, vo_roles
from cscale_core.identity.slug import user_slug
from cscale_hub.auth.oidc import Endpoints, KeySet, TokenError, nonce_for, verified_claims
from cscale_hub.vos import group_names, vo_names

_RETRY_SECONDS = 0.5


class NoAcceptedVO(HTTPError):
    """The person is known, but in no virtual organisation that this hub accepts.

    The template ``403.html`` shows ``memberships``, ``accepted`` and ``enrolment_url``.
    """

    def __init__(self, memberships: list[str], accepted: list[str], enrolment_url: str) -> None:
        super().__init__(403, "no accepted virtual organisation")
        self.memberships = memberships
        self.accepted = accepted
        self.enrolment_url = enrolment_url
        self.jupyterhub_message = (
            "You are signed in, but none of your virtual organisations may use this hub."
        )


class ProviderUnavailable(HTTPError):
    """The identity provider cannot be reached, or answers nonsense."""

    def __init__(self, label: str) -> None:
        super().__init__(503, "the identity provider does not answer")
        self.headers = HTTPHeaders({"Retry-After": "10"})
        self.jupyterhub_message = (
            f"{label} does not answer at the moment. Nothing is lost: try again in a minute."
        )


class CheckinLoginHandler(OAuthLoginHandler):  # type: ignore[misc]
    """Starts the code flow, with discovery before it and a nonce in it."""

    _nonce = ""

    async def get(self) -> None:
        # Asked anew at each login: a provider that is down is told by a page of ours, not by the
        # browser's.
        await self.authenticator.discover(again=True)
        super().get()

    def _generate_pkce_params(self) -> tuple[str, str]:
        verifier, challenge = super()._generate_pkce_params()
        self._nonce = nonce_for(verifier)
        return verifier, challenge

    def authorize_redirect(self, *args: Any, **kwargs: Any) -> None:
        extra = {**(kwargs.pop("extra_params", None) or {}), "nonce": self._nonce}
        super().authorize_redirect(*args, extra_params=extra, **kwargs)


class CheckinAuthenticator(GenericOAuthenticator):  # type: ignore[misc]
    """EGI Check-in, or anything shaped like it."""

    login_handler = CheckinLoginHandler

    issuer = Unicode(help="Issuer URL; endpoints come from its discovery document.").tag(
        config=True
    )
    vo_rules: list[VORule] = List(
        help="Rules (cscale_core.identity.entitlements.VORule) of the accepted VOs."
    ).tag(config=True)
    enrolment_url = Unicode(help="Where a person learns how to join a VO.").tag(config=True)
    refresh_ahead = Int(
        420, help="Seconds before the end of an access token at which it is renewed."
    ).tag(config=True)
    discovery_timeout = Float(15.0, help="Seconds for which discovery is tried again.").tag(
        config=True
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._endpoints: Endpoints | None = None
        self._discovering = asyncio.Lock()
        self._keys = KeySet(self._get_json)
        self._locks: dict[str, asyncio.Lock] = {}

    async def _get_json(self, url: str) -> Any:
        return await self.httpfetch(
            url, label="asking the identity provider", method="GET", request_timeout=10.0
        )

    async def discover(self, *, again: bool = False) -> Endpoints:
        """The provider's endpoints; asked for until they are there or the time is over.

        The issuer of the local federation starts at the same time as the hub.

        :param again: ask also when they are known already.
        :raises ProviderUnavailable: when it does not answer, or as another issuer.
        """
        if self._endpoints is not None and not again:
            return self._endpoints
        url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        until = time.monotonic() + self.discovery_timeout
        async with self._discovering:
            while True:
                try:
                    found = Endpoints.from_discovery(await self._get_json(url), self.issuer)
                    break
                except TokenError as error:
                    self.log.error("The provider %s is not itself: %s", self.issuer, error)
                    raise ProviderUnavailable(self.login_service) from error
                except (OSError, ValueError, HTTPClientError) as error:
                    if time.monotonic() > until:
                        self.log.error("No discovery document from %s: %s", self.issuer, error)
                        raise ProviderUnavailable(self.login_service) from error
                await asyncio.sleep(_RETRY_SECONDS)
            self.authorize_url = found.authorization
            self.token_url = found.token
            self.userdata_url = found.userinfo
            self._endpoints = found
        return found

    async def authenticate(
        self, handler: Any, data: dict[str, Any] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Finish the code flow: code for tokens, tokens for a person, a person for groups."""
        endpoints = await self.discover()
        parameters = self.build_access_tokens_request_params(handler, data)
        nonce = nonce_for(parameters["code_verifier"])
        try:
            tokens = await self.get_token_info(handler, parameters)
            claims = await self._claims(tokens, endpoints, nonce)
            userinfo = await self._userinfo(tokens, claims["sub"])
        except TokenError as error:
            self.log.warning("Login refused: %s", error)
            raise HTTPError(403, "The answer of the identity provider is not valid") from error
        except HTTPClientError as error:
            if 400 <= error.code < 500:
                raise HTTPError(403, "The identity provider refused this login") from error
            raise ProviderUnavailable(self.login_service) from error
        except OSError as error:
            raise ProviderUnavailable(self.login_service) from error
        return self._model(self._state(tokens, claims, userinfo))

    async def _claims(
        self, tokens: dict[str, Any], endpoints: Endpoints, nonce: str | None
    ) -> dict[str, Any]:
        if not isinstance(tokens.get("id_token"), str):
            raise TokenError("the provider sent no ID token")
        return await verified_claims(
            tokens["id_token"],
            keys=self._keys,
            jwks_url=endpoints.jwks,
            issuer=self.issuer,
            client_id=self.client_id,
            nonce=nonce,
        )

    async def _userinfo(self, tokens: dict[str, Any], subject: str) -> dict[str, Any]:
        """Userinfo, where Check-in tells entitlements; it must be about the same person."""
        userinfo = await self.token_to_user({"token_type": "Bearer", **tokens})
        if not isinstance(userinfo, dict) or userinfo.get("sub") != subject:
            # Core 1.0 section 5.3.2: else tokens of two persons could be mixed.
            raise TokenError("userinfo is about another person than the ID token")
        return userinfo

    def _state(
        self, tokens: dict[str, Any], claims: dict[str, Any], userinfo: dict[str, Any]
    ) -> dict[str, Any]:
        """What is kept, encrypted, in auth_state."""
        lifetime = tokens.get("expires_in")
        scope = tokens.get("scope", "")
        return {
            "access_token": tokens["access_token"],
            "refresh_token": tokens.get("refresh_token"),
            "id_token": tokens.get("id_token"),
            "scope": scope.split() if isinstance(scope, str) else list(scope),
            "token_type": tokens.get("token_type", "Bearer"),
            "expires_at": int(time.time()) + int(lifetime if lifetime is not None else 3600),
            "sub": claims["sub"],
            "display_name": str(userinfo.get("name") or userinfo.get("preferred_username") or ""),
            self.user_auth_state_key: userinfo,
        }

    def _roles(self, state: dict[str, Any]) -> dict[str, frozenset[str]]:
        return vo_roles(entitlements(state[self.user_auth_state_key]), self.vo_rules)

    def _model(self, state: dict[str, Any]) -> dict[str, Any]:
        """JupyterHub's model of the user: nobody is an administrator by login."""
        return {
            "name": user_slug(state["sub"]),
            "admin": None,
            "auth_state": state,
            "groups": sorted(group_names(self._roles(state))),
        }

    async def check_allowed(self, username: str, auth_model: dict[str, Any] | None) -> bool:
        """Only members of an accepted VO come in.

        :raises NoAcceptedVO: for everybody else, with what they need to know.
        """
        if auth_model is None:
            return False
        if vo_names(auth_model.get("groups") or ()):
            return True
        userinfo = auth_model["auth_state"][self.user_auth_state_key]
        parsed = [membership for value in entitlements(userinfo) if (membership := parse(value))]
        raise NoAcceptedVO(
            memberships=sorted({membership.group for membership in parsed}),
            accepted=sorted(rule.name for rule in self.vo_rules),
            enrolment_url=self.enrolment_url,
        )

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> Any:
        """Look at the user's membership again, and renew the access token when it is time.

        :returns: True when nothing changed or the provider is out of reach, False when only a
            login helps, else the user's new groups.
        """
        lock = self._locks.setdefault(user.name, asyncio.Lock())
        async with lock:
            state = await user.get_auth_state()
            if not state or not state.get("sub"):
                return False
            left = state["expires_at"] - time.time()
            try:
                soon = left < self.refresh_ahead
                current = await (self._renewed(state) if soon else self._looked_again(state))
                if current is None:
                    self.log.info("The session of %s at the provider has ended", user.name)
                    return False
                if current["access_token"] != state["access_token"]:
                    # Saved inside the lock: the old refresh token is worth nothing any more.
                    await user.save_auth_state(current)
                state = current
            except (OSError, ValueError, HTTPError, HTTPClientError, TokenError) as error:
                ended = left <= 0
                self.log.warning(
                    "Tokens of %s cannot be checked (%s): %s",
                    user.name,
                    "login needed" if ended else "kept for now",
                    error,
                )
                return not ended
            groups = sorted(group_names(self._roles(state)))
            if not vo_names(groups):
                self.log.info("%s is in no accepted VO any more", user.name)
                return False
        # Without auth_state: JupyterHub then keeps the one saved above.
        return {"name": user.name, "admin": None, "groups": groups}

    async def _looked_again(self, state: dict[str, Any]) -> dict[str, Any] | None:
        """The state with fresh userinfo; None when the provider does not take the token."""
        await self.discover()
        try:
            userinfo = await self._userinfo(state, state["sub"])
        except HTTPClientError as error:
            if error.code in (401, 403):
                return await self._renewed(state)
            raise
        return {**state, self.user_auth_state_key: userinfo}

    async def _renewed(self, state: dict[str, Any]) -> dict[str, Any] | None:
        """New tokens for the refresh token; None when the provider refuses it.

        :raises OSError, HTTPClientError, HTTPError: when the provider is out of reach.
        :raises TokenError: when its answer cannot be believed.
        """
        refresh_token = state.get("refresh_token")
        if not refresh_token:
            return None
        endpoints = await self.discover()
        parameters = {
            **self.build_refresh_token_request_params(refresh_token),
            # Check-in wants it here too (its documentation, "Refresh request").
            "scope": " ".join(self.scope),
        }
        try:
            tokens = await self.httpfetch(
                endpoints.token,
                label="renewing tokens",
                method="POST",
                headers=self.build_token_info_request_headers(),
                body=urlencode(parameters).encode(),
            )
        except HTTPClientError as error:
            if 400 <= error.code < 500 and _oauth_error(error) == "invalid_grant":
                return None
            raise
        if not isinstance(tokens, dict) or "access_token" not in tokens:
            raise TokenError("the provider sent no access token")
        tokens = {
            "id_token": state.get("id_token"),
            **tokens,
            # Not every answer brings a new one; then the old one stays good.
            "refresh_token": tokens.get("refresh_token") or refresh_token,
        }
        claims = {"sub": state["sub"]}
        if tokens["id_token"] != state.get("id_token"):
            claims = await self._claims(tokens, endpoints, None)
            if claims["sub"] != state["sub"]:
                raise TokenError("the renewed ID token is about another person")
        try:
            userinfo = await self._userinfo(tokens, state["sub"])
        except (OSError, HTTPClientError) as error:
            # The rotated refresh token must not be lost because of userinfo.
            self.log.warning("No userinfo after renewal, the last one is kept: %s", error)
            userinfo = state[self.user_auth_state_key]
        return self._state(tokens, claims, userinfo)


def entitlements(userinfo: dict[str, Any]) -> list[str]:
    """Both spellings Check-in uses; anything that is not a string is left out."""
    found: list[str] = []
    for claim in ("eduperson_entitlement", "entitlements"):
        values = userinfo.get(claim) or []
        found.extend(value for value in ([values] if isinstance(values, str) else values))
    return [value for value in found if isinstance(value, str)]


def _oauth_error(error: HTTPClientError) -> str:
    """The ``error`` member of an OAuth error answer (RFC 6749 section 5.2), else nothing."""
    if error.response is None:
        return ""
    try:
        body = json.loads(error.response.body)
    except ValueError:
        return ""  # an answer, but not in the shape of the RFC
    return str(body.get("error", "")) if isinstance(body, dict) else ""
