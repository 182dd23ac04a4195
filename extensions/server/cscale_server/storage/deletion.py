"""Deleting a folder of the object store: every object below a prefix, one by one.

S3 knows no folders, and no request that removes one. What is there is looked up first, so that it
can be told how far it is, and what arrives meanwhile stays. The objects go by requests of their
own: one for many needs a checksum that not all stores take, and a rule may keep one object of them.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import CScaleError, InvalidInput, NotFound
from cscale_core.site import Site
from cscale_server.storage.lines import Tell, told
from cscale_server.storage.places import granted
from cscale_server.storage_models import DeletedLine, DeletingLine, KeptObject

if TYPE_CHECKING:
    from cscale_core.objects import ObjectHead, ObjectStore

MOST_DELETED = 100_000
"""Objects that one request deletes at most."""

MOST_REFUSED = 100
"""Objects that may fail before the rest is not tried any more."""

_NAMED = 10
_AT_ONCE = 8
_STEP = 64
_PAGE = 1000


class Deletion:
    """Deletes folders of the user's places."""

    def __init__(self, site: Site, store: ObjectStore) -> None:
        self._site = site
        self._store = store

    async def folder(self, bucket: str, prefix: str) -> AsyncGenerator[bytes, None]:
        """Delete what lies below a prefix, as lines while it goes on; closing it ends it.

        What the store does not delete is kept and told.

        :raises InvalidInput: when it is no folder, or holds a place.
        :raises NotFound: when nothing is there, or it is not the user's.
        :raises Forbidden: when it may only be read.
        """
        self._check(bucket, prefix)
        async with aclosing(told(partial(_delete, self._store, bucket, prefix))) as lines:
            async for line in lines:
                yield line

    def _check(self, bucket: str, prefix: str) -> None:
        if not prefix.endswith("/"):
            raise InvalidInput("prefix: it ends with a slash.")
        granted(self._site, bucket, prefix, write=True)
        for grant in self._site.grants:
            if grant.bucket == bucket and grant.prefix.startswith(prefix):
                raise InvalidInput(
                    f"s3://{bucket}/{grant.prefix} is a place that was given to you.",
                    hint="Nothing was deleted. Delete the folders in it instead.",
                )


def _delete(
    store: ObjectStore, bucket: str, prefix: str, tell: Tell, stop: threading.Event
) -> DeletedLine:
    found: list[ObjectHead] = []
    listing = store.list(bucket, prefix)
    for head in islice(listing, MOST_DELETED):
        found.append(head)
        if len(found) % _PAGE == 0:
            tell(DeletingLine(objects=len(found), deleted=0))
        if stop.is_set():
            break
    if not found and not _is_shown(store, bucket, prefix):
        raise NotFound(f"Nothing lies in s3://{bucket}/{prefix}.")
    more = next(listing, None) is not None
    deleted, size, refused = 0, 0, list[KeptObject]()
    with ThreadPoolExecutor(_AT_ONCE, "delete") as pool:
        for some in _steps(found):
            if stop.is_set() or len(refused) >= MOST_REFUSED:
                break
            outcomes = pool.map(partial(_tried, store), (head.address for head in some))
            for head, why in zip(some, outcomes, strict=True):
                if why:
                    refused.append(KeptObject(key=head.address.key, why=why))
                else:
                    deleted, size = deleted + 1, size + head.size
            tell(DeletingLine(objects=len(found), deleted=deleted, more=more))
    if deleted == len(found) and not more and _is_shown(store, bucket, prefix):
        _forget(store, bucket, prefix, stop)
    return DeletedLine(
        objects=len(found), deleted=deleted, size=size, refused=refused[:_NAMED], more=more
    )


def _steps(found: Sequence[ObjectHead]) -> Iterator[Sequence[ObjectHead]]:
    """The objects some at a time, the marks of folders after what lies in them."""
    marks = [head for head in found if head.address.key.endswith("/")]
    others = [head for head in found if not head.address.key.endswith("/")]
    for at in range(0, len(others), _STEP):
        yield others[at : at + _STEP]
    for mark in sorted(marks, key=lambda head: head.address.key.count("/"), reverse=True):
        yield [mark]


def _is_shown(store: ObjectStore, bucket: str, prefix: str) -> bool:
    """Whether a listing names a folder, empty or not."""
    return prefix in store.folder(bucket, prefix.rstrip("/")).folders


def _forget(store: ObjectStore, bucket: str, prefix: str, stop: threading.Event) -> None:
    """Remove an empty folder and those in it.

    SeaweedFS 4.48 has real folders and shows them after their last object is gone. It removes one
    when its mark is deleted, though that was never written; one that is not empty stays (both
    seen).
    """
    after = ""
    while not stop.is_set():
        page = store.folder(bucket, prefix, after=after)
        for inner in page.folders:
            _forget(store, bucket, inner, stop)
        after = page.next
        if not after:
            _tried(store, ObjectAddress(bucket, prefix))  # one that stays does no harm
            return


def _tried(store: ObjectStore, address: ObjectAddress) -> str:
    """Why an object could not be deleted; empty: it is gone."""
    try:
        store.delete(address)
    except CScaleError as error:
        return f"{error.message} {error.hint}".strip()
    return ""
