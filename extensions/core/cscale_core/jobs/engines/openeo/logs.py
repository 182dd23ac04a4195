"""The log of a remote job, copied into ours: each line once, from where the last copy ended.

The cursor is the id of the last entry (``offset`` of openEO API 1.2; openeo-python-driver's is a
piece of JSON). A back end may ignore it, may give entries without ids, and, because it answers 200
before it has read its log, may say in the last entry that reading failed; that is a warning about
the log, never the job's own error. Nothing is there while a job waits.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from cscale_core.errors import CScaleError, LoginRequired, UpstreamError
from cscale_core.jobs.engine import JobHandle, LogEntry
from cscale_core.jobs.engines.openeo.remote import Remote
from cscale_core.jobs.model import utc_now
from cscale_core.jobs.polling import Backoff, Limiter, Pace

#: Entries from which on a page may have been cut off although it names no next one.
FULL_PAGE = 100
#: Pages copied at once.
MOST_PAGES = 20
#: Lines without an id that are remembered, so that they are not written twice.
LOOSE_LINES = 200

#: What is remembered of a log in the job's state.
_NOTES = ("log_cursor", "log_loose", "log_unread")
_LEVELS = ("debug", "info", "warning", "error")

Entry = dict[str, Any]


def reading_failed(entry: Entry) -> bool:
    """Whether an entry says that the back end could not read its own log (driver issue 546)."""
    return (
        entry.get("level") == "error"
        and str(entry.get("message", "")).startswith("Log collection")
        and str(entry.get("id") or "") in ("", "-1")
    )


def log_entry(entry: Entry) -> LogEntry:
    """Time, level and text of an entry; ``time`` is optional: then the moment it was read."""
    level = str(entry.get("level", "info")).lower()
    try:
        moment = datetime.fromisoformat(str(entry["time"]))
    except (KeyError, ValueError):
        moment = utc_now()
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=utc_now().tzinfo)
    return moment, level if level in _LEVELS else "info", str(entry.get("message", ""))


def _identity(entry: Entry) -> str:
    text = f"{entry.get('time')}|{entry.get('level')}|{entry.get('message')}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _ask(connection: Any, url: str, params: dict[str, str]) -> tuple[list[Entry], str]:
    answer = connection.get(url, params=params, auth=connection.auth, expected_status=200)
    body = answer.json()
    entries = [entry for entry in body.get("logs") or () if isinstance(entry, dict)]
    following = ""
    for link in body.get("links") or ():
        if isinstance(link, dict) and link.get("rel") == "next" and link.get("href"):
            following = urljoin(answer.url, str(link["href"]))
    same = urlsplit(following)[:2] == urlsplit(connection.root_url)[:2]
    return entries, following if same else ""


@dataclass
class RemoteLog:
    """Copies the log of one job; its cursor is kept in the job's state.

    :ivar errors: the error lines seen since this server follows the job, the latest last.
    """

    handle: JobHandle
    remote: Remote
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._copying = asyncio.Lock()

    async def copy(self, limiter: Limiter, *, paid: bool = False) -> None:
        """Copy what is new.

        :param paid: a turn was taken for the first page.
        :raises CScaleError: when the back end does not give the log; nothing is lost by that.
        """
        async with self._copying:
            following = ""
            for page in range(MOST_PAGES):
                if page or not paid:
                    await limiter.turn()
                following, more = await self._copy_page(following)
                if not more:
                    return

    async def _copy_page(self, url: str) -> tuple[str, bool]:
        state = self.handle.state
        cursor = str(state.get("log_cursor") or "")
        path = url or f"/jobs/{self.handle.job.engine_id}/logs"
        params = {"offset": cursor} if cursor and not url else {}
        entries, following = await self.remote.call(lambda c: _ask(c, path, params))
        fresh = self._fresh(entries, cursor)
        await self._write(fresh)
        moved = str(state.get("log_cursor") or "") != cursor
        return following, moved and (bool(following) or len(entries) >= FULL_PAGE)

    def _fresh(self, entries: list[Entry], cursor: str) -> list[Entry]:
        """What has not been copied, also when the back end ignores the cursor."""
        names = [str(entry.get("id") or "") for entry in entries]
        if cursor and cursor in names:
            entries = entries[len(names) - names[::-1].index(cursor) :]
        known = set(self.handle.state.get("log_loose", ()))
        return [entry for entry in entries if entry.get("id") or _identity(entry) not in known]

    async def _write(self, fresh: list[Entry]) -> None:
        if not fresh:
            return
        state = self.handle.state
        before = {name: state[name] for name in _NOTES if name in state}
        lines: list[LogEntry] = []
        loose = list(state.get("log_loose", ()))
        for entry in fresh:
            if reading_failed(entry):
                lines += self._reading_failed(entry)
                continue
            moment, level, message = log_entry(entry)
            lines.append((moment, level, message))
            if level == "error":
                self.errors.append(message)
            if entry.get("id"):
                state["log_cursor"] = str(entry["id"])
                state.pop("log_unread", None)
            else:
                loose.append(_identity(entry))
        if loose:
            state["log_loose"] = loose[-LOOSE_LINES:]
        try:
            await self.handle.log_lines(lines, with_state=True)
        except CScaleError:
            # Not written: the next copy begins where this one did.
            for name in _NOTES:
                state.pop(name, None)
            state.update(before)
            raise

    def _reading_failed(self, entry: Entry) -> Iterable[LogEntry]:
        """Said once, until lines come again."""
        if self.handle.state.get("log_unread"):
            return []
        self.handle.state["log_unread"] = True
        said = str(entry.get("message", ""))[:500]
        text = (
            f"{self.remote.backend.title} could not read all of this job's log; what is missing "
            f"comes with a later copy, or not at all. The job itself is not touched. ({said})"
        )
        return [(utc_now(), "warning", text)]


class LogPump:
    """Copies the logs of running jobs of one back end with what its limit leaves over.

    :param every: seconds between two copies of a log that nobody reads.
    :param attended: the same while somebody reads it.
    """

    def __init__(self, remote: Remote, pace: Pace, every: float, attended: float) -> None:
        self._remote = remote
        self._backoff = Backoff(pace.retry, pace.retry_longest)
        self._every = every
        self._attended = attended
        self._logs: dict[str, RemoteLog] = {}
        self._due: dict[str, float] = {}
        self._until: dict[str, float] = {}
        self._called = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def follow(self, log: RemoteLog) -> None:
        """Copy a log from now on."""
        loop = asyncio.get_running_loop()
        identifier = log.handle.job.id
        if identifier in self._logs:
            return
        self._logs[identifier] = log
        read = self._until.get(identifier, 0.0) > loop.time()
        self._due[identifier] = loop.time() + (0.0 if read else self._every)
        self._called.set()
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run(), name="openeo logs")

    def leave(self, identifier: str) -> None:
        """Copy a log no longer."""
        self._logs.pop(identifier, None)
        self._due.pop(identifier, None)
        self._called.set()

    def attend(self, identifier: str) -> None:
        """Somebody reads the log: copy it soon, and often for a minute."""
        now = asyncio.get_running_loop().time()
        fresh = self._until.get(identifier, 0.0) < now
        self._until = {name: end for name, end in self._until.items() if end > now}
        self._until[identifier] = now + 60.0
        if identifier in self._due and fresh:
            self._due[identifier] = now
            self._called.set()

    async def close(self) -> None:
        """Copy nothing any more."""
        self._logs.clear()
        self._due.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._due:
            self._called.clear()
            due, identifier = min((moment, name) for name, moment in self._due.items())
            left = due - loop.time()
            if left > 0:
                try:
                    async with asyncio.timeout(left):
                        await self._called.wait()
                except TimeoutError:
                    pass
                continue
            # Only what is left over: news of the jobs come first.
            await self._remote.watching.spare()
            log = self._logs.get(identifier)
            if log is None:
                continue
            pause = await self._copy(log)
            read = self._until.get(identifier, 0.0) > loop.time()
            if identifier in self._due:
                self._due[identifier] = loop.time() + (self._attended if read else self._every)
            await asyncio.sleep(pause)

    async def _copy(self, log: RemoteLog) -> float:
        """Copy one log; seconds to leave the back end alone."""
        try:
            await log.copy(self._remote.watching, paid=True)
        except (UpstreamError, LoginRequired):
            return self._backoff.failed()
        except CScaleError:
            # No log yet, lost, or no job any more: the job matters more, the watch finds out.
            return 0.0
        self._backoff.succeeded()
        return 0.0
