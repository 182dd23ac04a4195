"""MUNGE's and Slurm's daemons as children of this process, in the order they need each other.

They run in the foreground as this account, die with the process that started them, and read nothing
of the machine's own ``/etc/slurm``. Jobs outlive a daemon that ends, and are found again by the
next one; :meth:`Daemons.stop` ends them too, as a power cut would: Slurm knows at its next start
that they did not end, and runs them again where they may be.
"""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from cscale_hub.local.processes import FEDERATION_VARIABLE, end_processes, processes_with
from cscale_hub.local.run import bound_to_parent
from cscale_hub.local.slurm.config import NODE, SlurmConfig
from cscale_hub.local.slurm.packages import SEARCH_PATH, program, rest_versions
from cscale_hub.local.slurm.slurm_conf import slurm_conf
from cscale_hub.local.sockets import leave_socket_folder, private_socket_folder

CONF_VARIABLE = "SLURM_CONF"
#: Seconds a daemon has to end, and then the steps of jobs.
_PATIENCE, _STEPS_PATIENCE = 5.0, 1.0
_UP = frozenset({"idle", "mixed", "allocated", "completing"})


class SlurmError(Exception):
    """Slurm cannot be started; the message says which daemon, and what it said."""


class Daemons:
    """munged, slurmctld, slurmd and slurmrestd. Start and stop them in the main thread.

    :param logs: folder for one log a daemon; None: they write where this process does.
    :ivar processes: the daemons by name.
    """

    def __init__(self, config: SlurmConfig, logs: Path | None = None) -> None:
        self.config = config
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs = logs
        # Also what steps and jobs are known by at the end.
        self.environment = {
            "PATH": SEARCH_PATH,
            "HOME": str(config.data_dir),
            "LC_ALL": "C",
            CONF_VARIABLE: str(config.slurm_conf),
        }
        if FEDERATION_VARIABLE in os.environ:
            self.environment[FEDERATION_VARIABLE] = os.environ[FEDERATION_VARIABLE]

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all and wait until a job can run.

        :raises SlurmError: when one does not come up in time.
        """
        self.prepare()
        alive = bool(self._steps())
        self.start_munged()
        self.start_controller()
        self.start_node()
        self._until(self.takes_jobs, "slurmd")
        if not alive:
            self._requeue_lost()
        self.start_rest()

    def _requeue_lost(self) -> None:
        """Have jobs run again that Slurm believes to be running and that have no process left.

        It would find out by itself, but takes minutes.
        """
        lost = self.command("squeue", "-h", "-t", "running,completing", "-o", "%A").stdout.split()
        if lost:
            self.command("scontrol", "requeue", ",".join(dict.fromkeys(lost)))

    def prepare(self) -> None:
        """Folders, keys and files; keys are kept from one start to the next."""
        config = self.config
        private_socket_folder(config.socket_dir)
        folders = (config.data_dir / "state", config.socket_dir / "spool", config.work_dir)
        for folder in folders:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = config.data_dir / "munge.key"
        if not key.exists():
            part = key.with_suffix(".new")
            part.touch(mode=0o600)
            part.write_bytes(secrets.token_bytes(1024))
            part.replace(key)
        config.slurm_conf.write_text(slurm_conf(config), encoding="utf-8")
        self._write_prolog()

    def _write_prolog(self) -> None:
        """What gives jobs the variables they are known by, and by which Slurm's commands work."""
        kept = (CONF_VARIABLE, FEDERATION_VARIABLE)
        lines = [
            f"echo {shlex.quote(f'export {name}={self.environment[name]}')}"
            for name in kept
            if name in self.environment
        ]
        path = self.config.data_dir / "task-prolog"
        path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n", encoding="utf-8")
        path.chmod(0o700)

    def stop(self) -> None:
        """End all daemons, and the jobs that still run."""
        for name in ("slurmrestd", "slurmctld", "slurmd"):
            self.end(name)
        end_processes(self._steps(), _STEPS_PATIENCE)
        self.end("munged")
        leave_socket_folder(self.config.socket_dir)

    def end(self, name: str) -> None:
        """End one daemon; nothing where it does not run."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _steps(self) -> set[int]:
        """Processes of jobs and of what supervises them."""
        marked = processes_with(CONF_VARIABLE, str(self.config.slurm_conf))
        return set(marked) - {process.pid for process in self.processes.values()}

    def ended(self) -> str:
        """The name of a daemon that ended by itself; empty while all run."""
        return next((n for n, process in self.processes.items() if process.poll() is not None), "")

    # -- the daemons ---------------------------------------------------------------------------

    def start_munged(self) -> None:
        data, sockets = self.config.data_dir, self.config.socket_dir
        self.spawn(
            "munged",
            "--foreground",
            # It wants all accounts to reach its socket; ours is for this one.
            "--force",
            "--num-threads=2",
            f"--key-file={data}/munge.key",
            f"--seed-file={data}/munge.seed",
            f"--socket={self.config.munge_socket}",
            f"--pid-file={sockets}/munged.pid",
            f"--log-file={data}/munged.log",
        )
        self._until(self.config.munge_socket.is_socket, "munged")

    def start_controller(self) -> None:
        self.spawn("slurmctld", "-D")
        self._until(lambda: self.command("scontrol", "ping").returncode == 0, "slurmctld")

    def start_node(self) -> None:
        self.spawn("slurmd", "-D", "-N", NODE)

    def start_rest(self) -> None:
        """slurmrestd on its socket, for this account alone."""
        self.config.rest_socket.unlink(missing_ok=True)
        versions = rest_versions()
        self.spawn(
            "slurmrestd",
            *("-f", str(self.config.slurm_conf), "-a", "rest_auth/local"),
            *(["-s", ",".join(versions)] if versions else []),
            f"unix:{self.config.rest_socket}",
            # It would run neither as root nor as the account of Slurm, which here is everybody's.
            SLURMRESTD_SECURITY="disable_user_check",
        )
        self._until(self.config.rest_socket.is_socket, "slurmrestd")

    def spawn(self, name: str, *arguments: str, **variables: str) -> None:
        """Start a daemon, or another program that belongs to the cluster."""
        log = None
        if self._logs is not None:
            log = (self._logs / f"{name}.log").open("ab")
        try:
            self.processes[name] = subprocess.Popen(
                [program(name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.environment, **variables},
                cwd=self.config.data_dir,
                preexec_fn=bound_to_parent(),
            )
        except OSError as error:
            raise SlurmError(f"{name} cannot be started: {error}") from error
        finally:
            if log is not None:
                log.close()

    def _until(self, condition: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + self.config.start_timeout
        while not condition():
            ended = self.ended()
            if ended:
                raise SlurmError(f"{ended} ended with status {self.processes[ended].returncode}")
            if time.monotonic() > deadline:
                raise SlurmError(f"{name} did not come up in {self.config.start_timeout:.0f} s")
            time.sleep(0.05)

    # -- what a user and an administrator do ---------------------------------------------------

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One of Slurm's commands on this cluster.

        :raises subprocess.TimeoutExpired: after a minute.
        """
        return subprocess.run(
            [program(words[0]), *words[1:]],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def takes_jobs(self) -> bool:
        """Whether the controller answers and has its node."""
        # A state with a star is that of a node that has not answered yet.
        return self.command("sinfo", "-h", "-N", "-n", NODE, "-o", "%T").stdout.split()[:1] in (
            [state] for state in _UP
        )
