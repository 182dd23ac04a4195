"""``cscale demo`` as a user runs it: exit status, report, picture, and nothing left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.processes import mounts_below, processes_of

SCRIPT = Path(sys.executable).with_name("cscale")


def run_demo(folder: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], dict]:
    run = subprocess.run(
        [SCRIPT, "demo", "--data", folder, *options], capture_output=True, text=True, timeout=590
    )
    print(run.stdout, run.stderr)
    return run, json.loads((folder / "demo/report.json").read_text())


def check(folder: Path, run: subprocess.CompletedProcess[str], report: dict) -> None:
    assert run.returncode == 0
    assert "everything agreed" in run.stdout
    assert run.stdout.strip().endswith("report.json")
    assert report["ok"]
    assert all(step["ok"] for step in report["steps"])
    assert len(report["steps"]) >= 12
    for engine in ("openeo", "spark"):
        figures = report["comparison"][engine]
        assert figures["agree"]
        assert figures["max_slope_difference"] <= 1e-5
        assert figures["mask_differences"] == 0
        assert figures["count_differences"] == 0
    assert report["identity"]["token_seconds"] == 60
    assert report["identity"]["logins"] == 1
    assert report["identity"]["renewals"] >= 1
    assert {"jupyterhub", "pyspark", "openeo"} <= set(report["versions"])
    assert Path(report["picture"]).stat().st_size > 50_000
    assert processes_of(folder) == []
    assert mounts_below(folder) == []


@pytest.mark.spark
def test_journey_on_simulated_scenes(tmp_path: Path) -> None:
    run, report = run_demo(tmp_path)
    check(tmp_path, run, report)
    assert report["comparison"]["openeo"]["kept_pixels"] > 500


@pytest.mark.spark
def test_journey_on_real_scenes(tmp_path: Path, real_scenes: Path) -> None:
    run, report = run_demo(tmp_path, "--input", str(real_scenes))
    check(tmp_path, run, report)


def test_interrupted_demo_leaves_nothing_running(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [SCRIPT, "demo", "--data", tmp_path], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "users").glob("*/s3")):  # until the server starts
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 130
    assert "interrupted" in output
    assert processes_of(tmp_path) == []
    assert mounts_below(tmp_path) == []
    report = json.loads((tmp_path / "demo/report.json").read_text())
    assert not report["ok"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--input", "/nonexistent-folder"), "is not a folder"),
        (("--source", "unknown"), "is not known"),
        (("--source", "earth-search", "--bbox", "1,2", "--dates", "x"), "cannot be read"),
    ],
)
def test_wrong_question_is_explained(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    run, report = run_demo(tmp_path, *options)
    assert run.returncode == 1
    assert words in run.stdout
    assert "Traceback" not in run.stdout + run.stderr
    assert not report["ok"]
