"""The two hubs that are compared, in one cluster: ours, and JupyterHub with KubeSpawner as it is.

Both have the same versions, a proxy in Python each, SQLite, the account of a deployment's hub, and
start JupyterLab of the same image, with the same resources and a home folder in the same volume.
What ours does more: it looks up what the person may have, makes the site file's Secret, and mounts
buckets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.node import ADDRESS, Node
from tests.cluster.spawn.running_hub import NAMESPACE, PROGRAM, RunningHub
from tests.waiting import until

LAB = "localhost/cscale/singleuser-minimal:test"
MOUNT = "localhost/cscale/mount:test"
IMAGES = (MOUNT, LAB)
FAKE = {"type": "fake"}
"""Label of nodes that nobody runs."""
_TAINT = "kwok.x-k8s.io/node"
# JupyterLab where it is; in the image of the mounts a small program that answers as it does.
_CMD = """["sh", "-c", 'command -v jupyterhub-singleuser && exec jupyterhub-singleuser; '
    'exec python3 -c "$0"', Path("{program}").read_text()]"""
_PLAIN = """
import sys
from pathlib import Path

c.JupyterHub.bind_url = "http://{address}:{port}"
c.JupyterHub.hub_bind_url = "http://{address}:{hub_port}"
c.JupyterHub.hub_connect_url = "http://{address}:{hub_port}"
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie-secret"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.auth_token = "{proxy_token}"
c.ConfigurableHTTPProxy.should_start = False
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.KubeSpawner.namespace = "{namespace}"
c.KubeSpawner.pod_name_template = "plain-{{username}}"
c.KubeSpawner.image = "{image}"
c.KubeSpawner.image_pull_policy = "Never"
c.KubeSpawner.cmd = {cmd}
c.KubeSpawner.uid, c.KubeSpawner.gid, c.KubeSpawner.fs_gid = 1000, 100, 100
c.KubeSpawner.cpu_guarantee, c.KubeSpawner.mem_limit = 0.05, "1G"
c.KubeSpawner.mem_guarantee = "128M"
c.KubeSpawner.start_timeout = c.KubeSpawner.http_timeout = 300
c.KubeSpawner.volumes = [{{"name": "home", "persistentVolumeClaim": {{"claimName": "homes"}}}}]
c.KubeSpawner.volume_mounts = [
    {{"name": "home", "mountPath": "/home/jovyan", "subPath": "homes/{{username}}"}}]
c.KubeSpawner.node_selector = {selector!r}
c.KubeSpawner.tolerations = [{{"key": "{taint}", "operator": "Exists"}}]
c.JupyterHub.services = [{{"name": "test", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [
    {{"name": "test", "scopes": ["admin:users", "admin:servers", "admin:groups"],
      "services": ["test"]}}]
"""


class OurHub(RunningHub):
    """As in the tests, with JupyterLab, and a profile for nodes that nobody runs."""

    def __init__(self, node: Node, folder: Path) -> None:
        super().__init__(node, folder, LAB)

    def configuration(self, image: str) -> str:
        text = super().configuration(image)
        return f"{text}c.ClusterSpawner.cmd = {_CMD.format(program=PROGRAM)}\n"

    def settings(self, image: str) -> dict[str, Any]:
        found = super().settings(image)
        found["hub"]["log_level"] = "INFO"
        found["kubernetes"]["sidecar"]["image"] = MOUNT
        found["kubernetes"]["start_timeout"] = 300
        profiles = found["vos"]["profiles"]
        profiles["many"] = {**profiles["node"], "node_selector": FAKE}
        found["kubernetes"]["tolerations"] = [{"key": _TAINT, "operator": "Exists"}]
        here = {"kubernetes.io/hostname": "node"}
        size = {"memory": "1Gi", "memory_guarantee": "128Mi"}
        for name in ("node", "csi", "sidecar", "none"):
            profiles[name] = {**profiles[name], **size, "node_selector": here}
        # Containers beside ask the server for credentials; JupyterLab has none without a login.
        profiles["sidecar"]["image"] = MOUNT
        for each in found["vos"]["vos"].values():
            each["profiles"]["member"].append("many")
        return found


class PlainHub(RunningHub):
    """JupyterHub and KubeSpawner with nothing of ours; its servers see no bucket.

    :param selector: labels of the nodes that its servers go to.
    """

    name = "plain"
    ports = (8100, 8101, 8181)

    def __init__(self, ours: RunningHub, folder: Path, selector: dict[str, str]) -> None:
        self._selector = selector
        super().__init__(ours.node, folder, LAB)
        self.kubeconfig = ours.kubeconfig

    def configuration(self, image: str) -> str:
        port, api_port, hub_port = self.ports
        return _PLAIN.format(
            address=ADDRESS,
            port=port,
            api_port=api_port,
            hub_port=hub_port,
            folder=self.folder,
            cmd=_CMD.format(program=PROGRAM),
            namespace=NAMESPACE,
            image=image,
            selector=self._selector,
            taint=_TAINT,
            token=self.token,
            proxy_token=self.proxy_token,
        )


@dataclass(frozen=True)
class Kind:
    """One way to start a server."""

    name: str
    hub: RunningHub
    profile: str = ""


def persons(kind: Kind, count: int) -> list[str]:
    """New persons, who may start servers."""
    hub = kind.hub
    names = [f"u{os.urandom(5).hex()}" for _ in range(count)]
    made = hub.api("POST", "/users", {"usernames": names})
    assert made.status_code == 201, made.text
    for group in ("vo:aqua.example.eu", "vo:aqua.example.eu:member"):
        hub.api("POST", f"/groups/{group}")
        hub.api("POST", f"/groups/{group}/users", {"users": names})
    return names


def start(kind: Kind, name: str) -> float:
    """Seconds from the question to the answer that the server is ready."""
    began = time.monotonic()
    body = {"profile": kind.profile} if kind.profile else {}
    asked = kind.hub.api("POST", f"/users/{name}/server", body)
    if asked.status_code == 201:
        return time.monotonic() - began
    if asked.status_code != 202:
        raise RuntimeError(f"{kind.name} starts no server: {asked.status_code} {asked.text}")
    for event in kind.hub.progress(name):
        if event.get("failed"):
            raise RuntimeError(f"{kind.name} starts no server: {event}")
        if event.get("ready"):
            return time.monotonic() - began
    # It was ready before the progress was asked for.
    return time.monotonic() - began


def start_all(kind: Kind, names: Sequence[str], at_once: int) -> list[float]:
    """Start servers of so many at a time; the seconds of each."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda name: start(kind, name), names))


def stop_all(kind: Kind, names: Sequence[str]) -> None:
    """Stop servers, and wait until their pods are gone."""
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda name: kind.hub.api("DELETE", f"/users/{name}/server"), names))
    mine = set(names)

    def gone() -> bool:
        pods = kind.hub.access.get("pods", "-n", NAMESPACE)["items"]
        return not any(each["metadata"]["name"].partition("-")[2] in mine for each in pods)

    until(gone, f"the end of the pods of {kind.name}")
