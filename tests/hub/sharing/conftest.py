"""The hub of the spawners' tests, and people in their browsers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.hub.spawn.conftest import RunningHub
from tests.hub.spawn.conftest import hub as hub  # the fixture


@pytest.fixture
def browser(hub: RunningHub) -> Iterator[Callable[[str], httpx.Client]]:
    """Logs somebody in, as a browser does."""
    made: list[httpx.Client] = []

    def log_in(name: str) -> httpx.Client:
        client = httpx.Client(base_url=hub.url, timeout=60, trust_env=False)
        made.append(client)
        client.get("/hub/login")
        body = {"username": name, "password": "", "_xsrf": client.cookies["_xsrf"]}
        answer = client.post("/hub/login", data=body)
        assert answer.status_code == 302, answer.text
        client.get("/hub/home")
        return client

    yield log_in
    for client in made:
        client.close()


@pytest.fixture
def reaches(hub: RunningHub) -> Callable[[str, str], bool]:
    """Whether somebody may go into the server of somebody else, by the hub's own word."""

    def ask(guest: str, owner: str) -> bool:
        made = hub.api("POST", f"/users/{guest}/tokens", {"note": "t"})
        assert made.status_code == 201, made.text
        token = made.json()["token"]
        answer = httpx.get(
            f"{hub.url}/hub/api/user",
            headers={"Authorization": f"token {token}"},
            timeout=60,
            trust_env=False,
        )
        scopes = answer.json()["scopes"]
        return any(
            scope.startswith(f"access:servers!server={owner}/")
            or scope in ("access:servers", f"access:servers!user={owner}")
            for scope in scopes
        )

    return ask
