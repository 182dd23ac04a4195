"""The catalogue in pgstac, on a private PostgreSQL cluster.

Everything goes through pgstac's own SQL functions. Found items are completed in Python (what
stac-fastapi-pgstac calls ``use_api_hydrate``), which was several times faster than in SQL, and
the reading connections are ``pgstac.readonly``, so that a search writes nothing and
``numberMatched`` is counted, not remembered from an earlier day.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import psycopg
from hydraters import hydrate
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pypgstac.db import PgstacDB
from pypgstac.migrate import Migrate
from shapely.geometry import mapping
from stac_fastapi.types.errors import ConflictError, NotFoundError

from cscale_hub.local.catalogue.documents import check_collection, check_item, patched
from cscale_hub.local.catalogue.problems import Problem, invalid
from cscale_hub.local.catalogue.query import Page, Search
from cscale_hub.local.postgres import DATABASE, USER, PostgresUnavailable, PrivateCluster

log = logging.getLogger("cscale.catalogue")

READERS, WRITERS = 6, 3
BASE_ITEM = "pgstac:base_item"
# pgstac drops members that are null, though STAC asks for some (``datetime`` of a composite): the
# places of an item's nulls are stored beside them and put back when it is read.
NULLS = "cscale:nulls"
# Sorted and compared as numbers; any other property that nobody declared is sorted as text.
NUMBERS = (
    *("eo:cloud_cover", "eo:snow_cover", "gsd"),
    *("view:off_nadir", "view:azimuth", "view:incidence_angle"),
    *("view:sun_azimuth", "view:sun_elevation"),
    *("sat:absolute_orbit", "sat:relative_orbit", "s2:nodata_pixel_percentage"),
)
WATCH_SECONDS = 2.0


def prepare_database(cluster: PrivateCluster) -> None:
    """Create the database on first use and bring pgstac to the installed version.

    :raises PostgresUnavailable: when the server refuses.
    """
    try:
        _prepare(cluster)
    except psycopg.Error as error:
        raise PostgresUnavailable(f"pgstac cannot be set up: {error}") from error


def _prepare(cluster: PrivateCluster) -> None:
    place = {"host": str(cluster.socket_folder), "user": USER, "password": cluster.password}
    with psycopg.connect(make_conninfo(**place, dbname="postgres"), autocommit=True) as admin:
        known = admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if known.fetchone() is None:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    database = PgstacDB(dsn=make_conninfo(**place, dbname=DATABASE))
    try:
        with psycopg.connect(make_conninfo(**place, dbname=DATABASE), autocommit=True) as admin:
            admin.execute("CREATE EXTENSION IF NOT EXISTS postgis")
            admin.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
        version = Migrate(database).run_migration()
        with psycopg.connect(make_conninfo(**place, dbname=DATABASE)) as admin:
            admin.execute("SET search_path TO pgstac, public")
            declared = admin.execute("SELECT name FROM queryables").fetchall()
            for name in sorted(set(NUMBERS) - {row[0] for row in declared}):
                admin.execute(
                    "SELECT upsert_queryable(%s, '{\"type\": \"number\"}', 'to_float')", (name,)
                )
    finally:
        database.close()
    log.info("pgstac %s is ready", version)


class PgstacStore:
    """A :class:`~cscale_hub.local.catalogue.query.Backend` on pgstac."""

    name = "pgstac"

    def __init__(self, cluster: PrivateCluster) -> None:
        self._cluster = cluster
        self._readers: asyncpg.Pool | None = None
        self._writers: asyncpg.Pool | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the connections, and watch the server."""
        self._readers = await self._pool(READERS, {"pgstac.readonly": "TRUE"})
        self._writers = await self._pool(WRITERS, {})
        self._watch = asyncio.create_task(self._watch_server())

    async def stop(self) -> None:
        """Close the connections; the server itself is stopped by who started it."""
        if self._watch is not None:
            self._watch.cancel()
        for pool in (self._readers, self._writers):
            if pool is not None:
                try:
                    async with asyncio.timeout(1):
                        await pool.close()
                except TimeoutError:
                    pool.terminate()

    async def ping(self) -> None:
        """Ask the server; raises when it does not answer."""
        async with self._connection(self._readers) as db:
            await db.fetchval("SELECT 1")

    async def collections(self) -> list[dict[str, Any]]:
        """All collections, by id."""
        async with self._connection(self._readers) as db:
            rows = await db.fetch("SELECT content FROM collections ORDER BY id")
        return [row["content"] for row in rows]

    async def collection(self, collection_id: str) -> dict[str, Any]:
        """One collection. :raises NotFoundError:"""
        async with self._connection(self._readers) as db:
            return await _collection(db, collection_id)

    async def item(self, collection_id: str, item_id: str) -> dict[str, Any]:
        """One item. :raises NotFoundError:"""
        async with self._connection(self._readers) as db:
            return await _item(db, collection_id, item_id)

    async def search(self, search: Search) -> Page:
        """One page of matching items."""
        question = _question(search)
        async with self._connection(self._readers) as db:
            try:
                found = await db.fetchval("SELECT search($1::jsonb)", question)
            except asyncpg.RaiseError as error:
                if "token" not in str(error):
                    raise
                raise invalid(
                    "token: not a token of this search, or the item it points to is gone",
                    "begin the search again",
                ) from error
            except asyncpg.DataError as error:
                raise invalid(f"the search cannot be evaluated: {error}") from error
        items = [_completed(item) for item in found["features"]]
        following = None
        for link in found.get("links", []):
            if link["rel"] == "next":
                following = link["href"].partition("token=")[2]
        return Page(items, following, int(found.get("numberMatched", len(items))))

    async def queryables(self, collection_id: str | None) -> dict[str, Any]:
        """pgstac's table of queryables."""
        async with self._connection(self._readers) as db:
            if collection_id is not None:
                await _collection(db, collection_id)
            document = await db.fetchval("SELECT get_queryables($1::text)", collection_id)
        return document or {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "title": "Queryables",
            "properties": {},
            "additionalProperties": True,
        }

    async def create_items(self, collection_id: str, items: list[dict[str, Any]]) -> None:
        """Add checked items, all or none.

        :raises NotFoundError: without such a collection.
        :raises ConflictError: when one of the ids exists.
        """
        async with self._transaction() as db:
            await _alone(db, collection_id)
            await _collection(db, collection_id)
            identifiers = [item["id"] for item in items]
            taken = await db.fetchval(
                "SELECT id FROM items WHERE collection = $1 AND id = ANY($2::text[]) LIMIT 1",
                collection_id,
                identifiers,
            )
            if taken is not None:
                raise ConflictError(f"item {taken} exists in collection {collection_id}")
            await db.execute("SELECT create_items($1::jsonb)", [_with_places(i) for i in items])

    async def replace_item(self, collection_id: str, item: dict[str, Any]) -> None:
        """Replace a whole item. :raises NotFoundError:"""
        async with self._transaction() as db:
            await _alone(db, item["collection"])
            await _replace(db, item)

    async def patch_item(self, collection_id: str, item_id: str, patch: Any) -> dict[str, Any]:
        """Change an item in one transaction. :raises NotFoundError:"""
        async with self._transaction() as db:
            await _alone(db, collection_id)
            changed = patched(await _item(db, collection_id, item_id), patch)
            item = check_item(changed, collection_id, item_id)
            await _replace(db, item)
        return item

    async def delete_item(self, collection_id: str, item_id: str) -> None:
        """Remove an item. :raises NotFoundError:"""
        async with self._transaction() as db:
            try:
                await db.execute("SELECT delete_item($1, $2)", item_id, collection_id)
            except asyncpg.NoDataFoundError as error:
                raise _no_item(collection_id, item_id) from error

    async def create_collection(self, collection: dict[str, Any]) -> None:
        """Add a checked collection. :raises ConflictError:"""
        async with self._transaction() as db:
            try:
                await db.execute("SELECT create_collection($1::jsonb)", collection)
            except asyncpg.UniqueViolationError as error:
                raise ConflictError(f"collection {collection['id']} exists") from error

    async def replace_collection(self, collection: dict[str, Any]) -> None:
        """Replace a collection's document; its items stay. :raises NotFoundError:"""
        async with self._transaction() as db:
            await _replace_collection(db, collection)

    async def patch_collection(self, collection_id: str, patch: Any) -> dict[str, Any]:
        """Change a collection in one transaction. :raises NotFoundError:"""
        async with self._transaction() as db:
            await _alone(db, collection_id)
            changed = patched(await _collection(db, collection_id), patch)
            collection = check_collection(changed, collection_id)
            await _replace_collection(db, collection)
        return collection

    async def delete_collection(self, collection_id: str) -> None:
        """Remove a collection and its items. :raises NotFoundError:"""
        async with self._transaction() as db:
            try:
                await db.execute("SELECT delete_collection($1)", collection_id)
            except asyncpg.NoDataFoundError as error:
                raise _no_collection(collection_id) from error

    async def _pool(self, size: int, settings: dict[str, str]) -> asyncpg.Pool:
        return await asyncpg.create_pool(
            host=str(self._cluster.socket_folder),
            user=USER,
            password=self._cluster.password,
            database=DATABASE,
            min_size=1,
            max_size=size,
            init=_use_json,
            server_settings={
                "search_path": "pgstac,public",
                "application_name": "cscale-catalogue",
                "pgstac.context": "on",
                **settings,
            },
        )

    @asynccontextmanager
    async def _connection(self, pool: asyncpg.Pool | None) -> AsyncIterator[Any]:
        if pool is None:
            raise RuntimeError("the catalogue is closed")
        try:
            async with pool.acquire(timeout=30) as connection:
                yield connection
        except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError) as error:
            log.warning("PostgreSQL does not answer: %s", error)
            raise Problem(
                503, "the catalogue's database does not answer", retryable=True
            ) from error

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        async with self._connection(self._writers) as connection:
            try:
                async with connection.transaction():
                    yield connection
            except asyncpg.UniqueViolationError as error:  # two writers at the same time
                raise ConflictError("it exists already") from error
            except asyncpg.DeadlockDetectedError as error:  # with a reader: nothing was written
                raise Problem(503, "the catalogue is busy", retryable=True) from error

    async def _watch_server(self) -> None:
        """End the service when its server is gone: the hub starts both again."""
        # Polled, because waiting for the child would need a thread of its own.
        while self._cluster.pid is not None:  # noqa: ASYNC110
            await asyncio.sleep(WATCH_SECONDS)
        log.critical("PostgreSQL has ended by itself; the catalogue ends too, to be started again")
        os.kill(os.getpid(), signal.SIGTERM)


