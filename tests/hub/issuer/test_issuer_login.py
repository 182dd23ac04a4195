"""The authorization code flow as a browser and a client see it."""

from __future__ import annotations

import time

import pytest


def test_login_gives_tokens_that_say_who_logged_in(issuer, browser, pkce, redirected, claims_of):
    page = browser.authorize(pkce, nonce="n-1")
    assert page.status_code == 200
    answer = redirected(browser.login(page, "aqua"))
    assert answer["state"] == "the-state"
    assert answer["iss"] == issuer.issuer

    response = issuer.exchange_code(answer["code"], pkce)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    tokens = response.json()
    assert tokens["token_type"] == "Bearer"
    assert 3595 <= tokens["expires_in"] <= 3600
    assert tokens["refresh_token"]

    access = claims_of(tokens["access_token"])
    assert access["iss"] == issuer.issuer
    assert access["aud"] == ["cscale-hub"]
    assert access["azp"] == access["client_id"] == "cscale-hub"
    assert access["typ"] == "Bearer"
    assert access["exp"] - access["iat"] == 3600
    assert access["jti"]
    assert len(access["sub"]) == 64 + len("@egi.eu")

    identity = claims_of(tokens["id_token"])
    assert identity["aud"] == identity["azp"] == "cscale-hub"
    assert identity["sub"] == access["sub"]
    assert identity["nonce"] == "n-1"
    assert abs(identity["auth_time"] - time.time()) < 30
    for token in (access, identity):
        assert "entitlement" not in str(token.keys())


def test_the_page_says_what_it_is_and_keeps_passwords_to_itself(issuer, browser, pkce):
    page = browser.authorize(pkce)
    assert "Demonstration identity provider — not EGI Check-in" in page.text
    for name, password in issuer.passwords.items():
        assert f"<code>{name}</code>" in page.text
        assert password not in page.text
    assert "<script" not in page.text
    assert "style=" not in page.text
    assert 'lang="en"' in page.text
    for field in ("username", "password"):
        assert f'<label for="{field}">' in page.text


def test_pages_carry_the_protecting_headers(browser, pkce):
    headers = browser.authorize(pkce).headers
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:18999" in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_the_style_sheet_is_served_and_knows_dark_mode(issuer):
    response = issuer.http.get(f"{issuer.issuer}/static/issuer.css")
    assert response.headers["content-type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in response.text


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"code_challenge": "a" * 43},
        {"code_challenge": "a" * 43, "code_challenge_method": "plain"},
        {"code_challenge_method": "S256"},
        {"code_challenge": "short", "code_challenge_method": "S256"},
    ],
)
def test_pkce_with_s256_is_required(browser, redirected, parameters):
    answer = redirected(browser.authorize(**parameters))
    assert answer["error"] == "invalid_request"
    assert answer["state"] == "the-state"
    assert "code" not in answer


def test_wrong_verifier_is_refused(issuer, browser, pkce):
    code = browser.login_for_code("aqua", pkce)
    refused = issuer.exchange_code(code, pkce, code_verifier="b" * 64)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


def test_missing_verifier_is_refused(issuer, browser, pkce):
    code = browser.login_for_code("aqua", pkce)
    refused = issuer.exchange_code(code, pkce, code_verifier="")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


def test_code_used_twice_ends_the_login_it_gave(issuer, browser, pkce):
    code = browser.login_for_code("aqua", pkce)
    tokens = issuer.exchange_code(code, pkce).json()
    assert issuer.userinfo(tokens["access_token"]).status_code == 200

    again = issuer.exchange_code(code, pkce)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert issuer.userinfo(tokens["access_token"]).status_code == 401
    assert issuer.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_code_is_tied_to_its_redirect_uri(issuer, browser, pkce):
    code = browser.login_for_code("aqua", pkce)
    other = issuer.exchange_code(code, pkce, redirect_uri="http://127.0.0.1:18999/other")
    assert other.json()["error"] == "invalid_grant"


