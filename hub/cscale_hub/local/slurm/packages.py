"""Slurm's and MUNGE's programs on this machine, and which Debian packages would bring them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

#: Where Debian has daemons, which the PATH of an ordinary account leaves out.
SEARCH_PATH = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin:/sbin"
PACKAGES = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmrestd": "slurmrestd",
    "sinfo": "slurm-client",
}
_PLUGINS = "/usr/lib"


def program(name: str) -> str:
    """The path of a program, or its name when it is not here."""
    return shutil.which(name, path=SEARCH_PATH) or name


def missing_packages() -> list[str]:
    """The Debian packages that a cluster needs and this machine has not."""
    return sorted(
        {package for name, package in PACKAGES.items() if not shutil.which(name, path=SEARCH_PATH)}
    )


def plugin_files(pattern: str) -> list[Path]:
    """Slurm's plug-ins by a pattern of their file names."""
    return sorted(Path(_PLUGINS).glob(f"*/slurm-wlm/{pattern}"))


def rest_versions() -> list[str]:
    """What slurmrestd is told to serve: Slurm's own API, without that of accounting.

    Before 23.11 each version is a plug-in; later ones need no choice, as accounting is left out by
    itself where there is none.
    """
    found = plugin_files("openapi_v0_0_*.so")
    return [path.stem.replace("openapi_", "openapi/").replace("_", ".") for path in found][-2:]
