"""An archive's file server that sends a file as fast or slowly as a test wants, and counts."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cscale_hub.local.archive import simulate

_PIECE = 64 * 1024


class SlowSource:
    """One file at ``/product.bin``, with ranges.

    :ivar data: what the file holds.
    :ivar sent: from where to where bytes were handed to the network, an entry for each request.
    """

    def __init__(self, size: int, hold_at: int) -> None:
        self.data = hashlib.shake_256(b"a product").digest(size)
        self.sent: list[list[int]] = []
        self._hold_at = hold_at
        self._free = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/product.bin"

    def item(self, name: str, **asset: Any) -> dict[str, Any]:
        """A STAC item of it.

        :param asset: what its asset shall have else, or otherwise.
        """
        west, south, east, north = simulate.BBOX
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        product = {
            "href": self.url,
            "type": "application/octet-stream",
            "roles": ["data"],
            "file:size": len(self.data),
            "file:checksum": "1220" + hashlib.sha256(self.data).hexdigest(),
        }
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": [],
            "id": name,
            "collection": "slow-products",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "bbox": list(simulate.BBOX),
            "properties": {"datetime": "2026-01-01T00:00:00Z"},
            "links": [],
            "assets": {"product": product | asset},
        }

    @property
    def farthest(self) -> int:
        """The byte after the last that was sent."""
        with self._lock:
            return max((end for _, end in self.sent), default=0)

    def let_go(self) -> None:
        """Hold no longer."""
        self._free.set()

    def times_sent(self, position: int) -> int:
        """How often the byte at a position was handed to the network."""
        with self._lock:
            return sum(start <= position < end for start, end in self.sent)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._begin()

            def do_GET(self) -> None:
                start, end = self._begin()
                entry = [start, start]
                with source._lock:
                    source.sent.append(entry)
                while entry[1] < end:
                    held = entry[1] >= source._hold_at and not source._free.is_set()
                    if held:
                        # A little now and then, as from an archive that is overloaded.
                        source._free.wait(0.5)
                    piece = source.data[entry[1] : min(end, entry[1] + (512 if held else _PIECE))]
                    try:
                        self.wfile.write(piece)
                    except OSError:
                        return  # who asked has gone
                    with source._lock:
                        entry[1] += len(piece)

            def _begin(self) -> tuple[int, int]:
                size = len(source.data)
                match = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", ""))
                start, end = 0, size
                if match:
                    start = int(match[1])
                    end = min(size, int(match[2]) + 1) if match[2] else size
                self.send_response(206 if match else 200)
                if match:
                    self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(end - start))
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("ETag", f'"{hashlib.sha256(source.data).hexdigest()[:16]}"')
                self.end_headers()
                return start, end

            def log_message(self, *_: object) -> None:
                """Quiet."""

        return Handler


@contextmanager
def slow_source(size: int, hold_at: int) -> Iterator[SlowSource]:
    """A running source, which sends slowly from a byte on until it is let go."""
    source = SlowSource(size, hold_at)
    thread = threading.Thread(target=source._server.serve_forever, daemon=True)
    thread.start()
    try:
        yield source
    finally:
        source.let_go()
        source._server.shutdown()
        source._server.server_close()
