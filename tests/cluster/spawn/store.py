"""An object store in the cluster's network, and the mounts of its buckets on the node.

The mounts are made as the pods of a DaemonSet make them, but by processes of the node itself; what
binds them into servers' trees is the real program.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cscale_hub.local.seaweedfs.launcher import find_weed
from tests.cluster.node import ADDRESS, Node
from tests.waiting import until

ACCESS_KEY, SECRET_KEY = "test-access", "test-secret"
# Its programs also talk by sockets in /tmp that are named by port, so no two runs have the same.
_FIRST = 11_000 + os.getpid() % 1000 * 8
ANOTHER = _FIRST + 8_000
"""First of the ports of a second store of this run."""
PORT = _FIRST + 6
NAME = "s3.test.svc"
ENDPOINT = f"http://{NAME}:{PORT}"
_RCLONE = Path(sys.executable).parent / "rclone"
_KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
_OF_MOUNTS = (
    "--allow-other --uid=1000 --gid=100 --umask=077 --s3-directory-markers --use-server-modtime "
    "--vfs-cache-mode=writes --vfs-write-back=0s --dir-cache-time=1s --attr-timeout=0s "
    "--poll-interval=0 --contimeout=2s --timeout=5s --low-level-retries=2"
)


class Store:
    """SeaweedFS on the node's address, with one key for everything.

    :param folder: for its data.
    :param first: of its eight ports.
    """

    def __init__(self, node: Node, folder: Path, first: int = _FIRST) -> None:
        self._node = node
        self._folder = folder
        self._first = first
        self._taken: dict[str, str] = {}
        self.url = f"http://{ADDRESS}:{first + 6}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *buckets: str) -> None:
        """Start it, with these buckets."""
        self._folder.mkdir(parents=True)
        self.take({})
        master, volume, filer, port = range(self._first, self._first + 8, 2)
        options = {
            "dir": self._folder,
            "ip": ADDRESS,
            "ip.bind": ADDRESS,
            "master.port": master,
            "master.port.grpc": master + 1,
            "volume.port": volume,
            "volume.port.grpc": volume + 1,
            "filer.port": filer,
            "filer.port.grpc": filer + 1,
            "master.peers": "none",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64,
            "master.volumePreallocate": "false",
            "volume.max": 0,
            "volume.minFreeSpace": "64MiB",
            "filer": "true",
            "s3": "true",
            "s3.ip.bind": ADDRESS,
            "s3.port": port,
            "s3.port.grpc": port + 1,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.config": self._config,
            "s3.localSocket": self._folder / "s3.sock",
            "filer.localSocket": self._folder / "filer.sock",
        }
        self.process = self._node.plane.run(
            f"weed-{port}",
            [find_weed(), "-logtostderr", "server", *(f"-{k}={v}" for k, v in options.items())],
        )
        for bucket in buckets:
            until(lambda bucket=bucket: self._made(bucket), "the object store")

    @property
    def _config(self) -> Path:
        return self._folder / "s3.json"

    def take(self, keys: Mapping[str, str]) -> None:
        """Take these keys beside the tests' own, and no others, from now on.

        SeaweedFS keeps an identity that a new configuration lacks; so those of before get another
        secret.
        """
        self._taken = {key: secrets.token_hex(16) for key in self._taken} | dict(keys)
        identities = [
            {
                "name": name,
                "credentials": [{"accessKey": name, "secretKey": secret}],
                "actions": ["Admin", "Read", "List", "Tagging", "Write"],
            }
            for name, secret in {ACCESS_KEY: SECRET_KEY, **self._taken}.items()
        ]
        self._config.write_text(json.dumps({"identities": identities}), encoding="utf-8")
        if self.process is not None:
            self.process.send_signal(signal.SIGHUP)

    def _made(self, bucket: str) -> bool:
        return self.rclone("mkdir", f":s3:{bucket}", check=False) is not None

    def takes(self, key: str, secret: str) -> bool:
        """Whether it answers whoever has a key."""
        keys = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
        return self.rclone("lsd", ":s3:", "--retries=1", check=False, keys=keys) is not None

    def rclone(
        self, *arguments: str, text: str = "", check: bool = True, keys: Mapping[str, str] = _KEYS
    ) -> str | None:
        """Ask the store past every mount; None when it fails and may."""
        done = subprocess.run(
            [*self._node.inside, *command(*arguments, url=self.url)],
            env={**os.environ, **keys},
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode and check:
            raise RuntimeError(f"rclone {' '.join(arguments)}: {done.stderr}")
        return None if done.returncode else done.stdout

    def put(self, place: str, text: str) -> None:
        """Write an object, ``bucket/key``."""
        self.rclone("rcat", f":s3:{place}", text=text)

    def read(self, place: str) -> str | None:
        """An object's content; None where there is none."""
        return self.rclone("cat", f":s3:{place}", check=False)

    def pause(self, paused: bool) -> None:
        """Let the store hang, or go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def stop(self) -> None:
        """End it; nobody needs what it kept."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._node.plane.forget(self.process)


def command(*arguments: str, url: str = f"http://{ADDRESS}:{PORT}") -> list[str]:
    """rclone on the store."""
    return [
        str(_RCLONE),
        *arguments,
        "--config=",
        "--s3-provider=Other",
        "--s3-env-auth",
        f"--s3-endpoint={url}",
        "--s3-region=us-east-1",
        "--s3-force-path-style=true",
        "--s3-no-check-bucket",
    ]


class NodeMount:
    """A whole bucket, mounted on the node.

    :param url: of its store.
    """

    def __init__(self, node: Node, bucket: str, url: str = f"http://{ADDRESS}:{PORT}") -> None:
        self._node = node
        self._url = url
        self.bucket = bucket
        self.path = node.shared / "buckets" / bucket
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Mount it, after what was left is taken away."""
        self._on_node("umount", "--lazy")
        self._on_node("mkdir", "-p")
        words: Sequence[str] = command(
            "mount", f":s3:{self.bucket}", str(self.path), *_OF_MOUNTS.split(), url=self._url
        )
        cache = f"--cache-dir={self._node.folder / 'written' / self.bucket}"
        keys = [f"{name}={value}" for name, value in _KEYS.items()]
        self.process = self._node.run(f"mount-{self.bucket}", ["env", *keys, *words, cache])
        until(lambda: self._on_node("mountpoint", "-q"), f"the mount of {self.bucket}")

    def _on_node(self, *command: str) -> bool:
        """Run a command on the mount point, as the node sees it; whether it succeeds."""
        words = [*self._node.inside, *command, str(self.path)]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    def kill(self) -> None:
        """As the kernel does without memory: the mount stays, dead."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._node.plane.forget(self.process)

    def stop(self) -> None:
        """End it, and leave nothing."""
        self.kill()
        self._on_node("umount", "--lazy")
