"""What the broker asks JupyterHub: who a token is, what the hub knows of the user, who shares.

REST API of JupyterHub 6.1: ``GET /user``, ``GET /users/{name}`` (``auth_state`` with the scope
``admin:auth_state``), ``GET /shares/{owner}`` (scope ``read:shares``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from cscale_hub.broker.errors import (
    ForbiddenError,
    LoginRequiredError,
    UpstreamDownError,
    UpstreamRefusalError,
)
from cscale_hub.vos import GROUP_PREFIX

SCOPE = "custom:cscale-broker:use"

_LOG_IN = "Log in to the hub again."


@dataclass(frozen=True, slots=True)
class Caller:
    """The server that asks: its user, its name (empty: the default one), its token's id."""

    user: str
    server: str
    token_id: str


@dataclass(frozen=True, slots=True)
class Person:
    """What the hub knows of the caller's user. ``access_token`` is the identity provider's.

    ``server_vo`` is the VO the asking server was started for, empty when the hub does not tell.
    """

    access_token: str
    vo_roles: dict[str, frozenset[str]]
    shared: bool
    server_vo: str = ""

    def __repr__(self) -> str:
        """Without the token."""
        return f"Person(vo_roles={self.vo_roles!r}, shared={self.shared!r})"


class Hub:
    """JupyterHub's REST API, with the broker's own token.

    :param http: a client without a base URL; not closed here.
    :param api_url: ``JUPYTERHUB_API_URL``.
    :param api_token: ``JUPYTERHUB_API_TOKEN`` of this service.
    """

    def __init__(self, http: httpx.AsyncClient, api_url: str, api_token: str) -> None:
        self._http = http
        self._api_url = api_url.rstrip("/")
        self._own = f"token {api_token}"

    async def caller(self, token: str) -> Caller:
        """Who asks. Also makes the hub look whether the user's login is to be renewed.

        :raises LoginRequiredError: when the hub does not know the token (any more).
        :raises ForbiddenError: when it is not the token of a user's server.
        :raises UpstreamDownError: when the hub does not answer.
        """
        answer = await self._get("/user", f"token {token}")
        if answer.status_code in (401, 403):
            raise LoginRequiredError("The hub does not accept this token.", hint=_LOG_IN)
        model = _model(answer)
        name = str(model.get("name", ""))
        if model.get("kind") != "user" or not name:
            raise ForbiddenError("Only users' servers are served here.")
        # Exactly the scope that the hub gives to servers: a token that a user made on the token
        # page has it, if at all, for the user and not for one server.
        beginning = f"{SCOPE}!server={name}/"
        for scope in model.get("scopes", ()):
            if isinstance(scope, str) and scope.startswith(beginning):
                return Caller(name, scope.removeprefix(beginning), str(model.get("token_id", "")))
        raise ForbiddenError(
            "This token may not ask for credentials.",
            hint="Only the token that the hub gave to your server is accepted.",
        )

    async def person(self, name: str, *, with_shares: bool, server: str = "") -> Person:
        """The user's access token, VO roles and whether a server of theirs is shared.

        :param server: the name of the server that asks.
        :raises LoginRequiredError: when the hub keeps no login of this user.
        :raises UpstreamRefusalError: when the broker's own token may not read this.
        """
        model = _model(self._allowed(await self._get(f"/users/{quote(name, safe='')}", self._own)))
        if "auth_state" not in model:
            raise UpstreamRefusalError(
                "The hub does not show the broker the users' logins.",
                hint="Give the service the scope admin:auth_state and enable auth_state.",
            )
        state = model["auth_state"]
        token = state.get("access_token") if isinstance(state, dict) else None
        if not isinstance(token, str) or not token:
            raise LoginRequiredError("Your login has ended.", hint=_LOG_IN)
        shared = with_shares and await self._shared(name)
        return Person(token, roles_of(model.get("groups", ())), shared, _server_vo(model, server))

    async def _shared(self, name: str) -> bool:
        path = f"/shares/{quote(name, safe='')}"
        model = _model(self._allowed(await self._get(path, self._own)))
        listed, pages = model.get("items"), model.get("_pagination")
        if not isinstance(listed, list):
            raise UpstreamRefusalError("The hub's list of shares cannot be read.")
        # A page can be empty and not the last: expired shares are counted and then left out.
        return bool(listed) or bool(isinstance(pages, dict) and pages.get("next"))

    def _allowed(self, answer: httpx.Response) -> httpx.Response:
        if answer.status_code == 404:
            raise LoginRequiredError("The hub does not know this user any more.", hint=_LOG_IN)
        if answer.status_code in (401, 403):
            raise UpstreamRefusalError(
                "The hub refuses the broker.",
                hint="The service needs the scopes read:users, admin:auth_state and read:shares.",
            )
        return answer

    async def _get(self, path: str, authorization: str) -> httpx.Response:
        try:
            answer = await self._http.get(
                f"{self._api_url}{path}",
                headers={"Authorization": authorization, "Accept": "application/json"},
            )
        except httpx.HTTPError as error:
            raise UpstreamDownError("The hub does not answer.", retry_after=2) from error
        if answer.status_code >= 500 or answer.status_code == 429:
            raise UpstreamDownError("The hub cannot answer now.", retry_after=2)
        return answer


def roles_of(groups: Any) -> dict[str, frozenset[str]]:
    """VO roles from hub groups ``vo:NAME:ROLE``, as :func:`cscale_hub.vos.group_names` makes them.

    The bare ``vo:NAME`` gives no role.
    """
    found: dict[str, set[str]] = {}
    for group in groups:
        if not isinstance(group, str) or not group.startswith(GROUP_PREFIX):
            continue
        name, separator, role = group.removeprefix(GROUP_PREFIX).partition(":")
        if separator and name and role:
            found.setdefault(name, set()).add(role)
    return {name: frozenset(roles) for name, roles in found.items()}


def _server_vo(model: dict[str, Any], server: str) -> str:
    try:
        return str(model["servers"][server]["user_options"]["vo"])
    except (KeyError, TypeError):
        return ""


def _model(answer: httpx.Response) -> dict[str, Any]:
    try:
        model = answer.json()
    except ValueError:
        model = None
    if answer.status_code != 200 or not isinstance(model, dict):
        raise UpstreamRefusalError(f"The hub's answer ({answer.status_code}) cannot be read.")
    return model
