"""Untrusted text for a terminal: on one line, and nothing in it that a terminal obeys."""

from __future__ import annotations

import unicodedata

# Control characters, formatting characters (which can turn the direction of a line), surrogates,
# private use, line and paragraph separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def plain(text: object) -> str:
    """What a catalogue or a service wrote, on one line and without anything a terminal obeys."""
    spaced = " ".join(str(text).split())
    if spaced.isascii() and spaced.isprintable():
        return spaced
    return "".join("�" if unicodedata.category(c) in _UNPRINTABLE else c for c in spaced)
