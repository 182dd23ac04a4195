"""Sessions of Spark whose driver is a program of ours, on a real API server."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_asyncio import client, config

from cscale_core.clusters import SparkKubernetes
from cscale_hub.spawn.cluster_spark import SparkNamespace
from tests.cluster.access import Access
from tests.cluster.spark.world import cluster_roles, namespace_documents
from tests.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.spark]
HUB = "cscale-test-sessions"
PROGRAM = Path(__file__).with_name("session_program.py")
IMAGE = "localhost/of-the-server:1"


@pytest.fixture(scope="module")
def hub(control_plane: Access) -> Iterator[Access]:
    control_plane.kubectl("create", "namespace", HUB)
    control_plane.kubectl("create", "serviceaccount", "hub", "-n", HUB)
    control_plane.apply(cluster_roles(HUB))
    yield control_plane
    control_plane.kubectl("delete", "namespace", HUB, "--wait=false")
    for role in cluster_roles(HUB):
        control_plane.kubectl("delete", role["kind"], role["metadata"]["name"], "--wait=false")


class Notebook:
    """A kernel of one person's server."""

    def __init__(self, access: Access, folder: Path, **options: Any) -> None:
        self.access = access
        self.user = f"u{secrets.token_hex(4)}"
        self.space = f"spark-{self.user}"
        access.apply(namespace_documents(self.user, HUB))
        account = ("serviceaccount", "default", "-n", self.space)
        until(lambda: access.get(*account) is not None, "the default account")
        kubeconfig = access.account(HUB, f"server-{self.user}", folder)
        site = {
            "user": self.user,
            "s3": {"endpoint": "https://s3.example.eu"},
            "catalogue": {"url": "https://catalogue.example.eu"},
            "spark": {
                "kinds": ["kubernetes"],
                "kubernetes": {
                    "namespace": "spark-{user}",
                    "image": "localhost/spark:1",
                    "kubeconfig": str(kubeconfig),
                },
            },
        }
        path = folder / f"{self.user}.yaml"
        path.write_text(yaml.safe_dump(site), encoding="utf-8")
        environment = {
            "CSCALE_SITE_FILE": str(path),
            "CSCALE_SERVER": f"server-{self.user}",
            "CSCALE_POD_IP": "127.0.0.1",
            "CSCALE_IMAGE": IMAGE,
            "TMPDIR": str(folder),
        }
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(options)],
            env={k: v for k, v in os.environ.items() if k != "KUBECONFIG"} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def found(self, kind: str) -> list[Any]:
        items: list[Any] = self.access.get(
            kind, "-n", self.space, "-l", f"c-scale.eu/server=server-{self.user}"
        )["items"]
        return items


@pytest.fixture
def notebook(hub: Access, tmp_path: Path) -> Iterator[Callable[..., Notebook]]:
    made: list[Notebook] = []

    def begin(**options: Any) -> Notebook:
        made.append(Notebook(hub, tmp_path, **options))
        assert made[-1].line() == "open"
        return made[-1]

    yield begin
    for each in made:
        each.process.kill()
        each.process.communicate()
        hub.kubectl("delete", "namespace", each.space, "--wait=false")


def test_executors_are_made_as_described_and_go_with_the_session(
    notebook: Callable[..., Notebook],
) -> None:
    kernel = notebook(executors=2, executor_memory="1g", executor_cores=2)
    until(lambda: len(kernel.found("pods")) == 2, "two executors")
    (secret,) = kernel.found("secrets")
    for pod in kernel.found("pods"):
        (owner,) = pod["metadata"]["ownerReferences"]
        assert owner["uid"] == secret["metadata"]["uid"]
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        (container,) = spec["containers"]
        assert container["image"] == IMAGE
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        # 1 GiB of heap and 0.4 of it, once.
        assert container["resources"]["requests"]["memory"] == "1433Mi"
        assert container["resources"]["limits"]["cpu"] == "2"
        (auth,) = secret["data"].values()
        for form in (auth, base64.b64decode(auth).decode()):
            assert form not in json.dumps(pod)
    assert kernel.process.stdin is not None
    kernel.process.stdin.close()
    kernel.process.stdin = None
    assert kernel.line() == "stopped"
    assert kernel.process.wait(60) == 0
    until(lambda: not kernel.found("secrets"), "the end of its Secret")
    until(lambda: not kernel.found("pods"), "the end of its executors")


async def test_what_a_killed_kernel_left_goes_with_its_server(
    hub: Access, notebook: Callable[..., Notebook], tmp_path: Path
) -> None:
    kernel = notebook(executors=1)
    until(lambda: len(kernel.found("pods")) == 1, "an executor")
    kernel.process.kill()
    kernel.process.wait()
    settings = SparkKubernetes(namespace="spark-{user}", image="localhost/spark:1")
    configuration = client.Configuration()
    account = hub.account(HUB, "hub", tmp_path)
    await config.load_kube_config(str(account), client_configuration=configuration)
    async with client.ApiClient(configuration) as api:
        core = client.CoreV1Api(api)
        space = SparkNamespace(core, settings, kernel.user, HUB)
        # As at each start; here everything is there.
        await space.ensure()
        await space.forget_sessions(f"server-{kernel.user}")
    until(lambda: not kernel.found("secrets"), "the end of its Secret")
    until(lambda: not kernel.found("pods"), "the end of its executor")
