"""Logging in at an openEO back end: a token of the hub's broker at each request, a login kept in
memory or by ``openeo-auth``, user name and password of ``~/.netrc``, or none.

Everything here but ``renew`` runs in a thread of the back end. openEO API 1.2: the bearer is
``oidc/PROVIDER/TOKEN`` or ``basic//TOKEN``.
"""

from __future__ import annotations

import asyncio
import netrc
import threading
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from cscale_core.backends import OpenEOBackend
from cscale_core.errors import LoginRequired
from cscale_core.identity.tokens import RenewableTokens, TokenSource

_TOKEN_SECONDS = 30


class Login(Protocol):
    """Puts the login on each request (the callable that ``requests`` wants)."""

    def __call__(self, request: Any) -> Any:
        """The request with its Authorization header."""
        ...

    def renew(self) -> None:
        """Forget what was refused; the next request brings something new."""
        ...


class NoLogin:
    """Asks without a login."""

    def __call__(self, request: Any) -> Any:
        """The request as it is."""
        return request

    def renew(self) -> None:
        """There is nothing to renew."""


class MissingLogin(NoLogin):
    """There is no login where one is needed: what is public can be asked, the rest says why."""

    def __init__(self, problem: LoginRequired) -> None:
        self._problem = problem

    def __call__(self, request: Any) -> Any:
        """Nothing is sent."""
        raise LoginRequired(self._problem.message, hint=self._problem.hint)


class BrokerLogin:
    """A token of the broker, asked for at each request: a job may outlive any token."""

    def __init__(
        self, backend: OpenEOBackend, tokens: TokenSource, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._backend = backend
        self._tokens = tokens
        self._loop = loop

    def __call__(self, request: Any) -> Any:
        """The request with a token that is valid now."""
        asked = self._tokens.token(self._backend.audience)
        try:
            future = asyncio.run_coroutine_threadsafe(asked, self._loop)
        except RuntimeError:
            asked.close()  # the server has stopped meanwhile
            raise
        token = future.result(_TOKEN_SECONDS)
        request.headers["Authorization"] = f"Bearer oidc/{self._backend.provider}/{token}"
        return request

    def renew(self) -> None:
        """Let the source forget the token; called on the event loop."""
        if isinstance(self._tokens, RenewableTokens):
            self._tokens.forget(self._backend.audience)


class BasicLogin:
    """User name and password, traded for the back end's own token (``GET /credentials/basic``)."""

    def __init__(self, connection: Any, user: str, password: str) -> None:
        self._connection = connection
        self._account = (user, password)
        self._token = ""
        self._lock = threading.Lock()

    def __call__(self, request: Any) -> Any:
        """The request with the back end's token."""
        from requests.auth import HTTPBasicAuth

        with self._lock:
            if not self._token:
                answer = self._connection.get(
                    "/credentials/basic", auth=HTTPBasicAuth(*self._account), expected_status=200
                )
                self._token = str(answer.json()["access_token"])
            request.headers["Authorization"] = f"Bearer basic//{self._token}"
        return request

    def renew(self) -> None:
        """Ask for another token next time."""
        self._token = ""


class RefreshTokens(Protocol):
    """Where refresh tokens are kept (the client's ``RefreshTokenStore``)."""

    def get_refresh_token(self, issuer: str, client_id: str) -> str | None:
        """The token of a client of an identity provider."""
        ...

    def set_refresh_token(self, issuer: str, client_id: str, refresh_token: str) -> None:
        """Put another one in its place."""
        ...


class MemoryTokens:
    """Refresh tokens in the memory of this server; they end with it."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str], str] = {}

    def get_refresh_token(self, issuer: str, client_id: str) -> str | None:
        """The token of a client of an identity provider."""
        return self._tokens.get((issuer, client_id))

    def set_refresh_token(self, issuer: str, client_id: str, refresh_token: str) -> None:
        """Put another one in its place."""
        self._tokens[issuer, client_id] = refresh_token


def kept_tokens() -> RefreshTokens:
    """Refresh tokens where ``openeo-auth`` keeps them: in the user's home, mode 0600."""
    from openeo.rest.auth.config import RefreshTokenStore

    store: RefreshTokens = RefreshTokenStore()
    return store


class StoredLogin:
    """A login by a refresh token, renewed by the client.

    :param tokens: where the refresh token is.
    :param client_id: of the identity provider; empty: the back end's default.
    """

    def __init__(
        self,
        connection: Any,
        backend: OpenEOBackend,
        tokens: RefreshTokens,
        client_id: str = "",
    ) -> None:
        import openeo

        self._backend = backend
        self._client_id = client_id
        # Logging in asks the back end without a login: that wants a connection of its own.
        self._own = openeo.Connection(
            connection.root_url, session=connection.session, refresh_token_store=tokens
        )
        self._refused = False
        self._lock = threading.Lock()
        self._authenticate()

    def _authenticate(self) -> None:
        try:
            self._own.authenticate_oidc_refresh_token(
                client_id=self._client_id or None,
                provider_id=self._backend.provider,
                store_refresh_token=True,
            )
        except Exception as error:
            host = urlsplit(self._backend.url).netloc
            raise LoginRequired(
                f"There is no valid login kept for {self._backend.title}.",
                hint=f"Log in there again, or run in a terminal: openeo-auth oidc-auth {host}",
                reason=type(error).__name__,
            ) from error

    def __call__(self, request: Any) -> Any:
        """The request with the token the client holds."""
        with self._lock:
            if self._refused:
                self._authenticate()
                self._refused = False
            return self._own.auth(request)

    def renew(self) -> None:
        """Trade the refresh token for another access token next time."""
        self._refused = True


def account_of(url: str, file: Path | None = None) -> tuple[str, str] | None:
    """User name and password of a host in a netrc file (default: ``~/.netrc``)."""
    try:
        found = netrc.netrc(str(file or Path.home() / ".netrc")).authenticators(
            urlsplit(url).hostname or ""
        )
    except (OSError, netrc.NetrcParseError):
        return None
    return (found[0], found[2]) if found and found[0] and found[2] else None


def login_for(
    connection: Any,
    capabilities: Any,
    backend: OpenEOBackend,
    tokens: TokenSource,
    loop: asyncio.AbstractEventLoop,
) -> Login:
    """The way to log in at a back end, as its entry says or as is possible.

    :param capabilities: the client's, of the back end.
    """

    def offers(path: str) -> bool:
        return bool(capabilities.supports_endpoint(path, method="GET"))

    way = backend.auth
    if way == "auto" and backend.audience:
        way = "broker"
    if way == "broker":
        return BrokerLogin(backend, tokens, loop)
    if way in ("basic", "auto"):
        account = account_of(backend.url)
        if account and (way == "basic" or offers("/credentials/basic")):
            return BasicLogin(connection, *account)
        if way == "basic":
            host = urlsplit(backend.url).hostname
            return MissingLogin(
                LoginRequired(
                    f"There is no user name and password for {backend.title}.",
                    hint=f"Add a line to ~/.netrc: machine {host} login … password …",
                )
            )
    if way == "stored" or (way == "auto" and offers("/credentials/oidc")):
        try:
            return StoredLogin(connection, backend, kept_tokens())
        except LoginRequired as error:
            # What needs no login still works, and the rest says so.
            return MissingLogin(error) if way == "stored" else NoLogin()
    return NoLogin()
