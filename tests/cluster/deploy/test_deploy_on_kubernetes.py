"""``cscale deploy`` against a real API server, and every manifest of ours as that takes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from cscale_cli.main import GROUP, build
from tests.cluster import programs
from tests.cluster.access import Access
from tests.deploy.conftest import FOLDER, stand_in
from tests.deploy.test_own_chart import GOLDEN

pytestmark = pytest.mark.cluster
NAMESPACE = "cscale-test-deploy"
# Of operators that a plain cluster does not have.
_FURTHER = ("PrometheusRule", "ServiceMonitor")
SECRETS = {
    "cscale-hub": (
        "auth-state-key",
        "operator-token",
        "prometheus-token",
        "pseudonym-key",
        "client-secret",
    ),
    "cscale-mounts": ("access-key", "secret-key"),
}

__all__ = ["stand_in"]


class Deployment:
    """The site ``local`` in a namespace of the tests."""

    def __init__(self, access: Access, chart: Path, folder: Path) -> None:
        self.access = access
        self._chart = chart
        self._mine = folder / "mine.yaml"
        self.say({})

    def say(self, more: dict[str, object]) -> None:
        """Change the last value file."""
        own = {"deployment": {"namespace": NAMESPACE}, **more}
        self._mine.write_text(yaml.safe_dump({"custom": {"cscale": own}}), encoding="utf-8")

    def run(self, command: str, *options: str) -> Result:
        point = EntryPoint("deploy", "cscale_cli.deploy.command:register", GROUP)
        return CliRunner().invoke(
            build([point]),
            [
                *("deploy", command, "local", f"--folder={FOLDER}", f"--values={self._mine}"),
                *(f"--chart=jupyterhub={self._chart}", "--json", *options),
                f"--kubeconfig={self.access.kubeconfig}",
            ],
        )

    def make_secrets(self) -> None:
        self.access.kubectl("create", "namespace", NAMESPACE)
        for name, keys in SECRETS.items():
            literals = (f"--from-literal={key}=x" for key in keys)
            self.access.kubectl(
                "create", "secret", "generic", name, f"--namespace={NAMESPACE}", *literals
            )


@pytest.fixture
def deployment(
    control_plane: Access,
    stand_in: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Deployment]:
    try:
        found = programs.helm_folder(tmp_path)
    except programs.Missing as error:
        pytest.skip(str(error))
    monkeypatch.setenv("PATH", str(found), prepend=":")
    made = Deployment(control_plane, stand_in, tmp_path)
    try:
        yield made
    finally:
        for release in ("jupyterhub", "cscale"):
            made.access.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
            made.access.kubectl(
                *(
                    "delete",
                    "clusterrole,clusterrolebinding,persistentvolume",
                    "--ignore-not-found",
                ),
                f"--selector=app.kubernetes.io/instance={release}",
            )


def test_a_site_is_checked_applied_changed_and_compared(deployment: Deployment) -> None:
    access = deployment.access

    refused = deployment.run("apply")
    assert refused.exit_code == 1
    wrong = [each["where"] for each in json.loads(refused.stdout) if each["level"] == "error"]
    assert wrong == [f"Secret/{NAMESPACE}/{name}" for name in SECRETS]
    assert access.get("namespace", NAMESPACE) is None, "nothing is installed"

    deployment.make_secrets()
    before = deployment.run("diff")
    assert before.exit_code == 1, before.output
    assert "+++ DaemonSet/cscale-mounts" in json.loads(before.stdout)["cscale"]

    applied = deployment.run("apply", "--timeout=2m")
    assert applied.exit_code == 0, applied.output
    assert [each["name"] for each in json.loads(applied.stdout)["releases"]] == [
        "cscale",
        "jupyterhub",
    ]
    where = f"--namespace={NAMESPACE}"
    assert access.get("daemonset", "cscale-mounts", where) is not None
    assert access.get("secret", "hub", where) is not None
    same = deployment.run("diff")
    assert (same.exit_code, json.loads(same.stdout)) == (0, {"cscale": [], "jupyterhub": []})

    csi = {"driver": "ru.yandex.s3.csi", "volumeHandle": "{bucket}"}
    moved = {"kubernetes": {"buckets": {"demo": {"mode": "csi"}}}}
    deployment.say({"csi": csi, "settings": moved})
    changed = deployment.run("diff")
    lines = json.loads(changed.stdout)["cscale"]
    assert "--- DaemonSet/cscale-mounts" in lines
    assert f"+++ PersistentVolumeClaim/{NAMESPACE}/bucket-demo" in lines
    assert deployment.run("apply", "--timeout=2m").exit_code == 0
    assert access.get("daemonset", "cscale-mounts", where) is None
    claim = access.get("persistentvolumeclaim", "bucket-demo", where)
    assert claim["status"]["phase"] == "Bound"


def test_what_does_not_come_to_run_is_told_and_what_was_before_stays(
    deployment: Deployment,
) -> None:
    deployment.make_secrets()
    deployment.say({"mounts": {"priorityClass": "no such class"}})
    result = deployment.run("apply", "--timeout=20s")
    assert result.exit_code == 2
    problem = json.loads(result.stdout.strip().splitlines()[-1])
    assert problem["code"] == "deploy_failed"
    assert "helm rollback cscale" in problem["hint"]
    assert deployment.access.get("secret", "hub", f"--namespace={NAMESPACE}") is None


@pytest.fixture(scope="module")
def namespace(control_plane: Access) -> Iterator[str]:
    """One in which nothing is made."""
    name = "cscale-test-manifests"
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_api_server_takes_every_manifest(
    control_plane: Access, namespace: str, path: Path
) -> None:
    text = path.read_text(encoding="utf-8").replace(
        "namespace: cscale\n", f"namespace: {namespace}\n"
    )
    documents = [each for each in yaml.safe_load_all(text) if each["kind"] not in _FURTHER]
    assert len(documents) > 5
    control_plane.apply(
        documents, "--dry-run=server", "--validate=strict", f"--namespace={namespace}"
    )
