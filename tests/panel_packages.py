"""What the panel's own tests and checks need from npm: brought once, by the lock file.

``python -m tests.panel_packages`` brings it before the tests, whose time is bounded.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

UI = Path(__file__).parents[1] / "extensions/ui"
_LAST = UI / "node_modules/vitest/package.json"


def npm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run npm in the panel's folder; that of the machine, else the environment's own."""
    path = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    program = shutil.which("npm", path=path)
    if not program:
        raise RuntimeError("npm is missing, which scripts/setup.sh brings")
    return subprocess.run(
        [program, *arguments],
        cwd=UI,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def packages() -> Path:
    """The folder with all packages, those of tests too; there already in a second run."""
    with (UI / "package-lock.json").open("rb") as lock:
        # Tests run in a few processes.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _LAST.is_file():
            installed = npm("ci", "--ignore-scripts", "--no-audit", "--no-fund")
            if installed.returncode:
                raise RuntimeError(f"npm brings no packages: {installed.stderr}")
    return UI / "node_modules"


if __name__ == "__main__":
    packages()
