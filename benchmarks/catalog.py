"""The federated search in figures: ``python -m benchmarks.catalog [--json FILE]``.

Archives are processes of their own on loopback whose pages lie ready, items as rich as those of
the public archives. In one run, so on one machine under one load:

- 1, 5 and 20 archives that take 100 ms each: the first page and the merged page, against the
  fastest and the slowest archive asked alone, and against a loop of pystac-client over all;
- one archive of 10,000 items read to its end, against pystac-client's ``items_as_dicts``;
- one page through the served STAC API, against the same page of the archive behind it.

Every figure is a median. A connection that can be kept open is, on every side.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml
from pystac_client import Client

from benchmarks.archives.federation import federation, providers
from benchmarks.archives.running import archives
from benchmarks.figures import Figure, figure, report
from cscale_core.catalog.federation import Federation
from cscale_core.catalog.query import SearchQuery
from cscale_core.catalog.report import Found, SearchResult

LATENCY = 0.1
NUMBERS = (1, 5, 20)
SMALL_PAGE = 10
ROUNDS = 7
LOOPS = 3
GOAL_FIRST = 1.2
GOAL_TOTAL = 1.1

ITEMS = 10_000
FEWER_ITEMS = 2_500
LARGE_PAGE = 250
READINGS = 5
GOAL_THROUGHPUT = 3.0
GOAL_FLAT = 1.2

REQUESTS = 200
GOAL_OVERHEAD = 10.0


# --- many archives at once ---------------------------------------------------------------------


async def _alone(http: httpx.AsyncClient, url: str) -> float:
    """Seconds of one page asked of one archive, read and parsed."""
    begun = time.perf_counter()
    answer = await http.post(f"{url}/search", json={"limit": SMALL_PAGE})
    assert len(answer.json()["features"]) == SMALL_PAGE
    return time.perf_counter() - begun


async def _federated(engine: Federation) -> tuple[float, float]:
    """Seconds until the first archive's items, and until the merged page of all."""
    first = 0.0
    begun = time.perf_counter()
    async for event in engine.stream(SearchQuery(limit=SMALL_PAGE)):
        if isinstance(event, Found) and not first:
            first = time.perf_counter() - begun
        elif isinstance(event, SearchResult):
            assert event.complete, event.providers
            assert len(event.items) == SMALL_PAGE
    return first, time.perf_counter() - begun


def _loop(urls: Sequence[str]) -> float:
    """Seconds of one archive after the other by pystac-client."""
    begun = time.perf_counter()
    for url in urls:
        found = Client.open(url).search(limit=SMALL_PAGE, max_items=SMALL_PAGE)
        assert len(list(found.items_as_dicts())) == SMALL_PAGE
    return time.perf_counter() - begun


async def _rounds(urls: Sequence[str]) -> dict[str, float]:
    """Medians in milliseconds, everything measured in turn in every round."""
    alone: dict[str, list[float]] = {url: [] for url in urls}
    first: list[float] = []
    total: list[float] = []
    async with federation(urls, SMALL_PAGE) as engine, httpx.AsyncClient(trust_env=False) as http:
        for number in range(ROUNDS + 1):
            singly = {url: await _alone(http, url) for url in urls}
            ours = await _federated(engine)
            if not number:
                continue  # connections are open and code is loaded from now on
            for url, seconds in singly.items():
                alone[url].append(seconds)
            first.append(ours[0])
            total.append(ours[1])
    loop = [_loop(urls) for _ in range(LOOPS)]
    medians = [statistics.median(seconds) for seconds in alone.values()]
    return {
        "fastest": 1000 * min(medians),
        "slowest": 1000 * max(medians),
        "first": 1000 * statistics.median(first),
        "total": 1000 * statistics.median(total),
        "loop": 1000 * statistics.median(loop),
    }


def many_archives() -> Iterator[Figure]:
    """First page and merged page of 1, 5 and 20 archives."""
    for number in NUMBERS:
        with archives(number, items=10 * SMALL_PAGE, page=SMALL_PAGE, latency=LATENCY) as urls:
            seen = asyncio.run(_rounds(urls))
        name = f"{number} archive" + ("" if number == 1 else "s")
        yield figure(
            f"{name}: first page",
            seen["first"],
            seen["fastest"],
            "fastest alone",
            "ms",
            GOAL_FIRST,
        )
        yield figure(
            f"{name}: merged page",
            seen["total"],
            seen["slowest"],
            "slowest alone",
            "ms",
            GOAL_TOTAL,
        )
        yield figure(
            f"{name}: merged page", seen["total"], seen["loop"], "pystac-client loop", "ms", 1.0
        )


