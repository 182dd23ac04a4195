"""Seconds of each step of the journey, and memory: ``python -m benchmarks.journey [--json FILE]``.

Runs ``cscale demo`` and samples the memory of all its processes. The bounds are those the product
promises: the whole in less than four minutes, below six GiB, on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, figure, report

GOAL_SECONDS = 240.0
GOAL_GIB = 6.0


def _resident(folder: str, root: int) -> int:
    """Bytes of proportional memory of every process that belongs to the demo."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
            if int(entry.name) != root and folder not in command and folder not in environment:
                continue
            for line in (entry / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue  # it ended while we looked, or is not ours
    return total


def measure() -> tuple[dict[str, Any], float, int]:
    """One demo run: its report, its seconds, its largest memory in bytes.

    :raises RuntimeError: when the demo fails; a failed run has no figures.
    """
    with tempfile.TemporaryDirectory(prefix="cscale-bench-") as folder:
        started = time.monotonic()
        process = subprocess.Popen(
            [Path(sys.executable).with_name("cscale"), "demo", "--data", folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        largest = 0
        while True:
            try:
                process.wait(timeout=0.5)
                break
            except subprocess.TimeoutExpired:
                largest = max(largest, _resident(folder, process.pid))
        seconds = time.monotonic() - started
        if process.returncode:
            output = process.stdout.read() if process.stdout else ""
            raise RuntimeError(f"the demo failed:\n{output}")
        told: dict[str, Any] = json.loads(Path(folder, "demo/report.json").read_text())
        return told, seconds, largest


def rows(told: dict[str, Any], seconds: float, memory: int) -> list[Figure]:
    """The figures of a run; the other is the promised bound."""

    def row(name: str, ours: float, bound: float, unit: str) -> Figure:
        return figure(name, ours, bound, "promised bound", unit, 1.0)

    steps = [
        row(f"step: {step['name']}", step["seconds"], GOAL_SECONDS, "s") for step in told["steps"]
    ]
    return [
        row("whole journey", seconds, GOAL_SECONDS, "s"),
        row("memory at its largest", memory / 2**30, GOAL_GIB, "GiB"),
        *steps,
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journey", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    return report("The journey", rows(*measure()), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
