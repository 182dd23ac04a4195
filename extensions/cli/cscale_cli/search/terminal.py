"""Untrusted text for a terminal: no control sequences, no markup, cut to a width."""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len
from rich.text import Text

_ELLIPSIS = "…"
# Control characters, formatting characters (which can turn the direction of a line), surrogates,
# private use, line and paragraph separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def plain(text: object) -> str:
    """What a catalogue or a service wrote, on one line and without anything a terminal obeys."""
    spaced = " ".join(str(text).split())
    if spaced.isascii() and spaced.isprintable():
        return spaced
    return "".join("�" if unicodedata.category(c) in _UNPRINTABLE else c for c in spaced)


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
