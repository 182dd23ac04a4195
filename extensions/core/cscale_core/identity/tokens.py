"""Where short-lived tokens come from: the hub's broker, or a user server's loopback listener.

Two places ask for tokens and each has its own door. The user's Jupyter server knows its JupyterHub
API token and asks the broker (:class:`BrokerTokens`); kernels, terminals and jobs know only the
loopback listener of that server and the 0600 file with its password (:class:`LoopbackTokens`).
Neither keeps anything on disk, and no token ever appears in a message.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

import httpx

from cscale_core.errors import (
    Conflict,
    CScaleError,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
)

TOKEN_URL_VARIABLE = "CSCALE_TOKEN_URL"  # noqa: S105  # the name of a variable, not a secret
TOKEN_FILE_VARIABLE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105

# What is kept is asked for anew after this part of its life, and after this time: the broker gives
# the same again, and says when it does not any more because the server is shared.
_FRESH = 0.8
_CONFIRMED = timedelta(seconds=60)
# While the broker is down, an old token still serves when it has this much life left.
_LAST_MOMENT = timedelta(seconds=30)
_TIMEOUT = httpx.Timeout(20.0, connect=5.0)

_BY_CODE: dict[str, type[CScaleError]] = {
    kind.code: kind
    for kind in (Conflict, Forbidden, InvalidInput, LoginRequired, NotFound, UpstreamTimeout)
}
_BY_STATUS: dict[int, type[CScaleError]] = {
    400: InvalidInput,
    401: LoginRequired,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    504: UpstreamTimeout,
}


class TokenSource(Protocol):
    """Gives a bearer token that is valid now."""

    async def token(self, audience: str) -> str:
        """An access token for one audience (``openeo``, ``catalogue``).

        :raises LoginRequired: when the user's session has ended.
        :raises UpstreamError: when the broker does not answer or refuses.
        """
        ...


class CredentialSource(TokenSource, Protocol):
    """Gives S3 credentials too."""

    async def s3_credentials(self) -> dict[str, Any]:
        """S3 credentials in the AWS container format; errors as :meth:`token`."""
        ...


@runtime_checkable
class RenewableTokens(TokenSource, Protocol):
    """A token source that keeps tokens and can be told that one was refused."""

    def forget(self, audience: str) -> None:
        """Drop the kept token, so that the next question brings a new one."""
        ...


@dataclass(frozen=True, slots=True)
class _Kept:
    value: Any
    fresh_until: datetime
    expires: datetime


def _now() -> datetime:
    return datetime.now(UTC)


def expiry(text: Any) -> datetime:
    """An RFC 3339 time with a zone.

    :raises UpstreamError: when it is not one.
    """
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise UpstreamError("The broker's answer has no readable expiry time.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _refusal(response: httpx.Response, who: str) -> CScaleError:
    """The error behind a problem-shaped answer ``{code, message, hint, retryable}``."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    problem: dict[str, Any] = body if isinstance(body, dict) else {}
    code = str(problem.get("code", ""))
    kind = _BY_CODE.get(code) or _BY_STATUS.get(response.status_code, UpstreamError)
    default_hint = "Log in to the hub again." if kind is LoginRequired else ""
    return kind(
        str(problem.get("message") or f"{who} answered with status {response.status_code}."),
        hint=str(problem.get("hint") or default_hint),
        retryable=bool(problem.get("retryable", response.status_code >= 500)),
        status=response.status_code,
    )


def _answer(response: httpx.Response, who: str) -> dict[str, Any]:
    if response.status_code != 200:
        raise _refusal(response, who)
    try:
        body = response.json()
    except ValueError as error:
        raise UpstreamError(f"{who} did not answer with JSON.", retryable=True) from error
    if not isinstance(body, dict):
        raise UpstreamError(f"{who} did not answer with a JSON object.")
    return body


def _unreachable(error: httpx.HTTPError, who: str) -> UpstreamError:
    if isinstance(error, httpx.TimeoutException):
        return UpstreamTimeout(f"{who} did not answer in time.", retryable=True)
    return UpstreamError(f"{who} cannot be reached.", hint="Try again soon.", retryable=True)


def _access_token(body: dict[str, Any], who: str) -> str:
    token = body.get("access_token")
    if not isinstance(token, str) or not token:
        raise UpstreamError(f"{who} answered without a token.")
    return token


