"""Which store the catalogue uses, and keeping to it.

``auto`` takes pgstac where PostgreSQL with PostGIS can be run, else SQLite, and writes the choice
to ``data_dir/store``: a catalogue does not change its store, and so lose sight of its items,
because a package was installed or removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from cscale_hub.local.catalogue.config import CatalogueConfig
from cscale_hub.local.catalogue.query import Backend
from cscale_hub.local.catalogue.sqlite_store import SqliteStore
from cscale_hub.local.postgres import PostgresUnavailable, PrivateCluster, find_installation

log = logging.getLogger("cscale.catalogue")

PGSTAC_EXTENSIONS = ("postgis", "btree_gist")


class BackendUnavailable(Exception):
    """The store that the settings or earlier data ask for cannot be started."""


@contextmanager
def open_backend(config: CatalogueConfig) -> Iterator[Backend]:
    """The store to use; a private PostgreSQL, if it is that, runs inside the block.

    :raises BackendUnavailable:
    """
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    record = config.data_dir / "store"
    kept = record.read_text().strip() if record.exists() else ""
    wanted = config.backend if config.backend != "auto" else kept or "auto"
    if wanted in ("auto", "pgstac"):
        try:
            cluster = _start_pgstac(config)
        except PostgresUnavailable as error:
            if wanted == "pgstac":
                raise BackendUnavailable(_refusal(config, str(error))) from error
            log.warning(
                "%s; using SQLite, pgstac would add faster searches on large catalogues", error
            )
        else:
            # Imported here: it pulls in the PostgreSQL drivers, some 30 MB of memory.
            from cscale_hub.local.catalogue.pgstac_store import PgstacStore

            try:
                record.write_text("pgstac\n")
                yield PgstacStore(cluster)
            finally:
                cluster.stop()
            return
    record.write_text("sqlite\n")
    yield SqliteStore(config.data_dir / "catalogue.sqlite")


def _start_pgstac(config: CatalogueConfig) -> PrivateCluster:
    """A running cluster with pgstac in it. :raises PostgresUnavailable:"""
    cluster = PrivateCluster(config.data_dir / "pg", find_installation(PGSTAC_EXTENSIONS))
    cluster.start()
    try:
        from cscale_hub.local.catalogue.pgstac_store import prepare_database

        prepare_database(cluster)
    except BaseException:
        cluster.stop()
        raise
    return cluster


def _refusal(config: CatalogueConfig, reason: str) -> str:
    if config.backend == "pgstac":
        return reason
    return (
        f"{reason}; the items of this catalogue are in PostgreSQL ({config.data_dir / 'pg'}). "
        "Install what is missing, or begin an empty catalogue with CSCALE_CATALOGUE__BACKEND=sqlite"
    )
