"""The Spark operator itself, beside the cluster of the tests.

Its chart is rendered with the values of a deployment, and what is rendered is used: definitions,
account and roles are made, and the program runs by that account with the arguments of its
Deployment. Only that it runs on the node instead of in a pod, with Spark of this Python, as its
image is in a registry. That Spark is newer than the image's: since 4.2 it makes a NetworkPolicy for
the executors of each application, which the chart's role does not allow yet.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Any

import yaml

from cscale_cli.deploy.checking import own_values
from cscale_cli.deploy.helm import Helm
from cscale_cli.deploy.manifests import Manifest, manifests
from cscale_cli.deploy.releases import releases
from cscale_cli.deploy.values import chosen
from cscale_core.jobs import spark_submit
from tests.cluster import programs
from tests.cluster.node import ADDRESS, Node
from tests.deploy.conftest import FOLDER
from tests.waiting import until

CHART = "spark-operator"
_CONTROLLER = f"{CHART}-controller"
# Where it writes pod templates for spark-submit.
_TEMPLATES = Path("/tmp/spark")
# Ports that other programs of the tests have on this address.
_NO_PORTS = ("--metrics-bind-address=0", "--health-probe-bind-address=0")
_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData"


class SparkOperator:
    """What ``cscale deploy apply`` installs with the companion, and the process.

    helm is on ``PATH``.

    :param folder: for its files.
    """

    def __init__(self, node: Node, folder: Path) -> None:
        self._node = node
        self._access = node.plane.access
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._account = ""
        self.namespace = ""
        self._objects: list[Manifest] = []

    def start(self) -> None:
        """Install and start it.

        :raises Missing: when it cannot be built.
        """
        chart = programs.operator_chart()
        program = programs.operator()
        self._render(chart)
        definitions = [f"--filename={file}" for file in sorted((chart / "crds").glob("*.yaml"))]
        self._access.kubectl("apply", "--server-side", *definitions)
        until(self._kinds_are_known, "the operator's kinds")
        self._access.kubectl("create", "namespace", self.namespace)
        self._access.apply(
            [each for each in self._objects if each["kind"] != "Deployment"],
            f"--namespace={self.namespace}",
        )
        self._access.apply(self._deployments, "--dry-run=server", f"--namespace={self.namespace}")
        (pod,) = (
            each["spec"]["template"]["spec"]
            for each in self._deployments
            if each["metadata"]["name"] == _CONTROLLER
        )
        (container,) = pod["containers"]
        self._account = pod["serviceAccountName"]
        account = self._access.account(self.namespace, self._account, self._folder)
        _, _, address = self._node.plane.url.partition("//")
        host, _, port = address.partition(":")
        environment = {
            "HOME": self._folder,
            "PATH": "/usr/bin:/bin",
            "KUBECONFIG": account,
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            "SPARK_HOME": spark_submit.spark_home(),
            "JAVA_HOME": spark_submit.find_java().parents[1],
            "SPARK_LOCAL_IP": ADDRESS,
            "SPARK_SUBMIT_OPTS": f"-Djava.io.tmpdir={self._folder} {_JAVA}",
        }
        said = [f"{name}={value}" for name, value in environment.items()]
        words = ["env", "--ignore-environment", *said, program, *container["args"], *_NO_PORTS]
        self._process = self._node.run(CHART, words)
        # It is one of several that would act, and the chart gives it a place to say so.
        until(self._leads, "the operator", beside=lambda: self.log[-2000:])

    def allow_policies(self, namespace: str) -> None:
        """Let it make NetworkPolicies in a namespace, as Spark since 4.2 needs."""
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "policies"}
        account = {"kind": "ServiceAccount", "name": self._account, "namespace": self.namespace}
        rule = {
            "apiGroups": ["networking.k8s.io"],
            "resources": ["networkpolicies"],
            "verbs": ["create", "patch", "delete"],
        }
        about = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "metadata": {"name": "policies", "namespace": namespace},
        }
        self._access.apply(
            [
                {**about, "kind": "Role", "rules": [rule]},
                {**about, "kind": "RoleBinding", "roleRef": role, "subjects": [account]},
            ]
        )

    def _render(self, chart: Path) -> None:
        mine = self._folder / "mine.yaml"
        own = {"deployment": {"companions": {CHART: True}}}
        mine.write_text(yaml.safe_dump({"custom": {"cscale": own}}), encoding="utf-8")
        values = chosen(FOLDER, "local", [mine])
        planned = releases(values, own_values(values).deployment, {CHART: chart})
        (release,) = [each for each in planned if each.name == CHART]
        self.namespace = release.namespace
        self._objects = list(manifests(Helm().template(release, programs.VERSION)))

    def _kinds_are_known(self) -> bool:
        found = self._access.get(*(f"crd/{name}.sparkoperator.k8s.io" for name in _KINDS))
        said = [each.get("status", {}).get("conditions") or [] for each in found["items"]]
        return all(
            {"Established": "True"}.items() <= {c["type"]: c["status"] for c in each}.items()
            for each in said
        )

    @property
    def _deployments(self) -> list[dict[str, Any]]:
        return [each for each in self._objects if each["kind"] == "Deployment"]

    def _leads(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log[-2000:]
        leases = self._access.get("leases", "--namespace", self.namespace)
        return any(each["spec"].get("holderIdentity") for each in leases["items"])

    @property
    def log(self) -> str:
        """What it has said."""
        file = self._node.plane.folder / f"{CHART}-{self._node.name}.log"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def stop(self) -> None:
        """End it, and take away what was installed."""
        if self._process is not None:
            self._node.plane.end(self._process)
        with contextlib.suppress(OSError):
            _TEMPLATES.rmdir()
        self._access.kubectl(
            *("delete", "clusterrole,clusterrolebinding", "--ignore-not-found"),
            f"--selector=app.kubernetes.io/instance={CHART}",
        )
        self._access.kubectl(
            *("delete", "crd", "--ignore-not-found", "--wait=false"),
            *(f"{name}.sparkoperator.k8s.io" for name in _KINDS),
        )
        self._access.kubectl("delete", "namespace", self.namespace, "--wait=false", check=False)


_KINDS = ("sparkapplications", "scheduledsparkapplications", "sparkconnects")
