"""Long answers come compressed to who reads gzip, and each line can be read when it is sent."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from cscale_server.routes.base import CScaleHandler
from cscale_server.routes.compression import SMALLEST, Compressor, takes_gzip


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("gzip, deflate, br", True),
        ("br;q=1.0, gzip;q=0.8", True),
        ("GZIP", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("identity", False),
        ("", False),
    ],
)
def test_who_reads_gzip_says_so(accepted: str, takes: bool) -> None:
    assert takes_gzip(accepted) is takes


def test_each_line_can_be_read_as_soon_as_it_is_sent() -> None:
    compressor, reader = Compressor(), zlib.decompressobj(31)
    lines = [json.dumps({"number": number}).encode() + b"\n" for number in range(3)]
    for line in lines:
        assert reader.decompress(compressor.piece(line)) == line
    assert reader.decompress(compressor.last()) == b""
    assert reader.eof


def test_a_whole_answer_is_one_piece() -> None:
    data = b"footprint " * SMALLEST
    packed = Compressor().last(data)
    assert gzip.decompress(packed) == data
    assert len(packed) < len(data) / 20


class Answering(CScaleHandler):
    """Answers with what a test wants, without a server."""

    def __init__(self, accepted: str) -> None:
        self.request = type("Request", (), {"headers": {"Accept-Encoding": accepted}})()
        self.sent = b""
        self.headers: dict[str, Any] = {}

    def set_header(self, name: str, value: Any) -> None:
        self.headers[name] = value

    def set_status(self, status: int, reason: str | None = None) -> None:
        pass

    def finish(self, chunk: Any = None, **_: Any) -> Any:
        self.sent = chunk


@pytest.mark.parametrize(
    ("length", "accepted", "packed"),
    [(SMALLEST, "gzip", True), (SMALLEST, "identity", False), (10, "gzip", False)],
)
def test_only_long_answers_are_compressed(length: int, accepted: str, packed: bool) -> None:
    handler = Answering(accepted)
    handler.answer(["x" * length])
    assert handler.headers.get("Content-Encoding") == ("gzip" if packed else None)
    data = gzip.decompress(handler.sent) if packed else handler.sent
    assert json.loads(data) == ["x" * length]
