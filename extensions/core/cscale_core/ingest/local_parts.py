"""A file that arrives on disk: kept in part, verified whole, and only then under its name.

The part lies beside the file (``.NAME.part``), with a note of what the source called the version
that it is of. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cscale_core.errors import CScaleError, InvalidInput, StorageFull
from cscale_core.ingest.checksums import Multihash
from cscale_core.ingest.download_plan import LocalFile

_PIECE = 1024 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Kept:
    """What an earlier run left of a file."""

    received: int = 0
    size: int | None = None
    validator: str = ""


def kept(local: LocalFile) -> Kept:
    """What is there of a file; nothing where the source could not tell whether it still fits."""
    try:
        note = json.loads(local.note.read_text(encoding="utf-8"))
        received = local.part.stat().st_size
        known = Kept(received, note["size"], str(note["validator"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Kept()
    fits = known.size is None or (isinstance(known.size, int) and received <= known.size)
    # Without either nobody would notice that another version goes on where this one ended.
    checked = bool(known.validator) or local.file.checksum is not None
    return known if fits and checked and not local.part.is_symlink() else Kept()


class Part:
    """The open part of one file."""

    def __init__(self, local: LocalFile, start: Kept) -> None:
        self._local = local
        if local.part.is_symlink():
            local.part.unlink()
        with explained(local):
            self._file = local.part.open("r+b" if start.received else "wb")
            self._file.truncate(start.received)
            self._file.seek(start.received)

    def restart(self) -> None:
        """Forget what came so far."""
        self._file.seek(0)
        self._file.truncate()
        self._local.note.unlink(missing_ok=True)

    def remember(self, size: int | None, validator: str) -> None:
        """Note which version of the source this is a part of."""
        text = json.dumps({"size": size, "validator": validator})
        with explained(self._local):
            self._local.note.write_text(text, encoding="utf-8")

    def add(self, data: bytes) -> None:
        """Some more bytes.

        :raises StorageFull: when the disk has no room; what was written is kept.
        """
        with explained(self._local):
            self._file.write(data)

    def close(self) -> None:
        # Also after a full disk, where the last bytes of the buffer cannot be written.
        with contextlib.suppress(OSError):
            self._file.close()

    def finish(self, digest: Multihash | None = None) -> None:
        """Verify the whole, and give it its name.

        :param digest: what the source's store says, where the item states no checksum.
        :raises DamagedData: when it is not what was stated; the part is removed then.
        """
        local, file = self._local, self._local.file
        with explained(local):
            self._file.flush()
            os.fsync(self._file.fileno())
        size = local.part.stat().st_size
        checksum = file.checksum or digest
        why = ""
        if file.size is not None and size != file.size:
            why = f"it has {size} bytes, not {file.size} as stated"
        elif checksum is not None and not has_checksum(local.part, checksum):
            why = f"its {checksum.algorithm} checksum is not the stated one"
        self.close()
        if why:
            forget(local)
            raise file.damaged(why)
        with explained(local):
            local.part.replace(local.path)
        local.note.unlink(missing_ok=True)


def forget(local: LocalFile) -> None:
    """Remove what is there in part."""
    local.part.unlink(missing_ok=True)
    local.note.unlink(missing_ok=True)


def has_checksum(path: Path, checksum: Multihash) -> bool:
    """Whether a file's bytes have this checksum."""
    hasher = checksum.hasher()
    with path.open("rb") as file:
        while data := file.read(_PIECE):
            hasher.update(data)
    return bool(hasher.digest() == checksum.digest)


def is_there(local: LocalFile, size: int | None = None, digest: Multihash | None = None) -> bool:
    """Whether the whole file is there, as far as its item, or its source, states anything.

    :param size: what the source says, where the item does not.
    """
    path, file = local.path, local.file
    stated = file.size if file.size is not None else size
    checksum = file.checksum or digest
    if path.is_symlink() or not path.is_file() or (stated is None and checksum is None):
        return False
    if stated is not None and path.stat().st_size != stated:
        return False
    return checksum is None or has_checksum(path, checksum)


@contextlib.contextmanager
def explained(local: LocalFile) -> Iterator[None]:
    """Errors of the disk in our words."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                f"There is no room left in {local.path.parent}.",
                hint="Delete what is not needed, or choose another folder, and download again: "
                "what has arrived is kept.",
            ) from error
        raise _unwritable(local, error) from error


def _unwritable(local: LocalFile, error: OSError) -> CScaleError:
    return InvalidInput(
        f"{local.path} cannot be written: {error.strerror or error}.",
        hint="Choose a folder of your own.",
    )
