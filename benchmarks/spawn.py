"""Servers on Kubernetes: ``python -m benchmarks.spawn [--json FILE] [--only PART]… [--users N]``,
in fifteen minutes on two processors that have nothing else to do.

On a cluster of its own, as the tests have it (``scripts/system-packages.sh cluster``; as root). Two
hubs are in it: ours, and JupyterHub with KubeSpawner as it is, whose servers see no bucket. Both
start JupyterLab of the same image: ``TAG=test scripts/images.sh mount singleuser-minimal``.

``start``: one server after the other, at each hub in turn: from the question until it is ready,
with buckets mounted by the node, and not at all.
``together``: 20 servers at once.
``many``: 500 persons start servers on nodes that nobody runs (kwok); then how long hub and API
server take to answer with all of them there, and how much of a processor the hub needs.
``read``: objects read through a mount, and by boto3 in ranges, for the first time each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.figures import Figure, figure, quantile, report
from benchmarks.spawning.fake_nodes import start_fake_nodes
from benchmarks.spawning.hubs import (
    FAKE,
    IMAGES,
    Kind,
    OurHub,
    PlainHub,
    persons,
    start,
    start_all,
    stop_all,
)
from benchmarks.spawning.reading import PIECES, SIZE, by_ranges, through_mount, write_objects
from tests.cluster import programs
from tests.cluster.conftest import cluster_in
from tests.cluster.node import Node
from tests.cluster.spawn.claims import serve
from tests.cluster.spawn.conftest import BUCKETS, prepare_places, start_places
from tests.cluster.spawn.running_hub import NAMESPACE
from tests.cluster.spawn.store import NodeMount, Store
from tests.waiting import until

PARTS = ("start", "together", "many", "read")
ROUNDS = 7
TOGETHER = 20
USERS = 500
AT_ONCE = 20
ASKED = 30
WATCHED = 20.0

GOAL_START = 1.15
GOAL_MANY = 1.2
# Of what the node gets from the store: every byte crosses the kernel twice.
GOAL_READ = 0.25
Tell = Callable[[str], None]


@dataclass(frozen=True)
class World:
    """A cluster with both hubs."""

    node: Node
    store: Store
    ours: OurHub
    plain: PlainHub


@contextmanager
def world(
    folder: Path,
    plain_nodes: dict[str, str],
    images: Sequence[str] = (),
    *,
    claims: bool = False,
) -> Iterator[World]:
    """Everything, started; ended with the cluster.

    :param plain_nodes: labels of the nodes that servers of the plain hub go to.
    :param images: that the node has.
    :param claims: whether buckets are to be had as claims too.
    :raises Missing: when a program is missing.
    """
    with cluster_in(folder / "cluster") as node:
        archive = folder / "image.tar"
        for image in images:
            words = ["buildah", "push", "--quiet", image, f"docker-archive:{archive}:{image}"]
            subprocess.run(words, check=True)
            node.load(archive)
            archive.unlink()
        store = Store(node, folder / "store")
        store.start(*BUCKETS)
        mounts = [NodeMount(node, bucket) for bucket in ("aqua", "eodata")]
        for mount in mounts:
            mount.start()
        ours = OurHub(node, folder / "ours")
        ours.prepare()
        prepare_places(ours)
        start_places(node, ours, folder)
        if claims:
            serve(node, folder)
        plain = PlainHub(ours, folder / "plain", plain_nodes)
        for hub in (ours, plain):
            hub.start_proxy()
            hub.start()
        yield World(node, store, ours, plain)


# -- starting ------------------------------------------------------------------------------------


def kinds(there: World) -> list[Kind]:
    """What is compared, the plain one first."""
    named = {"node": "bucket mounted", "none": "no bucket"}
    return [
        Kind("KubeSpawner", there.plain),
        *(Kind(title, there.ours, profile) for profile, title in named.items()),
    ]


def starts(there: World, rounds: int, tell: Tell) -> list[Figure]:
    """One after the other, every kind in each round; the first round is not counted."""
    found: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for kind in kinds(there):
            (name,) = persons(kind, 1)
            seconds = start(kind, name)
            if number:
                found.setdefault(kind.name, []).append(seconds)
            stop_all(kind, [name])
        tell(f"start {number}: {found}")
    plain = statistics.median(found.pop("KubeSpawner"))
    return [
        figure(f"start, {name}", statistics.median(each), plain, "KubeSpawner", "s", GOAL_START)
        for name, each in found.items()
    ]


def together(there: World, count: int, tell: Tell) -> list[Figure]:
    """So many at once, until the last one is ready."""
    found: list[float] = []
    for kind in kinds(there)[:2]:
        names = persons(kind, count)
        began = time.monotonic()
        start_all(kind, names, count)
        found.append(time.monotonic() - began)
        stop_all(kind, names)
        tell(f"together: {kind.name} {found[-1]:.1f} s")
    plain, ours = found
    return [figure(f"{count} at once", ours, plain, "KubeSpawner", "s", GOAL_START)]


# -- many ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Crowd:
    """What one hub took for its many servers.

    :ivar one: seconds of a start, the slowest twentieth left out.
    :ivar hub: seconds of an answer of the hub with all of them there; likewise the API server's.
    :ivar processor: part of a processor that the hub needs while nobody asks it anything.
    """

    all: float
    one: float
    hub: float
    api: float
    processor: float


def crowd(kind: Kind, count: int, tell: Tell) -> Crowd:
    """Start so many servers, look at hub and API server, and take the servers away."""
    names = persons(kind, count)
    began = time.monotonic()
    each = start_all(kind, names, AT_ONCE)
    seconds = time.monotonic() - began
    tell(f"many: {kind.name} has {count} in {seconds:.0f} s")
    pods = kind.hub.access.get("pods", "-n", NAMESPACE)["items"]
    assert sum(pod["status"]["phase"] == "Running" for pod in pods) >= count
    hub = timed(lambda name: kind.hub.api("GET", f"/users/{name}").raise_for_status(), names)
    api = timed(lambda _: kind.hub.access.get("pods", "-n", NAMESPACE), names[:5])
    before = processor_seconds(kind)
    time.sleep(WATCHED)
    found = Crowd(
        all=seconds,
        one=quantile(each, 0.95),
        hub=hub,
        api=api,
        processor=(processor_seconds(kind) - before) / WATCHED,
    )
    tell(f"many: {found}")
    kind.hub.kill()
    kind.hub.access.kubectl(
        *("delete", "pods", "--all", f"--namespace={NAMESPACE}"),
        *("--grace-period=0", "--force", "--wait=false"),
    )
    return found


def timed(ask: Callable[[str], object], names: Sequence[str]) -> float:
    """The median seconds of an answer."""
    found = []
    for name in names[:ASKED]:
        began = time.monotonic()
        ask(name)
        found.append(time.monotonic() - began)
    return statistics.median(found)


def processor_seconds(kind: Kind) -> float:
    """Of the hub's process, until now."""
    assert kind.hub.process is not None
    fields = (
        Path(f"/proc/{kind.hub.process.pid}/stat").read_text("ascii").rpartition(") ")[2].split()
    )
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def many(there: World, count: int, tell: Tell) -> list[Figure]:
    """Both hubs, one after the other."""
    running = start_fake_nodes(there.node, count)
    plain = crowd(Kind("KubeSpawner", there.plain), count, tell)
    ours = crowd(Kind("ours", there.ours, "many"), count, tell)
    there.node.plane.end(*running)
    name = "KubeSpawner"
    return [
        figure(f"{count} starts", ours.all, plain.all, name, "s", GOAL_MANY),
        figure("of these one, 95 %", ours.one, plain.one, name, "s", GOAL_MANY),
        figure(f"hub's answer, {count} servers", ours.hub, plain.hub, name, "s", GOAL_MANY),
        figure(f"API server's list of {count}", ours.api, plain.api, name, "s", GOAL_MANY),
        figure(f"hub's idle CPU, {count}", ours.processor, plain.processor, name, "CPU", 2.0),
    ]


