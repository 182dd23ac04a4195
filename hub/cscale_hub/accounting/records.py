"""A record of use: who (under a pseudonym), for which VO, how much, from when to when.

A record's id is made of what it is about, so writing it twice changes nothing. People are known
by a keyed hash of their slug: the same person has the same pseudonym in every record, and only
who holds the hub's key can tell whose it is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal
from urllib.parse import unquote

Kind = Literal["server", "job"]

# AARC-G027 capability of EGI: urn:mace:egi.eu:res:c-scale:NAME:VALUE#AUTHORITY
_DECLARED = re.compile(r"urn:mace:egi\.eu:res:c-scale:([a-z-]+):([^:#\s]{1,64})(?:#\S*)?", re.I)
# Nothing that a spreadsheet would take for a formula, or a message for its end.
_PLAIN = re.compile(r"\w[\w .,&/()-]{0,63}")
_NAMES = {
    "user-category": "category",
    "country": "country",
    "research-field": "field",
    "user-function": "function",
}


@dataclass(frozen=True, slots=True)
class Attributes:
    """What C-SCALE's Virtual Access asks its users to declare, for statistics.

    The company and whether mail may be sent are declared too; they tell too much about one
    person, or nothing about use, and are not kept.
    """

    category: str = ""
    country: str = ""
    field: str = ""
    function: str = ""


def declared(entitlements: Iterable[str]) -> Attributes:
    """The attributes among somebody's entitlements; the first of each counts."""
    found: dict[str, str] = {}
    for value in entitlements:
        if (match := _DECLARED.fullmatch(value)) and (name := _NAMES.get(match[1].lower())):
            said = unquote(match[2])
            if _PLAIN.fullmatch(said):
                found.setdefault(name, said)
    return Attributes(**found)


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One server from start to stop, or one job.

    Times are seconds since 1970, UTC.

    :param machine: the server's or job's name.
    :param cpus: processors that were held.
    :param cpu_seconds: what a job measured; None: the processors for the whole time.
    :param seen: when it was last known to run.
    :param ended: None while it runs.
    """

    id: str
    kind: Kind
    person: str
    vo: str
    profile: str
    machine: str
    started: float
    seen: float
    ended: float | None = None
    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0
    cpu_seconds: float | None = None
    category: str = ""
    country: str = ""
    field: str = ""
    function: str = ""

    @property
    def end(self) -> float:
        """The end, or until when it is known to have run."""
        return self.seen if self.ended is None else self.ended

    @property
    def wall_seconds(self) -> float:
        return max(0.0, self.end - self.started)

    @property
    def cpu_hours(self) -> float:
        measured = self.cpu_seconds
        return (self.cpus * self.wall_seconds if measured is None else measured) / 3600

    @property
    def memory_gib_hours(self) -> float:
        return self.memory / 2**30 * self.wall_seconds / 3600

    @property
    def gpu_hours(self) -> float:
        return self.gpus * self.wall_seconds / 3600


COLUMNS = tuple(each.name for each in fields(UsageRecord))


def record_id(kind: Kind, *about: str) -> str:
    """The id of the record about this; the same each time."""
    return hashlib.sha256("\0".join((kind, *about)).encode()).hexdigest()[:40]


def pseudonym(key: bytes, slug: str) -> str:
    """The name of a person in records."""
    return "p" + hmac.new(key, slug.encode(), hashlib.sha256).hexdigest()[:24]
