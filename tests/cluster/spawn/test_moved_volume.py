"""A volume that servers had becomes a bucket: copied while people work, killed, finished, shown."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.access import Access
from tests.cluster.node import ADDRESS
from tests.cluster.spawn.conftest import IMAGE, Deployment
from tests.cluster.spawn.running_hub import NAMESPACE, volume
from tests.cluster.spawn.store import ACCESS_KEY, PORT, SECRET_KEY, NodeMount
from tests.deploy.conftest import FOLDER
from tests.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
Person = Callable[..., str]
_NAMES = ("products/S2 scène.txt", "products/a/b/c.bin", "users/other/notes.txt")


class Volume:
    """The claim, and the command that moves it."""

    def __init__(self, access: Access, folder: Path) -> None:
        self.access = access
        self.path = folder / "volume"
        for number, name in enumerate(_NAMES):
            self.write(name, f"file {number}\n" * 100_000)
        bucket = {"endpoint": f"http://{ADDRESS}:{PORT}"}
        image = {"name": IMAGE.rpartition(":")[0], "tag": "test"}
        own = {
            "deployment": {"namespace": NAMESPACE},
            "mounts": {"image": image, "buckets": {"moving": bucket}},
        }
        self._mine = folder / "mine.yaml"
        self._mine.write_text(yaml.safe_dump({"custom": {"cscale": own}}), encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        """As a server did, as whose files they are."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        for each in (path, *path.parents):
            if each.is_relative_to(self.path):
                os.chown(each, 1000, 100)

    def state(self) -> dict[str, str]:
        """The content of every file."""
        return {
            str(path.relative_to(self.path)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.path.rglob("*")
            if path.is_file()
        }

    def begin(self, *options: str) -> subprocess.Popen[str]:
        """Call the command."""
        return subprocess.Popen(
            [
                *(Path(sys.executable).parent / "cscale", "deploy", "move", "local", "moving"),
                *("--claim=volume", f"--folder={FOLDER}", f"--values={self._mine}", "--json"),
                *(f"--kubeconfig={self.access.kubeconfig}", *options),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def move(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Call it and wait; its exit status and what it says."""
        running = self.begin(*options)
        said, side = running.communicate(timeout=200)
        print(side)
        found: dict[str, Any] = json.loads(said)
        return running.returncode, found

    def pods(self) -> list[Any]:
        """Of the move."""
        where = (f"--namespace={NAMESPACE}", "--selector=app.kubernetes.io/component=move")
        return list(self.access.get("pods", *where)["items"])


@pytest.fixture
def claim(deployment: Deployment, tmp_path: Path) -> Iterator[Volume]:
    access = deployment.hub.access
    made = Volume(access, tmp_path)
    keys = {"access-key": ACCESS_KEY, "secret-key": SECRET_KEY}
    metadata = {"name": "cscale-mounts", "namespace": NAMESPACE}
    access.apply(
        [
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys},
            *volume("volume", {"hostPath": {"path": str(made.path)}}),
        ]
    )
    yield made
    for pod in made.pods():
        where = (f"--namespace={NAMESPACE}", "--tail=20")
        print(access.kubectl("logs", pod["metadata"]["name"], *where, check=False))
    access.kubectl("delete", "jobs", "--all", f"--namespace={NAMESPACE}")


def test_a_volume_becomes_a_bucket_and_nothing_is_lost(
    deployment: Deployment, person: Person, claim: Volume
) -> None:
    hub, store = deployment.hub, deployment.store
    name = person("moving.example.eu")
    claim.write(f"users/{name}/first.txt", "before")
    hub.start_server(name, "usual")
    assert hub.ask(name, "read", "/s3/me/first.txt") == "before"

    # A pass while people work; the job is killed while it copies, and so is who called it.
    store.pause(True)
    try:
        calling = claim.begin()
        until(lambda: any(pod["status"]["phase"] == "Running" for pod in claim.pods()), "a copy")
        (pod,) = claim.pods()
        claim.access.kubectl(
            *("delete", "pod", pod["metadata"]["name"], f"--namespace={NAMESPACE}"),
            *("--grace-period=0", "--force"),
        )
        calling.kill()
        calling.communicate()
    finally:
        store.pause(False)
    assert claim.move() == (
        0,
        {"bucket": "moving", "claim": "volume", "final": False, "files": 4, "more": 0},
    )

    # What is written after it is in the last pass, which comes when nobody can write any more.
    assert hub.ask(name, "write", "/s3/me/second.txt", "during") == "written"
    assert hub.ask(name, "write", "/s3/me/first.txt", "changed") == "written"
    status, refused = claim.move("--final")
    assert status == 2
    assert f"server-{name}" in refused["message"]
    hub.stop_server(name)

    # An object that is newer than its file is nobody's to overwrite.
    store.put("moving/products/a/b/c.bin", "newer")
    status, told = claim.move("--final")
    assert status == 2
    assert "products/a/b/c.bin" in told["message"]
    assert store.read("moving/products/a/b/c.bin") == "newer"
    store.rclone("deletefile", ":s3:moving/products/a/b/c.bin")

    before = claim.state()
    status, moved = claim.move("--final")
    assert (status, moved["files"], moved["final"]) == (0, 5, True)
    assert claim.state() == before
    assert store.read("moving/products/S2 scène.txt") == "file 0\n" * 100_000

    # The switch: one line of the settings less.
    path = hub.folder / "cscale.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    del settings["kubernetes"]["buckets"]["moving"]
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    mount = NodeMount(deployment.node, "moving")
    mount.start()
    hub.kill()
    hub.start()
    hub.start_server(name, "usual")
    volumes = hub.pod(name)["spec"]["volumes"]
    assert not any(
        (each.get("persistentVolumeClaim") or {}).get("claimName") == "volume" for each in volumes
    )
    hub.until(name, "changed", "read", "/s3/me/first.txt")
    hub.until(name, "during", "read", "/s3/me/second.txt")
    hub.until(name, "written", "write", "/s3/me/third.txt", "after")
    until(lambda: store.read(f"moving/users/{name}/third.txt") == "after", "the file in S3")
    assert not (claim.path / "users" / name / "third.txt").exists()
    hub.stop_server(name)
    mount.stop()
