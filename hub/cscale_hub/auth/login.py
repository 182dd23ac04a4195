"""What the hub keeps of a login, encrypted in auth_state, and what follows from it.

A login is a dictionary, because JupyterHub keeps it as JSON and the broker reads it over REST.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from cscale_core.identity.entitlements import VORule, vo_roles
from cscale_hub.auth.renewal import renewal_time
from cscale_hub.vos import group_names

USERINFO = "oauth_user"
"""The member that holds userinfo, under OAuthenticator's name for it."""

_USUAL_LIFE = 3600  # Check-in's, for an answer without expires_in


def new_login(
    tokens: Mapping[str, Any], subject: str, userinfo: Mapping[str, Any], ahead: float
) -> dict[str, Any]:
    """A login of this moment.

    :param tokens: the answer of the token endpoint.
    :param ahead: seconds before the end of the access token at which it is to be renewed.
    """
    expires_in = tokens.get("expires_in")
    known = isinstance(expires_in, int | float) and expires_in >= 0
    lifetime = int(expires_in) if known and expires_in is not None else _USUAL_LIFE
    scope = tokens.get("scope")
    now = time.time()
    return with_userinfo(
        {
            "access_token": tokens["access_token"],
            "refresh_token": tokens.get("refresh_token"),
            "id_token": tokens.get("id_token"),
            "scope": scope.split() if isinstance(scope, str) else [],
            "token_type": tokens.get("token_type", "Bearer"),
            "expires_at": int(now) + lifetime,
            "renew_at": renewal_time(now, lifetime, ahead),
            "sub": subject,
        },
        userinfo,
    )


def with_userinfo(login: Mapping[str, Any], userinfo: Mapping[str, Any]) -> dict[str, Any]:
    """The same login with what userinfo tells now."""
    name = userinfo.get("name") or userinfo.get("preferred_username") or ""
    return {**login, "display_name": str(name), USERINFO: dict(userinfo)}


def groups_of(login: Mapping[str, Any], rules: Iterable[VORule]) -> list[str]:
    """The hub groups that the entitlements give."""
    return sorted(group_names(vo_roles(entitlements(login[USERINFO]), rules)))


def entitlements(userinfo: Mapping[str, Any]) -> list[str]:
    """Both spellings Check-in uses; anything that is not a string is left out."""
    found: list[str] = []
    for claim in ("eduperson_entitlement", "entitlements"):
        values = userinfo.get(claim) or []
        if isinstance(values, str):
            values = [values]
        found.extend(value for value in values if isinstance(value, str))
    return found
