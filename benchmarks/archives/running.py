"""Starting archives for a measurement and stopping them after it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def archives(count: int, *, items: int, page: int, latency: float = 0.0) -> Iterator[list[str]]:
    """The addresses of so many archives, each served by a process of its own.

    :param page: items of one page.
    :param latency: seconds before an archive answers a search.
    """
    command = [sys.executable, "-m", "benchmarks.archives.serve"]
    sizes = ["--items", str(items), "--page", str(page), "--latency", str(latency)]
    running: list[subprocess.Popen[str]] = []
    try:
        for number in range(count):
            name = ["--name", f"archive-{number:02}"]
            running.append(
                subprocess.Popen([*command, *name, *sizes], stdout=subprocess.PIPE, text=True)
            )
        yield [_address(process) for process in running]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.communicate()


def _address(process: subprocess.Popen[str]) -> str:
    """What an archive prints when it is ready.

    :raises RuntimeError: when it ended instead.
    """
    line = process.stdout.readline().strip() if process.stdout else ""
    if not line:
        raise RuntimeError("an archive to measure against did not start")
    return line