async def _use_json(connection: Any) -> None:
    await connection.set_type_codec("jsonb", encoder=_text, decoder=json.loads, schema="pg_catalog")


def _text(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False)


def _question(search: Search) -> dict[str, Any]:
    """The search as pgstac's function takes it."""
    question: dict[str, Any] = {
        "limit": search.limit,
        "sortby": [
            {"field": key.field, "direction": "desc" if key.descending else "asc"}
            for key in search.order
        ],
        "conf": {"nohydrate": True},
    }
    if search.collections is not None:
        question["collections"] = list(search.collections)
    if search.ids is not None:
        question["ids"] = list(search.ids)
    if search.area is not None:
        question["intersects"] = mapping(search.area)
    if search.period is not None:
        ends = [".." if moment is None else moment.isoformat() for moment in search.period]
        question["datetime"] = "/".join(ends)
    if search.filter is not None:
        question["filter"] = search.filter
        question["filter-lang"] = "cql2-json"
    if search.token is not None:
        question["token"] = search.token
    return question


def _completed(item: dict[str, Any]) -> dict[str, Any]:
    base = item.pop(BASE_ITEM, None) or {}
    base = {name: value for name, value in base.items() if value is not None}
    return _with_nulls(hydrate(base, item, strip_unmatched_markers=True))


