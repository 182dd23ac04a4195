"""What the doctor says of services that answer, and not as they should."""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cscale_hub.doctor.catalogues import catalogues
from cscale_hub.doctor.certificates import certificates
from cscale_hub.doctor.findings import Finding
from cscale_hub.doctor.hub import hub
from cscale_hub.doctor.login import login
from cscale_hub.doctor.storage import storage
from cscale_hub.local.secrets import write_secret
from cscale_hub.settings import Settings
from cscale_hub.vo_model import VOFile

ISSUER = "https://login.example.org/realm"
Answers = Callable[[httpx.Request], httpx.Response]


def client(answers: Answers) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(answers))


def settings(tmp_path: Path, **members: Any) -> Settings:
    (tmp_path / "secrets").mkdir(exist_ok=True)
    identity = {"issuer": ISSUER, **members.pop("identity", {})}
    return Settings(data=tmp_path, identity=identity, **members)


def vos() -> VOFile:
    names = ("aqua", "water")
    return VOFile.model_validate(
        {
            "vos": {
                f"{name}.example": {
                    "title": name,
                    "entitlement": {"group": f"{name}.example"},
                    "bucket": name,
                }
                for name in names
            }
        }
    )


def bad(findings: list[Finding]) -> list[str]:
    assert all(each.advice for each in findings if each.status != "ok")
    return [f"{each.status}: {each.found}" for each in findings if each.status != "ok"]


# -- the identity provider ------------------------------------------------------------------------

DISCOVERY: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "jwks_uri": f"{ISSUER}/certs",
    "revocation_endpoint": f"{ISSUER}/revoke",
    "code_challenge_methods_supported": ["S256"],
    "grant_types_supported": ["urn:ietf:params:oauth:grant-type:token-exchange"],
}


def provider(**changes: Any) -> Answers:
    document = {**DISCOVERY, **changes.pop("document", {})}
    said = {
        "keys": [{"kty": "RSA", "use": "sig"}],
        "error": "invalid_grant",
        "callback": 302,
        "ahead": 0.0,
        **changes,
    }

    def answer(request: httpx.Request) -> httpx.Response:
        headers = {"Date": formatdate(time.time() + said["ahead"], usegmt=True)}
        if request.url.path.endswith("/openid-configuration"):
            return httpx.Response(200, json=document, headers=headers)
        if request.url.path.endswith("/certs"):
            return httpx.Response(200, json={"keys": said["keys"]})
        if request.url.path.endswith("/token"):
            return httpx.Response(400, json={"error": said["error"]})
        return httpx.Response(said["callback"])

    return answer


async def test_a_provider_that_is_as_it_should_be(tmp_path: Path) -> None:
    async with client(provider()) as http:
        found = await login(settings(tmp_path), http)
    assert bad(found) == []
    assert len(found) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"document": {"issuer": "https://other.example"}}, "problem: it calls itself"),
        ({"document": {"token_endpoint": None}}, "problem: it has no token_endpoint"),
        ({"document": {"code_challenge_methods_supported": ["plain"]}}, "problem: it does not sup"),
        ({"document": {"scopes_supported": ["openid"]}}, "warning: it does not list the scopes"),
        ({"document": {"grant_types_supported": ["x"]}}, "warning: it does not list token exch"),
        ({"document": {"revocation_endpoint": None}}, "warning: it has no revocation"),
        ({"keys": [{"kty": "oct"}]}, "problem: it publishes no key"),
        ({"keys": "none"}, "problem: it publishes no key"),
        ({"error": "invalid_client"}, "problem: it does not take the client"),
        ({"error": "server_error"}, "warning: whether it takes the client"),
        ({"callback": 400}, "problem: it does not lead back"),
        ({"ahead": 300.0}, "problem: its clock is"),
        ({"ahead": -300.0}, "problem: its clock is"),
    ],
)
async def test_each_fault_of_a_provider_is_one_finding(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    async with client(provider(**changes)) as http:
        found = bad(await login(settings(tmp_path), http))
    assert len(found) == 1
    assert found[0].startswith(words)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b""])
async def test_what_is_no_provider_is_told(tmp_path: Path, body: bytes) -> None:
    async with client(lambda request: httpx.Response(200, content=body)) as http:
        [found] = bad(await login(settings(tmp_path), http))
    assert "does not answer with JSON" in found


async def test_the_secret_goes_to_the_token_endpoint_only(tmp_path: Path) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return provider()(request)

    write_secret(tmp_path / "client-secret", "the-secret")
    identity = {"client_secret_file": tmp_path / "client-secret"}
    async with client(answer) as http:
        await login(settings(tmp_path, identity=identity), http)
    with_login = [request for request in asked if "Authorization" in request.headers]
    assert [request.url.path for request in with_login] == ["/realm/token"]
    assert all("the-secret" not in str(request.url) for request in asked)


# -- the object store ------------------------------------------------------------------------------


def store(buckets: dict[str, int] | None = None, sts: int = 400, ahead: float = 0.0) -> Answers:
    def answer(request: httpx.Request) -> httpx.Response:
        headers = {"Date": formatdate(time.time() + ahead, usegmt=True)}
        if request.method == "POST":
            return httpx.Response(sts, headers=headers)
        name = request.url.path.strip("/")
        return httpx.Response((buckets or {}).get(name, 403), headers=headers)

    return answer


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (store(), []),
        (store({"aqua": 404}), ["problem: the bucket aqua is not there"]),
        (store({"water": 200}), ["problem: the bucket water is open"]),
        (store({"water": 500}), ["problem: bucket water: answers 500"]),
        (store(sts=405), ["warning: does not look like STS"]),
        (store(sts=200), ["problem: it gave credentials for a token that is none"]),
        (store(ahead=1000), ["problem: its clock is"]),
    ],
)
async def test_faults_of_an_object_store(
    tmp_path: Path, answers: Answers, words: list[str]
) -> None:
    async with client(answers) as http:
        found = bad(await storage(settings(tmp_path), vos(), http))
    assert len(found) == len(words)
    for one, beginning in zip(found, words, strict=True):
        assert one.startswith(beginning)


