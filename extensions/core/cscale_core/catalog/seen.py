"""Products that were given out already, so that another archive's copy is not given out again.

The same product may come from several archives, the later ones on a later merged page. What is
remembered is bounded: the cursor carries it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

MOST_SEEN = 400
"""Products that a cursor remembers at most."""
WINDOW = 1800.0
"""Seconds by which two archives may differ in the time of the same product."""


@dataclass(slots=True)
class Seen:
    """Marks of products in the order given out, with the archives that had them and the time.

    Every archive may have a product once; when it lists one again, that is another item.
    """

    products: dict[bytes, list[tuple[set[str], float | None]]] = field(default_factory=dict)

    def add(self, product: bytes, providers: Iterable[str], moment: float | None) -> set[str]:
        """A product is given out; the archives it was found at so far can be added to."""
        found = set(providers)
        self.products.setdefault(product, []).append((found, moment))
        return found

    def had(self, product: bytes, provider: str) -> bool:
        """Whether an item of this archive is a mirror of one given out before; it is noted."""
        for providers, _ in self.products.get(product, ()):
            if provider not in providers:
                providers.add(provider)
                return True
        return False

    def forget(
        self, reached: Sequence[float | None], *, newest_first: bool | None, most: int = MOST_SEEN
    ) -> None:
        """Forget what cannot come again, and the oldest of what is too much.

        :param reached: how far each archive that has more was read; None: not at all.
        :param newest_first: the direction of time; None: the order is not by time.
        """
        bound: float | None = None
        known = [moment for moment in reached if moment is not None]
        if newest_first is not None and known and len(known) == len(reached):
            bound = max(known) + WINDOW if newest_first else min(known) - WINDOW
        entries = [
            (product, entry)
            for product, found in self.products.items()
            for entry in found
            if not _past(entry[1], bound, newest_first)
        ]
        self.products = {}
        for product, entry in entries[-most:]:
            self.products.setdefault(product, []).append(entry)


def _past(moment: float | None, bound: float | None, newest_first: bool | None) -> bool:
    if moment is None or bound is None:
        return False
    return moment > bound if newest_first else moment < bound
