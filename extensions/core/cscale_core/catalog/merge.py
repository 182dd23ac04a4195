"""Merging: the heads of all providers in one order, and one result for one product.

The merge is stable: of equal keys the provider that the site names first comes first, then the
provider's own order holds. Copies of a product at other archives join the result that is given out
first; once that is gone, they are left out and counted.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from cscale_core.catalog.order import Item, Key, moment_of
from cscale_core.catalog.place import short
from cscale_core.catalog.products import product_key
from cscale_core.catalog.seen import WINDOW, Seen
from cscale_core.catalog.source import Source

# Results that wait for mirrors when everything is read.
_MOST_HELD = 400
# Items of a provider that are looked through for mirrors beyond the end of a page.
_LOOK_AHEAD = 200
_MOST_SEEN = 20_000


class Heads:
    """The sources by their first items; knows when it must wait for one of them."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._lacking = list(sources)
        self._heap: list[tuple[Key, int, Source]] = []

    @property
    def ready(self) -> bool:
        """Whether the first item of every source that has one is known."""
        return not self._lacking

    async def wait(self, needed: int) -> None:
        """Wait until that is so.

        :param needed: how many items are still taken.
        """
        for source in self._sources:
            source.hurry(needed)
        while self._lacking:
            source = self._lacking[-1]
            if await source.head():
                heapq.heappush(self._heap, (source.entries[0].key, source.number, source))
            self._lacking.pop()

    def first(self) -> Source | None:
        """The source whose item is next; None: nothing more."""
        return self._heap[0][2] if self._heap else None

    def pop(self) -> Item:
        """Take that item."""
        source = self._heap[0][2]
        item = source.pop().item
        if source.entries:
            heapq.heapreplace(self._heap, (source.entries[0].key, source.number, source))
        else:
            heapq.heappop(self._heap)
            self._lacking.append(source)
        return item


@dataclass(slots=True)
class _Group:
    """One product: its items at different providers, the first that came in front."""

    product: bytes
    items: list[Item]
    providers: set[str]
    moment: float | None


class Merge:
    """Gives out the items of several sources as one sequence.

    :param seen: what was given out before; added to.
    :param joined: makes one item of a product's items at several providers.
    """

    def __init__(
        self, sources: Sequence[Source], seen: Seen, joined: Callable[[list[Item]], Item]
    ) -> None:
        self._sources = sources
        self._heads = Heads(sources)
        self._seen = seen
        self._joined = joined
        # A product of the only provider has no mirrors.
        self._many = len(sources) > 1 or bool(seen.products)
        self._groups: dict[bytes, list[_Group]] = {}

    async def page(self, limit: int) -> list[Item]:
        """The next items, as many as a page has."""
        groups: list[_Group] = []
        while True:
            if not self._heads.ready:
                if len(groups) >= limit:
                    break
                await self._heads.wait(limit - len(groups))
            source = self._heads.first()
            if source is None:
                break
            product = self._product(source)
            if not self._mirror(source, product):
                if len(groups) >= limit:
                    break
                groups.append(self._new(source, product))
            self._heads.pop()
        if self._many and groups:
            self._look_ahead(groups[-1])
        return [self._result(group) for group in groups]

    async def all(self) -> AsyncGenerator[list[Item], None]:
        """Every item, as many at a time as are there; memory stays flat."""
        if not self._many:
            for only in self._sources:
                while await only.head():
                    yield only.drain()
            return
        held: deque[_Group] = deque()
        given = 0
        while True:
            if not self._heads.ready:
                await self._heads.wait(_MOST_HELD)
            ready: list[Item] = []
            while self._heads.ready and (source := self._heads.first()):
                product = self._product(source)
                if not self._mirror(source, product):
                    held.append(self._new(source, product))
                self._heads.pop()
                while held and (len(held) > _MOST_HELD or _apart(held[0].moment, held[-1].moment)):
                    ready.append(self._released(held.popleft()))
            given += len(ready)
            if given > _MOST_SEEN:
                given = 0
                self._seen.forget((), newest_first=None, most=_MOST_SEEN)
            if ready:
                yield ready
            if self._heads.ready and self._heads.first() is None:
                break
        yield [self._released(group) for group in held]

    def _product(self, source: Source) -> bytes:
        return short(product_key(source.entries[0].item)) if self._many else b""

    def _new(self, source: Source, product: bytes) -> _Group:
        item = source.entries[0].item
        moment = moment_of(item)
        if not self._many:
            return _Group(product, [item], set(), moment)
        providers = self._seen.add(product, (source.provider.id,), moment)
        group = _Group(product, [item], providers, moment)
        self._groups.setdefault(product, []).append(group)
        return group

    def _mirror(self, source: Source, product: bytes) -> bool:
        """Whether the source's first item is a mirror of one that came before; then it joins."""
        if not self._many:
            return False
        provider = source.provider.id
        for group in self._groups.get(product, ()):
            if provider not in group.providers:
                group.providers.add(provider)
                group.items.append(source.entries[0].item)
                source.mirrors += 1
                return True
        if self._seen.had(product, provider):
            source.mirrors += 1
            return True
        return False

    def _look_ahead(self, last: _Group) -> None:
        """Show mirrors that were read already, although they belong to the next page."""
        for source in self._sources:
            provider = source.provider.id
            shown: set[int] = set()
            for _, entry in zip(range(_LOOK_AHEAD), source.entries, strict=False):
                if _apart(last.moment, moment_of(entry.item)):
                    break
                for group in self._groups.get(short(product_key(entry.item)), ()):
                    if provider not in group.providers and id(group) not in shown:
                        shown.add(id(group))
                        group.items.append(entry.item)
                        break

    def _released(self, group: _Group) -> Item:
        same = self._groups[group.product]
        same.remove(group)
        if not same:
            del self._groups[group.product]
        return self._result(group)

    def _result(self, group: _Group) -> Item:
        return group.items[0] if len(group.items) == 1 else self._joined(group.items)


def _apart(first: float | None, last: float | None) -> bool:
    """Whether two times are too far from each other to be those of one product."""
    return first is not None and last is not None and abs(first - last) > WINDOW
