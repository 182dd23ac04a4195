"""The objects of one VO's bucket as versions of notebooks. Methods block; call them in threads.

A version is three objects: the notebook, its small picture where it has one, and its card, which
is written last and makes the version visible, and deleted first.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from cscale_core.errors import Forbidden, NotFound
from cscale_core.notebooks.card import MAX_CARD, Card
from cscale_core.notebooks.documents import MAX_NOTEBOOK
from cscale_core.notebooks.pictures import MAX_BYTES
from cscale_core.notebooks.places import NotebookRef, SharedPlace, key_parts

if TYPE_CHECKING:
    from cscale_core.objects import ObjectStore

_MOST_OBJECTS = 30_000
_KINDS = ("json", "png", "ipynb")


@dataclass(frozen=True, slots=True)
class Version:
    """One version, as the store lists it."""

    number: int
    date: datetime | None
    etag: str
    """Of the card: another one means another content."""


class Shelf:
    """One VO's published notebooks."""

    def __init__(self, place: SharedPlace, store: ObjectStore) -> None:
        self.place = place
        self._store = store

    def versions(self, prefix: str = "") -> dict[NotebookRef, list[Version]]:
        """All notebooks below a prefix that the user sees, with their versions, newest first.

        :raises CScaleError: when the store cannot be asked.
        """
        found: dict[NotebookRef, list[Version]] = defaultdict(list)
        cards: dict[tuple[NotebookRef, int], Version] = {}
        notebooks: set[tuple[NotebookRef, int]] = set()
        for count, head in enumerate(
            self._store.list(self.place.bucket, prefix or self.place.listed)
        ):
            if count >= _MOST_OBJECTS:
                break
            parts = key_parts(head.address.key)
            if parts is None or not head.size:
                continue
            author, name, number, kind = parts
            at = (NotebookRef(self.place.vo, author, name), number)
            if kind == "json":
                cards[at] = Version(number, head.modified, head.etag)
            elif kind == "ipynb":
                notebooks.add(at)
        for at in sorted(notebooks & cards.keys(), reverse=True):
            found[at[0]].append(cards[at])
        return dict(found)

    def versions_of(self, ref: NotebookRef) -> list[Version]:
        """The versions of one notebook, newest first.

        :raises NotFound: when there is none that the user sees.
        """
        try:
            found = self.versions(ref.prefix).get(ref) if self.place.sees(ref) else None
        except Forbidden:
            # Who may not look is not told whether it is there.
            found = None
        if not found:
            raise NotFound(
                "There is no such shared notebook, or it is not shared with you.",
                hint="Its author may have taken it down. It is shown to members of its virtual "
                "organisation only.",
            )
        return found

    def version(self, ref: NotebookRef, number: int | None) -> Version:
        """One version; the newest where none is named.

        :raises NotFound: when it is not there.
        """
        versions = self.versions_of(ref)
        if number is None:
            return versions[0]
        for version in versions:
            if version.number == number:
                return version
        raise NotFound(
            f"There is no version {number} of it.", hint=f"The newest is {versions[0].number}."
        )

    def card(self, ref: NotebookRef, number: int) -> Card | None:
        """The card of a version; None where what is there is none."""
        address = self.place.address(ref, number, "json")
        try:
            return Card.model_validate_json(self._store.get(address, length=MAX_CARD))
        except (NotFound, ValidationError):
            return None

    def notebook(self, ref: NotebookRef, number: int) -> bytes:
        """The bytes of a version, at most one more than a notebook may have."""
        return self._store.get(self.place.address(ref, number, "ipynb"), length=MAX_NOTEBOOK + 1)

    def picture(self, ref: NotebookRef, number: int) -> bytes:
        """The bytes of a version's small picture.

        :raises NotFound: when it has none.
        """
        return self._store.get(self.place.address(ref, number, "png"), length=MAX_BYTES + 1)

    def add(
        self, ref: NotebookRef, number: int, notebook: bytes, picture: bytes | None, card: Card
    ) -> None:
        """Write a version; when that fails on its way nothing of it is seen."""
        written = {
            "ipynb": (notebook, "application/x-ipynb+json"),
            **({"png": (picture, "image/png")} if picture else {}),
            "json": (card.model_dump_json().encode(), "application/json"),
        }
        for kind, (data, content_type) in written.items():
            self._store.put(self.place.address(ref, number, kind), data, content_type=content_type)

    def remove(self, ref: NotebookRef, number: int) -> None:
        """Delete a version."""
        for kind in _KINDS:
            self._store.delete(self.place.address(ref, number, kind))
