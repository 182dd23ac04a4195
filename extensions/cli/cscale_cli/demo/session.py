"""A researcher's session over HTTP: sign in at the identity provider, start a server, call its API.

Everything goes through the hub's proxy with what a browser would send: cookies, the sign-in form
of the identity provider, the hub's XSRF token. Nothing is imported from the hub.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpx
import websocket

from cscale_core.client import Workspace


class JourneyError(Exception):
    """A step of the journey did not do what it promises."""


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


def _explain(response: httpx.Response) -> str:
    """One line about an error answer, preferring the problem shape of our API."""
    with contextlib.suppress(ValueError):
        body = response.json()
        if isinstance(body, dict) and body.get("message"):
            hint = f" {body['hint']}" if body.get("hint") else ""
            return f"{body['message']}{hint}"
    return f"{response.request.method} {response.request.url.path} answered {response.status_code}"


def _execute_request(request: str, code: str) -> dict[str, Any]:
    """A Jupyter message that asks a kernel to run code (messaging protocol 5.3)."""
    header = {
        "msg_id": request,
        "msg_type": "execute_request",
        "session": uuid.uuid4().hex,
        "username": "",
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    return {
        "channel": "shell",
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
    }


def _printed(socket: websocket.WebSocket, request: str) -> str:
    """Standard output of one request, read until the kernel is idle again."""
    text = ""
    while True:
        message = json.loads(socket.recv())
        if message.get("parent_header", {}).get("msg_id") != request:
            continue
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            text += content["text"]
        elif message["msg_type"] == "error":
            raise JourneyError(f"{content['ename']}: {content['evalue']}")
        elif message["msg_type"] == "status" and content["execution_state"] == "idle":
            return text


class HubSession:
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

    def __enter__(self) -> HubSession:
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
            raise JourneyError(_explain(answer))
        self.user = str(answer.json()["name"])
        self._take_token()
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
            json={"note": "demonstration", "expires_in": 3600},
            headers=self._xsrf(),
        )
        if answer.is_error:
            raise JourneyError(_explain(answer))
        body = answer.json()
        self._token, self._token_id = str(body["token"]), str(body["id"])
        self._api.headers["Authorization"] = f"token {self._token}"

    def start_server(self, progress: Callable[[str], None]) -> None:
        """Start the researcher's own server and wait until it answers."""
        address = f"{self.hub_url}/hub/api/users/{self.user}/server"
        answer = self._api.post(address)
        if answer.status_code not in (201, 202):
            raise JourneyError(_explain(answer))
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

    def stop_server(self) -> None:
        """Ask the hub to stop the server."""
        self._api.delete(f"{self.hub_url}/hub/api/users/{self.user}/server")

    def _server_url(self, path: str) -> str:
        return f"{self.hub_url}/user/{quote(self.user)}/{path.lstrip('/')}"

    @property
    def workspace(self) -> Workspace:
        """The server extension's API."""
        return Workspace(self._server_url(""), self._api)

    def read_file(self, path: str) -> bytes:
        """A file of the server, through Jupyter's contents API (the mount, or its stand-in)."""
        address = self._server_url(f"api/contents/{quote(path)}")
        answer = self._api.get(address, params={"format": "base64", "type": "file", "content": 1})
        if answer.is_error:
            raise JourneyError(f"{path}: {_explain(answer)}")
        return base64.b64decode(answer.json()["content"])

    def list_folder(self, path: str) -> list[dict[str, Any]]:
        """Entries of a folder, through Jupyter's contents API."""
        answer = self._api.get(self._server_url(f"api/contents/{quote(path)}"))
        if answer.is_error:
            raise JourneyError(f"{path}: {_explain(answer)}")
        entries: list[dict[str, Any]] = answer.json()["content"]
        return entries

    def get(self, url: str) -> httpx.Response:
        """A plain GET with the session's token (services behind the hub's proxy)."""
        return self._api.get(url)

    def run_in_kernel(self, code: str, *, timeout: float = 120.0) -> str:
        """Run Python in a kernel of the server, as a notebook cell does; returns what it printed.

        :raises JourneyError: when the code raises or does not end in time.
        """
        answer = self._api.post(self._server_url("api/kernels"), json={"name": "python3"})
        if answer.is_error:
            raise JourneyError(_explain(answer))
        kernel = f"api/kernels/{answer.json()['id']}"
        socket = self._socket(f"{kernel}/channels")
        try:
            socket.settimeout(timeout)
            request = uuid.uuid4().hex
            socket.send(json.dumps(_execute_request(request, code)))
            return _printed(socket, request)
        except websocket.WebSocketException as error:
            raise JourneyError(f"the kernel did not answer: {error}") from error
        finally:
            socket.close()
            self._api.delete(self._server_url(kernel))

    def _socket(self, path: str) -> websocket.WebSocket:
        parts = urlsplit(self._server_url(path))
        scheme = "wss" if parts.scheme == "https" else "ws"
        return websocket.create_connection(
            f"{scheme}://{parts.netloc}{parts.path}",
            header={"Authorization": f"token {self._token}"},
            timeout=60,
        )

    @contextlib.contextmanager
    def events(self, receive: Callable[[dict[str, Any]], None]) -> Iterator[None]:
        """Hand every job event to ``receive`` (in a thread of its own) while the block runs."""
        socket = self._socket("api/events/subscribe")
        socket.settimeout(None)

        def listen() -> None:
            while True:
                try:
                    message = socket.recv()
                except (websocket.WebSocketException, OSError):
                    return  # the connection was closed below, or the server stopped
                if not message:
                    return
                receive(json.loads(message))

        thread = threading.Thread(target=listen, name="job-events", daemon=True)
        thread.start()
        try:
            yield
        finally:
            socket.close()
            thread.join(timeout=5)
