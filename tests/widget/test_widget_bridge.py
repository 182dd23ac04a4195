"""The kernel's end of the panel in pages that cannot reach the server themselves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from cscale_widget.bridge import Bridge
from tests.waiting import until


class Server:
    """Answers what a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Callable[[str], tuple[int, list[bytes]]] = lambda _: (200, [b"{}"])
        self.hold = threading.Event()
        self.hold.set()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/user/u"

    def close(self) -> None:
        self.hold.set()
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.asked.append((self.command, self.path, dict(self.headers), body))
                status, pieces = server.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Set-Cookie", "secret=1")
                self.end_headers()
                for piece in pieces:
                    try:
                        self.wfile.write(piece)
                        self.wfile.flush()
                    except OSError:
                        return  # who asked has gone
                    server.hold.wait(20)

            def do_GET(self) -> None:
                self._take()

            def do_POST(self) -> None:
                self._take()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        return Handler


class Page:
    """What the browser is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[dict[str, Any], list[bytes]]] = []

    def send(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        self.sent.append((message, buffers))

    def wait(self, *kinds: str) -> dict[str, Any]:
        def came() -> list[dict[str, Any]]:
            return [message for message, _ in self.sent if message["type"] in kinds]

        return until(came, " or ".join(kinds), 20, beside=lambda: self.sent, pause=0.01)[0]

    @property
    def body(self) -> bytes:
        pieces = [buffers[0] for message, buffers in self.sent if message["type"] == "body"]
        return b"".join(pieces)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.fixture
def bridge(server: Server, page: Page) -> Iterator[Bridge]:
    headers = {"Authorization": "token secret"}
    with httpx.Client(headers=headers, trust_env=False) as http:
        made = Bridge(server.url, http, page.send)
        yield made
        made.close()


def request(**changes: Any) -> dict[str, Any]:
    return {"type": "request", "id": 1, "method": "GET", "path": "jobs", **changes}


def test_answer_is_carried_with_its_status_and_body(
    server: Server, page: Page, bridge: Bridge
) -> None:
    server.answer = lambda _: (404, [b'{"code": ', b'"not_found"}'])
    bridge.take(
        request(
            method="POST",
            path="catalog/items/a%7Cb",
            query={"since": 0, "whole": True, "level": None},
            headers={"Accept": "application/json", "Cookie": "x", "Idempotency-Key": "k"},
            body='{"a": 1}',
        ),
        [],
    )
    page.wait("end")
    assert page.wait("head")["status"] == 404
    assert json.loads(page.body) == {"code": "not_found"}
    method, path, headers, body = server.asked[0]
    assert (method, body) == ("POST", b'{"a": 1}')
    assert path == "/user/u/cscale/api/v1/catalog/items/a%7Cb?since=0&whole=true"
    assert headers["Authorization"] == "token secret"
    assert headers["Idempotency-Key"] == "k"
    assert "Cookie" not in headers


def test_page_is_told_no_cookie_and_no_token(server: Server, page: Page, bridge: Bridge) -> None:
    bridge.take(request(), [])
    page.wait("end")
    assert "secret" not in json.dumps([message for message, _ in page.sent])


@pytest.mark.parametrize(
    "path",
    ["../../api/contents", "jobs/../../../hub", "/etc", "https://example.org/", "jobs?x=1", ""],
)
def test_nothing_else_of_the_server_can_be_reached(
    server: Server, page: Page, bridge: Bridge, path: str
) -> None:
    bridge.take(request(path=path), [])
    page.wait("failed")
    assert server.asked == []


def test_unknown_method_is_refused(server: Server, page: Page, bridge: Bridge) -> None:
    bridge.take(request(method="TRACE"), [])
    page.wait("failed")
    assert server.asked == []


def test_lines_come_while_the_answer_goes_on_and_can_be_given_up(
    server: Server, page: Page, bridge: Bridge
) -> None:
    server.hold.clear()
    server.answer = lambda _: (200, [b'{"type": "items"}\n', b'{"type": "page"}\n'])
    bridge.take(request(method="POST", path="catalog/search", body="{}"), [])
    page.wait("body")
    assert page.body == b'{"type": "items"}\n'
    bridge.take({"type": "cancel", "id": 1}, [])
    server.hold.set()
    bridge.take(request(id=2), [])
    until(
        lambda: any(m["type"] == "end" and m["id"] == 2 for m, _ in page.sent),
        "the end of the second",
        20,
        pause=0.01,
    )
    assert not any(m["type"] == "end" and m["id"] == 1 for m, _ in page.sent)


def test_server_that_is_gone_is_a_failure_in_words(page: Page) -> None:
    with httpx.Client(trust_env=False) as http:
        bridge = Bridge("http://127.0.0.1:1", http, page.send)
        bridge.take(request(), [])
        assert page.wait("failed")["message"]
        bridge.close()


def test_jobs_that_change_are_told(server: Server, page: Page, bridge: Bridge) -> None:
    job = {"id": "j", "revision": 2, "status": "running", "progress": 0.5, "message": "m"}

    def answer(path: str) -> tuple[int, list[bytes]]:
        first = "since=0" in path
        listed = {"jobs": [] if first else [job], "revision": 1 if first else 2}
        return 200, [json.dumps(listed).encode()]

    server.answer = answer
    bridge.watch_jobs()
    assert page.wait("job")["event"] == job