def test_code_expires(make_issuer, pkce):
    issuer = make_issuer(code_seconds=1)
    issuer.start()
    with issuer.browser() as browser:
        code = browser.login_for_code("aqua", pkce)
    time.sleep(2.1)
    assert issuer.exchange_code(code, pkce).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "redirect_uri",
    [
        None,
        "",
        "http://127.0.0.1:18999/hub/oauth_callback/",
        "http://127.0.0.1:18999/hub/oauth_callback?x=1",
        "http://127.0.0.1:18999/hub/OAUTH_CALLBACK",
        "http://localhost:18999/hub/oauth_callback",
        'https://evil.example/"\\é',
    ],
)
def test_unregistered_redirect_uri_is_shown_not_followed(browser, pkce, redirect_uri):
    page = browser.authorize(pkce, redirect_uri=redirect_uri)
    assert page.status_code == 400
    assert "redirect_uri" in page.text
    assert "location" not in page.headers


def test_unknown_client_is_shown(browser, pkce):
    page = browser.authorize(pkce, client_id="nobody")
    assert page.status_code == 400
    assert "not registered" in page.text


def test_doubled_parameter_is_shown(issuer, browser, pkce):
    page = browser.authorize(pkce)
    doubled = browser.http.get(f"{page.url}&redirect_uri=http://evil.example/")
    assert doubled.status_code == 400


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": 'code "é'}, "unsupported_response_type"),
        ({"scope": "openid admin"}, "invalid_scope"),
        ({"prompt": "none"}, "login_required"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"response_mode": "form_post"}, "invalid_request"),
        ({"request": "x.y.z"}, "request_not_supported"),
        ({"request_uri": "https://evil.example/"}, "request_uri_not_supported"),
    ],
)
def test_errors_of_a_known_client_go_back_to_it(
    issuer, browser, pkce, redirected, parameters, error
):
    answer = redirected(browser.authorize(pkce, **parameters))
    assert answer["error"] == error
    assert answer["state"] == "the-state"
    assert answer["iss"] == issuer.issuer


def test_authorization_request_may_come_as_a_form(issuer, browser, pkce):
    form = {
        "client_id": "cscale-hub",
        "redirect_uri": "http://127.0.0.1:18999/hub/oauth_callback",
        "response_type": "code",
        "scope": "openid",
        **pkce.parameters(),
    }
    page = browser.follow(browser.http.post(issuer.url("auth"), data=form))
    assert page.status_code == 200
    assert "Log in to C-SCALE Hub" in page.text


def test_wrong_password_is_said_and_the_form_comes_back(browser, pkce, redirected):
    page = browser.submit(browser.authorize(pkce), username="aqua", password="wrong")
    assert page.status_code == 401
    assert "user name or the password is wrong" in page.text
    assert 'value="aqua"' in page.text
    assert 'role="alert"' in page.text
    # The form that came back works.
    assert redirected(browser.login(page, "aqua"))["code"]


def test_typed_text_is_never_markup(browser, pkce):
    page = browser.submit(browser.authorize(pkce), username='"><b>x', password="wrong")
    assert "<b>x" not in page.text


def test_guessing_is_braked_even_for_the_right_password(make_issuer, pkce, redirected):
    issuer = make_issuer(login_failures_per_minute=3)
    issuer.start()
    with issuer.browser() as browser:
        page = browser.authorize(pkce)
        for _ in range(3):
            page = browser.submit(page, username="aqua", password="wrong")
            assert page.status_code == 401
        page = browser.login(page, "aqua")
        assert page.status_code == 429
        assert "Try again in" in page.text
        assert int(page.headers["retry-after"]) <= 60
        # Somebody else is not locked out by that.
        assert redirected(browser.login(page, "water"))["code"]


@pytest.mark.parametrize("tamper", ["no cookie", "no field", "wrong field", "field of another"])
def test_forged_form_is_refused(issuer, browser, pkce, form_of, tamper):
    page = browser.authorize(pkce)
    form = form_of(page.text)
    fields = {**form.fields, "username": "aqua", "password": issuer.passwords["aqua"]}
    if tamper == "no cookie":
        browser.http.cookies.clear()
    elif tamper == "no field":
        del fields["form_token"]
    elif tamper == "wrong field":
        fields["form_token"] = "0" * 64
    else:
        with issuer.browser() as other:
            fields["form_token"] = form_of(other.authorize(pkce).text).fields["form_token"]
    refused = browser.http.post(page.url.join(form.action), data=fields)
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers or "session" not in refused.headers["set-cookie"]


def test_session_cookie_is_out_of_reach_of_scripts_and_other_sites(issuer, browser, pkce, form_of):
    page = browser.authorize(pkce)
    form = form_of(page.text)
    fields = {**form.fields, "username": "aqua", "password": issuer.passwords["aqua"]}
    answer = browser.http.post(page.url.join(form.action), data=fields)
    cookie = next(c for c in answer.headers.get_list("set-cookie") if "session" in c)
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/auth/realms/egi" in cookie
    assert answer.status_code == 303


