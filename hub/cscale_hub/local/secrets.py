"""Secrets of the local federation: made on the first start, files of mode 0600, never printed."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path


class SecretError(Exception):
    """A secret file is missing, empty, or readable by others."""


def write_secret(path: Path, value: str) -> None:
    """Write a secret so that it is never, not even for a moment, readable by others."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(value)
    temporary.replace(path)


def read_secret(path: Path) -> str:
    """The content of a secret file, without surrounding white space.

    What somebody else owns, as the files of a mounted Kubernetes Secret, is lent by its group.

    :raises SecretError: when it is missing, empty, or others may read or write it.
    """
    try:
        status = path.stat()
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SecretError(f"The secret file {path} cannot be read: {error.strerror}") from error
    forbidden = 0o077 if status.st_uid == os.geteuid() else 0o037
    if stat.S_IMODE(status.st_mode) & forbidden:
        raise SecretError(f"The secret file {path} is accessible to others: chmod 600 {path}")
    if not value:
        raise SecretError(f"The secret file {path} is empty.")
    return value


def ensure_secret(path: Path, length: int = 32) -> str:
    """The secret in the file; made of ``length`` random bytes, in hexadecimal, if there is none.

    :raises SecretError: as :func:`read_secret`, and when it has to be made and cannot.
    """
    if not path.exists():
        try:
            write_secret(path, secrets.token_hex(length) + "\n")
        except OSError as error:
            raise SecretError(
                f"The secret file {path} is missing and cannot be made: {error.strerror}"
            ) from error
    return read_secret(path)
