"""A real JupyterHub in the cluster's network, with the account that a deployment gives it."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from cscale_hub.local.secrets import ensure_secret
from tests.cluster.access import Access
from tests.cluster.node import ADDRESS, Node
from tests.cluster.spawn.store import ENDPOINT, NAME
from tests.hub.hub_api import HubApi
from tests.waiting import until

NAMESPACE = "cscale-test-servers"
ROLES = Path(__file__).parents[3] / "helm-values" / "cscale" / "spark" / "cluster-roles.yaml"
PROGRAM = Path(__file__).with_name("server_program.py")
_BIN = Path(sys.executable).parent
# As the chart gives its hub, and what the chart cscale adds.
HUB_RULES = [
    {
        "apiGroups": [""],
        "resources": ["pods", "persistentvolumeclaims"],
        "verbs": ["get", "watch", "list", "create", "delete"],
    },
    {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "watch", "list"]},
    {
        "apiGroups": [""],
        "resources": ["secrets", "services"],
        "verbs": ["get", "watch", "list", "create", "delete"],
    },
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["patch"]},
]
_CONFIG = """
from pathlib import Path
from jupyterhub.auth import DummyAuthenticator
from cscale_hub.configure import configure
from cscale_hub.settings import load_settings

# What the chart sets.
c.JupyterHub.bind_url = "http://{address}:{port}"
c.JupyterHub.hub_bind_url = "http://{address}:{hub_port}"
c.JupyterHub.hub_connect_url = "http://{address}:{hub_port}"
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie-secret"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.command = ["{bin}/configurable-http-proxy"]
c.ConfigurableHTTPProxy.pid_file = "{folder}/proxy.pid"
c.ConfigurableHTTPProxy.auth_token = "{proxy_token}"
c.ConfigurableHTTPProxy.should_start = False
configure(c, load_settings(Path("{folder}/cscale.yaml"), environment=False))

# Signing in is tested elsewhere, and so is what is in the server.
class SignedIn(DummyAuthenticator):
    user_auth_state_key = "oauth_user"

c.JupyterHub.authenticator_class = SignedIn
c.Authenticator.allow_all = True
c.ClusterSpawner.cmd = ["python3", "-c", Path("{program}").read_text()]
c.ClusterSpawner.extra_pod_config = {{
    "hostAliases": [{{"ip": "{address}", "hostnames": ["{store}"]}}]
}}
c.JupyterHub.load_roles = [*c.JupyterHub.load_roles,
    {{"name": "test", "scopes": ["admin:users", "admin:servers", "admin:groups", "tokens"],
      "services": ["test"]}}]
