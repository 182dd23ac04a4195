"""What a researcher does in a server, over HTTP: files, kernels, events, jobs."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import websocket

from cscale_cli.hub_login import HubLogin, JourneyError, explain


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


class HubSession(HubLogin):
    """One signed-in researcher at work."""

    def read_file(self, path: str) -> bytes:
        """A file of the server, through Jupyter's contents API (the mount, or its stand-in)."""
        address = self._server_url(f"api/contents/{quote(path)}")
        answer = self._api.get(address, params={"format": "base64", "type": "file", "content": 1})
        if answer.is_error:
            raise JourneyError(f"{path}: {explain(answer)}")
        return base64.b64decode(answer.json()["content"])

    def list_folder(self, path: str) -> list[dict[str, Any]]:
        """Entries of a folder, through Jupyter's contents API."""
        answer = self._api.get(self._server_url(f"api/contents/{quote(path)}"))
        if answer.is_error:
            raise JourneyError(f"{path}: {explain(answer)}")
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
            raise JourneyError(explain(answer))
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
