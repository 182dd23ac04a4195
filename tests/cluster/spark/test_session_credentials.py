"""A session whose executors read the object store with the person's own, renewed credentials."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import Cluster
from tests.cluster.control_plane import free_port
from tests.cluster.node import ADDRESS, Node
from tests.cluster.spark.world import cluster_roles, namespace_documents
from tests.cluster.spawn.store import ANOTHER, Store
from tests.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.spark, pytest.mark.timeout(900)]
HUB = "cscale-test-credentials"
_HERE = Path(__file__).parent
_KEYS = "/etc/cscale/s3.json"


def pair(name: str) -> dict[str, str]:
    return {"AccessKeyId": f"{name}-key", "SecretAccessKey": secrets.token_hex(16)}


class Notebook:
    """A kernel whose session is on the cluster, beside the endpoint of its server."""

    def __init__(self, node: Node, store: Store, image: str, folder: Path) -> None:
        self.access = node.plane.access
        self.user = f"u{secrets.token_hex(4)}"
        self.space = f"spark-{self.user}"
        self._store, self._file = store, folder / "keys.json"
        self.access.kubectl("create", "namespace", HUB)
        self.access.apply([*cluster_roles(HUB), *namespace_documents(self.user, HUB)])
        account = ("serviceaccount", "default", "-n", self.space)
        until(lambda: self.access.get(*account) is not None, "the default account")
        path = folder / "site.yaml"
        path.write_text(yaml.safe_dump(self._site(image, folder)), encoding="utf-8")
        password = folder / "password"
        password.write_text("key", encoding="utf-8")
        port = free_port("127.0.0.1")
        self._server = (*node.inside, sys.executable, _HERE / "loopback_program.py", str(port))
        self._environment = {
            "CSCALE_SITE_FILE": str(path),
            "CSCALE_SERVER": f"server-{self.user}",
            "CSCALE_POD_IP": ADDRESS,
            "CSCALE_TOKEN_URL": f"http://127.0.0.1:{port}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(password),
            "TMPDIR": str(folder),
        }
        self._prefix = node.inside
        self._log = folder / "driver.log"
        self._running: list[subprocess.Popen[str]] = []

    def _site(self, image: str, folder: Path) -> dict[str, Any]:
        kubeconfig = self.access.account(HUB, f"server-{self.user}", folder)
        cluster = {
            "namespace": "spark-{user}",
            "image": image,
            "pull_policy": "Never",
            "run_as": 1000,
            "group": 100,
            "credentials": "server",
            "kubeconfig": str(kubeconfig),
        }
        return {
            "user": self.user,
            "s3": {"endpoint": self._store.url},
            "catalogue": {"url": "https://catalogue.example.eu"},
            "spark": {"kinds": ["kubernetes"], "kubernetes": cluster},
        }

    def give(self, keys: dict[str, str]) -> None:
        """Let the server give these from now on, and the store take no others."""
        self._file.write_text(json.dumps(keys), encoding="utf-8")
        self._store.take({keys["AccessKeyId"]: keys["SecretAccessKey"]})

    def open(self) -> None:
        self._begin([*map(str, self._server), str(self._file)])
        options = json.dumps({"executors": 1, "executor_memory": "512m"})
        program = str(_HERE / "command_program.py")
        self._driver = self._begin([*self._prefix, sys.executable, program, options])
        assert self.line() == "open", self.said()

    def _begin(self, command: list[str]) -> subprocess.Popen[str]:
        kept = {name: text for name, text in os.environ.items() if name != "CSCALE_IMAGE"}
        with self._log.open("a", encoding="utf-8") as log:
            running = subprocess.Popen(
                command,
                env=kept | self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._running.append(running)
        return running

    def line(self) -> str:
        assert self._driver.stdout is not None
        return self._driver.stdout.readline().strip()

    def said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def execute(self, command: str) -> str:
        """What a command says in an executor."""
        assert self._driver.stdin is not None
        self._driver.stdin.write(json.dumps(command) + "\n")
        self._driver.stdin.flush()
        said = self.line()
        assert said, self.said()[-4000:]
        return str(json.loads(said))

    def found(self, kind: str) -> list[Any]:
        label = f"c-scale.eu/server=server-{self.user}"
        items: list[Any] = self.access.get(kind, "-n", self.space, "-l", label)["items"]
        return items

    def close(self) -> None:
        """End the session as its person does."""
        self._driver.communicate(timeout=60)

    def kill(self) -> None:
        for running in self._running:
            running.kill()
            running.communicate()
        self.access.kubectl("delete", "namespace", self.space, HUB, "--wait=false")


@pytest.fixture
def store(cluster: Cluster, tmp_path: Path) -> Iterator[Store]:
    if cluster.node is None:
        pytest.skip("the driver runs beside its cluster here; only one of our own can be used")
    made = Store(cluster.node, tmp_path / "store", ANOTHER)
    made.start("aqua")
    made.put("aqua/products/old.txt", "a product")
    yield made
    made.stop()


@pytest.fixture
def notebook(
    cluster: Cluster, store: Store, spark_image: str, tmp_path: Path
) -> Iterator[Notebook]:
    assert cluster.node is not None
    made = Notebook(cluster.node, store, spark_image, tmp_path)
    yield made
    made.kill()


def test_executors_read_with_the_persons_keys_across_a_renewal(
    notebook: Notebook, store: Store
) -> None:
    first, second = pair("first"), pair("second")
    read = f"rclone cat :s3:aqua/products/old.txt --config= --retries=1 --low-level-retries=1 \
--s3-provider=Other --s3-env-auth --s3-force-path-style --s3-endpoint={store.url}"
    notebook.give(first)
    notebook.open()
    assert notebook.execute(read) == "a product"
    assert first["AccessKeyId"] in notebook.execute(f"cat {_KEYS}")
    (executor,) = notebook.found("pods")
    variables = notebook.execute("env")
    assert "AWS_CONFIG_FILE=/etc/cscale/aws-config" in variables

    # The first pair ends, as those of a person do within the hour; nobody starts anything again.
    notebook.give(second)
    until(lambda: not store.takes(*first.values()), "the end of the first keys")
    until(
        lambda: notebook.execute(read),
        "reading with the second keys",
        fits=lambda said: said == "a product",
        pause=1,
    )
    assert second["AccessKeyId"] in notebook.execute(f"cat {_KEYS}")
    (same,) = notebook.found("pods")
    assert same["metadata"]["uid"] == executor["metadata"]["uid"]
    assert same["status"]["containerStatuses"][0]["restartCount"] == 0

    log = notebook.access.kubectl("logs", same["metadata"]["name"], "-n", notebook.space)
    seen = (variables, json.dumps(same), log, notebook.said())
    for keys in (first, second):
        word = keys["SecretAccessKey"]
        for form in (word, base64.b64encode(word.encode()).decode()):
            assert not any(form in text for text in seen)
    assert log

    notebook.close()
    until(lambda: not notebook.found("secrets"), "the end of its Secret")
    until(lambda: not notebook.found("pods"), "the end of its executor")
