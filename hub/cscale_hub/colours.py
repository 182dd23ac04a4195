"""Colours of the hub's pages: what can be read on what (WCAG 2.2, 1.4.3)."""

from __future__ import annotations

import re

READABLE = 4.5
"""Contrast that words need against what is under them."""


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``, 0 to 1 (WCAG 2.2, "relative luminance")."""
    parts = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """Contrast of two colours, 1 to 21."""
    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def darker(colour: str, part: float = 0.85) -> str:
    """The colour with this part of its light, for a button under the pointer."""
    return "#" + "".join(
        f"{round(int(colour[start : start + 2], 16) * part):02x}" for start in (1, 3, 5)
    )


def check_accent(value: str) -> str:
    """A colour on which white letters can be read.

    :raises ValueError: when it is no colour or too light.
    """
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise ValueError("must look like #1a5fb4")
    if (found := contrast(value, "#ffffff")) < READABLE:
        raise ValueError(
            f"is too light for white letters: {found:.1f}:1, at least {READABLE}:1 is needed"
        )
    return value.lower()
