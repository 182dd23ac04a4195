"""Folders for the sockets of services: Linux takes no path of a socket beyond 107 bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

# Not TMPDIR: services have one below their data, whose path is as long.
_SHORT = Path("/tmp")  # noqa: S108 - the folder in it is checked by private_socket_folder


def socket_folder(near: Path, name: str, longest: int) -> Path:
    """Where a service has its sockets: the wished folder, else a short one in ``/tmp``.

    The answer is the same at every call and in every process. Make the folder with
    :func:`private_socket_folder`, and end with :func:`leave_socket_folder`.

    :param near: the wished folder, below the service's data.
    :param name: a short name of the service.
    :param longest: bytes that the path of the folder may have.
    """
    if len(str(near).encode()) <= longest:
        return near
    digest = hashlib.sha256(str(near).encode()).hexdigest()[:12]
    return _SHORT / f"cscale-{name}-{os.getuid()}-{digest}"


def private_socket_folder(folder: Path) -> None:
    """Make the folder, for this user alone.

    :raises PermissionError: when it belongs to somebody else.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    folder.chmod(0o700)


def leave_socket_folder(folder: Path) -> None:
    """Remove the folder when the service has ended, if it is one in ``/tmp``."""
    if folder.parent == _SHORT:
        shutil.rmtree(folder, ignore_errors=True)
