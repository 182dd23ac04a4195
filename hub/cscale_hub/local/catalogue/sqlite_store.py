"""The catalogue in one SQLite file: item documents, a time index and an R*Tree of footprints.

For a single machine without PostgreSQL. The file uses the rollback journal with full
synchronisation: a write that was answered survives ``kill -9`` and a power cut. Spatial
conditions go through the R*Tree first and are then decided exactly on the geometry; CQL2 filters
are decided by the ``cql2`` library on the documents that the other conditions leave.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import shapely
from cql2 import Expr
from shapely.geometry.base import BaseGeometry
from stac_fastapi.types.errors import ConflictError, NotFoundError

from cscale_hub.local.catalogue.documents import (
    check_collection,
    check_item,
    footing,
    microseconds,
    patched,
)
from cscale_hub.local.catalogue.problems import invalid
from cscale_hub.local.catalogue.query import Page, Search, SortKey

T = TypeVar("T")

READERS = 4
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE collections (
    id TEXT PRIMARY KEY,
    document TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE items (
    key INTEGER PRIMARY KEY,
    collection TEXT NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    start INTEGER NOT NULL,
    finish INTEGER NOT NULL,
    geometry BLOB NOT NULL,
    document TEXT NOT NULL,
    UNIQUE (collection, id)
);
CREATE INDEX items_by_time ON items (start DESC, id, collection);
CREATE INDEX items_by_id ON items (id);
CREATE VIRTUAL TABLE footprints USING rtree (key, west, east, south, north);
CREATE TRIGGER forget_footprint AFTER DELETE ON items BEGIN
    DELETE FROM footprints WHERE key = old.key;
END;
"""

COLUMNS = {
    "datetime": "start",
    "start_datetime": "start",
    "end_datetime": "finish",
    "id": "id",
    "collection": "collection",
}


