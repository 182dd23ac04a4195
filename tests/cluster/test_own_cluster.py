"""The tests' own cluster: it runs pods, and when it is stopped nothing of it is left."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import programs
from tests.cluster.access import Access
from tests.cluster.conftest import cluster_in
from tests.cluster.control_plane import ControlPlane
from tests.cluster.node import PAUSE_IMAGE
from tests.waiting import until

pytestmark = pytest.mark.cluster


def pod(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "pause", "image": PAUSE_IMAGE}],
        },
    }


def ready(access: Access, name: str) -> bool:
    found = access.get("pod", name) or {}
    conditions = found.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def processes_with(text: str) -> list[str]:
    """Command lines of this machine that contain a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            # It has ended.
            continue
        if text in line:
            found.append(line)
    return found


def of_this_machine() -> dict[str, Any]:
    """What a node changes, and has to put back."""
    settings = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
    return {
        "networks": sorted(map(str, Path("/run").glob("netns/*"))),
        "links": sorted(map(str, Path("/sys/class/net").iterdir())),
        "folders": sorted(path.name for path in Path("/run").glob("cscale-node-*")),
        "groups": sorted(map(str, Path("/sys/fs/cgroup").glob("**/cscale-node-*"))),
        "settings": {name: Path("/proc/sys", name).read_text("ascii") for name in settings},
    }


def while_pods_run(folder: Path) -> dict[str, Any] | str:
    """What a cluster makes on this machine while it runs pods; why there is none."""
    try:
        with cluster_in(folder) as node:
            access = node.plane.access
            access.apply([pod("one"), pod("two")])
            until(lambda: ready(access, "one") and ready(access, "two"), "two ready pods")
            assert processes_with("containerd-shim")
            return of_this_machine()
    except programs.Missing as error:
        return str(error)


@pytest.mark.skipif(os.geteuid() != 0, reason="a node needs root")
@pytest.mark.skipif("KUBECONFIG" in os.environ, reason="another cluster is used")
def test_nothing_is_left_of_a_node_that_ran_pods(tmp_path: Path) -> None:
    before = of_this_machine()
    # In a process of its own: the other tests may have a cluster in this one.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        during = other.submit(while_pods_run, tmp_path).result()
    if isinstance(during, str):
        pytest.skip(during)
    after = of_this_machine()
    for kind in ("networks", "links", "folders", "groups"):
        made = set(during[kind]) - set(before[kind])
        assert made, kind
        assert not made & set(after[kind])
    assert after["settings"] == before["settings"]
    assert processes_with(str(tmp_path)) == []
    mounts = Path("/proc/mounts").read_text("utf-8")
    assert str(tmp_path) not in mounts
    assert not any(name in mounts for name in set(during["folders"]) - set(before["folders"]))
    assert not (tmp_path / "node").exists()


def test_programs_that_do_not_start_are_told_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "kubernetes", lambda: Path("/bin/false"))
    plane = ControlPlane(tmp_path)
    try:
        with pytest.raises(RuntimeError, match="a program of the cluster ended"):
            plane.start()
    except programs.Missing as error:
        pytest.skip(str(error))
    finally:
        plane.stop()
    assert processes_with(str(tmp_path)) == []


def test_an_account_may_do_what_its_roles_say(control_plane: Access, tmp_path: Path) -> None:
    control_plane.kubectl("create", "namespace", "cscale-test-accounts")
    try:
        control_plane.kubectl("create", "serviceaccount", "somebody", "-n", "cscale-test-accounts")
        theirs = Access(control_plane.account("cscale-test-accounts", "somebody", tmp_path))
        assert "somebody" in theirs.kubectl("auth", "whoami")
        with pytest.raises(RuntimeError, match="Forbidden"):
            theirs.kubectl("get", "secrets", "-n", "cscale-test-accounts")
    finally:
        control_plane.kubectl("delete", "namespace", "cscale-test-accounts", "--wait=false")
