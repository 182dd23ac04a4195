"""Requests of a page that cannot reach the user's server itself, carried by the kernel.

The other end is ``extensions/ui/src/transport/comm.ts``, where the messages are described. Requests
run in threads, so that the page does not wait for cells that compute.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from cscale_core.client.connection import API
from cscale_core.errors import InvalidInput

Send = Callable[[dict[str, Any], list[bytes]], None]
"""Sends a message with its buffers to the page."""

_AT_ONCE = 8
_SECONDS = 120.0
_POLL = 2.0
"""Seconds between two questions for jobs that changed."""
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# One segment after the other, none of which climbs; the page can reach our API and nothing else.
_PATH = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[A-Za-z0-9_.~%!$&'()*+,;=:@|-]+(?:/[^/?#\s]+)*")
_HEADERS_IN = ("accept", "content-type", "idempotency-key", "range", "if-none-match")
_HEADERS_OUT = ("content-type", "x-request-id", "etag", "content-range")


class Bridge:
    """Carries the requests of one widget.

    :param url: address of the user's server, without a slash at its end.
    :param http: carries the authorization; not closed here.
    """

    def __init__(self, url: str, http: httpx.Client, send: Send) -> None:
        self._url = url
        self._http = http
        self._send = send
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="cscale-panel")
        self._cancelled: set[int] = set()
        self._watching = threading.Event()

    def take(self, message: dict[str, Any], buffers: Sequence[Any]) -> None:
        """A message of the page."""
        if message.get("type") == "cancel":
            self._cancelled.add(int(message["id"]))
        elif message.get("type") == "request":
            body = bytes(buffers[0]) if buffers else message.get("body")
            self._threads.submit(self._answer, int(message["id"]), message, body)

    def watch_jobs(self) -> None:
        """Tell the page of jobs that change, until the kernel ends."""
        if not self._watching.is_set():
            self._watching.set()
            threading.Thread(target=self._watch, name="cscale-panel-jobs", daemon=True).start()

    def close(self) -> None:
        """Take no further request."""
        self._watching.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _answer(self, number: int, message: dict[str, Any], body: str | bytes | None) -> None:
        try:
            with self._http.stream(**self._request(message, body)) as answer:
                headers = {
                    name: answer.headers[name] for name in _HEADERS_OUT if name in answer.headers
                }
                self._send(
                    {
                        "type": "head",
                        "id": number,
                        "status": answer.status_code,
                        "headers": headers,
                    },
                    [],
                )
                for piece in answer.iter_bytes():
                    if number in self._cancelled:
                        return
                    self._send({"type": "body", "id": number}, [piece])
            self._send({"type": "end", "id": number}, [])
        except (httpx.HTTPError, InvalidInput) as error:
            said = str(error) or type(error).__name__
            self._send({"type": "failed", "id": number, "message": said}, [])
        finally:
            self._cancelled.discard(number)

    def _request(self, message: dict[str, Any], body: str | bytes | None) -> dict[str, Any]:
        method, path = message.get("method"), message.get("path")
        if method not in _METHODS or not isinstance(path, str) or not _PATH.fullmatch(path):
            raise InvalidInput("The panel asked for something that is no route.")
        given = message.get("headers") or {}
        query = message.get("query") or {}
        return {
            "method": method,
            "url": f"{self._url}/{API}/{path}",
            "params": {
                name: json.dumps(value) if isinstance(value, bool) else value
                for name, value in query.items()
                if value is not None
            },
            "headers": {k: str(v) for k, v in given.items() if k.lower() in _HEADERS_IN},
            "content": body,
            "timeout": _SECONDS,
        }

    def _watch(self) -> None:
        since = 0
        away = False
        while self._watching.is_set():
            try:
                answer = self._http.get(f"{self._url}/{API}/jobs", params={"since": since})
                answer.raise_for_status()
                listed = answer.json()
            except (httpx.HTTPError, ValueError):
                away = True
            else:
                if away:
                    self._send({"type": "away"}, [])
                away = False
                for job in listed["jobs"] if since else ():
                    told = ("id", "revision", "status", "progress", "message")
                    event = {name: job[name] for name in told}
                    self._send({"type": "job", "event": event}, [])
                since = listed["revision"]
            time.sleep(_POLL)


def server_of_this_kernel() -> tuple[str, httpx.Client]:
    """Address of the server that runs this kernel, and who may ask it.

    :raises InvalidInput: outside a server started by JupyterHub.
    """
    url = os.environ.get("JUPYTERHUB_SERVICE_URL", "")
    token = os.environ.get("JUPYTERHUB_API_TOKEN", "")
    if not url or not token:
        raise InvalidInput(
            "This is not a server started by C-SCALE Hub.",
            hint="Run it in a notebook of the hub.",
        )
    http = httpx.Client(headers={"Authorization": f"token {token}"}, timeout=60.0, trust_env=False)
    return url.rstrip("/"), http
