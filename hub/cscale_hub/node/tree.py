"""The tree of one server: plain folders of the node with the server's places bound in them.

The server's pod has the top folder with ``HostToContainer``: what is bound here appears in the
running pod, and what is bound anew after a bucket was mounted anew does so too.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from logging import getLogger
from pathlib import Path

from cscale_hub.node.mounts import Mounted, MountFailed, bind, mounted_below, run, unbind
from cscale_hub.node.places import BUCKETS, OWN, SERVERS, Place, Wanted

_log = getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


class Tree:
    """One server's places, kept as they are wanted.

    :param folder: the node's folder, in which buckets are mounted and servers have their trees.
    :param server: name of the pod.
    """

    def __init__(self, folder: Path, server: str) -> None:
        self._buckets = folder / BUCKETS
        self.path = folder / SERVERS / server
        # By bucket: when it is tried again, and the pause after that.
        self._again: dict[str, tuple[float, float]] = {}

    async def keep(self, wanted: Wanted) -> None:
        """Bind what is not bound, or is bound to a mount that is no more; remove the rest."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._link(wanted.link)
        now = mounted_below(self.path)
        sources = mounted_below(self._buckets)
        places: dict[str, list[Place]] = {}
        for place in sorted(wanted.places, key=lambda each: each.path):
            places.setdefault(place.bucket, []).append(place)
        for path in sorted(now, key=lambda each: len(each.parts), reverse=True):
            if path.relative_to(self.path).parts[:1] not in {(name,) for name in places}:
                await unbind(path)
        for bucket, some in places.items():
            source = sources.get(self._buckets / bucket)
            begun, pause = self._again.get(bucket, (0.0, _FIRST_PAUSE))
            if source is None or time.monotonic() < begun:
                continue
            below = self.path / bucket
            found = {p: each for p, each in now.items() if p == below or below in p.parents}
            try:
                changed = await self._bind_bucket(source, some, found)
            except MountFailed as error:
                self._again[bucket] = time.monotonic() + pause, min(2 * pause, _LONGEST_PAUSE)
                _log.warning("%s: %s; tried again in %.0f s", self.path.name, error, pause)
            else:
                self._again.pop(bucket, None)
                if changed:
                    _log.info("%s: %s is shown", self.path.name, bucket)

    async def _bind_bucket(
        self, source: Mounted, some: list[Place], found: Mapping[Path, Mounted]
    ) -> bool:
        """Bind what is not bound as it is wanted, whatever is wrong with other places.

        :param source: the mount of the bucket.
        :param found: what is bound of it in the tree.
        :returns: whether anything had to be done.
        :raises MountFailed: of the first place that cannot be bound.
        """
        missing = {self.path / place.path: place for place in some}
        changed = False
        for path, each in sorted(found.items(), key=lambda one: len(one[0].parts), reverse=True):
            place = missing.get(path)
            if place and each.device == source.device and each.read_only >= (not place.writable):
                del missing[path]
            else:
                await unbind(path)
                changed = True
        failures = []
        for path, place in missing.items():
            try:
                await self._bind(place, path)
            except MountFailed as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return changed or bool(missing)

    async def _bind(self, place: Place, path: Path) -> None:
        folder = self._buckets / place.path
        try:
            # Folders of a bucket come with their first object.
            await run("mkdir", "-p", folder)
        except MountFailed:
            if place.writable:
                raise
        await bind(folder, path, writable=place.writable)

    def _link(self, target: str) -> None:
        path = self.path / OWN
        now = str(path.readlink()) if path.is_symlink() else ""
        if now != target:
            path.unlink(missing_ok=True)
            if target:
                path.symlink_to(target)

    async def remove(self) -> None:
        """Unbind everything and remove the folders; a file that were there would stay."""
        for path in sorted(
            mounted_below(self.path), key=lambda each: len(each.parts), reverse=True
        ):
            await unbind(path)
        self._link("")
        for folder, _, _ in os.walk(self.path, topdown=False):
            # Not empty: somebody's, or bound again in this moment.
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