class SqliteStore:
    """A :class:`~cscale_hub.local.catalogue.query.Backend` on one SQLite file.

    One connection writes, a few others read; every call runs in a worker thread.
    """

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._write_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()

    async def start(self) -> None:
        """Open the file, creating it on first use."""
        await asyncio.to_thread(self._open)

    async def stop(self) -> None:
        """Close every connection."""
        await asyncio.to_thread(self._close)

    async def ping(self) -> None:
        """Read something small; raises when the file cannot be read."""
        await self._read(lambda db: db.execute("SELECT count(*) FROM collections").fetchone())

    async def collections(self) -> list[dict[str, Any]]:
        """All collections, by id."""

        def read(db: sqlite3.Connection) -> list[dict[str, Any]]:
            rows = db.execute("SELECT document FROM collections ORDER BY id")
            return [json.loads(row[0]) for row in rows]

        return await self._read(read)

    async def collection(self, collection_id: str) -> dict[str, Any]:
        """One collection. :raises NotFoundError:"""
        return await self._read(lambda db: _collection(db, collection_id))

    async def item(self, collection_id: str, item_id: str) -> dict[str, Any]:
        """One item. :raises NotFoundError:"""
        return await self._read(lambda db: _item(db, collection_id, item_id))

    async def search(self, search: Search) -> Page:
        """One page of matching items."""
        return await self._read(lambda db: _search(db, search))

    async def queryables(self, collection_id: str | None) -> dict[str, Any]:
        """JSON schemas of the properties that the stored items have."""
        return await self._read(lambda db: _queryables(db, collection_id))

    async def create_items(self, collection_id: str, items: list[dict[str, Any]]) -> None:
        """Add checked items, all or none.

        :raises NotFoundError: without such a collection.
        :raises ConflictError: when one of the ids exists.
        """

        def write(db: sqlite3.Connection) -> None:
            _collection(db, collection_id)
            for item in items:
                if _exists(db, collection_id, item["id"]):
                    raise ConflictError(f"item {item['id']} exists in collection {collection_id}")
                _insert(db, item)

        await self._write(write)

    async def replace_item(self, collection_id: str, item: dict[str, Any]) -> None:
        """Replace a whole item. :raises NotFoundError:"""
        await self._write(lambda db: _replace(db, item))

    async def patch_item(self, collection_id: str, item_id: str, patch: Any) -> dict[str, Any]:
        """Change an item in one transaction. :raises NotFoundError:"""

        def write(db: sqlite3.Connection) -> dict[str, Any]:
            changed = patched(_item(db, collection_id, item_id), patch)
            item = check_item(changed, collection_id, item_id)
            _replace(db, item)
            return item

        return await self._write(write)

    async def delete_item(self, collection_id: str, item_id: str) -> None:
        """Remove an item. :raises NotFoundError:"""

        def write(db: sqlite3.Connection) -> None:
            gone = db.execute(
                "DELETE FROM items WHERE collection = ? AND id = ?", (collection_id, item_id)
            )
            if gone.rowcount == 0:
                raise _no_item(collection_id, item_id)

        await self._write(write)

    async def create_collection(self, collection: dict[str, Any]) -> None:
        """Add a checked collection. :raises ConflictError:"""

        def write(db: sqlite3.Connection) -> None:
            try:
                db.execute(
                    "INSERT INTO collections VALUES (?, ?)", (collection["id"], _text(collection))
                )
            except sqlite3.IntegrityError as error:
                raise ConflictError(f"collection {collection['id']} exists") from error

        await self._write(write)

    async def replace_collection(self, collection: dict[str, Any]) -> None:
        """Replace a collection's document; its items stay. :raises NotFoundError:"""
        await self._write(lambda db: _replace_collection(db, collection))

    async def patch_collection(self, collection_id: str, patch: Any) -> dict[str, Any]:
        """Change a collection in one transaction. :raises NotFoundError:"""

        def write(db: sqlite3.Connection) -> dict[str, Any]:
            changed = patched(_collection(db, collection_id), patch)
            collection = check_collection(changed, collection_id)
            _replace_collection(db, collection)
            return collection

        return await self._write(write)

    async def delete_collection(self, collection_id: str) -> None:
        """Remove a collection and its items. :raises NotFoundError:"""

        def write(db: sqlite3.Connection) -> None:
            gone = db.execute("DELETE FROM collections WHERE id = ?", (collection_id,))
            if gone.rowcount == 0:
                raise _no_collection(collection_id)

        await self._write(write)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        writer = self._connect()
        version = writer.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            writer.executescript(f"BEGIN;{SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")
        elif version != SCHEMA_VERSION:
            writer.close()
            raise RuntimeError(
                f"{self._path} was written by another version of the catalogue "
                f"(schema {version}, this one has {SCHEMA_VERSION})"
            )
        self._writer = writer
        for _ in range(READERS):
            reader = self._connect()
            reader.execute("PRAGMA query_only = ON")
            self._readers.put(reader)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        # TRUNCATE is the rollback journal too, and with FULL it is durable without syncing the
        # folder at every commit.
        db.execute("PRAGMA journal_mode = TRUNCATE")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA cache_size = -8192")
        return db

    def _close(self) -> None:
        with self._write_lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        for _ in range(self._readers.qsize()):
            self._readers.get().close()

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            reader = self._readers.get()
            try:
                with _transaction(reader, "BEGIN"):
                    return work(reader)
            finally:
                self._readers.put(reader)

        return await asyncio.to_thread(run)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            with self._write_lock:
                if self._writer is None:
                    raise RuntimeError("the catalogue is closed")
                with _transaction(self._writer, "BEGIN IMMEDIATE"):
                    return work(self._writer)

        return await asyncio.to_thread(run)


@contextmanager
def _transaction(db: sqlite3.Connection, begin: str) -> Iterator[None]:
    db.execute(begin)
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _no_collection(collection_id: str) -> NotFoundError:
    return NotFoundError(f"there is no collection {collection_id}")


def _no_item(collection_id: str, item_id: str) -> NotFoundError:
    return NotFoundError(f"there is no item {item_id} in collection {collection_id}")


def _collection(db: sqlite3.Connection, collection_id: str) -> dict[str, Any]:
    row = db.execute("SELECT document FROM collections WHERE id = ?", (collection_id,)).fetchone()
    if row is None:
        raise _no_collection(collection_id)
    document: dict[str, Any] = json.loads(row[0])
    return document


def _item(db: sqlite3.Connection, collection_id: str, item_id: str) -> dict[str, Any]:
    row = db.execute(
        "SELECT document FROM items WHERE collection = ? AND id = ?", (collection_id, item_id)
    ).fetchone()
    if row is None:
        raise _no_item(collection_id, item_id)
    document: dict[str, Any] = json.loads(row[0])
    return document


def _exists(db: sqlite3.Connection, collection_id: str, item_id: str) -> bool:
    found = db.execute(
        "SELECT 1 FROM items WHERE collection = ? AND id = ?", (collection_id, item_id)
    )
    return found.fetchone() is not None


