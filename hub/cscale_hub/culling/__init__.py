"""Stops servers that nobody uses: jupyterhub-idle-culler, with the times of the settings.

What counts as use is what a server reports to the hub; the server extension reports a copy that
runs in it and a kernel that computes, for a bounded time (``CScaleExtension.longest_staging``,
``CScaleExtension.longest_computing``).
"""

from __future__ import annotations

import os
import sys

from cscale_hub.settings import CullingSettings

CULLER = "idle-culler"
CULLER_SCOPES = ("list:users", "read:users:activity", "read:servers", "delete:servers")
_LONGEST_LOOK = 600
_AGES = 10 * 365 * 86400


def culler_command(culling: CullingSettings) -> list[str]:
    """The command of the hub's managed service; empty when nothing is ever stopped."""
    idle, oldest = culling.idle_minutes * 60, round(culling.longest_days * 86400)
    if not idle and not oldest:
        return []
    look = min(seconds // 4 for seconds in (idle, oldest) if seconds)
    return [
        *(sys.executable, "-m", "cscale_hub.culling", "--parent", str(os.getpid()), "--"),
        # Without a time for idleness only age counts.
        f"--timeout={idle or _AGES}",
        f"--max-age={oldest}",
        f"--cull-every={max(1, min(look, _LONGEST_LOOK))}",
        "--concurrency=5",
    ]
