"""What the machine offers is found out without changing it, and processes are really ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cscale_hub.local import processes, system


@contextmanager
def running(program: str, **environment: str) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", f"{program}; print('ready', flush=True); time.sleep(600)"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait(5)
        process.stdout.close()


def test_every_offer_says_what_it_is_good_for() -> None:
    for offer in (system.fuse(), system.java(), system.postgresql(), system.slurm()):
        assert offer.detail
        assert offer.adds


def test_java_older_than_17_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019' >&2\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not system.java().present


def test_processes_of_a_federation_are_found_by_their_mark_and_no_others(tmp_path: Path) -> None:
    with (
        running("import time", CSCALE_FEDERATION=str(tmp_path)) as ours,
        running("import time", CSCALE_FEDERATION=f"{tmp_path}-other") as theirs,
    ):
        found = processes.federation_processes(tmp_path)
        assert ours in found
        assert theirs not in found


def test_stubborn_process_is_killed_and_ended_ones_are_no_error(tmp_path: Path) -> None:
    ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    with running(ignoring) as stubborn:
        begun = time.monotonic()
        assert processes.end_processes([stubborn, 2**22 - 1], grace=0.5) == []
        assert 0.4 < time.monotonic() - begun < 3


def test_memory_counts_children_but_not_those_left_out() -> None:
    child = "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c',"
    child += "'import time; x = bytearray(60_000_000); time.sleep(600)']); time.sleep(1)"
    with running(child) as parent:
        whole = system.resident_bytes(parent)
        inner = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit()
            and processes.start_ticks(int(entry.name))
            and _parent(entry) == parent
        ]
        assert whole > 60_000_000
        assert system.resident_bytes(parent, inner) < whole - 50_000_000
        for pid in inner:
            os.kill(pid, 9)


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_memory_of_a_process_that_is_gone_is_zero() -> None:
    assert system.resident_bytes(2**22 - 1) == 0


def test_own_command_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "cscale").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system.own_command() == str(programs / "cscale")
    monkeypatch.chdir(tmp_path)
    assert system.own_command() == ".venv/bin/cscale"
    monkeypatch.setenv("PATH", str(programs))
    assert system.own_command() == "cscale"


def test_server_that_ignores_the_end_of_its_hub_is_ended_by_the_launcher(tmp_path: Path) -> None:
    """Else it would hold the user's folders, and the next hub would take it for a healthy one."""
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('ready', flush=True); time.sleep(60)"
    )
    environment = os.environ | {processes.FEDERATION_VARIABLE: str(tmp_path)}

    def start(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, name]
        started = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        return started

    stubborn, kernel = start("jupyterhub.singleuser"), start("a kernel")
    try:
        assert processes.user_servers(tmp_path) == [stubborn.pid]
        assert processes.end_processes(processes.user_servers(tmp_path), grace=0.5) == []
        assert stubborn.wait(timeout=5) == -signal.SIGKILL
        assert kernel.poll() is None
    finally:
        for process in (stubborn, kernel):
            process.kill()
            process.communicate()