def _insert(db: sqlite3.Connection, item: dict[str, Any]) -> None:
    place = footing(item)
    inserted = db.execute(
        "INSERT INTO items (collection, id, start, finish, geometry, document)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            item["collection"],
            item["id"],
            microseconds(place.start),
            microseconds(place.end),
            shapely.to_wkb(place.geometry),
            _text(item),
        ),
    )
    west, south, east, north = place.geometry.bounds
    db.execute(
        "INSERT INTO footprints VALUES (?, ?, ?, ?, ?)",
        (inserted.lastrowid, west, east, south, north),
    )


def _replace(db: sqlite3.Connection, item: dict[str, Any]) -> None:
    gone = db.execute(
        "DELETE FROM items WHERE collection = ? AND id = ?", (item["collection"], item["id"])
    )
    if gone.rowcount == 0:
        raise _no_item(item["collection"], item["id"])
    _insert(db, item)


def _replace_collection(db: sqlite3.Connection, collection: dict[str, Any]) -> None:
    changed = db.execute(
        "UPDATE collections SET document = ? WHERE id = ?", (_text(collection), collection["id"])
    )
    if changed.rowcount == 0:
        raise _no_collection(collection["id"])


class _Conditions:
    """A WHERE clause that grows, with its parameters."""

    def __init__(self) -> None:
        self.terms: list[str] = []
        self.values: list[Any] = []
        self.test: _FilterTest | None = None

    def add(self, term: str, *values: Any) -> None:
        self.terms.append(term)
        self.values.extend(values)

    @property
    def sql(self) -> str:
        return " AND ".join(f"({term})" for term in self.terms) or "1"


def _search(db: sqlite3.Connection, search: Search) -> Page:
    where = _conditions(db, search)
    try:
        return _page(db, search, where)
    except sqlite3.OperationalError as error:
        if where.test is not None and where.test.failure is not None:
            raise invalid(f"filter: {where.test.failure}") from error
        raise


def _page(db: sqlite3.Connection, search: Search, where: _Conditions) -> Page:
    order = search.order
    matched: int | None = None
    after = _Conditions()
    after.terms, after.values = list(where.terms), list(where.values)
    if search.token is not None:
        position, matched = _read_token(search.token, order)
        _after(after, order, position)
    columns = [_column(key) for key in order]
    direction = ", ".join(
        f"{sql} {'DESC' if key.descending else 'ASC'}"
        for key, (sql, _) in zip(order, columns, strict=True)
    )
    selected = ", ".join(sql for sql, _ in columns)
    paths = [value for _, values in columns for value in values]
    rows = db.execute(
        f"SELECT document, {selected} FROM items WHERE {after.sql}"  # noqa: S608 - no input in it
        f" ORDER BY {direction} LIMIT ?",
        (*paths, *after.values, *paths, search.limit + 1),
    ).fetchall()
    more = len(rows) > search.limit
    rows = rows[: search.limit]
    if matched is None:
        matched = len(rows)
        if more:
            sql = f"SELECT count(*) FROM items WHERE {where.sql}"  # noqa: S608
            matched = int(db.execute(sql, where.values).fetchone()[0])
    token = _write_token(list(rows[-1][1:]), matched, order) if more else None
    return Page([json.loads(row[0]) for row in rows], token, matched)


def _conditions(db: sqlite3.Connection, search: Search) -> _Conditions:
    where = _Conditions()
    if search.collections is not None:
        where.add("collection IN (SELECT value FROM json_each(?))", json.dumps(search.collections))
    if search.ids is not None:
        where.add("id IN (SELECT value FROM json_each(?))", json.dumps(search.ids))
    if search.period is not None:
        start, end = search.period
        if end is not None:
            where.add("start <= ?", microseconds(end))
        if start is not None:
            where.add("finish >= ?", microseconds(start))
    if search.area is not None:
        parts = getattr(search.area, "geoms", [search.area])
        boxes = [part.bounds for part in parts][:32]
        if len(parts) > len(boxes):
            boxes = [search.area.bounds]
        overlap = "west <= ? AND east >= ? AND south <= ? AND north >= ?"
        candidates = " UNION ".join([f"SELECT key FROM footprints WHERE {overlap}"] * len(boxes))  # noqa: S608
        bounds = [v for west, south, east, north in boxes for v in (east, west, north, south)]
        where.add(f"key IN ({candidates})", *bounds)
        db.create_function("meets_area", 1, _area_test(search.area), deterministic=True)
        where.add("meets_area(geometry)")
    if search.filter is not None:
        where.test = _FilterTest(search.filter)
        db.create_function("meets_filter", 1, where.test, deterministic=True)
        where.add("meets_filter(document)")
    return where


