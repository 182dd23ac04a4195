"""Login and renewal against a provider that misbehaves in every way we know of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from jupyterhub.handlers.pages import SpawnHandler
from oauthenticator.oauth2 import _serialize_state
from tornado.web import HTTPError

from cscale_core.identity.slug import user_slug
from cscale_hub.auth.checkin import CheckinAuthenticator, NoAcceptedVO, ProviderUnavailable
from cscale_hub.auth.oidc import nonce_for

SUBJECT = f"{'ab' * 32}@egi.eu"
AQUA = "vo:aquamonitor.c-scale.eu"
VERIFIER = "v" * 43

Make = Callable[..., CheckinAuthenticator]


class Handler:
    """The callback request: state cookie and code. The fake provider takes the code as nonce."""

    def __init__(self, nonce: str | None = None) -> None:
        self.code = nonce if nonce is not None else nonce_for(VERIFIER)

    def get_argument(self, name: str, default: Any = None) -> Any:
        return {"code": self.code}.get(name, default)

    def get_state_cookie(self) -> str:
        return _serialize_state({"state_id": "x", "code_verifier": VERIFIER})


def state(*, left: float, refresh: str | None = "refresh-0", **changes: Any) -> dict[str, Any]:
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
        **changes,
    }


class User:
    """The part of JupyterHub's user that renewal needs."""

    def __init__(self, kept: dict[str, Any] | None) -> None:
        self.name = user_slug(SUBJECT)
        self.state = kept
        self.saved: list[dict[str, Any] | None] = []
        self.changed = asyncio.Event()
        self.groups: list[str] = [AQUA, f"{AQUA}:member"]
        self.spawners: dict[str, Any] = {}

    def sync_groups(self, groups: list[str]) -> None:
        self.groups = groups

    async def get_auth_state(self) -> dict[str, Any] | None:
        await asyncio.sleep(0)
        return None if self.state is None else dict(self.state)

    async def save_auth_state(self, new: dict[str, Any] | None) -> None:
        await asyncio.sleep(0)
        self.saved.append(new)
        self.state = None if new is None else dict(new)
        self.changed.set()


class Server:
    def __init__(self, *, active: bool) -> None:
        self.active = active


# Login


