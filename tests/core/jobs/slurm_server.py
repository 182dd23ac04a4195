"""A real Slurm of one node for the tests: that of the local federation, with more ways to it.

Beside its own socket slurmrestd takes tokens (JWT) on TCP and on a socket, and an sshd for one key
is the cluster's login node. It has GPUs that are only counted and a partition that takes the
resources of another. Everything that is written is below one folder; nothing outlives
:meth:`SlurmServer.stop`.

Debian's packages: those of :mod:`cscale_hub.local.slurm` and ``slurm-wlm-jwt-plugin
openssh-server`` (``scripts/system-packages.sh slurm``).
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cscale_hub.local.slurm import packages
from cscale_hub.local.slurm.config import SlurmConfig
from cscale_hub.local.slurm.daemons import Daemons
from cscale_hub.local.slurm.slurm_conf import account
from tests.waiting import until

SSH_PACKAGES = {"sshd": "openssh-server", "ssh": "openssh-client"}
PARTITIONS = (
    "PartitionName=short Nodes=n1 Default=YES MaxTime=60 PriorityTier=1 PreemptMode=CANCEL",
    "PartitionName=first Nodes=n1 MaxTime=UNLIMITED PriorityTier=10 PreemptMode=OFF",
)

SSHD_CONF = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PrintMotd no
SetEnv SLURM_CONF={folder}/slurm.conf PATH={path}
"""


def missing_packages() -> list[str]:
    """The Debian packages that the server needs and this machine has not."""
    absent = set(packages.missing_packages())
    for name, package in SSH_PACKAGES.items():
        if not shutil.which(name, path=packages.SEARCH_PATH):
            absent.add(package)
    if not packages.plugin_files("auth_jwt.so"):
        absent.add("slurm-wlm-jwt-plugin")
    return sorted(absent)


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in held]
    for listener in held:
        listener.close()
    return ports


class SlurmServer(Daemons):
    """The daemons, and what a client has to know of them."""

    def __init__(self, folder: Path, forget: int = 300, patience: int = 10) -> None:
        names = ("health", "controller", "node", "rest", "ssh")
        self.ports = dict(zip(names, _free_ports(len(names)), strict=True))
        self.folder = folder
        self.user = account()
        config = SlurmConfig(
            port=self.ports["health"],
            controller_port=self.ports["controller"],
            node_port=self.ports["node"],
            data_dir=folder,
            cpus=8,
            memory_mb=4000,
            node_features="Gres=gpu:2",
            partitions=PARTITIONS,
            settings={
                "AuthAltTypes": "auth/jwt",
                "AuthAltParameters": f"jwt_key={folder}/jwt.key",
                "DefMemPerCPU": "100",
                "PreemptType": "preempt/partition_prio",
                "PreemptMode": "CANCEL",
                "JobAcctGatherFrequency": "1",
                "KillWait": "1",
                "MinJobAge": str(forget),
                "MessageTimeout": str(patience),
                "GresTypes": "gpu",
            },
        )
        super().__init__(config, folder / "log")

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        (self.folder / "log").mkdir()
        (self.folder / "jwt.key").write_bytes(secrets.token_bytes(32))
        (self.folder / "jwt.key").chmod(0o600)
        # Without cgroups the files of devices are only counted.
        for number in range(2):
            (self.folder / f"gpu{number}").touch()
        (self.folder / "gres.conf").write_text(
            f"NodeName=n1 Name=gpu File={self.folder}/gpu[0-1]\n"
        )
        super().start()
        self.start_ssh()

    def log(self, name: str) -> str:
        return (self.folder / "log" / f"{name}.log").read_text(errors="replace")

    def start_rest(self) -> None:
        """slurmrestd for tokens, on TCP and on a socket."""
        self.spawn(
            "slurmrestd",
            *("-f", str(self.config.slurm_conf), "-a", "rest_auth/jwt"),
            *("-s", ",".join(packages.rest_versions())),
            *(f"127.0.0.1:{self.ports['rest']}", f"unix:{self.rest_socket}"),
            SLURM_JWT="daemon",
            SLURMRESTD_SECURITY="disable_user_check",
        )
        until(self.rest_socket.is_socket, "slurmrestd")

    def start_ssh(self) -> None:
        for name in ("host_key", "user_key", "other_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)],
                check=True,
            )
        f, port = self.folder, self.ports["ssh"]
        (f / "authorized_keys").write_text((f / "user_key.pub").read_text())
        kind, key = (f / "host_key.pub").read_text().split()[:2]
        (f / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
        _, wrong = (f / "other_key.pub").read_text().split()[:2]
        (f / "wrong_hosts").write_text(f"[127.0.0.1]:{port} {kind} {wrong}\n")
        (f / "sshd_config").write_text(
            SSHD_CONF.format(folder=f, port=port, path=packages.SEARCH_PATH)
        )
        if os.getuid() == 0:
            # Where privileges are dropped; Debian makes it when the service starts.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.spawn("sshd", "-D", "-e", "-f", str(f / "sshd_config"))

        def there() -> bool:
            assert self.processes["sshd"].poll() is None, self.log("sshd")[-2000:]
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        until(there, "sshd")

    def kill(self, name: str, number: int = signal.SIGTERM) -> None:
        """End one daemon."""
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(30)

    def stop(self) -> None:
        """End all jobs and daemons."""
        self.end("sshd")
        super().stop()

    # -- what a user and an administrator do ---------------------------------------------------

    def run(self, *command: str) -> str:
        """A command's output."""
        return self.command(*command).stdout

    def code(self, *command: str) -> int:
        """A command's exit status."""
        return self.command(*command).returncode

    def token(self) -> str:
        """A token of Slurm for the REST API."""
        return self.run("scontrol", "token", "lifespan=3600").strip().removeprefix("SLURM_JWT=")

    def names(self) -> list[str]:
        """The names of all jobs that the controller has, ended ones too."""
        return self.run("squeue", "-h", "--states=all", "-O", "Name:|").replace("|", "").split()

    @property
    def work(self) -> Path:
        return self.config.work_dir

    @property
    def rest_socket(self) -> Path:
        return self.folder / "rest.socket"


@contextmanager
def running(forget: int = 300, patience: int = 10) -> Iterator[SlurmServer]:
    """A started server; at the end it is stopped and its folder removed.

    :param forget: seconds after which the controller forgets an ended job.
    :param patience: seconds for which programs wait for a controller that is away.
    """
    # Not pytest's folder: the path of a socket has to be short.
    with tempfile.TemporaryDirectory(prefix="cscale-slurm-") as folder:
        server = SlurmServer(Path(folder), forget, patience)
        try:
            server.start()
            yield server
        finally:
            server.stop()


if __name__ == "__main__":
    began = time.monotonic()
    with running() as made:
        print(f"{time.monotonic() - began:.2f} s to start, ports {made.ports}")
