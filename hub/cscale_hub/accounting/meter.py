"""Turns the starts and stops that the hub sees into records of use.

A record is opened when a server is allowed to start and closed when it has stopped. While it runs
it is noted now and then that it was seen, so that a hub that was killed, or down while a server
ended, loses at most :data:`SEEN_SECONDS` of its use and counts nothing that was not there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from typing import Any

from cscale_hub.accounting.ended_job import EndedJob
from cscale_hub.accounting.periods import Month
from cscale_hub.accounting.records import Attributes, UsageRecord, pseudonym, record_id
from cscale_hub.accounting.store import UsageStore
from cscale_hub.profiles import Offer, size_bytes
from cscale_hub.quotas import Used

SEEN_SECONDS = 60.0


class Meter:
    """The records of one hub.

    :param key: of the pseudonyms.
    """

    def __init__(
        self, store: UsageStore, key: bytes, clock: Callable[[], float] = time.time
    ) -> None:
        self.store = store
        self._key = key
        self._clock = clock
        self._settling = asyncio.Lock()
        self._settled = False

    def __deepcopy__(self, memo: Any) -> Meter:
        return self  # one for all servers: traitlets copies what it is configured with

    def person(self, slug: str) -> str:
        """The pseudonym."""
        return pseudonym(self._key, slug)

    def _who(self, slug: str, server: str) -> tuple[str, str]:
        """Person and machine of a server; names of servers are people's own words."""
        person = self.person(slug)
        return person, f"{person}-{record_id('server', server)[:8]}" if server else person

    async def settle(self, running: Callable[[], Collection[tuple[str, str]]]) -> None:
        """Once in the life of the hub's process: end what ended while there was none.

        :param running: slug and server name of each server that the hub's own database has.
        """
        async with self._settling:
            if self._settled:
                return
            known = {self._who(slug, server) for slug, server in running()}
            await asyncio.to_thread(self.store.close_all_but, known)
            self._settled = True

    async def begin(
        self, slug: str, server: str, offer: Offer, attributes: Attributes
    ) -> UsageRecord:
        """A server starts; an earlier one under its name has ended without being noticed."""
        now = self._clock()
        person, machine = self._who(slug, server)
        profile = offer.profile
        record = UsageRecord(
            id=record_id("server", person, machine, f"{now:.3f}"),
            kind="server",
            person=person,
            vo=offer.vo,
            profile=offer.name,
            machine=machine,
            started=now,
            seen=now,
            # Without a limit nobody knows how many it uses; one is counted.
            cpus=profile.cpu or profile.cpu_guarantee or 1.0,
            memory=size_bytes(size) if (size := profile.memory or profile.memory_guarantee) else 0,
            gpus=profile.gpu,
            **asdict(attributes),
        )
        await asyncio.to_thread(self.store.begin, record)
        return record

    async def seen(self, slug: str, server: str, record: UsageRecord | None) -> UsageRecord | None:
        """A server was seen running.

        :param record: its record, if this process has begun it; it is written again if it is lost.
        :returns: its record, if there is one.
        """
        now = self._clock()
        person, machine = self._who(slug, server)

        def write() -> UsageRecord | None:
            found = record or self.store.open(person, machine)
            if found is not None and not self.store.touch(found.id, now):
                self.store.add(found)
            return found

        return await asyncio.to_thread(write)

    async def end(self, slug: str, server: str, *, at_last_sight: bool) -> UsageRecord | None:
        """A server has stopped.

        :param at_last_sight: nobody knows when it did.
        :returns: what it used; None when no record was open.
        """
        now = None if at_last_sight else self._clock()
        person, machine = self._who(slug, server)

        def write() -> UsageRecord | None:
            found = self.store.open(person, machine)
            if found is not None:
                self.store.close_record(found.id, now)
            return found

        return await asyncio.to_thread(write)

    async def add_jobs(self, slug: str, jobs: Sequence[EndedJob], attributes: Attributes) -> None:
        """Write jobs that ended; those that were written before stay as they are.

        They hold no processors of their own: what they measured elsewhere is what counts.
        """
        person = self.person(slug)

        def write() -> None:
            for job in jobs:
                identity = record_id("job", person, job.id)
                record = UsageRecord(
                    id=identity,
                    kind="job",
                    person=person,
                    vo=job.vo,
                    profile=job.engine,
                    machine=identity[:12],
                    started=job.started,
                    seen=job.ended,
                    ended=job.ended,
                    cpu_seconds=job.cpu_seconds,
                    **asdict(attributes),
                )
                self.store.add(record)

        await asyncio.to_thread(write)

    async def used(self, vo: str, slug: str) -> Used:
        """What was used of a VO's allowance this month, by one person and by all."""
        month = Month.of(self._clock())
        hours = await asyncio.to_thread(self.store.cpu_hours, vo, month.start, month.end)
        return Used(own=hours.get(self.person(slug), 0.0), everybody=sum(hours.values()))
