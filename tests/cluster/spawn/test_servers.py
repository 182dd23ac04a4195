"""Servers on a real cluster: started by the hub, with the places of their persons in each mode."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cscale_hub.spawn.cluster_secret import POD_LABEL
from tests.cluster.access import Access
from tests.cluster.spawn.claims import mounted
from tests.cluster.spawn.conftest import Deployment
from tests.cluster.spawn.running_hub import NAMESPACE
from tests.cluster.spawn.store import SECRET_KEY
from tests.waiting import until

pytestmark = pytest.mark.cluster
Person = Callable[..., str]
NOT_FOUND = "No such file or directory"


def own(name: str) -> str:
    return f"/s3/aqua/users/{name}"


def site_of(deployment: Deployment, name: str) -> dict[str, Any]:
    """The site file of a running server."""
    volumes = deployment.hub.pod(name)["spec"]["volumes"]
    secret = next(each["secret"]["secretName"] for each in volumes if each["name"] == "site")
    found = deployment.hub.access.get("secret", secret, "-n", NAMESPACE)
    site: dict[str, Any] = yaml.safe_load(base64.b64decode(found["data"]["site.yaml"]))
    return site


def moment(access: Access) -> str:
    """This moment in the order of what the cluster keeps."""
    said = access.kubectl("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/secrets?limit=1")
    return str(json.loads(said)["metadata"]["resourceVersion"])


def made_since(access: Access, kind: str, version: str) -> list[tuple[int, dict[str, Any]]]:
    """Objects that were made since a moment, as they were then, each with when in the order."""
    path = f"/api/v1/namespaces/{NAMESPACE}/{kind}?watch=1&resourceVersion={version}"
    said = access.kubectl("get", "--raw", f"{path}&timeoutSeconds=2")
    events = [json.loads(line) for line in said.splitlines()]
    made = (each["object"] for each in events if each["type"] == "ADDED")
    return [(int(each["metadata"]["resourceVersion"]), each) for each in made]


def secrets_of(access: Access, name: str) -> list[dict[str, Any]]:
    """The Secrets made for a person's server."""
    label = f"{POD_LABEL}=server-{name}"
    found: list[dict[str, Any]] = access.get("secrets", "-n", NAMESPACE, "-l", label)["items"]
    return found


def test_the_secret_is_there_before_the_pod_and_belongs_to_it(
    deployment: Deployment, person: Person
) -> None:
    hub = deployment.hub
    name = person()
    # As a hub leaves it that dies in a start.
    left = f"server-{name}-{secrets.token_hex(4)}"
    hub.access.kubectl("create", "secret", "generic", left, "-n", NAMESPACE)
    hub.access.kubectl("label", "secret", left, "-n", NAMESPACE, f"{POD_LABEL}=server-{name}")
    version = moment(hub.access)
    hub.start_server(name, "none")
    (secret,) = [
        each
        for each in made_since(hub.access, "secrets", version)
        if each[1]["metadata"].get("labels", {}).get(POD_LABEL) == f"server-{name}"
    ]
    (pod,) = [
        each
        for each in made_since(hub.access, "pods", version)
        if each[1]["metadata"]["name"] == f"server-{name}"
    ]
    assert secret[0] < pod[0]
    (now,) = secrets_of(hub.access, name)
    assert now["metadata"]["name"] == secret[1]["metadata"]["name"]
    (owner,) = now["metadata"]["ownerReferences"]
    assert owner["uid"] == pod[1]["metadata"]["uid"]
    told = hub.access.get(
        *("events", "-n", NAMESPACE, f"--field-selector=involvedObject.name=server-{name}")
    )
    assert not {"FailedMount", "Failed"} & {each["reason"] for each in told["items"]}


def test_a_server_starts_with_its_places_and_nothing_of_it_stays(
    deployment: Deployment, person: Person
) -> None:
    hub, store = deployment.hub, deployment.store
    name = person()
    hub.start_server(name, "node")
    assert hub.ask(name)["user"] == 1000
    hub.until(name, "written", "write", f"{own(name)}/here.txt", "from the pod")
    until(lambda: store.read(f"aqua/users/{name}/here.txt") == "from the pod", "the file in S3")
    store.put(f"aqua/users/{name}/there.txt", "from S3")
    hub.until(name, "from S3", "read", f"{own(name)}/there.txt")
    assert hub.ask(name, "link", "/s3/me") == f"aqua/users/{name}"
    assert hub.ask(name, "read", "/s3/me/there.txt") == "from S3"
    assert hub.ask(name, "read", "/s3/aqua/products/old.txt") == "a product"
    assert hub.ask(name, "read", "/s3/eodata/Sentinel-2/scene.txt") == "a scene"
    assert hub.ask(name, "write", "/s3/eodata/new.txt", "x") == "Read-only file system"
    site = site_of(deployment, name)
    assert (site["mount"], site["mount_mode"]) == ("/s3", "given")
    assert site["shortcuts"] == {"/s3/me": f"aqua/users/{name}"}
    hub.stop_server(name)
    tree = deployment.node.shared / "servers" / f"server-{name}"
    until(lambda: not tree.exists(), "the end of its tree on the node")
    until(lambda: not secrets_of(hub.access, name), "the end of its Secret")
    assert store.read(f"aqua/users/{name}/here.txt") == "from the pod"


