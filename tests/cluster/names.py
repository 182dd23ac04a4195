"""Names of a cluster's services, for its pods: CoreDNS as the service that the kubelet names."""

from __future__ import annotations

import subprocess
from typing import Any

from tests.cluster import programs
from tests.cluster.node import ADDRESS, DNS, Node
from tests.waiting import until

_NAME = {"name": "kube-dns", "namespace": "kube-system"}
_PORTS = [
    {"name": "dns", "port": 53, "protocol": "UDP"},
    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
]


class Names:
    """Answers on the address of the first node, while it is needed."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it.

        :raises Missing: when it cannot be built.
        """
        plane = self._node.plane
        kubeconfig = plane.kubeconfig("dns", "dns", ("system:masters",))
        file = plane.folder / "Corefile"
        file.write_text(
            f"cluster.local:53 {{\n"
            f"  bind {ADDRESS}\n  errors\n"
            f"  kubernetes cluster.local {{\n    kubeconfig {kubeconfig}\n  }}\n}}\n",
            encoding="utf-8",
        )
        self._process = self._node.run("dns", [programs.dns(), "-conf", file])
        until(self._answers, "the service of names")
        plane.access.apply(_service())

    def _answers(self) -> bool:
        assert self._process is not None
        said = (self._node.plane.folder / f"dns-{self._node.name}.log").read_text(encoding="utf-8")
        assert self._process.poll() is None, said[-2000:]
        return "CoreDNS-" in said

    def stop(self) -> None:
        """End it, and take the service away."""
        if self._process is not None:
            self._node.plane.end(self._process)
            words = ("service,endpointslice", _NAME["name"], "-n", _NAME["namespace"])
            self._node.plane.access.kubectl("delete", *words, check=False)


def _service() -> list[dict[str, Any]]:
    """It runs in no pod, so its address is said and not found."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _NAME,
            "spec": {"clusterIP": DNS, "ports": _PORTS},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**_NAME, "labels": {"kubernetes.io/service-name": _NAME["name"]}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
            "ports": _PORTS,
        },
    ]
