"""What was found in one place of a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]
"""A warning takes something away, or will become a problem; with a problem something essential
does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :param part: which part of the deployment it is about.
    :param found: what there is, in one sentence.
    :param advice: what to do; nothing where all is well.
    """

    part: str
    status: Status
    found: str
    advice: str = ""


def ok(part: str, found: str) -> Finding:
    return Finding(part, "ok", found)


def warning(part: str, found: str, advice: str) -> Finding:
    return Finding(part, "warning", found, advice)


def problem(part: str, found: str, advice: str) -> Finding:
    return Finding(part, "problem", found, advice)
