"""The log of a job: lines from a cursor on, followed by long polls, folded for the eye."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator

from cscale_core.client import html
from cscale_core.client.connection import Connection, quoted
from cscale_core.client.job import PATIENCE as _PATIENT
from cscale_core.client.job import Job
from cscale_core.client.screens import say
from cscale_core.client.watching import GROWTH, LONGEST, PATIENCE, SHORTEST
from cscale_core.client.words import no_log_yet
from cscale_core.errors import CScaleError
from cscale_core.jobs.model import LogLine
from cscale_core.untrusted import plain

#: Seconds for which the server holds a question until there is a new line.
_HOLD = 20.0
_PAGE = 2000


class Log:
    """The lines of a job's log; each iteration begins anew.

    Give ``for`` what is needed to follow it, or leave it to the notebook to show it.
    """

    def __init__(
        self, connection: Connection, job: Job, *, follow: bool, level: str, tail: int | None
    ) -> None:
        self._connection = connection
        self._job = job
        self._follow = follow
        self._level = level
        self._tail = tail
        self._after = 0

    def __iter__(self) -> Iterator[LogLine]:
        self._after = 0
        so_far = self._so_far()
        yield from so_far if self._tail is None else deque(so_far, self._tail)
        if self._follow:
            if self._after == 0:
                say(self.why_empty())
            yield from self._new()

    async def __aiter__(self) -> AsyncIterator[LogLine]:
        lines = iter(self)
        while (line := await asyncio.to_thread(next, lines, None)) is not None:
            yield line

    def _so_far(self) -> Iterator[LogLine]:
        while lines := self._ask(patience=_PATIENT):
            yield from lines

    def _new(self) -> Iterator[LogLine]:
        """Until the job has ended and nothing is left. A server that is away is waited for."""
        away_since: float | None = None
        pause = SHORTEST
        while True:
            try:
                ended = self._job.refresh().ended
                asked = time.monotonic()
                lines = self._ask(0.0 if ended else _HOLD)
            except CScaleError as error:
                away_since = time.monotonic() if away_since is None else away_since
                if not error.retryable or time.monotonic() - away_since > PATIENCE:
                    raise
                time.sleep(pause)
                pause = min(pause * GROWTH, LONGEST)
                continue
            away_since = None
            yield from lines
            if ended and not lines:
                return
            # A job may rest or the server may not hold the question: never ask without a pause.
            if not lines and time.monotonic() - asked < SHORTEST:
                time.sleep(pause)
                pause = min(pause * GROWTH, LONGEST)
            else:
                pause = SHORTEST

    def _ask(self, hold: float = 0.0, patience: float = 0.0) -> list[LogLine]:
        question = {"after": self._after, "limit": _PAGE, "level": self._level, "wait": hold}
        path = f"jobs/{quoted(self._job.id)}/logs"
        answer = self._connection.call("GET", path, params=question, patience=patience)
        self._after = int(answer["next"])
        return [LogLine.model_validate(line) for line in answer["logs"]]

    def why_empty(self) -> str:
        """Why there are no lines yet."""
        return no_log_yet(self._job.status, self._level)

    def __str__(self) -> str:
        return "\n".join(map(written, folded(self._now()))) or self.why_empty()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        lines = list(folded(self._now()))
        return html.log_lines(lines, self._job.status, self._level)

    def _now(self) -> Iterable[LogLine]:
        """What there is, without following."""
        log = Log(self._connection, self._job, follow=False, level=self._level, tail=self._tail)
        return iter(log)


def folded(lines: Iterable[LogLine]) -> Iterator[tuple[LogLine, int]]:
    """Lines that follow each other and say the same as one, with how often."""
    first: LogLine | None = None
    times = 0
    for line in lines:
        if first is not None and (line.level, line.message) == (first.level, first.message):
            times += 1
            continue
        if first is not None:
            yield first, times
        first, times = line, 1
    if first is not None:
        yield first, times


def written(entry: tuple[LogLine, int]) -> str:
    """A folded line as text."""
    line, times = entry
    said = "\n    ".join(plain(part) for part in line.message.splitlines()) or ""
    often = f"  (×{times:,})" if times > 1 else ""
    return f"{line.time:%H:%M:%S} {line.level:<7} {said}{often}"
