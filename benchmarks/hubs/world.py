"""The processes around the two hubs: an issuer with many people, an object store, a broker."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from werkzeug.security import generate_password_hash

from cscale_core.identity.slug import user_slug
from cscale_hub.local.issuer.config import SCOPES
from cscale_hub.local.issuer.demo import client_secret, demo_clients
from cscale_hub.local.issuer.files import write_private
from cscale_hub.local.issuer.users import USER_LIST, User
from cscale_hub.local.layout import Layout
from cscale_hub.local.secrets import ensure_secret
from cscale_hub.local.services import SECRET_NAMES
from cscale_hub.settings import Settings, dump_settings

BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[2]
VO, BUCKET = "aquamonitor.c-scale.eu", "aquamonitor"
PASSWORD = "only-for-the-benchmark"  # noqa: S105
VOS: dict[str, Any] = {
    "vos": {VO: {"title": "Aqua Monitor", "entitlement": {"group": VO}, "bucket": BUCKET}}
}
SERVER = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *arguments):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512

Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@dataclass(frozen=True, slots=True)
class Somebody:
    """One account at the issuer."""

    username: str
    subject: str

    @property
    def slug(self) -> str:
        """Their name at the hub of ours."""
        return user_slug(self.subject)


def people(count: int) -> list[Somebody]:
    return [
        Somebody(f"u{number}", hashlib.sha256(str(number).encode()).hexdigest() + "@egi.eu")
        for number in range(count)
    ]


@dataclass
class Hub:
    """A running hub."""

    name: str
    folder: Path
    url: str
    api_url: str
    token: str
    broker_token: str = ""

    def person(self, somebody: Somebody) -> str:
        """The name of somebody there."""
        return somebody.slug if self.name == "ours" else "u" + somebody.subject[:12]


@dataclass
class World:
    """Everything below one folder; ends with the block it was made in."""

    folder: Path
    accounts: list[Somebody]
    _stack: ExitStack = field(default_factory=ExitStack)
    issuer: str = ""
    endpoints: dict[str, str] = field(default_factory=dict)

    def start(self, name: str, url: str, *command: str, **environment: str) -> None:
        """A program that is there once the address answers."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                stdout=file,
                stderr=file,
                cwd=self.folder,
                env=os.environ
                | {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
                | environment,
            )
        self._stack.callback(_end, process)
        deadline = time.monotonic() + 120
        while True:
            try:
                if httpx.get(url, timeout=5, trust_env=False).status_code < 400:
                    return
            except httpx.TransportError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)

    def start_issuer(self, redirects: dict[str, str]) -> None:
        """The issuer of the local federation; a client for each of these addresses."""
        (port,) = free_ports(1)
        secrets_dir = self.folder / "issuer-secrets"
        users = self.folder / "issuer" / "users.json"
        users.parent.mkdir(mode=0o700)
        # What a password costs is the issuer's and not measured.
        hashed = generate_password_hash(PASSWORD, method="pbkdf2:sha256:1")
        entitlement = f"urn:mace:egi.eu:group:{VO}:role=member#aai.egi.eu"
        write_private(
            users,
            USER_LIST.dump_json(
                tuple(
                    User(
                        username=each.username,
                        display_name=each.username,
                        email=f"{each.username}@bench.invalid",
                        subject=each.subject,
                        password_hash=hashed,
                        entitlements=(entitlement,),
                    )
                    for each in self.accounts
                )
            ),
        )
        hub_client, *_ = demo_clients(secrets_dir, "http://127.0.0.1:9")
        clients = [
            hub_client.model_copy(
                update={
                    "client_id": client_id,
                    "secret_file": client_secret(secrets_dir, client_id),
                    "redirect_uris": (f"{url}/hub/oauth_callback",),
                    "post_logout_redirect_uris": (),
                }
            )
            for client_id, url in redirects.items()
        ]
        config = {
            "port": port,
            "data_dir": str(self.folder / "issuer"),
            "users_file": str(users),
            "clients": [each.model_dump(mode="json") for each in clients],
        }
        (self.folder / "issuer.json").write_text(json.dumps(config), encoding="utf-8")
        self.issuer = f"http://127.0.0.1:{port}/auth/realms/egi"
        discovery = f"{self.issuer}/.well-known/openid-configuration"
        module = ("-m", "cscale_hub.local.issuer", "--config", str(self.folder / "issuer.json"))
        self.start("issuer", discovery, sys.executable, *module)
        self.endpoints = httpx.get(discovery, trust_env=False).json()

    def secret(self, client_id: str) -> Path:
        return client_secret(self.folder / "issuer-secrets", client_id)

    def start_hub(self, name: str, kind: str, ports: list[int], server_port: int) -> Hub:
        """The hub of ours or the plain one.

        :param kind: ``waiting`` for the spawner that starts nothing, else processes.
        """
        folder = self.folder / f"{name}-{kind}"
        (folder / "tokens").mkdir(parents=True)
        proxy, inner, proxy_api = ports
        hub = Hub(
            name,
            folder,
            f"http://127.0.0.1:{proxy}",
            f"http://127.0.0.1:{inner}/hub/api",
            secrets.token_hex(16),
            secrets.token_hex(16),
        )
        client_id = f"{name}-{kind}"
        if name == "ours":
            layout = Layout(folder / "data")
            layout.create()
            for secret in SECRET_NAMES:
                ensure_secret(layout.secrets / secret)
            settings = Settings.model_validate(
                {
                    "data": folder / "data",
                    "vos": VOS,
                    "hub": {"port": proxy, "api_port": inner, "proxy_api_port": proxy_api},
                    "identity": {
                        "issuer": self.issuer,
                        "client_id": client_id,
                        "client_secret_file": self.secret(client_id),
                    },
                    "storage": {"mount_mode": "none"},
                }
            )
            dump_settings(settings, folder / "cscale.yaml")
        else:
            said = {
                "url": hub.url,
                "hub": inner,
                "proxy_api": proxy_api,
                "client_id": client_id,
                "client_secret": self.secret(client_id).read_text(encoding="utf-8").strip(),
                "endpoints": self.endpoints,
                "scope": list(SCOPES),
            }
            (folder / "plain.json").write_text(json.dumps(said), encoding="utf-8")
        config = str(Path(__file__).with_name(f"{name}.py"))
        self.start(
            f"{name}-{kind}",
            f"{hub.url}/hub/api/health",
            *(str(BIN / "jupyterhub"), "-f", config),
            BENCH_FOLDER=str(folder),
            BENCH_SPAWNER=kind,
            BENCH_TOKEN=hub.token,
            BENCH_BROKER_TOKEN=hub.broker_token,
            BENCH_SERVER_PORT=str(server_port),
        )
        return hub

    def start_server(self) -> int:
        """The server that all users of the spawner that starts nothing have; its port."""
        (port,) = free_ports(1)
        (self.folder / "server.py").write_text(SERVER, encoding="utf-8")
        program = (sys.executable, str(self.folder / "server.py"), str(port))
        self.start("server", f"http://127.0.0.1:{port}", *program)
        return port

    def start_store(self, client_id: str) -> str:
        """SeaweedFS with STS, which believes tokens of this client; its address."""
        names = ("s3_grpc", "master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc")
        port, *inner = free_ports(len(names) + 1)
        config = {
            "port": port,
            "ports": dict(zip(names, inner, strict=True)),
            "data_dir": str(self.folder / "s3"),
            "secrets_dir": str(self.folder / "s3-secrets"),
            "issuer": self.issuer,
            "jwks_url": self.endpoints["jwks_uri"],
            "researcher_clients": [client_id],
            "vos": [{"name": VO, "bucket": BUCKET}],
            "min_free_space": "100MiB",
            "stop_timeout": 1.0,
        }
        (self.folder / "s3.json").write_text(json.dumps(config), encoding="utf-8")
        module = ("-m", "cscale_hub.local.seaweedfs", "--config", str(self.folder / "s3.json"))
        self.start("s3", f"http://127.0.0.1:{port}/healthz", sys.executable, *module)
        return f"http://127.0.0.1:{port}"

    def start_broker(self, hub: Hub, client_id: str, store: str, role_arn: str) -> str:
        """The broker of the hub of ours; its address."""
        (port,) = free_ports(1)
        config = {
            "port": port,
            "token_url": self.endpoints["token_endpoint"],
            "client_id": client_id,
            "client_secret_file": str(self.secret(client_id)),
            "s3": {"endpoint": store, "role_arn": role_arn},
            "vos": VOS,
            "audit_log": str(self.folder / "audit.jsonl"),
        }
        (self.folder / "broker.json").write_text(json.dumps(config), encoding="utf-8")
        base = f"http://127.0.0.1:{port}/services/broker"
        module = ("-m", "cscale_hub.broker", "--config", str(self.folder / "broker.json"))
        self.start(
            *("broker", f"{base}/healthz", sys.executable, *module),
            JUPYTERHUB_API_URL=hub.api_url,
            JUPYTERHUB_API_TOKEN=hub.broker_token,
        )
        return base


@contextmanager
def world(folder: Path, accounts: list[Somebody]) -> Iterator[World]:
    """A world whose programs end with the block, the last one first."""
    with ExitStack() as stack:
        yield World(folder, accounts, stack)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
