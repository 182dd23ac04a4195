"""Reads a whole archive once, in a process of its own: ``python -m benchmarks.archives.reading``.

Prints one line of JSON: items, seconds, and the mebibytes that the process grew by at its largest.
The items are counted and let go, as a program that writes them away does. The clock starts when the
archive's landing page has been read: opening a client is not what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reading:
    """What reading an archive took."""

    items: int
    seconds: float
    mebibytes: float


def _memory(field: str) -> float:
    """Mebibytes of this process: ``VmRSS`` now, ``VmHWM`` at its largest (proc(5))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel does not tell {field}")


def _engine(url: str, page: int) -> Reading:
    from benchmarks.archives.federation import federation
    from cscale_core.catalog.query import SearchQuery

    async def read() -> Reading:
        async with federation([url], page) as engine:
            return await _timed(engine.items(SearchQuery(limit=page)))

    async def _timed(items: AsyncIterator[object]) -> Reading:
        before, begun, count = _memory("VmRSS"), time.perf_counter(), 0
        async for _ in items:
            count += 1
        return Reading(count, time.perf_counter() - begun, _memory("VmHWM") - before)

    return asyncio.run(read())


def _pystac_client(url: str, page: int) -> Reading:
    from pystac_client import Client

    items = Client.open(url).search(limit=page).items_as_dicts()
    before, begun, count = _memory("VmRSS"), time.perf_counter(), 0
    for _ in items:
        count += 1
    return Reading(count, time.perf_counter() - begun, _memory("VmHWM") - before)


_READERS = {"engine": _engine, "pystac-client": _pystac_client}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archives.reading")
    parser.add_argument("reader", choices=_READERS)
    parser.add_argument("url")
    parser.add_argument("--page", type=int, required=True)
    arguments = parser.parse_args()
    # From here on VmHWM counts what reading takes, not what importing took.
    Path("/proc/self/clear_refs").write_text("5")
    print(json.dumps(asdict(_READERS[arguments.reader](arguments.url, arguments.page))))


if __name__ == "__main__":
    main()
