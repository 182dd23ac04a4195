"""What a staging would bring, and how much of it is in the bucket already."""

from __future__ import annotations

import asyncio
from typing import Any

from cscale_core.errors import CScaleError
from cscale_core.ingest.files import PlannedFile
from cscale_core.ingest.pouring import SEAL, is_sealed
from cscale_core.ingest.staging import StagingPlan
from cscale_core.objects import ObjectStore

#: Files that are looked for at most; the rest counts as not there.
LOOK_AT = 500
_AT_ONCE = 8
_SECONDS = 10.0


async def estimate(planned: StagingPlan, store: ObjectStore) -> dict[str, Any]:
    """How much there is to do. Sources are not asked.

    :returns: ``size`` (bytes to be fetched; None where some files state no size), ``files``,
        ``bytes`` (stated), ``unknown_sizes``, ``present_files`` and ``present_bytes`` (in the
        bucket already, of ``looked_at`` files), ``room`` (bytes that the quota leaves; None where
        the store does not tell), ``fits`` (None: not known) and ``left_out`` (sentences).
    """
    present: dict[PlannedFile, int] = {}
    looked_at = 0
    waiting = iter(planned.files[:LOOK_AT])

    async def look() -> None:
        nonlocal looked_at
        for file in waiting:
            size = await asyncio.to_thread(_present, store, file)
            looked_at += 1
            if size is not None:
                present[file] = size

    room: int | None = None
    try:
        async with asyncio.timeout(_SECONDS):
            await asyncio.gather(*(look() for _ in range(_AT_ONCE)))
            room = await asyncio.to_thread(store.room, planned.grant.bucket)
    except (TimeoutError, CScaleError):
        # What was not looked at counts as not there, and a store that does not tell has no room to
        # name: an estimate is no promise.
        pass
    missing = [file for file in planned.files if file not in present]
    known = sum(file.size or 0 for file in missing)
    size = None if any(file.size is None for file in missing) else known
    return {
        "size": size,
        "files": len(planned.files),
        "bytes": planned.known_bytes,
        "unknown_sizes": planned.unknown_sizes,
        "present_files": len(present),
        "present_bytes": sum(present.values()),
        "looked_at": looked_at,
        "room": room,
        "fits": None if room is None or (size is None and known <= room) else known <= room,
        "left_out": list(planned.left_out),
    }


def _present(store: ObjectStore, file: PlannedFile) -> int | None:
    """Bytes of the object, when it is there, verified, and as the item states it."""
    head = store.find(file.address)
    if head is None or not is_sealed(head) or file.size not in (None, head.size):
        return None
    digests = (head.metadata[SEAL], head.metadata.get("source-digest"))
    if file.checksum is not None and file.checksum.digest.hex() not in digests:
        return None
    return head.size
