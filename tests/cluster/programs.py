"""The programs of a Kubernetes for the tests: found, or built once from their Go modules.

What was built lies in the user's cache, under the hash of what it was built from, so a clean
checkout does not build it again. Go comes from ``PATH``; etcd and containerd are Debian packages
(``scripts/system-packages.sh cluster``).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_cache_path

VERSION = "1.36.3"
OF_TESTS = ("kubernetes", "pause", "helm", "csi", "operator", "operator-chart", "dns")
OF_DEBIAN = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "kubectl": "kubernetes-client",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
}
_OPERATOR = "github.com/kubeflow/spark-operator/v2"
_VERSION_PACKAGE = "k8s.io/component-base/version"


class Missing(Exception):
    """A program is not here and cannot be built; says what to install."""


def find(program: str) -> Path:
    """The path of an installed program of Debian.

    :raises Missing: naming the Debian package that has it.
    """
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise Missing(
            f"{program} is missing: install {OF_DEBIAN[program]} "
            "(scripts/system-packages.sh cluster)"
        )
    return Path(found)


def kubernetes() -> Path:
    """The one file that is kube-apiserver, kubelet and the rest, by its first argument.

    Building takes some ten minutes of processor time and 3 GB of memory, once.

    :raises Missing: without Go.
    """
    major, minor, _ = VERSION.split(".")
    stamps = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor}
    flags = [f"-X {_VERSION_PACKAGE}.{name}={value}" for name, value in stamps.items()]
    return _built("kubernetes", flags)


def pause() -> Path:
    """The program of the container that holds a pod's namespaces.

    :raises Missing: without Go.
    """
    return _built("pause")


def csi() -> Path:
    """The CSI driver of the tests.

    :raises Missing: without Go.
    """
    return _built("csi")


def dns() -> Path:
    """What tells pods the addresses of services, by their names.

    :raises Missing: without Go.
    """
    return _built("dns")


def operator() -> Path:
    """The Spark operator.

    :raises Missing: without Go.
    """
    return _built("operator", package=f"{_OPERATOR}/cmd/operator")


def operator_chart() -> Path:
    """The Spark operator's chart, of the same version: its module has it.

    :raises Missing: without Go.
    """
    built = _place("operator").with_suffix(".chart")
    if built.is_dir():
        return built
    told = subprocess.run(
        [_go("operator"), "mod", "download", "-json", _OPERATOR],
        cwd=Path(__file__).parent / "operator",
        stdout=subprocess.PIPE,
        check=True,
    )
    module = Path(json.loads(told.stdout)["Dir"])
    unfinished = built.with_name(f"{built.name}.{os.getpid()}")
    shutil.copytree(module / "charts" / "spark-operator-chart", unfinished)
    unfinished.replace(built)
    return built


def kwok() -> Path:
    """The program that plays nodes and pods which nobody runs; takes some minutes to build, once.

    :raises Missing: without Go.
    """
    return _built("kwok", package="sigs.k8s.io/kwok/cmd/kwok")


def helm() -> Path:
    """helm: that of ``PATH``, else the one that was built.

    :raises Missing: without either; it is not built now, as that takes minutes.
    """
    found = shutil.which("helm")
    if found:
        return Path(found)
    built = _place("helm")
    if not built.is_file():
        raise Missing("helm is missing: install it, or run: python -m tests.cluster.programs helm")
    return built


def helm_folder(folder: Path) -> Path:
    """A folder for ``PATH`` with helm in it, which is made in another.

    :raises Missing: as :func:`helm`.
    """
    program = helm()
    made = folder / "bin"
    made.mkdir()
    (made / "helm").symlink_to(program)
    return made


def _place(name: str) -> Path:
    """Where a program is when it was built from what is here now."""
    source = Path(__file__).parent / name
    digest = hashlib.sha256()
    for file in sorted(source.glob("*.*")):
        digest.update(file.read_bytes())
    return user_cache_path("cscale") / "cluster" / f"{name}-{digest.hexdigest()[:16]}"


def _go(name: str) -> str:
    go = shutil.which("go", path=os.environ.get("PATH", "") + ":/usr/local/go/bin")
    if not go:
        raise Missing(f"Go is missing, which builds {name}: install it, version 1.26 or later")
    return go


def _built(name: str, flags: Sequence[str] = (), package: str = ".") -> Path:
    built = _place(name)
    if built.is_file():
        return built
    go = _go(name)
    built.parent.mkdir(parents=True, exist_ok=True)
    unfinished = built.with_name(f"{built.name}.{os.getpid()}")
    linking = " ".join(["-s", "-w", *flags])
    subprocess.run(
        [go, "build", "-trimpath", "-ldflags", linking, "-o", str(unfinished), package],
        cwd=Path(__file__).parent / name,
        env=os.environ | {"CGO_ENABLED": "0"},
        check=True,
    )
    unfinished.replace(built)
    return built


def main(names: Sequence[str]) -> int:
    """Build those that are named, or find and build all of the tests; 1 when one cannot be had."""
    makers = {
        "kubernetes": kubernetes,
        "pause": pause,
        "csi": csi,
        "kwok": kwok,
        "operator": operator,
        "operator-chart": operator_chart,
        "dns": dns,
        "helm": lambda: _built("helm", package="helm.sh/helm/v4/cmd/helm"),
    }
    try:
        if not names:
            for program in OF_DEBIAN:
                find(program)
        for name in names or OF_TESTS:
            print(makers[name]())
    except Missing as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # Before the tests, whose time is bounded.
    sys.exit(main(sys.argv[1:]))
