"""Jobs that the Spark operator itself runs: a driver and executors on a node, a bucket mounted."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cscale_core.clusters import SparkMount
from cscale_core.jobs.engines.spark.kubernetes.following import Rhythm
from cscale_core.jobs.model import Job, JobStatus
from cscale_core.site import S3Site, Site
from tests.cluster import programs
from tests.cluster.conftest import Cluster
from tests.cluster.names import Names
from tests.cluster.node import Node
from tests.cluster.spark.spark_operator import SparkOperator
from tests.cluster.spark.world import World, cluster_roles, namespace_documents
from tests.cluster.spawn.running_hub import volume
from tests.cluster.spawn.store import ACCESS_KEY, ANOTHER, SECRET_KEY, NodeMount, Store
from tests.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.spark, pytest.mark.timeout(900)]
HUB = "cscale-test-jobs"
BUCKET = "vobucket"
PROGRAM = Path(__file__).with_name("counting_program.py")
# Beside what the tests of servers have.
_PORTS = ANOTHER + 8_000
LEFT = "sparkapplications,pods,secrets,services,configmaps,persistentvolumeclaims,networkpolicies"


@dataclass(frozen=True)
class Running:
    """What runs beside the cluster, and the image of Spark on its node."""

    node: Node
    store: Store
    operator: SparkOperator
    mount: NodeMount
    image: str


@pytest.fixture(scope="module")
def running(
    cluster: Cluster, spark_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    node = cluster.node
    if node is None:
        pytest.skip("the operator runs beside its cluster here; only one of our own can be used")
    folder = tmp_path_factory.mktemp("operator")
    access = cluster.access
    store = Store(node, folder / "store", _PORTS)
    mount = NodeMount(node, BUCKET, store.url)
    names, operator = Names(node), SparkOperator(node, folder)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        try:
            patch.setenv("PATH", str(programs.helm_folder(folder)), prepend=":")
            stack.callback(names.stop)
            names.start()
            stack.callback(operator.stop)
            operator.start()
        except programs.Missing as error:
            pytest.skip(str(error))
        store.start(BUCKET)
        stack.callback(store.stop)
        mount.start()
        stack.callback(mount.stop)
        access.kubectl("create", "namespace", HUB)
        stack.callback(access.kubectl, "delete", "namespace", HUB, "--wait=false")
        access.apply(cluster_roles(HUB))
        for role in cluster_roles(HUB):
            stack.callback(access.kubectl, "delete", role["kind"], role["metadata"]["name"])
        yield Running(node, store, operator, mount, spark_image)


class RealWorld(World):
    """A person whose jobs are run."""

    patience = 240.0

    def __init__(self, running: Running, folder: Path, user: str, kubeconfig: Path) -> None:
        super().__init__(running.node.plane.access, folder, user, kubeconfig)
        self.rhythm = Rhythm(look=1.0, attended=0.5, pods=1.0, figures=3.0)
        self.store = running.store
        self._image = running.image

    def site(self) -> Site:
        site = super().site()
        assert site.spark.kubernetes is not None
        cluster = site.spark.kubernetes.model_copy(
            update={
                "image": self._image,
                "pull_policy": "Never",
                "run_as": 1000,
                "group": 100,
                "mounts": (SparkMount(name=BUCKET, path=f"/s3/{BUCKET}", claim=BUCKET),),
            }
        )
        spark = site.spark.model_copy(update={"kubernetes": cluster, "driver_memory": "512m"})
        return site.model_copy(update={"spark": spark, "s3": S3Site(endpoint=self.store.url)})

    async def count(self, end: str) -> Job:
        """Submit a job that ends when there is an object ``end`` of the person's."""
        home = f"s3://{BUCKET}/users/{self.user}"
        main = f"{home}/code/job.py"
        arguments = [f"s3://{BUCKET}/products/scenes.txt", "{output}", f"{home}/{end}"]
        return await self.submit(
            process={"main": main, "arguments": arguments},
            options={"executors": 1, "executor_memory": "512m"},
        )

    def end(self, name: str) -> None:
        self.store.put(f"{BUCKET}/users/{self.user}/{name}", "now")

    def left(self) -> list[str]:
        """What is in the namespace and was not when it was made."""
        found = self.get(LEFT)["items"]
        names = [f"{each['kind']}/{each['metadata']['name']}" for each in found]
        made = ("ConfigMap/kube-root-ca.crt", f"PersistentVolumeClaim/{BUCKET}")
        return [name for name in names if name not in made]

    def pods(self, job: Job) -> dict[str, Any]:
        """The pods of a job by their role."""
        items = self.access.get("pods", "-n", self.namespace, "-l", f"cscale-hub/job={job.id}")[
            "items"
        ]
        return {each["metadata"]["labels"]["spark-role"]: each for each in items}


