"""Login at a real hub, against an issuer that lies, changes its keys, or is not there."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from traitlets.config import Config

from cscale_core.identity.slug import user_slug
from cscale_hub.configure import configure
from cscale_hub.settings import SettingsError, load_settings
from tests.hub.auth.running_hub import ENROL, RunningHub, Visitor, command, write_config
from tests.hub.auth.switched_issuer import MEMBER, SwitchedIssuer
from tests.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

AQUA = "vo:aquamonitor.c-scale.eu"
FOREIGN_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def test_login_gives_a_slug_groups_and_tokens_that_stay_in_the_hub(
    hub: RunningHub, issuer: SwitchedIssuer, visitor: Visitor
) -> None:
    page = visitor.sign_in("aqua")
    assert page.status_code == 200
    assert visitor.signed_in()
    model = hub.model("aqua")
    assert sorted(model["groups"]) == [AQUA, f"{AQUA}:member"]
    assert not model["admin"]
    kept = model["auth_state"]
    assert kept["sub"] == issuer.subject("aqua")
    secret = (kept["access_token"], kept["refresh_token"], kept["id_token"])
    database = b"".join(path.read_bytes() for path in (hub.folder / "data/hub").glob("*.sqlite*"))
    for token in secret:
        assert issuer.in_force(token) or token == kept["id_token"]
        assert token not in hub.log
        assert token not in page.text
        assert token.encode() not in database
    assert [event["user"] for event in hub.events("login")][-1] == hub.slug("aqua")


def test_way_to_the_provider_has_pkce_a_nonce_a_state_and_offline_access(
    hub: RunningHub, visitor: Visitor
) -> None:
    answer = visitor.http.get("/hub/oauth_login", follow_redirects=False)
    asked = parse_qs(urlsplit(answer.headers["location"]).query)
    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert "offline_access" in asked["scope"][0].split()
    again = visitor.http.get("/hub/oauth_login", follow_redirects=False)
    other = parse_qs(urlsplit(again.headers["location"]).query)
    for name in ("code_challenge", "nonce", "state"):
        assert len(asked[name][0]) >= 32
        assert asked[name] != other[name]


def forgeries() -> dict[str, Any]:
    """What the issuer sends in the place of its ID token."""

    def with_claims(**changes: Any) -> Any:
        return lambda issuer, claims: issuer.signed({**claims, **changes})

    return {
        "alg none": lambda issuer, claims: issuer.unsigned(claims),
        "HS256 with the public key": lambda issuer, claims: issuer.signed_with_the_public_key(
            claims
        ),
        "wrong audience": with_claims(aud="another-client", azp="another-client"),
        "another client's among several": with_claims(aud=["cscale-hub", "x"], azp="x"),
        "wrong issuer": with_claims(iss="https://evil.example/auth/realms/egi"),
        "expired": with_claims(exp=1_700_000_000, iat=1_699_999_000),
        "not yet": with_claims(iat=4_000_000_000, exp=4_000_001_000),
        "unknown kid": lambda issuer, claims: issuer.signed(claims, kid="never-seen"),
        "another key under the kid": lambda issuer, claims: issuer.signed(claims, key=FOREIGN_KEY),
        "nonce of another login": with_claims(nonce="0" * 64),
        "other sub": with_claims(sub=f"{'cd' * 32}@egi.eu"),
        "not a token": lambda issuer, claims: "a.b.c",
    }


@pytest.mark.parametrize("kind", forgeries())
def test_login_with_a_forged_id_token_is_refused(
    hub: RunningHub, issuer: SwitchedIssuer, visitor: Visitor, kind: str
) -> None:
    issuer.forge = lambda claims: forgeries()[kind](issuer, claims)
    page = visitor.sign_in("aqua")
    assert page.status_code == 403
    assert "did not confirm this login" in page.text
    assert "Traceback" not in page.text
    assert not visitor.signed_in()
    assert hub.api("GET", f"/users/{user_slug('cd' * 32 + '@egi.eu')}").status_code == 404
    last = hub.events("login")[-1]
    assert (last["outcome"], last["user"]) == ("refused", "")


def test_userinfo_of_somebody_else_is_refused(issuer: SwitchedIssuer, visitor: Visitor) -> None:
    issuer.userinfo = lambda said: {**said, "sub": f"{'cd' * 32}@egi.eu"}
    assert visitor.sign_in("aqua").status_code == 403
    assert not visitor.signed_in()


def test_state_of_a_login_is_good_for_one_browser_and_once(
    hub: RunningHub, issuer: SwitchedIssuer, visitor: Visitor
) -> None:
    page = visitor.sign_in("aqua")
    callback = next(
        str(step.url) for step in page.history if step.url.path == "/hub/oauth_callback"
    )
    with Visitor(hub) as thief:
        thief.http.get("/hub/oauth_login", follow_redirects=False)  # has a state of its own
        assert thief.http.get(callback).status_code == 400
        assert not thief.signed_in()
    visitor.http.cookies.delete("jupyterhub-session-id")
    assert visitor.http.get(callback).status_code == 400


def test_error_from_the_provider_is_told_in_our_words(visitor: Visitor) -> None:
    page = visitor.http.get(
        "/hub/oauth_callback",
        params={"error": "access_denied", "error_description": "Call 555-1234 <b>now</b>"},
    )
    assert page.status_code == 403
    assert "did not confirm this login" in page.text
    assert "555" not in page.text


def test_keys_may_be_changed_at_any_time(issuer: SwitchedIssuer, hub: RunningHub) -> None:
    for _ in range(2):
        with Visitor(hub) as visitor:
            assert visitor.sign_in("aqua").status_code == 200
            assert visitor.signed_in()
        issuer.rotate_keys()


@pytest.mark.parametrize("endpoint", ["openid-configuration", "token", "certs", "userinfo"])
def test_issuer_that_is_down_is_an_explained_503(
    hub: RunningHub, issuer: SwitchedIssuer, visitor: Visitor, endpoint: str
) -> None:
    issuer.rotate_keys()  # else the keys are known
    issuer.status[endpoint] = 503
    page = visitor.sign_in("aqua")
    assert page.status_code == 503
    assert "EGI Check-in does not answer" in page.text
    assert page.headers["retry-after"]
    assert not visitor.signed_in()
    issuer.reset()
    assert visitor.sign_in("aqua").status_code == 200
    assert visitor.signed_in()


def test_no_network_is_an_explained_503(
    hub: RunningHub, issuer: SwitchedIssuer, visitor: Visitor
) -> None:
    issuer.stop()
    try:
        page = visitor.http.get("/hub/oauth_login")
    finally:
        issuer.start()
    assert page.status_code == 503
    assert "try again in a minute" in page.text


def test_both_namespaces_and_no_other_make_members(
    hub: RunningHub, issuer: SwitchedIssuer, visitor: Visitor
) -> None:
    issuer.grant(
        "both",
        MEMBER.format("aquamonitor.c-scale.eu.evil"),
        "urn:mace:egi.eu:res:waterwatch.c-scale.eu:role=member#aai.egi.eu",
        "urn:mace:egi.eu:group:waterwatch.c-scale.eu:role=member#evil.example",
        MEMBER.format("aquamonitor.c-scale.eu"),
    )
    visitor.sign_in("both")
    assert sorted(hub.model("both")["groups"]) == [AQUA, f"{AQUA}:member"]


def test_person_without_an_accepted_vo_learns_how_to_enrol_and_is_not_kept(
    hub: RunningHub, issuer: SwitchedIssuer, visitor: Visitor
) -> None:
    page = visitor.sign_in("outsider")
    assert page.status_code == 403
    assert "Your virtual organisations may not use this hub" in page.text
    assert "vo.notebooks.egi.eu" in page.text
    assert f'href="{ENROL}"' in page.text
    assert "how to join a VO" in page.text
    assert hub.model("outsider") == {}
    assert not visitor.signed_in()
    last = hub.events("login")[-1]
    assert (last["outcome"], last["code"]) == ("refused", "no-accepted-vo")
    assert last["user"] == hub.slug("outsider")
    # Their session at the provider was given back.
    assert ("revoke", True) in [(name, "token" in form) for name, form in issuer.asked]


def test_logout_ends_the_login_at_the_provider(
    hub: RunningHub, issuer: SwitchedIssuer, visitor: Visitor
) -> None:
    visitor.sign_in("water")
    refresh_token = hub.model("water")["auth_state"]["refresh_token"]
    visitor.http.get("/hub/logout")
    assert not visitor.signed_in()
    assert hub.model("water")["auth_state"] is None
    until(lambda: not issuer.in_force(refresh_token), "the end of the refresh token")


def test_server_outlives_a_logout_and_takes_the_login_with_it(
    hub: RunningHub, issuer: SwitchedIssuer, visitor: Visitor
) -> None:
    visitor.sign_in("water")
    address = f"/users/{hub.slug('water')}/server"
    assert hub.api("POST", address).status_code in (201, 202)
    until(
        lambda: hub.model("water")["servers"].get("", {}).get("ready"),
        "the server",
        beside=lambda: hub.log,
    )
    visitor.http.get("/hub/logout")
    refresh_token = hub.model("water")["auth_state"]["refresh_token"]
    assert issuer.in_force(refresh_token)
    assert hub.api("DELETE", address).status_code in (202, 204)
    until(lambda: hub.model("water")["auth_state"] is None, "the end of what is kept of the login")
    until(lambda: not issuer.in_force(refresh_token), "the end of the refresh token")


@pytest.fixture
def without_key(tmp_path: Path, issuer: SwitchedIssuer) -> Path:
    write_config(tmp_path, issuer, [18001, 18002, 18003], "0" * 32)  # never listened on
    (tmp_path / "data/secrets/auth-state-key").unlink()
    return tmp_path


def test_hub_does_not_start_without_a_key_for_what_it_keeps(without_key: Path) -> None:
    run = subprocess.run(
        command(without_key), cwd=without_key, capture_output=True, text=True, timeout=120
    )
    assert run.returncode != 0
    assert "auth-state-key" in run.stderr
    assert not (without_key / "data/hub/jupyterhub.sqlite").exists()


def test_key_that_is_too_short_is_no_key(without_key: Path) -> None:
    path = without_key / "data/secrets/auth-state-key"
    path.write_text("deadbeef")
    path.chmod(0o600)
    settings = load_settings(without_key / "cscale.yaml", environment=False)
    with pytest.raises(SettingsError, match="auth-state-key must hold 32 bytes"):
        configure(Config(), settings)
