"""Pods of a person's profiles, without a cluster: the manifest is made and not sent."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub import orm
from kubernetes_asyncio import client as kube
from kubespawner import KubeSpawner

from cscale_hub.cluster_settings import KubernetesSettings
from cscale_hub.profiles import Profile
from cscale_hub.settings import Settings
from cscale_hub.spawn.capacity import Capacity, needs, quantity, room, words
from cscale_hub.spawn.choice import ServerRefused
from cscale_hub.spawn.cluster import ClusterSpawner, ServerNotStarted
from cscale_hub.spawn.cluster_events import EventsByPod
from cscale_hub.vo_model import VOFile

FILE = VOFile.model_validate(
    {
        "profiles": {
            "small": {"title": "Small", "cpu": 1, "cpu_guarantee": 0.1, "memory": "2Gi"},
            "gpu": {
                "title": "GPU",
                "cpu": 4,
                "memory": "16Gi",
                "gpu": 2,
                "image": "registry.example/gpu:1",
                "node_selector": {"pool": "gpu"},
            },
        },
        "vos": {
            "aqua.example": {
                "title": "Aqua",
                "entitlement": {"group": "aqua.example"},
                "roles": {"member": ["member"], "modeller": ["modellers:role=member"]},
                "profiles": {"member": ["small"], "modeller": ["gpu"]},
                "bucket": "aqua",
                "quota": {"home": "20Gi", "servers": 1},
                "environment": {"COMMUNITY": "aqua"},
            }
        },
    }
)


@pytest.fixture
def spawner_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)

    async def make(*groups: str, options: Any = None) -> ClusterSpawner:
        user = SimpleNamespace(
            name="uabc234",
            escaped_name="uabc234",
            id=1,
            url="/user/uabc234/",
            groups=[SimpleNamespace(name=name) for name in groups],
            spawners={},
        )
        made = ClusterSpawner(
            user=user,
            _mock=True,
            db=orm.new_session_factory("sqlite:///:memory:")(),
            orm_spawner=SimpleNamespace(
                id=1, name="", server=None, user_options={}, oauth_client_id="x"
            ),
            oauth_client_id="x",
            cscale_settings=Settings(
                data=tmp_path, kubernetes=KubernetesSettings(image="registry.example/server:1")
            ),
            cscale_vos=FILE,
        )
        made.user_options = options or {}
        return made

    return make


async def pod(spawner: ClusterSpawner) -> dict[str, Any]:
    """What KubeSpawner.start would send, in its order."""
    await spawner.run_pre_spawn_hook()
    await spawner.load_user_options()
    manifest: dict[str, Any] = (await spawner.get_pod_manifest()).to_dict()
    return manifest


MEMBER = ("vo:aqua.example", "vo:aqua.example:member")
MODELLER = (*MEMBER, "vo:aqua.example:modeller")


async def test_pod_has_the_limits_of_the_profile_and_the_labels_of_its_vo(spawner_of: Any) -> None:
    spawner = await spawner_of(*MODELLER, options={"profile": "gpu"})
    manifest = await pod(spawner)
    (container,) = manifest["spec"]["containers"]
    assert container["image"] == "registry.example/gpu:1"
    assert container["resources"]["limits"] == {
        "cpu": 4.0,
        "memory": 16 * 2**30,
        "nvidia.com/gpu": "2",
    }
    assert manifest["spec"]["node_selector"] == {"pool": "gpu"}
    assert manifest["metadata"]["labels"]["c-scale.eu/vo"] == "aqua.example"
    assert manifest["metadata"]["labels"]["c-scale.eu/profile"] == "gpu"
    assert {"name": "COMMUNITY", "value": "aqua"}.items() <= next(
        each for each in container["env"] if each["name"] == "COMMUNITY"
    ).items()
    assert spawner.storage_capacity == "20Gi"


async def test_without_a_choice_the_first_profile_is_taken(spawner_of: Any) -> None:
    manifest = await pod(await spawner_of(*MODELLER))
    (container,) = manifest["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": 1.0, "memory": 2 * 2**30}
    assert container["resources"]["requests"]["cpu"] == 0.1


@pytest.mark.parametrize(
    "options",
    [{"profile": "gpu"}, {"profile": "gpu", "vo": "aqua.example"}, {"image": "evil.example/x"}],
)
async def test_a_forbidden_profile_does_not_exist(spawner_of: Any, options: Any) -> None:
    spawner = await spawner_of(*MEMBER, options=options)
    offered = spawner.profile_list(spawner)
    assert [each["slug"] for each in offered] == ["small"]
    with pytest.raises(ServerRefused):
        await pod(spawner)


async def test_kubespawner_refuses_it_too_if_our_hook_is_gone(spawner_of: Any) -> None:
    spawner = await spawner_of(*MEMBER, options={"profile": "gpu"})
    with pytest.raises(ValueError, match="No such profile"):
        await spawner.load_user_options()


async def test_the_page_is_ours(spawner_of: Any) -> None:
    spawner = await spawner_of(*MODELLER)

    async def nothing(profile: Profile) -> str:
        return "7 are free now."

    spawner.available = nothing
    page = await spawner.get_options_form()
    assert "cscale-server" in page
    assert "7 are free now." in page
    assert spawner.run_options_from_form({"server": ["aqua.example:gpu"], "x": ["y"]}) == {
        "vo": "aqua.example",
        "profile": "gpu",
    }


@pytest.mark.parametrize("answers", [True, False])
async def test_a_failed_start_removes_what_it_made_and_says_its_own_error(
    spawner_of: Any, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    spawner = await spawner_of(*MEMBER)
    asked: list[str] = []

    async def refused(self: KubeSpawner) -> None:
        raise RuntimeError("no pod is taken")

    async def listed(namespace: str, label_selector: str, **_: Any) -> Any:
        asked.append(label_selector)
        if not answers:
            raise OSError("nor is anything answered")
        return kube.V1SecretList(items=[])

    monkeypatch.setattr(KubeSpawner, "_start", refused)
    spawner.api = SimpleNamespace(list_namespaced_secret=listed)
    with pytest.raises(RuntimeError, match="no pod is taken"):
        await spawner._start()
    assert asked == [f"c-scale.eu/pod={spawner.pod_name}"]


async def test_a_cluster_that_is_late_is_told_in_words(
    spawner_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawner = await spawner_of(*MEMBER)

    async def late(*_: Any, **__: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(KubeSpawner, "_start", late)
    spawner.api = SimpleNamespace(list_namespaced_secret=late)
    with pytest.raises(ServerNotStarted) as told:
        await spawner._start()
    assert "no answer" in told.value.jupyterhub_message
    assert "your files are kept" in told.value.jupyterhub_message


async def test_a_start_sees_the_events_of_its_own_pod_since_the_last_one(
    spawner_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawner = await spawner_of(*MEMBER)
    assert spawner.events == []
    events = EventsByPod(
        {
            f"hub/{pod}.{uid}": {
                "metadata": {"uid": uid},
                "involvedObject": {"name": pod},
                "lastTimestamp": f"2026-11-21T10:00:0{uid}Z",
            }
            for pod, uid in ((spawner.pod_name, "2"), ("jupyter-b", "3"), (spawner.pod_name, "1"))
        }
    )
    monkeypatch.setattr(ClusterSpawner, "event_reflector", events)
    assert [each["metadata"]["uid"] for each in spawner.events] == ["1", "2"]
    spawner._last_event = "1"
    assert [each["metadata"]["uid"] for each in spawner.events] == ["2"]


# -- what is free ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", "0.5"), ("4", "4"), ("2Gi", str(2 * 2**30)), ("1k", "1000"), ("1.5", "1.5")],
)
def test_quantities_are_read_as_kubernetes_means_them(text: str, number: str) -> None:
    assert quantity(text) == Decimal(number)


def node(name: str, *, ready: bool = True, closed: bool = False, **labels: str) -> Any:
    return kube.V1Node(
        metadata=kube.V1ObjectMeta(name=name, labels=labels),
        spec=kube.V1NodeSpec(unschedulable=closed),
        status=kube.V1NodeStatus(
            allocatable={"cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": "2"},
            conditions=[
                kube.V1NodeCondition(type="Ready", status="True" if ready else "False"),
            ],
        ),
    )


def running(where: str, phase: str = "Running", **requests: str) -> Any:
    return kube.V1Pod(
        spec=kube.V1PodSpec(
            node_name=where,
            containers=[
                kube.V1Container(
                    name="c", resources=kube.V1ResourceRequirements(requests=requests or None)
                )
            ],
        ),
        status=kube.V1PodStatus(phase=phase),
    )


SMALL, GPU = FILE.profiles["small"], FILE.profiles["gpu"]


def test_room_is_what_nodes_have_less_what_pods_asked_for() -> None:
    assert needs(SMALL) == {"pods": 1, "cpu": Decimal("0.1"), "memory": 2 * 2**30}
    one, other = node("one"), node("other", pool="gpu")
    assert room([one], [], SMALL) == 16  # memory
    assert room([one], [running("one", memory="20Gi")], SMALL) == 6
    assert room([one], [running("one", "Succeeded", memory="20Gi")], SMALL) == 16
    assert room([one, other], [running("other", cpu="8")], SMALL) == 16
    assert room([one], [running("one", memory="40Gi")], SMALL) == 0
    assert room([one, other], [], GPU) == 1  # by label, and by the number of processors
    assert room([node("x", ready=False), node("y", closed=True)], [], SMALL) == 0


def test_words_say_what_zero_means() -> None:
    assert words(1) == "1 is free now."
    assert "starts when there is room" in words(0)


async def test_the_cluster_is_asked_once_for_everybody() -> None:
    asked: list[str] = []

    class Api:
        async def list_node(self, **_: Any) -> Any:
            asked.append("nodes")
            return SimpleNamespace(items=[node("one")])

        async def list_pod_for_all_namespaces(self, **_: Any) -> Any:
            asked.append("pods")
            return SimpleNamespace(items=[])

    capacity = Capacity(Api())
    assert [await capacity.room(SMALL) for _ in range(3)] == [16, 16, 16]
    assert sorted(asked) == ["nodes", "pods"]


async def test_a_cluster_that_does_not_tell_stops_nobody(
    spawner_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Api:
        async def list_node(self, **_: Any) -> Any:
            raise kube.ApiException(status=403)

        list_pod_for_all_namespaces = list_node

    monkeypatch.setattr(ClusterSpawner, "_capacity", Capacity(Api()))
    assert await (await spawner_of(*MEMBER)).available(SMALL) == ""