@pytest.fixture
async def world(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RealWorld]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    access, user = running.node.plane.access, f"u{secrets.token_hex(4)}"
    space = f"spark-{user}"
    source = {"hostPath": {"path": str(running.mount.path)}}
    access.apply([*namespace_documents(user, HUB), *volume(BUCKET, source, namespace=space)])
    account = ("serviceaccount", "default", "-n", space)
    until(lambda: access.get(*account) is not None, "the default account")
    running.operator.allow_policies(space)
    running.store.put(f"{BUCKET}/products/scenes.txt", "one\ntwo\nthree\n")
    program = PROGRAM.read_text(encoding="utf-8")
    running.store.put(f"{BUCKET}/users/{user}/code/job.py", program)
    made = RealWorld(running, tmp_path, user, access.account(HUB, f"server-{user}", tmp_path))
    await made.begin()
    yield made
    await made.manager.stop()
    print(running.operator.log[-20_000:])
    print(access.kubectl("get", "sparkapplications,pods,events", "-n", space, check=False))
    for pod in access.get("pods", "-n", space)["items"]:
        print(access.kubectl("logs", pod["metadata"]["name"], "-n", space, check=False)[-5_000:])
    access.kubectl("delete", "namespace", space, "--wait=false")
    access.kubectl("delete", "persistentvolume", f"{space}-{BUCKET}", "--wait=false")


def tasks(job: Job) -> dict[str, int]:
    """How many tasks of its application are in each state; none before that is known."""
    return dict(job.usage.get("spark", {}).get("tasks", {}))


async def test_a_job_reads_the_mount_and_its_results_are_found_and_a_canceled_one_leaves_nothing(
    world: RealWorld,
) -> None:
    first = await world.count("end-of-first")
    # Its tasks are counted while it runs: two of the parts that were read, one that waits.
    told = await world.job(
        first.id, lambda job: tasks(job).get("completed") == 3 and tasks(job)["active"]
    )
    assert told.status == JobStatus.RUNNING
    figures = told.usage["spark"]
    assert figures["stages"]["active"] == 1
    assert figures["executors"] == {"active": 1, "total": 1}
    assert told.message == "running, 1 of 1 executors"
    pods = world.pods(first)
    assert pods.keys() == {"driver", "executor"}
    # Submitted while there may be no room for it.
    second = await world.count("never")

    world.end("end-of-first")
    ended = await world.job(first.id, lambda job: job.status.ended)
    assert ended.status == JobStatus.FINISHED, ended
    (item,) = ended.results
    assets = {each["title"]: each for each in item["assets"].values()}
    assert assets.keys() == {"counts/0.csv", "counts/1.csv"}
    executor = pods["executor"]["metadata"]["name"]
    found = []
    for title, asset in assets.items():
        where = f"{BUCKET}/users/{world.user}/jobs/{first.id}/{title}"
        assert f"s3://{where}" in str(asset)
        host, *lines = (world.store.read(where) or "").split(",")
        assert host == executor[:63].rstrip("-.")
        found += lines
    assert found == ["one", "two", "three"]
    log = [line.message for line in await world.manager.logs(first.id)]
    assert "3 lines in 2 parts, handed 23 letters" in log, log
    assert "executor 1: read 2 lines" in log, log

    await world.job(second.id, lambda job: tasks(job).get("active"))
    await world.manager.cancel(second.id)
    canceled = await world.job(second.id, lambda job: job.status.ended)
    assert canceled.status == JobStatus.CANCELED, canceled
    await world.until(lambda: not world.pods(second), "the end of its pods")
    # An ended application is kept for a while, and goes with its job.
    assert world.get("sparkapplications")["items"]
    await world.manager.delete(first.id)
    await world.until(lambda: not world.left(), "the end of all that was made")
