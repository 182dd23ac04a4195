"""The parent of one spark-submit: notes its process id at the start and the exit status at the end.

Run by path, with the standard library only: ``python -I spark_wrapper.py WORK_DIR COMMAND...``.
Because it writes ``pid`` (process id and UI address) and ``exit`` itself, whoever started it may
die at any moment and another process still finds out what became of the application.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

#: Names the address of the application's UI, which is noted beside the process id.
UI_VARIABLE = "CSCALE_SPARK_UI"
#: Exit status of a wrapper that found another one at work.
ALREADY_STARTED = 73


def process_start(pid: int) -> str:
    """When the process started (clock ticks since boot), so that a reused id is recognised.

    Empty where ``/proc`` does not exist or the process has ended (a zombie counts as ended).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old file or the whole new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def main(arguments: list[str]) -> int:
    work_dir, command = Path(arguments[0]), arguments[1:]
    mine = work_dir / f".pid.{os.getpid()}"
    noted = {
        "pid": os.getpid(),
        "start": process_start(os.getpid()),
        "ui": os.environ.get(UI_VARIABLE, ""),
    }
    mine.write_text(json.dumps(noted), encoding="utf-8")
    try:
        # A link is made whole or not at all: of two starters at the same time, one runs.
        os.link(mine, work_dir / "pid")
    except FileExistsError:
        print(f"{work_dir} already has an application", file=sys.stderr)
        return ALREADY_STARTED
    finally:
        mine.unlink()

    child: subprocess.Popen[bytes] | None = None
    stopped = False

    def forward(number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        if child is not None and child.poll() is None:
            child.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    try:
        child = subprocess.Popen(command)
        if stopped:
            child.terminate()
        code = child.wait()
    except OSError as error:
        print(f"cannot start {command[0]}: {error}", file=sys.stderr)
        code = 127
    code = 128 - code if code < 0 else code
    write_atomically(work_dir / "exit", f"{code}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
