"""Buckets as claims: those that the chart makes of a storage's values, and a driver of the node.

The driver is the tests' own (``tests/cluster/csi``), told of buckets as csi-rclone is: none of the
drivers that sites have can be had as a Go module.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cscale_cli.deploy.checking import own_values
from cscale_cli.deploy.helm import Helm
from cscale_cli.deploy.manifests import manifests
from cscale_cli.deploy.releases import releases
from cscale_cli.deploy.values import chosen
from tests.cluster import programs
from tests.cluster.access import Access
from tests.cluster.node import ADDRESS, Node
from tests.cluster.spawn.running_hub import NAMESPACE
from tests.cluster.spawn.store import ACCESS_KEY, PORT, SECRET_KEY
from tests.deploy.conftest import FOLDER
from tests.waiting import until

STORAGE = "csi-rclone"
BUCKETS = ("aqua", "eodata")
_CONFIG = f"""[store]
type = s3
provider = Other
access_key_id = {ACCESS_KEY}
secret_access_key = {SECRET_KEY}
endpoint = http://{ADDRESS}:{PORT}
region = us-east-1
force_path_style = true
no_check_bucket = true
"""


def claims(folder: Path) -> Iterator[dict[str, Any]]:
    """What the chart makes of the values, for the buckets of the tests."""
    archive = {"bucket": "eodata", "purpose": "archive", "access": {"member": "ro"}}
    vo = {"demo.c-scale.eu": {"bucket": "aqua", "places": [archive]}}
    own = {"deployment": {"namespace": NAMESPACE}, "settings": {"vos": {"vos": vo}}}
    mine = folder / "claims.yaml"
    mine.write_text(yaml.safe_dump({"custom": {"cscale": own}}), encoding="utf-8")
    values = chosen(FOLDER, "local", [FOLDER / "storage" / f"{STORAGE}.yaml", mine])
    planned = releases(values, own_values(values).deployment, {})
    (chart,) = [each for each in planned if each.name == "cscale"]
    for each in manifests(_helm(folder).template(chart, programs.VERSION)):
        if each["kind"] in ("PersistentVolume", "PersistentVolumeClaim"):
            yield each


def _helm(folder: Path) -> Helm:
    """helm, which is looked for on PATH, wherever it is."""
    (folder / "helm").symlink_to(programs.helm())
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}:{before}"
    try:
        return Helm()
    finally:
        os.environ["PATH"] = before


def secret(bucket: str) -> dict[str, Any]:
    """What the driver is told of a bucket."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"cscale-csi-{bucket}", "namespace": NAMESPACE},
        "stringData": {"remote": "store", "remotePath": bucket, "configData": _CONFIG},
    }


def serve(node: Node, folder: Path) -> None:
    """Start the driver on a node, and make the claims.

    :param folder: for what is made here.
    :raises Missing: without Go, or helm.
    """
    access: Access = node.plane.access
    kept = node.folder / "csi"
    kept.mkdir(mode=0o700)
    node.run(
        "csi",
        [
            *(programs.csi(), "-name", STORAGE, "-node", node.name, "-folder", kept),
            *("-kubelet", node.root, "-rclone", Path(sys.executable).parent / "rclone"),
        ],
    )
    # There is nothing to attach, and nobody here who would.
    driver = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": STORAGE},
        "spec": {"attachRequired": False},
    }
    access.apply([driver, *map(secret, BUCKETS), *claims(folder)], f"--namespace={NAMESPACE}")

    def known() -> bool:
        found = access.get("csinode", node.name) or {"spec": {}}
        return STORAGE in [each["name"] for each in found["spec"].get("drivers") or ()]

    until(known, "the driver's registration")


def mounted(node: Node) -> list[str]:
    """Volumes of the driver that the node has mounted."""
    words = [*node.inside, "cat", "/proc/self/mounts"]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.split()[1] for line in lines if "kubernetes.io~csi" in line]