async def test_login_gives_slug_groups_and_tokens(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    model = await authenticator.authenticate(Handler())
    assert model["name"] == user_slug(SUBJECT)
    assert model["groups"] == [AQUA, f"{AQUA}:member"]
    assert model["admin"] is None
    assert model["auth_state"]["refresh_token"] == "refresh-0"
    assert model["auth_state"]["display_name"] == "Aqua Monitor member"
    assert model["auth_state"]["sub"] == SUBJECT
    assert await authenticator.check_allowed(model["name"], model)


async def test_discovery_is_tried_again_until_the_issuer_is_there(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.discovery_failures = 2
    assert (await authenticator.authenticate(Handler()))["groups"]


async def test_absent_issuer_is_an_explained_503(provider: Any, make_authenticator: Make) -> None:
    provider.discovery_failures = 10_000
    with pytest.raises(ProviderUnavailable) as caught:
        await make_authenticator(discovery_timeout=0.6).discover()
    assert caught.value.status_code == 503
    assert "EGI Check-in does not answer" in caught.value.jupyterhub_message
    assert provider.discoveries > 1


async def test_many_who_sign_in_at_once_ask_for_discovery_once(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    await asyncio.gather(*(authenticator.discover(again=True) for _ in range(30)))
    assert provider.discoveries == 1


async def test_further_logins_ask_for_tokens_and_userinfo_alone(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    for _ in range(3):
        await authenticator.discover(again=True)
        await authenticator.authenticate(Handler())
    assert (provider.discoveries, provider.keys_asked) == (1, 1)
    assert (provider.count, provider.userinfo_asked) == (3, 3)


async def test_nobody_is_sent_to_a_provider_that_just_failed_unasked(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    await authenticator.discover(again=True)
    provider.outage = True
    with pytest.raises(ProviderUnavailable):
        await authenticator.authenticate(Handler())
    await authenticator.discover(again=True)
    assert provider.discoveries == 2


async def test_a_provider_that_was_heard_long_ago_is_asked_before_a_login(
    provider: Any, make_authenticator: Make
) -> None:
    authenticator = make_authenticator(provider_trust=0.0)
    await authenticator.discover(again=True)
    await authenticator.discover(again=True)
    assert provider.discoveries == 2


async def test_discovery_document_of_another_issuer_is_refused(
    provider: Any, make_authenticator: Make
) -> None:
    other = provider.issuer.replace("127.0.0.1", "localhost")
    with pytest.raises(ProviderUnavailable):
        await make_authenticator(issuer=other).discover()


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
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    await authenticator.authenticate(Handler())
    provider.kid = "key-2"
    assert await authenticator.authenticate(Handler())


async def test_person_in_no_accepted_vo_is_told_what_is_missing_and_nothing_is_kept(
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
    names = [vo.name for vo in caught.value.accepted]
    assert names == ["aquamonitor.c-scale.eu", "waterwatch.c-scale.eu"]
    assert [form["token"] for form in provider.revoked] == ["refresh-0"]


@pytest.mark.parametrize(
    "entitlement",
    [
        "urn:mace:egi.eu:group:aquamonitor.c-scale.eu.evil:role=member#aai.egi.eu",
        "urn:mace:egi.eu:group:aquamonitor.c-scale.eu:role=member#evil.example",
        "urn:mace:egi.eu:res:aquamonitor.c-scale.eu:role=member#aai.egi.eu",
        "urn:mace:evil.example:group:aquamonitor.c-scale.eu:role=member#aai.egi.eu",
        "aquamonitor.c-scale.eu",
        {"value": "urn:mace:egi.eu:group:aquamonitor.c-scale.eu:role=member#aai.egi.eu"},
    ],
)
async def test_what_only_looks_like_membership_gives_no_group(
    provider: Any, authenticator: CheckinAuthenticator, entitlement: Any
) -> None:
    provider.entitlements = [entitlement]
    assert (await authenticator.authenticate(Handler()))["groups"] == []


# Membership


async def test_fresh_token_is_kept_and_membership_is_looked_at(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=3000))
    provider.entitlements = ["urn:mace:egi.eu:group:waterwatch.c-scale.eu:role=manager#aai.egi.eu"]
    assert await authenticator.refresh_user(user) is True
    assert user.groups == ["vo:waterwatch.c-scale.eu", "vo:waterwatch.c-scale.eu:manager"]
    assert user.state["oauth_user"]["eduperson_entitlement"] == provider.entitlements
    assert provider.refreshes == []


async def test_membership_is_asked_for_once_in_its_interval(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=3000))
    for _ in range(3):
        assert await authenticator.refresh_user(user)
    assert provider.userinfo_asked == 1
    assert len(user.saved) == 1  # userinfo was new; nothing after it was


async def test_who_starts_a_server_is_looked_at_again(
    provider: Any, authenticator: CheckinAuthenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cscale_hub.auth.keeping._JUST_NOW", 0.0)
    user = User(state(left=3000))
    await authenticator.refresh_user(user)
    provider.entitlements = []
    assert await authenticator.refresh_user(user, SpawnHandler.__new__(SpawnHandler)) is False
    assert user.groups == []


async def test_lost_membership_ends_the_session_here_and_there(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.entitlements = []
    user = User(state(left=3000))
    assert await authenticator.refresh_user(user) is False
    # Requests with an API token go on in JupyterHub: nothing may be left to stand on.
    assert (user.groups, user.state) == ([], None)
    assert [form["token"] for form in provider.revoked] == ["refresh-0"]


async def test_no_auth_state_means_login(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    assert await authenticator.refresh_user(User(None)) is False


# Renewal


async def test_token_is_renewed_ahead_of_its_end_with_scope_and_rotation_is_kept(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=300))
    assert await authenticator.refresh_user(user) is True
    assert user.groups == [AQUA, f"{AQUA}:member"]
    assert provider.refreshes[0]["scope"] == "openid offline_access"
    assert user.state["access_token"] == "access-1"
    assert user.state["refresh_token"] == "refresh-1"
    assert user.state["expires_at"] > time.time() + 3000
    assert user.state["renew_at"] < user.state["expires_at"] - 600


async def test_fifty_requests_at_once_renew_once(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=10))
    answers = await asyncio.gather(*(authenticator.refresh_user(user) for _ in range(50)))
    assert all(answers)
    assert len(provider.refreshes) == 1


async def test_requests_of_both_kinds_at_once_renew_once(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=10))
    starting = SpawnHandler.__new__(SpawnHandler)
    asked = [authenticator.refresh_user(user, handler) for handler in (None, starting) * 10]
    assert all(await asyncio.gather(*asked))
    assert len(provider.refreshes) == 1


async def test_renewal_goes_on_when_who_asked_goes_away(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=10))
    provider.gate.clear()
    asked = asyncio.ensure_future(authenticator.refresh_user(user))
    await provider.reached.wait()
    asked.cancel()
    provider.gate.set()
    assert await authenticator.refresh_user(user) is True
    assert user.state["refresh_token"] == "refresh-1"
    assert len(provider.refreshes) == 1


async def test_old_refresh_token_stays_when_none_is_sent(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.rotate = False
    user = User(state(left=10))
    assert await authenticator.refresh_user(user)
    assert user.state["refresh_token"] == "refresh-0"
    assert user.state["access_token"] == "access-1"


async def test_refused_refresh_token_means_login(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.valid_refresh = set()
    user = User(state(left=300))
    assert await authenticator.refresh_user(user) is False
    assert (user.groups, user.state) == ([], None)


async def test_refusal_for_another_reason_ends_no_session(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    # The operator's mistake, such as a wrong client secret, is not the user's end.
    provider.valid_refresh, provider.refused = set(), "invalid_client"
    user = User(state(left=300))
    assert await authenticator.refresh_user(user) is True
    assert user.state["refresh_token"] == "refresh-0"


async def test_rotated_refresh_token_survives_a_failing_userinfo(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.userinfo_status = 500
    user = User(state(left=60))
    assert await authenticator.refresh_user(user) is True
    assert user.groups == [AQUA, f"{AQUA}:member"]
    assert user.state["refresh_token"] == "refresh-1"


async def test_revoked_token_that_looks_fresh_is_renewed_and_saved(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.userinfo_status = 401
    user = User(state(left=3000))
    await authenticator.refresh_user(user)
    assert len(provider.refreshes) == 1
    assert user.state["refresh_token"] == "refresh-1"


async def test_login_without_a_refresh_token_ends_with_its_access_token(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=10, refresh=None))
    assert await authenticator.refresh_user(user) is True
    other = User(state(left=10, refresh=None))
    other.name = "u-other"
    provider.userinfo_status = 401
    assert await authenticator.refresh_user(other) is False


@pytest.mark.parametrize(
    "claims",
    [{"sub": f"{'cd' * 32}@egi.eu"}, {"aud": "another-client"}, {"iss": "http://evil.example"}],
)
async def test_renewal_with_a_wrong_id_token_ends_the_session(
    provider: Any, authenticator: CheckinAuthenticator, claims: dict[str, Any]
) -> None:
    provider.renewed_id_token = provider.id_token(**claims)
    user = User(state(left=10))
    assert await authenticator.refresh_user(user) is False
    assert (user.groups, user.state) == ([], None)


async def test_renewed_id_token_takes_the_place_of_the_old_one(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.renewed_id_token = provider.id_token()
    user = User(state(left=10))
    assert await authenticator.refresh_user(user) is True
    assert user.state["id_token"] == provider.renewed_id_token


async def test_userinfo_of_somebody_else_after_renewal_ends_the_session(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    provider.userinfo_subject = f"{'cd' * 32}@egi.eu"
    user = User(state(left=10))
    assert await authenticator.refresh_user(user) is False
    # What is ended is the session as it is after the renewal.
    assert provider.revoked[0]["token"] == "refresh-1"


async def test_login_during_a_look_is_not_overwritten_by_it(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=10))
    provider.valid_refresh = set()  # the former session has ended
    provider.gate.clear()
    asked = asyncio.ensure_future(authenticator.refresh_user(user))
    await provider.reached.wait()
    new = state(left=3600, refresh="refresh-new", access_token="access-new")
    model = {"groups": user.groups, "auth_state": new}
    assert await authenticator.check_allowed(user.name, model)
    provider.gate.set()
    assert await asked is True
    # JupyterHub has not saved the new login yet: the old one must not be looked at meanwhile.
    assert await authenticator.refresh_user(user) is True
    await user.save_auth_state(new)
    assert await authenticator.refresh_user(user) is True
    assert user.state["refresh_token"] == "refresh-new"
    assert user.groups == [AQUA, f"{AQUA}:member"]
    assert len(provider.refreshes) == 1


# Outage


async def test_outage_logs_nobody_out_before_the_grace_is_over(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    await authenticator.discover()
    provider.outage = True
    user = User(state(left=60))
    assert await authenticator.refresh_user(user) is True
    assert user.state["refresh_token"] == "refresh-0"
    user.state["expires_at"] = time.time() - 50
    assert await authenticator.refresh_user(user) is True
    user.state["expires_at"] = time.time() - 150
    assert await authenticator.refresh_user(user) is False
    # What was kept is still there: when the provider is back, jobs go on without a login.
    assert user.state["refresh_token"] == "refresh-0"
    assert user.groups == [AQUA, f"{AQUA}:member"]


async def test_provider_that_does_not_answer_is_left_alone_for_a_while(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    await authenticator.discover()
    provider.outage = True
    user = User(state(left=3000))
    for _ in range(20):
        assert await authenticator.refresh_user(user) is True
    assert provider.userinfo_asked < 5


async def test_slow_provider_keeps_no_request_waiting(
    provider: Any, make_authenticator: Make
) -> None:
    authenticator = make_authenticator(patience=0.1)
    await authenticator.discover()
    user = User(state(left=10))
    provider.gate.clear()
    assert await authenticator.refresh_user(user) is True  # while the provider still thinks
    assert await authenticator.refresh_user(user) is True
    assert user.saved == []
    provider.gate.set()
    async with asyncio.timeout(30):
        await user.changed.wait()
    assert user.state["refresh_token"] == "refresh-1"
    assert len(provider.refreshes) == 1


async def test_person_waits_for_a_slow_provider_once_and_not_at_each_request(
    provider: Any, make_authenticator: Make
) -> None:
    authenticator = make_authenticator(patience=1.0)
    await authenticator.discover()
    user = User(state(left=10))
    provider.gate.clear()
    began = time.monotonic()
    for _ in range(30):
        assert await authenticator.refresh_user(user) is True
    assert time.monotonic() - began < 20  # not thirty seconds
    provider.gate.set()
    async with asyncio.timeout(30):
        await user.changed.wait()
    assert await authenticator.refresh_user(user) is True
    assert len(provider.refreshes) == 1


# Logout


async def test_logout_does_not_wait_for_a_slow_provider(
    provider: Any, make_authenticator: Make
) -> None:
    authenticator = make_authenticator(patience=0.1)
    await authenticator.discover()
    user = User(state(left=10))
    provider.gate.clear()
    assert await authenticator.refresh_user(user) is True
    await authenticator.logged_out(user)  # returns, while the renewal is under way
    assert user.state is not None
    provider.gate.set()
    async with asyncio.timeout(30):
        await provider.told.wait()
    assert user.state is None
    assert [form["token"] for form in provider.revoked] == ["refresh-1"]


async def test_logout_ends_the_login_at_the_provider(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=3000))
    await authenticator.logged_out(user)
    assert (user.groups, user.state) == ([], None)
    assert provider.revoked[0]["token"] == "refresh-0"
    assert provider.revoked[0]["token_type_hint"] == "refresh_token"


async def test_what_runs_after_logout_keeps_the_login_until_the_last_server_stops(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=10))
    user.spawners = {"": Server(active=True), "second": Server(active=True)}
    await authenticator.logged_out(user)
    assert await authenticator.refresh_user(user) is True  # renewed as before
    assert user.state["refresh_token"] == "refresh-1"
    await authenticator.post_spawn_stop(user, user.spawners["second"])
    assert provider.revoked == []
    user.spawners["second"].active = False
    await authenticator.post_spawn_stop(user, user.spawners[""])
    assert user.state is None
    assert [form["token"] for form in provider.revoked] == ["refresh-1"]


async def test_server_that_stops_without_a_logout_ends_no_login(
    provider: Any, authenticator: CheckinAuthenticator
) -> None:
    user = User(state(left=3000))
    user.spawners = {"": Server(active=False)}
    await authenticator.post_spawn_stop(user, user.spawners[""])
    assert user.state is not None
    assert provider.revoked == []
