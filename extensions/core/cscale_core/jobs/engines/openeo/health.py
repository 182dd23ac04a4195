"""What a back end is and can do, asked for once in a while: versions, endpoints, logins, health.

Version discovery (``/.well-known/openeo``) is the official client's; ``GET /`` says what is
supported; ``GET /health`` is optional in openEO API 1.2, and a back end without it is taken for
healthy when it answers at all.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cscale_core.errors import CScaleError
from cscale_core.jobs.engines.openeo.login import NoLogin
from cscale_core.jobs.engines.openeo.remote import Remote
from cscale_core.jobs.model import utc_now

#: Seconds for which an answer, or the lack of one, is kept.
KEPT_GOOD = 900.0
KEPT_BAD = 60.0


@dataclass(frozen=True)
class Service:
    """One back end as it was seen at ``checked``.

    :ivar url: root of the version in use.
    :ivar logins: ``oidc``, ``basic``, as the back end offers them.
    :ivar endpoints: such as ``GET /jobs/{job_id}/estimate``.
    :ivar problem: why it is not online; empty when it is.
    :ivar limits: the largest values of options that it takes, as far as it says.
    """

    id: str
    title: str
    url: str
    online: bool
    checked: datetime
    seconds: float = 0.0
    api_version: str = ""
    version: str = ""
    logins: tuple[str, ...] = ()
    endpoints: frozenset[str] = field(default_factory=frozenset)
    problem: str = ""
    limits: dict[str, Any] = field(default_factory=dict)

    def offers(self, method: str, path: str) -> bool:
        """Whether an endpoint is listed; parameters may have any name."""
        return f"{method} {_shape(path)}" in self.endpoints


def _shape(path: str) -> str:
    parts = path.strip("/").split("/")
    return "/" + "/".join("{}" if part.startswith("{") else part for part in parts)


def _seen(connection: Any) -> dict[str, Any]:
    # Public by the specification; a session that has ended is no matter of the back end's health.
    answer = connection.get("/", auth=NoLogin(), expected_status=200).json()
    endpoints = frozenset(
        f"{method} {_shape(str(entry.get('path', '')))}"
        for entry in answer.get("endpoints") or ()
        if isinstance(entry, dict)
        for method in entry.get("methods") or ()
    )
    health = connection.get("/health", check_error=False, auth=NoLogin()).status_code
    logins = [name for name in ("oidc", "basic") if f"GET /credentials/{name}" in endpoints]
    return {
        "url": connection.root_url,
        "api_version": str(answer.get("api_version", "")),
        "version": str(answer.get("backend_version", "")),
        "logins": tuple(logins),
        "endpoints": endpoints,
        "online": health < 500,
        "problem": f"It says it is not healthy (status {health})." if health >= 500 else "",
    }


def _limits(connection: Any) -> dict[str, Any]:
    """What is left of the user's credits: the largest ``budget`` a job may have."""
    budget = connection.get("/me", expected_status=200).json().get("budget")
    known = isinstance(budget, int | float) and not isinstance(budget, bool)
    return {"budget": budget} if known else {}


class Health:
    """The state of one back end, kept for a while."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._kept: Service | None = None
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def state(self) -> Service:
        """The state; never raises, a back end that is down is one that says so."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            if self._kept is None or loop.time() >= self._until:
                self._kept = await self._ask()
                self._until = loop.time() + (KEPT_GOOD if self._kept.online else KEPT_BAD)
            return self._kept

    async def _ask(self) -> Service:
        loop = asyncio.get_running_loop()
        backend = self._remote.backend
        began = loop.time()
        try:
            seen = await self._remote.act(_seen)
        except CScaleError as error:
            seen = {"url": backend.url, "online": False, "problem": error.message}
        if seen["online"] and "GET /me" in seen["endpoints"]:
            # Without a login, or an answer, the limits are simply not known.
            with suppress(CScaleError):
                seen["limits"] = await self._remote.act(_limits)
        return Service(
            id=backend.id,
            title=backend.title,
            checked=utc_now(),
            seconds=loop.time() - began,
            **seen,
        )
