"""Searches by name and favourite items: kept, changed by one at a time, never lost in silence."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cscale_core.catalog.query import SearchQuery
from cscale_core.errors import Conflict, DamagedData, InvalidInput, NotFound
from cscale_core.saved import file as file_module
from cscale_core.saved import store as module
from cscale_core.saved.file import SavedFile
from cscale_core.saved.store import SavedStore, SearchContent

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUERY = SearchQuery(bbox=(0, 0, 1, 1), collections=["s2"], max_cloud_cover=20)


def content(name: str = "Water <b>here</b>", **more: object) -> SearchContent:
    return SearchContent.model_validate({"name": name, "query": QUERY, **more})


@pytest.fixture
def store(tmp_path: Path) -> SavedStore:
    return SavedStore(SavedFile(tmp_path / "new" / "saved.sqlite"))


def test_reading_makes_no_file(store: SavedStore, tmp_path: Path) -> None:
    assert store.searches() == []
    assert store.favourites() == []
    assert list(tmp_path.iterdir()) == []


def test_a_search_is_kept_whole(store: SavedStore, tmp_path: Path) -> None:
    made = store.add(content(view={"zoom": 7}), NOW)
    (kept,) = SavedStore(SavedFile(tmp_path / "new" / "saved.sqlite")).searches()
    assert kept == made
    assert kept.query == QUERY
    assert (kept.name, kept.view, kept.revision) == ("Water <b>here</b>", {"zoom": 7}, 1)
    file = tmp_path / "new" / "saved.sqlite"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_change_of_what_was_changed_meanwhile_is_refused(store: SavedStore) -> None:
    made = store.add(content(), NOW)
    later = NOW + timedelta(days=1)
    changed = store.change(made.id, 1, content("Other"), later)
    assert (changed.revision, changed.name, changed.updated) == (2, "Other", later)
    with pytest.raises(Conflict, match="changed meanwhile") as caught:
        store.change(made.id, 1, content("Third"), later)
    assert caught.value.details == {"revision": 2}
    assert [one.name for one in store.searches()] == ["Other"]


def test_what_is_not_there_is_told(store: SavedStore) -> None:
    with pytest.raises(NotFound):
        store.remove("none")
    with pytest.raises(NotFound):
        store.change("none", 1, content(), NOW)
    made = store.add(content(), NOW)
    store.remove(made.id)
    assert store.searches() == []


def test_searches_are_in_the_order_of_their_names(store: SavedStore) -> None:
    for name in ("b", "A", "c"):
        store.add(content(name), NOW)
    assert [one.name for one in store.searches()] == ["A", "b", "c"]


def test_an_item_is_a_favourite_once(store: SavedStore) -> None:
    store.mark("a|c|1", "One", NOW)
    store.mark("a|c|2", "Two", NOW + timedelta(hours=1))
    again = store.mark("a|c|1", "New", NOW + timedelta(hours=2))
    assert (again.title, again.added) == ("New", NOW)
    assert [one.ref for one in store.favourites()] == ["a|c|2", "a|c|1"]
    store.unmark("a|c|2")
    store.unmark("a|c|2")
    assert [one.ref for one in store.favourites()] == ["a|c|1"]


def test_there_is_an_end_to_what_is_kept(
    store: SavedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SEARCHES", 1)
    monkeypatch.setattr(module, "MOST_FAVOURITES", 1)
    store.add(content(), NOW)
    with pytest.raises(InvalidInput, match="1 searches"):
        store.add(content(), NOW)
    store.mark("a", "", NOW)
    store.mark("a", "again", NOW)
    with pytest.raises(InvalidInput, match="1 favourites"):
        store.mark("b", "", NOW)
    with pytest.raises(InvalidInput, match="view"):
        store.add(content(view={"x": "y" * 40_000}), NOW)


def test_two_servers_write_at_once(store: SavedStore, tmp_path: Path) -> None:
    def write(number: int) -> None:
        own = SavedStore(SavedFile(tmp_path / "new" / "saved.sqlite"))
        for place in range(5):
            own.mark(f"{number}|{place}", "", NOW)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.favourites()) == 20


def test_a_file_that_is_held_is_told(
    store: SavedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "BUSY_SECONDS", 0.05)
    store.mark("a", "", NOW)
    holder = sqlite3.connect(tmp_path / "new" / "saved.sqlite", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Conflict, match="in use") as caught:
        store.mark("b", "", NOW)
    assert caught.value.retryable
    holder.close()
    store.mark("b", "", NOW)


def test_a_damaged_file_is_left_as_it_is(store: SavedStore, tmp_path: Path) -> None:
    file = tmp_path / "new" / "saved.sqlite"
    file.parent.mkdir()
    file.write_bytes(b"this is no database" * 100)
    for act in (store.searches, lambda: store.add(content(), NOW)):
        with pytest.raises(DamagedData, match="damaged"):
            act()
    assert file.read_bytes() == b"this is no database" * 100


def test_a_newer_file_is_not_touched(store: SavedStore, tmp_path: Path) -> None:
    store.mark("a", "", NOW)
    file = sqlite3.connect(tmp_path / "new" / "saved.sqlite")
    file.execute("PRAGMA user_version = 9")
    file.close()
    with pytest.raises(Conflict, match="newer"):
        store.searches()
