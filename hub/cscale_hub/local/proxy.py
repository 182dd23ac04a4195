"""The proxy of the local federation: configurable-http-proxy from PyPI, with streams.

The routing table, its REST API and the error pages are the package's. Its handler is replaced,
because it reads each answer whole before passing it on (progress events would come all at once,
a big download would fill the memory), asks at most ten things at a time, gives up after 20 s,
decodes ``%2F`` in paths, and drops the WebSocket subprotocol that Jupyter kernels speak. TLS and
host-based routing are left out: it listens on loopback only. On a cluster the chart's proxy is
used instead.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
from typing import Any
from urllib.parse import unquote, urlsplit

from configurable_http_proxy.configproxy import PythonProxy
from configurable_http_proxy.handlers import ProxyHandler
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError
from tornado.web import Application
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    websocket_connect,
)

from cscale_hub.local.run import die_with_parent

MAX_UPLOAD_BYTES = 2**30
MAX_MESSAGE_BYTES = 2**30
# RFC 9110 section 7.6.1: these describe one connection, not the message.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class StreamingProxyHandler(ProxyHandler):  # type: ignore[misc]  # the package is not typed
    """Passes requests, answers and WebSocket messages on as they come."""

    client: AsyncHTTPClient
    ws_client: WebSocketClientConnection | None
    target: dict[str, Any] | None
    started = False

    async def get_target_url(self, path: str | None) -> str | None:
        """The upstream URL for this request, its path exactly as the client wrote it."""
        raw_path = urlsplit(self.request.uri).path
        self.target = self.proxy.target_for_req(None, unquote(raw_path))
        if self.target is None:
            await self.handle_proxy_error(404, err=None)
            return None
        base = str(self.target["target"]).rstrip("/")
        query = f"?{self.request.query}" if self.request.query else ""
        return f"{base}{raw_path}{query}"

    def _upstream_headers(self) -> HTTPHeaders:
        headers = HTTPHeaders()
        for name, value in self.request.headers.get_all():
            if name.lower() not in HOP_BY_HOP:
                headers.add(name, value)
        host = headers.get("Host", "")
        for name, value in (
            ("X-Forwarded-For", self.request.remote_ip),
            ("X-Forwarded-Proto", self.request.protocol),
            ("X-Forwarded-Port", host.rpartition(":")[2] if ":" in host else "80"),
            ("X-Forwarded-Host", host),
        ):
            # The proxy is the first hop: what a client claims here is not believed.
            headers[name] = value
        return headers

    def _take_head(self, line: str) -> None:
        """One line of the answer's head: status line, header or the empty line at the end."""
        line = line.rstrip("\r\n")
        if line.startswith("HTTP/"):
            parts = line.split(" ", 2)
            self.clear()
            self.set_status(int(parts[1]), parts[2] if len(parts) > 2 else None)
            for name in ("Server", "Content-Type", "Date"):
                self.clear_header(name)
        elif line:
            name, _, value = line.partition(":")
            if name.lower() not in HOP_BY_HOP:
                self.add_header(name.strip(), value.strip())

    def _take_chunk(self, chunk: bytes) -> Any:
        self.started = True
        self.write(chunk)
        # The future makes the upstream wait until the client has taken the chunk.
        return self.flush()

    async def call_proxy(self, path: str | None = None) -> None:
        """Ask upstream and pass the answer on piece by piece."""
        url = await self.get_target_url(path)
        if url is None:
            return
        request = HTTPRequest(
            url,
            method=self.request.method,
            headers=self._upstream_headers(),
            body=self.request.body or None,
            follow_redirects=False,
            allow_nonstandard_methods=True,
            decompress_response=False,
            connect_timeout=10.0,
            request_timeout=0,
            header_callback=self._take_head,
            streaming_callback=self._take_chunk,
        )
        try:
            await self.client.fetch(request, raise_error=False)
        except StreamClosedError:
            # The client went away, or upstream broke off in the middle of its answer: either way
            # nobody can be told any more but by the closed connection.
            if not self.started and not self.request.connection.stream.closed():
                await self._unavailable("the answer broke off")
            else:
                self.request.connection.stream.close()
            return
        except OSError as error:
            await self._unavailable(error)
            return
        if self.get_status() == 599:
            await self._unavailable("no answer")
            return
        self.finish()

    async def _unavailable(self, reason: object) -> None:
        if self.started:
            self.request.connection.stream.close()
            return
        self.clear()
        await self.handle_proxy_error(503, reason)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """The subprotocol that upstream chose: both ends must speak the same."""
        chosen = self.ws_client.selected_subprotocol if self.ws_client else None
        return chosen if chosen in subprotocols else None

    async def start_ws_client(self, path: str | None) -> None:
        """Open the WebSocket upstream; its answers go to the browser, and so does its end."""
        url = await self.get_target_url(path)
        if url is None:
            return
        headers = self._upstream_headers()
        for name in ("Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions"):
            headers.pop(name, None)
        request = HTTPRequest("ws" + url.removeprefix("http"), headers=headers, connect_timeout=10)
        try:
            self.ws_client = await websocket_connect(
                request, on_message_callback=self._from_upstream, max_message_size=MAX_MESSAGE_BYTES
            )
        except Exception as error:
            status = getattr(error, "code", 503)
            if isinstance(status, int) and 400 <= status < 500:
                self.set_status(status)
                self.finish()
                return
            await self._unavailable(error)

    async def on_message(self, message: str | bytes) -> None:
        """A message of the browser; binary stays binary (kernels speak binary frames)."""
        if self.ws_client is None:
            return
        if self.target:
            self.proxy.update_last_activity(self.target["prefix"])
        try:
            await self.ws_client.write_message(message, binary=isinstance(message, bytes))
        except WebSocketClosedError:
            self.close(1001)

    def _from_upstream(self, message: str | bytes | None) -> None:
        client: WebSocketClientConnection | None = self.ws_client
        if message is None:
            if self.ws_connection is not None:
                code = client.close_code if client else None
                # 1005 and 1006 are never sent (RFC 6455 section 7.4.1).
                self.close(code if code not in (None, 1005, 1006) else 1001)
            return
        if self.ws_connection is None:
            return  # the browser went away
        if self.target:
            self.proxy.update_last_activity(self.target["prefix"])
        future = self.write_message(message, binary=isinstance(message, bytes))
        # A browser that goes away while a message is on its way is no error.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())


