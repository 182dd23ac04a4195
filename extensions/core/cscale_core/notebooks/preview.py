"""A notebook to look at, before it is opened: nothing in it runs, loads or reaches anything.

Code is text. Markdown becomes HTML of a few harmless elements: no styles, no scripts, no pictures
from elsewhere, links only to other sites. Of outputs, text and pixels are shown; HTML, widgets and
programs are left out and said to be.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import mistune
import nh3

from cscale_core.errors import DamagedData
from cscale_core.notebooks.answers import Preview, PreviewCell, PreviewOutput
from cscale_core.notebooks.documents import Notebook, text_of
from cscale_core.notebooks.pictures import LARGE, drawn_anew, of_output

_MOST_CELLS = 200
_MOST_OUTPUTS = 20
_MOST_PICTURES = 12
_LONGEST_SOURCE = 20_000
_LONGEST_OUTPUT = 10_000
_LONGEST = 500_000

# fmt: off
_ELEMENTS = {
    "a", "blockquote", "br", "code", "dd", "del", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5",
    "h6", "hr", "i", "b", "kbd", "li", "ol", "p", "pre", "s", "strong", "sub", "sup", "table",
    "tbody", "td", "th", "thead", "tr", "ul",
}
# fmt: on
_ATTRIBUTES = {"a": {"href", "title"}, "td": {"colspan"}, "th": {"colspan"}}
_ELSEWHERE = re.compile(r"(https?://|mailto:)", re.IGNORECASE)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _only_elsewhere(element: str, attribute: str, value: str) -> str | None:
    return None if attribute == "href" and not _ELSEWHERE.match(value.strip()) else value


def sanitised(html: str) -> str:
    """Foreign HTML, reduced to elements that can do nothing."""
    return nh3.clean(
        html,
        tags=_ELEMENTS,
        attributes=_ATTRIBUTES,
        attribute_filter=_only_elsewhere,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )


def markdown(text: str) -> str:
    """Foreign Markdown as sanitised HTML."""
    try:
        html = mistune.create_markdown(escape=False, plugins=["table", "strikethrough"])(text)
    except (RecursionError, ValueError, IndexError):
        return ""  # its source is shown
    return sanitised(html) if isinstance(html, str) else ""


class _Budget:
    """How much more is shown."""

    def __init__(self) -> None:
        self.text = _LONGEST
        self.pictures = _MOST_PICTURES
        self.cut = False

    def take(self, text: str, longest: int) -> str:
        taken = text[: min(longest, self.text)]
        self.cut |= len(taken) < len(text)
        self.text -= len(taken)
        return taken


def _output(output: dict[str, Any], budget: _Budget) -> PreviewOutput:
    if output.get("output_type") == "error":
        lines = (str(line) for line in output.get("traceback") or ())
        text = "\n".join(lines) or f"{output.get('ename')}: {output.get('evalue')}"
        return PreviewOutput(kind="error", text=budget.take(_ANSI.sub("", text), _LONGEST_OUTPUT))
    data = output.get("data") or {}
    picture = of_output(data)
    if picture is not None and budget.pictures:
        budget.pictures -= 1
        try:
            pixels = base64.b64encode(drawn_anew(picture, LARGE)).decode()
            return PreviewOutput(kind="picture", picture=pixels)
        except DamagedData as error:
            return PreviewOutput(kind="left_out", text=error.message)
    text = text_of(output.get("text")) or text_of(data.get("text/plain"))
    rich = sorted(name for name in data if name != "text/plain")
    if rich and not text:
        names = ", ".join(name[:60] for name in rich[:3])
        return PreviewOutput(kind="left_out", text=f"Not shown in a preview: {names}.")
    return PreviewOutput(kind="text", text=budget.take(_ANSI.sub("", text), _LONGEST_OUTPUT))


def preview(notebook: Notebook) -> Preview:
    """What of a notebook can be shown to somebody who does not trust it."""
    budget = _Budget()
    cells: list[PreviewCell] = []
    every = notebook.get("cells", [])
    for cell in every[:_MOST_CELLS]:
        kind = cell.get("cell_type")
        source = budget.take(text_of(cell.get("source")), _LONGEST_SOURCE)
        outputs = cell.get("outputs", [])
        budget.cut |= len(outputs) > _MOST_OUTPUTS
        cells.append(
            PreviewCell(
                kind=kind if kind in ("code", "markdown") else "raw",
                source=source,
                html=markdown(source) if kind == "markdown" else "",
                outputs=[_output(output, budget) for output in outputs[:_MOST_OUTPUTS]],
            )
        )
    return Preview(cells=cells, cut=budget.cut or len(every) > _MOST_CELLS)
