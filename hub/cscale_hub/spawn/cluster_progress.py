"""What the cluster says while a pod starts, in words for the person who waits.

Kubernetes' events are sentences for operators. Here each kind that matters to a person becomes a
sentence of ours, with how long it usually takes, learnt from the starts before; the others are left
to the hub's log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SERVER = "notebook"
"""KubeSpawner's name of the container that is the person's server."""
_PULLED = re.compile(r'Successfully pulled image "([^"]+)" in (?:(\d+)m)?([\d.]+)(m?s)')
_IMAGE = re.compile(r'image "([^"]+)"')
_PULL_FAILED = re.compile(
    r"ErrImagePull|ImagePullBackOff|Failed to pull image|InvalidImageName|ErrImageNeverPull"
)
# What a registry says when trying again changes nothing.
_LASTING = re.compile(
    r"not found|does not exist|repository does not exist|denied|unauthorized|InvalidImageName"
    r"|ErrImageNeverPull|couldn't parse image",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One message of the progress page.

    :ivar percent: how far it is, of 100.
    """

    percent: int
    message: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod does not start, when waiting does not help."""

    reason: str
    message: str


class PullTimes:
    """How long images took to be pulled, by image; the mean of the last pulls."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def learn(self, message: str) -> None:
        """Take note of an event that tells a pull's time."""
        if found := _PULLED.search(message):
            image, minutes, number, unit = found.groups()
            seconds = int(minutes or 0) * 60 + float(number) * (0.001 if unit == "ms" else 1)
            before = self._seconds.get(image, seconds)
            self._seconds[image] = 0.5 * before + 0.5 * seconds

    def usually(self, image: str) -> str:
        """How long it usually takes, in words; what nobody has seen yet is not guessed."""
        seconds = self._seconds.get(image)
        if seconds is None:
            return "the first time here, so it can take some minutes"
        if seconds < 90:
            return f"usually {max(5, round(seconds / 5) * 5)} s"
        return f"usually {round(seconds / 60)} min"


def step(event: Mapping[str, Any], image: str, pulls: PullTimes) -> Step | None:
    """What one event of a pod tells its person; None: nothing.

    :param image: of the server.
    """
    reason, message = str(event.get("reason") or ""), str(event.get("message") or "")
    pulls.learn(message)
    field = str((event.get("involvedObject") or {}).get("fieldPath") or "")
    ours = not field or f"{{{SERVER}}}" in field
    if reason == "FailedScheduling":
        return _no_node(message)
    if reason in ("TriggeredScaleUp", "NotTriggerScaleUp"):
        return (
            Step(10, "A machine is being added for your server; that takes some minutes.")
            if reason == "TriggeredScaleUp"
            else None
        )
    if reason == "Scheduled":
        return Step(20, "A place for your server was found.")
    if reason in ("FailedMount", "FailedAttachVolume", "FailedMapVolume"):
        return Step(30, "Waiting for the volumes of your server.")
    if reason == "Pulling" and ours:
        return Step(40, f"Pulling the image of your server, {pulls.usually(image)}.")
    if reason == "Pulled" and ours:
        return Step(70, "The image of your server is there.")
    if reason == "Started":
        return Step(85, "JupyterLab is starting.") if ours else Step(75, "Mounting your buckets.")
    if _PULL_FAILED.search(f"{reason} {message}"):
        return Step(45, "The image of your server cannot be had just now; trying again.")
    if reason in ("Failed", "BackOff") and ours:
        return Step(45, "Your server did not begin; trying again.")
    return None


def left_out(bucket: str) -> Step:
    """What a person is told whose server starts without a bucket."""
    return Step(
        15,
        f"The bucket {bucket} cannot be mounted now; your server starts without it, and "
        "reaches it by S3.",
    )


def trouble(events: Iterable[Mapping[str, Any]]) -> Trouble | None:
    """Why a pod does not start, when none of its events gives hope."""
    for event in events:
        said = f"{event.get('reason')} {event.get('message')}"
        if _PULL_FAILED.search(said) and _LASTING.search(said):
            named = _IMAGE.search(said)
            image = named[1] if named else "of this server"
            return Trouble(
                "image",
                f"The image {image} cannot be had. Choose another server, or tell the operator; "
                "your files are kept.",
            )
    return None


def _no_node(message: str) -> Step:
    if "persistentvolumeclaim" in message or "volume node affinity" in message:
        return Step(10, "Waiting for the volumes of your server.")
    if "Insufficient" in message or "Too many pods" in message:
        return Step(
            10,
            "There is no room for your server now; it starts as soon as there is. A smaller "
            "one may start sooner.",
        )
    return Step(10, "No machine takes your server now; if that lasts, tell the operator.")