def _places_of_nulls(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[list[str | int]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if inner is None:
                yield [*place, name]
            else:
                yield from _places_of_nulls(inner, (*place, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places_of_nulls(inner, (*place, index))


def _with_places(item: dict[str, Any]) -> dict[str, Any]:
    """The item as it is given to pgstac."""
    bare = {name: value for name, value in item.items() if name != NULLS}
    places = list(_places_of_nulls(bare))
    return {**bare, NULLS: places} if places else bare


def _with_nulls(item: dict[str, Any]) -> dict[str, Any]:
    """The item as it was before :func:`_with_places`; changes ``item``."""
    for *parents, last in item.pop(NULLS, []):
        target: Any = item
        for name in parents:
            # An object that held nothing but nulls may have gone with them.
            target = target.setdefault(name, {}) if isinstance(target, dict) else target[name]
        target[last] = None
    return item


def _no_collection(collection_id: str) -> NotFoundError:
    return NotFoundError(f"there is no collection {collection_id}")


def _no_item(collection_id: str, item_id: str) -> NotFoundError:
    return NotFoundError(f"there is no item {item_id} in collection {collection_id}")


async def _alone(db: Any, collection_id: str) -> None:
    """Wait until no other transaction writes to the collection; first thing in a transaction.

    pgstac rewrites the constraints of a partition whose range of times grows. Two transactions
    that have both read the partition would each wait for the other.
    """
    await db.execute("SELECT pg_advisory_xact_lock(hashtext($1))", collection_id)


async def _collection(db: Any, collection_id: str) -> dict[str, Any]:
    document: dict[str, Any] | None = await db.fetchval("SELECT get_collection($1)", collection_id)
    if document is None:
        raise _no_collection(collection_id)
    return document


async def _item(db: Any, collection_id: str, item_id: str) -> dict[str, Any]:
    document: dict[str, Any] | None = await db.fetchval(
        "SELECT get_item($1, $2)", item_id, collection_id
    )
    if document is None:
        raise _no_item(collection_id, item_id)
    return _with_nulls(document)


async def _replace(db: Any, item: dict[str, Any]) -> None:
    try:
        await db.execute("SELECT update_item($1::jsonb)", _with_places(item))
    except asyncpg.NoDataFoundError as error:
        raise _no_item(item["collection"], item["id"]) from error


async def _replace_collection(db: Any, collection: dict[str, Any]) -> None:
    try:
        await db.execute("SELECT update_collection($1::jsonb)", collection)
    except asyncpg.NoDataFoundError as error:
        raise _no_collection(collection["id"]) from error