# --- one archive to its end --------------------------------------------------------------------


def _reading(reader: str, url: str) -> dict[str, float]:
    """One reading in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.archives.reading", reader, url]
    run = subprocess.run(
        [*command, "--page", str(LARGE_PAGE)], stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, float] = json.loads(run.stdout)
    return result


def _medians(reader: str, readings: Sequence[dict[str, float]], items: int) -> tuple[float, float]:
    """Items a second, and mebibytes."""
    assert all(reading["items"] == items for reading in readings), (reader, readings)
    seconds = statistics.median(reading["seconds"] for reading in readings)
    return items / seconds, statistics.median(reading["mebibytes"] for reading in readings)


def whole_archive() -> Iterator[Figure]:
    """Throughput and memory of reading an archive to its end."""
    readings: dict[str, list[dict[str, float]]] = {"engine": [], "pystac-client": []}
    with archives(1, items=ITEMS, page=LARGE_PAGE) as (url,):
        for _ in range(READINGS):
            for reader, done in readings.items():
                done.append(_reading(reader, url))
    with archives(1, items=FEWER_ITEMS, page=LARGE_PAGE) as (url,):
        fewer = [_reading("engine", url) for _ in range(READINGS)]
    speed, memory = _medians("engine", readings["engine"], ITEMS)
    other_speed, other_memory = _medians("pystac-client", readings["pystac-client"], ITEMS)
    _, memory_of_fewer = _medians("engine", fewer, FEWER_ITEMS)
    yield figure(
        f"{ITEMS:,} items read",
        speed,
        other_speed,
        "items_as_dicts",
        "items/s",
        GOAL_THROUGHPUT,
        more_is_better=True,
    )
    yield figure(
        f"memory for {ITEMS:,} items",
        memory,
        memory_of_fewer,
        f"for {FEWER_ITEMS:,} items",
        "MiB",
        GOAL_FLAT,
    )
    yield figure(f"memory for {ITEMS:,} items", memory, other_memory, "items_as_dicts", "MiB", 2.0)


# --- the served API ----------------------------------------------------------------------------


@contextmanager
def _served(url: str) -> Iterator[str]:
    """The address of the STAC API that serves a federation of one archive."""
    with tempfile.TemporaryDirectory(prefix="cscale-bench-") as folder:
        file = Path(folder, "providers.yaml")
        declared = [each.model_dump(mode="json") for each in providers([url], SMALL_PAGE)]
        file.write_text(yaml.safe_dump({"providers": declared}), encoding="utf-8")
        log = Path(folder, "log")
        command = [str(Path(sys.executable).with_name("cscale")), "mqs", "--port", "0"]
        with log.open("w") as errors:
            process = subprocess.Popen(
                [*command, "--providers", str(file)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            said = process.stdout.readline() if process.stdout else ""
            if not (found := re.search(r"http://\S+", said)):
                raise RuntimeError(f"cscale mqs did not start:\n{log.read_text()}")
            yield found[0].rstrip("/")
        finally:
            process.terminate()
            process.communicate()


def _asked(http: httpx.Client, url: str) -> float:
    """Milliseconds of one page."""
    begun = time.perf_counter()
    answer = http.post(f"{url}/search", json={"limit": SMALL_PAGE})
    elapsed = 1000 * (time.perf_counter() - begun)
    assert len(answer.raise_for_status().json()["features"]) == SMALL_PAGE
    return elapsed


def served_api() -> Iterator[Figure]:
    """One page through the served STAC API; the bound is on what it adds."""
    with (
        archives(1, items=10 * SMALL_PAGE, page=SMALL_PAGE) as (direct,),
        _served(direct) as served,
        httpx.Client(trust_env=False) as http,
    ):
        for url in (direct, served) * 5:
            _asked(http, url)
        pairs = [(_asked(http, served), _asked(http, direct)) for _ in range(REQUESTS)]
    ours, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    yield figure("what serving adds (p50)", ours - other, GOAL_OVERHEAD, "bound", "ms", 1.0)
    yield figure(
        "served page (p50)", ours, other, "direct", "ms", round(1 + GOAL_OVERHEAD / other, 2)
    )


# --- all of it ---------------------------------------------------------------------------------

PARTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "many": many_archives,
    "whole": whole_archive,
    "served": served_api,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catalog", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", choices=PARTS, help="one part of it")
    arguments = parser.parse_args()
    parts = [PARTS[arguments.only]] if arguments.only else list(PARTS.values())
    figures = [each for part in parts for each in part()]
    return report("The federated search", figures, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
