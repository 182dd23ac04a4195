"""The mounts on nodes as a deployment has them: its own manifests, with the images of a release.

A pod that asks for places like a person's server gets them, keeps them when what mounts is killed,
and nothing is left when the deployment is taken away.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cscale_cli.deploy.checking import own_values
from cscale_cli.deploy.helm import Helm
from cscale_cli.deploy.manifests import manifests
from cscale_cli.deploy.releases import releases
from cscale_cli.deploy.values import chosen
from cscale_hub.node.places import PLACES, Place, Wanted
from tests.cluster import programs
from tests.cluster.access import Access
from tests.cluster.conftest import Cluster
from tests.cluster.node import ADDRESS, Node
from tests.cluster.spawn.conftest import IMAGE, Deployment, load
from tests.cluster.spawn.store import ACCESS_KEY, PORT, SECRET_KEY, Store
from tests.deploy.conftest import FOLDER
from tests.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
NAMESPACE = "cscale-test-mounts"
HUB_IMAGE = "localhost/cscale/hub:test"
USER = "umountsaaaaaa"


class Mounts:
    """The chart cscale on the node, below a folder of its own."""

    def __init__(self, node: Node, store: Store, work: Path) -> None:
        self.access: Access = node.plane.access
        self.store = store
        self.folder = node.shared.with_name("mounts-of-deployment")
        self._work = work

    def objects(self) -> list[dict[str, Any]]:
        """What the site ``local`` has, on this store and with the images that were built here."""
        bucket = {"endpoint": f"http://{ADDRESS}:{PORT}", "options": {"vfs-write-back": "0s"}}
        image = {"name": IMAGE.rpartition(":")[0], "tag": "test"}
        quick = {"dir-cache-time": "1s", "attr-timeout": "0s"}
        vo = {"demo.c-scale.eu": {"bucket": "aqua"}}
        own = {
            "deployment": {"namespace": NAMESPACE},
            "settings": {
                "kubernetes": {"node_folder": str(self.folder)},
                "vos": {"vos": vo},
            },
            "mounts": {"image": image, "options": quick, "buckets": {"aqua": bucket}},
        }
        mine = self._work / "mine.yaml"
        hub = {"image": {"name": HUB_IMAGE.rpartition(":")[0], "tag": "test"}}
        mine.write_text(yaml.safe_dump({"hub": hub, "custom": {"cscale": own}}), encoding="utf-8")
        values = chosen(FOLDER, "local", [mine])
        planned = releases(values, own_values(values).deployment, {})
        (chart,) = [each for each in planned if each.name == "cscale"]
        return list(manifests(Helm().template(chart, programs.VERSION)))

    def start(self) -> None:
        keys = {"access-key": ACCESS_KEY, "secret-key": SECRET_KEY}
        metadata = {"name": "cscale-mounts", "namespace": NAMESPACE}
        self.access.apply(
            [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
                {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys},
            ]
        )
        self.access.apply(self.objects(), f"--namespace={NAMESPACE}")
        until(self.ready, "the mounts")

    def ready(self) -> bool:
        found = self.access.get("daemonset", "cscale-mounts", f"--namespace={NAMESPACE}")
        return bool(found and found["status"].get("numberReady"))

    def restarts(self) -> int:
        """How often the container of the bucket was started again."""
        (pod,) = self.access.get(
            "pods", f"--namespace={NAMESPACE}", "--selector=app.kubernetes.io/component=mounts"
        )["items"]
        statuses = {each["name"]: each for each in pod["status"]["containerStatuses"]}
        return int(statuses["bucket-aqua"]["restartCount"])

    def rclone(self) -> int:
        """The process that has the bucket mounted."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            words = path.read_bytes().split(b"\0")
            if words[:2] == [b"rclone", b"mount"] and bytes(self.folder / "buckets") in words[3]:
                return int(path.parent.name)
        raise AssertionError("no rclone mounts the bucket")

    def kill(self) -> None:
        before = self.restarts()
        os.kill(self.rclone(), signal.SIGKILL)
        until(lambda: self.restarts() > before and self.ready(), "another start")

    def tell(self) -> None:
        """Print what is known; pytest shows it when the test fails."""
        where = f"--namespace={NAMESPACE}"
        print(self.access.kubectl("get", "pods,events", where, check=False))
        of_mounts = "--selector=app.kubernetes.io/component=mounts"
        print(
            self.access.kubectl(
                "logs", where, of_mounts, "--all-containers", "--prefix", "--tail=30", check=False
            )
        )

    def stop(self) -> None:
        self.access.kubectl("delete", "namespace", NAMESPACE)
        self.access.kubectl(
            *("delete", "clusterrole,clusterrolebinding", "--ignore-not-found"),
            "--selector=app.kubernetes.io/instance=cscale",
        )