def test_second_login_in_the_same_browser_needs_no_password(issuer, browser, pkce, redirected):
    first = issuer.exchange_code(browser.login_for_code("aqua", pkce), pkce).json()
    answer = redirected(browser.authorize(pkce))
    second = issuer.exchange_code(answer["code"], pkce).json()
    assert second["access_token"] != first["access_token"]


def test_prompt_login_asks_again(browser, pkce, redirected):
    browser.login_for_code("aqua", pkce)
    page = browser.authorize(pkce, prompt="login")
    assert page.status_code == 200
    assert redirected(browser.login(page, "aqua"))["code"]


def test_max_age_asks_again_when_the_login_is_older(browser, pkce, redirected):
    browser.login_for_code("aqua", pkce)
    assert redirected(browser.authorize(pkce, max_age="600"))["code"]
    time.sleep(1.2)
    assert browser.authorize(pkce, max_age="0").status_code == 200


def test_new_scopes_need_consent_which_can_be_refused(browser, pkce, redirected):
    browser.login_for_code("both", pkce, scope="openid")
    silent = redirected(browser.authorize(pkce, scope="openid email", prompt="none"))
    assert silent["error"] == "consent_required"
    page = browser.authorize(pkce, scope="openid email")
    assert "your e-mail address" in page.text
    refused = redirected(browser.submit(page, action="deny"))
    assert refused["error"] == "access_denied"
    page = browser.authorize(pkce, scope="openid email")
    assert redirected(browser.submit(page, action="allow"))["code"]
    assert redirected(browser.authorize(pkce, scope="openid email", prompt="none"))["code"]


def test_logout_with_hint_ends_the_session_and_returns(issuer, browser, pkce):
    tokens = issuer.exchange_code(browser.login_for_code("aqua", pkce, scope="openid"), pkce).json()
    answer = browser.http.get(
        issuer.url("logout"),
        params={
            "id_token_hint": tokens["id_token"],
            "post_logout_redirect_uri": "http://127.0.0.1:18999/hub/",
            "state": "bye",
        },
    )
    assert answer.headers["location"] == "http://127.0.0.1:18999/hub/?state=bye"
    assert browser.authorize(pkce).status_code == 200  # the login page again
    # A grant without offline_access ends with the session.
    assert issuer.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_offline_access_outlives_the_logout(issuer, browser, pkce):
    tokens = issuer.exchange_code(browser.login_for_code("aqua", pkce), pkce).json()
    browser.http.get(issuer.url("logout"), params={"id_token_hint": tokens["id_token"]})
    assert issuer.refresh(tokens["refresh_token"]).status_code == 200


def test_logout_without_hint_asks_first(issuer, browser, pkce, redirected):
    browser.login_for_code("aqua", pkce)
    page = browser.http.get(
        issuer.url("logout"),
        params={
            "client_id": "cscale-hub",
            "post_logout_redirect_uri": "http://127.0.0.1:18999/hub/",
        },
    )
    assert "Log out?" in page.text
    assert redirected(browser.authorize(pkce))["code"]  # still logged in
    answer = browser.submit(page)
    assert answer.headers["location"] == "http://127.0.0.1:18999/hub/"
    assert browser.authorize(pkce).status_code == 200


@pytest.mark.parametrize(
    "parameters",
    [
        {"client_id": "cscale-hub", "post_logout_redirect_uri": "https://evil.example/"},
        {"post_logout_redirect_uri": "http://127.0.0.1:18999/hub/"},
        {"id_token_hint": "a.b.c"},
        {"id_token_hint": 'not a "token'},
    ],
)
def test_logout_redirects_only_where_registered(issuer, browser, pkce, redirected, parameters):
    browser.login_for_code("aqua", pkce)
    answer = browser.http.get(issuer.url("logout"), params=parameters)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert redirected(browser.authorize(pkce))["code"]


def test_a_hint_of_somebody_else_does_not_log_this_browser_out(issuer, browser, pkce, redirected):
    other = issuer.login_tokens("water")
    browser.login_for_code("aqua", pkce)
    browser.http.get(issuer.url("logout"), params={"id_token_hint": other["id_token"]})
    assert redirected(browser.authorize(pkce))["code"]