def test_another_person_sees_nothing_of_it(deployment: Deployment, person: Person) -> None:
    hub, store = deployment.hub, deployment.store
    one, other = person(), person()
    store.put(f"aqua/users/{one}/secret.txt", "mine")
    hub.start_server(other, "node")
    hub.until(other, [other], "list", "/s3/aqua/users")
    assert hub.ask(other, "read", f"/s3/aqua/users/{one}/secret.txt") == NOT_FOUND
    assert hub.ask(other, "read", f"/s3/me/../{one}/secret.txt") == NOT_FOUND
    assert "lost" not in hub.ask(other, "list", "/s3")


def test_the_token_is_not_in_the_pods_description(deployment: Deployment, person: Person) -> None:
    hub = deployment.hub
    name = person()
    hub.start_server(name, "none")
    token = hub.ask(name, "environment")["JUPYTERHUB_API_TOKEN"]
    assert len(token) >= 32
    assert token not in json.dumps(hub.pod(name))
    assert hub.ask(name, "list", "/s3") == NOT_FOUND
    assert site_of(deployment, name)["unmounted"] == ["aqua", "eodata"]
    assert hub.ask(name, "list", "/var/run/secrets") == NOT_FOUND


def test_a_killed_mount_heals_in_the_running_server(deployment: Deployment, person: Person) -> None:
    hub, mount = deployment.hub, deployment.mounts["aqua"]
    name = person()
    hub.start_server(name, "node")
    hub.until(name, "written", "write", f"{own(name)}/kept.txt", "kept")
    until(lambda: deployment.store.read(f"aqua/users/{name}/kept.txt") == "kept", "the file in S3")
    before = hub.pod(name)["metadata"]["uid"]
    mount.kill()
    assert hub.ask(name, "read", f"{own(name)}/kept.txt") == ("Transport endpoint is not connected")
    mount.start()
    hub.until(name, "kept", "read", f"{own(name)}/kept.txt")
    hub.until(name, "a product", "read", "/s3/aqua/products/old.txt")
    pod = hub.pod(name)
    assert pod["metadata"]["uid"] == before
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_store_that_hangs_holds_up_no_start(deployment: Deployment, person: Person) -> None:
    hub = deployment.hub
    name = person()
    deployment.store.pause(True)
    try:
        hub.start_server(name, "node")
        assert hub.ask(name)["user"] == 1000
    finally:
        deployment.store.pause(False)
    hub.until(name, "a product", "read", "/s3/aqua/products/old.txt", seconds=90)


def test_the_hub_comes_again_and_servers_stay(deployment: Deployment, person: Person) -> None:
    hub = deployment.hub
    name = person()
    hub.start_server(name, "node")
    before = hub.pod(name)["metadata"]["uid"]
    hub.kill()
    assert hub.ask(name)["user"] == 1000
    hub.start()
    servers = hub.api("GET", f"/users/{name}").json()["servers"]
    assert servers[""]["ready"] is True
    assert hub.pod(name)["metadata"]["uid"] == before
    hub.stop_server(name)


