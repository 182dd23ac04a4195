"""Why the cluster ended a server, in words for its person.

A machine that is drained for maintenance, or fails, takes its servers with it, and so does a want
of memory or disk. The person finds a server that does not run, and is told why, what was kept and
what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEPT = (
    "Your home folder and what you saved in buckets are kept; programs that ran in it have ended. "
    "Start it again, and it comes on a machine that has room."
)
# Kubernetes' condition DisruptionTarget of a pod, by its reason:
# https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
_REASONS = {
    "PreemptionByScheduler": "Its place was needed for something that has precedence.",
    "DeletionByTaintManager": "Its machine failed, or is being taken out of service.",
    "TerminationByKubelet": "Its machine was about to run out of memory or disk.",
}


def disrupted(pod: Mapping[str, Any] | None) -> bool:
    """Whether the cluster takes a pod away, or has, without having been asked by the hub.

    :param pod: as the cluster's API describes it; None: it is not there any more.
    """
    if pod is None:
        return True
    status = pod.get("status") or {}
    return bool(
        (pod.get("metadata") or {}).get("deletionTimestamp")
        or status.get("reason") == "Evicted"
        or _reason(pod)
    )


def ending(pod: Mapping[str, Any] | None, node: Mapping[str, Any] | None) -> str:
    """What the person is told.

    :param pod: the last that was seen of it.
    :param node: on which it was; None: nobody knows, or it is no more.
    """
    return f"The cluster ended your server. {_why(pod or {}, node)} {_KEPT}".replace("  ", " ")


def _why(pod: Mapping[str, Any], node: Mapping[str, Any] | None) -> str:
    if (pod.get("status") or {}).get("reason") == "Evicted":
        return _REASONS["TerminationByKubelet"]
    if known := _REASONS.get(_reason(pod)):
        return known
    if node is None:
        return ""
    if (node.get("spec") or {}).get("unschedulable"):
        return "Its machine is being taken out of service."
    conditions = (node.get("status") or {}).get("conditions") or ()
    if not any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
        return "Its machine failed."
    return ""


def _reason(pod: Mapping[str, Any]) -> str:
    for each in (pod.get("status") or {}).get("conditions") or ():
        if each["type"] == "DisruptionTarget" and each["status"] == "True":
            return str(each.get("reason") or "DisruptionTarget")
    return ""
