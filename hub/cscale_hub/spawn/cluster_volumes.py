"""Which buckets keep a pod from starting, by what the cluster says and does not say.

A volume that fails is told in events, by the name of the pod's volume, of the claim or of the
persistent volume. A driver that hangs tells nothing for minutes: then the pod has its node, and
none of its containers is begun.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FAILED = ("FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedScheduling")
_BEGUN = ("Pulling", "Pulled", "Created", "Started", "Failed", "BackOff")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_SILENCE = 3


class Patience:
    """How long a pod's start has been held up by buckets.

    :param buckets: bucket by each name under which the cluster may speak of its volume.
    :param seconds: for which a failing volume is waited for; three times as long for silence.
    """

    def __init__(self, buckets: Mapping[str, str], seconds: float) -> None:
        self._buckets = buckets
        self._seconds = seconds
        self._failing: dict[str, float] = {}
        self._silent_since: float | None = None

    def given_up(self, events: Sequence[Mapping[str, Any]], now: float) -> frozenset[str]:
        """The buckets without which the pod is to be started; empty: go on waiting.

        :param events: of the pod, the latest last.
        :param now: seconds of a steady clock.
        """
        reasons = [str(event.get("reason") or "") for event in events]
        if not self._buckets or any(reason in _BEGUN for reason in reasons):
            return frozenset()
        for bucket in self._named(events):
            self._failing.setdefault(bucket, now)
        late = {bucket for bucket, since in self._failing.items() if now - since >= self._seconds}
        if late:
            return frozenset(late)
        if "Scheduled" not in reasons:
            return frozenset()
        if self._silent_since is None:
            self._silent_since = now
        if now - self._silent_since >= _SILENCE * self._seconds:
            return frozenset(self._buckets.values())
        return frozenset()

    def _named(self, events: Iterable[Mapping[str, Any]]) -> set[str]:
        return {
            self._buckets[name]
            for event in events
            if event.get("reason") in _FAILED
            for name in _NAME.findall(str(event.get("message") or ""))
            if name in self._buckets
        }