def _area_test(area: BaseGeometry) -> Callable[[bytes], bool]:
    shapely.prepare(area)

    def test(geometry: bytes) -> bool:
        return bool(shapely.intersects(area, shapely.from_wkb(geometry)))

    return test


class _FilterTest:
    """Decides a CQL2 condition on documents; remembers why it cannot."""

    def __init__(self, condition: dict[str, Any]) -> None:
        self._expression = Expr(condition)
        self.failure: Exception | None = None

    def __call__(self, document: str) -> bool:
        try:
            return bool(self._expression.matches(json.loads(document)))
        except Exception as error:
            # cql2 raises a bare Exception where the value is unknown because the item lacks a
            # property or has it in another type; unknown is not a match (CQL2, 6.2).
            if "Could not reduce" in str(error):
                return False
            self.failure = error
            raise


def _column(key: SortKey) -> tuple[str, tuple[str, ...]]:
    """SQL of a sort key and its parameters; a property's name is never part of the SQL."""
    if key.field in COLUMNS:
        return COLUMNS[key.field], ()
    return "json_extract(document, ?)", (f'$.properties."{key.field}"',)


def _after(where: _Conditions, order: tuple[SortKey, ...], position: list[Any]) -> None:
    """Rows behind a position in the order (keyset paging, NULLs as SQLite sorts them)."""
    alternatives: list[str] = []
    values: list[Any] = []
    for last in range(len(order)):
        terms: list[str] = []
        for index in range(last):
            sql, path = _column(order[index])
            terms.append(f"{sql} IS ?")
            values.extend((*path, position[index]))
        sql, path = _column(order[last])
        value = position[last]
        if order[last].descending:
            if value is None:
                terms.append("0")
            else:
                terms.append(f"({sql} < ? OR {sql} IS NULL)")
                values.extend((*path, value, *path))
        elif value is None:
            terms.append(f"{sql} IS NOT NULL")
            values.extend(path)
        else:
            terms.append(f"{sql} > ?")
            values.extend((*path, value))
        alternatives.append(" AND ".join(terms))
    where.add(" OR ".join(f"({term})" for term in alternatives), *values)


def _write_token(position: list[Any], matched: int, order: tuple[SortKey, ...]) -> str:
    body = json.dumps([[[key.field, key.descending] for key in order], position, matched])
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def _read_token(token: str, order: tuple[SortKey, ...]) -> tuple[list[Any], int]:
    refusal = invalid("token: not a token of this search", "follow the next link as it is given")
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        keys, position, matched = json.loads(text)
    except (binascii.Error, ValueError, TypeError) as error:
        raise refusal from error
    scalar = (str, int, float, type(None))
    if (
        keys != [[key.field, key.descending] for key in order]
        or not isinstance(position, list)
        or len(position) != len(order)
        or not all(isinstance(value, scalar) for value in position)
        or not isinstance(matched, int)
    ):
        raise refusal
    return position, matched


def _queryables(db: sqlite3.Connection, collection_id: str | None) -> dict[str, Any]:
    if collection_id is not None:
        _collection(db, collection_id)
    rows = db.execute(
        "SELECT property.key, group_concat(DISTINCT property.type)"
        " FROM items, json_each(items.document, '$.properties') AS property"
        " WHERE ?1 IS NULL OR items.collection = ?1"
        " GROUP BY property.key ORDER BY property.key",
        (collection_id,),
    )
    properties: dict[str, Any] = {
        "id": {"type": "string", "title": "Item id"},
        "collection": {"type": "string", "title": "Collection id"},
        "geometry": {"$ref": "https://geojson.org/schema/Geometry.json"},
        "datetime": {"type": "string", "format": "date-time", "title": "Time"},
    }
    for name, kinds in rows:
        types = {_JSON_TYPES[kind] for kind in str(kinds).split(",")} - {"null"}
        if types == {"integer", "number"}:
            types = {"number"}
        schema = {"type": types.pop()} if len(types) == 1 else {}
        properties.setdefault(str(name), schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "title": "Queryables",
        "properties": properties,
        "additionalProperties": True,
    }


_JSON_TYPES = {
    "null": "null",
    "true": "boolean",
    "false": "boolean",
    "integer": "integer",
    "real": "number",
    "text": "string",
    "array": "array",
    "object": "object",
}
