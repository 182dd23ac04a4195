"""The device flow (RFC 8628) of programs that have no browser of their own."""

from __future__ import annotations

import time

import pytest

from cscale_hub.local.issuer.config import DEVICE_CODE_GRANT


def error_of(response):
    return response.status_code, response.json()["error"]


def test_device_gets_tokens_after_its_person_allowed_it(issuer, browser, pkce, claims_of):
    started = issuer.start_device(pkce).json()
    assert started["verification_uri"] == f"{issuer.issuer}/device"
    assert started["interval"] == 1
    assert error_of(issuer.poll_device(started["device_code"], pkce)) == (
        400,
        "authorization_pending",
    )

    page = browser.http.get(started["verification_uri_complete"])
    page = browser.login(page, "aqua")
    assert started["user_code"] in page.text
    assert "Connect openEO client?" in page.text
    done = browser.submit(page, action="allow")
    assert "connected" in done.text

    tokens = issuer.poll_device(started["device_code"], pkce).json()
    assert claims_of(tokens["access_token"])["aud"] == ["openeo"]
    assert claims_of(tokens["id_token"])["aud"] == "cscale-openeo"
    assert issuer.userinfo(tokens["access_token"]).json()["preferred_username"] == "aqua"
    refreshed = issuer.token(
        "cscale-openeo", grant_type="refresh_token", refresh_token=tokens["refresh_token"]
    )
    assert refreshed.status_code == 200
    again = issuer.poll_device(started["device_code"], pkce)
    assert error_of(again) == (400, "invalid_grant")


def test_code_may_be_typed_in_any_case_and_without_the_dash(issuer, browser, pkce):
    started = issuer.start_device(pkce).json()
    page = browser.login(browser.http.get(started["verification_uri"]), "water")
    assert "Type the code" in page.text
    page = browser.submit(page, user_code=started["user_code"].lower().replace("-", " "))
    assert "Connect openEO client?" in page.text


def test_visiting_the_link_alone_allows_nothing(issuer, browser, pkce):
    started = issuer.start_device(pkce).json()
    page = browser.http.get(started["verification_uri_complete"])
    browser.login(page, "aqua")
    browser.http.get(f"{started['verification_uri_complete']}&action=allow")
    polled = issuer.poll_device(started["device_code"], pkce)
    assert error_of(polled) == (400, "authorization_pending")


def test_forged_answer_is_refused(issuer, browser, pkce):
    started = issuer.start_device(pkce).json()
    browser.login(browser.http.get(started["verification_uri_complete"]), "aqua")
    forged = browser.http.post(
        started["verification_uri"],
        data={"user_code": started["user_code"], "action": "allow"},
    )
    assert forged.status_code == 403
    polled = issuer.poll_device(started["device_code"], pkce)
    assert polled.json()["error"] in {"authorization_pending", "slow_down"}


def test_refusal_reaches_the_device(issuer, browser, pkce):
    started = issuer.start_device(pkce).json()
    page = browser.login(browser.http.get(started["verification_uri_complete"]), "aqua")
    assert "Nothing was released" in browser.submit(page, action="deny").text
    assert error_of(issuer.poll_device(started["device_code"], pkce)) == (400, "access_denied")


def test_polling_too_often_is_told_to_slow_down(issuer, pkce):
    code = issuer.start_device(pkce).json()["device_code"]
    assert issuer.poll_device(code, pkce).json()["error"] == "authorization_pending"
    assert issuer.poll_device(code, pkce).json()["error"] == "slow_down"
    time.sleep(1.2)  # the first interval; by now 5 s more are asked for
    assert issuer.poll_device(code, pkce).json()["error"] == "slow_down"


def test_unanswered_code_expires(make_issuer, pkce):
    issuer = make_issuer(device_code_seconds=1)
    issuer.start()
    started = issuer.start_device(pkce).json()
    time.sleep(2.1)
    assert error_of(issuer.poll_device(started["device_code"], pkce)) == (400, "expired_token")
    with issuer.browser() as browser:
        page = browser.login(browser.http.get(started["verification_uri_complete"]), "aqua")
    assert page.status_code == 404


@pytest.mark.parametrize(
    "form",
    [
        {"code_challenge": ""},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": ""},
    ],
)
def test_public_client_must_start_with_pkce(issuer, pkce, form):
    assert error_of(issuer.start_device(pkce, **form)) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("verifier", "error"),
    [("", "invalid_request"), ("x" * 64, "invalid_grant"), ("é" * 64, "invalid_grant")],
)
def test_device_must_finish_with_its_verifier(issuer, browser, pkce, verifier, error):
    started = issuer.start_device(pkce).json()
    page = browser.login(browser.http.get(started["verification_uri_complete"]), "aqua")
    browser.submit(page, action="allow")
    response = issuer.token(
        "cscale-openeo",
        grant_type=DEVICE_CODE_GRANT,
        device_code=started["device_code"],
        code_verifier=verifier,
    )
    assert error_of(response) == (400, error)
    assert issuer.poll_device(started["device_code"], pkce).status_code == 200


def test_unknown_device_code_is_refused(issuer, pkce):
    assert error_of(issuer.poll_device("unknown", pkce)) == (400, "invalid_grant")


def test_client_without_the_grant_cannot_start(issuer, pkce):
    response = issuer.http.post(
        issuer.url("auth/device"), data=pkce.parameters(), auth=issuer.auth("cscale-hub")
    )
    assert error_of(response) == (400, "unauthorized_client")


def test_scope_nobody_knows_is_refused(issuer, pkce):
    assert error_of(issuer.start_device(pkce, scope="openid admin")) == (400, "invalid_scope")


def test_guessing_user_codes_is_braked(make_issuer, pkce):
    issuer = make_issuer(login_failures_per_minute=2)
    issuer.start()
    started = issuer.start_device(pkce).json()
    with issuer.browser() as browser:
        page = browser.login(browser.http.get(started["verification_uri"]), "aqua")
        for _ in range(2):
            page = browser.submit(page, user_code="BBBB-BBBB")
            assert page.status_code == 404
        page = browser.submit(page, user_code=started["user_code"])
        assert page.status_code == 429
