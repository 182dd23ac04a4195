"""What operators see of logins in the hub's Prometheus metrics."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

CHECKS: Final = Counter(
    "cscale_login_checks",
    "Looks at the logins of people who are signed in: what was asked and how it ended "
    "(done, ended, lost, untrue, unreachable)",
    ["asked", "outcome"],
)
PAUSE: Final = Gauge(
    "cscale_identity_provider_pause_seconds",
    "Seconds for which the identity provider is left alone after its last failure; 0: it answers",
)
REVOCATIONS: Final = Counter(
    "cscale_login_revocations",
    "Logins that were ended at the identity provider after a logout (done, unreachable)",
    ["outcome"],
)