@pytest.mark.usefixtures("claims")
def test_claims_show_the_same_tree(deployment: Deployment, person: Person) -> None:
    hub, store = deployment.hub, deployment.store
    name = person()
    # The kubelet makes the folder of a sub-path, as root of the node; here it is there before.
    store.put(f"aqua/users/{name}/there.txt", "from S3")
    store.put("eodata/Sentinel-2/by-claim.txt", "a scene by its claim")
    assert mounted(deployment.node) == []
    hub.start_server(name, "csi")
    assert hub.ask(name, "read", f"{own(name)}/there.txt") == "from S3"
    assert hub.ask(name, "read", "/s3/me/there.txt") == "from S3"
    assert hub.ask(name, "write", f"{own(name)}/here.txt", "from the pod") == "written"
    until(lambda: store.read(f"aqua/users/{name}/here.txt") == "from the pod", "the file in S3")
    assert hub.ask(name, "list", "/s3/aqua/users") == [name]
    assert hub.ask(name, "read", "/s3/eodata/Sentinel-2/by-claim.txt") == "a scene by its claim"
    assert hub.ask(name, "write", "/s3/eodata/new.txt", "x") == "Read-only file system"
    assert len(mounted(deployment.node)) == 2
    # Keys are the driver's: no volume, claim or pod has them.
    pod = hub.pod(name)
    del pod["spec"]["containers"][0]["args"]  # what stands in for JupyterLab, whose text has them
    described = json.dumps([hub.access.get("pv"), hub.access.get("pvc", "-A"), pod])
    assert SECRET_KEY not in described
    hub.stop_server(name)
    until(lambda: mounted(deployment.node) == [], "the end of mounted volumes")
    assert store.read(f"aqua/users/{name}/here.txt") == "from the pod"


def test_a_claim_that_is_not_served_is_left_out_and_told(
    deployment: Deployment, person: Person
) -> None:
    hub = deployment.hub
    name = person("lost.example.eu")
    said = hub.start_server(name, "csi")
    assert any("The bucket lost cannot be mounted" in each for each in said), said
    assert "A place for your server was found." in said
    assert not any("[Warning]" in each or "MountVolume" in each for each in said)
    assert site_of(deployment, name)["unmounted"] == ["lost"]
    assert "/s3/me" not in site_of(deployment, name)["shortcuts"]


def test_a_container_beside_mounts_with_the_persons_credentials(
    deployment: Deployment, person: Person
) -> None:
    hub, store = deployment.hub, deployment.store
    name = person()
    store.put(f"aqua/users/{name}/there.txt", "from S3")
    hub.start_server(name, "sidecar")
    hub.until(name, "from S3", "read", f"{own(name)}/there.txt")
    hub.until(name, "from S3", "read", "/s3/me/there.txt")
    hub.until(name, "a scene", "read", "/s3/eodata/Sentinel-2/scene.txt")
    assert hub.ask(name, "write", f"{own(name)}/here.txt", "from the pod") == "written"
    until(lambda: store.read(f"aqua/users/{name}/here.txt") == "from the pod", "the file in S3")
    assert hub.ask(name, "list", "/s3/aqua/users") == [name]
    hub.stop_server(name)
    assert f"server-{name}" not in Path("/proc/mounts").read_text("utf-8")


def test_an_image_that_is_not_there_is_told_at_once(deployment: Deployment, person: Person) -> None:
    hub = deployment.hub
    name = person()
    answer = hub.api("POST", f"/users/{name}/server", {"profile": "imageless"})
    words = "localhost/nowhere:1 cannot be had"
    if not answer.content:
        # It goes on; whoever asks for the progress after its end is told nothing any more.
        told = list(hub.progress(name))
        assert not told or words in told[-1]["message"], told
    else:
        assert words in answer.json()["message"]
    # Long before the time for a start is over.
    until(lambda: words in hub.log(), "what is told of it", 60)
    until(lambda: hub.pod(name) is None, "the end of its pod")
    until(lambda: not secrets_of(hub.access, name), "the end of its Secret")


def test_only_servers_for_spark_can_ask_the_cluster(deployment: Deployment, person: Person) -> None:
    hub = deployment.hub
    name = person()
    hub.start_server(name, "spark")
    mounted = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert "token" in hub.ask(name, "list", mounted)
    account = f"--as=system:serviceaccount:{NAMESPACE}:server-{name}"

    def may(*act: str, space: str) -> bool:
        said = hub.access.kubectl("auth", "can-i", *act, account, "-n", space, check=False)
        return said.strip() == "yes"

    assert may("create", "pods", space=f"spark-{name}")
    for act in (("create", "pods"), ("get", "pods"), ("get", "secrets"), ("list", "events")):
        assert not may(*act, space=NAMESPACE), act
    assert not may("create", "pods", "--subresource=exec", space=f"spark-{name}")


def test_homes_are_kept(deployment: Deployment, person: Person) -> None:
    hub = deployment.hub
    name = person()
    hub.start_server(name, "none")
    assert hub.ask(name, "write", "/home/jovyan/note.txt", "remember") == "written"
    hub.stop_server(name)
    hub.start_server(name, "none")
    assert hub.ask(name, "read", "/home/jovyan/note.txt") == "remember"
