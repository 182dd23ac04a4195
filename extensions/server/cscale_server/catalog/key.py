"""The key by which this user's server signs the cursors of searches; kept over restarts."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from uuid import uuid4

_BYTES = 32


def signing_key(path: Path) -> bytes:
    """The key in a file of mode 0600, made at the first call.

    Two servers of one user that start at the same moment get the same key: the file appears
    whole or not at all, and the first one stays.

    :raises OSError: when the folder cannot be written.
    """
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{uuid4().hex}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(made, path)
        except FileExistsError:
            pass  # another server of this user was first
        except OSError:
            # A file system without hard links.
            made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    return path.read_bytes()
