"""A server of files by ranges on loopback, as an archive is, for tests of layers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tornado import web
from tornado.httpserver import HTTPServer


class Files:
    """Files by name; ``asked`` are the paths and ranges that were asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.status: dict[str, int] = {}
        self.redirects: dict[str, str] = {}
        self.whole: set[str] = set()
        self.url = ""


class _Handler(web.RequestHandler):
    def initialize(self, files: Files) -> None:
        self.files = files

    def get(self, name: str) -> None:
        asked = self.request.headers.get("Range", "")
        self.files.asked.append((name, asked))
        if name in self.files.redirects:
            self.redirect(self.files.redirects[name])
            return
        if name in self.files.status:
            self.set_status(self.files.status[name])
            return
        data = self.files.files.get(name)
        if data is None:
            raise web.HTTPError(404)
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
        if match is None or name in self.files.whole:
            self.finish(data)
            return
        start, end = int(match[1]), min(int(match[2]) + 1, len(data))
        self.set_status(206)
        self.set_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.finish(data[start:end])


@asynccontextmanager
async def file_server() -> AsyncIterator[Files]:
    """Runs on the loop of the test."""
    files = Files()
    server = HTTPServer(web.Application([(r"/(.*)", _Handler, {"files": files})]))
    server.listen(0, "127.0.0.1")
    port = next(iter(server._sockets.values())).getsockname()[1]
    files.url = f"http://127.0.0.1:{port}"
    try:
        yield files
    finally:
        server.stop()
        await server.close_all_connections()
