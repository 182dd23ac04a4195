"""What a user does with shared notebooks: look at them, publish, open, take down.

Methods block; async callers use ``asyncio.to_thread``. Safe to use from several threads.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cscale_core.errors import Conflict, CScaleError, Forbidden, InvalidInput, NotFound, StorageFull
from cscale_core.notebooks import documents, pictures, preview, scanning
from cscale_core.notebooks.answers import Entry, Gallery, Shown, VersionEntry
from cscale_core.notebooks.card import Card, Provenance
from cscale_core.notebooks.places import (
    MAX_VERSION,
    NotebookRef,
    SharedPlace,
    name_of,
    shared_places,
)
from cscale_core.notebooks.shelf import Shelf, Version

if TYPE_CHECKING:
    from cscale_core.objects import ObjectStore
    from cscale_core.site import Site

_READERS = 8
_MOST_KEPT = 5_000
_MOST_COPIES = 1_000


@dataclass(frozen=True, slots=True)
class Submission:
    """A notebook to be published.

    :param source: name of the file.
    :param source_sha256: of the file's bytes.
    """

    notebook: documents.Notebook
    source: str
    source_sha256: str
    vo: str
    title: str
    description: str = ""
    outputs: bool = False


class SharedNotebooks:
    """The shared notebooks of all VOs of one user.

    :param image: what notebooks of this server were made with.
    """

    def __init__(self, site: Site, store: ObjectStore, *, image: str = "") -> None:
        self._site = site
        self._places = shared_places(site)
        self._shelves = {vo: Shelf(place, store) for vo, place in self._places.items()}
        self._image = image
        self._cards: dict[tuple[NotebookRef, int, str], Card | None] = {}
        self._lock = threading.Lock()

    # -- looking -----------------------------------------------------------------------------

    def gallery(
        self, *, vo: str = "", text: str = "", mine: bool = False, offset: int = 0, limit: int = 24
    ) -> Gallery:
        """One page of what the user sees.

        :param text: only notebooks with all these words in title, description or author.
        :raises CScaleError: when nothing at all could be looked at.
        """
        if vo:
            self._shelf(vo)
        found: list[tuple[NotebookRef, list[Version]]] = []
        failed: dict[str, CScaleError] = {}
        asked = [shelf for name, shelf in self._shelves.items() if vo in ("", name)]
        for shelf in asked:
            try:
                found += shelf.versions().items()
            except CScaleError as error:
                failed[shelf.place.vo] = error
        if asked and len(failed) == len(asked):
            raise next(iter(failed.values()))
        if mine:
            found = [(ref, some) for ref, some in found if ref.author == self._site.user]
        found.sort(key=lambda one: (_when(one[1][0]), one[0]), reverse=True)
        words = text.casefold().split()
        if words:
            entries = [one for one in self._entries(found) if _has(one, words)]
            page, total = entries[offset : offset + limit], len(entries)
        else:
            page, total = self._entries(found[offset : offset + limit]), len(found)
        end = offset + len(page)
        return Gallery(
            notebooks=page,
            total=total,
            next=end if page and end < total else None,
            publish=[name for name, place in self._places.items() if place.publishes],
            failed={name: error.message for name, error in failed.items()},
        )

    def show(self, ref: NotebookRef, version: int | None = None) -> Shown:
        """One notebook with a preview that is safe to be shown.

        :raises NotFound: when there is none that the user sees.
        :raises DamagedData: when what is there is no notebook.
        """
        shelf, versions, one = self._find(ref, version)
        card = self._card(shelf, ref, one)
        return Shown(
            notebook=self._entry(ref, versions, one, card),
            provenance=card.provenance if card else None,
            preview=preview.preview(documents.read(shelf.notebook(ref, one.number))),
        )

    def versions(self, ref: NotebookRef) -> list[VersionEntry]:
        """The versions of a notebook, newest first.

        :raises NotFound: when there is none that the user sees.
        """
        found = self._shelf_of(ref).versions_of(ref)
        return [VersionEntry(version=one.number, date=one.date) for one in found]

    def version(self, ref: NotebookRef, number: int) -> VersionEntry:
        """One version of a notebook.

        :raises NotFound: when there is none that the user sees.
        """
        found = self._shelf_of(ref).version(ref, number)
        return VersionEntry(version=found.number, date=found.date)

    def picture(self, ref: NotebookRef, version: int | None = None) -> bytes:
        """The small picture of a notebook, PNG, drawn anew.

        :raises NotFound: when it has none, or the user does not see it.
        """
        shelf, _, one = self._find(ref, version)
        return pictures.drawn_anew(shelf.picture(ref, one.number))

    def ref_of(self, vo: str, title: str) -> NotebookRef:
        """What the user's own notebook with this title is, or would be.

        :raises InvalidInput: when nothing of the title is left in a name, or there is no such VO.
        """
        return NotebookRef(self._shelf(vo).place.vo, self._site.user, name_of(title))

    # -- doing -------------------------------------------------------------------------------

    def publish(self, submission: Submission, held: Iterable[str] = ()) -> Entry:
        """Publish a notebook; one with the same title becomes its next version.

        :param held: the secrets that this server holds, for the scan.
        :raises SecretsFound: when it holds what looks like secrets.
        :raises Forbidden: when the user may not publish in that VO.
        :raises InvalidInput: when it is no notebook, or too large.
        """
        place = self._shelf(submission.vo).place
        if not place.publishes:
            raise Forbidden(
                f"You may look at the shared notebooks of {place.vo}, and not publish any.",
                hint="Who may publish is decided by the virtual organisation: ask its managers.",
            )
        title = " ".join(submission.title.split())
        ref = self.ref_of(place.vo, title)
        made = documents.prepared(submission.notebook, outputs=submission.outputs)
        scanning.refuse_secrets(
            scanning.scan(
                made,
                held,
                (
                    ("the title", title),
                    ("the description", submission.description),
                    ("the name of the file", submission.source),
                ),
            )
        )
        provenance = Provenance(
            author=self._site.user,
            author_name=self._site.display_name[:200],
            vo=place.vo,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            image=self._image[:200],
            source=submission.source[-200:],
            source_sha256=submission.source_sha256,
            opened_from=documents.opened_from(submission.notebook),
        )
        data = documents.write(documents.stamped(made, provenance))
        picture = pictures.first_of(made)
        card = Card(
            title=title,
            description=submission.description,
            outputs=submission.outputs,
            language=documents.language(made),
            cells=len(made.get("cells", ())),
            sha256=hashlib.sha256(data).hexdigest(),
            picture=picture is not None,
            provenance=provenance,
        )
        shelf = self._shelf(place.vo)
        with self._lock:  # one server of the user counts; only the user writes here
            before = shelf.versions(ref.prefix).get(ref, [])
            number = before[0].number + 1 if before else 1
            if number > MAX_VERSION:
                raise Conflict("The notebook has too many versions; take it down, or rename it.")
            shelf.add(ref, number, data, picture, card)
        return self._entry(ref, *self._find(ref, number)[1:], card)

    def open(self, ref: NotebookRef, folder: Path, version: int | None = None) -> Path:
        """Make a copy of the user's own in a folder; nothing that is there is replaced.

        :returns: the new file.
        :raises NotFound: when there is none that the user sees.
        :raises DamagedData: when what is there is no notebook.
        :raises StorageFull: when there is no room for it.
        """
        shelf, _, one = self._find(ref, version)
        notebook = documents.read(shelf.notebook(ref, one.number))
        date = datetime.now(UTC).isoformat(timespec="seconds")
        data = documents.write(documents.private_copy(notebook, str(ref), one.number, date))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return _written(folder, ref.name, data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(
                    "There is no room for the copy in your home folder.",
                    hint="Nothing was written. Delete what you no longer need, and try again.",
                ) from error
            raise Forbidden(f"The copy cannot be written: {error.strerror}.") from error

    def remove(self, ref: NotebookRef, version: int | None = None) -> list[int]:
        """Take a notebook down, or one version of it. Copies that others opened stay theirs.

        :returns: the versions that were deleted.
        :raises Forbidden: when it is another's and the user is no curator.
        """
        shelf = self._shelf_of(ref)
        found = shelf.versions_of(ref)
        if not shelf.place.may_remove(ref):
            raise Forbidden(
                "Only who published a notebook can take it down, or a curator.",
                hint=f"Ask its author, or the managers of {ref.vo}.",
            )
        if version is not None:
            found = [shelf.version(ref, version)]
        for one in found:
            shelf.remove(ref, one.number)
        return [one.number for one in found]

    # -- inside ------------------------------------------------------------------------------

    def _shelf(self, vo: str) -> Shelf:
        if vo in self._shelves:
            return self._shelves[vo]
        raise InvalidInput(
            f"You have no shared notebooks in {vo or 'no virtual organisation'}.",
            hint="You have in: " + (", ".join(self._shelves) or "none") + ".",
        )

    def _shelf_of(self, ref: NotebookRef) -> Shelf:
        if ref.vo not in self._shelves:
            raise NotFound(
                "There is no such shared notebook, or it is not shared with you.",
                hint="It is shown to members of its virtual organisation only.",
            )
        return self._shelves[ref.vo]

    def _find(self, ref: NotebookRef, version: int | None) -> tuple[Shelf, list[Version], Version]:
        shelf = self._shelf_of(ref)
        versions = shelf.versions_of(ref)
        if version is None:
            return shelf, versions, versions[0]
        return shelf, versions, shelf.version(ref, version)

    def _card(self, shelf: Shelf, ref: NotebookRef, version: Version) -> Card | None:
        key = (ref, version.number, version.etag)
        if key not in self._cards:
            card = shelf.card(ref, version.number)
            if len(self._cards) >= _MOST_KEPT:
                self._cards.clear()
            self._cards[key] = card
            return card
        return self._cards.get(key)

    def _entries(self, found: list[tuple[NotebookRef, list[Version]]]) -> list[Entry]:
        if not found:
            return []

        def entry(one: tuple[NotebookRef, list[Version]]) -> Entry:
            ref, versions = one
            card = self._card(self._shelves[ref.vo], ref, versions[0])
            return self._entry(ref, versions, versions[0], card)

        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(entry, found))

    def _entry(
        self, ref: NotebookRef, versions: list[Version], version: Version, card: Card | None
    ) -> Entry:
        place: SharedPlace = self._places[ref.vo]
        return Entry(
            ref=str(ref),
            vo=ref.vo,
            author=ref.author,
            author_name=card.provenance.author_name if card else "",
            title=card.title if card else ref.name,
            description=card.description if card else "",
            date=version.date,
            version=version.number,
            versions=len(versions),
            outputs=card.outputs if card else True,
            language=card.language if card else "",
            picture=bool(card and card.picture),
            mine=ref.author == self._site.user,
            may_remove=place.may_remove(ref),
        )


def _when(version: Version) -> datetime:
    return version.date or datetime.min.replace(tzinfo=UTC)


def _has(entry: Entry, words: list[str]) -> bool:
    text = " ".join(
        (entry.title, entry.description, entry.author_name, entry.author, entry.vo)
    ).casefold()
    return all(word in text for word in words)


def _written(folder: Path, name: str, data: bytes) -> Path:
    """A new file with these bytes, which no other file had the name of."""
    for count in range(_MOST_COPIES):
        path = folder / (f"{name}-{count}.ipynb" if count else f"{name}.ipynb")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return path
    raise Conflict(
        f"There are {_MOST_COPIES} copies of it in {folder.name} already.",
        hint="Delete some of them.",
    )
