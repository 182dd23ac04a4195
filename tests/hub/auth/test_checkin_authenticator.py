"""Login and renewal against a provider that misbehaves in every way we know of."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from oauthenticator.oauth2 import _serialize_state
from tornado.web import HTTPError

from cscale_core.identity.slug import user_slug
from cscale_hub.auth.checkin import CheckinAuthenticator, NoAcceptedVO, ProviderUnavailable
from cscale_hub.auth.oidc import nonce_for

SUBJECT = f"{'ab' * 32}@egi.eu"
AQUA = "vo:aquamonitor.c-scale.eu"
VERIFIER = "v" * 43


class Handler:
    """The callback request: state cookie and code. The fake provider takes the code as nonce."""

    def __init__(self, nonce: str | None = None) -> None:
        self.code = nonce if nonce is not None else nonce_for(VERIFIER)

    def get_argument(self, name: str, default: Any = None) -> Any:
        return {"code": self.code}.get(name, default)

    def get_state_cookie(self) -> str:
        return _serialize_state({"state_id": "x", "code_verifier": VERIFIER})


def state(*, left: float, refresh: str | None = "refresh-0") -> dict[str, Any]:
    return {
        "access_token": "access-0",
        "refresh_token": refresh,
        "id_token": "id-0",
        "scope": ["openid"],
        "token_type": "Bearer",
        "expires_at": time.time() + left,
        "sub": SUBJECT,
        "display_name": "Aqua Monitor member",
        "oauth_user": {
            "sub": SUBJECT,
            "eduperson_entitlement": [
                "urn:mace:egi.eu:group:aquamonitor.c-scale.eu:role=member#aai.egi.eu"
            ],
        },
    }


class User:
    """The part of JupyterHub's user that renewal needs."""

    def __init__(self, kept: dict[str, Any] | None) -> None:
        self.name = user_slug(SUBJECT)
        self.state = kept
        self.saves = 0
        self.groups: list[str] = [AQUA, f"{AQUA}:member"]
        self.spawners: dict[str, Any] = {}

    def sync_groups(self, groups: list[str]) -> None:
        self.groups = groups

    async def get_auth_state(self) -> dict[str, Any] | None:
        await asyncio.sleep(0)
        return None if self.state is None else dict(self.state)

    async def save_auth_state(self, new: dict[str, Any]) -> None:
        self.saves += 1
        self.state = dict(new)


