"""``python -m cscale_hub.local.archive --config FILE``: serve a folder as site B.

The STAC API is the catalogue's own, read-only, on an index that is made anew at each start; the
files that the items name, and no others, are served with Range below ``/data``.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from cscale_hub.local.archive.config import ArchiveConfig
from cscale_hub.local.archive.items import FolderError, Holding, hold
from cscale_hub.local.catalogue.application import build_application
from cscale_hub.local.catalogue.config import CatalogueConfig
from cscale_hub.local.catalogue.sqlite_store import SqliteStore

log = logging.getLogger("cscale.archive")


class KnownFiles(StaticFiles):
    """Only the files that an item names."""

    def __init__(self, folder: Path, files: frozenset[str]) -> None:
        super().__init__(directory=folder)
        self._files = files

    async def get_response(self, path: str, scope: Scope) -> Response:
        if path not in self._files:
            raise HTTPException(status_code=404)
        return await super().get_response(path, scope)


async def _fill(store: SqliteStore, holding: Holding) -> None:
    await store.start()
    try:
        for collection in holding.collections:
            await store.create_collection(collection)
            members = [item for item in holding.items if item["collection"] == collection["id"]]
            await store.create_items(collection["id"], members)
    finally:
        await store.stop()


def build(config: ArchiveConfig) -> FastAPI:
    """The archive's application, its index filled.

    :raises FolderError: when the folder cannot be served.
    """
    holding = hold(config.root, f"http://{config.host}:{config.port}/data")
    shutil.rmtree(config.data_dir, ignore_errors=True)
    config.data_dir.mkdir(parents=True, mode=0o700)
    store = SqliteStore(config.data_dir / "index.sqlite")
    asyncio.run(_fill(store, holding))
    catalogue = CatalogueConfig(
        host=config.host,
        port=config.port,
        prefix="",
        data_dir=config.data_dir,
        issuer="",
        title=config.title,
        description=f"{len(holding.items)} items, read-only",
        read_only=True,
    )
    app = build_application(catalogue, store)
    app.mount("/data", KnownFiles(config.root, holding.files))
    log.info("%d items of %s", len(holding.items), config.root)
    return app


def main() -> int:
    """Serve until SIGTERM; 2 for a wrong setting, 1 for a folder that cannot be served."""
    parser = argparse.ArgumentParser(prog="cscale_hub.local.archive")
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    try:
        config = ArchiveConfig.model_validate_json(arguments.config.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        print(f"{arguments.config}: {error}", file=sys.stderr)
        return 2
    try:
        app = build(config)
    except FolderError as error:
        log.error("%s", error)
        return 1
    uvicorn.run(
        app,
        host=config.host,
        port=config.port,
        server_header=False,
        access_log=False,
        # Longer than clients keep a connection (ours 15 s): else it is closed as it is used again.
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
