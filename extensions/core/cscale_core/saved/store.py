"""Searches by name, and favourite items. Everything blocks; callers use threads."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json, to_json

from cscale_core.catalog.interval import format_time, parse_time
from cscale_core.catalog.query import SearchQuery
from cscale_core.errors import Conflict, InvalidInput, NotFound
from cscale_core.saved.file import SavedFile

MOST_SEARCHES = 500
MOST_FAVOURITES = 5000
LONGEST_VIEW = 32 * 1024
"""Bytes of JSON."""


class SearchContent(BaseModel):
    """A search as it is kept, and as it is given to others."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    query: SearchQuery
    view: dict[str, Any] = Field(
        default_factory=dict, description="What the page keeps beside it, such as the map's place."
    )


class SavedSearch(SearchContent):
    """A search in the list."""

    id: str
    revision: int = Field(description="Grows with every change.")
    created: datetime
    updated: datetime


class Favourite(BaseModel):
    """An item that is kept in view."""

    ref: str
    title: str
    added: datetime


class SavedStore:
    """Searches and favourites of one person."""

    def __init__(self, file: SavedFile) -> None:
        self._file = file

    # -- searches --------------------------------------------------------------------------------

    def searches(self) -> list[SavedSearch]:
        """All of them, by name."""
        with self._file.transaction() as file:
            rows = file.execute("SELECT * FROM searches ORDER BY name COLLATE NOCASE, id")
            return [_search(row) for row in rows]

    def add(self, content: SearchContent, now: datetime) -> SavedSearch:
        """Keep a search.

        :raises InvalidInput: when there are too many, or it is too long.
        """
        body, moment = _body(content), format_time(now)
        with self._file.transaction(write=True) as file:
            _check_room(file, "searches", MOST_SEARCHES)
            name = uuid4().hex[:12]
            file.execute(
                "INSERT INTO searches VALUES (?, 1, ?, ?, ?, ?)",
                (name, content.name, body, moment, moment),
            )
            return _search(_row(file, name))

    def change(
        self, name: str, revision: int, content: SearchContent, now: datetime
    ) -> SavedSearch:
        """Keep a search in place of what it was.

        :param revision: that it is thought to have.
        :raises NotFound: when there is none.
        :raises Conflict: when it was changed meanwhile.
        """
        body = _body(content)
        with self._file.transaction(write=True) as file:
            known = _search(_row(file, name))
            if known.revision != revision:
                raise Conflict(
                    f"{known.name} was changed meanwhile, in another window or server.",
                    hint="Your change was not saved. Load it again, or save yours anew.",
                    revision=known.revision,
                )
            file.execute(
                "UPDATE searches SET revision = ?, name = ?, body = ?, updated = ? WHERE id = ?",
                (revision + 1, content.name, body, format_time(now), name),
            )
            return _search(_row(file, name))

    def remove(self, name: str) -> None:
        """Forget a search.

        :raises NotFound: when there is none.
        """
        with self._file.transaction(write=True) as file:
            _row(file, name)
            file.execute("DELETE FROM searches WHERE id = ?", (name,))

    # -- favourites ------------------------------------------------------------------------------

    def favourites(self) -> list[Favourite]:
        """All of them, the latest first."""
        with self._file.transaction() as file:
            rows = file.execute("SELECT * FROM favourites ORDER BY added DESC, ref")
            return [_favourite(row) for row in rows]

    def mark(self, ref: str, title: str, now: datetime) -> Favourite:
        """Make an item a favourite; one that is one gets the title.

        :raises InvalidInput: when there are too many.
        """
        with self._file.transaction(write=True) as file:
            known = file.execute("SELECT * FROM favourites WHERE ref = ?", (ref,)).fetchone()
            if known is None:
                _check_room(file, "favourites", MOST_FAVOURITES)
            file.execute(
                "INSERT INTO favourites VALUES (?, ?, ?) "
                "ON CONFLICT (ref) DO UPDATE SET title = excluded.title",
                (ref, title, format_time(now)),
            )
            row = file.execute("SELECT * FROM favourites WHERE ref = ?", (ref,)).fetchone()
            return _favourite(row)

    def unmark(self, ref: str) -> None:
        """An item is a favourite no longer; doing it twice is no error."""
        with self._file.transaction(write=True) as file:
            file.execute("DELETE FROM favourites WHERE ref = ?", (ref,))


def _check_room(file: sqlite3.Connection, table: str, most: int) -> None:
    count = file.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608  # ours
    if count >= most:
        raise InvalidInput(f"There are {most} {table} already.", hint="Delete some first.")


def _row(file: sqlite3.Connection, name: str) -> sqlite3.Row:
    row: sqlite3.Row | None = file.execute(
        "SELECT * FROM searches WHERE id = ?", (name,)
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no saved search {name[:100]}.")
    return row


def _body(content: SearchContent) -> str:
    if len(to_json(content.view)) > LONGEST_VIEW:
        raise InvalidInput("view: that is too much to be kept with a search.")
    body = {
        "query": content.query.model_dump(mode="json", exclude_defaults=True),
        "view": content.view,
    }
    return to_json(body).decode()


def _search(row: sqlite3.Row) -> SavedSearch:
    body = from_json(row["body"])
    return SavedSearch(
        id=row["id"],
        revision=row["revision"],
        name=row["name"],
        query=SearchQuery.model_validate(body["query"]),
        view=body["view"],
        created=parse_time(row["created"]),
        updated=parse_time(row["updated"]),
    )


def _favourite(row: sqlite3.Row) -> Favourite:
    return Favourite(ref=row["ref"], title=row["title"], added=parse_time(row["added"]))
