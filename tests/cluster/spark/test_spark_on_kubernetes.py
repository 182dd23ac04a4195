"""Spark jobs on a real API server, by an account that may do just what the deployment gives it."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cscale_core.errors import Conflict, Forbidden, NotFound
from cscale_core.jobs.engines.spark import results
from cscale_core.jobs.engines.spark.kubernetes import submitting
from cscale_core.jobs.engines.spark.kubernetes.client import Expired, Kubernetes, refusal
from cscale_core.jobs.engines.spark.kubernetes.cluster import Cluster
from cscale_core.jobs.engines.spark.results import Left
from cscale_core.jobs.model import JobStatus
from tests.cluster.access import Access
from tests.cluster.spark.world import DEFINITION, HUB, World, cluster_roles, namespace_documents

pytestmark = pytest.mark.cluster
ITEM = {"id": "r", "assets": {"a": {"href": "s3://vobucket/x.tif"}}}
Person = tuple[str, Path]


@pytest.fixture(scope="module")
def spark(control_plane: Access) -> Iterator[Access]:
    """A cluster that knows SparkApplications."""
    there = control_plane.get("crd", "sparkapplications.sparkoperator.k8s.io")
    if there is None:
        control_plane.apply([yaml.safe_load(DEFINITION.read_text(encoding="utf-8"))])
        control_plane.kubectl("wait", "--for=condition=Established", f"--filename={DEFINITION}")
    control_plane.kubectl("create", "namespace", HUB)
    control_plane.apply(cluster_roles(), "--validate=strict")
    yield control_plane
    for role in cluster_roles():
        control_plane.kubectl("delete", role["kind"], role["metadata"]["name"], "--wait=false")
    control_plane.kubectl("delete", "namespace", HUB, "--wait=false")
    if there is None:
        control_plane.kubectl("delete", f"--filename={DEFINITION}", "--wait=false")


@pytest.fixture
def person(spark: Access, tmp_path: Path) -> Iterator[Callable[[], Person]]:
    """Makes persons with all that a deployment gives them: a name and a login."""
    names: list[str] = []

    def make() -> Person:
        user = f"u{secrets.token_hex(4)}"
        names.append(user)
        spark.apply(namespace_documents(user), "--validate=strict")
        return user, spark.account(HUB, f"server-{user}", tmp_path)

    yield make
    for user in names:
        spark.kubectl("delete", "namespace", f"spark-{user}", "--wait=false")


@pytest.fixture
async def world(
    spark: Access,
    person: Callable[[], Person],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    # What is in the bucket is tried on a real one, elsewhere.
    monkeypatch.setattr(results, "of_bucket", lambda work, site, report: Left([ITEM]))
    monkeypatch.setattr(submitting, "RETRY_SECONDS", (0.5, 1.0))
    made = World(spark, tmp_path, *person())
    await made.begin()
    yield made
    await made.manager.stop()


async def test_a_program_runs_to_its_results(world: World) -> None:
    job, name = await world.submitted()
    world.operator.say(name, "SUBMITTED")
    await world.job(job.id, lambda job: job.message == "waiting for its driver")
    world.operator.say(name, "RUNNING", executorState={"e-1": "RUNNING", "e-2": "PENDING"})
    running = await world.job(job.id, lambda job: job.status == JobStatus.RUNNING)
    assert running.message == "running, 1 of 2 executors"
    world.operator.say(name, "SUCCEEDING")
    await world.job(job.id, lambda job: job.message == "ending")
    world.operator.say(name, "COMPLETED", terminationTime="2026-11-21T00:00:00Z")
    ended = await world.job(job.id, lambda job: job.status.ended)
    assert ended.status == JobStatus.FINISHED, ended
    assert ended.results == [ITEM]


async def test_nothing_of_an_application_is_dropped(world: World) -> None:
    """The API server removes without a word what a definition does not have."""
    _, name = await world.submitted(
        options={"max_executors": 3},
        process={
            "main": f"s3://vobucket/users/{world.user}/code/job.py",
            "python": ["numpy"],
            "packages": ["org.example:thing:1.0"],
            "jars": [f"s3://vobucket/users/{world.user}/code/a.jar"],
        },
    )
    stored = world.get("sparkapplication", name)
    server_made = ("resourceVersion", "uid", "generation", "creationTimestamp", "managedFields")
    for member in server_made:
        stored["metadata"].pop(member, None)
    copy = {**stored, "metadata": {**stored["metadata"], "name": "again"}}
    # Strict: what is unknown is an error.
    world.access.apply([copy], "--validate=strict", "--dry-run=server")
    assert stored["spec"]["driver"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    assert stored["spec"]["dynamicAllocation"]["maxExecutors"] == 3
    assert stored["spec"]["deps"]["packages"] == ["org.example:thing:1.0"]


async def test_pods_are_taken_as_they_are_described(world: World) -> None:
    """By a namespace that refuses privileges."""
    _, name = await world.submitted()
    application = world.get("sparkapplication", name)
    pod = world.operator.start_driver(application)
    found = world.get("pod", pod)
    (container,) = found["spec"]["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    warned = world.access.get("namespace", world.namespace)["metadata"]["labels"]
    assert warned["pod-security.kubernetes.io/enforce"] == "baseline"


@pytest.fixture
def node(spark: Access) -> Iterator[None]:
    """A node on which nothing starts, for the scheduler; nothing where there are nodes."""
    if spark.get("nodes")["items"]:
        yield
        return
    spark.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "small"}}])
    status = {
        "capacity": {"cpu": "1", "memory": "1Gi", "pods": "10"},
        "allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
    }
    patch = json.dumps({"status": status})
    spark.kubectl("patch", "node", "small", "--subresource=status", "--type=merge", "-p", patch)
    spark.kubectl("taint", "node", "small", "node.kubernetes.io/not-ready-", check=False)
    yield
    spark.kubectl("delete", "node", "small")


async def test_a_driver_that_is_too_large_is_explained(world: World, node: None) -> None:
    job, name = await world.submitted()
    application = world.get("sparkapplication", name)
    spec = application["spec"]["driver"]["template"]["spec"]
    spec["volumes"] = [each for each in spec["volumes"] if each["name"] != "buckets"]
    mounts = spec["containers"][0]["volumeMounts"]
    spec["containers"][0]["volumeMounts"] = [e for e in mounts if e["name"] != "buckets"]
    spec["containers"][0]["resources"] = {"requests": {"cpu": "4000", "memory": "2000Gi"}}
    world.operator.start_driver(application)
    world.operator.say(name, "SUBMITTED")
    told = await world.job(job.id, lambda job: job.message.startswith("No node has room"))
    assert told.status == JobStatus.QUEUED
    assert "Insufficient" in told.message


async def test_a_claim_that_is_missing_is_explained(world: World, node: None) -> None:
    job, name = await world.submitted()
    world.operator.start_driver(world.get("sparkapplication", name))
    world.operator.say(name, "SUBMITTED")
    told = await world.job(job.id, lambda job: job.message.startswith("A volume of the driver"))
    assert told.status == JobStatus.QUEUED
    assert 'persistentvolumeclaim "buckets" not found' in told.message
    lines = [line.message for line in await world.manager.logs(job.id)]
    assert any("Tell the operator" in line for line in lines)


async def test_the_secret_goes_with_its_application(world: World) -> None:
    """By the cluster's own collection, after a person cancels."""
    job, name = await world.submitted()
    application, secret = world.get("sparkapplication", name), world.get("secret", name)
    (owner,) = secret["metadata"]["ownerReferences"]
    assert owner["uid"] == application["metadata"]["uid"]
    pod = world.operator.start_driver(application)
    await world.manager.cancel(job.id)
    ended = await world.job(job.id, lambda job: job.status.ended)
    assert ended.status == JobStatus.CANCELED
    assert world.get("sparkapplication", name) is None
    await world.until(lambda: world.get("secret", name) is None, "the end of its Secret")
    await world.until(lambda: world.get("pod", pod) is None, "the end of its pod")


