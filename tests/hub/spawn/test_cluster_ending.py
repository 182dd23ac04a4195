"""What a person is told whose server the cluster ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub import orm
from kubernetes_asyncio import client as kube
from kubespawner import KubeSpawner

from cscale_hub.cluster_settings import KubernetesSettings
from cscale_hub.settings import Settings
from cscale_hub.spawn.cluster import ClusterSpawner
from cscale_hub.spawn.cluster_ending import disrupted, ending
from cscale_hub.spawn.watched import WatchedSpawner
from cscale_hub.vo_model import VOFile

VO = {"title": "A", "bucket": "aqua", "entitlement": {"group": "a.example"}}
VOS = VOFile.model_validate({"vos": {"a.example": VO}})


def pod(reason: str = "", **more: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True"}]
    if reason:
        conditions.append({"type": "DisruptionTarget", "status": "True", "reason": reason})
    return {
        "metadata": {"name": "server-u", **more.pop("metadata", {})},
        "spec": {"nodeName": "one"},
        "status": {"phase": "Running", "conditions": conditions, **more},
    }


def evicted() -> dict[str, Any]:
    """By its kubelet."""
    return {"metadata": {"name": "server-u"}, "status": {"phase": "Failed", "reason": "Evicted"}}


def node(*, ready: str = "True", unschedulable: bool = False) -> dict[str, Any]:
    return {
        "spec": {"unschedulable": unschedulable},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


@pytest.mark.parametrize(
    ("seen", "where", "words"),
    [
        (pod("EvictionByEvictionAPI"), node(unschedulable=True), "being taken out of service"),
        (pod(), node(ready="Unknown"), "Its machine failed"),
        (pod("DeletionByTaintManager"), None, "failed, or is being taken out of service"),
        (pod("PreemptionByScheduler"), node(), "has precedence"),
        (evicted(), node(), "memory or disk"),
    ],
)
def test_the_cause_is_told_where_it_is_known(
    seen: dict[str, Any], where: dict[str, Any] | None, words: str
) -> None:
    said = ending(seen, where)
    assert words in said
    assert "Your home folder and what you saved in buckets are kept" in said
    assert "Start it again" in said


def test_a_cause_that_nobody_knows_is_not_made_up() -> None:
    assert ending(None, None) == ending(pod(), node())
    assert "machine failed" not in ending(None, None)
    assert "  " not in ending(None, None)


def test_a_pod_that_ends_by_itself_was_not_taken_away() -> None:
    assert not disrupted(pod())
    assert disrupted(None)
    assert disrupted(pod("EvictionByEvictionAPI"))
    assert disrupted(pod(metadata={"deletionTimestamp": "2026-11-21T10:00:00Z"}))


Make = Callable[[dict[str, dict[str, Any]], "int | None"], Any]


@pytest.fixture
def spawner_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A spawner whose cluster has these pods, and says this of the server."""
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)

    def make(pods: dict[str, dict[str, Any]], status: int | None) -> Any:
        async def poll(spawner: Any) -> int | None:
            return status

        monkeypatch.setattr(WatchedSpawner, "poll", poll)
        monkeypatch.setattr(KubeSpawner, "pod_reflector", SimpleNamespace(pods=pods))
        made = ClusterSpawner(
            user=SimpleNamespace(
                name="u", escaped_name="u", id=1, url="/user/u/", groups=[], spawners={}
            ),
            _mock=True,
            namespace="here",
            orm_spawner=SimpleNamespace(
                name="",
                server=orm.Server(
                    proto="http", ip="10.0.0.1", port=8888, base_url="/", cookie_name="u"
                ),
                user_options={},
                oauth_client_id="x",
            ),
            oauth_client_id="x",
            cscale_settings=Settings(
                data=tmp_path, kubernetes=KubernetesSettings(image="registry.example/server:1")
            ),
            cscale_vos=VOS,
        )
        made.pod_name = "server-u"
        return made

    return make


class Nodes:
    """An API that knows one node, or refuses."""

    def __init__(self, *, refuses: bool = False) -> None:
        self._refuses = refuses

    async def list_node(self, **asked: Any) -> Any:
        if self._refuses:
            raise kube.ApiException(status=403)
        assert asked["field_selector"] == "metadata.name=one"
        condition = kube.V1NodeCondition(type="Ready", status="True")
        return SimpleNamespace(
            items=[
                kube.V1Node(
                    spec=kube.V1NodeSpec(unschedulable=True),
                    status=kube.V1NodeStatus(conditions=[condition]),
                )
            ]
        )


async def test_a_server_that_was_taken_away_remembers_why(spawner_of: Make) -> None:
    pods = {"here/server-u": pod()}
    spawner = spawner_of(pods, None)
    spawner.api = Nodes()
    assert await spawner.poll() is None
    pods.clear()
    gone = spawner_of(pods, 1)
    gone._seen, gone.api = spawner._seen, Nodes()
    assert await gone.poll() == 1
    assert "being taken out of service" in gone.ended
    # A hub that starts again still knows it.
    later = spawner_of(pods, 1)
    later.load_state(gone.get_state())
    assert later.ended == gone.ended
    assert "ended" not in spawner.get_state()


async def test_a_server_that_goes_before_the_hub_has_looked_at_it_is_told_why_too(
    spawner_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def started(spawner: Any) -> str:
        return "http://10.0.0.1:8888"

    monkeypatch.setattr(ClusterSpawner, "_start_with_what_can_be_mounted", started)
    pods = {"here/server-u": pod()}
    spawner = spawner_of(pods, 1)
    spawner.api = Nodes()
    assert await spawner._start() == "http://10.0.0.1:8888"
    pods.clear()
    assert await spawner.poll() == 1
    assert "being taken out of service" in spawner.ended


async def test_a_hub_that_may_not_see_nodes_tells_what_it_knows(spawner_of: Make) -> None:
    spawner = spawner_of({}, 1)
    spawner._seen, spawner.api = pod(), Nodes(refuses=True)
    assert await spawner.poll() == 1
    assert spawner.ended == ending(pod(), None)


async def test_a_server_that_is_only_beginning_was_not_taken_away(spawner_of: Make) -> None:
    spawner = spawner_of({}, 1)
    spawner.api = Nodes()
    spawner._spawn_pending = True
    assert await spawner.poll() == 1
    assert spawner.ended == ""


async def test_a_server_that_its_person_shut_down_has_nothing_to_tell(spawner_of: Make) -> None:
    spawner = spawner_of({"here/server-u": pod()}, 0)
    spawner.api = Nodes()
    assert await spawner.poll() == 0
    assert spawner.ended == ""
