"""Nodes for the control plane of the tests: a network namespace with containerd and a kubelet.

Needs root, and Debian's containerd, runc and CNI plugins. The first node runs beside the control
plane, in a network namespace whose one interface is a bridge; pods are behind it. A second one has
a network namespace of its own, on that bridge, and mounts of its own: what it has at the path of
the first one's shared folder is another folder. Nothing outside is changed but three settings of
the kernel, which the kubelet writes and :meth:`Node.stop` puts back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from tests.cluster import cgroups, programs
from tests.cluster.control_plane import ControlPlane
from tests.waiting import until

# Of its own, as another run of the tests may have a cluster on this machine.
_NETWORK = f"172.31.{os.getpid() % 250 + 1}"
ADDRESS = f"{_NETWORK}.1"
OUTSIDE = f"{_NETWORK}.254"
DNS = "10.96.0.10"
PAUSE_IMAGE = "localhost/pause:1"
_KERNEL = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")


def _run(*command: str | Path) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Seat:
    """Where a node is.

    :ivar pods: addresses of its pods.
    :ivar prefix: arguments before a command that runs there; none: those of the control plane.
    """

    name: str = "node"
    address: str = ADDRESS
    pods: str = "10.244.0.0/24"
    prefix: tuple[str, ...] = ()


FIRST = Seat()


class Namespace:
    """A network namespace with a bridge that has :data:`ADDRESS`, and a line to it from here."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.prefix = ("nsenter", f"--net=/run/netns/{name}", "--")

    def make(self) -> None:
        _run("ip", "netns", "add", self.name)
        for command in (
            "ip link set lo up",
            "ip link add cscale type bridge",
            f"ip address add {ADDRESS}/24 dev cscale",
            "ip link set cscale up",
            "ip route add default dev cscale",
            "sysctl -qw net.ipv4.ip_forward=1",
        ):
            _run(*self.prefix, *command.split())
        line = self._line
        _run(*f"ip link add {line} type veth peer name outside netns {self.name}".split())
        _run(*self.prefix, "ip", "link", "set", "outside", "master", "cscale", "up")
        _run(*f"ip address add {OUTSIDE}/24 dev {line}".split())
        _run(*f"ip link set {line} up".split())

    @property
    def _line(self) -> str:
        return f"veth-{self.name}"[:15]

    def remove(self) -> None:
        """Remove what there is of it."""
        for command in (("link", "delete", self._line), ("netns", "delete", self.name)):
            with contextlib.suppress(RuntimeError):
                _run("ip", *command)


class OtherMachine:
    """What makes a second node a machine of its own: its network, and its mounts.

    :param first: the namespace with the bridge.
    :param folder: the shared folder of the first node, for which this one has another.
    :param own: that other folder.
    """

    def __init__(self, first: Namespace, folder: Path, own: Path) -> None:
        self._first = first
        self._name = f"{first.name}-2"
        self._folder, self._own = folder, own
        self._holder: subprocess.Popen[bytes] | None = None

    def make(self) -> Seat:
        """Make it; where its node is."""
        seat = Seat("second", f"{_NETWORK}.2", "10.244.1.0/24")
        _run("ip", "netns", "add", self._name)
        first, second = self._first.prefix, ("nsenter", f"--net=/run/netns/{self._name}", "--")
        line = f"ip link add second netns {self._first.name} type veth"
        _run(*line.split(), "peer", "name", "cscale", "netns", self._name)
        _run(*first, "ip", "link", "set", "second", "master", "cscale", "up")
        for command in (
            "ip link set lo up",
            f"ip address add {seat.address}/24 dev cscale",
            "ip link set cscale up",
            f"ip route add default via {ADDRESS}",
            f"ip route add {FIRST.pods} via {ADDRESS}",
            "sysctl -qw net.ipv4.ip_forward=1",
        ):
            _run(*second, *command.split())
        _run(*first, *f"ip route add {seat.pods} via {seat.address}".split())
        self._own.mkdir(mode=0o700, parents=True)
        ready = self._own / ".ready"
        # What the first node has mounted there would be told as mounted, though nobody sees it.
        script = (
            'grep -o " $2/[^ ]*" /proc/self/mounts | sort -r | xargs -r -n1 umount -l; '
            'mount --bind "$1" "$2"; mount --make-rshared "$2"; touch "$3"; exec sleep infinity'
        )
        mounting = ("unshare", "--mount", "--propagation=private", "sh", "-ec", script, "sh")
        self._holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *mounting, self._own, self._folder, ready]
        )
        until(ready.exists, "the second machine's mounts")
        ready.unlink()
        inside = ("nsenter", f"--target={self._holder.pid}", "--mount", *second[1:])
        return replace(seat, prefix=inside)

    def remove(self) -> None:
        """Remove what there is of it; its mounts end with the last program that sees them."""
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()
        with contextlib.suppress(RuntimeError):
            _run("ip", "netns", "delete", self._name)


