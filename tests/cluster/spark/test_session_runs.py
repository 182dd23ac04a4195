"""A session whose executors run on a node and read what is mounted in them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import Cluster
from tests.cluster.node import ADDRESS
from tests.cluster.spark.test_sessions_on_kubernetes import PROGRAM
from tests.cluster.spark.world import cluster_roles, namespace_documents
from tests.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.spark, pytest.mark.timeout(900)]
HUB = "cscale-test-running"


def claim(space: str, folder: Path) -> list[dict[str, Any]]:
    """A volume that may only be read, as a deployment gives an archive to a namespace."""
    common = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    size = {"storage": "1Gi"}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{space}-eodata"},
            "spec": {
                **common,
                "capacity": size,
                "claimRef": {"name": "eodata", "namespace": space},
                "hostPath": {"path": str(folder)},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "eodata", "namespace": space},
            "spec": {
                **common,
                "volumeName": f"{space}-eodata",
                "resources": {"requests": size},
            },
        },
    ]


def test_executors_read_the_mount_and_go(
    cluster: Cluster, spark_image: str, tmp_path: Path
) -> None:
    node = cluster.node
    if node is None:
        pytest.skip("the driver runs beside its cluster here; only one of our own can be used")
    access, user = cluster.access, f"u{secrets.token_hex(4)}"
    space = f"spark-{user}"
    # Driver and executors see it at the same path.
    archive = node.shared / "archive"
    archive.mkdir()
    (archive / "scenes.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    access.kubectl("create", "namespace", HUB)
    access.apply([*cluster_roles(HUB), *namespace_documents(user, HUB), *claim(space, archive)])
    until(
        lambda: access.get("serviceaccount", "default", "-n", space) is not None,
        "the default account",
    )
    site = {
        "user": user,
        "s3": {"endpoint": "https://s3.example.eu"},
        "catalogue": {"url": "https://catalogue.example.eu"},
        "spark": {
            "kinds": ["kubernetes"],
            "kubernetes": {
                "namespace": "spark-{user}",
                "image": spark_image,
                "pull_policy": "Never",
                "run_as": 1000,
                "group": 100,
                "kubeconfig": str(access.account(HUB, f"server-{user}", tmp_path)),
                "mounts": [
                    {
                        "name": "eodata",
                        "path": str(archive),
                        "claim": "eodata",
                        "read_only": True,
                    }
                ],
            },
        },
    }
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(site), encoding="utf-8")
    environment = {
        "CSCALE_SITE_FILE": str(path),
        "CSCALE_SERVER": f"server-{user}",
        "CSCALE_POD_IP": ADDRESS,
        "TMPDIR": str(tmp_path),
    }
    asked = f"file://{archive}/scenes.txt\n"
    options = json.dumps({"executors": 1, "executor_memory": "512m"})
    done = subprocess.run(
        [*node.inside, sys.executable, str(PROGRAM), options],
        env={k: v for k, v in os.environ.items() if k != "CSCALE_IMAGE"} | environment,
        input=asked,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.splitlines() == ["open", "['one', 'two', 'three']", "stopped"]
    found = (space, "-l", f"c-scale.eu/server=server-{user}")
    until(lambda: not access.get("secrets", "-n", *found)["items"], "the end of its Secret")
    until(lambda: not access.get("pods", "-n", *found)["items"], "the end of its executor")
