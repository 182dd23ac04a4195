"""Sizes of Spark applications by name, with the pods that they really ask for.

A researcher chooses small, medium or large; what that is in heap, overhead and processors, and
whether a node has room for it, is worked out as for any other options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cscale_core.errors import InvalidInput
from cscale_core.jobs.engines.spark.options import SparkOptions
from cscale_core.jobs.engines.spark.resources import check_fits, pods
from cscale_core.site import Site


@dataclass(frozen=True)
class Size:
    """One size at one place.

    :ivar options: for the spec of a job.
    :ivar pods: what it asks a cluster for, as the estimate of a job has them.
    :ivar fits: whether a node has room for each pod; None where that is not known.
    :ivar problem: why it does not fit, and what would; empty when it does.
    """

    name: str
    title: str
    options: dict[str, Any]
    pods: list[dict[str, Any]]
    fits: bool | None
    problem: str = ""


_SIZES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "small",
        "For a try: one executor of one processor",
        {"driver_memory": "1g", "executor_memory": "2g", "executor_cores": 1, "executors": 1},
    ),
    (
        "medium",
        "For a region and a year: up to four executors of two processors",
        {
            "driver_memory": "2g",
            "executor_memory": "4g",
            "executor_cores": 2,
            "min_executors": 1,
            "max_executors": 4,
        },
    ),
    (
        "large",
        "For a country or many years: up to sixteen executors of four processors",
        {
            "driver_memory": "4g",
            "executor_memory": "12g",
            "executor_cores": 4,
            "min_executors": 2,
            "max_executors": 16,
        },
    ),
)


def sizes(site: Site) -> list[Size]:
    """The sizes, the smallest first.

    Of this machine there are none: Spark's local mode runs in one process with the site's memory.
    """
    if "kubernetes" not in site.spark.kinds:
        return []
    node, driver = site.spark.node, site.spark.driver_memory
    found = []
    for name, title, said in _SIZES:
        options = SparkOptions.model_validate(said)
        problem = ""
        try:
            check_fits(options, node, driver)
        except InvalidInput as error:
            problem = f"{error.message} {error.hint}".strip()
        found.append(
            Size(
                name=name,
                title=title,
                options=said,
                pods=[pod.shown(node) for pod in pods(options, driver)],
                fits=None if node is None else not problem,
                problem=problem,
            )
        )
    return found
