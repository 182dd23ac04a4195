"""Login with EGI Check-in.

A thin subclass of :class:`GenericOAuthenticator`: state, PKCE and the way of the browser are its;
here are the nonce, the pages for what can go wrong, and the person's name and groups. Talking to
the provider is :mod:`cscale_hub.auth.provider`, keeping a login good is
:mod:`cscale_hub.auth.keeping`. Who may come in is decided by virtual organisations alone: a person
with none that this hub accepts gets a page that says how to enrol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.handlers.pages import SpawnHandler
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import OAuthCallbackHandler, OAuthLoginHandler, OAuthLogoutHandler
from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError
from traitlets import Float, Int, List, Unicode

from cscale_core.identity.entitlements import VORule, parse
from cscale_core.identity.slug import user_slug
from cscale_hub.auth.keeping import Keeper, Terms
from cscale_hub.auth.login import USERINFO, entitlements, groups_of, new_login
from cscale_hub.auth.oidc import TokenError, nonce_for
from cscale_hub.auth.provider import Provider, ProviderError, Refused
from cscale_hub.broker.logins import HANDLERS
from cscale_hub.vos import vo_names

_REQUEST_SECONDS = 10.0
# Their requests offer profiles and start servers, by the groups of this moment.
_STARTING_SERVERS = (SpawnHandler, UserServerAPIHandler)


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


class LoginRefused(HTTPError):
    """The provider refused the login, or what it said about it is not true."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(403, reason)
        self.jupyterhub_message = (
            f"{label} did not confirm this login. Nothing was stored. Sign in again; if it happens "
            "once more, tell the operator of this hub when it was."
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
        # Asked anew unless it just answered somebody: a provider that is down is told by a page of
        # ours, not by the browser's.
        await self.authenticator.discover(again=True)
        super().get()

    def _generate_pkce_params(self) -> tuple[str, str]:
        verifier, challenge = super()._generate_pkce_params()
        self._nonce = nonce_for(verifier)
        return verifier, challenge

    def authorize_redirect(self, *args: Any, **kwargs: Any) -> None:
        extra = {**(kwargs.pop("extra_params", None) or {}), "nonce": self._nonce}
        super().authorize_redirect(*args, extra_params=extra, **kwargs)


class CheckinCallbackHandler(OAuthCallbackHandler):  # type: ignore[misc]
    """The way back from the provider."""

    def check_error(self) -> None:
        """Tell that there was an error, in words of ours: anybody can make such an address."""
        if self.get_argument("error", ""):
            raise LoginRefused(self.authenticator.login_service, "the provider reports an error")


class CheckinLogoutHandler(OAuthLogoutHandler):  # type: ignore[misc]
    """Ends the login at the provider too."""

    async def handle_logout(self) -> None:
        await super().handle_logout()
        if self.current_user is not None:
            await self.authenticator.logged_out(self.current_user)


class CheckinAuthenticator(GenericOAuthenticator):  # type: ignore[misc]
    """EGI Check-in, or anything shaped like it."""

    login_handler = CheckinLoginHandler
    callback_handler = CheckinCallbackHandler
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
        1500,
        help="Seconds before the end of an access token at which it is renewed; a short one after "
        "a third of its life.",
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
    patience = Float(
        3.0,
        help="Seconds for which a request waits for the provider; what was begun goes on.",
    ).tag(config=True)
    discovery_timeout = Float(15.0, help="Seconds for which discovery is tried again.").tag(
        config=True
    )

    provider_trust = Float(
        30.0,
        help="Seconds for which a provider that answered counts as being there: nobody who signs "
        "in meanwhile waits for its discovery document.",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        options = {
            "connect_timeout": _REQUEST_SECONDS,
            "request_timeout": _REQUEST_SECONDS,
            "validate_cert": self.validate_server_cert,
            **self.http_request_kwargs,
        }
        self._provider = Provider(
            self.issuer,
            self.client_id,
            self.client_secret,
            fetch=partial(self.httpfetch, **options),
            patience=self.discovery_timeout,
            trust=self.provider_trust,
        )
        terms = Terms(
            rules=tuple(self.vo_rules),
            scope=" ".join(self.scope),
            ahead=self.refresh_ahead,
            interval=self.membership_interval,
            grace=self.outage_grace,
            longest_pause=self.longest_pause,
            patience=self.patience,
        )
        self._keeper = Keeper(self._provider, terms, self.log)

    async def discover(self, *, again: bool = False) -> None:
        """Have the address that people are sent to.

        :param again: ask also when it is known already, unless the provider answered a moment ago.
        :raises ProviderUnavailable: when the provider does not answer, or as another issuer.
        """
        try:
            self.authorize_url = (await self._provider.discover(again=again)).authorization
        except ProviderError as error:
            self.log.error("No discovery document of %s: %s", self.issuer, error)
            raise ProviderUnavailable(self.login_service) from error

    async def authenticate(
        self, handler: Any, data: dict[str, Any] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Finish the code flow: code for tokens, tokens for a person, a person for groups.

        :returns: JupyterHub's model of the user; nobody is an administrator by login.
        :raises LoginRefused: when it is not a valid login.
        :raises ProviderUnavailable: when the provider does not answer.
        """
        given = self.build_access_tokens_request_params(handler, data)
        form = {name: given[name] for name in ("grant_type", "code", "redirect_uri")}
        verifier = given["code_verifier"]
        try:
            tokens = await self._provider.redeem({**form, "code_verifier": verifier})
            claims = await self._provider.claims(tokens, nonce_for(verifier))
            userinfo = await self._provider.userinfo(tokens["access_token"], claims["sub"])
        except (TokenError, Refused) as error:
            self.log.warning("Login refused: %s", error)
            raise LoginRefused(self.login_service, "not a valid login") from error
        except ProviderError as error:
            self.log.error("A login could not be finished: %s", error)
            raise ProviderUnavailable(self.login_service) from error
        login = new_login(tokens, claims["sub"], userinfo, self.refresh_ahead)
        return {
            "name": user_slug(login["sub"]),
            "admin": None,
            "auth_state": login,
            "groups": groups_of(login, self.vo_rules),
        }

    def get_handlers(self, app: Any) -> list[Any]:
        """The handlers of the login, and the one by which the broker reads it."""
        return [*super().get_handlers(app), *HANDLERS]

    async def check_allowed(self, username: str, auth_model: dict[str, Any] | None) -> bool:
        """Only members of an accepted VO come in.

        :raises NoAcceptedVO: for everybody else, with what they need to know.
        """
        if auth_model is None:
            return False
        login = auth_model["auth_state"]
        if vo_names(auth_model.get("groups") or ()):
            self._keeper.logged_in(username, login)
            return True
        await self._keeper.revoke(login)  # nothing is kept, here or there
        parsed = map(parse, entitlements(login[USERINFO]))
        raise NoAcceptedVO(
            memberships=sorted({membership.group for membership in parsed if membership}),
            accepted=sorted(self.accepted_vos, key=lambda vo: vo.name),
            enrolment_url=self.enrolment_url,
        )

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> bool:
        """Whether the session goes on; see :meth:`cscale_hub.auth.keeping.Keeper.look`."""
        return await self._keeper.look(user, at_once=isinstance(handler, _STARTING_SERVERS))

    async def logged_out(self, user: Any) -> None:
        """See :meth:`cscale_hub.auth.keeping.Keeper.logged_out`."""
        await self._keeper.logged_out(user)

    async def post_spawn_stop(self, user: Any, spawner: Any) -> None:
        """See :meth:`cscale_hub.auth.keeping.Keeper.server_stopped`."""
        await self._keeper.server_stopped(user, spawner)
