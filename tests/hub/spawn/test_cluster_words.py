"""What the cluster says of a starting pod, in words for its person; and when waiting is over."""

from __future__ import annotations

from typing import Any

import pytest

from cscale_hub.spawn.cluster_progress import PullTimes, step, trouble
from cscale_hub.spawn.cluster_volumes import Patience

IMAGE = "registry.example/server:1"


def event(reason: str, message: str = "", container: str = "notebook") -> dict[str, Any]:
    path = f"spec.containers{{{container}}}" if container else ""
    return {"reason": reason, "message": message, "involvedObject": {"fieldPath": path}}


def words(reason: str, message: str = "", container: str = "notebook") -> str:
    found = step(event(reason, message, container), IMAGE, PullTimes())
    return found.message if found else ""


def test_how_long_an_image_takes_is_learnt() -> None:
    pulls = PullTimes()
    assert pulls.usually(IMAGE) == "the first time here, so it can take some minutes"
    said = f'Successfully pulled image "{IMAGE}" in 41.8s (41.9s including waiting).'
    step(event("Pulled", said), IMAGE, pulls)
    found = step(event("Pulling", f'Pulling image "{IMAGE}"'), IMAGE, pulls)
    assert found is not None
    assert found.message == "Pulling the image of your server, usually 40 s."
    step(event("Pulled", said.replace("41.8s", "4m10.5s")), IMAGE, pulls)
    assert pulls.usually(IMAGE) == "usually 2 min"


@pytest.mark.parametrize(
    ("reason", "message", "expected"),
    [
        ("Scheduled", "Successfully assigned x to node", "A place for your server was found."),
        ("FailedScheduling", "0/5 nodes are available: 5 Insufficient memory.", "no room"),
        ("FailedScheduling", 'persistentvolumeclaim "home-u" not found', "Waiting for the volumes"),
        ("FailedScheduling", "node(s) had untolerated taint", "No machine takes"),
        ("TriggeredScaleUp", "pod triggered scale-up", "A machine is being added"),
        ("FailedMount", 'MountVolume.SetUp failed for volume "pv" : x', "Waiting for the volumes"),
        ("Failed", "Error: ErrImagePull", "cannot be had just now"),
        ("Started", "Started container notebook", "JupyterLab is starting."),
        ("Killing", "Stopping container", ""),
    ],
)
def test_each_event_has_words_of_ours(reason: str, message: str, expected: str) -> None:
    found = words(reason, message)
    assert expected in found
    assert bool(expected) == bool(found)


def test_containers_beside_the_server_are_the_buckets() -> None:
    assert words("Started", "Started container mount-00", "mount-00") == "Mounting your buckets."
    assert words("Pulling", 'Pulling image "x"', "mount-00") == ""


def test_an_image_that_will_never_come_ends_the_start() -> None:
    gone = 'Failed to pull image "r.example/x:1": rpc error: r.example/x:1: not found'
    found = trouble([event("Failed", gone)])
    assert found is not None
    assert "r.example/x:1 cannot be had" in found.message
    # A registry that does not answer may do so soon.
    assert trouble([event("Failed", 'Failed to pull image "x": dial tcp: i/o timeout')]) is None


# -- buckets that keep a pod from starting ---------------------------------------------------------

BUCKETS = {"bucket-aqua": "aqua", "claim-of-aqua": "aqua", "pv-1": "aqua", "bucket-b": "b"}


@pytest.mark.parametrize(
    "message",
    [
        'MountVolume.MountDevice failed for volume "pv-1" : driver not found',
        "Unable to attach or mount volumes: unmounted volumes=[bucket-aqua], failed",
        '0/1 nodes: persistentvolumeclaim "claim-of-aqua" not found',
    ],
)
def test_a_bucket_that_fails_is_given_up_after_a_while(message: str) -> None:
    reason = "FailedScheduling" if message.startswith("0/1") else "FailedMount"
    patience = Patience(BUCKETS, 10)
    events = [event("Scheduled", container=""), event(reason, message, "")]
    assert patience.given_up(events, 100.0) == frozenset()
    assert patience.given_up(events, 109.0) == frozenset()
    assert patience.given_up(events, 110.0) == {"aqua"}


def test_silence_is_the_fault_of_all_buckets() -> None:
    patience = Patience(BUCKETS, 10)
    events = [event("Scheduled", container="")]
    assert patience.given_up(events, 0.0) == frozenset()
    assert patience.given_up(events, 29.0) == frozenset()
    assert patience.given_up(events, 30.0) == {"aqua", "b"}


def test_what_is_no_bucket_is_waited_for() -> None:
    patience = Patience(BUCKETS, 10)
    failed = event("FailedMount", 'MountVolume.SetUp failed for volume "home"', "")
    assert patience.given_up([failed], 0.0) == frozenset()
    assert patience.given_up([failed], 1000.0) == frozenset()
    # The containers are begun: its volumes are there.
    begun = [event("Scheduled", container=""), event("Pulling")]
    assert patience.given_up(begun, 2000.0) == frozenset()
    assert Patience({}, 10).given_up([event("Scheduled")], 1000.0) == frozenset()
