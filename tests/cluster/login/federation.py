"""A federation in the cluster's network: identity provider, object store with STS, proxy, hub.

The provider and the store are those of one machine, as processes of the node; pods come to them by
the node's address. The hub is a pod.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from cscale_hub.local.issuer.demo import client_secret, demo_clients, write_demo_users
from tests.cluster.access import Access
from tests.cluster.login.deployed_hub import (
    HUB,
    HUB_ADDRESS,
    NAMESPACE,
    VOS,
    documents,
    hub_pods,
    settings,
)
from tests.cluster.node import ADDRESS, Node
from tests.waiting import until

_BIN = Path(sys.executable).parent
_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]
# SeaweedFS also talks by sockets in /tmp that are named by port: no two runs have the same.
_FIRST = 20_000 + os.getpid() % 700 * 12
STORE_PORT, PROVIDER_PORT, PROXY_PORT, PROXY_API_PORT = range(_FIRST, _FIRST + 4)
_INNER = ("s3_grpc", "master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc")
BROWSER = f"http://127.0.0.1:{PROXY_PORT}"
ISSUER = f"http://127.0.0.1:{PROVIDER_PORT}/auth/realms/egi"


class Federation:
    """Everything that a person needs to come to a notebook."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self.access: Access = node.plane.access
        self._folder = folder
        self._keys = folder / "keys"
        self._proxy_token = secrets.token_hex(16)
        self.passwords: dict[str, str] = {}

    def start(self) -> None:
        """Start all of it; the hub is the last."""
        self._start_provider()
        self._start_store()
        self._start_proxy()
        self.node.plane.run(
            "relay",
            [
                *(sys.executable, _HERE / "relay.py"),
                *(
                    f"{ADDRESS}:{port}=127.0.0.1:{port}"
                    for port in (PROVIDER_PORT, STORE_PORT, PROXY_API_PORT)
                ),
                f"127.0.0.1:{PROXY_PORT}={ADDRESS}:{PROXY_PORT}",
            ],
        )
        provider = f"http://{ADDRESS}:{PROVIDER_PORT}/auth/realms/egi"
        host = {"Host": f"127.0.0.1:{PROVIDER_PORT}"}
        _answers(f"{provider}/.well-known/openid-configuration", host)
        _answers(f"http://{ADDRESS}:{STORE_PORT}/healthz", {})
        self._start_hub()

    def _start_provider(self) -> None:
        users = self._folder / "provider" / "users.json"
        self.passwords = write_demo_users(users, self._keys)
        clients = demo_clients(self._keys, BROWSER)
        self._run(
            "cscale_hub.local.issuer",
            "provider",
            {
                "port": PROVIDER_PORT,
                "data_dir": str(self._folder / "provider"),
                "users_file": str(users),
                "clients": [each.model_dump(mode="json") for each in clients],
            },
        )

    def _start_store(self) -> None:
        self._run(
            "cscale_hub.local.seaweedfs",
            "store",
            {
                "port": STORE_PORT,
                "ports": dict(zip(_INNER, range(_FIRST + 4, _FIRST + 11), strict=True)),
                "data_dir": str(self._folder / "s3"),
                "secrets_dir": str(self._folder / "s3-keys"),
                "issuer": ISSUER,
                "jwks_url": f"{ISSUER}/protocol/openid-connect/certs",
                "vos": [{"name": name, "bucket": name.split(".")[0]} for name in VOS],
                "min_free_space": "100MiB",
                "volume_size_mb": 64,
            },
        )

    def _run(self, module: str, name: str, config: dict[str, Any]) -> None:
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        self.node.plane.run(f"login-{name}", [sys.executable, "-m", module, "--config", path])

    def _start_proxy(self) -> None:
        """With the one name that a name service would tell it."""
        hosts = self._folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{HUB_ADDRESS} {HUB}\n", encoding="ascii")
        self.node.plane.run(
            "login-proxy",
            [
                *("unshare", "--mount", "sh", "-ec"),
                *('mount --bind "$0" /etc/hosts; exec "$@"', hosts),
                *("env", f"CONFIGPROXY_AUTH_TOKEN={self._proxy_token}"),
                *(_BIN / "configurable-http-proxy", "--ip", ADDRESS, "--port", str(PROXY_PORT)),
                *("--api-ip", "127.0.0.1", "--api-port", str(PROXY_API_PORT)),
                *("--default-target", f"http://{HUB}:8081"),
            ],
        )

    def _start_hub(self) -> None:
        folders = {name: self._folder / name for name in ("homes", "state")}
        for folder in folders.values():
            folder.mkdir()
            os.chown(folder, 1000, 1000)
            folder.chmod(0o777)
        self.access.kubectl("create", "namespace", NAMESPACE)
        made = documents(
            settings(hub=BROWSER, issuer=ISSUER, store_port=STORE_PORT, proxy_port=PROXY_PORT),
            client_secret=client_secret(self._keys, "cscale-hub").read_text(encoding="utf-8"),
            proxy_token=self._proxy_token,
            proxy_api=PROXY_API_PORT,
            provider_port=PROVIDER_PORT,
            **folders,
        )
        self.access.apply(made)
        until(self.hub_pods, "the hub's ready pod", 240)

    def hub_pods(self) -> list[str]:
        """The hub's pods that are ready."""
        selected = ("-n", NAMESPACE, "--selector=component=hub")
        return hub_pods(self.access.get("pods", *selected))

    def restart_hub(self) -> None:
        """As a node that goes away does, or an upgrade."""
        (before,) = self.hub_pods()
        self.access.kubectl("delete", "pod", before, "-n", NAMESPACE, "--grace-period=5")
        until(
            lambda: before not in (now := self.hub_pods()) and bool(now),
            "another pod of the hub",
            240,
        )

    def server(self, name: str) -> Any:
        """The pod of a person's server; None where there is none."""
        return self.access.get("pod", f"server-{name}", "-n", NAMESPACE)

    def tell(self) -> None:
        """Print what is known; pytest shows it when the test fails."""
        where = ("-n", NAMESPACE)
        print(self.access.kubectl("get", "pods,events", *where, check=False)[-6000:])
        for each in (self.access.get("pods", *where) or {"items": []})["items"]:
            name = each["metadata"]["name"]
            said = self.access.kubectl(
                "logs", name, *where, "--all-containers", "--prefix", "--tail=60", check=False
            )
            print(f"--- {name}\n{said[-8000:]}")
        for log in sorted(self.node.plane.folder.glob("login-*.log")):
            print(f"--- {log.name}\n{log.read_text('utf-8', 'replace')[-2000:]}")

    def stop(self) -> None:
        """Take everything out of the cluster; processes end with the node."""
        self.access.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


def _answers(url: str, headers: dict[str, str]) -> None:
    def asked() -> bool:
        try:
            found = httpx.get(url, headers=headers, timeout=2, trust_env=False)
        except httpx.TransportError:
            return False
        return found.status_code == 200

    until(asked, f"an answer of {url}")


class Person:
    """Somebody at a browser in the cluster's network."""

    def __init__(self, federation: Federation, account: str) -> None:
        self._process = subprocess.Popen(
            [
                *federation.node.inside,
                *(sys.executable, "-m", "tests.cluster.login.person", BROWSER),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        self.name = str(self.do("sign_in", account, federation.passwords[account]))

    def do(self, act: str, *arguments: Any) -> Any:
        """Do something; what came of it.

        :raises AssertionError: with what the person was told.
        """
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([act, arguments]), file=self._process.stdin, flush=True)
        said = json.loads(self._process.stdout.readline() or '{"error": "no answer"}')
        assert "error" not in said, said
        return said["ok"]

    def run(self, code: str) -> Any:
        """Run Python in a kernel of the server; what it printed, as JSON."""
        return json.loads(self.do("run", code))

    def leave(self) -> None:
        """Close the browser."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=30)
