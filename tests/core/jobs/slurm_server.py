"""A real Slurm of one node for the tests: Debian's daemons on loopback, in a temporary folder.

munged with its own key, slurmctld, slurmd, slurmrestd with tokens (JWT) on TCP and on a socket,
and an sshd for one key, which is the cluster's login node. There is no accounting and no cgroup.
Everything that is written is below one folder; nothing outlives :meth:`SlurmServer.stop`.

Debian's packages: ``slurmctld slurmd slurmrestd slurm-client slurm-wlm-jwt-plugin munge
openssh-server`` (``scripts/system-packages.sh slurm``).
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmrestd": "slurmrestd",
    "sbatch": "slurm-client",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
}
_JWT = "auth_jwt.so"
_PATH = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin:/sbin"

SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={folder}/jwt.key
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
MailProg=/bin/true
ReturnToService=2
KillWait=1
MinJobAge={forget}
MessageTimeout={patience}
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=n1 NodeAddr=127.0.0.1 NodeHostname=localhost Port={node} CPUs=8 RealMemory=4000 Gres=gpu:2
PartitionName=short Nodes=n1 Default=YES MaxTime=60 PriorityTier=1 PreemptMode=CANCEL
PartitionName=first Nodes=n1 MaxTime=UNLIMITED PriorityTier=10 PreemptMode=OFF
"""

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
    absent = {
        package for program, package in PACKAGES.items() if not shutil.which(program, path=_PATH)
    }
    if not any(Path("/usr/lib").glob(f"*/slurm-wlm/{_JWT}")):
        absent.add("slurm-wlm-jwt-plugin")
    return sorted(absent)


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in held]
    for listener in held:
        listener.close()
    return ports


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come about"
        time.sleep(0.05)


@dataclass
class SlurmServer:
    """The daemons, and what a client has to know of them."""

    folder: Path
    forget: int = 300
    patience: int = 10
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.user = pwd.getpwuid(os.getuid()).pw_name
        names = ("controller", "node", "rest", "ssh")
        self.ports = dict(zip(names, _free_ports(len(names)), strict=True))
        self.environment = {
            "PATH": _PATH,
            "HOME": os.environ.get("HOME", "/"),
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        for name in ("state", "spool", "log", "work"):
            (self.folder / name).mkdir()
        # munged wants its socket to be within reach of all.
        self.folder.chmod(0o711)
        for name, size in (("munge.key", 1024), ("jwt.key", 32)):
            (self.folder / name).write_bytes(secrets.token_bytes(size))
            (self.folder / name).chmod(0o600)
        (self.folder / "slurm.conf").write_text(
            SLURM_CONF.format(
                folder=self.folder,
                user=self.user,
                forget=self.forget,
                patience=self.patience,
                **self.ports,
            )
        )
        # Without cgroups the files of devices are only counted.
        for number in range(2):
            (self.folder / f"gpu{number}").touch()
        (self.folder / "gres.conf").write_text(
            f"NodeName=n1 Name=gpu File={self.folder}/gpu[0-1]\n"
        )
        self.start_munged()
        self.start_controller()
        self.start_node()
        # "idle*" is a node that has not answered yet.
        until(lambda: self.run("sinfo", "-h", "-N", "-p", "short", "-o", "%T") == "idle\n", "n1")
        self.start_rest()
        self.start_ssh()

    def _spawn(self, name: str, *command: str, **more: object) -> None:
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [shutil.which(command[0], path=_PATH) or command[0], *command[1:]],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**self.environment, **dict(more)},  # type: ignore[dict-item]
            )

    def _alive(self, name: str) -> None:
        process = self.processes[name]
        if process.poll() is not None:
            raise AssertionError(f"{name} ended: {self.log(name)[-2000:]}")

    def log(self, name: str) -> str:
        return (self.folder / "log" / f"{name}.log").read_text(errors="replace")

    def start_munged(self) -> None:
        f = self.folder
        self._spawn(
            "munged",
            *("munged", "--foreground", "--num-threads=2", f"--key-file={f}/munge.key"),
            *(f"--socket={f}/munge.socket", f"--pid-file={f}/munged.pid"),
            *(f"--seed-file={f}/munge.seed", f"--log-file={f}/log/munged.log"),
        )

        def there() -> bool:
            self._alive("munged")
            return (f / "munge.socket").is_socket()

        until(there, "munged")

    def start_controller(self) -> None:
        self._spawn("slurmctld", "slurmctld", "-D")

        def there() -> bool:
            self._alive("slurmctld")
            return self.code("scontrol", "ping") == 0

        until(there, "slurmctld")

    def start_node(self) -> None:
        self._spawn("slurmd", "slurmd", "-D", "-N", "n1")

    def start_rest(self) -> None:
        self._spawn(
            "slurmrestd",
            *("slurmrestd", "-f", str(self.folder / "slurm.conf"), "-a", "rest_auth/jwt"),
            *("-s", "openapi/v0.0.37,openapi/v0.0.38"),
            *(f"127.0.0.1:{self.ports['rest']}", f"unix:{self.rest_socket}"),
            SLURM_JWT="daemon",
            # It would not run as root, nor as the user of Slurm, which a test is both.
            SLURMRESTD_SECURITY="disable_user_check",
        )

        def there() -> bool:
            self._alive("slurmrestd")
            return self.rest_socket.is_socket()

        until(there, "slurmrestd")

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
        (f / "sshd_config").write_text(SSHD_CONF.format(folder=f, port=port, path=_PATH))
        if os.getuid() == 0:
            # Where privileges are dropped; Debian makes it when the service starts.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._spawn("sshd", "sshd", "-D", "-e", "-f", str(f / "sshd_config"))

        def there() -> bool:
            self._alive("sshd")
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
        if "slurmctld" in self.processes:
            self.code("scancel", "--user", self.user)
            with suppress(AssertionError):
                until(lambda: not self.run("squeue", "-h"), "the end of all jobs", 15)
        for name in ("sshd", "slurmrestd", "slurmctld", "slurmd", "munged"):
            process = self.processes.pop(name, None)
            if process is None:
                continue
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        for number in self._left():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def _left(self) -> Iterator[int]:
        """Processes with a file of ours open: the steps of jobs whose daemon was killed."""
        ours = f"{self.folder}/"
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                files = [str(file.readlink()) for file in (process / "fd").iterdir()]
                if int(process.name) != os.getpid() and any(f.startswith(ours) for f in files):
                    yield int(process.name)

    # -- what a user and an administrator do ---------------------------------------------------

    def _done(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def run(self, *command: str) -> str:
        """A command's output."""
        return self._done(*command).stdout

    def code(self, *command: str) -> int:
        """A command's exit status."""
        return self._done(*command).returncode

    def token(self) -> str:
        """A token of Slurm for the REST API."""
        return self.run("scontrol", "token", "lifespan=3600").strip().removeprefix("SLURM_JWT=")

    def names(self) -> list[str]:
        """The names of all jobs that the controller has, ended ones too."""
        return self.run("squeue", "-h", "--states=all", "-O", "Name:|").replace("|", "").split()

    @property
    def work(self) -> Path:
        return self.folder / "work"

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