async def test_no_secret_is_in_the_application(world: World) -> None:
    _, name = await world.submitted()
    assert "very-secret" not in str(world.get("sparkapplication", name))


async def test_a_new_server_follows_what_the_old_one_began(world: World) -> None:
    job, name = await world.submitted()
    uid = world.get("sparkapplication", name)["metadata"]["uid"]
    await world.manager.stop()
    world.operator.say(name, "RUNNING")
    await world.begin()
    await world.job(job.id, lambda job: job.status == JobStatus.RUNNING)
    (only,) = world.get("sparkapplications")["items"]
    assert only["metadata"]["uid"] == uid


async def test_an_application_that_was_deleted_is_told_lost(world: World) -> None:
    job, name = await world.submitted()
    world.operator.say(name, "RUNNING")
    await world.job(job.id, lambda job: job.status == JobStatus.RUNNING)
    world.access.kubectl("delete", "sparkapplication", name, "--namespace", world.namespace)
    ended = await world.job(job.id, lambda job: job.status.ended)
    assert ended.error is not None
    assert "does not know" in ended.error.message


async def test_no_room_in_the_quota_is_waited_for(world: World) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": world.namespace},
        "spec": {"hard": {"count/secrets": "0"}},
    }
    world.access.apply([quota])
    await world.until(
        lambda: (world.get("quota", "none").get("status") or {}).get("used"), "the quota's count"
    )
    job = await world.submit()
    waiting = await world.job(job.id, lambda job: job.message.startswith("no room yet"))
    assert "exceeded quota" in waiting.message
    assert waiting.status == JobStatus.QUEUED
    world.access.kubectl("delete", "quota", "none", "--namespace", world.namespace)
    await world.until(lambda: world.get("secret", f"cscale-{job.id}"), "its Secret")
    world.operator.say(f"cscale-{job.id}", "RUNNING")
    await world.job(job.id, lambda job: job.status == JobStatus.RUNNING)


