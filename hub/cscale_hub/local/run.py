"""The launcher: keeps one program of the local federation running.

``python -m cscale_hub.local.run NAME --data DIR`` reads ``DIR/run/programs/NAME.json``, starts the
program as a child, and starts it again, with back-off, when it dies. JupyterHub starts a launcher
for each managed service (and would start the launcher again, but looks only every 30 s, which is
why the launcher watches too); ``cscale up`` starts one for JupyterHub itself.

Nothing is left behind: launcher and program ask the kernel for a SIGTERM when their parent dies,
so a killed hub takes all its services with it. SIGTERM and SIGINT stop the program cleanly and
kill its process group when the grace period is over.

Only the standard library is imported: there is one launcher per service.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from cscale_hub.local.processes import (
    FEDERATION_VARIABLE,
    end_processes,
    start_ticks,
    user_servers,
)

ROTATE_BYTES = 8 * 2**20
BOUND_BYTES = 64 * 2**20
FIRST_DELAY, LAST_DELAY = 0.5, 15.0
HUB = "hub"
# Seconds a user's server has to flush its mounts when the hub was killed.
USER_SERVER_GRACE = 12.0
HEALTHY_SECONDS = 30.0
_PR_SET_PDEATHSIG = 1
# Loaded here: between fork and exec nothing but the call itself is safe.
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, sent: int = signal.SIGTERM) -> None:
    """Ask the kernel to send this process a signal when its parent dies.

    :param parent: the parent's process id as the parent knows it; when it is already gone the
        process ends at once.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, sent, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def bound_to_parent(then: Callable[[], None] | None = None) -> Callable[[], None]:
    """A ``preexec_fn`` after which the child gets SIGTERM when this process dies."""
    parent = os.getpid()

    def prepare() -> None:
        die_with_parent(parent)
        if then is not None:
            then()

    return prepare


def open_log(path: Path) -> int:
    """Open a log for appending; a big one is first moved to ``NAME.log.1``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > ROTATE_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


class Launcher:
    """Starts, watches, restarts and stops one program."""

    def __init__(self, name: str, data: Path) -> None:
        self.name = name
        self.programs = data / "run" / "programs"
        self.data = data
        self.spec: dict[str, Any] = json.loads(
            (self.programs / f"{name}.json").read_text(encoding="utf-8")
        )
        self.log_path = data / "logs" / f"{name}.log"
        self.restarts = 0
        self._stopping = False
        self.program: subprocess.Popen[bytes] | None = None

    def say(self, message: str) -> None:
        """One line in the program's log, marked as the launcher's."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = f"[launcher {stamp}] {self.name}: {message}\n"
        os.write(1, line.encode())

    def is_stopping(self) -> bool:
        """Whether a signal asked for the end; it may come at any moment."""
        return self._stopping

    def start(self) -> None:
        """Start the program as a child that does not outlive this process."""
        dropped = set(self.spec.get("drop_environment", []))
        environment = {key: value for key, value in os.environ.items() if key not in dropped}
        environment.update(self.spec.get("environment", {}))
        environment[FEDERATION_VARIABLE] = str(self.data)
        self.program = subprocess.Popen(
            self.spec["argv"],
            cwd=self.spec.get("cwd") or self.data,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=bound_to_parent(),  # safe: the launcher has no threads
        )
        self.write_state()

    def write_state(self) -> None:
        """Say which processes these are, for ``cscale doctor`` and the next start."""
        pid = self.program.pid if self.program else 0
        state = {
            "launcher": os.getpid(),
            "launcher_started": start_ticks(os.getpid()),
            "pid": pid,
            "started": start_ticks(pid) if pid else None,
            "since": time.time(),
            "restarts": self.restarts,
        }
        temporary = self.programs / f".{self.name}.state.json"
        temporary.write_text(json.dumps(state), encoding="utf-8")
        temporary.replace(self.programs / f"{self.name}.state.json")

    def kill_group(self, number: int) -> None:
        if self.program is None:
            return
        try:
            os.killpg(self.program.pid, number)
        except ProcessLookupError:
            return  # the whole group is gone already

    def on_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            return
        self._stopping = True
        signal.signal(signal.SIGALRM, self.on_late)
        signal.alarm(max(1, int(self.spec.get("grace", 8))))
        if self.program is not None and self.program.poll() is None:
            self.program.send_signal(signal.SIGTERM)

    def on_late(self, number: int, frame: FrameType | None) -> None:
        self.say("did not stop in time; killed")
        self.kill_group(signal.SIGKILL)

    def end_user_servers(self) -> None:
        """End what a killed hub left of its users' servers, before another hub finds them.

        Each was told by the kernel that its parent has gone and is on its way out, flushing its
        mounts; one that hangs would hold the user's folders for ever.
        """
        stuck = end_processes(user_servers(self.data), USER_SERVER_GRACE)
        if stuck:
            self.say(f"users' servers that do not end: {', '.join(map(str, stuck))}")

    def bound_log(self) -> None:
        """Keep a talkative program from filling the disk: its log starts again at zero."""
        try:
            if self.log_path.stat().st_size > BOUND_BYTES:
                os.truncate(self.log_path, 0)
                self.say(f"the log reached {BOUND_BYTES >> 20} MiB and was cut")
        except FileNotFoundError:
            return  # somebody removed the log: nothing to bound

    def wait(self) -> int:
        """The program's exit status, as soon as it ends."""
        assert self.program is not None  # noqa: S101 - start() was called
        while True:
            try:
                return self.program.wait(timeout=30.0)
            except subprocess.TimeoutExpired:
                self.bound_log()

    def loop(self) -> int:
        """Keep the program running until told to stop."""
        delay = FIRST_DELAY
        while not self.is_stopping():
            begun = time.monotonic()
            try:
                self.start()
            except OSError as error:
                self.say(f"cannot be started: {error}")
                status = 127
            else:
                if self.is_stopping():  # the signal came while the program was being started
                    self.kill_group(signal.SIGTERM)
                status = self.wait()
                # What the program left of its process group would hold its port.
                self.kill_group(signal.SIGKILL)
                if self.name == HUB:
                    self.end_user_servers()
            if self.is_stopping():
                break
            if time.monotonic() - begun > HEALTHY_SECONDS:
                delay = FIRST_DELAY
            self.restarts += 1
            self.say(f"ended with status {status}; restart {self.restarts} in {delay:.1f} s")
            until = time.monotonic() + delay
            while not self.is_stopping() and (left := until - time.monotonic()) > 0:
                time.sleep(min(left, 0.2))
            delay = min(delay * 2, LAST_DELAY)
        self.say("stopped")
        (self.programs / f"{self.name}.state.json").unlink(missing_ok=True)
        return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``python -m cscale_hub.local.run``."""
    parser = argparse.ArgumentParser(prog="cscale_hub.local.run", description=__doc__)
    parser.add_argument("name", help="the program, as in DIR/run/programs/NAME.json")
    parser.add_argument("--data", type=Path, required=True, help="the federation's data folder")
    parser.add_argument("--parent", type=int, help="stop when this process, the parent, ends")
    options = parser.parse_args(arguments)
    if options.parent:
        die_with_parent(options.parent)
    os.umask(0o077)
    data = options.data.absolute()
    log = open_log(data / "logs" / f"{options.name}.log")
    os.dup2(log, 1)
    os.dup2(log, 2)
    launcher = Launcher(options.name, data)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, launcher.on_stop)
    return launcher.loop()


if __name__ == "__main__":
    sys.exit(main())
