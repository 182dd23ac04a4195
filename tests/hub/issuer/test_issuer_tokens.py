"""Refresh, exchange, client credentials, userinfo, introspection and revocation."""

from __future__ import annotations

import concurrent.futures
import json
import os
import time

import httpx
import pytest

from cscale_hub.local.issuer.config import TOKEN_EXCHANGE_GRANT

SUBJECT_TYPE = "urn:ietf:params:oauth:token-type:access_token"


def error_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


# Client authentication


def test_wrong_client_secret_is_refused(issuer):
    response = issuer.http.post(
        issuer.url("token"),
        data={"grant_type": "client_credentials"},
        auth=("cscale-openeo-service", "wrong"),
    )
    assert error_of(response) == (401, "invalid_client")
    assert response.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize("header", ["Basic !!!", "Basic /////w==", "Basic", "Bearer x"])
def test_broken_authorization_header_is_a_refusal_not_a_failure(issuer, header):
    response = issuer.http.post(
        issuer.url("token"),
        data={"grant_type": "client_credentials"},
        headers={"Authorization": header},
    )
    assert error_of(response) == (401, "invalid_client")


def test_confidential_client_cannot_leave_its_secret_out(issuer):
    tokens = issuer.login_tokens()
    response = issuer.http.post(
        issuer.url("token"),
        data={
            "grant_type": "refresh_token",
            "client_id": "cscale-hub",
            "refresh_token": tokens["refresh_token"],
        },
    )
    assert error_of(response) == (401, "invalid_client")


def test_secret_may_come_in_the_body(issuer):
    response = issuer.http.post(
        issuer.url("token"),
        data={
            "grant_type": "client_credentials",
            "client_id": "cscale-openeo-service",
            "client_secret": issuer.secret("cscale-openeo-service"),
        },
    )
    assert response.status_code == 200


def test_grant_the_client_was_not_registered_for_is_refused(issuer):
    assert error_of(issuer.token(grant_type="client_credentials")) == (400, "unauthorized_client")


@pytest.mark.parametrize("grant_type", ["password", "implicit", ""])
def test_unknown_grant_is_refused(issuer, grant_type):
    assert error_of(issuer.token(grant_type=grant_type)) == (400, "unsupported_grant_type")


def test_parameters_in_the_query_are_refused(issuer):
    response = issuer.http.post(
        issuer.url("token"),
        params={"grant_type": "client_credentials"},
        auth=issuer.auth("cscale-openeo-service"),
    )
    assert error_of(response) == (400, "invalid_request")


def test_doubled_parameters_are_refused(issuer):
    response = issuer.http.post(
        issuer.url("token"),
        data={"grant_type": "client_credentials", "audience": ["s3", "catalogue"]},
        auth=issuer.auth("cscale-openeo-service"),
    )
    assert error_of(response) == (400, "invalid_request")


def test_a_huge_body_is_refused(issuer):
    response = issuer.http.post(issuer.url("token"), data={"grant_type": "x" * 200_000})
    assert response.status_code == 413


# Refresh


def test_refresh_gives_new_tokens_for_the_same_person(issuer, claims_of):
    first = issuer.login_tokens()
    second = issuer.refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    before, after = claims_of(first["access_token"]), claims_of(second["access_token"])
    assert after["sub"] == before["sub"]
    assert after["jti"] != before["jti"]
    assert after["auth_time"] == before["auth_time"]
    assert claims_of(second["id_token"])["sub"] == before["sub"]
    assert "nonce" not in claims_of(second["id_token"])
    assert issuer.refresh(second["refresh_token"]).status_code == 200


