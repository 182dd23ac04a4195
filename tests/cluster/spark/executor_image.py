"""An image in which drivers and executors run, made of this machine's Java and Spark in a minute.

That of a release has a Python of its own with all that our applications need, and takes ten.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

BASE = "localhost/cscale/mount:test"
IMAGE = "localhost/cscale/session:test"
ENTRYPOINT = Path(__file__).parents[3] / "images" / "spark" / "entrypoint.sh"


def _buildah(*arguments: str | Path) -> str:
    program = shutil.which("buildah")
    if program is None:
        pytest.skip("buildah is missing: install buildah (scripts/system-packages.sh cluster)")
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"buildah {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout.strip()


def _package(name: str) -> Path | None:
    """The folder of an installed Python package."""
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found is not None and found.origin else None


def make() -> str:
    """Build it; its name.

    Skips where its parts are not here.
    """
    java, spark, gateway = shutil.which("java"), _package("pyspark"), _package("py4j")
    if java is None or spark is None or gateway is None:
        pytest.skip("Java or Spark is missing: scripts/setup.sh")
    home = Path(os.path.realpath(java)).parents[1]
    try:
        container = _buildah("from", "--pull-never", BASE)
    except RuntimeError:
        pytest.skip(f"{BASE} is not built: TAG=test BASE=debootstrap scripts/images.sh mount")
    try:
        root = Path(_buildah("mount", container))
        # With what its links lead to.
        subprocess.run(
            ["cp", "--recursive", "--dereference", str(home), str(root / "opt/java")],
            capture_output=True,
            check=False,
        )
        (root / "usr/bin/java").symlink_to("/opt/java/bin/java")
        (packages,) = (root / "opt/cscale/lib").glob("python3*/site-packages")
        for folder in (spark, gateway):
            shutil.copytree(
                folder, packages / folder.name, ignore=shutil.ignore_patterns("__pycache__")
            )
        shutil.copy(ENTRYPOINT, root / "opt/entrypoint.sh")
        (root / "opt/entrypoint.sh").chmod(0o755)
        _buildah("config", "--entrypoint", '["/opt/entrypoint.sh"]', container)
        _buildah("commit", "--quiet", container, IMAGE)
    finally:
        _buildah("rm", container)
    return IMAGE
