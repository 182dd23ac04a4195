"""Waiting for the place that gives out keys of the object store, for programs that outlive it.

The keys of a program in a user's server come from the server's own endpoint
(``AWS_CONTAINER_CREDENTIALS_FULL_URI``). An application that runs on while the server is restarted
finds nobody there for some seconds; the next server answers at the same address. Standard library
only.
"""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from pathlib import Path

URI, TOKEN_FILE = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
#: A server that was killed is seen by the hub, and started again by a person, in this time.
PATIENCE = 180.0
_PAUSE = 1.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_for_keys(patience: float = PATIENCE) -> bool:
    """Wait until the endpoint gives out keys; whether it does. False at once where none is set."""
    address = os.environ.get(URI, "")
    if not address.startswith("http://127.0.0.1:"):
        return False
    until = time.monotonic() + patience
    while not _given(address):
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE)
    return True


def _given(address: str) -> bool:
    try:
        secret = Path(os.environ[TOKEN_FILE]).read_text(encoding="ascii").strip()
        request = urllib.request.Request(address, headers={"Authorization": secret})  # noqa: S310
        with _OPENER.open(request, timeout=10) as answer:
            return int(answer.status) == 200
    except (OSError, KeyError, ValueError):
        # Nobody there, nobody's file, or a server that cannot have keys itself at the moment.
        return False
