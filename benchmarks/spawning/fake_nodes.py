"""Nodes that nobody runs, by kwok: an API server and a hub see hundreds of pods, no machine does.

Whatever asks such a pod is answered by one program for all of them, so that a hub takes them for
servers that are ready.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.spawning.hubs import FAKE
from tests.cluster import programs
from tests.cluster.node import Node
from tests.waiting import until

_STAGES = Path(__file__).with_name("stages.yaml")
_PODS = 110
_NETWORK = "10.250"
_ANSWER = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass

ThreadingHTTPServer.request_queue_size = 200
ThreadingHTTPServer(("0.0.0.0", 8888), Answer).serve_forever()
"""


def start_fake_nodes(node: Node, pods: int) -> list[subprocess.Popen[bytes]]:
    """Add nodes with room for so many pods, and wait until they are ready; what has to be ended.

    :raises Missing: when kwok is not here and cannot be built.
    """
    kwok = programs.kwok()
    names = [f"fake-{number}" for number in range(-(-pods // _PODS))]
    # Every address of their pods is this machine's.
    route = ["ip", "route", "add", "local", f"{_NETWORK}.0.0/16", "dev", "lo"]
    subprocess.run([*node.inside, *route], check=True)
    running = [
        node.plane.run("answers", [sys.executable, "-c", _ANSWER]),
        node.plane.run(
            "kwok",
            [
                *(kwok, f"--kubeconfig={node.plane.access.kubeconfig}"),
                "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                f"--cidr={_NETWORK}.0.1/16",
                f"--config={_STAGES}",
            ],
        ),
    ]
    node.plane.access.apply(_node(name, number) for number, name in enumerate(names))
    until(lambda: all(_ready(node, name) for name in names), "kwok's ready nodes")
    return running


def _node(name: str, number: int) -> dict[str, Any]:
    network = f"{_NETWORK}.{number + 1}.0/24"
    room = {"cpu": "128", "memory": "512Gi", "pods": str(_PODS)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {**FAKE, "kubernetes.io/hostname": name},
        },
        "spec": {
            "podCIDR": network,
            "podCIDRs": [network],
            "taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}],
        },
        "status": {"allocatable": room, "capacity": room},
    }


def _ready(node: Node, name: str) -> bool:
    found = node.plane.access.get("node", name) or {}
    conditions = found.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