class Node:
    """One node of a cluster.

    :param plane: its control plane.
    :param seat: where it is; the first one is in the namespace of the control plane.
    """

    def __init__(self, plane: ControlPlane, seat: Seat = FIRST) -> None:
        self.plane = plane
        self.seat = seat
        self.name = seat.name
        self.folder = plane.folder / seat.name
        self.folder.mkdir(mode=0o700)
        # Sockets have short paths.
        self._run_folder = Path(tempfile.mkdtemp(prefix="cscale-node-", dir="/run"))
        self.socket = self._run_folder / "containerd.sock"
        self._cgroup = self._run_folder.name
        self._kernel: dict[Path, str] = {}
        self._containerd: subprocess.Popen[bytes] | None = None
        # Those that would start again what is removed.
        self._keepers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the node and wait until it is ready."""
        for name in _KERNEL:
            setting = Path("/proc/sys") / name
            self._kernel[setting] = setting.read_text(encoding="ascii")
        # What is mounted below is seen by containers, and what they mount by the node.
        _run(*self.seat.prefix, "mount", "--bind", self.folder, self.folder)
        _run(*self.seat.prefix, "mount", "--make-rshared", self.folder)
        cgroups.make(self._cgroup)
        self._start_containerd()
        self._load_pause()
        self._start_kubelet()
        self._start_proxy()
        log = f"{self.plane.folder}/kubelet-{self.name}.log"
        until(self._ready, f"the node (see {log})")

    def ctr(self, *arguments: str | Path) -> str:
        """Ask containerd, in the namespace of Kubernetes."""
        ctr = programs.find("ctr")
        return _run(
            *(*self.seat.prefix, ctr, "--address", self.socket, "--namespace", "k8s.io"), *arguments
        )

    def run(self, name: str, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        """Start a program on this node; as :meth:`ControlPlane.run`."""
        return self.plane.run(f"{name}-{self.name}", command, self.seat.prefix)

    def load(self, archive: Path) -> None:
        """Bring the images of a docker archive to the node."""
        self.ctr("images", "import", archive)

    def _start_containerd(self) -> None:
        plugins = "/usr/lib/cni"
        if not Path(plugins, "bridge").is_file():
            raise programs.Missing(
                "The CNI plugins are missing: install containernetworking-plugins"
            )
        networks = self.folder / "cni"
        networks.mkdir()
        bridge = {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": self.seat.pods}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": str(self._run_folder / "addresses"),
            },
        }
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
        (networks / "10-pods.conflist").write_text(
            json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, portmap]}),
            encoding="utf-8",
        )
        config = self.folder / "containerd.toml"
        config.write_text(
            f"""version = 2
