"""Files of jobs on a cluster whose working folder is seen here, or not at all."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from cscale_core.errors import NotFound
from cscale_core.jobs.engines.slurm.transport import File


class LocalFiles:
    """The cluster's working folder, mounted on this machine.

    :param there: the working folder on the cluster.
    :param here: where it is seen.
    """

    def __init__(self, there: str, here: Path) -> None:
        self._there = PurePosixPath(there)
        self._here = here

    def _path(self, path: str) -> Path:
        try:
            inside = PurePosixPath(path).relative_to(self._there)
        except ValueError:
            raise NotFound(
                f"{path} lies outside the working folder, which is all we see."
            ) from None
        return self._here / inside

    async def tails(self, wanted: Mapping[str, int], limit: int) -> dict[str, bytes]:
        def read() -> dict[str, bytes]:
            found = {}
            for path, offset in wanted.items():
                try:
                    with self._path(path).open("rb") as file:
                        file.seek(offset)
                        found[path] = file.read(limit)
                except FileNotFoundError:
                    found[path] = b""
            return found

        return await asyncio.to_thread(read)

    async def listing(self, folder: str) -> Sequence[File]:
        root = self._path(folder)

        def walk() -> list[File]:
            return [
                File(str(path.relative_to(root)), path.stat().st_size)
                for parent, _, names in os.walk(root)
                for name in names
                if (path := Path(parent) / name).is_file() and not path.is_symlink()
            ]

        return await asyncio.to_thread(walk)

    async def fetch(self, path: str, target: Path) -> None:
        try:
            await asyncio.to_thread(shutil.copyfile, self._path(path), target)
        except FileNotFoundError:
            raise NotFound(f"{path} is not on the cluster any more.") from None


class NoFiles:
    """A cluster whose files are not seen from here."""

    @staticmethod
    def _unseen() -> NotFound:
        return NotFound(
            "The cluster's files are not seen from here.",
            hint="The operator can mount its working folder, or offer the cluster over ssh.",
        )

    async def tails(self, wanted: Mapping[str, int], limit: int) -> dict[str, bytes]:
        raise self._unseen()

    async def listing(self, folder: str) -> Sequence[File]:
        raise self._unseen()

    async def fetch(self, path: str, target: Path) -> None:
        raise self._unseen()
