"""Signing in to a hub over HTTP, and the way from there to one's own server.

Everything goes through the hub's proxy with what a browser would send: cookies, the sign-in form
of the identity provider, the hub's XSRF token. Nothing is imported from the hub.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Self
from urllib.parse import quote, urljoin

import httpx

from cscale_core.client import Workspace
from cscale_core.errors import CScaleError

#: Seconds for which a token of a session is good, which is given back at its end.
TOKEN_LIFE = 8 * 3600


class JourneyError(CScaleError):
    """The hub, or a step of a journey through it, does not do what it promises."""

    code = "journey_failed"


class _Form(HTMLParser):
    """The first form of a page that has a password field: its address and its fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.password_field = ""
        self.username_field = ""
        self._inside = False
        self._done = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if self._done:
            return
        if tag == "form":
            self._inside = True
            self.action = values.get("action", "")
            self.fields = {}
        elif tag == "input" and self._inside and values.get("name"):
            kind = values.get("type", "text")
            if kind == "password":
                self.password_field = values["name"]
            elif kind in ("text", "email"):
                self.username_field = values["name"]
            else:
                self.fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._inside:
            self._inside = False
            self._done = bool(self.password_field)


def explain(response: httpx.Response) -> str:
    """One line about an error answer, preferring the problem shape of our API."""
    with contextlib.suppress(ValueError):
        body = response.json()
        if isinstance(body, dict) and body.get("message"):
            hint = f" {body['hint']}" if body.get("hint") else ""
            return f"{body['message']}{hint}"
    return f"{response.request.method} {response.request.url.path} answered {response.status_code}"


class HubLogin:
    """One signed-in researcher.

    :param hub_url: address of the hub's proxy, such as ``http://127.0.0.1:8000``.
    """

    def __init__(self, hub_url: str, *, timeout: float = 60.0) -> None:
        self.hub_url = hub_url.rstrip("/")
        self._browser = httpx.Client(follow_redirects=True, timeout=timeout)
        self._api = httpx.Client(timeout=timeout)
        self.user = ""
        self._token = ""
        self._token_id = ""

    def close(self) -> None:
        """Give the token back and close the connections."""
        if self._token_id:
            address = f"{self.hub_url}/hub/api/users/{self.user}/tokens/{self._token_id}"
            with contextlib.suppress(httpx.HTTPError):
                self._api.delete(address)
            self._token_id = ""
        self._browser.close()
        self._api.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def sign_in(self, username: str, password: str) -> str:
        """Walk the authorization code flow with the provider's form; returns the hub's user name.

        :raises JourneyError: when the form is missing or the sign-in is refused.
        """
        page = self._browser.get(f"{self.hub_url}/hub/oauth_login")
        form = _Form()
        form.feed(page.text)
        if not form.password_field:
            raise JourneyError(f"no sign-in form at {page.url.copy_with(query=None)}")
        form.fields[form.username_field or "username"] = username
        form.fields[form.password_field] = password
        page = self._browser.post(urljoin(str(page.url), form.action), data=form.fields)
        if page.status_code >= 400 or not str(page.url).startswith(self.hub_url):
            raise JourneyError(f"the sign-in of {username} was refused ({page.status_code})")
        answer = self._browser.get(f"{self.hub_url}/hub/api/user", headers=self._xsrf())
        if answer.is_error:
            raise JourneyError(explain(answer))
        self.user = str(answer.json()["name"])
        self._take_token()
        return self.user

    def use_token(self, token: str) -> str:
        """Use a token that was made at the hub; returns the hub's user name.

        :raises JourneyError: when the hub does not take it.
        """
        self._api.headers["Authorization"] = f"token {token}"
        answer = self._api.get(f"{self.hub_url}/hub/api/user")
        if answer.is_error:
            raise JourneyError(explain(answer), hint="Make a new token on the hub's token page.")
        self.user, self._token = str(answer.json()["name"]), token
        return self.user

    def _xsrf(self) -> dict[str, str]:
        token = ""
        for cookie in self._browser.cookies.jar:
            if cookie.name == "_xsrf" and cookie.path.startswith("/hub"):
                token = cookie.value or ""
        return {"X-XSRFToken": token, "Referer": f"{self.hub_url}/hub/home"}

    def _take_token(self) -> None:
        answer = self._browser.post(
            f"{self.hub_url}/hub/api/users/{self.user}/tokens",
            json={"note": "cscale", "expires_in": TOKEN_LIFE},
            headers=self._xsrf(),
        )
        if answer.is_error:
            raise JourneyError(explain(answer))
        body = answer.json()
        self._token, self._token_id = str(body["token"]), str(body["id"])
        self._api.headers["Authorization"] = f"token {self._token}"

    def start_server(self, progress: Callable[[str], None]) -> None:
        """Start the researcher's own server and wait until it answers."""
        address = f"{self.hub_url}/hub/api/users/{self.user}/server"
        answer = self._api.post(address)
        if answer.status_code not in (201, 202):
            raise JourneyError(explain(answer))
        with self._api.stream("GET", f"{address}/progress", timeout=120) as stream:
            for line in stream.iter_lines():
                if not line.startswith("data:"):
                    continue
                event = json.loads(line.removeprefix("data:"))
                progress(str(event.get("message", "")))
                if event.get("failed"):
                    raise JourneyError(f"the server did not start: {event.get('message')}")
                if event.get("ready"):
                    return
        raise JourneyError("the hub stopped reporting before the server was ready")

    def server_runs(self) -> bool:
        """Whether the researcher's own server is up."""
        answer = self._api.get(f"{self.hub_url}/hub/api/users/{quote(self.user)}")
        if answer.is_error:
            raise JourneyError(explain(answer))
        return bool(answer.json().get("servers", {}).get("", {}).get("ready"))

    def stop_server(self) -> None:
        """Ask the hub to stop the server."""
        self._api.delete(f"{self.hub_url}/hub/api/users/{self.user}/server")

    def _server_url(self, path: str) -> str:
        return f"{self.hub_url}/user/{quote(self.user)}/{path.lstrip('/')}"

    @property
    def workspace(self) -> Workspace:
        """The server extension's API."""
        return Workspace(self._server_url(""), self._api)
