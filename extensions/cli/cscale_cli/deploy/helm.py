"""helm and kubectl, as ``cscale deploy`` runs them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cscale_cli.deploy.releases import Release
from cscale_core.errors import CScaleError

_SECONDS = 300
_AS_JSON = ("--ignore-not-found", "--output=json")


class DeployError(CScaleError):
    """helm or the cluster refused something; the message is theirs."""

    code = "deploy_failed"


@dataclass(frozen=True)
class Cluster:
    """The cluster that is meant: helm's and kubectl's own choice where nothing is named."""

    kubeconfig: str = ""
    context: str = ""


class Helm:
    """helm, for one cluster.

    :raises DeployError: when helm is not installed.
    """

    def __init__(self, cluster: Cluster | None = None) -> None:
        self._program = _program("helm", "https://helm.sh/docs/intro/install/")
        cluster = cluster or Cluster()
        self._cluster = [
            *(("--kubeconfig", cluster.kubeconfig) if cluster.kubeconfig else ()),
            *(("--kube-context", cluster.context) if cluster.context else ()),
        ]

    def template(self, release: Release, kube_version: str = "") -> str:
        """The manifests of a release, without asking a cluster; its schema is enforced.

        :raises DeployError: when the values do not fit the chart.
        """
        version = ("--kube-version", kube_version) if kube_version else ()
        return self._run("template", release.name, *_chart(release), *version)

    def planned(self, release: Release) -> str:
        """The manifests that an upgrade would apply, from the cluster's point of view.

        :raises DeployError: when helm or the cluster refuses them.
        """
        answer = self._run(
            *("upgrade", "--install", release.name, *_chart(release)),
            *("--dry-run=server", "--output=json"),
            *self._cluster,
        )
        return str(json.loads(answer)["manifest"])

    def installed(self, release: Release) -> str:
        """The manifests that were applied last; empty when there is no such release.

        :raises DeployError: when the cluster cannot be asked.
        """
        where = ("--namespace", release.namespace)
        try:
            return self._run("get", "manifest", release.name, *where, *self._cluster)
        except DeployError as error:
            if "release: not found" in error.message:
                return ""
            raise

    def upgrade(self, release: Release, timeout: str) -> None:
        """Install or upgrade, and wait until it runs; helm's words go to the terminal.

        :raises DeployError: when it does not come to it.
        """
        command = [
            *(self._program, "upgrade", "--install", release.name, *_chart(release)),
            *("--create-namespace", "--wait", f"--timeout={timeout}", "--hide-notes"),
            *self._cluster,
        ]
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
            raise DeployError(
                f"{release.name} was not installed, or does not run in time.",
                hint="What was installed before it stays. See what its pods say: kubectl get "
                f"pods,events --namespace {release.namespace}; go back: helm rollback "
                f"{release.name} --namespace {release.namespace}.",
            )

    def _run(self, *arguments: str) -> str:
        return _answer([self._program, *arguments])


class Kubectl:
    """kubectl, for one cluster.

    :raises DeployError: when it is not installed.
    """

    def __init__(self, cluster: Cluster | None = None) -> None:
        self._program = _program("kubectl", "https://kubernetes.io/docs/tasks/tools/")
        cluster = cluster or Cluster()
        self._cluster = [
            *((f"--kubeconfig={cluster.kubeconfig}",) if cluster.kubeconfig else ()),
            *((f"--context={cluster.context}",) if cluster.context else ()),
        ]

    def secret_keys(self, namespace: str, name: str) -> set[str] | None:
        """The keys of a Secret, nothing of its values; None when there is no such Secret.

        :raises DeployError: when the cluster cannot be asked.
        """
        keys = "{{range $key, $value := .data}}{{$key}} {{end}}"
        answer = _answer(
            [
                *(self._program, "get", "secret", name, f"--namespace={namespace}"),
                *("--ignore-not-found", f"--output=go-template={keys}", *self._cluster),
            ]
        )
        # A Secret that is there and empty cannot be told from one that is not: both lack keys.
        return set(answer.split()) or None

    def get(self, namespace: str, *what: str) -> Any:
        """Objects as the cluster has them; None when what is named is not there.

        :raises DeployError: when the cluster cannot be asked.
        """
        answer = self.run("get", *what, f"--namespace={namespace}", *_AS_JSON)
        return json.loads(answer) if answer.strip() else None

    def run(self, *arguments: str, text: str = "") -> str:
        """Any other act.

        :param text: given on standard input.
        :raises DeployError: when the cluster refuses it.
        """
        return _answer([self._program, *arguments, *self._cluster], text)


def _chart(release: Release) -> list[str]:
    return [
        release.chart,
        *("--namespace", release.namespace),
        *(("--repo", release.repository) if release.repository else ()),
        *(("--version", release.version) if release.version else ()),
        *(word for file in release.files for word in ("--values", str(file))),
    ]


def _program(name: str, page: str) -> str:
    found = shutil.which(name)
    if not found:
        raise DeployError(f"{name} is not installed.", hint=f"See {page}")
    return found


def _answer(command: Sequence[str], text: str = "") -> str:
    """What a program prints.

    :param text: that it is given on standard input.
    :raises DeployError: with what it said instead.
    """
    words = " ".join(command[:3])
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeployError(f"{words} has not ended in {_SECONDS} s.", retryable=True) from error
    if done.returncode:
        said = "\n".join(line for line in done.stderr.splitlines() if "level=INFO" not in line)
        raise DeployError(f"{words}: {said.strip()}")
    return done.stdout
