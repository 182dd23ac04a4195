"""Notebooks that want to do something to who looks at them, or to break what shows them."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from cscale_core.errors import DamagedData, InvalidInput
from cscale_core.notebooks import documents, pictures
from cscale_core.notebooks.preview import markdown, preview
from tests.core.notebooks.doubles import code, notebook, output, picture_output, png
from tests.core.notebooks.doubles import markdown as markdown_cell

# fmt: off
HARMLESS = {
    "a", "blockquote", "br", "code", "dd", "del", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5",
    "h6", "hr", "i", "b", "kbd", "li", "ol", "p", "pre", "s", "strong", "sub", "sup", "table",
    "tbody", "td", "th", "thead", "tr", "ul",
}
PIECES = [
    "<", ">", "script", "img", " onerror=", "alert(1)", '"', "'", "`", "](", "[", "!", "\n",
    "javascript:", "<!--", "-->", "svg", "style", "a href=", "&#x", ";", "|", "-", "*",
]
# fmt: on


class Seen(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[tuple[str, str, str]] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.add(tag)
        self.attributes |= {(tag, name, value or "") for name, value in attrs}


def assert_harmless(html: str) -> None:
    seen = Seen(html)
    assert seen.elements <= HARMLESS
    for element, name, value in seen.attributes:
        assert (element, name) in {
            ("a", "href"),
            ("a", "title"),
            ("a", "rel"),
            ("td", "colspan"),
            ("th", "colspan"),
        }, (element, name)
        if name == "href":
            assert value.lower().startswith(("http://", "https://", "mailto:"))


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![x](https://tracker.example/pixel.png)",
        "![x](javascript:alert(1))",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](java\nscript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](vbscript:x)",
        "[x](//evil.example/)",
        "[x](/user/me/api/contents)",
        "[x](../../hub/logout)",
        '<a href="&#106;avascript:alert(1)">x</a>',
        '<a href="https://x.example" onclick="alert(1)" style="position:fixed">x</a>',
        '<svg onload="alert(1)"><script>alert(1)</script></svg>',
        "<svg><style><img src=x onerror=alert(1)></style></svg>",
        '<math><mtext><table><mglyph><style><img src=x onerror="alert(1)">',
        "<iframe srcdoc='<script>parent.x()</script>'></iframe>",
        "<form action=https://evil.example><input name=password></form>",
        "<style>body{display:none}</style>",
        "<link rel=stylesheet href=//evil.example>",
        "<base href=//evil.example>",
        "<meta http-equiv=refresh content=0;url=//evil.example>",
        "<object data=x></object><embed src=x>",
        "<div style='position:fixed;inset:0'>log in again</div>",
        "<!--><script>alert(1)</script>-->",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        "<a href='https://x.example'><b><script>",
        "```html\n<script>alert(1)</script>\n```",
        "| <script>x</script> | b |\n|-|-|\n| <img src=x onerror=y> | 2 |",
        "<x-widget onfocus=alert(1) autofocus tabindex=1>",
        "<p class='jp-mod' id='main' data-jupyter='x'>x</p>",
    ],
)
def test_markdown_is_left_with_nothing_that_acts(text: str) -> None:
    assert_harmless(markdown(text))


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_whatever_is_written_it_is_left_with_nothing_that_acts(parts: list[str]) -> None:
    assert_harmless(markdown("".join(parts)))


def test_what_is_harmless_is_kept() -> None:
    html = markdown("# Lake\n\n**x** [open](https://openeo.org)\n\n|a|b|\n|-|-|\n|1|2|\n")
    for part in ("<h1>Lake</h1>", "<strong>x</strong>", 'href="https://openeo.org"', "<table>"):
        assert part in html
    assert 'rel="noopener noreferrer nofollow"' in html


def test_of_outputs_text_and_pixels_are_shown_and_the_rest_is_named() -> None:
    made = notebook(
        code(
            "show()",
            output(**{"text/html": "<script>alert(1)</script>"}),
            output(**{"image/svg+xml": "<svg onload=alert(1)>"}),
            output(**{"application/javascript": "alert(1)"}),
            output(**{"application/vnd.jupyter.widget-view+json": {"model_id": "x"}}),
            output(**{"text/html": "<b>x</b>", "text/plain": "plain\x1b[31m red"}),
            picture_output(png()),
            {"output_type": "stream", "name": "stdout", "text": ["a\n", "b"]},
            {
                "output_type": "error",
                "ename": "ValueError",
                "evalue": "<img src=x>",
                "traceback": ["\x1b[0;31mone", "two"],
            },
        )
    )
    (cell,) = preview(made).cells
    kinds = [one.kind for one in cell.outputs]
    assert kinds == ["left_out"] * 4 + ["text", "picture", "text", "error"]
    assert "text/html" in cell.outputs[0].text
    assert cell.outputs[4].text == "plain red"
    assert base64.b64decode(cell.outputs[5].picture).startswith(b"\x89PNG")
    assert cell.outputs[6].text == "a\nb"
    assert cell.outputs[7].text == "one\ntwo"
    assert cell.html == ""


def test_a_huge_notebook_is_shown_in_part_and_says_so() -> None:
    many = preview(notebook(*(code(f"x{number}") for number in range(1000))))
    assert (len(many.cells), many.cut) == (200, True)
    long = preview(notebook(*(code("y" * 50_000) for _ in range(100))))
    assert long.cut
    assert sum(len(cell.source) for cell in long.cells) <= 500_000
    flood = preview(notebook(code("x", *[output(**{"text/plain": "z" * 50_000})] * 500)))
    assert flood.cut
    assert len(flood.cells[0].outputs) == 20
    pictured = preview(notebook(*(code(str(n), picture_output(png())) for n in range(30))))
    assert sum(bool(cell.outputs[0].picture) for cell in pictured.cells) == 12


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG that is small and says it is large."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\x00" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (_chunk(b"IHDR", head), _chunk(b"IDAT", data), _chunk(b"IEND", b""))
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"\x89PNG\r\n\x1a\n",
        png()[:200],
        bomb(30_000, 30_000),
        bomb(2**31 - 1, 2**31 - 1),
        bomb(0, 5),
        bytes(pictures.MAX_BYTES + 1),
    ],
)
def test_a_picture_that_is_none_is_left_out(data: bytes) -> None:
    with pytest.raises(DamagedData):
        pictures.drawn_anew(data)
    (cell,) = preview(notebook(code("x", picture_output(data)))).cells
    assert cell.outputs[0].kind in ("left_out", "text")


def test_of_a_picture_only_the_pixels_are_kept() -> None:
    told = b"tEXtComment\x00<script>alert(1)</script>"
    hidden = png()[:33] + _chunk(told[:4], told[4:]) + png()[33:] + b"<script>trailer</script>"
    drawn = pictures.drawn_anew(hidden)
    assert b"script" not in drawn
    assert len(drawn) < 5_000


def test_a_picture_that_cannot_be_drawn_gives_way_to_the_next() -> None:
    made = notebook(code("x", picture_output(b"no"), picture_output(png())))
    assert pictures.first_of(made) is not None
    assert pictures.first_of(notebook(code("x"))) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00",
        b'{"cells": [], "metadata": {}, "nbformat": 4}',
        b'{"cells": "x", "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        b'{"cells": [{"cell_type": "evil"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        b'{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": 5}',
        b"null",
        b"[[[[" * 100_000,
        json.dumps(notebook(markdown_cell("half a character: \ud800"))).encode(),
        bytes(documents.MAX_NOTEBOOK + 1),
    ],
)
def test_what_is_no_notebook_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(DamagedData):
        documents.read(data)


def test_an_old_notebook_is_read() -> None:
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": "x"},
        "worksheets": [
            {
                "cells": [
                    {
                        "cell_type": "code",
                        "input": "1",
                        "outputs": [],
                        "language": "python",
                        "metadata": {},
                        "prompt_number": 1,
                        "collapsed": False,
                    }
                ],
                "metadata": {},
            }
        ],
    }
    (cell,) = preview(documents.read(json.dumps(old).encode())).cells
    assert cell.source == "1"


def test_what_is_no_notebook_is_not_published() -> None:
    with pytest.raises(InvalidInput, match="not a valid notebook"):
        documents.write({"cells": [{"cell_type": "code"}], "metadata": {}})


def test_a_preview_is_always_json() -> None:
    strange = "\x00\x1b[31m\u202e\ufffe\U0001f986"
    made = notebook(code(strange, output(**{"text/plain": strange})), markdown_cell(strange))
    assert json.loads(to_json(preview(documents.read(json.dumps(made).encode()))))


def test_marks_of_trust_do_not_travel() -> None:
    made = notebook(code("x"), signature="abc", trusted=True)
    made["cells"][0]["metadata"] = {"trusted": True}
    text = json.dumps(documents.private_copy(made, "a|b|c", 1, "2026-01-01"))
    assert "trusted" not in text
    assert "signature" not in text


@pytest.mark.parametrize("kept", [None, 5, "x", [], {"opened": 5}, {"opened": {"ref": 5}}])
def test_provenance_that_is_none_is_no_obstacle(kept: Any) -> None:
    made = notebook(code("x"), cscale=kept)
    assert documents.opened_from(made) == ""
    copy = documents.private_copy(made, "a|b|c", 1, "2026-01-01")
    assert documents.opened_from(copy) == "a|b|c version 1"
