"""The REST API of a running hub, asked with a token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx


@dataclass
class HubApi:
    """A hub that listens, and a token of a service of it.

    :ivar folder: where its files and its log are.
    """

    folder: Path
    url: str
    token: str

    def api(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return httpx.request(
            method,
            f"{self.url}/hub/api{path}",
            headers={"Authorization": f"token {self.token}"},
            json=body,
            timeout=60,
            trust_env=False,
        )
