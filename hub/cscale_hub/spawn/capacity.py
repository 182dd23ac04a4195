"""How many servers of one size a Kubernetes cluster has room for now.

Counted from what nodes can give and what pods have asked for, so it is what the scheduler would
find, before any node is added. It needs a cluster role that lists nodes and pods; without it
nothing is said.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from cscale_hub.profiles import Profile

_KEPT_SECONDS = 30.0
_TIMEOUT_SECONDS = 5
# Kubernetes' quantities: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_SUFFIXES = (
    {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
    | {letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)}
    | {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
)
_ENDED = ("Succeeded", "Failed")


def quantity(text: str) -> Decimal:
    """The number that a quantity such as ``500m`` or ``4Gi`` stands for."""
    for suffix in (text[-2:], text[-1:]):
        if suffix in _SUFFIXES:
            return Decimal(text.removesuffix(suffix)) * _SUFFIXES[suffix]
    return Decimal(text)


def needs(profile: Profile) -> dict[str, Decimal]:
    """What one server of this size asks for: the limit where no guarantee is given."""
    wanted = {
        "cpu": Decimal(str(profile.cpu_guarantee or profile.cpu or 0)),
        "memory": quantity(profile.memory_guarantee or profile.memory or "0"),
        profile.gpu_resource: Decimal(profile.gpu),
    }
    return {"pods": Decimal(1)} | {name: amount for name, amount in wanted.items() if amount}


def room(nodes: Iterable[Any], pods: Iterable[Any], profile: Profile) -> int:
    """How many servers of this size fit on the nodes it may run on.

    :param nodes: ``V1Node`` of kubernetes_asyncio.
    :param pods: ``V1Pod`` of all namespaces.
    """
    asked: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for pod in pods:
        if pod.spec.node_name and pod.status.phase not in _ENDED:
            for name, amount in _requested(pod).items():
                asked[pod.spec.node_name][name] += amount
    wanted = needs(profile)
    total = 0
    for node in nodes:
        if _usable(node, profile.node_selector):
            present = node.status.allocatable or {}
            free = {
                name: quantity(present.get(name, "0")) - asked[node.metadata.name][name]
                for name in wanted
            }
            total += max(0, min(int(free[name] // amount) for name, amount in wanted.items()))
    return total


def words(count: int) -> str:
    """The same for people."""
    if count == 0:
        return "None is free now. It starts when there is room, which can take some minutes."
    return f"{count} {'is' if count == 1 else 'are'} free now."


class Capacity:
    """The cluster's nodes and pods, asked for at most twice a minute for everybody.

    :param api: ``CoreV1Api``.
    """

    def __init__(self, api: Any) -> None:
        self._api = api
        self._asking = asyncio.Lock()
        self._until = 0.0
        self._nodes: list[Any] = []
        self._pods: list[Any] = []

    async def room(self, profile: Profile) -> int:
        """As :func:`room`.

        :raises kubernetes_asyncio.client.ApiException, OSError, TimeoutError: when the cluster
            does not tell.
        """
        async with self._asking:
            if time.monotonic() >= self._until:
                asked = {"_request_timeout": _TIMEOUT_SECONDS}
                nodes, pods = await asyncio.gather(
                    self._api.list_node(**asked), self._api.list_pod_for_all_namespaces(**asked)
                )
                self._nodes, self._pods = nodes.items, pods.items
                self._until = time.monotonic() + _KEPT_SECONDS
        return room(self._nodes, self._pods, profile)


def _requested(pod: Any) -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(Decimal, pods=Decimal(1))
    for container in pod.spec.containers:
        resources = container.resources
        for name, amount in ((resources and resources.requests) or {}).items():
            found[name] += quantity(amount)
    return found


def _usable(node: Any, selector: Mapping[str, str]) -> bool:
    labels = node.metadata.labels or {}
    ready = any(
        each.type == "Ready" and each.status == "True" for each in node.status.conditions or ()
    )
    return ready and not node.spec.unschedulable and selector.items() <= labels.items()
