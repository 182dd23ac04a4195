"""A cluster as the tests ask it: by kubectl as its administrator, and by accounts of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import programs

_TOKEN_SECONDS = 3600


class Access:
    """What an administrator's kubeconfig opens.

    :param kubeconfig: of somebody who may do everything.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def kubectl(self, *arguments: str, check: bool = True, text: str = "") -> str:
        """Ask the cluster.

        :param text: given on standard input.
        :raises RuntimeError: when it fails, unless ``check`` is False; then the answer is empty.
        """
        kubectl = programs.find("kubectl")
        done = subprocess.run(
            [str(kubectl), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode and check:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return "" if done.returncode else done.stdout

    def get(self, *arguments: str) -> Any:
        """An object, or a list of them, as the cluster has it; None where it is not there."""
        found = self.kubectl("get", *arguments, "--output=json", check=False)
        return json.loads(found) if found else None

    def apply(self, documents: Iterable[Any], *options: str) -> None:
        """Make objects, or bring them up to date.

        :raises RuntimeError: when the cluster refuses one.
        """
        text = yaml.safe_dump_all(list(documents))
        self.kubectl("apply", "--filename=-", *options, text=text)

    def account(self, namespace: str, name: str, folder: Path) -> Path:
        """The kubeconfig of a ServiceAccount, with a token of an hour."""
        answer = self.kubectl(
            *("create", "--filename=-", "--raw"),
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            text=json.dumps(
                {
                    "apiVersion": "authentication.k8s.io/v1",
                    "kind": "TokenRequest",
                    "spec": {"expirationSeconds": _TOKEN_SECONDS},
                }
            ),
        )
        text = self.kubectl("config", "view", "--minify", "--flatten", "--raw")
        document = yaml.safe_load(text)
        token = json.loads(answer)["status"]["token"]
        document["users"] = [{"name": name, "user": {"token": token}}]
        document["contexts"][0]["context"]["user"] = name
        path = folder / f"{namespace}-{name}.kubeconfig"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        path.chmod(0o600)
        return path
