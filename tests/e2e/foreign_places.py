"""Places of others where jobs run: an openEO back end with a login of its own, and a Spark cluster.

Both are the doubles of the engines' tests, served on loopback while a test runs. The back end
calls things what no page should take for markup.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

sys.path.insert(0, str(Path(__file__).parents[1] / "core" / "jobs"))

from kubernetes_double import NAMESPACE, KubernetesDouble
from openeo_double import Double

from tests.e2e.hostile_archive import mark

NODE = {"cpus": 4, "memory": "8g"}
"""Too small for the largest of the sizes that are offered."""
PROCESS = "turbidity_of_a_lake"
GRAPH = {
    "sum": {"process_id": "add", "arguments": {"x": 1, "y": 2}},
    "rare": {"process_id": "turbidity", "arguments": {"x": {"from_node": "sum"}}, "result": True},
}
# What may log in there by a code at the local federation's identity provider.
CLIENT = {
    "id": "cscale-openeo",
    "grant_types": ["urn:ietf:params:oauth:grant-type:device_code+pkce", "refresh_token"],
}


class BackEnd(Double):
    """It takes every login for the same person's."""

    @staticmethod
    def _user(bearer: str) -> str:
        return "somebody" if bearer else ""


@dataclass
class ForeignPlaces:
    """The two, and how a hub's settings name them."""

    back_end: Double
    cluster: KubernetesDouble
    folder: Path

    @property
    def host(self) -> str:
        return self.back_end.url.removeprefix("http://")

    def settings(self) -> dict[str, Any]:
        return {
            "openeo": [
                {
                    "id": "elsewhere",
                    "title": "Back end of elsewhere",
                    "url": self.back_end.url,
                    "auth": "stored",
                }
            ],
            "spark": {
                "kinds": ["kubernetes"],
                "node": NODE,
                "kubernetes": {
                    "title": "Cluster of elsewhere",
                    "kubeconfig": str(self.folder / "kubeconfig"),
                    "namespace": NAMESPACE,
                    "image": "registry.example.eu/spark:1",
                },
            },
        }


@contextmanager
def foreign_places(folder: Path) -> Iterator[ForeignPlaces]:
    """The two while they run; the back end has to be told its identity provider."""
    back_end = BackEnd()
    switches = back_end.switches
    switches.client = CLIENT
    switches.scopes = ("openid", "profile", "email")
    switches.budget = 50
    switches.faults = [{"code": "ProcessUnsupported", "message": mark("fault")}]
    switches.own_processes = {PROCESS: {"process_graph": GRAPH}, mark("process"): {}}
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(100)
    back_end.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(back_end.app, log_level="error", lifespan="off"))
    made: list[KubernetesDouble] = []
    ready = threading.Event()

    async def serve() -> None:
        cluster = KubernetesDouble()
        await cluster.start()
        cluster.kubeconfig(folder / "kubeconfig")
        made.append(cluster)
        ready.set()
        try:
            await server.serve(sockets=[listener])
        finally:
            await cluster.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield ForeignPlaces(back_end, made[0], folder)
    finally:
        server.should_exit = True
        thread.join(30)
