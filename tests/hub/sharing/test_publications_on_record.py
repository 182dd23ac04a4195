"""What servers tell of published notebooks is in the audit log, under their owner's name."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.hub.spawn.conftest import RunningHub

AQUA, WATER = "aqua.example", "water.example"
TOLD = {
    "action": "notebook.publish",
    "outcome": "done",
    "vo": AQUA,
    "author": "ualiceaaaaaa",
    "notebook": "water-quality",
    "version": "3",
    "source_hash": "0" * 64,
}


def tell(hub: RunningHub, token: str, body: Any) -> httpx.Response:
    return httpx.post(
        f"{hub.url}/hub/api/cscale/notebooks",
        headers={"Authorization": f"token {token}"},
        json=body,
        timeout=60,
        trust_env=False,
    )


def on_record(hub: RunningHub, person: str) -> list[dict[str, Any]]:
    text = (hub.folder / "audit").read_text(encoding="utf-8")
    events = [json.loads(line) for line in text.splitlines()]
    return [event for event in events if event["user"] == person]


@pytest.fixture(scope="module")
def server(hub: RunningHub) -> tuple[str, str]:
    """Somebody with a server, and its token."""
    name = hub.person(f"{AQUA}:member")
    assert hub.start(name, {"vo": AQUA, "profile": "small"}).status_code in (201, 202)
    return name, hub.said(name)["environment"]["JUPYTERHUB_API_TOKEN"]


def test_what_is_told_is_on_record(hub: RunningHub, server: tuple[str, str]) -> None:
    name, token = server
    before = len(on_record(hub, name))
    assert tell(hub, token, TOLD).status_code == 204
    refused = TOLD | {"outcome": "refused", "code": "secrets_found", "version": ""}
    assert tell(hub, token, refused).status_code == 204
    first, second = on_record(hub, name)[before:]
    assert {key: first[key] for key in TOLD} == TOLD
    assert (first["user"], second["code"]) == (name, "secrets_found")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"vo": WATER}, 403),
        ({"vo": "unheard.example"}, 403),
        ({"user": "somebody-else"}, 400),
        ({"action": "login"}, 400),
        ({"author": "x" * 5000}, 400),
        ({"author": "A\n{}"}, 400),
        ({"notebook": "../x"}, 400),
        ({"code": "<b>"}, 400),
        ({"source_hash": "secret"}, 400),
        ({"version": "x"}, 400),
    ],
)
def test_what_cannot_be_is_not_on_record(
    hub: RunningHub, server: tuple[str, str], change: dict[str, str], status: int
) -> None:
    name, token = server
    before = on_record(hub, name)
    assert tell(hub, token, TOLD | change).status_code == status
    assert on_record(hub, name) == before


def test_only_servers_tell(hub: RunningHub, server: tuple[str, str]) -> None:
    name, _ = server
    before = on_record(hub, name)
    own = hub.api("POST", f"/users/{name}/tokens", {"note": "own"}).json()["token"]
    for token in (own, hub.token, "made-up"):
        assert tell(hub, token, TOLD).status_code == 403
    assert on_record(hub, name) == before
