"""What the broker asks JupyterHub: who a token is, and what the hub knows of the user.

``GET /user`` of JupyterHub's REST API, with the token of the one who asks, and
``GET /cscale/logins/{name}`` (:mod:`cscale_hub.broker.logins`) with the broker's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from cscale_hub.broker.access_token import AccessToken
from cscale_hub.broker.errors import (
    ForbiddenError,
    LoginRequiredError,
    UpstreamDownError,
    UpstreamRefusalError,
)
from cscale_hub.broker.scopes import READ_SCOPE, SCOPE
from cscale_hub.vos import roles_in_groups

_LOG_IN = "Log in to the hub again."


@dataclass(frozen=True, slots=True)
class Caller:
    """The server that asks: its user, its name (empty: the default one), its token's id."""

    user: str
    server: str
    token_id: str


@dataclass(frozen=True, slots=True)
class Person:
    """What the hub knows of the caller's user.

    ``login`` is the identity provider's access token. ``server_vo`` is the VO the asking server was
    started for, empty when the hub does not tell; ``shared_vos`` are those of the user's servers
    that others may enter.
    """

    login: AccessToken
    vo_roles: dict[str, frozenset[str]]
    server_vo: str = ""
    shared_vos: frozenset[str] = frozenset()


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
            user=name,
        )

    async def person(self, name: str, server: str = "") -> Person:
        """The user's access token, VO roles, and what of theirs is shared.

        :param server: the name of the server that asks.
        :raises LoginRequiredError: when the hub keeps no login of this user.
        :raises UpstreamRefusalError: when the broker's own token may not read this.
        """
        path = f"/cscale/logins/{quote(name, safe='')}"
        model = _model(self._allowed(await self._get(path, self._own)))
        token, expires = model.get("access_token"), model.get("expires_at")
        if not isinstance(token, str) or not token:
            raise LoginRequiredError("Your login has ended.", hint=_LOG_IN, user=name)
        servers, groups = model.get("servers"), model.get("groups")
        if (
            not isinstance(expires, int | float)
            or not isinstance(groups, list)
            or not isinstance(servers, dict)
            or not all(isinstance(each, dict) for each in servers.values())
        ):
            raise UpstreamRefusalError("The hub's answer about the login cannot be read.")
        return Person(
            AccessToken(token, float(expires)),
            {vo: held for vo, held in roles_in_groups(map(str, groups)).items() if vo and held},
            str(servers.get(server, {}).get("vo") or ""),
            frozenset(str(each.get("vo") or "") for each in servers.values() if each.get("shared")),
        )

    def _allowed(self, answer: httpx.Response) -> httpx.Response:
        if answer.status_code == 404:
            raise LoginRequiredError("The hub does not know this user any more.", hint=_LOG_IN)
        if answer.status_code in (401, 403):
            raise UpstreamRefusalError(
                "The hub refuses the broker.",
                hint=f"The service needs the scope {READ_SCOPE}.",
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


def _model(answer: httpx.Response) -> dict[str, Any]:
    try:
        model = answer.json()
    except ValueError:
        model = None
    if answer.status_code != 200 or not isinstance(model, dict):
        raise UpstreamRefusalError(f"The hub's answer ({answer.status_code}) cannot be read.")
    return model
