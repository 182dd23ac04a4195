"""The cluster's events, found by their pod.

KubeSpawner's reflector sorts all events of the namespace each time one start looks at its own: with
hundreds of starts at once the hub does little else. This one keeps them apart as they come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from kubespawner.spawner import EventReflector
from traitlets import Bunch, default, validate

Event = dict[str, Any]


class EventsByPod(dict[str, Event]):
    """Events by their own name, as a reflector keeps them, and by the name of their pod."""

    def __init__(self, events: Mapping[str, Event]) -> None:
        super().__init__()
        self._pods: dict[str, dict[str, Event]] = defaultdict(dict)
        for key, event in events.items():
            self[key] = event

    def __setitem__(self, key: str, event: Event) -> None:
        super().__setitem__(key, event)
        self._pods[_pod(event)][key] = event

    def pop(self, key: str, missing: Any = None) -> Any:
        """Forget an event; the cluster does after an hour."""
        event = super().pop(key, None)
        if event is None:
            return missing
        of_pod = self._pods[_pod(event)]
        del of_pod[key]
        if not of_pod:
            del self._pods[_pod(event)]
        return event

    def of(self, pod: str) -> list[Event]:
        """A pod's events, the latest last."""
        return sorted(self._pods.get(pod, {}).values(), key=_latest)


class PodEventReflector(EventReflector):  # type: ignore[misc]  # not typed
    """Follows the events of pods, and has those of one at hand."""

    resources: EventsByPod

    @default("resources")  # type: ignore[untyped-decorator]
    def _no_events(self) -> EventsByPod:
        return EventsByPod({})

    @validate("resources")  # type: ignore[untyped-decorator]
    def _kept_apart(self, proposal: Bunch) -> EventsByPod:
        return EventsByPod(proposal.value)

    def of(self, pod: str) -> list[Event]:
        """A pod's events, the latest last."""
        return self.resources.of(pod)


def _pod(event: Event) -> str:
    return str(event["involvedObject"]["name"])


def _latest(event: Event) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
