"""Who may write, who may not, and what they are told."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.utils import base64url_encode

WRITES = [
    ("POST", "/collections"),
    ("PUT", "/collections/a"),
    ("PATCH", "/collections/a"),
    ("DELETE", "/collections/a"),
    ("POST", "/collections/a/items"),
    ("PUT", "/collections/a/items/b"),
    ("PATCH", "/collections/a/items/b"),
    ("DELETE", "/collections/a/items/b"),
    ("POST", "/search/"),
    ("POST", "/no/such/page"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_every_write_needs_a_token(shared: Any, method: str, path: str) -> None:
    answer = shared.http.request(method, f"{shared.root}{path}", json={})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    problem = answer.json()
    assert set(problem) >= {"code", "message", "hint", "retryable", "request_id"}
    assert problem["code"] == "login_required"
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_reading_needs_no_token(shared: Any) -> None:
    for path in ("/", "/collections", "/conformance", "/search", "/queryables", "/healthz"):
        assert shared.get(path).status_code == 200, path
    assert shared.get("/healthz").json() == {"status": "ok"}
    assert shared.http.post(f"{shared.root}/search", json={"limit": 1}).status_code == 200


def forged(shared: Any, kind: str) -> str:
    issuer = shared.issuer
    claims = jwt.decode(issuer.token("member@egi.eu"), options={"verify_signature": False})
    if kind == "another key":
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return jwt.encode(claims, other, "RS256", {"kid": "one"})
    if kind == "unknown key id":
        return jwt.encode(claims, issuer.key, "RS256", {"kid": "two"})
    if kind == "no signature":
        return jwt.encode(claims, None, "none", {"kid": "one"})
    if kind == "public key as a secret":
        secret = issuer.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        # By hand: PyJWT itself refuses to sign so.
        parts = [{"alg": "HS256", "typ": "JWT", "kid": "one"}, claims]
        text = b".".join(base64url_encode(json.dumps(part).encode()) for part in parts)
        mark = hmac.new(secret, text, hashlib.sha256).digest()
        return (text + b"." + base64url_encode(mark)).decode()
    if kind == "RS512":
        return jwt.encode(claims, issuer.key, "RS512", {"kid": "one"})
    if kind == "not a token":
        return "abc.def.ghi"
    changes: dict[str, dict[str, Any]] = {
        "expired": {"exp": int(time.time()) - 60},
        "without end": {"exp": None},
        "another issuer": {"iss": "https://aai.example.org"},
        "for openEO": {"aud": ["openeo"]},
        "for nobody": {"aud": None},
        "without subject": {"sub": None},
    }
    return str(issuer.token("member@egi.eu", **changes[kind]))


@pytest.mark.parametrize(
    "kind",
    [
        "another key",
        "unknown key id",
        "no signature",
        "public key as a secret",
        "RS512",
        "not a token",
        "expired",
        "without end",
        "another issuer",
        "for openEO",
        "for nobody",
        "without subject",
    ],
)
def test_a_token_that_is_not_ours_is_401(shared: Any, builders: Any, kind: str) -> None:
    answer = shared.write(
        "POST",
        "/collections",
        builders.collection("forged"),
        headers={"Authorization": f"Bearer {forged(shared, kind)}"},
    )
    assert answer.status_code == 401, answer.text
    assert shared.get("/collections/forged").status_code == 404


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "token abc", ""])
def test_other_kinds_of_authorization_are_401(shared: Any, builders: Any, header: str) -> None:
    body = builders.collection("forged")
    answer = shared.write("POST", "/collections", body, headers={"Authorization": header})
    assert answer.status_code == 401


@pytest.mark.parametrize("subject", ["outsider@egi.eu", "elsewhere@egi.eu", "lookalike@egi.eu"])
def test_without_the_membership_writing_is_403(shared: Any, builders: Any, subject: str) -> None:
    body = builders.collection("outside")
    answer = shared.write("POST", "/collections", body, headers=shared.headers(subject))
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"
    assert shared.get("/collections/outside").status_code == 404


def test_a_subject_the_issuer_does_not_know_is_401(shared: Any, builders: Any) -> None:
    body = builders.collection("unknown")
    answer = shared.write("POST", "/collections", body, headers=shared.headers("nobody@egi.eu"))
    assert answer.status_code == 401


def test_membership_is_asked_once_and_believed_for_a_while(shared: Any, builders: Any) -> None:
    headers = shared.headers()
    before = shared.issuer.asked.count("member@egi.eu")
    for _ in range(5):
        answer = shared.write("DELETE", "/collections/none", headers=headers)
        assert answer.status_code == 404
    assert shared.issuer.asked.count("member@egi.eu") <= before + 1


def test_an_issuer_that_is_down_is_503_and_reads_go_on(
    launch_sqlite: Callable[..., Any], builders: Any
) -> None:
    service = launch_sqlite(userinfo_seconds=0).start()
    service.issuer.broken = True
    try:
        answer = service.write("POST", "/collections", builders.collection("a"))
        assert answer.status_code == 503
        assert answer.json()["retryable"] is True
        assert service.get("/search").status_code == 200
    finally:
        service.issuer.broken = False
    assert service.write("POST", "/collections", builders.collection("a")).status_code == 201


def test_a_membership_that_ends_is_noticed(
    launch_sqlite: Callable[..., Any], builders: Any
) -> None:
    service = launch_sqlite(userinfo_seconds=1).start()
    known = service.issuer.entitlements
    headers = service.headers("late@egi.eu")
    body = builders.collection("a")
    assert service.write("POST", "/collections", body, headers=headers).status_code == 403
    try:
        known["late@egi.eu"] = known["member@egi.eu"]
        time.sleep(1.1)
        assert service.write("POST", "/collections", body, headers=headers).status_code == 201
        known["late@egi.eu"] = []
        time.sleep(1.1)
        answer = service.write("DELETE", "/collections/a", headers=headers)
        assert answer.status_code == 403
    finally:
        known["late@egi.eu"] = []


def test_a_read_only_catalogue_refuses_even_members(
    launch_sqlite: Callable[..., Any], builders: Any
) -> None:
    service = launch_sqlite(
        read_only=True, ensure_collections=[builders.collection("fixed")]
    ).start()
    answer = service.write("POST", "/collections/fixed/items", builders.item("a"))
    assert answer.status_code == 405
    assert "extensions/transaction" not in service.get("/conformance").text
    assert service.get("/collections/fixed").status_code == 200


def test_tokens_and_subjects_stay_out_of_the_log(shared: Any, builders: Any) -> None:
    headers = shared.headers()
    shared.write("DELETE", "/collections/none%0Aforged", headers=headers)
    log = shared.log.read_text()
    assert headers["Authorization"].split()[1] not in log
    assert "member@egi.eu" not in log
    assert "\nforged" not in log
