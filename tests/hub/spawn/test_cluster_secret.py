"""A server's Secret: made for a pod, given to it, and removed where it belongs to none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes_asyncio.client import ApiException

from cscale_hub.spawn.cluster_secret import POD_LABEL, PodSecrets


class Cluster:
    """What of the API is used, on Secrets in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.vanishing: set[str] = set()
        self.silent: list[bool] = []
        """For the next questions each: whether it is done, with no answer."""

    def _answer(self) -> bool:
        """Whether the question arrives.

        :raises TimeoutError: when there is no answer.
        """
        if self.silent and not self.silent[0]:
            self.silent.pop(0)
            raise TimeoutError
        return bool(self.silent)

    async def create_namespaced_secret(self, space: str, body: Any, **_: Any) -> None:
        late = self._answer()
        if body["metadata"]["name"] in self.kept:
            raise ApiException(status=409)
        owners = body["metadata"].get("ownerReferences")
        self.kept[body["metadata"]["name"]] = {**body["metadata"], "ownerReferences": owners}
        if late:
            self.silent.pop(0)
            raise TimeoutError

    async def patch_namespaced_secret(self, name: str, space: str, body: Any, **_: Any) -> None:
        self._answer()
        self.kept[name].update(body["metadata"])

    async def list_namespaced_secret(self, space: str, label_selector: str, **_: Any) -> Any:
        key, _, value = label_selector.partition("=")
        found = (each for each in self.kept.values() if each["labels"].get(key) == value)
        items = [
            SimpleNamespace(name=each["name"], owner_references=each["ownerReferences"])
            for each in found
        ]
        return SimpleNamespace(items=[SimpleNamespace(metadata=each) for each in items])

    async def delete_namespaced_secret(self, name: str, space: str, **_: Any) -> None:
        del self.kept[name]
        if name in self.vanishing:
            raise ApiException(status=404)


def manifest(name: str, pod: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {POD_LABEL: pod}}}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_it_belongs_to_its_pod_once_that_is_there(cluster: Cluster) -> None:
    secrets = PodSecrets(cluster, "servers", "server-u", 3)
    await secrets.make(manifest("server-u-1", "server-u"))
    assert cluster.kept["server-u-1"]["ownerReferences"] is None
    await secrets.give("server-u-1", "uid-1")
    (owner,) = cluster.kept["server-u-1"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", "server-u", "uid-1")


async def test_what_belongs_to_no_pod_goes_and_the_rest_stays(cluster: Cluster) -> None:
    secrets = PodSecrets(cluster, "servers", "server-u", 3)
    for name, pod in (("left", "server-u"), ("owned", "server-u"), ("other", "server-v")):
        await secrets.make(manifest(name, pod))
    await secrets.give("owned", "uid-1")
    # Somebody else removes it in the same moment.
    cluster.vanishing.add("left")
    await secrets.forget_unowned()
    assert set(cluster.kept) == {"owned", "other"}


async def test_a_cluster_that_does_not_answer_is_asked_again(cluster: Cluster) -> None:
    secrets = PodSecrets(cluster, "servers", "server-u", 3, patience=30)
    # Once it never arrives, once it is done and the answer is lost.
    cluster.silent = [False, True]
    await secrets.make(manifest("server-u-1", "server-u"))
    assert cluster.silent == []
    cluster.silent = [False]
    await secrets.give("server-u-1", "uid-1")
    assert cluster.kept["server-u-1"]["ownerReferences"]


async def test_a_cluster_that_stays_silent_is_told(cluster: Cluster) -> None:
    secrets = PodSecrets(cluster, "servers", "server-u", 3, patience=0.2)
    cluster.silent = [False] * 1000
    with pytest.raises(TimeoutError, match="Secret of server-u"):
        await secrets.make(manifest("server-u-1", "server-u"))
