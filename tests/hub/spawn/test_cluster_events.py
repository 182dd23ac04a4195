from typing import Any

import pytest
from kubespawner import spawner

from cscale_hub.spawn.cluster_events import EventsByPod, PodEventReflector


def event(pod: str, uid: str, time: str, *, precise: bool = False) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{pod}.{uid}", "namespace": "hub", "uid": uid},
        "involvedObject": {"kind": "Pod", "name": pod},
        "lastTimestamp": None if precise else time,
        "eventTime": time if precise else None,
        "reason": uid,
    }


def keyed(*events: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"hub/{each['metadata']['name']}": each for each in events}


def uids(events: list[dict[str, Any]]) -> list[str]:
    return [each["metadata"]["uid"] for each in events]


def test_events_are_of_their_pod_and_in_the_order_of_time() -> None:
    late, early = (
        event("jupyter-a", "2", "2026-11-21T10:00:02Z"),
        event("jupyter-a", "1", "2026-11-21T10:00:01Z", precise=True),
    )
    events = EventsByPod(keyed(late, event("jupyter-b", "3", "2026-11-21T10:00:00Z"), early))
    assert uids(events.of("jupyter-a")) == ["1", "2"]
    assert uids(events.of("jupyter-b")) == ["3"]
    assert events.of("jupyter-c") == []


def test_events_that_are_told_again_or_forgotten_count_once_or_no_more() -> None:
    events = EventsByPod({})
    first = event("jupyter-a", "1", "2026-11-21T10:00:01Z")
    events["hub/jupyter-a.1"] = first
    events["hub/jupyter-a.1"] = {**first, "lastTimestamp": "2026-11-21T10:00:09Z"}
    assert [each["lastTimestamp"] for each in events.of("jupyter-a")] == ["2026-11-21T10:00:09Z"]
    assert events.pop("hub/jupyter-a.1")["metadata"]["uid"] == "1"
    assert events.pop("hub/jupyter-a.1", None) is None
    assert events.of("jupyter-a") == []


def test_what_a_reflector_lists_anew_is_kept_apart_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubespawner.reflector.shared_client", lambda group: None)
    monkeypatch.setattr("asyncio.Future", lambda: None)
    reflector = PodEventReflector(namespace="hub")
    assert isinstance(reflector, spawner.EventReflector)
    assert reflector.of("jupyter-a") == []
    reflector.resources = keyed(event("jupyter-a", "1", "2026-11-21T10:00:01Z"))
    assert uids(reflector.of("jupyter-a")) == ["1"]
    reflector.resources["hub/jupyter-a.2"] = event("jupyter-a", "2", "2026-11-21T10:00:02Z")
    assert uids(reflector.of("jupyter-a")) == ["1", "2"] == uids(reflector.events)
    reflector.resources = {}
    assert reflector.of("jupyter-a") == []
