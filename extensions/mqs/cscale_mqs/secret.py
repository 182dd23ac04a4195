"""The key that signs the cursors: made once, kept in a file that only the service can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_LENGTH = 32
_NAME = "cursor-key"


def cursor_key(folder: Path | None) -> bytes | None:
    """The key of this service, so that cursors survive its restart.

    :param folder: where it is kept; none: there is no place, and the engine makes one up.
    :raises OSError: when the folder cannot be used.
    """
    if folder is None:
        return None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / _NAME
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_bytes()
    with os.fdopen(descriptor, "wb") as writer:
        key = secrets.token_bytes(_LENGTH)
        writer.write(key)
    return key
