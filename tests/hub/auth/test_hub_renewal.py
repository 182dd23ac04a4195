"""Sessions at a real hub are kept good over the issuer's troubles, and no longer than they are."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from tests.hub.auth.running_hub import RunningHub, Visitor
from tests.hub.auth.switched_issuer import MEMBER, SwitchedIssuer
from tests.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

AQUA, WATER = "vo:aquamonitor.c-scale.eu", "vo:waterwatch.c-scale.eu"
AT_EXPIRY = 50
# Seconds for which JupyterHub takes a login, or a look at it, as one of now.
LOOKED = 1.1


@pytest.fixture
def member(hub: RunningHub, visitor: Visitor) -> Visitor:
    """Somebody who is signed in with tokens of the usual life."""
    assert visitor.sign_in("aqua-manager").status_code == 200
    assert visitor.signed_in()
    return visitor


@pytest.fixture
def due(hub: RunningHub, issuer: SwitchedIssuer, visitor: Visitor) -> Visitor:
    """Somebody whose tokens are to be renewed at the next look; the renewed ones are not."""
    issuer.life = 1
    assert visitor.sign_in("aqua-manager").status_code == 200
    issuer.life = None
    time.sleep(LOOKED)
    return visitor


def kept(hub: RunningHub, name: str) -> str:
    state = hub.model("aqua-manager")["auth_state"]
    return str(state[name]) if state else ""


async def at_once(hub: RunningHub, visitor: Visitor, count: int) -> list[int]:
    async with httpx.AsyncClient(
        base_url=hub.url, cookies=visitor.http.cookies, timeout=60, trust_env=False
    ) as client:
        answers = await asyncio.gather(*(client.get("/hub/token") for _ in range(count)))
    return [answer.status_code for answer in answers]


def test_fifty_requests_at_expiry_cause_one_refresh(
    hub: RunningHub, issuer: SwitchedIssuer, due: Visitor
) -> None:
    before, old = issuer.renewals(), kept(hub, "refresh_token")
    with issuer.holding("token"):  # all of them come while the first renewal is under way
        answers = asyncio.run(at_once(hub, due, AT_EXPIRY))
    assert answers == [200] * AT_EXPIRY
    until(lambda: kept(hub, "refresh_token") not in ("", old), "another refresh token")
    assert due.signed_in()
    assert issuer.renewals() - before == 1
    # The issuer ends a session whose refresh token is used twice; this one is in force.
    assert issuer.in_force(kept(hub, "refresh_token"))


def test_fifty_requests_at_expiry_wait_for_one_refresh_that_is_quick(
    hub: RunningHub, issuer: SwitchedIssuer, due: Visitor
) -> None:
    before = issuer.renewals()
    assert asyncio.run(at_once(hub, due, AT_EXPIRY)) == [200] * AT_EXPIRY
    until(lambda: due.signed_in() and issuer.renewals() > before, "the renewal")
    assert issuer.renewals() - before == 1
    assert issuer.in_force(kept(hub, "access_token"))


def test_groups_follow_without_a_new_login(
    hub: RunningHub, issuer: SwitchedIssuer, member: Visitor
) -> None:
    assert f"{AQUA}:manager" in hub.model("aqua-manager")["groups"]
    issuer.grant("aqua-manager", MEMBER.format("waterwatch.c-scale.eu"))

    def changed() -> bool:
        assert member.signed_in()
        return sorted(hub.model("aqua-manager")["groups"]) == [WATER, f"{WATER}:member"]

    until(changed, "the other group")


def test_dropped_entitlement_ends_the_session_whoever_asks(
    hub: RunningHub, issuer: SwitchedIssuer, member: Visitor
) -> None:
    refresh_token = kept(hub, "refresh_token")
    xsrf = {"X-XSRFToken": member.http.cookies.get("_xsrf", path="/hub/") or ""}
    made = member.http.post(
        f"/hub/api/users/{hub.slug('aqua-manager')}/tokens", json={}, headers=xsrf
    )
    assert made.status_code == 201, made.text
    api = {"Authorization": f"token {made.json()['token']}"}
    issuer.grant("aqua-manager")

    def groups() -> list[str]:
        with httpx.Client(base_url=hub.url, headers=api, timeout=60, trust_env=False) as client:
            return list(client.get("/hub/api/user").json()["groups"])

    # With a token of their own, which JupyterHub lets live on, they are nobody's member.
    until(lambda: groups() == [], "the end of the groups")
    assert hub.model("aqua-manager")["auth_state"] is None
    assert not member.signed_in()
    until(lambda: not issuer.in_force(refresh_token), "the end of the refresh token")
    # Signing in again leads to the page that says how to enrol.
    assert "Your virtual organisations may not use this hub" in member.sign_in("aqua-manager").text


def test_session_that_the_provider_ended_needs_a_login(
    hub: RunningHub, issuer: SwitchedIssuer, due: Visitor
) -> None:
    issuer.end_session(kept(hub, "refresh_token"))
    until(lambda: not due.signed_in(), "the end of the session")
    assert hub.model("aqua-manager")["auth_state"] is None
    assert hub.model("aqua-manager")["groups"] == []
    assert due.sign_in("aqua-manager").status_code == 200
    assert due.signed_in()


@pytest.mark.parametrize("outage", ["5xx", "no network"])
def test_outage_keeps_the_session_leaves_the_issuer_alone_and_is_measured(
    hub: RunningHub, issuer: SwitchedIssuer, member: Visitor, outage: str
) -> None:
    line = 'cscale_login_checks_total{asked="membership",outcome="unreachable"}'
    before = hub.metric(line)
    asked = len(issuer.asked)
    if outage == "5xx":
        issuer.status["*"] = 503
    else:
        issuer.stop()
    try:
        until(lambda: member.signed_in() and hub.metric(line) > before, "a check in vain")
        assert hub.metric("cscale_identity_provider_pause_seconds") > 0
        for _ in range(30):
            assert member.signed_in()
    finally:
        if outage != "5xx":
            issuer.start()
        issuer.reset()
    assert len(issuer.asked) - asked < 15
    done = 'cscale_login_checks_total{asked="membership",outcome="done"}'
    was = hub.metric(done)
    until(lambda: member.signed_in() and hub.metric(done) > was, "a check that is done")
    assert hub.metric("cscale_identity_provider_pause_seconds") == 0


def test_outage_is_waited_out_until_the_token_ends_and_its_grace_and_no_longer(
    hub: RunningHub, issuer: SwitchedIssuer, due: Visitor
) -> None:
    refresh_token = kept(hub, "refresh_token")
    issuer.status["*"] = 503
    until(lambda: not due.signed_in(), "the end of the session")
    page = due.http.get("/hub/oauth_login")
    assert page.status_code == 503
    assert "does not answer" in page.text
    # Nothing was thrown away: when the issuer is back, the session is too.
    assert kept(hub, "refresh_token") == refresh_token
    issuer.reset()
    until(due.signed_in, "the session")


def test_slow_issuer_keeps_nobody_waiting(
    hub: RunningHub, issuer: SwitchedIssuer, due: Visitor
) -> None:
    before, old = issuer.renewals(), kept(hub, "refresh_token")
    with issuer.holding("token"):
        until(lambda: due.signed_in() and issuer.waiting, "a renewal under way")
        assert due.signed_in()  # an answer, while the issuer still thinks
        assert kept(hub, "refresh_token") == old
    until(lambda: kept(hub, "refresh_token") not in ("", old), "another refresh token")
    assert issuer.renewals() - before == 1


@pytest.mark.parametrize("kind", ["alg none", "wrong audience", "unknown kid", "other sub"])
def test_forged_id_token_in_a_renewal_ends_the_session(
    hub: RunningHub, issuer: SwitchedIssuer, due: Visitor, kind: str
) -> None:
    from tests.hub.auth.test_hub_login import forgeries

    issuer.forge = lambda claims: forgeries()[kind](issuer, claims)
    until(lambda: not due.signed_in(), "the end of the session")
    assert hub.model("aqua-manager")["auth_state"] is None


def test_keys_may_change_between_login_and_renewal(
    hub: RunningHub, issuer: SwitchedIssuer, due: Visitor
) -> None:
    old = kept(hub, "refresh_token")
    issuer.rotate_keys()
    until(
        lambda: due.signed_in() and kept(hub, "refresh_token") not in ("", old),
        "another refresh token",
    )
    assert due.signed_in()


def test_no_token_is_in_the_hubs_log(hub: RunningHub, due: Visitor) -> None:
    seen = {kept(hub, "access_token"), kept(hub, "refresh_token")}
    until(
        lambda: due.signed_in() and kept(hub, "refresh_token") not in seen, "another refresh token"
    )
    seen |= {kept(hub, "access_token"), kept(hub, "refresh_token"), kept(hub, "id_token")}
    assert all(token not in hub.log for token in seen)
