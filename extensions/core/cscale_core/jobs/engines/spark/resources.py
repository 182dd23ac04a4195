"""How large the pods really are that Spark asks Kubernetes for, and whether they fit on a node.

A pod's memory is the heap, the overhead, the memory that is set apart for Python and what is used
outside of the heap (``BasicDriverFeatureStep``, ``BasicExecutorFeatureStep`` of Spark). The
overhead is a part of the heap, 0.4 for Python programs, and at least 384 MiB, unless it is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from cscale_core.clusters import SparkNode
from cscale_core.errors import InvalidInput
from cscale_core.jobs.engines.spark.options import SparkOptions, mebibytes, memory_text

OVERHEAD_FACTOR = 0.4
OVERHEAD_LEAST = 384
#: What Spark takes where nothing is said (``spark.driver.memory``, ``spark.executor.memory``, …).
DEFAULT_MEMORY = "1g"
DEFAULT_EXECUTORS = 2


@dataclass(frozen=True)
class Pod:
    """What one pod asks for; memory in MiB."""

    role: str
    count: int
    cpus: int
    heap: int
    overhead: int
    python: int = 0
    off_heap: int = 0

    @property
    def memory(self) -> int:
        """What Kubernetes is asked for."""
        return self.heap + self.overhead + self.python + self.off_heap

    def fits(self, node: SparkNode | None) -> bool | None:
        """Whether a node has room for it; None when no node is known."""
        if node is None:
            return None
        return self.memory <= mebibytes(node.memory) and self.cpus <= node.cpus

    def shown(self, node: SparkNode | None) -> dict[str, Any]:
        """For people and forms."""
        parts = {
            "heap": memory_text(self.heap),
            "overhead": memory_text(self.overhead),
            "python": memory_text(self.python) if self.python else "",
            "off_heap": memory_text(self.off_heap) if self.off_heap else "",
        }
        return {
            "role": self.role,
            "count": self.count,
            "cpus": self.cpus,
            "memory": memory_text(self.memory),
            "memory_parts": {name: text for name, text in parts.items() if text},
            "fits": self.fits(node),
        }


def overhead_of(heap: int, said: str) -> int:
    """The overhead of a heap, as Spark takes it."""
    return mebibytes(said) if said else max(OVERHEAD_LEAST, int(heap * OVERHEAD_FACTOR))


def _off_heap(options: SparkOptions) -> int:
    if options.conf.get("spark.memory.offHeap.enabled", "").lower() != "true":
        return 0
    size = options.conf.get("spark.memory.offHeap.size", "0").strip().lower()
    try:
        return math.ceil(int(size) / 1024**2) if size.isdigit() else mebibytes(size)
    except ValueError as error:
        raise InvalidInput(f"spark.memory.offHeap.size: {error}") from error


def pods(options: SparkOptions, driver_memory: str = DEFAULT_MEMORY) -> tuple[Pod, Pod]:
    """The driver and the executors of a job.

    :param driver_memory: where the options say none.
    """
    heap = mebibytes(options.driver_memory or driver_memory)
    driver = Pod(
        "driver",
        1,
        options.driver_cores or 1,
        heap,
        overhead_of(heap, options.driver_memory_overhead),
    )
    heap = mebibytes(options.executor_memory or DEFAULT_MEMORY)
    executor = Pod(
        "executor",
        options.max_executors or options.executors or DEFAULT_EXECUTORS,
        options.executor_cores or 1,
        heap,
        overhead_of(heap, options.executor_memory_overhead),
        mebibytes(options.python_memory) if options.python_memory else 0,
        _off_heap(options),
    )
    return driver, executor


def largest_heap(node: SparkNode, pod: Pod | None = None, said: str = "") -> int:
    """The largest heap (MiB) that fits on a node, the pod's other memory as it is."""
    room = mebibytes(node.memory) - (pod.python + pod.off_heap if pod else 0)
    if said:
        return max(0, room - mebibytes(said))
    heap = int(room / (1 + OVERHEAD_FACTOR))
    while heap > 0 and heap + overhead_of(heap, "") > room:
        heap -= 1
    return heap


def check_fits(options: SparkOptions, node: SparkNode | None, driver_memory: str) -> None:
    """Refuse what no node has room for.

    :raises InvalidInput: with the largest that fits.
    """
    if node is None:
        return
    for pod, overhead in zip(
        pods(options, driver_memory),
        (options.driver_memory_overhead, options.executor_memory_overhead),
        strict=True,
    ):
        if pod.fits(node):
            continue
        parts = " + ".join(
            f"{text} {name}"
            for name, text in pod.shown(node)["memory_parts"].items()
            if name != "heap"
        )
        name = f"{pod.role}_memory"
        if pod.cpus > node.cpus:
            raise InvalidInput(
                f"A pod of the {pod.role} would ask for {pod.cpus} processors; the largest node "
                f"has {node.cpus:g}.",
                hint=f"Give {pod.role}_cores of at most {int(node.cpus)}.",
                pods=[pod.shown(node)],
                largest={f"{pod.role}_cores": int(node.cpus)},
            )
        most = largest_heap(node, pod, overhead)
        raise InvalidInput(
            f"A pod of the {pod.role} would ask for {memory_text(pod.memory)} "
            f"({memory_text(pod.heap)} heap + {parts}); the largest node has {node.memory}.",
            hint=f"With the rest as it is, {name} of at most {memory_text(most)} fits."
            if most >= 1
            else "The overhead alone is more than a node has.",
            pods=[pod.shown(node)],
            largest={name: memory_text(most)} if most >= 1 else {},
        )


def limits(node: SparkNode | None) -> dict[str, Any]:
    """The largest values of options that fit on a node, for forms."""
    if node is None:
        return {}
    heap = memory_text(largest_heap(node))
    cores = int(node.cpus)
    return {
        "driver_memory": heap,
        "executor_memory": heap,
        "driver_cores": cores,
        "executor_cores": cores,
        "pod_memory": node.memory,
    }


def roomier(
    options: SparkOptions, role: str, node: SparkNode | None, driver: str
) -> dict[str, Any]:
    """Options with which a pod that ran out of memory may live, empty when no node has the room.

    What PySpark and GDAL take lies in the overhead, so that is what grows; an executor that cannot
    grow gets fewer cores, and so fewer tasks at a time.
    """
    pod = pods(options, driver)[0 if role == "driver" else 1]
    name = f"{role}_memory_overhead"
    wanted = replace(pod, overhead=pod.overhead + max(pod.heap, pod.overhead))
    if wanted.fits(node) is not False:
        return {name: memory_text(wanted.overhead)}
    assert node is not None  # noqa: S101 - without a node everything fits
    room = mebibytes(node.memory) - (pod.memory - pod.overhead)
    if room >= pod.overhead * 5 // 4:
        return {name: memory_text(room)}
    if role == "executor" and pod.cpus > 1:
        return {"executor_cores": pod.cpus // 2}
    return {}