@pytest.fixture
def mounts(
    cluster: Cluster, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mounts]:
    try:
        found = programs.helm_folder(tmp_path)
    except programs.Missing as error:
        pytest.skip(str(error))
    monkeypatch.setenv("PATH", str(found), prepend=":")
    load(cluster, HUB_IMAGE, tmp_path)
    made = Mounts(deployment.node, deployment.store, tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.tell()
        made.stop()


class Reader:
    """A pod that sees places as a server does."""

    def __init__(self, mounts: Mounts) -> None:
        self._access = mounts.access
        wanted = Wanted(
            (Place("aqua", "products/", False), Place("aqua", f"users/{USER}/", True)),
            f"aqua/users/{USER}",
        )
        folder = {"path": str(mounts.folder / "servers" / "reader"), "type": "DirectoryOrCreate"}
        security = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        places = {"name": "places", "mountPath": "/s3", "mountPropagation": "HostToContainer"}
        self.manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "reader",
                "namespace": NAMESPACE,
                "labels": {PLACES: "node"},
                "annotations": {PLACES: wanted.text()},
            },
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 0,
                "volumes": [{"name": "places", "hostPath": folder}],
                "containers": [
                    {
                        "name": "reader",
                        "image": IMAGE,
                        "command": ["sleep", "infinity"],
                        "securityContext": security,
                        "volumeMounts": [places],
                    }
                ],
            },
        }

    def sh(self, script: str) -> str:
        """What a shell in it says; empty where it fails."""
        words = ("exec", "reader", f"--namespace={NAMESPACE}", "--", "sh", "-c", script)
        return self._access.kubectl(*words, check=False).strip()

    def restarts(self) -> int:
        pod = self._access.get("pod", "reader", f"--namespace={NAMESPACE}")
        return sum(each["restartCount"] for each in pod["status"]["containerStatuses"])


def test_a_bucket_on_the_node_heals_below_a_running_pod_and_goes_without_a_trace(
    mounts: Mounts,
) -> None:
    reader = Reader(mounts)
    mounts.access.apply([reader.manifest])
    until(lambda: reader.sh("cat /s3/aqua/products/old.txt") == "a product", "the product")
    assert reader.sh("id -u") == "1000"
    assert reader.sh("ls /s3/aqua") == "products\nusers"
    assert reader.sh("echo x > /s3/aqua/products/new.txt; echo $?") != "0"

    until(lambda: reader.sh("echo mine > /s3/me/mine.txt && echo ok") == "ok", "a file")
    mine = f"aqua/users/{USER}/mine.txt"
    until(lambda: (mounts.store.read(mine) or "").strip() == "mine", "the file in S3")

    mounts.kill()
    until(lambda: reader.sh("cat /s3/me/mine.txt") == "mine", "the healed mount")
    mounts.store.put(f"aqua/users/{USER}/after.txt", "after")
    until(lambda: reader.sh("cat /s3/me/after.txt") == "after", "the new view")
    assert reader.restarts() == 0

    mounts.access.kubectl("delete", "pod", "reader", f"--namespace={NAMESPACE}")
    servers = mounts.folder / "servers"
    until(lambda: list(servers.iterdir()) == [], "the end of the pod's places")
    mounts.access.kubectl("delete", "daemonset", "cscale-mounts", f"--namespace={NAMESPACE}")
    text = str(mounts.folder)
    until(
        lambda: text not in Path("/proc/mounts").read_text(encoding="utf-8"),
        "the end of all mounts",
    )
