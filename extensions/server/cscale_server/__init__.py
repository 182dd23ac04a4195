"""The Jupyter server extension of C-SCALE Hub: REST routes, events, credentials, mounts.

Importing this package is cheap on purpose: the server imports it before the user sees anything.
Everything heavy (object store and openEO clients, rasters, data frames) is imported when used.
"""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Where Jupyter Server finds the extension, enabled as ``cscale_server``."""
    from cscale_server.app import CScaleExtension

    return [{"module": "cscale_server", "app": CScaleExtension}]
