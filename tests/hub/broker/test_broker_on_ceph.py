"""The broker at a real Ceph RADOS gateway: AssumeRole and AssumeRoleWithWebIdentity.

The hub and the identity provider are the doubles of ``conftest.py``; STS, roles and session
policies are Ceph's.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from cscale_hub.storage import vo_policies
from cscale_hub.vo_model import VOFile
from tests.hub.broker.ceph import REGION, Ceph

pytestmark = pytest.mark.ceph

SLUG = "uabcdefgh234"
OTHER, OTHER_TOKEN = "uother234567", "token-of-the-other"


class Issuer:
    """A provider as Ceph wants it: discovery, and keys with a certificate whose print it knows."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=1))
            .sign(self.key, hashes.SHA256())
            .public_bytes(serialization.Encoding.DER)
        )
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(issuer.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/auth/realms/egi"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def thumbprint(self) -> str:
        return hashlib.sha1(self.certificate, usedforsecurity=False).hexdigest().upper()

    def answer(self, path: str) -> dict[str, Any]:
        if path.endswith("openid-configuration"):
            return {"issuer": self.url, "jwks_uri": f"{self.url}/protocol/openid-connect/certs"}
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        certificate = base64.b64encode(self.certificate).decode()
        return {"keys": [key | {"kid": "1", "use": "sig", "alg": "RS256", "x5c": [certificate]}]}

    def token(self, *, key: Any = None, **claims: Any) -> str:
        now = int(time.time())
        body = {"iss": self.url, "sub": "a" * 64 + "@egi.eu", "aud": ["s3"], "azp": "cscale-hub"}
        body |= {"iat": now, "exp": now + 3600, "typ": "Bearer"} | claims
        return jwt.encode(body, key or self.key, algorithm="RS256", headers={"kid": "1"})


@dataclass
class Site:
    """A gateway with two VOs' buckets and the two roles."""

    ceph: Ceph
    issuer: Issuer
    keys: dict[str, str]
    roles: dict[str, str]
    owner: Any


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    ceph, issuer = Ceph(tmp_path_factory.mktemp("ceph")), Issuer()
    try:
        ceph.start()
        yield prepared(ceph, issuer)
    finally:
        ceph.stop()
        issuer.server.shutdown()
        issuer.server.server_close()


def prepared(ceph: Ceph, issuer: Issuer) -> Site:
    owner = ceph.client(ceph.add_user("owner"))
    for bucket in ("aquamonitor", "waterwatch"):
        owner.create_bucket(Bucket=bucket)
        owner.put_object(Bucket=bucket, Key="products/c/i/x", Body=b"product")
        owner.put_object(Bucket=bucket, Key=f"users/{OTHER}/x", Body=b"theirs")
    keys = ceph.add_user("broker", "oidc-provider=*")
    provider = ceph.client(keys, service="iam").create_open_id_connect_provider(
        Url=issuer.url, ClientIDList=["s3"], ThumbprintList=[issuer.thumbprint]
    )["OpenIDConnectProviderArn"]
    trusted = {
        "assume-role": ("sts:AssumeRole", {"AWS": ["arn:aws:iam:::user/broker"]}),
        "web-identity": ("sts:AssumeRoleWithWebIdentity", {"Federated": [provider]}),
    }
    vos = {
        name: {"title": name, "entitlement": {"group": name}, "bucket": name.split(".")[0]}
        for name in ("aquamonitor.c-scale.eu", "waterwatch.c-scale.eu")
    }
    bounds = vo_policies(VOFile.model_validate({"vos": vos}).storages())
    roles = {}
    for mode, (action, principal) in trusted.items():
        statement = {"Effect": "Allow", "Action": [action], "Principal": principal}
        trust = {"Version": "2012-10-17", "Statement": [statement]}
        roles[mode] = ceph.add_role(f"cscale-{mode}", trust, bounds)
    return Site(ceph, issuer, keys, roles, owner)


class Outwards(httpx.AsyncBaseTransport):
    """To the gateway over the network, anywhere else to the doubles."""

    def __init__(self, endpoint: str, doubles: Callable[[httpx.Request], Any]) -> None:
        self._endpoint = endpoint
        self._network = httpx.AsyncHTTPTransport()
        self._doubles = httpx.MockTransport(doubles)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        there = str(request.url).startswith(self._endpoint)
        return await (self._network if there else self._doubles).handle_async_request(request)


@pytest.fixture(params=["assume-role", "web-identity"])
def broker(request: Any, site: Site, make_broker: Any, tmp_path: Path) -> Any:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(site.keys))
    keys.chmod(0o600)
    access = {
        "mode": request.param,
        "endpoint": site.ceph.endpoint,
        "region": REGION,
        "role_arn": site.roles[request.param],
        "key_file": str(keys),
    }
    made = make_broker(s3=access, outwards=lambda handle: Outwards(site.ceph.endpoint, handle))
    made.world.make_token = lambda audience: site.issuer.token(aud=[audience])
    return made


