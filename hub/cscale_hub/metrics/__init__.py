"""What Prometheus can ask: counters of events, and the use of virtual organisations.

The hub shows its metrics at ``/hub/metrics`` among JupyterHub's own.
"""

from __future__ import annotations

from prometheus_client import Counter

EVENTS = Counter(
    "cscale_events_total",
    "Events of the audit log, such as logins, starts of servers and hand-outs of credentials.",
    ["action", "outcome"],
)


def count_event(action: str, outcome: str) -> None:
    """Count one event of the audit log."""
    EVENTS.labels(action, outcome).inc()