async def test_login_gives_slug_groups_and_tokens(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    model = await authenticator.authenticate(Handler())
    assert model["name"] == user_slug(SUBJECT)
    assert model["groups"] == [AQUA, f"{AQUA}:member"]
    assert model["admin"] is None
    assert model["auth_state"]["refresh_token"] == "refresh-0"
    assert model["auth_state"]["display_name"] == "Aqua Monitor member"
    assert await authenticator.check_allowed(model["name"], model)


async def test_discovery_is_tried_again_until_the_issuer_is_there(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.discovery_failures = 2
    assert (await authenticator.authenticate(Handler()))["groups"]


async def test_absent_issuer_is_an_explained_503(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.discovery_failures = 10_000
    authenticator.discovery_timeout = 0.6
    with pytest.raises(ProviderUnavailable) as caught:
        await authenticator.discover()
    assert caught.value.status_code == 503
    assert "EGI Check-in does not answer" in caught.value.jupyterhub_message


async def test_discovery_document_of_another_issuer_is_refused(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    authenticator.issuer = provider.issuer.replace("127.0.0.1", "localhost")
    with pytest.raises(ProviderUnavailable):
        await authenticator.discover()


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "of another login"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": ["cscale-hub", "other"], "azp": "other"},
        {"aud": ["cscale-hub", "other"], "azp": None},
        {"azp": "other"},
        {"iss": "http://evil.example"},
        {"exp": 1},
        {"sub": None},
    ],
)
async def test_login_with_a_wrong_id_token_is_refused(
    provider: Any, authenticator: CheckinAuthenticator, claims: dict[str, Any]
) -> None:
    provider.claims = claims
    with pytest.raises(HTTPError) as caught:
        await authenticator.authenticate(Handler())
    assert caught.value.status_code == 403


async def test_userinfo_of_another_person_is_refused(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.userinfo_subject = f"{'cd' * 32}@egi.eu"
    with pytest.raises(HTTPError) as caught:
        await authenticator.authenticate(Handler())
    assert caught.value.status_code == 403


async def test_keys_are_fetched_again_after_a_rollover(
    provider: Any, authenticator: CheckinAuthenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await authenticator.authenticate(Handler())
    monkeypatch.setattr("cscale_hub.auth.oidc._REFETCH_SECONDS", 0.0)
    provider.kid = "key-2"
    assert await authenticator.authenticate(Handler())


async def test_person_in_no_accepted_vo_is_told_what_is_missing(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.entitlements = [
        "urn:mace:egi.eu:group:vo.notebooks.egi.eu:role=member#aai.egi.eu",
        "urn:mace:egi.eu:res:c-scale:country:PT#aai.egi.eu",
    ]
    model = await authenticator.authenticate(Handler())
    with pytest.raises(NoAcceptedVO) as caught:
        await authenticator.check_allowed(model["name"], model)
    assert caught.value.status_code == 403
    assert caught.value.memberships == ["vo.notebooks.egi.eu"]
    assert caught.value.accepted == ["aquamonitor.c-scale.eu", "waterwatch.c-scale.eu"]


async def test_fresh_token_is_kept_and_membership_is_looked_at(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=3000))
    provider.entitlements = ["urn:mace:egi.eu:group:waterwatch.c-scale.eu:role=manager#aai.egi.eu"]
    answer = await authenticator.refresh_user(user)
    assert answer["groups"] == [
        "vo:waterwatch.c-scale.eu",
        "vo:waterwatch.c-scale.eu:manager",
    ]
    assert "auth_state" not in answer
    assert provider.refreshes == []


async def test_token_is_renewed_ahead_of_its_end_with_scope_and_rotation_is_kept(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=300))
    assert (await authenticator.refresh_user(user))["groups"] == [AQUA, f"{AQUA}:member"]
    assert provider.refreshes[0]["scope"] == "openid offline_access"
    assert user.state["access_token"] == "access-1"
    assert user.state["refresh_token"] == "refresh-1"
    assert user.state["expires_at"] > time.time() + 3000


async def test_fifty_requests_at_once_renew_once(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=10))
    answers = await asyncio.gather(*(authenticator.refresh_user(user) for _ in range(50)))
    assert all(answers)
    assert len(provider.refreshes) == 1
    assert user.saves == 1


async def test_old_refresh_token_stays_when_none_is_sent(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.rotate = False
    user = User(state(left=10))
    assert await authenticator.refresh_user(user)
    assert user.state["refresh_token"] == "refresh-0"


async def test_refused_refresh_token_means_login(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.valid_refresh = set()
    assert await authenticator.refresh_user(User(state(left=300))) is False


async def test_outage_logs_nobody_out_before_the_token_ends(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    await authenticator.discover()
    provider.outage = True
    user = User(state(left=60))
    assert await authenticator.refresh_user(user) is True
    assert user.state["refresh_token"] == "refresh-0"
    user.state["expires_at"] = time.time() - 1
    assert await authenticator.refresh_user(user) is False


async def test_rotated_refresh_token_survives_a_failing_userinfo(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.userinfo_status = 500
    user = User(state(left=60))
    assert (await authenticator.refresh_user(user))["groups"] == [AQUA, f"{AQUA}:member"]
    assert user.state["refresh_token"] == "refresh-1"


async def test_revoked_token_that_looks_fresh_is_renewed_and_saved(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.userinfo_status = 401
    user = User(state(left=3000))
    await authenticator.refresh_user(user)
    assert len(provider.refreshes) == 1
    assert user.state["refresh_token"] == "refresh-1"


async def test_lost_membership_ends_the_session(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.entitlements = []
    assert await authenticator.refresh_user(User(state(left=3000))) is False


async def test_no_auth_state_means_login(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    assert await authenticator.refresh_user(User(None)) is False
