"""A real Kubernetes API server with etcd, controllers and scheduler, on one address.

Without a node nothing runs, but everything is admitted, validated and stored as in any cluster:
enough for objects, roles and watches. :mod:`node` adds a node.
"""

from __future__ import annotations

import base64
import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.cluster import programs
from tests.cluster.access import Access
from tests.cluster.certificates import Authority
from tests.waiting import until

SERVICES = "10.96.0.0/16"
FIRST_SERVICE = "10.96.0.1"
# What is started ends when the tests are killed.
_ENDED_WITH_US = ("setpriv", "--pdeathsig", "TERM")


def free_port(address: str) -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as listening:
        listening.bind((address, 0))
        return int(listening.getsockname()[1])


class ControlPlane:
    """The programs that make a cluster, each a process.

    :param folder: for data, certificates and logs.
    :param address: where all of it listens.
    :param prefix: arguments before each command, such as those that enter a network namespace.
    """

    def __init__(
        self, folder: Path, address: str = "127.0.0.1", prefix: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.address = address
        self.authority = Authority(folder / "pki")
        self.prefix = tuple(prefix)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._port = free_port(address) if not prefix else 6443
        self.url = f"https://{address}:{self._port}"
        self.access = Access(self.kubeconfig("admin", "admin", ("system:masters",)))

    def kubeconfig(self, name: str, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig file for a user of the cluster."""
        certificate, key = self.authority.issue(name, user, groups)

        def data(path: Path) -> str:
            return base64.b64encode(path.read_bytes()).decode()

        path = self.folder / f"{name}.kubeconfig"
        cluster = {
            "server": self.url,
            "certificate-authority-data": data(self.authority.certificate),
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate-data": data(certificate),
                        "client-key-data": data(key),
                    },
                }
            ],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
            "current-context": "tests",
        }
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        path.chmod(0o600)
        return path

    def run(
        self, name: str, command: Sequence[str | Path], prefix: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a program that ends with the cluster; its output goes to ``NAME.log``.

        :param prefix: instead of that of the control plane.
        """
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*_ENDED_WITH_US, *(prefix or self.prefix), *map(str, command)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def start(self) -> None:
        """Start everything and wait until the API server is ready.

        :raises Missing: when a program is missing.
        :raises RuntimeError: when one of its programs ends instead.
        :raises AssertionError: when it does not become ready; the logs are named.
        """
        binary = programs.kubernetes()
        etcd_url = self._start_etcd()
        self._start_api_server(binary, etcd_url)
        until(self._ready, f"the API server (see {self.folder}/*.log)")
        pki = self.authority
        controllers = self.kubeconfig("controllers", "system:kube-controller-manager")
        sa_key = pki.folder / "sa.key"
        self.run(
            "kube-controller-manager",
            [
                binary,
                "kube-controller-manager",
                f"--kubeconfig={controllers}",
                f"--service-account-private-key-file={sa_key}",
                f"--root-ca-file={pki.certificate}",
                f"--cluster-signing-cert-file={pki.certificate}",
                f"--cluster-signing-key-file={pki.key}",
                "--use-service-account-credentials=true",
                f"--bind-address={self.address}",
                f"--secure-port={self._free(10257)}",
                "--leader-elect=false",
                "--allocate-node-cidrs=true",
                "--cluster-cidr=10.244.0.0/16",
                f"--service-cluster-ip-range={SERVICES}",
            ],
        )
        scheduler = self.kubeconfig("scheduler", "system:kube-scheduler")
        self.run(
            "kube-scheduler",
            [
                binary,
                "kube-scheduler",
                f"--kubeconfig={scheduler}",
                f"--bind-address={self.address}",
                f"--secure-port={self._free(10259)}",
                "--leader-elect=false",
            ],
        )

    def _free(self, usual: int) -> int:
        return usual if self.prefix else free_port(self.address)

    def _start_etcd(self) -> str:
        client, peer = (f"http://{self.address}:{self._free(usual)}" for usual in (2379, 2380))
        self.run(
            "etcd",
            [
                programs.find("etcd"),
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
            ],
        )
        return client

    def _start_api_server(self, binary: Path, etcd_url: str) -> None:
        pki = self.authority
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
        hosts = [self.address, FIRST_SERVICE, "127.0.0.1", *names]
        certificate, key = pki.issue("kube-apiserver", "kube-apiserver", hosts=hosts)
        kubelet = pki.issue("apiserver-kubelet", "apiserver-kubelet", ("system:masters",))
        sa_key, sa_public = pki.service_account_key()
        self.run(
            "kube-apiserver",
            [
                binary,
                "kube-apiserver",
                f"--etcd-servers={etcd_url}",
                f"--bind-address={self.address}",
                f"--advertise-address={self.address}",
                f"--secure-port={self._port}",
                f"--tls-cert-file={certificate}",
                f"--tls-private-key-file={key}",
                f"--client-ca-file={pki.certificate}",
                f"--kubelet-client-certificate={kubelet[0]}",
                f"--kubelet-client-key={kubelet[1]}",
                # The node's name means nothing to this machine.
                "--kubelet-preferred-address-types=InternalIP",
                f"--service-account-key-file={sa_public}",
                f"--service-account-signing-key-file={sa_key}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-cluster-ip-range={SERVICES}",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--allow-privileged=true",
                # Spark watches pods in a way for which Debian's etcd is too old with a cache.
                "--watch-cache-sizes=pods#0",
                "--endpoint-reconciler-type="
                + ("none" if self.address.startswith("127.") else "lease"),
            ],
        )

    def _ready(self) -> bool:
        if any(process.poll() is not None for process in self._processes):
            raise RuntimeError(f"a program of the cluster ended, see {self.folder}/*.log")
        context = ssl.create_default_context(cafile=self.authority.certificate)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            # Not up yet.
            return False

    def end(self, *processes: subprocess.Popen[bytes]) -> None:
        """End some of the programs, in this order."""
        for process in processes:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._processes.remove(process)

    def forget(self, process: subprocess.Popen[bytes]) -> None:
        """Of a program that has ended before the cluster does."""
        self._processes.remove(process)

    def stop(self) -> None:
        """End every program, the last started first, and remove what they kept."""
        self.end(*reversed(self._processes))
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)
