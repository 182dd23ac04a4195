"""Tokens for one audience instead of the hub's own (RFC 8693), where the provider makes them."""

from __future__ import annotations

import time
from typing import Any

import httpx

from cscale_hub.broker.access_token import AccessToken
from cscale_hub.broker.errors import LoginRequiredError, UpstreamDownError, UpstreamRefusalError

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name

# The provider says with these that the subject token is no good any more (RFC 8693 section 2.2.2;
# Keycloak answers invalid_token). Other refusals are about the client or the audience.
_ENDED = frozenset({"invalid_request", "invalid_grant", "invalid_token"})


class SameToken:
    """Where the provider exchanges nothing: the token that the hub has, as it is."""

    async def exchange(self, login: AccessToken, audience: str) -> AccessToken:
        """The token of the login itself."""
        return login


class TokenExchange:
    """The token endpoint, asked as a confidential client (HTTP Basic, RFC 6749 section 2.3.1)."""

    def __init__(
        self, http: httpx.AsyncClient, token_url: str, client_id: str, client_secret: str
    ) -> None:
        self._http = http
        self._token_url = token_url
        self._client = httpx.BasicAuth(client_id, client_secret)

    async def exchange(self, login: AccessToken, audience: str) -> AccessToken:
        """A token with exactly this audience.

        :raises LoginRequiredError: when the login's token is not valid any more.
        :raises UpstreamRefusalError: when the provider refuses the client or the audience.
        :raises UpstreamDownError: when the provider does not answer.
        """
        form = {
            "grant_type": _GRANT,
            "subject_token": login.value,
            "subject_token_type": _ACCESS_TOKEN,
            "requested_token_type": _ACCESS_TOKEN,
            "audience": audience,
        }
        try:
            answer = await self._http.post(self._token_url, data=form, auth=self._client)
        except httpx.HTTPError as error:
            raise UpstreamDownError(
                "The identity provider does not answer.", retry_after=5
            ) from error
        if answer.status_code >= 500 or answer.status_code == 429:
            raise UpstreamDownError("The identity provider cannot answer now.", retry_after=5)
        body = _json(answer)
        if answer.status_code != 200:
            reason = str(body.get("error", ""))
            if answer.status_code == 400 and reason in _ENDED:
                raise LoginRequiredError(
                    "Your login at the identity provider has ended.",
                    hint="Log in to the hub again.",
                )
            raise UpstreamRefusalError(
                f"The identity provider refuses a token for {audience} "
                f"({reason or answer.status_code}).",
                hint="The operator has to allow the hub's client to exchange for this audience.",
            )
        value, life = body.get("access_token"), body.get("expires_in")
        if not isinstance(value, str) or not value or not isinstance(life, int | float):
            raise UpstreamRefusalError("The identity provider's answer has no usable token.")
        return AccessToken(value, time.time() + life)


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
