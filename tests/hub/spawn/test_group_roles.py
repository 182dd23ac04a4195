"""Who may let whom into an own server: only members of VOs that want it, only their own VO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cscale_hub.group_roles import group_roles
from cscale_hub.vo_model import VOFile

if TYPE_CHECKING:
    from tests.hub.spawn.conftest import RunningHub


def vo(**changes: object) -> dict[str, object]:
    return {"title": "T", "entitlement": {"group": "g"}, **changes}


def test_no_vo_asks_for_it_no_role_is_made() -> None:
    file = VOFile.model_validate({"vos": {"a.example": vo(bucket="aaa")}})
    assert group_roles(file) == []


def share(hub: RunningHub, owner: str, **to: str) -> httpx.Response:
    """What a person can do with a token of their own."""
    token = hub.api("POST", f"/users/{owner}/tokens", {"note": "share"}).json()["token"]
    return httpx.post(
        f"{hub.url}/hub/api/shares/{owner}/",
        headers={"Authorization": f"token {token}"},
        json=to,
        timeout=60,
        trust_env=False,
    )


@pytest.fixture
def owner(hub: RunningHub) -> str:
    name = hub.person("aqua.example:member")
    hub.person("water.example:member")  # so that the other VO's group exists
    assert hub.start(name).status_code in (201, 202)
    return name


def test_a_server_is_shared_with_the_own_vo_and_its_people(hub: RunningHub, owner: str) -> None:
    colleague = hub.person("aqua.example:member")
    assert share(hub, owner, group="vo:aqua.example").status_code == 200
    assert share(hub, owner, user=colleague).status_code == 200


def test_nobody_of_another_vo_can_be_let_in(hub: RunningHub, owner: str) -> None:
    stranger = hub.person("water.example:member")
    answers: list[Any] = [
        share(hub, owner, group="vo:water.example"),
        share(hub, owner, user=stranger),
    ]
    assert all(answer.status_code in (400, 403, 404) for answer in answers), answers


def test_a_vo_that_does_not_want_it_shares_nothing(hub: RunningHub) -> None:
    name = hub.person("water.example:member")
    assert hub.start(name).status_code in (201, 202)
    assert share(hub, name, group="vo:water.example").status_code in (403, 404)