def test_reused_refresh_token_ends_the_whole_family(issuer):
    first = issuer.login_tokens()
    second = issuer.refresh(first["refresh_token"]).json()
    assert error_of(issuer.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert error_of(issuer.refresh(second["refresh_token"])) == (400, "invalid_grant")
    assert issuer.userinfo(second["access_token"]).status_code == 401
    # A login of the same person at another time is another family.
    assert issuer.refresh(issuer.login_tokens()["refresh_token"]).status_code == 200


def test_two_refreshes_at_once_give_one_success_at_most(issuer):
    token = issuer.login_tokens()["refresh_token"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: issuer.refresh(token), range(4)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses.count(200) <= 1
    assert statuses.count(400) >= 3


def test_refresh_may_narrow_the_scope_and_not_widen_it(issuer):
    tokens = issuer.login_tokens(scope="openid profile")
    wider = issuer.refresh(tokens["refresh_token"], scope="openid profile email")
    assert error_of(wider) == (400, "invalid_scope")
    narrow = issuer.refresh(tokens["refresh_token"], scope="openid").json()
    assert narrow["scope"] == "openid"
    # The new refresh token still stands for all that was granted.
    again = issuer.refresh(narrow["refresh_token"]).json()
    assert again["scope"] == "openid profile"


def test_refresh_token_of_another_client_is_refused_and_stays_in_force(issuer):
    tokens = issuer.login_tokens()
    stolen = issuer.token(
        "cscale-openeo", grant_type="refresh_token", refresh_token=tokens["refresh_token"]
    )
    assert error_of(stolen) == (400, "invalid_grant")
    assert issuer.refresh(tokens["refresh_token"]).status_code == 200


def test_without_rotation_the_old_refresh_token_stays(make_issuer):
    issuer = make_issuer(rotate_refresh_tokens=False)
    issuer.start()
    token = issuer.login_tokens()["refresh_token"]
    for _ in range(2):
        response = issuer.refresh(token)
        assert response.status_code == 200
        assert "refresh_token" not in response.json()


def test_refresh_token_expires(make_issuer):
    issuer = make_issuer(refresh_token_seconds=1)
    issuer.start()
    token = issuer.login_tokens()["refresh_token"]
    time.sleep(2.1)
    assert error_of(issuer.refresh(token)) == (400, "invalid_grant")


def test_access_token_expires(make_issuer):
    issuer = make_issuer(access_token_seconds=1)
    issuer.start()
    token = issuer.login_tokens()["access_token"]
    time.sleep(2.1)
    assert issuer.userinfo(token).status_code == 401
    assert issuer.introspect(token) == {"active": False}


# Token exchange


@pytest.mark.parametrize("audience", ["s3", "openeo", "catalogue"])
def test_hub_exchanges_a_login_for_a_token_of_one_service(issuer, claims_of, audience):
    subject = issuer.login_tokens()["access_token"]
    response = issuer.exchange(subject, audience)
    assert response.status_code == 200
    body = response.json()
    assert body["issued_token_type"] == SUBJECT_TYPE
    assert "refresh_token" not in body
    claims, original = claims_of(body["access_token"]), claims_of(subject)
    assert claims["aud"] == [audience]
    assert claims["sub"] == original["sub"]
    assert claims["exp"] <= original["exp"]
    assert claims["azp"] == "cscale-hub"


def test_exchange_never_outlives_the_subject_token(make_issuer, claims_of):
    issuer = make_issuer(access_token_seconds=20)
    issuer.start()
    subject = issuer.login_tokens()["access_token"]
    time.sleep(2.1)
    body = issuer.exchange(subject, "s3").json()
    assert claims_of(body["access_token"])["exp"] == claims_of(subject)["exp"]
    assert body["expires_in"] <= 18


@pytest.mark.parametrize("audience", ["other", "cscale-hub", "S3", "s3 openeo"])
def test_audience_that_is_not_allowed_is_refused(issuer, audience):
    subject = issuer.login_tokens()["access_token"]
    assert error_of(issuer.exchange(subject, audience)) == (400, "invalid_target")


def test_openeo_service_exchanges_only_what_is_addressed_to_it(issuer, claims_of):
    login = issuer.login_tokens()["access_token"]
    for_openeo = issuer.exchange(login, "openeo").json()["access_token"]
    for_catalogue = issuer.exchange(login, "catalogue").json()["access_token"]

    allowed = issuer.exchange(for_openeo, "s3", "cscale-openeo-service")
    assert claims_of(allowed.json()["access_token"])["azp"] == "cscale-openeo-service"
    for token in (login, for_catalogue):
        refused = issuer.exchange(token, "s3", "cscale-openeo-service")
        assert error_of(refused) == (400, "invalid_request")


def test_exchange_may_narrow_the_scope_and_not_widen_it(issuer):
    subject = issuer.login_tokens(scope="openid profile")["access_token"]
    assert issuer.exchange(subject, "s3", scope="openid").json()["scope"] == "openid"
    wider = issuer.exchange(subject, "s3", scope="openid email")
    assert error_of(wider) == (400, "invalid_scope")


@pytest.mark.parametrize(
    "form",
    [
        {"subject_token": "not.a.token"},
        {"subject_token": ""},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"actor_token": "x"},
        {"audience": ""},
    ],
)
def test_exchange_with_wrong_parameters_is_refused(issuer, form):
    whole = {
        "grant_type": TOKEN_EXCHANGE_GRANT,
        "subject_token": issuer.login_tokens()["access_token"],
        "subject_token_type": SUBJECT_TYPE,
        "audience": "s3",
    }
    assert issuer.token(**whole).status_code == 200
    response = issuer.token(**whole | form)
    assert error_of(response) == (400, "invalid_request")


def test_id_token_is_no_subject_token(issuer):
    tokens = issuer.login_tokens()
    response = issuer.exchange(tokens["id_token"], "s3")
    assert error_of(response) == (400, "invalid_request")


def test_public_client_cannot_exchange(issuer):
    response = issuer.token(
        "cscale-openeo",
        grant_type=TOKEN_EXCHANGE_GRANT,
        subject_token=issuer.login_tokens()["access_token"],
        subject_token_type=SUBJECT_TYPE,
        audience="s3",
    )
    assert error_of(response) == (401, "invalid_client")


def test_exchanged_token_ends_with_the_login(issuer):
    tokens = issuer.login_tokens()
    exchanged = issuer.exchange(tokens["access_token"], "openeo").json()["access_token"]
    assert issuer.userinfo(exchanged).status_code == 200
    issuer.http.post(
        issuer.url("revoke"), data={"token": tokens["refresh_token"]}, auth=issuer.auth()
    ).raise_for_status()
    assert issuer.userinfo(exchanged).status_code == 401
    assert error_of(issuer.exchange(tokens["access_token"], "s3")) == (400, "invalid_request")


# Client credentials


def test_service_account_gets_a_token_for_its_audience(issuer, claims_of):
    body = issuer.service_token(audience="s3", scope="openid").json()
    claims = claims_of(body["access_token"])
    assert claims["aud"] == ["s3"]
    assert claims["sub"] == "service-account-cscale-openeo-service"
    assert claims["azp"] == "cscale-openeo-service"
    assert "refresh_token" not in body
    assert "id_token" not in body


def test_service_account_cannot_have_another_audience(issuer):
    assert error_of(issuer.service_token(audience="openeo")) == (400, "invalid_target")
    assert error_of(issuer.service_token(audience="")) == (400, "invalid_target")


def test_service_account_is_nobody_at_userinfo(issuer):
    token = issuer.service_token(audience="s3", scope="openid").json()["access_token"]
    assert issuer.userinfo(token).status_code in {401, 403}
    assert "eduperson_entitlement" not in issuer.introspect(token)
    assert issuer.introspect(token)["active"] is True


def test_service_account_token_cannot_be_exchanged(issuer):
    token = issuer.service_token().json()["access_token"]
    response = issuer.exchange(token, "s3", "cscale-openeo-service")
    assert error_of(response) == (400, "invalid_request")


# Userinfo


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_userinfo_tells_entitlements(issuer, method):
    token = issuer.login_tokens("aqua-manager")["access_token"]
    response = issuer.http.request(
        method, issuer.url("userinfo"), headers={"Authorization": f"Bearer {token}"}
    )
    assert response.status_code == 200
    body = response.json()
    assert body["voperson_id"] == body["sub"]
    assert body["preferred_username"] == "aqua-manager"
    assert body["email"] == "aqua-manager@demo.invalid"
    assert body["name"]
    assert body["eduperson_entitlement"] == [
        "urn:mace:egi.eu:group:aquamonitor.c-scale.eu:role=member#aai.egi.eu",
        "urn:mace:egi.eu:group:aquamonitor.c-scale.eu:role=manager#aai.egi.eu",
        "urn:mace:egi.eu:res:c-scale:country:PT#aai.egi.eu",
    ]


def test_userinfo_keeps_to_the_scope(issuer):
    token = issuer.login_tokens(scope="openid profile")["access_token"]
    assert set(issuer.userinfo(token).json()) == {"sub", "name", "preferred_username"}


def test_userinfo_takes_tokens_addressed_to_other_services(issuer):
    login = issuer.login_tokens()["access_token"]
    token = issuer.exchange(login, "openeo").json()["access_token"]
    assert issuer.userinfo(token).json()["eduperson_entitlement"]


@pytest.mark.parametrize(
    "header",
    [None, "Bearer", "Bearer x", "Bearer a.b.c", "Basic YTpi", "Bearer \xe9\xe9.b.c"],
)
def test_userinfo_refuses_what_is_no_token(issuer, header):
    headers = {"Authorization": header.encode("latin-1")} if header else {}
    response = issuer.http.get(issuer.url("userinfo"), headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].lower().startswith("bearer")


def test_userinfo_refuses_tampered_and_unsigned_tokens(issuer):
    token = issuer.login_tokens()["access_token"]
    header, payload, signature = token.split(".")
    flipped = signature[:20] + ("A" if signature[20] != "A" else "B") + signature[21:]
    none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"  # {"alg":"none","typ":"JWT"}
    for forged in (f"{header}.{payload}.{flipped}", f"{none}.{payload}.", f"{none}.{payload}.x"):
        assert issuer.userinfo(forged).status_code == 401


def test_userinfo_refuses_the_id_token(issuer):
    assert issuer.userinfo(issuer.login_tokens()["id_token"]).status_code == 401


def test_changed_users_file_counts_at_once_and_a_broken_one_does_not(make_issuer):
    issuer = make_issuer()
    issuer.start()
    tokens = issuer.login_tokens()
    users = json.loads(issuer.users_file.read_text())

    def write(content: str) -> None:
        replacement = issuer.users_file.with_suffix(".new")
        replacement.write_text(content)
        replacement.chmod(0o600)
        os.replace(replacement, issuer.users_file)  # noqa: PTH105

    users[0]["entitlements"] = ["urn:mace:egi.eu:group:eval.c-scale.eu:role=member#aai.egi.eu"]
    write(json.dumps(users))
    seen = issuer.userinfo(tokens["access_token"]).json()["eduperson_entitlement"]
    assert seen == users[0]["entitlements"]

    write("[{")
    assert issuer.userinfo(tokens["access_token"]).json()["eduperson_entitlement"] == seen

    users[0]["enabled"] = False
    write(json.dumps(users))
    assert issuer.userinfo(tokens["access_token"]).status_code == 401
    assert error_of(issuer.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert issuer.introspect(tokens["access_token"]) == {"active": False}


# Introspection and revocation


def test_introspection_describes_a_token_in_force(issuer):
    login = issuer.login_tokens("both")["access_token"]
    token = issuer.exchange(login, "openeo").json()["access_token"]
    body = issuer.introspect(token, "cscale-openeo-service")
    assert body["active"] is True
    assert body["aud"] == ["openeo"]
    assert body["client_id"] == "cscale-hub"
    assert body["username"] == "both"
    assert len(body["eduperson_entitlement"]) == 3


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_introspection_of_nonsense_is_inactive(issuer, token):
    assert issuer.introspect(token) == {"active": False}


def test_introspection_needs_a_client_secret(issuer):
    token = issuer.login_tokens()["access_token"]
    for data in ({"token": token}, {"token": token, "client_id": "cscale-openeo"}):
        response = issuer.http.post(issuer.url("token/introspect"), data=data)
        assert error_of(response) == (401, "invalid_client")


def test_refresh_token_is_introspected_by_its_own_client_only(issuer):
    token = issuer.login_tokens()["refresh_token"]
    assert issuer.introspect(token)["active"] is True
    assert issuer.introspect(token, "cscale-openeo-service") == {"active": False}


def test_revoked_access_token_is_refused_and_the_login_goes_on(issuer):
    tokens = issuer.login_tokens()
    response = issuer.http.post(
        issuer.url("revoke"), data={"token": tokens["access_token"]}, auth=issuer.auth()
    )
    assert response.status_code == 200
    assert issuer.userinfo(tokens["access_token"]).status_code == 401
    assert issuer.introspect(tokens["access_token"]) == {"active": False}
    assert issuer.refresh(tokens["refresh_token"]).status_code == 200


def test_revoked_refresh_token_takes_the_access_tokens_with_it(issuer):
    tokens = issuer.login_tokens()
    issuer.http.post(
        issuer.url("revoke"),
        data={"token": tokens["refresh_token"], "token_type_hint": "refresh_token"},
        auth=issuer.auth(),
    ).raise_for_status()
    assert error_of(issuer.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert issuer.userinfo(tokens["access_token"]).status_code == 401


def test_revoking_the_unknown_is_fine_and_the_token_of_others_is_not(issuer):
    unknown = issuer.http.post(issuer.url("revoke"), data={"token": "x"}, auth=issuer.auth())
    assert unknown.status_code == 200
    tokens = issuer.login_tokens()
    foreign = issuer.http.post(
        issuer.url("revoke"),
        data={"token": tokens["refresh_token"]},
        auth=issuer.auth("cscale-openeo-service"),
    )
    assert foreign.status_code == 400
    assert issuer.refresh(tokens["refresh_token"]).status_code == 200
