"""The launcher restarts what dies, stops what it is told to, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cscale_hub.local.processes import start_ticks
from tests.waiting import until


def alive(pid: int) -> bool:
    return start_ticks(pid) is not None


class Launched:
    """A launcher with a program in its own data folder."""

    def __init__(self, data: Path, program: str, **spec: Any) -> None:
        self.data = data
        programs = data / "run" / "programs"
        programs.mkdir(parents=True)
        content = {"argv": [sys.executable, "-u", "-c", program], "grace": 2, **spec}
        (programs / "thing.json").write_text(json.dumps(content), encoding="utf-8")
        self.state_file = programs / "thing.state.json"
        self.log = data / "logs" / "thing.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "cscale_hub.local.run", "thing", "--data", str(self.data)]

    def start(self) -> None:
        self.process = subprocess.Popen([*self.command, "--parent", str(os.getpid())])
        until(lambda: self.pid > 0 and "started" in self.text(), "the start", 15, pause=0.05)

    @property
    def pid(self) -> int:
        try:
            return int(json.loads(self.state_file.read_text(encoding="utf-8"))["pid"])
        except (OSError, ValueError):
            return 0

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    made: list[Launched] = []

    def make(program: str, **spec: Any) -> Launched:
        made.append(Launched(tmp_path, program, **spec))
        return made[-1]

    yield make
    for each in made:
        each.end()


SLEEPER = "import time; print('started'); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('started'); time.sleep(600)"
)


def test_killed_program_comes_back_within_three_seconds_and_it_is_logged(
    launched: Callable[..., Launched],
) -> None:
    thing = launched(SLEEPER)
    thing.start()
    first = thing.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: thing.pid != first and alive(thing.pid), "the next program", 3, pause=0.05)
    assert "ended with status -9; restart 1" in thing.text()
    assert json.loads(thing.state_file.read_text(encoding="utf-8"))["restarts"] == 1


def test_stopping_ends_the_program_and_does_not_restart_it(
    launched: Callable[..., Launched],
) -> None:
    thing = launched(SLEEPER)
    thing.start()
    pid = thing.pid
    assert thing.process is not None
    thing.process.terminate()
    assert thing.process.wait(5) == 0
    assert not alive(pid)
    assert not thing.state_file.exists()


def test_program_that_ignores_the_signal_is_killed_after_the_grace_period(
    launched: Callable[..., Launched],
) -> None:
    thing = launched(STUBBORN)
    thing.start()
    pid = thing.pid
    assert thing.process is not None
    begun = time.monotonic()
    thing.process.terminate()
    assert thing.process.wait(10) == 0
    assert 1.5 < time.monotonic() - begun < 6
    assert not alive(pid)
    assert "killed" in thing.text()


def test_killed_launcher_takes_the_program_with_it(launched: Callable[..., Launched]) -> None:
    thing = launched(SLEEPER)
    thing.start()
    pid = thing.pid
    assert thing.process is not None
    thing.process.kill()
    thing.process.wait(5)
    until(lambda: not alive(pid), "the end of the program", 5)


def test_killed_grandparent_takes_everything_with_it(
    launched: Callable[..., Launched], tmp_path: Path
) -> None:
    thing = launched(SLEEPER)
    hub = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import os, subprocess, sys, time;"
                "subprocess.Popen([*sys.argv[1:], '--parent', str(os.getpid())]); time.sleep(600)"
            ),
            *thing.command,
        ]
    )
    try:
        until(lambda: thing.pid > 0 and "started" in thing.text(), "the start", 15)
        state = json.loads(thing.state_file.read_text(encoding="utf-8"))
    finally:
        hub.kill()
        hub.wait(5)
    until(lambda: not alive(state["pid"]) and not alive(state["launcher"]), "the end of both", 6)


def test_children_of_a_dead_program_do_not_hold_its_port(
    launched: Callable[..., Launched],
) -> None:
    thing = launched(
        "import os, subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print('started', child.pid, flush=True); time.sleep(600)"
    )
    thing.start()
    child = int(thing.text().split()[1])
    assert alive(child)
    os.kill(thing.pid, signal.SIGKILL)
    until(lambda: not alive(child), "the end of the child", 3)


def test_program_that_cannot_start_is_tried_again(launched: Callable[..., Launched]) -> None:
    thing = launched("", argv=["/nonexistent/program"])
    thing.process = subprocess.Popen([*thing.command, "--parent", str(os.getpid())])
    until(
        thing.text,
        "the second restart",
        15,
        fits=lambda text: "cannot be started" in text and "restart 2" in text,
    )


def test_big_log_is_put_aside(launched: Callable[..., Launched]) -> None:
    thing = launched(SLEEPER)
    thing.log.parent.mkdir(parents=True)
    with thing.log.open("wb") as file:
        file.truncate(9 * 2**20)
    thing.start()
    assert thing.log.stat().st_size < 2**20
    assert thing.log.with_name("thing.log.1").stat().st_size == 9 * 2**20


def test_named_variables_do_not_reach_the_program(
    launched: Callable[..., Launched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSCALE_HUB__PORT", "1")
    monkeypatch.setenv("CSCALE_SETTINGS_FILE", "outer")
    thing = launched(
        "import os; print('started', os.environ.get('CSCALE_HUB__PORT'),"
        "os.environ['CSCALE_SETTINGS_FILE']); import time; time.sleep(600)",
        environment={"CSCALE_SETTINGS_FILE": "inner"},
        drop_environment=["CSCALE_HUB__PORT", "CSCALE_SETTINGS_FILE"],
    )
    thing.start()
    assert thing.text().split()[1:3] == ["None", "inner"]
