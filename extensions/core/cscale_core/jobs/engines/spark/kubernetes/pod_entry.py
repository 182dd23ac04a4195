"""Runs a named application in the driver's pod: ``python pod_entry.py MODULE``.

Handed over beside the parameters, in a folder that cannot be written; standard library only. It
gives the application a folder of its own, and says on standard output how far it is. An error that
the application wrote down is left where Kubernetes keeps a container's last words.
"""

from __future__ import annotations

import json
import runpy
import shutil
import sys
import tempfile
import threading
from datetime import datetime, timezone
from pathlib import Path

#: What Kubernetes keeps of a container's last words, in bytes.
MOST_WORDS = 4096
LAST_WORDS = "/dev/termination-log"
#: Level of lines that say how far the work is, and are no lines of the log.
PROGRESS = "progress"


def _say(level: str, message: str, **more: object) -> None:
    # An image may have an older Python than ours: datetime.UTC is of 3.11.
    time = datetime.now(timezone.utc).isoformat()  # noqa: UP017
    print(json.dumps({"time": time, "level": level, "message": message, **more}), flush=True)


def _watch(file: Path, ended: threading.Event) -> None:
    before = ""
    while not ended.wait(1.0):
        try:
            text = file.read_text(encoding="utf-8")
            if text != before:
                told = json.loads(text)
                _say(PROGRESS, str(told["message"]), done=told["done"], total=told["total"])
                before = text
        except (OSError, ValueError, KeyError, TypeError):
            # It has said nothing yet.
            continue


def main(module: str) -> int:
    work = Path(tempfile.mkdtemp(prefix="cscale-"))
    shutil.copyfile(Path(__file__).with_name("parameters.json"), work / "parameters.json")
    ended = threading.Event()
    threading.Thread(target=_watch, args=(work / "progress.json", ended), daemon=True).start()
    sys.argv = [module, "--parameters", str(work / "parameters.json")]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        ended.set()
    error = work / "error.json"
    if error.exists():
        words = error.read_bytes()
        if len(words) <= MOST_WORDS:
            try:
                Path(LAST_WORDS).write_bytes(words)
            except OSError as problem:
                _say("warning", f"the error could not be left as last words: {problem}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
