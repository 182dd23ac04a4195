"""What Ctrl-C, SIGTERM and a closed terminal do to a command."""

from __future__ import annotations

import os
import pty
import signal
import time
from pathlib import Path

import pytest

from cscale_hub.local.signals import interruptible, undisturbed

ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", ALL)
def test_signal_interrupts_and_the_old_handler_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_stopping_is_not_cut_short() -> None:
    told: list[bool] = []
    with interruptible():
        with undisturbed(lambda: told.append(True)):
            for number in ALL:
                signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert len(told) == 2  # of a closed terminal nobody is told


def test_closed_terminal_does_not_break_what_is_written_at_the_end(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    child, terminal = pty.fork()
    if child == 0:
        _write_after_hangup(ended)
    assert os.read(terminal, 100).startswith(b"ready")
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert ended.read_text() == "in order"


def _write_after_hangup(ended: Path) -> None:
    """In the child: never returns."""
    try:
        with interruptible():
            os.write(1, b"ready\n")
            time.sleep(10)
    except KeyboardInterrupt:
        with undisturbed(lambda: None):
            os.write(1, b"stopping\n")
        ended.write_text("in order")
        os._exit(0)
    os._exit(1)
