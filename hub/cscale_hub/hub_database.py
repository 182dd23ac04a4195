"""How the hub's own SQLite database is written: in journal mode WAL, with a sync at checkpoints.

JupyterHub writes on its event loop, some twenty times for a login and a start. SQLite's default
waits for the disk two or three times at each of these commits, and everybody waits with it. With
WAL a killed hub loses nothing, and a machine that loses its power at most the commits of the last
moments: the file stays whole (https://www.sqlite.org/wal.html, "Performance Considerations").
"""

from __future__ import annotations

import sqlite3
from typing import Any

_WAITING_SECONDS = 30.0


class WalConnection(sqlite3.Connection):
    """A connection of the hub. A file system that cannot have WAL leaves the mode as it was."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = NORMAL")


def connect_arguments() -> dict[str, Any]:
    """What SQLAlchemy gives to :func:`sqlite3.connect`; JupyterHub's own argument is the first."""
    return {
        "check_same_thread": False,
        "timeout": _WAITING_SECONDS,
        "factory": WalConnection,
    }
