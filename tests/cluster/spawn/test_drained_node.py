"""A node is drained: servers on it end, their persons are told, and they start on another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from cscale_cli.deploy.checking import own_values
from cscale_cli.deploy.helm import Helm
from cscale_cli.deploy.manifests import manifests
from cscale_cli.deploy.releases import releases
from cscale_cli.deploy.values import chosen
from tests.cluster import programs
from tests.cluster.conftest import Cluster, second_node
from tests.cluster.node import Node
from tests.cluster.spawn.conftest import IMAGE, Deployment, load, start_places
from tests.cluster.spawn.running_hub import NAMESPACE
from tests.cluster.spawn.store import NodeMount
from tests.deploy.conftest import FOLDER
from tests.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
Person = Callable[..., str]
_DRAIN = (
    *("--ignore-daemonsets", "--delete-emptydir-data", "--force"),
    "--pod-selector=component=singleuser-server",
)


@pytest.fixture
def other(deployment: Deployment, tmp_path: Path) -> Iterator[Node]:
    """A second node with everything that a deployment has on each."""
    hub = deployment.hub
    with second_node(deployment.node) as node:
        load(Cluster(hub.access, IMAGE, node.load, node), IMAGE, tmp_path)
        mounts = [NodeMount(node, bucket) for bucket in ("aqua", "eodata")]
        for mount in mounts:
            mount.start()
        places = start_places(node, hub, tmp_path)
        yield node
        node.plane.end(places)
        for mount in mounts:
            mount.stop()


@pytest.fixture
def kept(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The budget by which a deployment keeps servers, and the role by which its hub sees nodes."""
    try:
        found = programs.helm_folder(tmp_path)
    except programs.Missing as error:
        pytest.skip(str(error))
    monkeypatch.setenv("PATH", str(found), prepend=":")
    mine = tmp_path / "mine.yaml"
    own = {"deployment": {"namespace": NAMESPACE}, "disruption": {"keepServers": True}}
    mine.write_text(yaml.safe_dump({"custom": {"cscale": own}}), encoding="utf-8")
    values = chosen(FOLDER, "local", [mine])
    planned = releases(values, own_values(values).deployment, {})
    (chart,) = [each for each in planned if each.name == "cscale"]
    wanted = {
        ("PodDisruptionBudget", "cscale-servers"),
        ("ClusterRole", "cscale-hub-capacity"),
        ("ClusterRoleBinding", "cscale-hub-capacity"),
    }
    rendered = manifests(Helm().template(chart, programs.VERSION))
    objects = [each for each in rendered if (each["kind"], each["metadata"]["name"]) in wanted]
    assert len(objects) == len(wanted)
    access = deployment.hub.access
    access.apply(objects, f"--namespace={NAMESPACE}")
    yield
    access.kubectl("delete", "pdb", "--all", f"--namespace={NAMESPACE}")
    access.kubectl("delete", "clusterrole,clusterrolebinding", "cscale-hub-capacity")


def test_a_server_ends_with_its_node_and_goes_on_elsewhere(
    deployment: Deployment, person: Person, other: Node, kept: None
) -> None:
    hub, store, access = deployment.hub, deployment.store, deployment.hub.access
    name = person()
    mine = f"/s3/aqua/users/{name}"
    access.kubectl("cordon", other.name)
    hub.start_server(name, "node")
    assert hub.pod(name)["spec"]["nodeName"] == deployment.node.name
    assert hub.ask(name, "write", "/home/jovyan/note.txt", "remember") == "written"
    hub.until(name, "written", "write", f"{mine}/here.txt", "from the first")
    until(lambda: store.read(f"aqua/users/{name}/here.txt") == "from the first", "the file in S3")
    access.kubectl("uncordon", other.name)

    # While the deployment keeps servers, a drain waits and the server goes on.
    with pytest.raises(RuntimeError, match=r"disruption budget|timed out|global timeout"):
        access.kubectl("drain", deployment.node.name, *_DRAIN, "--timeout=8s")
    assert hub.ask(name, "read", "/home/jovyan/note.txt") == "remember"
    access.kubectl("delete", "pdb", "cscale-servers", f"--namespace={NAMESPACE}")
    try:
        access.kubectl("drain", deployment.node.name, *_DRAIN, "--timeout=90s")
        until(
            lambda: not hub.api("GET", f"/users/{name}").json()["servers"],
            "the server's end in the hub's eyes",
            60,
        )
        told = page_of(deployment, name)
        assert "machine is being taken out of service" in told
        assert "home folder" in told

        hub.start_server(name, "node")
        assert hub.pod(name)["spec"]["nodeName"] == other.name
        assert hub.ask(name, "read", "/home/jovyan/note.txt") == "remember"
        hub.until(name, "from the first", "read", f"{mine}/here.txt")
        hub.until(name, "written", "write", f"{mine}/there.txt", "from the second")
        until(
            lambda: store.read(f"aqua/users/{name}/there.txt") == "from the second",
            "the file in S3",
        )
        assert "taken out of service" not in page_of(deployment, name)
        hub.stop_server(name)
        assert "taken out of service" not in page_of(deployment, name)
    finally:
        access.kubectl("uncordon", deployment.node.name)


def page_of(deployment: Deployment, name: str) -> str:
    """What its person is shown at the address of a server."""
    hub = deployment.hub
    token = hub.api("POST", f"/users/{name}/tokens", {"expires_in": 300}).json()["token"]
    answer = httpx.get(
        f"{hub.url}/hub/user/{name}/lab",
        headers={"Authorization": f"token {token}", "Accept": "text/html"},
        timeout=30,
        trust_env=False,
    )
    return answer.text