# -- reading -------------------------------------------------------------------------------------


def reading(there: World, rounds: int, folder: Path, tell: Tell) -> list[Figure]:
    """Every mode and boto3 in each round, with objects of their own."""
    modes = {"node": "by the node", "csi": "by a CSI driver", "sidecar": "by a container"}
    servers: dict[str, str] = {}
    for profile in modes:
        kind = Kind(profile, there.ours, profile)
        (servers[profile],) = persons(kind, 1)
        start(kind, servers[profile])
    found: dict[str, list[tuple[float, float]]] = {}
    for number in range(rounds):
        ways = (*modes, "boto3")
        places = {way: [f"eodata/{way}/{number}/{part}" for part in "ab"] for way in ways}
        write_objects(there.store, folder, [place for two in places.values() for place in two])
        for profile, name in servers.items():
            # Until the mount's list of the folder is the new one.
            until(
                lambda name=name, path=f"/s3/eodata/{profile}/{number}/b": seen(there, name, path),
                f"the objects of {profile}",
            )
        for way, (whole, some) in places.items():
            if way == "boto3":
                figures = by_ranges(there.node, whole, some)
            else:
                figures = through_mount(there.node, f"server-{servers[way]}", whole, some)
            found.setdefault(way, []).append(figures)
        tell(f"read {number}: {found}")
    rates = {
        way: (
            SIZE / 2**20 / statistics.median(each[0] for each in some),
            PIECES / statistics.median(each[1] for each in some),
        )
        for way, some in found.items()
    }
    rows = []
    for way, title in modes.items():
        for number, what in enumerate(("whole, mounted", "1 MiB pieces, mounted")):
            rows.append(
                figure(
                    f"{what} {title}",
                    rates[way][number],
                    rates["boto3"][number],
                    "boto3, ranges",
                    "MiB/s",
                    GOAL_READ,
                    more_is_better=True,
                )
            )
    return rows


