"""What is done with every item of a provider first: repaired, checked, its addresses completed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any
from urllib.parse import urljoin, urlsplit

from cscale_core.catalog.filter import ItemFilter
from cscale_core.catalog.items import PROVIDER_MEMBER, self_link
from cscale_core.catalog.repair import repair
from cscale_core.site import Site

Item = dict[str, Any]
_PLAIN = ("https://", "http://", "s3://")


class Intake:
    """Takes the items of one provider that can be used and answer the question.

    :param check: tells which items answer it.
    :param partial: whether only some members were asked for, so that others are not missing.
    """

    def __init__(
        self, provider: str, site: Site, check: ItemFilter, *, partial: bool = False
    ) -> None:
        self._partial = partial
        self._provider = provider
        self._roots = tuple(root.rstrip("/") + "/" for root in (site.mount, site.mount_root))
        self._check = check
        self._faults: Counter[str] = Counter()

    def accepted(self, features: Iterable[Any], url: str) -> list[tuple[int, Item]]:
        """The items to be used, each with its place in the page.

        :param features: changed in place.
        :param url: where the page was read, for relative addresses in it.
        """
        taken = []
        for place, feature in enumerate(features):
            if self._partial and isinstance(feature, dict):
                feature = {
                    "type": "Feature",
                    "properties": {},
                    "assets": {},
                    "links": [],
                    **feature,
                }
            if problem := repair(feature):
                self._faults[problem] += 1
                continue
            item = feature
            if not self._check.takes(item):
                continue
            try:
                absolute(item, url, self._roots)
            except ValueError:
                # urljoin and urlsplit refuse malformed addresses such as http://[.
                self._faults["with an address that is not valid"] += 1
                continue
            item[PROVIDER_MEMBER] = self._provider
            taken.append((place, item))
        return taken

    def note(self) -> str:
        """What was left out and why; empty: nothing."""
        faults = ", ".join(f"{n} {reason}" for reason, n in self._faults.items())
        invalid = f"items that are not valid were left out: {faults}" if faults else ""
        return "; ".join(filter(None, [self._check.note(), invalid]))

    @property
    def exact(self) -> bool:
        """Whether nothing was left out, so that the provider's count is the question's."""
        return not self._check.left_out and not self._faults


def absolute(item: Item, url: str, roots: tuple[str, ...] = ()) -> None:
    """Make relative asset addresses absolute, in place.

    :param url: where the item was read, if it has no link to itself.
    :param roots: paths on the mount, which stay.
    :raises ValueError: when an address cannot be read.
    """
    base = ""
    for asset in item["assets"].values():
        href = asset["href"]
        if href.startswith(_PLAIN):
            continue
        if not urlsplit(href).scheme and not href.startswith(roots):
            base = base or self_link(item) or url
            asset["href"] = urljoin(base, href)
