"""Waiting for one job: a bar that can be interrupted, and attached to again from anywhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cscale_core.client import html
from cscale_core.client.connection import Connection
from cscale_core.client.job import PATIENCE, Job, Progress
from cscale_core.client.screens import Screen, screen
from cscale_core.client.watching import Watch
from cscale_core.client.words import MEANINGS, counted, duration, how_far, size
from cscale_core.errors import CScaleError, NotFound
from cscale_core.jobs.model import JobStatus
from cscale_core.untrusted import plain

_BAR_WIDTH = 30
#: A clock on the screen goes on between two looks.
_TICK = 1.0


class NotEnded(CScaleError, TimeoutError):
    """The time to wait was over before the job ended; it goes on."""

    code = "not_ended"


def how_to_attach(job: Job) -> str:
    """What to write to wait for a job again."""
    return f'jobs["{job.id}"].wait()'


def moved(job: Job) -> str:
    """How much was moved, where files are; else nothing."""
    amount = job.transferred
    if amount is None:
        return ""
    files = f"{amount.files_done:,} of {counted(amount.files_total, 'file')}"
    if amount.bytes_total is None:
        return f"{files}, {size(amount.bytes_done)}"
    return f"{files}, {size(amount.bytes_done)} of {size(amount.bytes_total)}"


def times(job: Job) -> str:
    """How long it waited for its turn, and ran."""
    said = [f"queued {duration(job.queued_time)}"]
    if job.running_time:
        said.append(f"running {duration(job.running_time)}")
    return ", ".join(said)


@dataclass(frozen=True)
class JobScene:
    """A job as somebody sees it who waits for it.

    :param note: what stands in the way, with a clock in it.
    :param remark: what is said at the end.
    """

    job: Job
    note: str = ""
    remark: str = ""

    def html(self) -> str:
        return html.job_card(self.job, note=self.note or self.remark)

    def terminal(self) -> RenderableType:
        job = self.job
        grid = Table.grid(padding=(0, 1))
        head = Text.assemble(
            (plain(job.title or job.id), "bold"),
            (f"  {MEANINGS[job.status]}", _style(job)),
        )
        grid.add_row(head)
        if not job.ended and (job.progress is not None or job.status == JobStatus.RUNNING):
            bar = Table.grid(padding=(0, 1))
            bar.add_row(
                ProgressBar(
                    # Without a total it moves to and fro.
                    total=None if job.progress is None else 1.0,
                    completed=job.progress or 0.0,
                    width=_BAR_WIDTH,
                ),
                Text(how_far(job.status, job.progress)),
            )
            grid.add_row(bar)
        facts = " · ".join(filter(None, (times(job), moved(job))))
        grid.add_row(Text(facts, style="dim"))
        if job.message not in ("", job.status) and not job.ended:
            grid.add_row(Text(plain(job.message)))
        if self.note or self.remark:
            grid.add_row(Text(self.note or self.remark, style="yellow"))
        return grid

    def line(self) -> str:
        job = self.job
        parts = [f"{plain(job.title or job.id)}: {MEANINGS[job.status]}"]
        if job.progress is not None and not job.ended:
            parts.append(f"{job.progress:.0%}")
        if job.message and job.message != str(job.status):
            parts.append(plain(job.message))
        # Without the seconds, which would be a line each.
        said = ", ".join(parts) + ("; your server does not answer" if self.note else "")
        return f"{said}. {self.remark}" if self.remark else said


def _style(job: Job) -> str:
    if not job.ended:
        return "cyan"
    return "green" if job.status == "finished" else "red"


class _Wait:
    """What waiting does between its sleeps."""

    def __init__(
        self, job: Job, connection: Connection, timeout: float | None, progress: Progress
    ) -> None:
        self._job = job
        self._watch = Watch(connection, [job])
        self._end = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout
        self._tell: Callable[[Job], object] | None = (
            None if isinstance(progress, bool) else progress
        )
        self._screen: Screen = screen(progress is True)
        self._told()

    def _told(self) -> None:
        if self._tell is not None:
            self._tell(self._job)

    def look(self) -> None:
        """Ask once.

        :raises NotFound: when the job was deleted.
        :raises NotEnded: when the time is over.
        """
        if self._watch.look():
            self._told()
        if self._watch.deleted:
            raise NotFound(f"Job {self._job.id} was deleted from the list.")
        if self._end is not None and time.monotonic() >= self._end and not self._job.ended:
            raise NotEnded(
                f"Job {self._job.id} had not ended after {self._timeout:g} s.",
                hint=f"It goes on; wait again: {how_to_attach(self._job)}",
                retryable=True,
                job=self._job.id,
            )

    @property
    def pause(self) -> float:
        if self._end is None:
            return self._watch.pause
        return max(0.0, min(self._watch.pause, self._end - time.monotonic()))

    def draw(self) -> None:
        self._screen.show(JobScene(self._job, self._watch.note))

    def finish(self) -> None:
        """The whole job, with its results."""
        self._job.refresh(patience=PATIENCE)
        self._screen.close(JobScene(self._job))

    def leave(self, why: BaseException) -> None:
        """Somebody does not wait any longer."""
        if isinstance(why, CScaleError) and not why.retryable:
            self._screen.close(JobScene(self._job))
            return
        remark = "The job goes on. To wait for it again, in any notebook: "
        self._screen.close(JobScene(self._job, remark=remark + how_to_attach(self._job)))


def _ticks(seconds: float) -> list[float]:
    whole, rest = divmod(seconds, _TICK)
    return [_TICK] * int(whole) + [rest]


def wait(job: Job, connection: Connection, timeout: float | None, progress: Progress) -> None:
    """Until the job has ended, however."""
    waiting = _Wait(job, connection, timeout, progress)
    try:
        while not job.ended:
            waiting.look()
            for tick in _ticks(0.0 if job.ended else waiting.pause):
                waiting.draw()
                time.sleep(tick)
        waiting.finish()
    except BaseException as error:
        waiting.leave(error)
        raise


async def wait_async(
    job: Job, connection: Connection, timeout: float | None, progress: Progress
) -> None:
    """The same on an event loop, which is free meanwhile."""
    waiting = _Wait(job, connection, timeout, progress)
    try:
        while not job.ended:
            await asyncio.to_thread(waiting.look)
            for tick in _ticks(0.0 if job.ended else waiting.pause):
                waiting.draw()
                await asyncio.sleep(tick)
        await asyncio.to_thread(waiting.finish)
    except BaseException as error:
        waiting.leave(error)
        raise
