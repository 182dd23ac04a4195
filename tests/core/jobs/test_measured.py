"""CPU seconds out of the words of each engine; what the person's server holds anyway is nothing."""

from __future__ import annotations

from typing import Any

import pytest

from cscale_core.jobs.measured import cpu_seconds
from cscale_core.jobs.model import Job, JobSpec, utc_now


def job(engine: Any, usage: dict[str, Any], backend: str = "") -> Job:
    now = utc_now()
    spec = JobSpec(engine=engine, backend=backend, process={})
    return Job(id="j", revision=1, spec=spec, created=now, updated=now, usage=usage)


@pytest.mark.parametrize(
    ("engine", "usage", "seconds"),
    [
        ("openeo", {"cpu": {"value": 90, "unit": "cpu-seconds"}}, 90),
        ("openeo", {"cpu": {"value": 1.5, "unit": "CPU-hours"}}, 5400),
        ("openeo", {"cpu": {"value": 90, "unit": "parsecs"}}, 0),
        ("openeo", {"cpu": {"value": "many", "unit": "cpu-seconds"}}, 0),
        ("openeo", {"cpu": 90}, 0),
        ("openeo", {}, 0),
        ("slurm", {"slurm": {"cpu_seconds": 12.5}}, 12.5),
        ("slurm", {"slurm": {"seconds": 12.5}}, 0),
        ("slurm", {"slurm": {"cpu_seconds": -1}}, 0),
        ("slurm", {"slurm": {"cpu_seconds": True}}, 0),
        ("staging", {"left": ["a"]}, 0),
    ],
)
def test_what_engines_tell(engine: str, usage: dict[str, Any], seconds: float) -> None:
    assert cpu_seconds(job(engine, usage)) == seconds


def test_spark_counts_outside_the_persons_server_only() -> None:
    usage = {"spark": {"task_seconds": 40}}
    assert cpu_seconds(job("spark", usage)) == 0
    assert cpu_seconds(job("spark", usage, "local"), "kubernetes") == 0
    assert cpu_seconds(job("spark", usage), "kubernetes") == 40
    assert cpu_seconds(job("spark", usage, "kubernetes")) == 40