# -- catalogues -----------------------------------------------------------------------------------


async def test_a_catalogue_without_transactions_and_archives_that_fail(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "127.0.0.1":
            return httpx.Response(200, json={"stac_version": "1.1.0", "conformsTo": ["core"]})
        if request.url.host == "closed.example.org":
            return httpx.Response(401)
        if request.url.host == "openeo.example.org":
            return httpx.Response(200, json={"nothing": True})
        raise httpx.ConnectTimeout("too slow")

    providers = [
        {"id": "closed", "title": "Closed", "url": "https://closed.example.org"},
        {"id": "slow", "title": "Slow", "url": "https://slow.example.org"},
    ]
    backends = [{"id": "eo", "title": "openEO", "url": "https://openeo.example.org"}]
    given = settings(tmp_path, providers=providers, openeo=backends)
    async with client(answer) as http:
        found = await catalogues(given, http)
    assert [(each.part, each.status) for each in found] == [
        ("catalogue", "warning"),
        ("archive closed", "ok"),
        ("archive slow", "warning"),
        ("openEO eo", "warning"),
    ]
    assert "did not answer in 8 s" in found[2].found
    assert "is no openEO back end" in found[3].found


async def test_a_catalogue_that_wants_a_slash_is_followed(tmp_path: Path) -> None:
    classes = ["https://api.stacspec.org/v1.0.0/ogcapi-features/extensions/transaction"]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/"):
            return httpx.Response(200, json={"stac_version": "1.1.0", "conformsTo": classes})
        return httpx.Response(307, headers={"Location": f"{request.url}/"})

    async with client(answer) as http:
        assert bad(await catalogues(settings(tmp_path), http)) == []


# -- the hub --------------------------------------------------------------------------------------

METRICS = """\
cscale_identity_provider_pause_seconds 12.0
cscale_accounting_readable 0.0
jupyterhub_server_spawn_duration_seconds_count{reason="",status="success"} 6.0
jupyterhub_server_spawn_duration_seconds_count{reason="x",status="failure"} 4.0
"""


def a_hub(version: str = "6.1.1", broker: int = 200, metrics: int = 200) -> Answers:
    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/hub/api"):
            return httpx.Response(200, json={"version": version})
        if path.startswith("/services/broker"):
            return httpx.Response(broker)
        if path.endswith("/metrics"):
            assert request.headers["Authorization"] == "token of-prometheus"
            return httpx.Response(metrics, text=METRICS)
        return httpx.Response(200)

    return answer


async def test_what_the_hub_says_of_itself(tmp_path: Path) -> None:
    given = settings(tmp_path)
    write_secret(tmp_path / "secrets" / "prometheus-token", "of-prometheus")
    async with client(a_hub()) as http:
        found = bad(await hub(given, http))
    assert found == [
        "warning: the hub leaves the identity provider alone for 12 s after a failure",
        "problem: the hub cannot read them",
        "warning: 4 of 10 starts failed since the hub began",
    ]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (a_hub(version="5.5.0", metrics=403), "problem: JupyterHub 5.5.0"),
        (a_hub(version="", metrics=403), "problem: JupyterHub of an unknown version"),
        (a_hub(broker=503, metrics=403), "problem: http://127.0.0.1:8000/services/broker/healthz"),
        (a_hub(metrics=403), "warning: the hub does not show them"),
    ],
)
async def test_faults_of_a_hub(tmp_path: Path, answers: Answers, words: str) -> None:
    given = settings(tmp_path)
    write_secret(tmp_path / "secrets" / "prometheus-token", "of-prometheus")
    async with client(answers) as http:
        found = bad(await hub(given, http))
    assert any(each.startswith(words) for each in found), found


# -- certificates ---------------------------------------------------------------------------------


def certificate(folder: Path, days: float) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server with a certificate that ends in so many days, and of who trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days, minutes=5))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


@pytest.mark.parametrize(
    ("days", "status"), [(1, "problem"), (10, "warning"), (60, None), (-0.5, None)]
)
async def test_a_certificate_that_ends_soon_is_told(
    tmp_path: Path, days: float, status: str | None
) -> None:
    served, trusted = certificate(tmp_path, days)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "localhost", 0, ssl=served)
    async with server:
        port = server.sockets[0].getsockname()[1]
        given = settings(
            tmp_path,
            identity={"issuer": f"https://localhost:{port}"},
            storage={"endpoint": f"https://localhost:{port}"},
        )
        found = await certificates(given, trusted)
    # One that has ended is told where its service is asked: nothing can be read of it.
    assert [each.status for each in found] == ([status] if status else [])


async def test_a_certificate_that_is_not_trusted_has_its_own_words(tmp_path: Path) -> None:
    served, _ = certificate(tmp_path, 60)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "localhost", 0, ssl=served)
    async with server, httpx.AsyncClient(trust_env=False) as http:
        port = server.sockets[0].getsockname()[1]
        given = settings(tmp_path, identity={"issuer": f"https://localhost:{port}"})
        [found] = bad(await login(given, http))
    assert "is not trusted" in found


def test_findings_are_plain_json() -> None:
    from dataclasses import asdict

    json.dumps(asdict(Finding("a", "ok", "b")))