def s3(site: Site, body: dict[str, str]) -> Any:
    keys = {"access_key_id": body["AccessKeyId"], "secret_access_key": body["SecretAccessKey"]}
    return site.ceph.client(keys, body["Token"])


async def test_ceph_gives_what_the_session_policy_says_and_no_more(site: Site, broker: Any) -> None:
    answer = await broker.get("/v1/s3")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    left = datetime.fromisoformat(body["Expiration"]) - datetime.now(UTC)
    assert timedelta(minutes=50) < left <= timedelta(hours=1)

    client, mine = s3(site, body), f"users/{SLUG}/"
    client.put_object(Bucket="aquamonitor", Key=f"{mine}x", Body=b"mine")
    found = client.list_objects_v2(Bucket="aquamonitor", Prefix=mine)
    assert [each["Key"] for each in found["Contents"]] == [f"{mine}x"]
    assert client.get_object(Bucket="aquamonitor", Key="products/c/i/x")["Body"].read()
    client.delete_object(Bucket="aquamonitor", Key=f"{mine}x")

    theirs = {"Bucket": "aquamonitor", "Key": f"users/{OTHER}/x"}
    elsewhere = {"Bucket": "waterwatch", "Key": "products/c/i/x"}
    refused: list[Callable[[], Any]] = [
        lambda: client.get_object(**theirs),
        lambda: client.put_object(**theirs, Body=b"x"),
        lambda: client.delete_object(**theirs),
        lambda: client.list_objects_v2(Bucket="aquamonitor", Prefix=f"users/{OTHER}/"),
        lambda: client.list_objects_v2(Bucket="aquamonitor", Prefix="users/"),
        lambda: client.list_objects_v2(Bucket="aquamonitor"),
        lambda: client.delete_object(Bucket="aquamonitor", Key="products/c/i/x"),
        lambda: client.get_object(**elsewhere),
        lambda: client.put_object(**elsewhere, Body=b"x"),
        lambda: client.list_objects_v2(Bucket="waterwatch", Prefix="products/"),
        lambda: client.create_bucket(Bucket="mine-alone"),
        lambda: client.get_bucket_policy(Bucket="aquamonitor"),
    ]
    for question in refused:
        with pytest.raises(ClientError, match=r"AccessDenied|403"):
            question()
    assert site.owner.get_object(**theirs)["Body"].read() == b"theirs"


async def test_a_changed_session_token_is_not_taken(site: Site, broker: Any) -> None:
    body = (await broker.get("/v1/s3")).json()
    broker.world.add_user(OTHER, OTHER_TOKEN)
    other = (await broker.get("/v1/s3", OTHER_TOKEN)).json()
    for token in (body["Token"][:-8] + "AAAAAAA=", other["Token"], ""):
        with pytest.raises(ClientError):
            s3(site, body | {"Token": token}).get_object(Bucket="aquamonitor", Key="products/c/i/x")


@pytest.mark.parametrize("broker", ["web-identity"], indirect=True)
async def test_ceph_does_not_take_a_token_that_is_not_true(site: Site, broker: Any) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for forged in (
        site.issuer.token(key=stranger),
        site.issuer.token(aud=["openeo"], azp="another-client"),
        site.issuer.token(exp=int(time.time()) - 60),
    ):
        broker.world.make_token = lambda _audience, token=forged: token
        answer = await broker.get("/v1/s3")
        assert (answer.status_code, answer.json()["code"]) == (502, "upstream_error"), answer.text
        assert "AccessKeyId" not in answer.text


@pytest.mark.parametrize("broker", ["assume-role"], indirect=True)
async def test_the_broker_s_keys_alone_reach_nothing(
    site: Site, broker: Any, tmp_path: Path
) -> None:
    """They may assume the role, and that is all; others may not even do that."""
    own = site.ceph.client(site.keys)
    with pytest.raises(ClientError, match="AccessDenied"):
        own.get_object(Bucket="aquamonitor", Key="products/c/i/x")
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(site.ceph.add_user("stranger")))
    answer = await broker.get("/v1/s3")
    assert (answer.status_code, answer.json()["code"]) == (502, "upstream_error")
