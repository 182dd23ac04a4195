"""One provider's part of a search: its pages read ahead, checked, put in order, and handed on.

The order is verified, never believed. A provider that cannot sort is read whole, up to a bound,
and sorted here; beyond that its own order is kept, and the report says so. Whatever goes wrong
ends up in the report; what had come before is kept, and the place to go on from is known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from cscale_core.catalog.door import Door
from cscale_core.catalog.filter import ItemFilter
from cscale_core.catalog.intake import Intake
from cscale_core.catalog.order import Item, Key, key_of, moment_of
from cscale_core.catalog.pages import Page, Unsupported
from cscale_core.catalog.place import REMEMBERED, Mode, Place, mark
from cscale_core.catalog.query import SearchQuery
from cscale_core.catalog.reader import Reader, Reading
from cscale_core.catalog.report import ProviderReport, ProviderStatus
from cscale_core.catalog.wire import extras_of, order_of
from cscale_core.errors import CScaleError, UpstreamError, UpstreamTimeout

_log = logging.getLogger(__name__)

MOST_SORTED = 2000
"""Items of one provider that are read and sorted here, when it does not sort."""
# Items read ahead of what was handed on.
_MOST_AHEAD = 2000
# A provider is nearly dry when this part of a page is left of it.
_NEARLY_DRY = 4
# Items handed on that are known again when a provider's pages overlap.
_KNOWN_AGAIN = 2000


class Entry(NamedTuple):
    """An item in the order of its provider, and where it was."""

    key: Key
    item: Item
    page: Page
    place: int


class Source:
    """One provider in one search.

    :param number: its rank in the site's order.
    :param query: the question with the provider's own names of collections.
    :param place: where to go on; not changed.
    :param on_found: called with the items of each page as it comes in.
    :param on_read: called once, when nothing more is read for now.
    """

    def __init__(
        self,
        number: int,
        door: Door,
        query: SearchQuery,
        place: Place,
        reading: Reading,
        on_found: Callable[[Source, list[Item]], None],
        on_read: Callable[[Source], None],
    ) -> None:
        self.number = number
        self.provider = door.provider
        self.entries: deque[Entry] = deque()
        self.finished = False
        """Whether nothing more comes in this round."""
        self.status: ProviderStatus = "ok"
        self.mirrors = 0
        self.accepted = 0
        """Items that came in and can be used."""
        # There once the provider has answered.
        self._intake: Intake
        self._door = door
        self._query = query
        self._start = place
        self._reading = reading
        self._on_found = on_found
        self._on_read = on_read
        self._key = key_of(order_of(query))
        self._extras = extras_of(query)
        self._reader = Reader(door, query, self._extras, place, reading)
        self._mode: Mode = place.mode
        self._error = ""
        self._notes: list[str] = []
        self._ordered = place.mode != "own"
        self._matched: int | None = None
        self._count = place.count
        self._upcoming = place.request
        self._begun = False
        self._drained = False
        self._handed_on = place.taken if place.mode == "whole" else 0
        self._last: deque[bytes | Item] = deque(place.last, maxlen=REMEMBERED)
        self._known: dict[tuple[str | None, str], None] = {}
        self._reached: Item | float | None = place.reached
        self._highest: Key | None = None
        self._begin = time.monotonic()
        self._elapsed: float | None = None
        self._starving = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._told = False

    # The side of the merge.

    def hurry(self, needed: int) -> None:
        """Say that the merge waits for items, so that providers that run dry do it together.

        :param needed: how many items it still takes.
        """
        left = len(self.entries)
        if left < needed and left <= self.provider.limit // _NEARLY_DRY:
            self._starving = True
            self._room.set()

    async def head(self) -> bool:
        """Wait until an item is there, or none will come."""
        while not self.entries and not self.finished:
            self.hurry(1)
            self._news.clear()
            await self._news.wait()
        return bool(self.entries)

    def pop(self) -> Entry:
        """Hand on the next item."""
        entry = self.entries.popleft()
        self._last.append(entry.item)
        self._reached = entry.item
        self._handed_on += 1
        if not self._room.is_set() and self._wanted():
            self._room.set()
        return entry

    def drain(self) -> list[Item]:
        """Hand on everything that is there."""
        items = [entry.item for entry in self.entries]
        while len(self.entries) > 1:
            self.entries.popleft()
        self._handed_on += len(items) - 1
        self._last.extend(items[-REMEMBERED:-1])
        self.pop()
        return items

    def place(self) -> Place:
        """Where to go on after what was handed on."""
        if self._start.done:
            return self._start
        failed = self.status in ("error", "timeout")
        stuck = failed and not self._reader.progress
        place = Place(
            mode=self._mode,
            request=self._upcoming,
            last=tuple(each if isinstance(each, bytes) else mark(each) for each in self._last),
            reached=moment_of(self._reached) if isinstance(self._reached, dict) else self._reached,
            failures=self._start.failures + 1 if stuck else 0,
            count=self._count,
            sent=self._reader.sent,
        )
        if self._mode == "whole":
            place.request, place.taken = self._start.request, self._handed_on
            place.done = self._drained and not self.entries
        elif self.entries:
            place.request, place.taken = self.entries[0].page.request, self.entries[0].place
        elif not self._begun:
            place.taken = self._start.taken
        else:
            place.done = self._drained
        if place.request is not None:
            place.behind = self._reader.behind(place.request)
        return place

    def report(self, returned: int) -> ProviderReport:
        """What the provider did so far.

        :param returned: how many of its items are in the answer.
        """
        notes = [self._intake.note() if self._begun else "", *self._notes, *self._reader.notes]
        if self.status in ("error", "timeout") and self.accepted:
            notes.append(f"{self.accepted} items came before it failed")
        place = self.place()
        more = place.open and self.status != "unsupported"
        return ProviderReport(
            id=self.provider.id,
            title=self.provider.title,
            status=self.status,
            matched=self._matched if self._matched is not None else self._count,
            returned=returned,
            pages=self._reader.read,
            elapsed=round(self._elapsed or time.monotonic() - self._begin, 3),
            error=self._error,
            note="; ".join(filter(None, notes)),
            applied_here=self._applied_here(),
            mirrors=self.mirrors,
            more=more,
            ordered=self._ordered,
        )

    @property
    def healthy(self) -> bool:
        """Whether asking it again is worth another page."""
        return self.status == "ok" or self._reader.progress > 0

    @property
    def count(self) -> int | None:
        """How many items it has for the question, if that is known."""
        return self._count

    def _applied_here(self) -> list[str]:
        if not self._begun:
            return []
        query = self._query
        given = {
            "filter": ["filter"] * (query.filter is not None)
            + ["max_cloud_cover"] * (query.max_cloud_cover is not None),
            "sortby": ["sortby"] * bool(query.sortby),
            "fields": ["fields"] * (self._extras.fields is not None),
        }
        return [
            name for part, names in given.items() if part not in self._reader.sent for name in names
        ]

    # The side of the provider.

    async def run(self) -> None:
        """Read the provider; ends when there is nothing more, or it failed."""
        title = self.provider.title
        try:
            await self._read()
        except (TimeoutError, UpstreamTimeout):
            self.status = "timeout"
            self._error = f"{title} did not answer within {self.provider.deadline:g} seconds."
        except Unsupported as refused:
            self.status, self._error = "unsupported", refused.message
        except CScaleError as failed:
            self.status, self._error = "error", failed.message
        except Exception:
            # What one provider answers must not take the others' answers away.
            _log.exception("the search at %s failed", self.provider.id)
            self.status = "error"
            self._error = f"{title} answered in a way that could not be read."
        finally:
            await self._reader.close()
            self._finish()

    def _finish(self) -> None:
        self._tell()
        self.finished = True
        self._news.set()

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self._elapsed = time.monotonic() - self._begin
            self._on_read(self)

    async def _read(self) -> None:
        page = await self._open()
        start = self._resumed(page)
        if self._mode == "own":
            self._notes.append("its own order is kept")
        if self._mode in ("", "whole"):
            last = await self._choose(page, start)
        else:
            self._push(self._entries(page, start))
            last = page
        while True:
            self._upcoming = last.next
            if last.next is not None:
                await self._wait_for_room()
            following = await self._reader.after(last)
            if following is None:
                self._drained = True
                if self._reader.missing:
                    raise UpstreamError(self._reader.missing)
                return
            self._push(self._entries(following, 0))
            last = following

    async def _open(self) -> Page:
        """The page to begin in."""
        page = await self._reader.open()
        self._intake = Intake(
            self.provider.id,
            self._reading.site,
            self._check("filter" in self._reader.sent),
            partial="fields" in self._reader.sent,
        )
        self._begun = True
        self._matched = page.matched
        return page

    def _check(self, filtered_there: bool) -> ItemFilter:
        condition = self._query.condition
        if condition is not None and not condition.local and not filtered_there:
            raise Unsupported(
                f"{self.provider.title} does not take filters, and this one cannot be applied "
                f"here: {condition.reason}."
            )
        return ItemFilter(self._query, filtered_there=filtered_there)

    def _resumed(self, page: Page) -> int:
        """The place in the first page to go on from; the page may have shifted since."""
        if self._mode == "whole" or not self._start.taken:
            return 0
        last = set(self._start.last)
        found = [
            place
            for place, item in enumerate(page.features)
            if isinstance(item, dict) and isinstance(item.get("id"), str) and mark(item) in last
        ]
        return min(self._start.taken, found[-1] + 1) if found else 0

    def _entries(self, page: Page, start: int) -> list[Entry]:
        key, known, entries = self._key, self._known, []
        # What was read whole is read from its beginning again.
        before = self._start.last if self._reader.progress < 3 and self._mode != "whole" else ()
        features = page.features[start:] if start else page.features
        for place, item in self._intake.accepted(features, page.url):
            name = item.get("collection"), item["id"]
            if name in known or (before and mark(item) in before):
                # The pages overlap, or have shifted since the last one.
                continue
            known[name] = None
            entries.append(Entry(key(item), item, page, start + place))
        while len(known) > _KNOWN_AGAIN:
            del known[next(iter(known))]
        if not self._intake.exact:
            self._count = None
        return entries

    def _push(self, entries: list[Entry], *, told: bool = False) -> None:
        """Hand entries to the merge, and look at their order."""
        if self._ordered and entries:
            highest = self._highest
            for entry in entries:
                if highest is not None and entry.key < highest:
                    self._mode, self._ordered = "own", False
                    self._notes.append("its items do not come in the order it was asked for")
                    break
                highest = entry.key
            self._highest = highest
        self.accepted += len(entries)
        self.entries.extend(entries)
        if entries:
            if not told:
                self._on_found(self, [entry.item for entry in entries])
            self._starving = False
            self._news.set()

    async def _choose(self, page: Page, start: int) -> Page:
        """Find out whose order is used, reading the whole provider where that is needed."""
        again = self._mode == "whole"
        entries = self._entries(page, start)
        if not again:
            if "sortby" in self._reader.sent and _in_order(entries):
                self._mode = "asked"
                if self._intake.exact:
                    self._count = page.matched
                self._push(entries)
                return page
            self._on_found(self, [entry.item for entry in entries])
        gathered, last, whole = entries, page, page.next is None
        try:
            while not whole and self._worth_it(page, len(gathered), again=again):
                following = await self._reader.after(last)
                if following is None:
                    whole = True
                    break
                last = following
                more = self._entries(following, 0)
                if not again:
                    self._on_found(self, [entry.item for entry in more])
                gathered += more
        except BaseException:
            if not again:
                self._mode, self._ordered = "own", False
                self._upcoming = last.next
                self._push(gathered, told=True)
            raise
        if again and not whole:
            raise UpstreamError(f"{self.provider.title} has grown too much to go on.")
        if not whole:
            self._own_order(page)
            self._push(gathered, told=True)
            return last
        self._count = len(gathered)
        if again or not _in_order(gathered):
            self._mode = "whole"
            gathered.sort(key=lambda entry: entry.key)
            if again:
                gathered = self._rest(gathered)
        else:
            self._mode = "checked"
        if again and gathered:
            # No more than the page can take of it.
            self._on_found(self, [entry.item for entry in gathered[: self._reading.limit]])
        self._push(gathered, told=True)
        return Page(last.request, [], None, None, last.url)

    def _rest(self, entries: list[Entry]) -> list[Entry]:
        """What is behind the place reached in a provider that was read whole before."""
        last = set(self._start.last)
        found = [place for place, entry in enumerate(entries) if mark(entry.item) in last]
        start = min(self._start.taken, found[-1] + 1) if found else self._start.taken
        return [entry for entry in entries[start:] if mark(entry.item) not in last]

    def _worth_it(self, page: Page, read: int, *, again: bool) -> bool:
        """Whether to go on reading a provider that does not sort to its end."""
        if again:
            return read <= 2 * MOST_SORTED
        spent = time.monotonic() - self._begin
        return (
            read < MOST_SORTED
            and (page.matched is None or page.matched <= MOST_SORTED)
            and spent < self.provider.deadline / 2
        )

    def _own_order(self, page: Page) -> None:
        self._mode, self._ordered = "own", False
        sorts = "sortby" in self._reader.sent
        failing = "says that it sorts and does not" if sorts else "cannot sort"
        self._notes.append(
            f"it {failing}, and has too much to be sorted here: its own order is kept"
        )
        if self._intake.exact:
            self._count = page.matched

    def _wanted(self) -> bool:
        """Whether more should be read now."""
        limit = self._reading.limit
        if limit is None:
            return len(self.entries) <= self.provider.limit
        if self._starving or self._reading.reuse:
            # What was kept is mostly enough for the next page; then nobody is asked.
            return self._starving
        return self.accepted < limit and len(self.entries) < _MOST_AHEAD

    async def _wait_for_room(self) -> None:
        while not self._wanted():
            self._tell()
            self._room.clear()
            await self._room.wait()


def _in_order(entries: Sequence[Entry]) -> bool:
    return all(before.key <= after.key for before, after in pairwise(entries))
