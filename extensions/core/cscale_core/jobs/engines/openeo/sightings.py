"""What a back end says of jobs: one list for many, a description where the list is not enough.

A list is cheaper than descriptions as soon as its pages are fewer than the jobs that are followed;
which of the two it is, is learnt from the list itself. A job that the list calls ended, or does
not hold, is described before anybody believes it: lists lag, and jobs deleted elsewhere come back
in some as finished. Only one that finished, where the description of such a job has nothing that
the list lacks (usage), is not described: asking for its results tells as well whether it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from cscale_core.errors import CScaleError, NotFound
from cscale_core.jobs.engines.openeo.listing import pages
from cscale_core.jobs.engines.openeo.remote import Remote
from cscale_core.jobs.model import JobStatus
from cscale_core.jobs.polling import Looked, Looker

#: openEO's states (API 1.2), and those that some back ends add.
STATUS = {
    "created": JobStatus.CREATED,
    "submitted": JobStatus.QUEUED,
    "queued": JobStatus.QUEUED,
    "running": JobStatus.RUNNING,
    "canceled": JobStatus.CANCELED,
    "finished": JobStatus.FINISHED,
    "error": JobStatus.ERROR,
}

#: What lists most often lack, of members that matter when a job has ended.
FIGURES = ("usage", "costs")
#: Finished jobs described without them, after which such a job is not described any more.
ALIKE = 2
#: Seconds after which it is tried again whether the list is the cheaper way, and tells enough.
RELEARN = 600.0
#: Seconds between two descriptions of a running job whose list entry lacks its progress.
DETAILS = 300.0


@dataclass(frozen=True)
class Sighting:
    """A job as its back end showed it last.

    :ivar said: the back end's own word for the state.
    :ivar progress: 0 to 1; None: not known. A back end that knows nothing says 0.
    :ivar usage: what it used so far, in the back end's words and units.
    :ivar costs: in the back end's currency or credits; None: not known.
    :ivar updated: when the back end changed it; a sign of life, and no change by itself.
    """

    said: str
    progress: float | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    costs: float | None = None
    updated: str = field(default="", compare=False)

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Sighting:
        """From a job's members as listed or described."""
        progress = _number(facts.get("progress"))
        usage = facts.get("usage")
        return cls(
            said=str(facts.get("status") or ""),
            progress=min(1.0, progress / 100) if progress else None,
            usage=usage if isinstance(usage, dict) else {},
            costs=_number(facts.get("costs")),
            updated=str(facts.get("updated") or ""),
        )

    @property
    def status(self) -> JobStatus:
        """The state in our words; a word we do not know waits."""
        return STATUS.get(self.said, JobStatus.QUEUED)


def _number(value: Any) -> float | None:
    """A figure that is not below zero, whatever the back end sent."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < float("inf") else None


class BackendLooker(Looker[Sighting]):
    """Looks at the jobs of one back end."""

    def __init__(self, remote: Remote, details: float = DETAILS) -> None:
        self._remote = remote
        self._details = details
        self._facts: dict[str, dict[str, Any]] = {}
        self._described: dict[str, float] = {}
        self._list_cost = 1
        self._alike = 0
        self._learnt = 0.0

    def cost(self, jobs: int) -> int:
        """Requests of one look at so many jobs."""
        return min(jobs, self._list_cost)

    def phase(self, state: Sighting) -> str:
        """The back end's word: queued, running, …"""
        return state.said

    def progress(self, state: Sighting) -> float | None:
        """What the back end says of it."""
        return state.progress if state.status == JobStatus.RUNNING else None

    async def look(self, due: Sequence[str], followed: Sequence[str]) -> Looked[Sighting]:
        """By the list, or one by one when that is cheaper.

        :raises CScaleError: when the list cannot be had.
        """
        self._keep_only(followed)
        looked = Looked[Sighting]()
        now = asyncio.get_running_loop().time()
        if now - self._learnt > RELEARN:
            self._list_cost, self._alike, self._learnt = 1, 0, now
        if self.cost(len(followed)) < len(followed):
            await self._by_list(followed, looked)
        else:
            await self._describe(due, looked)
        return looked

    def _keep_only(self, followed: Sequence[str]) -> None:
        for known in set(self._facts) - set(followed):
            del self._facts[known]
            self._described.pop(known, None)

    async def _by_list(self, followed: Sequence[str], looked: Looked[Sighting]) -> None:
        missing = set(followed)
        doubtful = []
        read = 0
        async with aclosing(pages(self._remote, self._remote.watching)) as listed:
            async for page in listed:
                read += 1
                for entry in page:
                    identifier = str(entry["id"])
                    if identifier not in missing:
                        continue
                    missing.discard(identifier)
                    sighting = self._learn(identifier, entry)
                    if self._in_doubt(sighting, entry):
                        doubtful.append(identifier)
                    else:
                        looked.found[identifier] = sighting
                if not missing:
                    break
        await self._describe([*doubtful, *missing], looked)
        self._compare(doubtful, looked)
        wanting = self._wanting(looked)
        if wanting and self._remote.watching.spare_now():
            await self._describe_one(wanting, looked)
        self._list_cost = read + len(missing - looked.gone.keys())

    def _in_doubt(self, sighting: Sighting, entry: dict[str, Any]) -> bool:
        """Whether a job has to be described before what the list says of it is believed."""
        if sighting.status == JobStatus.FINISHED:
            return self._alike < ALIKE and not entry.get("usage")
        return not sighting.said or sighting.status.ended

    def _compare(self, described: Iterable[str], looked: Looked[Sighting]) -> None:
        """Learn from finished jobs just described whether that told more than the list."""
        for name in described:
            sighting = looked.found.get(name)
            if sighting is not None and sighting.status == JobStatus.FINISHED:
                more = any(self._facts[name].get(word) for word in FIGURES)
                self._alike = 0 if more else self._alike + 1

    def _learn(self, identifier: str, members: dict[str, Any]) -> Sighting:
        """Put what is told now over what was known: lists tell less than descriptions."""
        facts = self._facts.setdefault(identifier, {})
        facts.update(members)
        return Sighting.of(facts)

    def _wanting(self, looked: Looked[Sighting]) -> str:
        """The running job that was described longest ago, if its list entry lacks progress."""
        now = asyncio.get_running_loop().time()
        waiting = [
            (self._described.setdefault(name, now), name)
            for name, sighting in looked.found.items()
            if sighting.status == JobStatus.RUNNING and "progress" not in self._facts[name]
        ]
        since, name = min(waiting, default=(now, ""))
        return name if now - since >= self._details else ""

    async def _describe(self, names: Iterable[str], looked: Looked[Sighting]) -> None:
        async def one(name: str) -> None:
            await self._remote.watching.turn()
            await self._describe_one(name, looked)

        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(one(name))

    async def _describe_one(self, name: str, looked: Looked[Sighting]) -> None:
        try:
            members = await self._remote.call(lambda c: c.job(name).describe())
        except NotFound as error:
            looked.found.pop(name, None)
            looked.gone[name] = error
        except CScaleError as error:
            looked.failed[name] = error
        else:
            self._described[name] = asyncio.get_running_loop().time()
            looked.found[name] = self._learn(name, dict(members))
