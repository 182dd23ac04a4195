"""What the catalogue answers when its store cannot write: really full, really locked."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from cscale_hub.local.catalogue.problems import add_handlers


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    path = tmp_path / "store.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE items (document BLOB)")
    app = FastAPI()
    add_handlers(app)

    def connected() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=0, isolation_level=None)

    @app.get("/full")
    async def full() -> None:
        db = connected()
        db.execute("PRAGMA max_page_count = 2")
        db.execute("INSERT INTO items VALUES (zeroblob(1000000))")

    @app.get("/locked")
    async def locked() -> None:
        other = connected()
        other.execute("BEGIN EXCLUSIVE")
        try:
            connected().execute("INSERT INTO items VALUES ('x')")
        finally:
            other.close()

    @app.get("/wrong")
    async def wrong() -> None:
        connected().execute("SELECT * FROM absent")

    return app


@pytest.mark.parametrize(
    ("path", "status", "code", "retryable"),
    [("/full", 507, "storage_full", False), ("/locked", 503, "upstream_error", True)],
)
async def test_store_that_cannot_write_is_explained(
    app: FastAPI, path: str, status: int, code: str, retryable: bool
) -> None:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://catalogue") as http:
        answer = await http.get(path)
    assert answer.status_code == status
    said = answer.json()
    assert (said["code"], said["retryable"]) == (code, retryable)
    assert "nothing of this request was stored" in said["message"]


async def test_our_own_mistakes_are_not_explained_away(app: FastAPI) -> None:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://catalogue") as http:
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await http.get("/wrong")