c.JupyterHub.services = [*c.JupyterHub.services, {{"name": "test", "api_token": "{token}"}}]
"""


def vo(bucket: str, **more: Any) -> dict[str, Any]:
    """A virtual organisation whose members have every profile."""
    name = f"{bucket}.example.eu"
    return {
        "title": bucket.title(),
        "entitlement": {"group": name},
        "profiles": {"member": ["node", "csi", "sidecar", "none", "usual", "spark", "imageless"]},
        "quota": {"servers": 1},
        "bucket": bucket,
        **more,
    }


class RunningHub:
    """The hub's process, and a token that may make persons and start their servers.

    :cvar name: of its logs.
    :cvar ports: of the proxy, of the proxy's API, and of the hub.
    """

    name = "jupyterhub"
    ports = (8000, 8001, 8081)

    def __init__(self, node: Node, folder: Path, image: str) -> None:
        self.node = node
        self.access: Access = node.plane.access
        self.folder = folder
        folder.mkdir(parents=True)
        self.url = f"http://{ADDRESS}:{self.ports[0]}"
        self.token = secrets.token_hex(16)
        self.proxy_token = secrets.token_hex(16)
        self.process: subprocess.Popen[bytes] | None = None
        self._write(image)

    def _write(self, image: str) -> None:
        for name in ("auth-state-key", "operator-token"):
            (self.folder / "secrets").mkdir(exist_ok=True)
            ensure_secret(self.folder / "secrets" / name)
        path = self.folder / "cscale.yaml"
        path.write_text(yaml.safe_dump(self.settings(image), sort_keys=False), encoding="utf-8")
        config = self.configuration(image)
        (self.folder / "jupyterhub_config.py").write_text(config, encoding="utf-8")

    def settings(self, image: str) -> dict[str, Any]:
        """What is in ``cscale.yaml``."""
        archive = {"bucket": "eodata", "purpose": "archive", "access": {"member": "ro"}}
        small: dict[str, Any] = {"title": "Server", "cpu_guarantee": 0.05, "memory": "256Mi"}
        return {
            "profile": "kubernetes",
            "data": str(self.folder),
            "hub": {"url": "https://hub.example.eu", "log_level": "DEBUG"},
            "culling": {"idle_minutes": 0, "longest_days": 0},
            "storage": {"endpoint": ENDPOINT},
            "vos": {
                "profiles": {
                    **{
                        name: {**small, "storage": name}
                        for name in ("node", "csi", "sidecar", "none")
                    },
                    "spark": {**small, "storage": "none", "spark": True},
                    "usual": small,
                    "imageless": {**small, "storage": "none", "image": "localhost/nowhere:1"},
                },
                "vos": {
                    "aqua.example.eu": vo("aqua", places=[archive]),
                    "lost.example.eu": vo("lost"),
                    "moving.example.eu": vo("moving"),
                },
            },
            "kubernetes": {
                "namespace": NAMESPACE,
                "image": image,
                "pull_policy": "Never",
                "home": {"kind": "shared", "claim": "homes"},
                # Its volume is what it had before there was a bucket.
                "buckets": {"moving": {"mode": "csi", "claim": "volume"}},
                "node_folder": str(self.node.shared),
                "sidecar": {"image": image},
                "mount_patience": 5,
                "start_timeout": 120,
            },
            "spark": {
                "kinds": ["kubernetes"],
                "kubernetes": {"namespace": "spark-{user}", "image": "localhost/spark:1"},
            },
        }

    def configuration(self, image: str) -> str:
        """JupyterHub's own configuration."""
        port, api_port, hub_port = self.ports
        return _CONFIG.format(
            address=ADDRESS,
            port=port,
            api_port=api_port,
            hub_port=hub_port,
            folder=self.folder,
            bin=_BIN,
            program=PROGRAM,
            store=NAME,
            token=self.token,
            proxy_token=self.proxy_token,
        )

    # -- what a deployment makes ---------------------------------------------------------------

    def prepare(self) -> None:
        """The hub's account with its roles, and the volume of homes."""
        homes = self.folder / "homes"
        homes.mkdir()
        homes.chmod(0o777)
        self.access.kubectl("create", "namespace", NAMESPACE)
        account = {"kind": "ServiceAccount", "name": "hub", "namespace": NAMESPACE}
        group = "rbac.authorization.k8s.io"
        roles = yaml.safe_load_all(ROLES.read_text(encoding="utf-8").replace("{hub}", NAMESPACE))
        metadata = {"name": "hub", "namespace": NAMESPACE}
        self.access.apply(
            [
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
                {
                    "apiVersion": f"{group}/v1",
                    "kind": "Role",
                    "metadata": metadata,
                    "rules": HUB_RULES,
                },
                {
                    "apiVersion": f"{group}/v1",
                    "kind": "RoleBinding",
                    "metadata": metadata,
                    "roleRef": {"apiGroup": group, "kind": "Role", "name": "hub"},
                    "subjects": [account],
                },
                *roles,
                *volume("homes", {"hostPath": {"path": str(homes)}}),
            ]
        )
        until(
            lambda: self.access.get("serviceaccount", "default", "-n", NAMESPACE) is not None,
            "the default account",
        )
        self.kubeconfig = self.access.account(NAMESPACE, "hub", self.folder)

    def start_proxy(self) -> None:
        """The proxy, which outlives the hub."""
        port, api_port, hub_port = map(str, self.ports)
        self.node.plane.run(
            f"proxy-{self.name}",
            [
                *("env", f"CONFIGPROXY_AUTH_TOKEN={self.proxy_token}"),
                *(_BIN / "configurable-http-proxy", "--ip", ADDRESS, "--port", port),
                *("--api-ip", "127.0.0.1", "--api-port", api_port),
                *("--default-target", f"http://{ADDRESS}:{hub_port}"),
                "--error-target",
                f"http://{ADDRESS}:{hub_port}/hub/error",
            ],
        )

    def start(self) -> None:
        """Start the hub and wait until it answers."""
        path = self.folder / "jupyterhub_config.py"
        self.process = self.node.plane.run(
            self.name,
            [
                *("env", f"KUBECONFIG={self.kubeconfig}", f"--chdir={self.folder}"),
                *(_BIN / "jupyterhub", "-f", path),
            ],
        )
        until(self._answers, "the hub's answer", beside=lambda: self.log()[-2000:])

    def log(self) -> str:
        """What it said."""
        path = self.node.plane.folder / f"{self.name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def kill(self) -> None:
        """As a node that goes away does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.node.plane.forget(self.process)

    def _answers(self) -> bool:
        try:
            return self.api("GET", "/health").status_code == 200
        except httpx.TransportError:
            return False

    # -- persons and their servers -------------------------------------------------------------

    def api(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Ask the hub."""
        return HubApi(self.folder, self.url, self.token).api(method, path, body)

    def person(self, organisation: str = "aqua.example.eu") -> str:
        """A new member of an organisation."""
        name = "u" + secrets.token_hex(5)
        assert self.api("POST", f"/users/{name}").status_code == 201
        for group in (f"vo:{organisation}", f"vo:{organisation}:member"):
            self.api("POST", f"/groups/{group}")
            added = self.api("POST", f"/groups/{group}/users", {"users": [name]})
            assert added.status_code == 200, added.text
        return name

    def start_server(self, name: str, profile: str) -> list[str]:
        """Start a server and wait until it is ready; what the page would have said."""
        begun = self.api("POST", f"/users/{name}/server", {"profile": profile})
        assert begun.status_code in (201, 202), begun.text
        said = list(self.progress(name))
        assert said, self.log()[-3000:]
        assert said[-1].get("ready"), (said, self.describe(name))
        return [str(each.get("message")) for each in said]

    def progress(self, name: str) -> Iterator[dict[str, Any]]:
        """What the page is told until the server is ready or has failed."""
        with httpx.stream(
            "GET",
            f"{self.url}/hub/api/users/{name}/server/progress",
            headers={"Authorization": f"token {self.token}"},
            timeout=200,
            trust_env=False,
        ) as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def stop_server(self, name: str) -> None:
        """Stop it and wait until it is gone."""
        self.api("DELETE", f"/users/{name}/server")
        until(lambda: self.pod(name) is None, "the end of its pod")
        until(lambda: not self.api("GET", f"/users/{name}").json()["servers"], "the server's end")

    def pod(self, name: str) -> Any:
        """The pod of a person's server."""
        return self.access.get("pod", f"server-{name}", "-n", NAMESPACE)

    def describe(self, name: str) -> str:
        """Everything the cluster says of it."""
        return self.access.kubectl(
            "describe", "pod", f"server-{name}", "-n", NAMESPACE, check=False
        )

    def ask(self, name: str, act: str = "", path: str = "", text: str = "") -> Any:
        """Let the server do something; what it answers, or the error as a string."""
        answer = httpx.get(
            f"{self.url}/user/{name}/x",
            params={"do": act, "path": path, "text": text},
            timeout=30,
            trust_env=False,
        )
        found = answer.json()
        return found["ok"] if "ok" in found else found["error"]

    def until(self, name: str, expected: Any, *asked: str, seconds: float = 40.0) -> None:
        """Ask again and again, until it answers what is expected."""
        what = f"{' '.join(asked)} giving {expected!r}"
        until(lambda: self.ask(name, *asked), what, seconds, fits=lambda found: found == expected)


def volume(
    name: str,
    source: dict[str, Any],
    *,
    read_only: bool = False,
    namespace: str = NAMESPACE,
) -> list[dict[str, Any]]:
    """A claim, and the volume that serves it."""
    modes = ["ReadOnlyMany"] if read_only else ["ReadWriteMany"]
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{namespace}-{name}"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": modes,
                "storageClassName": "",
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"name": name, "namespace": namespace},
                **source,
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "accessModes": modes,
                "storageClassName": "",
                "volumeName": f"{namespace}-{name}",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
    ]
