"""Login with EGI Check-in, and tokens that are renewed before they end.

A thin subclass of :class:`GenericOAuthenticator`: state, PKCE and the code flow are its, here are
only discovery, verification of the ID token, the user's name and groups, the renewal of tokens and
their revocation. Who may come in is decided by virtual organisations alone: a person with none
that this hub accepts gets a page that says how to enrol.

Renewal. JupyterHub asks :meth:`CheckinAuthenticator.refresh_user` at most once per request, but
for many requests at the same time; refresh tokens are rotated, so the second use of one would end
the session. Therefore one look at a time per user, under a lock, with auth_state read inside it,
and a rotated token saved before the lock is given back. An answer ``invalid_grant`` means a new
login; an outage of the provider changes nothing until the access token ends, and some time more.

JupyterHub takes the answer "login needed" only from browsers; a request with an API token goes on
as if nothing had happened (``auth_refresh_strict``, off by default since 6.1). Whoever has left
all accepted VOs, or whose session ended, therefore loses the hub groups and the kept tokens at
once: nothing that stands on them is given any more, whoever asks.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.handlers.pages import SpawnHandler
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import OAuthLoginHandler, OAuthLogoutHandler
from tornado.httpclient import HTTPClientError
from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError
from traitlets import Float, Int, List, Unicode

from cscale_core.identity.entitlements import VORule, parse, vo_roles
from cscale_core.identity.slug import user_slug
from cscale_hub.auth.oidc import Endpoints, KeySet, TokenError, nonce_for, verified_claims
from cscale_hub.auth.renewal import OneAtATime, Outage, renewal_time
from cscale_hub.auth.telemetry import CHECKS, PAUSE, REVOCATIONS
from cscale_hub.vos import group_names, vo_names

_RETRY_SECONDS = 0.5
_REQUEST_SECONDS = 10.0
_REVOKE_SECONDS = 5.0
# A login or a look as recent as this counts as one of now.
_JUST_NOW = 5.0
# Their requests offer profiles and start servers, by the groups of this moment.
_STARTING_SERVERS = (SpawnHandler, UserServerAPIHandler)
_LOGGED_OUT = "logged_out"
_UNREACHABLE = (OSError, ValueError, HTTPError, HTTPClientError)


@dataclass(frozen=True, slots=True)
class AcceptedVO:
    """What the page for people without an accepted VO says of each of them."""

    name: str
    title: str
    enrolment_url: str


class NoAcceptedVO(HTTPError):
    """The person is known, but in no virtual organisation that this hub accepts.

    The template ``403.html`` shows ``memberships``, ``accepted`` and ``enrolment_url``.
    """

    def __init__(
        self, memberships: list[str], accepted: Sequence[AcceptedVO], enrolment_url: str
    ) -> None:
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


class CheckinLogoutHandler(OAuthLogoutHandler):  # type: ignore[misc]
    """Ends the login at the provider too."""

    async def handle_logout(self) -> None:
        await super().handle_logout()
        if self.current_user is not None:
            await self.authenticator.logged_out(self.current_user)


class CheckinAuthenticator(GenericOAuthenticator):  # type: ignore[misc]
    """EGI Check-in, or anything shaped like it."""

    login_handler = CheckinLoginHandler
    logout_handler = CheckinLogoutHandler

    issuer = Unicode(help="Issuer URL; endpoints come from its discovery document.").tag(
        config=True
    )
    vo_rules: list[VORule] = List(
        help="Rules (cscale_core.identity.entitlements.VORule) of the accepted VOs."
    ).tag(config=True)
    accepted_vos: list[AcceptedVO] = List(help="The accepted VOs as people are told of them.").tag(
        config=True
    )
    enrolment_url = Unicode(help="Where a person learns how to join a VO.").tag(config=True)
    refresh_ahead = Int(
        420,
        help="Seconds before the end of an access token at which it is renewed; a short one at "
        "half its life.",
    ).tag(config=True)
    membership_interval = Float(
        300.0,
        help="Seconds between two looks at a person's membership; each start of a server "
        "looks too.",
    ).tag(config=True)
    outage_grace = Float(
        900.0,
        help="Seconds after the end of its access token for which a session is kept while the "
        "provider is out of reach.",
    ).tag(config=True)
    longest_pause = Float(
        60.0, help="Seconds for which a provider that does not answer is left alone at most."
    ).tag(config=True)
    discovery_timeout = Float(15.0, help="Seconds for which discovery is tried again.").tag(
        config=True
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._endpoints: Endpoints | None = None
        self._discovering = asyncio.Lock()
        self._keys = KeySet(self._get_json)
        self._looks = OneAtATime()
        self._looked: dict[str, float] = {}
        self._outage = Outage(self.longest_pause)
        self.http_request_kwargs = {
            "connect_timeout": _REQUEST_SECONDS,
            "request_timeout": _REQUEST_SECONDS,
            **self.http_request_kwargs,
        }

    async def _get_json(self, url: str) -> Any:
        return await self.httpfetch(url, label="asking the identity provider", method="GET")

    async def discover(self, *, again: bool = False, patient: bool = True) -> Endpoints:
        """The provider's endpoints; asked for until they are there or the time is over.

        The issuer of the local federation starts at the same time as the hub.

        :param again: ask also when they are known already.
        :param patient: ask again when there is no answer, for ``discovery_timeout``.
        :raises ProviderUnavailable: when it does not answer, or as another issuer.
        """
        if self._endpoints is not None and not again:
            return self._endpoints
        url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        until = time.monotonic() + (self.discovery_timeout if patient else 0)
        async with self._discovering:
            while True:
                try:
                    found = Endpoints.from_discovery(await self._get_json(url), self.issuer)
                    break
                except TokenError as error:
                    self.log.error("The provider %s is not itself: %s", self.issuer, error)
                    raise ProviderUnavailable(self.login_service) from error
                except (OSError, ValueError, HTTPClientError) as error:
                    if time.monotonic() >= until:
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
        model = self._model(self._state(tokens, claims, userinfo))
        self._looked[model["name"]] = time.monotonic()
        return model

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
        if not isinstance(userinfo, dict):
            raise ValueError("userinfo is not a JSON object")
        if userinfo.get("sub") != subject:
            # Core 1.0 section 5.3.2: else tokens of two persons could be mixed.
            raise TokenError("userinfo is about another person than the ID token")
        return userinfo

    def _state(
        self, tokens: dict[str, Any], claims: dict[str, Any], userinfo: dict[str, Any]
    ) -> dict[str, Any]:
        """What is kept, encrypted, in auth_state."""
        lifetime = int(expires if (expires := tokens.get("expires_in")) is not None else 3600)
        scope = tokens.get("scope", "")
        now = time.time()
        return {
            "access_token": tokens["access_token"],
            "refresh_token": tokens.get("refresh_token"),
            "id_token": tokens.get("id_token"),
            "scope": scope.split() if isinstance(scope, str) else list(scope),
            "token_type": tokens.get("token_type", "Bearer"),
            "expires_at": int(now) + lifetime,
            "renew_at": renewal_time(now, lifetime, self.refresh_ahead),
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
            accepted=sorted(self.accepted_vos, key=lambda vo: vo.name),
            enrolment_url=self.enrolment_url,
        )

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> bool:
        """Look at the user's membership again, and renew the access token when it is time.

        Groups and tokens are saved here, under the lock. JupyterHub would save the auth_state it
        read some time before, and so put a spent refresh token in the place of a new one.

        :returns: True when the session goes on, False when only a login helps.
        """
        at_once = isinstance(handler, _STARTING_SERVERS)
        return await self._looks.run(
            (user.name, at_once), lambda: self._looked_at(user, at_once=at_once)
        )

    async def _looked_at(self, user: Any, *, at_once: bool) -> bool:
        async with self._looks.lock(user.name):
            state = await user.get_auth_state()
            began = time.monotonic()
            age = began - self._looked.get(user.name, float("-inf"))
            if not state or not state.get("sub"):
                # A login of this moment is saved only after its groups.
                return age < _JUST_NOW
            due = bool(state.get("refresh_token")) and time.time() >= state.get(
                "renew_at", state["expires_at"] - self.refresh_ahead
            )
            if not due and age < (_JUST_NOW if at_once else self.membership_interval):
                return True
            if self._outage.waiting:
                return self._kept(user, state, "it did not answer a moment ago")
            asked = "renewal" if due else "membership"
            try:
                current = await (
                    self._renewed(user, state) if due else self._looked_again(user, state)
                )
            except TokenError as error:
                self.log.error("The answer for %s cannot be believed: %s", user.name, error)
                CHECKS.labels(asked, "untrue").inc()
                return await self._end(user, state, began)
            except _UNREACHABLE as error:
                PAUSE.set(self._outage.failed(began))
                CHECKS.labels(asked, "unreachable").inc()
                return self._kept(user, state, error)
            self._outage.over()
            PAUSE.set(0)
            if current is None:
                self.log.info("The session of %s at the provider has ended", user.name)
                CHECKS.labels(asked, "ended").inc()
                return await self._end(user, state, began)
            groups = sorted(group_names(self._roles(current)))
            if not vo_names(groups):
                self.log.info("%s is in no accepted VO any more", user.name)
                CHECKS.labels(asked, "lost").inc()
                return await self._end(user, current, began)
            user.sync_groups(groups)
            self._looked[user.name] = time.monotonic()
            CHECKS.labels(asked, "done").inc()
            return True

    def _kept(self, user: Any, state: dict[str, Any], why: object) -> bool:
        """Whether the session outlasts an outage of the provider."""
        kept = time.time() < state["expires_at"] + self.outage_grace
        self.log.warning(
            "%s is out of reach, %s %s: %s",
            self.login_service,
            user.name,
            "stays" if kept else "has to log in",
            why,
        )
        return bool(kept)

    async def _end(self, user: Any, state: dict[str, Any], began: float) -> bool:
        """Take away groups and tokens, unless there was a login meanwhile.

        :returns: whether there was.
        """
        if self._looked.get(user.name, float("-inf")) > began:
            return True
        await self._forget(user)
        await self._revoke(state)
        return False

    async def _forget(self, user: Any) -> None:
        self._looked.pop(user.name, None)
        user.sync_groups([])
        await user.save_auth_state(None)

    async def logged_out(self, user: Any) -> None:
        """End the login at the provider; as long as a server of the user runs, not yet.

        What runs there needs short-lived keys to the end. The login ends with the last server.
        """
        async with self._looks.lock(user.name):
            state = await user.get_auth_state()
            if not state:
                return
            if _running(user):
                self.log.info("%s logged out; the login ends with the last server", user.name)
                await user.save_auth_state({**state, _LOGGED_OUT: True})
                return
            await self._forget(user)
        await self._revoke(state)

    async def post_spawn_stop(self, user: Any, spawner: Any) -> None:
        """End the login of somebody who logged out while this server, the last one, ran."""
        if _running(user, but=spawner):
            return
        async with self._looks.lock(user.name):
            state = await user.get_auth_state()
            if not state or not state.get(_LOGGED_OUT):
                return
            await self._forget(user)
        await self._revoke(state)

    async def _revoke(self, state: dict[str, Any]) -> None:
        """Have the provider end the session of these tokens (RFC 7009); a failure is only told.

        A refresh token takes the access tokens of its session with it.
        """
        kind = "refresh_token" if state.get("refresh_token") else "access_token"
        try:
            endpoints = await self.discover(patient=False)
            if not endpoints.revocation:
                return
            form = {
                "token": state[kind],
                "token_type_hint": kind,
                "client_id": self.client_id,
                **({"client_secret": self.client_secret} if self.client_secret else {}),
            }
            await self.httpfetch(
                endpoints.revocation,
                label="revoking tokens",
                parse_json=False,
                method="POST",
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode(form).encode(),
                request_timeout=_REVOKE_SECONDS,
            )
        except _UNREACHABLE as error:
            self.log.warning("A login could not be ended at the provider: %s", error)
            REVOCATIONS.labels("unreachable").inc()
            return
        REVOCATIONS.labels("done").inc()

    async def _looked_again(self, user: Any, state: dict[str, Any]) -> dict[str, Any] | None:
        """The state with fresh userinfo; None when the provider does not take the token."""
        await self.discover(patient=False)
        try:
            userinfo = await self._userinfo(state, state["sub"])
        except HTTPClientError as error:
            if error.code in (401, 403):
                return await self._renewed(user, state)
            raise
        return {**state, self.user_auth_state_key: userinfo}

    async def _renewed(self, user: Any, state: dict[str, Any]) -> dict[str, Any] | None:
        """New tokens for the refresh token, saved; None when the provider refuses it.

        :raises OSError, HTTPClientError, HTTPError: when the provider is out of reach.
        :raises TokenError: when its answer cannot be believed.
        """
        refresh_token = state.get("refresh_token")
        if not refresh_token:
            return None
        endpoints = await self.discover(patient=False)
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
        if not isinstance(tokens, dict) or not tokens.get("access_token"):
            raise ValueError("the provider sent no access token")
        tokens = {
            **tokens,
            # Not every answer brings new ones; then the old ones stay good.
            "refresh_token": tokens.get("refresh_token") or refresh_token,
            "id_token": tokens.get("id_token") or state.get("id_token"),
        }
        await self._check_renewed(tokens, state, endpoints)
        # Saved before anything else is asked: the old refresh token is worth nothing any more.
        current = {
            **self._state(tokens, state, state[self.user_auth_state_key]),
            **({_LOGGED_OUT: True} if state.get(_LOGGED_OUT) else {}),
        }
        await user.save_auth_state(current)
        try:
            userinfo = await self._userinfo(tokens, state["sub"])
        except _UNREACHABLE as error:
            self.log.warning("No userinfo after renewal, the last one is kept: %s", error)
            return current
        current = {**current, self.user_auth_state_key: userinfo}
        await user.save_auth_state(current)
        return current

    async def _check_renewed(
        self, tokens: dict[str, Any], state: dict[str, Any], endpoints: Endpoints
    ) -> None:
        """A renewed ID token is true and about the same person.

        :raises TokenError: when it is not.
        """
        if tokens["id_token"] == state.get("id_token"):
            return
        try:
            claims = await self._claims(tokens, endpoints, None)
        except _UNREACHABLE as error:
            # Its key could not be had; the rotated refresh token must not be lost for that.
            self.log.warning("The renewed ID token is not kept: %s", error)
            tokens["id_token"] = state.get("id_token")
            return
        if claims["sub"] != state["sub"]:
            raise TokenError("the renewed ID token is about another person")


def _running(user: Any, but: Any = None) -> bool:
    return any(spawner.active for spawner in user.spawners.values() if spawner is not but)


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
