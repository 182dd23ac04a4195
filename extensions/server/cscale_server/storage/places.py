"""The user's places: how they are, what lies in them, how much that is; links, and
deletion of an object.

Only what a grant covers is touched, whatever the store would allow. Blocking calls run in threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import CScaleError, Forbidden, InvalidInput, NotFound
from cscale_core.site import Grant, Site
from cscale_server.models import MountStatus
from cscale_server.storage.lines import Tell, told
from cscale_server.storage_models import (
    CountedLine,
    Link,
    StorageFolder,
    StorageObject,
    StoragePlace,
    StoragePlaces,
    UsageLine,
)
from cscale_server.tiles.names import can_be_shown, object_layer

if TYPE_CHECKING:
    from cscale_core.objects import ObjectHead, ObjectStore

MOST_COUNTED = 1_000_000
"""Objects that are counted at most; a thousand requests."""

_PROBE_SECONDS = 5.0
_PAGE = 1000
_FOLDERS = 50


def granted(site: Site, bucket: str, key: str, *, write: bool = False) -> Grant:
    """The grant that covers a key or a prefix.

    :raises NotFound: when none does.
    :raises Forbidden: when it may only be read.
    """
    inside = [
        grant for grant in site.grants if grant.bucket == bucket and key.startswith(grant.prefix)
    ]
    if not inside or any(part in (".", "..") for part in key.split("/")):
        raise NotFound(f"s3://{bucket}/{key} does not exist, or is not open to you.")
    if write and all(grant.access != "rw" for grant in inside):
        raise Forbidden(
            f"s3://{bucket}/{key} may only be read.",
            hint="Your own places are listed in the panel's storage view.",
        )
    return max(inside, key=lambda grant: len(grant.prefix))


class Places:
    """What can be asked of the user's places."""

    def __init__(self, site: Site, store: ObjectStore) -> None:
        self._site = site
        self._store = store

    async def list(self, mounts: Sequence[MountStatus]) -> StoragePlaces:
        """Every place, and how it is now; none holds up the others."""
        mounted = {(mount.bucket, mount.prefix): mount for mount in mounts}
        asked = (
            self._place(grant, mounted.get((grant.bucket, grant.prefix)))
            for grant in self._site.grants
        )
        return StoragePlaces(places=await asyncio.gather(*asked))

    async def _place(self, grant: Grant, mount: MountStatus | None) -> StoragePlace:
        problem, room = "", None
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await asyncio.to_thread(self._store.reach, grant.bucket, grant.prefix)
                if grant.access == "rw":
                    room = await asyncio.to_thread(self._room, grant.bucket)
        except TimeoutError:
            problem = f"The object store did not answer within {_PROBE_SECONDS:g} seconds."
        except CScaleError as error:
            problem = f"{error.message} {error.hint}".strip()
        return StoragePlace(
            bucket=grant.bucket,
            prefix=grant.prefix,
            access=grant.access,
            vo=grant.vo,
            purpose=grant.purpose,
            online=not problem,
            problem=problem,
            room=room,
            mount=mount,
        )

    def _room(self, bucket: str) -> int | None:
        try:
            return self._store.room(bucket)
        except CScaleError:
            return None  # who may not look at the bucket itself is not told

    async def folder(self, bucket: str, prefix: str, after: str, limit: int) -> StorageFolder:
        """Some of what lies right below a prefix."""
        if prefix and not prefix.endswith("/"):
            raise InvalidInput("prefix: it is empty, or ends with a slash.")
        granted(self._site, bucket, prefix)
        page = await asyncio.to_thread(self._store.folder, bucket, prefix, after=after, limit=limit)
        return StorageFolder(
            bucket=bucket,
            prefix=prefix,
            folders=list(page.folders),
            # The object of the prefix's own name only marks the folder.
            objects=[described(head) for head in page.objects if head.address.key != prefix],
            next=page.next,
        )

    async def usage(self, bucket: str, prefix: str) -> AsyncGenerator[bytes, None]:
        """How much lies below a prefix, as lines while it is counted; closing it ends it."""
        granted(self._site, bucket, prefix)

        def count(tell: Tell, stop: threading.Event) -> UsageLine:
            objects, size, folders = 0, 0, Counter[str]()
            for head in self._store.list(bucket, prefix):
                if stop.is_set() or objects >= MOST_COUNTED:
                    break
                objects, size = objects + 1, size + head.size
                name, inside, _ = head.address.key[len(prefix) :].partition("/")
                folders[f"{name}/" if inside else ""] += head.size
                if objects % _PAGE == 0:
                    tell(CountedLine(objects=objects, size=size))
            return UsageLine(
                objects=objects,
                size=size,
                folders=dict(folders.most_common(_FOLDERS)),
                complete=objects < MOST_COUNTED,
            )

        async with aclosing(told(count)) as lines:
            async for line in lines:
                yield line

    async def link(self, address: ObjectAddress, seconds: int, *, download: bool = False) -> Link:
        """An address that gives an object to whoever has it."""
        granted(self._site, address.bucket, address.key)
        await asyncio.to_thread(self._store.head, address)
        url = await asyncio.to_thread(self._store.presign, address, seconds, download=download)
        return Link(url=url, expires=datetime.now(UTC) + timedelta(seconds=seconds))

    async def delete(self, address: ObjectAddress) -> None:
        """Remove one object.

        :raises NotFound: when there is none, or it is not the user's.
        """
        granted(self._site, address.bucket, address.key, write=True)
        await asyncio.to_thread(self._store.head, address)
        await asyncio.to_thread(self._store.delete, address)


def described(head: ObjectHead) -> StorageObject:
    """An object as the panel shows it."""
    key = head.address.key
    return StorageObject(
        key=key,
        size=head.size,
        modified=head.modified,
        layer=object_layer(head.address.bucket, key) if can_be_shown(key) else "",
    )
