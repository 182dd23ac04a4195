"""A cluster with a hub, an object store, and what a deployment has on each node."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import programs
from tests.cluster.conftest import Cluster
from tests.cluster.node import Node
from tests.cluster.spawn.claims import serve
from tests.cluster.spawn.running_hub import NAMESPACE, RunningHub, volume
from tests.cluster.spawn.store import NodeMount, Store
from tests.waiting import until

IMAGE = "localhost/cscale/mount:test"
BUCKETS = ("aqua", "eodata", "lost", "moving")


@dataclass(frozen=True)
class Deployment:
    """Everything that runs."""

    node: Node
    hub: RunningHub
    store: Store
    mounts: dict[str, NodeMount]


def load(cluster: Cluster, image: str, folder: Path) -> None:
    """Bring an image that was built here to the node."""
    buildah = shutil.which("buildah")
    if buildah is None:
        pytest.skip("buildah is missing: install buildah (scripts/system-packages.sh cluster)")
    archive = folder / "image.tar"
    done = subprocess.run(
        [buildah, "push", image, f"docker-archive:{archive}:{image}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"{image} is not built: {done.stderr.strip()}")
    cluster.load(archive)
    archive.unlink()


@pytest.fixture(scope="session")
def deployment(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    node = cluster.node
    if node is None:
        pytest.skip("the hub runs beside its cluster here; only one of our own can be used")
    folder = tmp_path_factory.mktemp("deployment")
    load(cluster, IMAGE, folder)
    store = Store(node, folder / "store")
    store.start(*BUCKETS)
    store.put("eodata/Sentinel-2/scene.txt", "a scene")
    store.put("aqua/products/old.txt", "a product")
    mounts = {bucket: NodeMount(node, bucket) for bucket in BUCKETS if bucket != "moving"}
    for mount in mounts.values():
        mount.start()
    hub = RunningHub(node, folder / "hub", IMAGE)
    hub.prepare()
    prepare_places(hub)
    start_places(node, hub, folder)
    hub.access.apply(
        [
            *volume(
                "bucket-lost", {"csi": {"driver": "not.there.example", "volumeHandle": "lost"}}
            ),
        ]
    )
    hub.start_proxy()
    hub.start()
    yield Deployment(node, hub, store, mounts)
    hub.access.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="session")
def claims(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Buckets as claims that a CSI driver serves."""
    try:
        serve(deployment.node, tmp_path_factory.mktemp("claims"))
    except programs.Missing as error:
        pytest.skip(str(error))


def prepare_places(hub: RunningHub) -> None:
    """An account that may list pods and nothing else."""
    group = "rbac.authorization.k8s.io"
    metadata = {"name": "places", "namespace": NAMESPACE}
    hub.access.apply(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {
                "apiVersion": f"{group}/v1",
                "kind": "Role",
                "metadata": metadata,
                "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}],
            },
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "places"},
                "subjects": [{"kind": "ServiceAccount", **metadata}],
            },
        ]
    )
    account = ("serviceaccount", "places", "-n", NAMESPACE)
    until(lambda: hub.access.get(*account), "the account of the places")


def start_places(node: Node, hub: RunningHub, folder: Path) -> subprocess.Popen[bytes]:
    """The program that a DaemonSet runs on each node."""
    kubeconfig = hub.access.account(NAMESPACE, "places", folder)
    return node.run(
        "places",
        [
            *(sys.executable, "-m", "cscale_hub.node", "--node", node.name),
            *("--namespace", NAMESPACE, "--folder", node.shared, "--kubeconfig", kubeconfig),
        ],
    )


@pytest.fixture
def person(deployment: Deployment) -> Iterator[Callable[..., str]]:
    """Makes persons whose servers are stopped after the test."""
    names: list[str] = []

    def make(organisation: str = "aqua.example.eu") -> str:
        names.append(deployment.hub.person(organisation))
        return names[-1]

    yield make
    for name in names:
        if deployment.hub.pod(name) is not None:
            deployment.hub.stop_server(name)
