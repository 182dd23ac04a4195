"""Files that hold secrets: written whole with mode 0600, refused when others can read them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


class InsecureFile(Exception):
    """A secret file that group or others may read or write."""


class DamagedState(Exception):
    """What the identity provider kept in ``data_dir`` cannot be used by this program."""


def make_private_dir(path: Path) -> None:
    """Create a folder of mode 0700, or tighten an existing one to it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)


def write_private(path: Path, content: bytes) -> None:
    """Replace ``path`` in one step by ``content``, mode 0600 from the first byte on.

    A reader sees the old file or the new one, also after a power cut.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_private(path: Path) -> bytes:
    """Read a secret file.

    :raises InsecureFile: when its mode gives group or others anything.
    :raises OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & 0o077:
            raise InsecureFile(f"{path} has mode {mode & 0o777:04o}; make it 0600 (chmod 600)")
        return file.read()