# -- what the cluster refuses ----------------------------------------------------------------------


@pytest.fixture
async def asking(
    person: Callable[[], Person],
) -> AsyncIterator[Callable[..., Cluster]]:
    """A person's view of a namespace: their own, or that of somebody."""
    opened: list[Cluster] = []
    user, kubeconfig = person()

    def view(namespace: str = "") -> Cluster:
        found = Cluster(Kubernetes(str(kubeconfig)), namespace or f"spark-{user}", user)
        opened.append(found)
        return found

    yield view
    for each in opened:
        await each.close()


def application(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": name},
        "spec": {
            "type": "Python",
            "sparkVersion": "4.3.0",
            "mainApplicationFile": "local:///a.py",
            "driver": {},
            "executor": {},
        },
    }


async def test_a_name_is_taken_once(asking: Callable[..., Cluster]) -> None:
    cluster = asking()
    await cluster.create(application("one"))
    with pytest.raises(Conflict):
        await cluster.create(application("one"))
    await cluster.delete("one")
    await cluster.delete("one")
    with pytest.raises(NotFound):
        await cluster.get("one")


async def test_a_version_of_long_ago_is_expired(asking: Callable[..., Cluster]) -> None:
    cluster = asking()
    await cluster.create(application("one"))
    events = [event async for event in cluster.watch("1")]
    assert [event["type"] for event in events] == ["ERROR"]
    assert events[0]["object"]["code"] == 410
    assert isinstance(refusal(410, b"{}", "Watching", {}), Expired)


async def test_another_person_s_namespace_is_closed(
    asking: Callable[..., Cluster], person: Callable[[], Person]
) -> None:
    other, _ = person()
    cluster = asking(f"spark-{other}")
    with pytest.raises(Forbidden, match="server-u"):
        await cluster.version()
    with pytest.raises(Forbidden):
        await cluster.create(application("one"))
    with pytest.raises(Forbidden):
        await cluster.secret_owner("one")


async def test_the_account_of_a_server_can_do_nothing_else(
    spark: Access, person: Callable[[], Person]
) -> None:
    user, kubeconfig = person()
    theirs = Access(kubeconfig)
    space = ("--namespace", f"spark-{user}")
    allowed = ("list", "sparkapplications.sparkoperator.k8s.io")
    assert theirs.kubectl("auth", "can-i", *allowed, *space).strip() == "yes"
    for act in (
        ("list", "secrets"),
        ("create", "pods", "--subresource=exec"),
        ("create", "serviceaccounts", "--subresource=token"),
        ("create", "rolebindings.rbac.authorization.k8s.io"),
        ("update", "sparkapplications.sparkoperator.k8s.io"),
        ("patch", "sparkapplications.sparkoperator.k8s.io", "--subresource=status"),
    ):
        assert theirs.kubectl("auth", "can-i", *act, *space, check=False) == "", act
    for act in (("get", "secrets"), ("list", "pods"), ("create", "pods")):
        for elsewhere in (("--namespace", HUB), ("--all-namespaces",)):
            found = theirs.kubectl("auth", "can-i", *act, *elsewhere, check=False)
            assert found == "", (act, elsewhere)
