"""Values of others as Python source: always a literal, never a name, a call or the end of one."""

from __future__ import annotations

import json
import pprint
from collections.abc import Iterable
from typing import Any

from cscale_core.untrusted import plain

_WIDTH = 88


def literal(value: Any) -> str:
    """A JSON value as a Python literal, in ASCII.

    What is no JSON value raises, so that nothing with a ``repr`` of its own gets in.
    """
    checked = json.loads(json.dumps(value, allow_nan=False))
    text = pprint.pformat(checked, width=_WIDTH, sort_dicts=False)
    return text.encode("ascii", "backslashreplace").decode("ascii")


def listed(values: Iterable[str]) -> str:
    """Texts as a list with one on each line."""
    lines = [f"    {literal(value)},\n" for value in values]
    return "[\n" + "".join(lines) + "]"


def comment(text: str) -> str:
    """Text as one line of comment."""
    return f"# {plain(text)[:200]}".rstrip()
