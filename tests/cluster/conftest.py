"""A Kubernetes for the tests that need one, started once.

``KUBECONFIG`` names an existing cluster instead, of whose administrator it is; nothing is left in
it but what carries the name of the tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import programs
from tests.cluster.access import Access
from tests.cluster.control_plane import ControlPlane
from tests.cluster.node import ADDRESS, PAUSE_IMAGE, Namespace, Node, OtherMachine

# One of this process; nodes find each other in it.
_NAMESPACE = Namespace(f"cs-{os.getpid()}")


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs pods.

    :ivar image: one that the nodes have, whose program does nothing.
    :ivar load: brings the images of a docker archive to the nodes.
    :ivar node: the one node, where it is ours: what runs in its network reaches pods.
    """

    access: Access
    image: str
    load: Callable[[Path], None]
    node: Node | None = None


def existing() -> Access | None:
    """The cluster that is there already."""
    named = os.environ.get("KUBECONFIG")
    return Access(Path(named)) if named else None


@contextmanager
def control_plane_in(folder: Path) -> Iterator[ControlPlane]:
    """An API server with controllers, on loopback."""
    plane = ControlPlane(folder)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


@contextmanager
def cluster_in(folder: Path) -> Iterator[Node]:
    """A cluster of one node."""
    plane = node = None
    try:
        _NAMESPACE.make()
        plane = ControlPlane(folder, ADDRESS, _NAMESPACE.prefix)
        plane.start()
        node = Node(plane)
        node.start()
        yield node
    finally:
        if node is not None:
            node.stop()
        if plane is not None:
            plane.stop()
        _NAMESPACE.remove()


@contextmanager
def second_node(first: Node) -> Iterator[Node]:
    """Another node of the same cluster, while it is needed."""
    machine = OtherMachine(_NAMESPACE, first.shared, first.plane.folder / "second-shared")
    node = None
    try:
        node = Node(first.plane, machine.make())
        node.start()
        yield node
    finally:
        if node is not None:
            node.stop()
            first.plane.access.kubectl("delete", "node", node.name, "--ignore-not-found")
        machine.remove()


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """An API server that admits, validates and stores; it need not have nodes."""
    found = existing()
    if found is not None:
        yield found
        return
    try:
        with control_plane_in(tmp_path_factory.mktemp("control-plane")) as plane:
            yield plane.access
    except programs.Missing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with a node."""
    found = existing()
    if found is not None:
        image = os.environ.get("CSCALE_TEST_IMAGE", "registry.k8s.io/pause:3.10")
        yield Cluster(found, image, lambda archive: pytest.skip("this cluster takes no archives"))
        return
    if os.geteuid() != 0:
        pytest.skip("a node needs root; run as root, or name a cluster by KUBECONFIG")
    try:
        with cluster_in(tmp_path_factory.mktemp("cluster")) as node:
            yield Cluster(node.plane.access, PAUSE_IMAGE, node.load, node)
    except programs.Missing as error:
        pytest.skip(str(error))