def build(proxy: PythonProxy) -> Application:
    """The public side of the proxy."""
    StreamingProxyHandler.client = AsyncHTTPClient(
        force_instance=True, max_clients=2000, max_body_size=2**62
    )
    return Application(
        [(r"/(.*)", StreamingProxyHandler, {"proxy": proxy})],
        websocket_max_message_size=MAX_MESSAGE_BYTES,
        log_function=lambda handler: None,
    )


async def serve(options: argparse.Namespace) -> None:
    """Listen until SIGTERM or SIGINT."""
    proxy = PythonProxy(
        {"error_target": options.error_target, "auth_token": os.environ["CONFIGPROXY_AUTH_TOKEN"]}
    )
    public = HTTPServer(build(proxy), max_buffer_size=MAX_UPLOAD_BYTES)
    public.listen(options.port, options.ip)
    interface = HTTPServer(proxy.api_app)
    interface.listen(options.api_port, options.api_ip)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


def main() -> None:
    """Entry point; the options are those JupyterHub gives to configurable-http-proxy."""
    parser = argparse.ArgumentParser(prog="cscale_hub.local.proxy")
    parser.add_argument("--ip", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api-ip", required=True)
    parser.add_argument("--api-port", type=int, required=True)
    parser.add_argument("--error-target", required=True)
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--parent", type=int, help="stop when this process, the parent, ends")
    options = parser.parse_args()
    if {options.ip, options.api_ip} - {"127.0.0.1", "localhost"}:
        parser.error("listens on loopback only")
    if options.parent:
        die_with_parent(options.parent)
    logging.basicConfig(level=options.log_level.upper(), format="%(levelname)s proxy %(message)s")
    logging.getLogger("configurable_http_proxy").setLevel(logging.WARNING)
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
