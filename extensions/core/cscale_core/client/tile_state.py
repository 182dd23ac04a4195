"""What is known of one tile of a map, and how its jobs are named so that they are found again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cscale_core.client.job import Job
from cscale_core.jobs.model import JobStatus

if TYPE_CHECKING:
    from cscale_core.client.areas import Tile

WAITING = "waiting"
_TITLE = re.compile(r"(?P<name>.*?): (?P<tile>.*?)(?: \(try (?P<number>\d+)\))?")


class TileState:
    """A tile and its job, the newest where it was tried more than once.

    :ivar tries: how many jobs there were.
    :ivar allowed: how many there may be.
    :ivar again: it is to be done again, though its job was stopped on purpose.
    :ivar chosen: where its next job is being submitted: a second attempt goes there, too.
    :ivar given_up: why it is not tried again; empty while it is.
    """

    def __init__(self, tile: Tile) -> None:
        self.tile = tile
        self.job: Job | None = None
        self.tries = 0
        self.allowed = 1
        self.again = False
        self.chosen: str | None = None
        self.given_up = ""

    @property
    def id(self) -> str:
        return self.tile.id

    @property
    def status(self) -> str:
        """That of its job, or ``waiting`` where one is still to be submitted."""
        if self.job is None:
            return "error" if self.given_up else WAITING
        if self.due:
            return WAITING
        return str(self.job.status)

    @property
    def settled(self) -> bool:
        """Whether nothing more is done for it."""
        done = self.job is not None and self.job.status == JobStatus.FINISHED
        return done or bool(self.given_up)

    @property
    def due(self) -> bool:
        """Whether a job is to be submitted for it."""
        return not self.settled and (self.job is None or self.job.ended)

    @property
    def why(self) -> str:
        """Why it failed; empty when it did not."""
        return self.given_up

    def adopt(self, job: Job, number: int) -> None:
        """This is its newest job."""
        self.job, self.tries = job, number
        self.again, self.chosen = False, None

    def give_up(self, why: str) -> None:
        """It is not tried again."""
        if not self.settled:
            self.given_up = why

    def __repr__(self) -> str:
        why = f": {self.given_up}" if self.given_up else ""
        return f"<Tile {self.id} {self.status}{why}>"


def title_of(name: str, tile_id: str, number: int) -> str:
    """The title of a tile's job."""
    return f"{name}: {tile_id}" + (f" (try {number})" if number > 1 else "")


def key_of(name: str, tile_id: str, content: str, number: int) -> str:
    """The idempotency key of a tile's job: the same wherever and whenever it is submitted."""
    digest = hashlib.sha256("\n".join((name, tile_id, content)).encode()).hexdigest()
    return f"map-{digest}-{number}"


def tries_by_title(name: str, jobs: Iterable[Job]) -> dict[str, dict[int, Job]]:
    """The jobs of a map, by tile and by the number of the try."""
    found: dict[str, dict[int, Job]] = {}
    for job in jobs:
        match = _TITLE.fullmatch(job.title)
        if match is not None and match["name"] == name:
            found.setdefault(match["tile"], {})[int(match["number"] or 1)] = job
    return found
