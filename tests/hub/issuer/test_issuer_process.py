"""The identity provider as a process: start, refusal, crash, keys, files, faults."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import time

import jwt
import pytest

from cscale_hub.local.issuer.demo import write_demo_users
from cscale_hub.local.issuer.files import InsecureFile


def run(issuer, *options):
    return subprocess.run(
        issuer.command(*options), capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "localhost", "issuer.example"])
def test_anything_but_a_loopback_address_is_refused(make_issuer, host):
    done = run(make_issuer(host=host))
    assert done.returncode == 2
    assert host in done.stderr
    assert "loopback" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"port": 0}, "port"),
        ({"surprise": 1}, "surprise"),
        ({"realm_path": "no-slash"}, "realm_path"),
        ({"faults": {"tokens": 503}}, "faults"),
        ({"clients": [{"client_id": "a", "grant_types": ["authorization_code"]}]}, "redirect_uris"),
        ({"clients": [{"client_id": "a", "grant_types": ["client_credentials"]}]}, "secret_file"),
        (
            {
                "clients": [
                    {
                        "client_id": "a",
                        "grant_types": ["authorization_code"],
                        "redirect_uris": ["http://127.0.0.1/*"],
                    }
                ]
            },
            "wildcard",
        ),
    ],
)
def test_wrong_settings_are_named(make_issuer, settings, said):
    done = run(make_issuer(**settings))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_settings_file_is_named(make_issuer):
    issuer = make_issuer()
    issuer.config_file.unlink()
    done = run(issuer)
    assert done.returncode == 2
    assert "issuer.json" in done.stderr


@pytest.mark.parametrize("name", ["users", "secret"])
def test_secret_file_that_others_can_read_is_refused(make_issuer, name):
    issuer = make_issuer()
    path = issuer.users_file if name == "users" else issuer.secrets_dir / "oidc-cscale-hub"
    path.chmod(0o644)
    done = run(issuer)
    assert done.returncode == 2
    assert "chmod 600" in done.stderr


@pytest.mark.parametrize("name", ["issuer.sqlite3", "keys.json"])
def test_damaged_state_is_named_and_left_as_it_is(make_issuer, name):
    issuer = make_issuer()
    damaged = issuer.data_dir / name
    damaged.write_bytes(b"damaged " * 100)
    damaged.chmod(0o600)
    done = run(issuer)
    assert done.returncode == 2
    assert str(damaged) in done.stderr
    assert "Traceback" not in done.stderr
    assert damaged.read_bytes() == b"damaged " * 100


def test_taken_port_is_said(make_issuer):
    issuer = make_issuer()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", issuer.port))
        taken.listen()
        done = run(issuer)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{issuer.port}" in done.stderr


def test_sigterm_ends_it_within_five_seconds(make_issuer):
    issuer = make_issuer()
    issuer.start()
    started = time.monotonic()
    assert issuer.stop(signal.SIGTERM) == 0
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("path", ["/healthz", "/auth/realms/egi/healthz"])
def test_health_is_answered_without_authentication(issuer, path):
    response = issuer.http.get(issuer.root + path)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_it_listens_on_loopback_only(issuer):
    with socket.socket() as probe:
        probe.settimeout(2)
        # The whole of 127/8 is loopback, but only the given address was bound.
        assert probe.connect_ex(("127.0.0.2", issuer.port)) != 0


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "[::2]", "127.0.0.1.evil"])
def test_foreign_host_names_are_refused(issuer, host):
    response = issuer.http.get(f"{issuer.root}/healthz", headers={"Host": host})
    assert response.status_code == 421


def test_issuer_is_never_taken_from_the_host_header(issuer):
    discovery = issuer.http.get(
        f"{issuer.issuer}/.well-known/openid-configuration",
        headers={"Host": "localhost:1", "X-Forwarded-Host": "evil.example"},
    ).json()
    assert discovery["issuer"] == issuer.issuer
    assert all(
        url.startswith(issuer.issuer)
        for name, url in discovery.items()
        if name.endswith(("_endpoint", "_uri"))
    )


def test_discovery_names_the_endpoints_of_checkin(issuer):
    document = issuer.http.get(f"{issuer.issuer}/.well-known/openid-configuration").json()
    base = f"{issuer.issuer}/protocol/openid-connect"
    assert document["authorization_endpoint"] == f"{base}/auth"
    assert document["token_endpoint"] == f"{base}/token"
    assert document["device_authorization_endpoint"] == f"{base}/auth/device"
    assert document["jwks_uri"] == f"{base}/certs"
    assert document["userinfo_endpoint"] == f"{base}/userinfo"
    assert document["introspection_endpoint"] == f"{base}/token/introspect"
    assert document["end_session_endpoint"] == f"{base}/logout"
    assert document["revocation_endpoint"] == f"{base}/revoke"
    assert document["code_challenge_methods_supported"] == ["S256"]


def test_unknown_path_is_not_found(issuer):
    assert issuer.http.get(f"{issuer.issuer}/nothing").status_code == 404
    assert issuer.http.get(issuer.url("token")).status_code == 405


def test_kill_and_restart_keep_sessions_tokens_codes_and_keys(make_issuer, pkce, redirected):
    issuer = make_issuer()
    issuer.start()
    with issuer.browser() as browser:
        tokens = issuer.exchange_code(browser.login_for_code("aqua", pkce), pkce).json()
        spent = issuer.login_tokens("water")
        issuer.refresh(spent["refresh_token"])
        device = issuer.start_device(pkce).json()
        open_form = browser.authorize(pkce, prompt="login")
        code = redirected(browser.authorize(pkce))["code"]

        issuer.stop(signal.SIGKILL)
        issuer.start()

        assert issuer.userinfo(tokens["access_token"]).status_code == 200
        assert issuer.exchange_code(code, pkce).status_code == 200
        assert issuer.refresh(tokens["refresh_token"]).status_code == 200
        assert issuer.refresh(spent["refresh_token"]).json()["error"] == "invalid_grant"
        polled = issuer.poll_device(device["device_code"], pkce)
        assert polled.json()["error"] == "authorization_pending"
        assert redirected(browser.authorize(pkce))["code"]  # single sign-on goes on
        assert redirected(browser.login(open_form, "aqua"))["code"]


def test_revocations_outlive_a_kill(make_issuer):
    issuer = make_issuer()
    issuer.start()
    token = issuer.login_tokens()["access_token"]
    issuer.http.post(
        issuer.url("revoke"), data={"token": token}, auth=issuer.auth()
    ).raise_for_status()
    issuer.stop(signal.SIGKILL)
    issuer.start()
    assert issuer.userinfo(token).status_code == 401


def test_rotated_keys_sign_at_once_and_the_former_key_still_verifies(make_issuer):
    issuer = make_issuer()
    issuer.start()
    old = issuer.login_tokens()
    before = {key["kid"] for key in issuer.http.get(issuer.url("certs")).json()["keys"]}

    done = run(issuer, "--rotate-keys")
    assert done.returncode == 0, done.stderr
    published = issuer.http.get(issuer.url("certs")).json()["keys"]
    kids = {key["kid"] for key in published}
    assert before < kids
    assert len(kids) == 2
    for key in published:
        assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}  # nothing private

    new = issuer.refresh(old["refresh_token"]).json()
    new_kid = jwt.get_unverified_header(new["access_token"])["kid"]
    assert new_kid in kids - before
    assert new_kid in done.stdout
    for token in (old, new):
        assert issuer.userinfo(token["access_token"]).status_code == 200


def test_former_key_leaves_when_its_last_token_has_ended(make_issuer):
    issuer = make_issuer()
    issuer.start()
    token = issuer.login_tokens()["access_token"]
    run(issuer, "--rotate-keys")
    path = issuer.data_dir / "keys.json"
    keys = json.loads(path.read_text())
    retires = next(key["retires"] for key in keys if key["retires"] is not None)
    assert 3600 <= retires - time.time() <= 3700
    for key in keys:
        key["retires"] = None if key["retires"] is None else int(time.time()) - 1
    path.write_text(json.dumps(keys))
    assert len(issuer.http.get(issuer.url("certs")).json()["keys"]) == 1
    assert issuer.userinfo(token).status_code == 401


def test_private_files_are_private(issuer, pkce):
    issuer.login_tokens()
    assert stat.S_IMODE(issuer.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(issuer.secrets_dir.stat().st_mode) == 0o700
    files = [*issuer.data_dir.iterdir(), *issuer.secrets_dir.iterdir()]
    assert {"keys.json", "issuer.sqlite3", "users.json", "demo-users.json"} <= {
        file.name for file in files
    }
    assert {file.name: oct(stat.S_IMODE(file.stat().st_mode)) for file in files} == {
        file.name: "0o600" for file in files
    }


def test_secrets_are_neither_in_the_database_nor_in_the_log(make_issuer, pkce):
    issuer = make_issuer()
    issuer.start()
    with issuer.browser() as browser:
        code = browser.login_for_code("aqua", pkce)
        cookies = [cookie.value for cookie in browser.http.cookies.jar]
    tokens = issuer.exchange_code(code, pkce).json()
    device = issuer.start_device(pkce).json()
    issuer.refresh(tokens["refresh_token"])
    issuer.stop()
    secrets = [
        code,
        *cookies,
        tokens["access_token"],
        tokens["refresh_token"],
        tokens["id_token"],
        device["device_code"],
        issuer.passwords["aqua"],
        issuer.secret("cscale-hub"),
    ]
    database = (issuer.data_dir / "issuer.sqlite3").read_bytes()
    log = issuer.log_file.read_bytes()
    for secret in secrets:
        assert secret.encode() not in database
        assert secret.encode() not in log
    assert b"login of aqua" in log


def test_configured_faults_answer_with_their_status(make_issuer, pkce):
    issuer = make_issuer()
    issuer.start()
    tokens = issuer.login_tokens()
    issuer.stop()
    issuer.configure(faults={"token": 503, "userinfo": 500})
    issuer.start()
    failed = issuer.refresh(tokens["refresh_token"])
    assert failed.status_code == 503
    assert failed.json()["error"] == "temporarily_unavailable"
    assert issuer.userinfo(tokens["access_token"]).status_code == 500
    assert issuer.http.get(issuer.url("certs")).status_code == 200
    issuer.stop()
    issuer.configure(faults={})
    issuer.start()
    # The outage has used nothing up.
    assert issuer.refresh(tokens["refresh_token"]).status_code == 200


# The demonstration accounts


def test_demo_accounts_keep_passwords_and_subjects(tmp_path):
    users, secrets = tmp_path / "issuer" / "users.json", tmp_path / "secrets"
    first = write_demo_users(users, secrets)
    assert set(first) == {"aqua", "aqua-manager", "water", "both", "outsider"}
    assert len(set(first.values())) == 5
    content = users.read_bytes()
    assert write_demo_users(users, secrets) == first
    assert users.read_bytes() == content
    assert json.loads((secrets / "demo-users.json").read_text()) == first
    for password in first.values():
        assert password.encode() not in content

    # Without the issuer's folder the same people come back with the same subjects.
    subjects = {user["username"]: user["subject"] for user in json.loads(content)}
    users.unlink()
    assert write_demo_users(users, secrets) == first
    again = {user["username"]: user["subject"] for user in json.loads(users.read_text())}
    assert again == subjects


def test_demo_accounts_leave_the_changes_of_the_operator(tmp_path):
    users, secrets = tmp_path / "issuer" / "users.json", tmp_path / "secrets"
    write_demo_users(users, secrets)
    content = json.loads(users.read_text())
    content[0]["entitlements"] = []
    content.append({**content[1], "username": "another", "subject": "a" * 64 + "@egi.eu"})
    users.write_text(json.dumps(content))
    write_demo_users(users, secrets)
    after = json.loads(users.read_text())
    assert after[0]["entitlements"] == []
    assert after[-1]["username"] == "another"


def test_lost_passwords_are_made_anew(make_issuer):
    issuer = make_issuer()
    (issuer.secrets_dir / "demo-users.json").unlink()
    issuer.passwords = write_demo_users(issuer.users_file, issuer.secrets_dir)
    issuer.start()
    assert issuer.login_tokens("aqua")["access_token"]


def test_readable_password_file_is_refused(tmp_path):
    write_demo_users(tmp_path / "users.json", tmp_path / "secrets")
    (tmp_path / "secrets" / "demo-users.json").chmod(0o640)
    with pytest.raises(InsecureFile, match="chmod 600"):
        write_demo_users(tmp_path / "users.json", tmp_path / "secrets")
