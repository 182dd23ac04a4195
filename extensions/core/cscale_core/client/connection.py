"""Calls to the API of a user's server: its problems as our errors, its absences waited through."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import httpx

from cscale_core.errors import (
    Conflict,
    CScaleError,
    DamagedData,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    StorageFull,
    UpstreamError,
    UpstreamTimeout,
)

JSON = dict[str, Any]

#: Below the address of the server.
API = "cscale/api/v1"
#: What the hub and its proxy answer, not in our shape, where the server is not there: stopped,
#: starting, starting anew. 403 and 405 are what the hub has for changes, which it takes for forms.
_AWAY = frozenset({403, 405, 424, 502, 503, 504})
_LOGINS = ("/login", "/oauth")
_BY_CODE: dict[str, type[CScaleError]] = {
    kind.code: kind
    for kind in (
        Conflict,
        DamagedData,
        Forbidden,
        InvalidInput,
        LoginRequired,
        NotFound,
        StorageFull,
        UpstreamError,
        UpstreamTimeout,
    )
}
_FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 0.5, 1.5, 5.0


class ServerAway(UpstreamError):
    """The user's server does not answer: it stops, starts anew, or cannot be reached.

    Jobs do not depend on it being there.
    """

    code = "server_away"


class Connection:
    """The API of one user's server.

    :param url: address of the server, such as ``http://127.0.0.1:8000/user/NAME/``.
    :param http: carries the authorization (a header, cookies); used in several threads.
    """

    def __init__(self, url: str, http: httpx.Client) -> None:
        self.url = url.rstrip("/")
        self._http = http

    def call(
        self, method: str, path: str, *, key: str = "", patience: float = 0.0, **kwargs: Any
    ) -> Any:
        """One call; ``path`` is relative to ``cscale/api/v1``.

        :param key: idempotency key: the server does the same call once, however often it is made.
        :param patience: seconds for which a server that is away is asked again; with a ``key``
            also one that says that it may be. Calls that change something need one.
        :raises ServerAway: when it does not answer.
        :raises CScaleError: of the kind that the server names.
        """
        # The hub, where it answers in place of the server, sends those who want pages to one.
        headers = {"Accept": "application/json", **kwargs.pop("headers", {})}
        if key:
            headers["Idempotency-Key"] = key
        end, pause = time.monotonic() + patience, _FIRST_PAUSE
        while True:
            try:
                return self._once(method, path, headers=headers, **kwargs)
            except CScaleError as error:
                away = isinstance(error, ServerAway) and method == "GET"
                repeatable = away or (bool(key) and error.retryable)
                if not repeatable or time.monotonic() + pause > end:
                    raise
            time.sleep(pause)
            pause = min(pause * _GROWTH, _LONGEST_PAUSE)

    def _once(self, method: str, path: str, **kwargs: Any) -> Any:
        try:
            answer = self._http.request(method, f"{self.url}/{API}/{path}", **kwargs)
        except httpx.HTTPError as error:
            raise _away(str(error) or type(error).__name__) from error
        if not answer.is_success:
            raise _as_error(answer)
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise UpstreamError(f"{path} was answered with something else than JSON.") from error

    def lines(self, path: str, body: JSON) -> Iterator[JSON]:
        """The JSON objects of a streamed answer to a question, one a line, as they come.

        :raises CScaleError: of the kind that the server names, also in the middle.
        """
        try:
            with self._http.stream(
                "POST",
                f"{self.url}/{API}/{path}",
                json=body,
                headers={"Accept": "application/x-ndjson"},
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _as_error(answer)
                for line in _lines(answer.iter_bytes()):
                    read = json.loads(line)
                    if read["type"] == "problem":
                        raise _of_problem(read)
                    yield read
        except httpx.HTTPError as error:
            raise _away(str(error) or type(error).__name__) from error


def quoted(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Bytes up to each line feed, and to nothing else that Unicode calls the end of a line."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


def _away(why: str) -> ServerAway:
    return ServerAway(
        f"Your server does not answer: {why}",
        hint="Jobs at back ends and clusters go on without it. Start it again at the hub.",
        retryable=True,
    )


def _of_problem(body: JSON) -> CScaleError:
    kind = _BY_CODE.get(body["code"], UpstreamError)
    error = kind(
        str(body["message"]),
        hint=str(body.get("hint", "")),
        retryable=bool(body.get("retryable")),
    )
    error.details = dict(body.get("details") or {})
    return error


def _as_error(answer: httpx.Response) -> CScaleError:
    try:
        return _of_problem(answer.json())
    except (ValueError, KeyError, TypeError):
        pass  # it is the hub's or the proxy's answer, not one of the server extension
    towards = answer.headers.get("Location", "") if answer.is_redirect else ""
    if answer.status_code == httpx.codes.UNAUTHORIZED or any(each in towards for each in _LOGINS):
        return LoginRequired(
            "The hub does not take your login for this server.",
            hint="Sign in at the hub again, or make a new token there.",
        )
    if answer.status_code in _AWAY or towards:
        return _away(f"the hub answers in its place ({answer.status_code}).")
    request = answer.request
    return UpstreamError(
        f"{request.method} {request.url.path} answered {answer.status_code}.",
        retryable=answer.status_code >= 500,
    )