class BrokerTokens:
    """Tokens and S3 credentials from the hub's broker, kept for a minute.

    They live longer, but what the broker refuses from now on, because others may enter the server
    or the login has ended, must not be given from here for long. One request per audience is under
    way at a time. While the broker is down, what is kept serves until shortly before it expires.

    :param broker_url: base URL of the broker (``Site.broker_url``).
    :param api_token: the server's own ``JUPYTERHUB_API_TOKEN``.
    :param http: a client that may reach the broker; not closed here.
    :param now: the clock, replaceable in tests.
    """

    def __init__(
        self,
        broker_url: str,
        api_token: str,
        http: httpx.AsyncClient,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._url = broker_url.rstrip("/")
        self._api_token = api_token
        self._http = http
        self._now = now
        self._kept: dict[str, _Kept] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def token(self, audience: str) -> str:
        """An access token for the audience.

        :raises LoginRequired: when the user has to log in again.
        :raises Forbidden: when the broker does not give this audience to this user.
        :raises Conflict: when the broker refuses for now (the server is shared).
        :raises UpstreamError: when the broker is down or its answer is not usable.
        """

        async def ask() -> tuple[str, datetime]:
            body = await self._get("/v1/token", {"audience": audience})
            return _access_token(body, "The broker"), expiry(body.get("expires_at"))

        value: str = await self._fresh(f"token:{audience}", ask)
        return value

    async def s3_credentials(self) -> dict[str, Any]:
        """S3 credentials in the AWS container format.

        Members ``AccessKeyId``, ``SecretAccessKey``, ``Token`` and ``Expiration``; errors as
        :meth:`token`.
        """

        async def ask() -> tuple[dict[str, Any], datetime]:
            body = await self._get("/v1/s3", {})
            missing = {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"} - body.keys()
            if missing:
                raise UpstreamError("The broker answered without complete S3 credentials.")
            return body, expiry(body["Expiration"])

        value: dict[str, Any] = await self._fresh("s3", ask)
        return dict(value)

    def forget(self, audience: str) -> None:
        """Drop the kept token of an audience, after a service refused it."""
        self._kept.pop(f"token:{audience}", None)

    async def _get(self, path: str, params: dict[str, str]) -> dict[str, Any]:
        try:
            response = await self._http.get(
                self._url + path,
                params=params,
                headers={"Authorization": f"token {self._api_token}", "Accept": "application/json"},
                timeout=_TIMEOUT,
                follow_redirects=False,
            )
        except httpx.HTTPError as error:
            raise _unreachable(error, "The broker") from error
        return _answer(response, "The broker")

    async def _fresh(self, key: str, ask: Callable[[], Any]) -> Any:
        async with self._locks.setdefault(key, asyncio.Lock()):
            kept = self._kept.get(key)
            if kept is not None and self._now() < kept.fresh_until:
                return kept.value
            try:
                value, expires = await ask()
            except UpstreamError:
                if kept is not None and self._now() < kept.expires - _LAST_MOMENT:
                    return kept.value
                raise
            except CScaleError:
                self._kept.pop(key, None)
                raise
            asked = self._now()
            until = asked + min((expires - asked) * _FRESH, _CONFIRMED)
            self._kept[key] = _Kept(value, until, expires)
            return value


class LoopbackTokens:
    """Tokens from the loopback listener of the user's own server, for kernels, terminals and jobs.

    Reads ``CSCALE_TOKEN_URL`` and the file named by ``AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`` at
    each question, because both change when the server restarts. The listener keeps the tokens, so
    nothing is kept here.
    """

    async def token(self, audience: str) -> str:
        """An access token for the audience; errors as :meth:`read`."""
        return _access_token(await self._ask("/v1/token", {"audience": audience}), "Your server")

    async def s3_credentials(self) -> dict[str, Any]:
        """S3 credentials in the AWS container format; errors as :meth:`read`."""
        return await self._ask("/v1/s3", {})

    async def _ask(self, path: str, params: dict[str, str]) -> dict[str, Any]:
        base, headers = self._door()
        try:
            # No proxy may stand between this process and its own machine.
            async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT) as http:
                response = await http.get(base + path, params=params, headers=headers)
        except httpx.HTTPError as error:
            raise _unreachable(error, "Your server's token listener") from error
        return _answer(response, "Your server")

    def read(self, audience: str) -> str:
        """The same, for code that is not async (the openEO client).

        :raises LoginRequired: when there is no such listener, or the session has ended.
        :raises UpstreamError: when the listener does not answer.
        """
        base, headers = self._door()
        try:
            with httpx.Client(trust_env=False, timeout=_TIMEOUT) as http:
                response = http.get(
                    f"{base}/v1/token", params={"audience": audience}, headers=headers
                )
        except httpx.HTTPError as error:
            raise _unreachable(error, "Your server's token listener") from error
        return _access_token(_answer(response, "Your server"), "Your server")

    @staticmethod
    def _door() -> tuple[str, dict[str, str]]:
        base = os.environ.get(TOKEN_URL_VARIABLE, "")
        file = os.environ.get(TOKEN_FILE_VARIABLE, "")
        if not base or not file:
            raise LoginRequired(
                f"There is no token listener: {TOKEN_URL_VARIABLE} or {TOKEN_FILE_VARIABLE} "
                "is not set.",
                hint="Run this inside a server started by C-SCALE Hub.",
            )
        host = urlsplit(base).hostname or ""
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = host == "localhost"
        if not loopback:
            raise InvalidInput(f"{TOKEN_URL_VARIABLE} does not name this machine.")
        try:
            password = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise LoginRequired(
                "The token listener's password file cannot be read.",
                hint="Your server may have been restarted: restart this kernel.",
            ) from error
        return base.rstrip("/"), {"Authorization": password}
