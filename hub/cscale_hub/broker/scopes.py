"""JupyterHub's scopes around the broker, as the hub defines them and the broker looks for them."""

from __future__ import annotations

SCOPE = "custom:cscale-broker:use"
"""To ask the broker; a server has it for itself, and only then it counts."""

READ_SCOPE = "custom:cscale-broker:read"
"""To read what is needed of a login (:mod:`cscale_hub.broker.logins`); the broker's alone."""

DESCRIPTIONS = {
    SCOPE: {"description": "Get short-lived tokens and S3 credentials from the broker"},
    READ_SCOPE: {"description": "Read the access token that the hub keeps of a person"},
}
"""For ``JupyterHub.custom_scopes``."""
