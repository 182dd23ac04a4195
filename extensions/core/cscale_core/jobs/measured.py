"""What a job measured of its own use, in one unit, out of the words of each engine.

A copy into a bucket and Spark in the person's own server use what the server holds anyway: they
have nothing of their own, so that nothing is counted twice.
"""

from __future__ import annotations

from typing import Any

from cscale_core.jobs.model import Job

_CPU_UNITS = {"cpu-seconds": 1.0, "cpu-second": 1.0, "cpu-minutes": 60.0, "cpu-hours": 3600.0}
"""Units in which openEO back ends tell ``usage.cpu`` (openEO API 1.2, ``GET /jobs/{job_id}``)."""


def cpu_seconds(job: Job, spark_default: str = "local") -> float:
    """CPU seconds outside the person's server; 0 where nobody measured.

    :param spark_default: where Spark jobs run that name no place: local or kubernetes.
    """
    told: Any = None
    if job.spec.engine == "slurm":
        told = _member(job.usage, "slurm", "cpu_seconds")
    elif job.spec.engine == "openeo":
        factor = _CPU_UNITS.get(str(_member(job.usage, "cpu", "unit")).lower())
        value = _member(job.usage, "cpu", "value")
        told = value * factor if factor and _is_number(value) else None
    elif job.spec.engine == "spark" and (job.spec.backend or spark_default) == "kubernetes":
        told = _member(job.usage, "spark", "task_seconds")
    return float(told) if _is_number(told) and told > 0 else 0.0


def _member(usage: dict[str, Any], name: str, member: str) -> Any:
    inner = usage.get(name)
    return inner.get(member) if isinstance(inner, dict) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
