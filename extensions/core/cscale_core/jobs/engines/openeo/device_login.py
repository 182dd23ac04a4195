"""Logging in at a back end for which the hub's broker has no token: by device code (RFC 8628).

The back end names its identity provider and a public client of it (``GET /credentials/oidc``). The
user opens the provider's page anywhere and types a code; meanwhile the provider is asked whether
that was done. No password comes near us.

The refresh token that this brings is the back end's, not the hub's, and somebody has to keep it.
It stays in the memory of this server and ends with it, unless the user asks for it to be kept:
then it goes where ``openeo-auth oidc-auth`` keeps its own, a file in the user's home that only the
user can read (mode 0600), for the next server and for notebooks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from cscale_core.backends import OpenEOBackend
from cscale_core.errors import CScaleError, InvalidInput, UpstreamError
from cscale_core.jobs.engines.openeo.login import (
    MemoryTokens,
    NoLogin,
    StoredLogin,
    kept_tokens,
)
from cscale_core.jobs.engines.openeo.remote import REQUEST_SECONDS, Remote, is_loopback
from cscale_core.jobs.model import utc_now

if TYPE_CHECKING:
    from openeo.rest.auth.oidc import OidcClientInfo, PkceCode

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
#: What RFC 8628 says where the provider does not: seconds between two polls, and those added when
#: it asks for patience.
INTERVAL = 5.0
SLOWER = 5.0
#: Seconds that a code lives where the provider does not say.
LIFETIME = 600.0
#: Seconds between two polls at most, when the provider does not answer.
LONGEST = 60.0

LoginState = Literal["pending", "done", "denied", "expired", "failed"]


@dataclass(frozen=True)
class DeviceLogin:
    """A login that was begun, as the user sees it.

    :ivar verification_uri: page where the code is typed.
    :ivar verification_uri_complete: the same page with the code filled in; empty: there is none.
    :ivar expires: until when the code can be typed.
    :ivar kept: whether the login outlives this server.
    :ivar problem: why it failed.
    """

    backend: str
    verification_uri: str
    verification_uri_complete: str
    user_code: str
    expires: datetime
    kept: bool = False
    state: LoginState = "pending"
    problem: str = ""


@dataclass(frozen=True)
class _Asked:
    """What the provider gave for a login, and what is needed to ask how it went."""

    login: DeviceLogin
    client: OidcClientInfo
    pkce: PkceCode | None
    device_code: str
    interval: float


class DeviceLogins:
    """The logins begun at one back end; one at a time.

    :param done: called when somebody has logged in: jobs that wait for it may go on.
    """

    def __init__(self, remote: Remote, done: Callable[[], None]) -> None:
        self._remote = remote
        self._done = done
        self._login: DeviceLogin | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    @property
    def login(self) -> DeviceLogin | None:
        """The login begun last, as it is now."""
        return self._login

    async def begin(self, *, keep: bool) -> DeviceLogin:
        """Get a code for the user to type; one that still waits for it is given again.

        :param keep: keep the refresh token in the user's home.
        :raises InvalidInput: when one does not log in so at this back end.
        :raises CScaleError: when the back end or its identity provider does not answer.
        """
        backend = self._remote.backend
        if not backend.by_code:
            raise InvalidInput(
                f"One does not log in at {backend.title} by a code.",
                hint="The hub's login is used there."
                if backend.by_the_hub
                else "User name and password are read from ~/.netrc, if it needs a login.",
            )
        async with self._lock:
            known = self._login
            if known and known.state == "pending" and known.kept == keep:
                return known
            await self._stop()
            asked = await self._remote.act(lambda c: _begin(c, backend, keep=keep))
            self._login = asked.login
            self._task = asyncio.get_running_loop().create_task(
                self._follow(asked), name=f"login at {backend.id}"
            )
            return asked.login

    async def close(self) -> None:
        """Ask no more; a login that was not finished comes to nothing."""
        async with self._lock:
            await self._stop()

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _follow(self, asked: _Asked) -> None:
        try:
            state, problem = await self._until_answered(asked)
        except CScaleError as error:
            state, problem = "failed", error.message
        self._login = replace(asked.login, state=state, problem=problem)
        if state == "done":
            self._done()

    async def _until_answered(self, asked: _Asked) -> tuple[LoginState, str]:
        interval = asked.interval
        while utc_now() < asked.login.expires:
            await asyncio.sleep(interval)
            try:
                answer = await self._remote.call(lambda c: _poll(c, asked))
            except UpstreamError:
                # It may be back before the code ends (RFC 8628, section 3.5: ask less often).
                interval = min(2 * interval, LONGEST)
                continue
            error = str(answer.get("error") or "")
            if not error:
                return await self._logged_in(asked, answer)
            if error == "slow_down":
                interval += SLOWER
            elif error == "access_denied":
                return "denied", "The login was refused."
            elif error == "expired_token":
                break
            elif error != "authorization_pending":
                return "failed", f"The identity provider says: {error[:200]}"
        return "expired", "Nobody typed the code in time."

    async def _logged_in(self, asked: _Asked, answer: dict[str, Any]) -> tuple[LoginState, str]:
        if not answer.get("refresh_token"):
            return "failed", "The identity provider gives no login that can be renewed."
        tokens = kept_tokens() if asked.login.kept else MemoryTokens()
        client = asked.client
        tokens.set_refresh_token(
            client.provider.issuer, client.client_id, str(answer["refresh_token"])
        )
        backend = self._remote.backend
        login = await self._remote.call(
            lambda c: StoredLogin(c, backend, tokens, client_id=client.client_id)
        )
        self._remote.use(login)
        return "done", ""


def _begin(connection: Any, backend: OpenEOBackend, *, keep: bool) -> _Asked:
    """Ask the back end for its provider, and that for a code."""
    from openeo.rest.auth.oidc import (
        DefaultOidcClientGrant,
        OidcClientInfo,
        OidcProviderInfo,
        PkceCode,
    )

    answer = connection.get("/credentials/oidc", auth=NoLogin(), expected_status=200).json()
    entries = {str(entry.get("id")): entry for entry in answer.get("providers") or ()}
    entry = entries.get(backend.provider) or (
        next(iter(entries.values())) if len(entries) == 1 else None
    )
    if entry is None:
        raise InvalidInput(
            f"{backend.title} has no identity provider {backend.provider!r}.",
            hint="It has " + (", ".join(sorted(entries)) or "none") + "; tell the operator.",
        )
    _check_secure(str(entry["issuer"]), backend)
    provider = OidcProviderInfo(
        provider_id=str(entry["id"]),
        title=str(entry.get("title", "")),
        issuer=str(entry["issuer"]),
        scopes=entry.get("scopes"),
        default_clients=entry.get("default_clients"),
        authorization_parameters=entry.get("authorization_parameters"),
        requests_session=connection.session,
    )
    grants = {DefaultOidcClientGrant.DEVICE_CODE, DefaultOidcClientGrant.DEVICE_CODE_PKCE}
    client_id = provider.get_default_client_id(lambda offered: bool(grants & set(offered)))
    endpoint = provider.config.get("device_authorization_endpoint")
    if not client_id or not endpoint:
        raise InvalidInput(
            f"{backend.title} offers no login by a code.",
            hint=f"Run in a terminal: openeo-auth oidc-auth {urlsplit(backend.url).netloc}",
        )
    client = OidcClientInfo(client_id=client_id, provider=provider)
    pkce = PkceCode() if client.guess_device_flow_pkce_support() else None
    form = {
        "client_id": client_id,
        "scope": provider.get_scopes_string(request_refresh_token=True),
        **provider.authorization_parameters,
    }
    if pkce is not None:
        form |= {
            "code_challenge": pkce.code_challenge,
            "code_challenge_method": pkce.code_challenge_method,
        }
    _check_secure(str(endpoint), backend)
    _check_secure(str(provider.config["token_endpoint"]), backend)
    given = _posted(connection, str(endpoint), form)
    if given.get("error"):
        raise UpstreamError(
            f"The identity provider of {backend.title} gives no code: {given['error']}",
            hint="Try again later, or tell the operator.",
        )
    try:
        seconds = min(float(given.get("expires_in", LIFETIME)), 3600.0)
        login = DeviceLogin(
            backend=backend.id,
            verification_uri=str(given["verification_uri"]),
            verification_uri_complete=str(given.get("verification_uri_complete") or ""),
            user_code=str(given["user_code"])[:64],
            expires=utc_now() + timedelta(seconds=seconds),
            kept=keep,
        )
        interval = min(max(1.0, float(given.get("interval", INTERVAL))), LONGEST)
        device_code = str(given["device_code"])
    except (KeyError, TypeError, ValueError) as error:
        raise UpstreamError(
            f"The identity provider of {backend.title} gave an answer that is not understood.",
            reason=str(error),
        ) from error
    for address in filter(None, (login.verification_uri, login.verification_uri_complete)):
        _check_secure(address, backend)
    return _Asked(login, client, pkce, device_code, interval)


def _poll(connection: Any, asked: _Asked) -> dict[str, Any]:
    """Ask the provider whether the user has answered."""
    form = {
        "grant_type": GRANT,
        "client_id": asked.client.client_id,
        "device_code": asked.device_code,
    }
    if asked.pkce is not None:
        form["code_verifier"] = asked.pkce.code_verifier
    endpoint = str(asked.client.provider.config["token_endpoint"])
    return _posted(connection, endpoint, form)


def _posted(connection: Any, url: str, form: dict[str, str]) -> dict[str, Any]:
    """The answer of the identity provider to a form, also when it is an OAuth error."""
    answer = connection.session.post(url, data=form, timeout=REQUEST_SECONDS, allow_redirects=False)
    if answer.status_code >= 500:
        raise UpstreamError("The identity provider does not answer.", retryable=True)
    body = answer.json()
    if not isinstance(body, dict) or (answer.status_code != 200 and not body.get("error")):
        raise UpstreamError("The identity provider gave an answer that is not understood.")
    return body


def _check_secure(url: str, backend: OpenEOBackend) -> None:
    """Codes and tokens go over https, except on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url)):
        return
    raise UpstreamError(
        f"{backend.title} names an address for its login that is not https: {url[:200]}",
        hint="Tell the operator; nothing was sent there.",
    )
