"""Reads a whole archive once, in a process of its own: ``python -m benchmarks.archives.reading``.

Prints one line of JSON: items, seconds, and the mebibytes that the process grew by at its largest.
The items are counted and let go, as a program that writes them away does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path


def _memory(field: str) -> float:
    """Mebibytes of this process: ``VmRSS`` now, ``VmHWM`` at its largest (proc(5))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel does not tell {field}")


def _engine(url: str, page: int) -> Callable[[], int]:
    from benchmarks.archives.federation import federation
    from cscale_core.catalog.query import SearchQuery

    async def read() -> int:
        count = 0
        async with federation([url], page) as engine:
            async for _ in engine.items(SearchQuery(limit=page)):
                count += 1
        return count

    return lambda: asyncio.run(read())


def _pystac_client(url: str, page: int) -> Callable[[], int]:
    from pystac_client import Client

    return lambda: sum(1 for _ in Client.open(url).search(limit=page).items_as_dicts())


_READERS = {"engine": _engine, "pystac-client": _pystac_client}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archives.reading")
    parser.add_argument("reader", choices=_READERS)
    parser.add_argument("url")
    parser.add_argument("--page", type=int, required=True)
    arguments = parser.parse_args()
    read = _READERS[arguments.reader](arguments.url, arguments.page)
    # From here on VmHWM counts what reading takes, not what importing took.
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    begun = time.perf_counter()
    items = read()
    seconds = time.perf_counter() - begun
    grown = _memory("VmHWM") - before
    print(json.dumps({"items": items, "seconds": seconds, "mebibytes": grown}))


if __name__ == "__main__":
    main()