def seen(there: World, name: str, path: str) -> bool:
    """Whether a server has a file."""
    pod = (f"server-{name}", f"--namespace={NAMESPACE}", "--container=notebook")
    said = there.node.plane.access.kubectl("exec", *pod, "--", "ls", path, check=False)
    return path in said


def run(folder: Path, parts: Sequence[str], rounds: int, users: int, tell: Tell) -> list[Figure]:
    """Measure; every part that needs other nodes has a cluster of its own."""
    found: list[Figure] = []
    if set(parts) - {"many"}:
        here = {"kubernetes.io/hostname": "node"}
        with world(folder / "few", here, IMAGES, claims="read" in parts) as there:
            if "start" in parts:
                found += starts(there, rounds, tell)
            if "together" in parts:
                found += together(there, TOGETHER, tell)
            if "read" in parts:
                found += reading(there, rounds, folder, tell)
    if "many" in parts:
        with world(folder / "many", FAKE) as there:
            found += many(there, users, tell)
    return found


def main(words: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spawn", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    parser.add_argument("--users", type=int, default=USERS, metavar="N")
    arguments = parser.parse_args(None if words is None else list(words))
    console = Console(stderr=True)
    if os.geteuid() != 0:
        console.print("Not measured: the cluster of the tests needs root.")
        return 0
    with tempfile.TemporaryDirectory(prefix="cscale-bench-") as folder:
        try:
            found = run(
                Path(folder),
                arguments.only or PARTS,
                arguments.rounds,
                arguments.users,
                lambda text: console.print(text, style="dim", highlight=False),
            )
        except programs.Missing as error:
            console.print(f"Not measured: {error}")
            return 0
    return report(
        "Servers on Kubernetes",
        found,
        arguments.json,
        caption="KubeSpawner: as it is, its servers see no bucket. boto3: on the node.",
    )


if __name__ == "__main__":
    sys.exit(main())
