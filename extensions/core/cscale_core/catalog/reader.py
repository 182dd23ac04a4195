"""Reading one provider on and on: within its time, ahead of the need, and never in a circle.

A next link that leads back, pages that repeat and pages that stay empty end the reading. Where
everything is read, the next page is asked for while this one is worked on, and a page that failed
in passing is asked for again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from cscale_core.catalog.capabilities import Capabilities, CapabilityBook
from cscale_core.catalog.door import Door
from cscale_core.catalog.kept import KeptPages
from cscale_core.catalog.pages import Page, Pages
from cscale_core.catalog.place import REMEMBERED, Place, short
from cscale_core.catalog.query import SearchQuery
from cscale_core.catalog.static import read_static
from cscale_core.catalog.wire import Extras, Request
from cscale_core.errors import UpstreamError
from cscale_core.site import Site

_T = TypeVar("_T")

# Empty pages in a row after which a provider is taken to have no end.
_MOST_EMPTY = 10
_TRIES = 3
_PAUSE = 0.2
# Turns of the event loop that a request needs until it is on the wire.
_TURNS = 8


@dataclass(frozen=True, slots=True)
class Reading:
    """How much is read, and with what.

    :param limit: how many items the merged page takes; None: everything is read, with patience
        for each page instead of for the whole, and a failed page is asked for again.
    :param reuse: whether pages kept before may be taken for answers.
    """

    site: Site
    book: CapabilityBook
    kept: KeptPages | None
    limit: int | None
    reuse: bool


class Reader:
    """The pages of one provider in one search.

    :param query: the question with the provider's own names of collections.
    :param place: where to begin.
    """

    def __init__(
        self, door: Door, query: SearchQuery, extras: Extras, place: Place, reading: Reading
    ) -> None:
        self.sent = place.sent
        """The extensions of Item Search that the provider was asked with."""
        self.progress = 0
        """Pages that came in, the kept ones too."""
        self.notes: list[str] = []
        self.missing = ""
        """What the pages lack although nothing failed, in a sentence."""
        self._door = door
        self._query = query
        self._extras = extras
        self._place = place
        self._reading = reading
        self._pages: Pages | None = None
        self._asked: dict[bytes, None] = dict.fromkeys(place.behind)
        self._contents: set[int] = set()
        self._empty = 0
        self._left = door.provider.deadline
        self._ahead: asyncio.Task[Page] | None = None

    @property
    def read(self) -> int:
        """Pages that were asked from the provider."""
        return self._pages.read if self._pages is not None else self.progress

    async def open(self) -> Page:
        """The page to begin in.

        :raises UpstreamError: when the provider fails.
        """
        reading, provider = self._reading, self._door.provider
        if provider.kind == "static":
            content = await self._within(
                read_static(self._door, self._query, reading.kept, reuse=reading.reuse)
            )
            self.missing = content.error
            self.progress += 1
            return content.page
        capabilities = await self._within(reading.book.of(self._door))
        size = provider.limit
        if reading.limit is not None and not self._work_here(capabilities):
            size = min(size, reading.limit)
        pages = self._pages = Pages(
            self._door,
            capabilities,
            self._query,
            self._extras,
            size,
            reading.kept,
            reuse=reading.reuse,
        )
        request = self._place.request
        if request is None:
            page = await self._patiently(pages.first)
            self.sent = pages.sent.parts
        else:
            page = await self._patiently(lambda: pages.at(request))
        self._asked[short(page.request.key)] = None
        self._contents.add(_content(page))
        self.progress += 1
        return page

    def _work_here(self, capabilities: Capabilities) -> bool:
        """Whether more of the provider's items may be needed than the page takes."""
        offered = self._extras.offered(capabilities)
        return not offered.sortby or (self._extras.filter is not None and offered.filter is None)

    async def after(self, page: Page) -> Page | None:
        """The page after this one; None when there is none.

        :raises UpstreamError: when the provider fails.
        """
        request, pages = page.next, self._pages
        if request is None or pages is None:
            return None
        name = short(request.key)
        if name in self._asked:
            self.notes.append("its next link leads back to a page already read")
            return None
        self._asked[name] = None
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            following = await self._patiently(lambda: pages.at(request))
        else:
            following = await ahead
        self.progress += 1
        if self._repeats(following):
            return None
        await self._hurry(following)
        return following

    def _repeats(self, page: Page) -> bool:
        """Whether reading on would never end."""
        if not page.features:
            self._empty += 1
            if self._empty == _MOST_EMPTY:
                self.notes.append("reading stopped, because its pages stay empty")
            return self._empty >= _MOST_EMPTY
        self._empty = 0
        content = _content(page)
        if content in self._contents:
            self.notes.append("reading stopped, because its pages repeat")
            return True
        self._contents.add(content)
        return False

    async def _hurry(self, page: Page) -> None:
        """Ask for the page after this one, before this one is worked on."""
        request, pages = page.next, self._pages
        if self._reading.limit is not None or request is None or pages is None:
            return
        if short(request.key) not in self._asked:
            self._ahead = asyncio.create_task(self._patiently(lambda: pages.at(request)))
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    async def close(self) -> None:
        """End the request that is under way."""
        if self._ahead is not None:
            self._ahead.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._ahead

    def behind(self, request: Request) -> tuple[bytes, ...]:
        """The pages read up to this one, for noticing a next link that leads back."""
        names = list(self._asked)
        here = short(request.key)
        end = names.index(here) + 1 if here in self._asked else len(names)
        return tuple(names[max(0, end - REMEMBERED) : end])

    async def _patiently(self, ask: Callable[[], Awaitable[Page]]) -> Page:
        """A page, asked for again after a passing failure where everything is read."""
        for attempt in range(1, _TRIES):
            try:
                return await self._within(ask())
            except (TimeoutError, UpstreamError) as failure:
                passing = isinstance(failure, TimeoutError) or failure.retryable
                if self._reading.limit is not None or not passing or not self.progress:
                    raise
                await asyncio.sleep(_PAUSE * attempt)
        return await self._within(ask())

    async def _within(self, work: Awaitable[_T]) -> _T:
        """The result of some work of the provider, within the time it has left."""
        begun = time.monotonic()
        async with asyncio.timeout(self._left):
            result = await work
        if self._reading.limit is not None:
            self._left -= time.monotonic() - begun
        return result


def _content(page: Page) -> int:
    names = [item.get("id") if isinstance(item, dict) else None for item in page.features]
    return hash(tuple(map(str, names)))