root = "{self.folder / "containerd"}"
state = "{self._run_folder / "containerd"}"
[grpc]
address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{networks}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
""",
            encoding="utf-8",
        )
        self._containerd = self.run("containerd", [programs.find("containerd"), "--config", config])
        until(self.socket.exists, "containerd")

    def _load_pause(self) -> None:
        archive = self.folder / "pause.tar"
        image_of(programs.pause(), PAUSE_IMAGE, archive)
        self.load(archive)

    def _start_kubelet(self) -> None:
        pki = self.plane.authority
        name, address = self.name, self.seat.address
        certificate, key = pki.issue(
            f"kubelet-{name}", f"system:node:{name}", hosts=[name, address]
        )
        resolv = self.folder / "resolv.conf"
        resolv.write_text(f"nameserver {DNS}\n", encoding="ascii")
        config = self.folder / "kubelet.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "kubelet.config.k8s.io/v1beta1",
                    "kind": "KubeletConfiguration",
                    "address": address,
                    "authentication": {
                        "anonymous": {"enabled": False},
                        "webhook": {"enabled": True},
                        "x509": {"clientCAFile": str(pki.certificate)},
                    },
                    "authorization": {"mode": "Webhook"},
                    "tlsCertFile": str(certificate),
                    "tlsPrivateKeyFile": str(key),
                    "cgroupDriver": "cgroupfs",
                    "cgroupRoot": f"/{self._cgroup}",
                    "failCgroupV1": False,
                    "failSwapOn": False,
                    "oomScoreAdj": 0,
                    "clusterDomain": "cluster.local",
                    "clusterDNS": [DNS],
                    "resolvConf": str(resolv),
                    "containerRuntimeEndpoint": f"unix://{self.socket}",
                    # What pods have of a Secret is renewed then, and half of it later at most.
                    "syncFrequency": "10s",
                    "staticPodPath": "",
                    "registerWithTaints": [],
                    "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%"},
                    "imageGCHighThresholdPercent": 100,
                    "maxPods": 110,
                    "volumePluginDir": str(self.folder / "volume-plugins"),
                }
            ),
            encoding="utf-8",
        )
        kubeconfig = self.plane.kubeconfig(name, f"system:node:{name}", ("system:nodes",))
        kubelet = self.run(
            "kubelet",
            [
                programs.kubernetes(),
                "kubelet",
                f"--config={config}",
                f"--kubeconfig={kubeconfig}",
                f"--root-dir={self.root}",
                f"--hostname-override={name}",
                f"--node-ip={address}",
            ],
        )
        self._keepers.append(kubelet)

    @property
    def root(self) -> Path:
        """The kubelet's own folder."""
        return self.folder / "kubelet"

    @property
    def inside(self) -> Sequence[str]:
        """Arguments before a command that is to run in the cluster's network."""
        return self.seat.prefix or self.plane.prefix

    @property
    def shared(self) -> Path:
        """A folder whose mounts are seen by the pods that have it, and theirs by the node.

        The same path on every node, as in a deployment.
        """
        folder = self.plane.folder / FIRST.name / "cscale"
        folder.mkdir(exist_ok=True)
        return folder

    def _start_proxy(self) -> None:
        kubeconfig = self.plane.kubeconfig(f"proxy-{self.name}", "system:kube-proxy")
        config = self.folder / "proxy.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                    "kind": "KubeProxyConfiguration",
                    "clientConnection": {"kubeconfig": str(kubeconfig)},
                    "hostnameOverride": self.name,
                    "bindAddress": self.seat.address,
                    "mode": "iptables",
                    "clusterCIDR": "10.244.0.0/16",
                    "conntrack": {"maxPerCore": 0, "min": 0},
                }
            ),
            encoding="utf-8",
        )
        proxy = self.run("kube-proxy", [programs.kubernetes(), "kube-proxy", f"--config={config}"])
        self._keepers.append(proxy)

    def _ready(self) -> bool:
        found = self.plane.access.get("node", self.name)
        if not found:
            return False
        conditions = found["status"]["conditions"]
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        # Without it no pod is admitted.
        return ready and self.plane.access.get("serviceaccount", "default") is not None

    def stop(self) -> None:
        """End the node and remove every container, network, mount and setting of it."""
        self.plane.end(*reversed(self._keepers))
        if self._containerd is not None:
            with contextlib.suppress(RuntimeError):
                self._remove_containers()
            self.plane.end(self._containerd)
        for mounted in [*self._mounts_below(self.folder, self._run_folder), str(self.folder)]:
            subprocess.run(
                [*self.seat.prefix, "umount", "--lazy", mounted], check=False, capture_output=True
            )
        cgroups.remove(self._cgroup)
        for setting, value in self._kernel.items():
            setting.write_text(value, encoding="ascii")
        shutil.rmtree(self._run_folder, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_containers(self) -> None:
        """What the kubelet would do, were every pod deleted: nothing else knows these networks."""
        for name in self.ctr("tasks", "list", "--quiet").split():
            with contextlib.suppress(RuntimeError):
                self.ctr("tasks", "delete", "--force", name)
        for name in self.ctr("containers", "list", "--quiet").split():
            spec = json.loads(self.ctr("containers", "info", "--spec", name))
            for space in spec["linux"]["namespaces"]:
                path = Path(space.get("path", ""))
                # Pods of the host's network are in the node's, which is removed with it.
                if space["type"] == "network" and path.name.startswith("cni-") and path.exists():
                    _run(*self.seat.prefix, "ip", "netns", "delete", path.name)
            self.ctr("containers", "delete", name)

    def _mounts_below(self, *folders: Path) -> list[str]:
        """Mount points below folders, the deepest first."""
        mounts = _run(*self.seat.prefix, "cat", "/proc/self/mounts")
        points = [line.split()[1] for line in mounts.splitlines()]
        below = [p for p in points if any(p.startswith(f"{folder}/") for folder in folders)]
        return sorted(below, key=len, reverse=True)


def image_of(program: Path, name: str, archive: Path) -> None:
    """Write a docker archive of an image that holds one static program and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        layer = Path(folder, "layer.tar")
        with tarfile.open(layer, "w") as tar:
            tar.add(program, arcname="program")
        digest = _sha256(layer)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/program"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
        Path(folder, "config.json").write_text(json.dumps(config), encoding="utf-8")
        Path(folder, "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        with tarfile.open(archive, "w") as tar:
            for member in ("config.json", "manifest.json", "layer.tar"):
                tar.add(Path(folder, member), arcname=member)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
