"""The benchmark of the federated search measures what it says, on small archives."""

from __future__ import annotations

import json
import subprocess
import sys

import httpx
import pytest

from benchmarks.archives.federation import federation
from benchmarks.archives.items import item
from benchmarks.archives.running import archives
from cscale_core.catalog.query import SearchQuery


def test_items_are_as_large_as_those_of_real_archives_and_all_different() -> None:
    sizes = [len(json.dumps(item("archive-00", n, "http://127.0.0.1:1"))) for n in range(50)]
    assert min(sizes) > 4_000
    assert max(sizes) < 5_500
    assert len({item(name, n, "")["id"] for name in ("a00", "a01") for n in range(5000)}) == 10_000


async def test_engine_reads_every_archive_to_its_end() -> None:
    with archives(2, items=25, page=10) as urls:
        async with federation(urls, 10) as engine:
            found = [each["id"] async for each in engine.items(SearchQuery())]
    assert len(set(found)) == len(found) == 50


def test_archive_waits_as_long_as_it_was_told() -> None:
    with archives(1, items=10, page=10, latency=0.3) as (url,):
        answer = httpx.post(f"{url}/search", json={"limit": 10}, trust_env=False)
    assert len(answer.json()["features"]) == 10
    assert answer.elapsed.total_seconds() >= 0.3


@pytest.mark.parametrize("reader", ["engine", "pystac-client"])
def test_both_readers_read_the_same(reader: str) -> None:
    with archives(1, items=95, page=10) as (url,):
        command = [sys.executable, "-m", "benchmarks.archives.reading", reader, url]
        run = subprocess.run([*command, "--page", "10"], capture_output=True, text=True, check=True)
    reading = json.loads(run.stdout)
    assert reading["items"] == 95
    assert reading["seconds"] > 0
