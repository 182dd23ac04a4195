"""Untrusted text for a terminal: no control sequences, no markup, cut to a width."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text

from cscale_core.untrusted import plain

_ELLIPSIS = "…"


def written(text: object, style: str = "") -> Text:
    """The same as an object that rich prints as it is: brackets in it are no markup."""
    return Text(plain(text), style=style)


def shortened(text: str, width: int) -> str:
    """At most ``width`` cells; what is too long loses its middle.

    More is kept of the end: the ids of products begin alike and end with tile and time.
    """
    if cell_len(text) <= width:
        return text
    if width <= len(_ELLIPSIS):
        return _ELLIPSIS[:width]
    room = width - len(_ELLIPSIS)
    head = _cut(text, max(room // 4, 1))
    tail = _cut(text[::-1], room - cell_len(head))[::-1]
    return head + _ELLIPSIS + tail


def _cut(text: str, width: int) -> str:
    """The longest beginning of a text that fits into ``width`` cells."""
    used = 0
    for position, character in enumerate(text):
        used += cell_len(character)
        if used > width:
            return text[:position]
    return text
