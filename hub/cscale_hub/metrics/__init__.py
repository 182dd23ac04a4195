"""What Prometheus can ask: counters of events, and the use of virtual organisations.

The hub shows its metrics at ``/hub/metrics`` among JupyterHub's own, for who has the scope
``read:metrics``; the broker its own at ``/metrics`` of its port, where the proxy leads nobody.
"""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, Counter, generate_latest

EVENTS = Counter(
    "cscale_events_total",
    "Events of the audit log, such as logins, starts of servers and hand-outs of credentials.",
    ["action", "outcome"],
)


def count_event(action: str, outcome: str) -> None:
    """Count one event of the audit log."""
    EVENTS.labels(action, outcome).inc()


def exposition() -> tuple[bytes, str]:
    """All metrics of this process and their media type, for services other than the hub."""
    return generate_latest(), CONTENT_TYPE_LATEST
