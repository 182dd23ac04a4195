"""The broker between a real JupyterHub, the real issuer and the real SeaweedFS."""

from __future__ import annotations

import html
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from cscale_core.identity.slug import user_slug
from cscale_hub.broker.scopes import SCOPE
from cscale_hub.local.issuer.demo import demo_clients, write_demo_users
from tests.hub.hub_api import HubApi
from tests.waiting import until

BIN = Path(sys.executable).parent
VOS = ("aquamonitor.c-scale.eu", "waterwatch.c-scale.eu")

STUB_SERVER = """
import http.server, os, urllib.parse
token_file = os.environ["TOKEN_FOLDER"] + "/" + os.environ["JUPYTERHUB_USER"]
with open(os.open(token_file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
    file.write(os.environ["JUPYTERHUB_API_TOKEN"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
url = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
http.server.ThreadingHTTPServer((url.hostname, url.port), Handler).serve_forever()
"""

HUB_CONFIG = """
import sys
from cscale_hub.broker import scopes
from cscale_hub.broker.logins import HANDLERS
from jupyterhub.auth import DummyAuthenticator
class Authenticator(DummyAuthenticator):
    def get_handlers(self, app):
        return [*super().get_handlers(app), *HANDLERS]
c.JupyterHub.bind_url = "http://127.0.0.1:{proxy}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_api}"
c.ConfigurableHTTPProxy.command = ["{bin}/configurable-http-proxy"]
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie-secret"
c.ConfigurableHTTPProxy.pid_file = "{folder}/proxy.pid"
c.JupyterHub.authenticator_class = Authenticator
c.Authenticator.allow_all = True
c.Authenticator.enable_auth_state = True
c.CryptKeeper.keys = ["{key}"]
c.JupyterHub.spawner_class = "simple"
c.Spawner.cmd = [sys.executable, "{folder}/stub.py"]
c.Spawner.args = []
c.Spawner.environment = {{"TOKEN_FOLDER": "{folder}/tokens"}}
c.Spawner.http_timeout = 30
c.JupyterHub.custom_scopes = scopes.DESCRIPTIONS
c.Spawner.server_token_scopes = ["users:activity!user", "access:servers!server", "{scope}!server"]
c.JupyterHub.load_roles = [
    {{"name": "user", "scopes": ["self", "{scope}!user", "shares!user"]}},
    {{"name": "broker", "scopes": [scopes.READ_SCOPE], "services": ["broker"]}},
    {{"name": "test", "scopes": ["admin:users", "admin:auth_state", "admin:servers", "groups",
      "admin:groups", "shares", "tokens", "{scope}"], "services": ["test"]}},
]
c.JupyterHub.services = [
    {{"name": "broker", "api_token": "{broker_token}"}},
    {{"name": "test", "api_token": "{test_token}"}},
]
"""


def free_ports(count: int) -> list[int]:
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            port = 20_000 + secrets.randbelow(10_000)
            probe = stack.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found


class Processes:
    """Programs that are stopped, the last one first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *argv: str, url: str, **environment: str) -> None:
        log = self.folder / f"{name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                argv,
                stdout=file,
                stderr=file,
                cwd=self.folder,
                env=os.environ | environment,
                start_new_session=True,
            )
        self.running.append(process)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if httpx.get(url, timeout=2, trust_env=False).status_code < 400:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        pytest.fail(f"{name} did not start:\n{log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        for process in reversed(self.running):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def login(issuer: str, hub: str, secret: str, username: str, password: str) -> dict[str, Any]:
    """The authorization code flow, as a person with a browser does it."""
    endpoint = f"{issuer}/protocol/openid-connect"
    callback = f"{hub}/hub/oauth_callback"
    verifier = secrets.token_urlsafe(48)
    import base64
    import hashlib

    digest = hashlib.sha256(verifier.encode()).digest()
    query = {
        "client_id": "cscale-hub",
        "redirect_uri": callback,
        "response_type": "code",
        "scope": "openid profile email voperson_id eduperson_entitlement offline_access",
        "state": "state",
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    with httpx.Client(timeout=20, trust_env=False) as browser:
        answer = browser.get(f"{endpoint}/auth", params=query, follow_redirects=True)
        for _ in range(4):
            if answer.is_redirect:
                target = str(answer.url.join(answer.headers["location"]))
                if target.startswith(callback):
                    break
                answer = browser.get(target)
                continue
            action = re.search(r'<form[^>]*action="([^"]*)"', answer.text)
            assert action, answer.text
            inputs = re.findall(r"<input[^>]*>", answer.text)
            fields = {}
            for each in inputs:
                name, value = (
                    re.search(r'name="([^"]*)"', each),
                    re.search(r'value="([^"]*)"', each),
                )
                if name:
                    fields[name[1]] = html.unescape(value[1]) if value else ""
            fields |= {"username": username, "password": password}
            answer = browser.post(str(answer.url.join(html.unescape(action[1]))), data=fields)
        code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": verifier,
        }
        tokens = browser.post(f"{endpoint}/token", data=form, auth=("cscale-hub", secret))
        assert tokens.status_code == 200, tokens.text
        user = browser.get(
            f"{endpoint}/userinfo",
            headers={"Authorization": f"Bearer {tokens.json()['access_token']}"},
        )
        return {"tokens": tokens.json(), "sub": user.json()["sub"]}


@dataclass
class Stack:
    """Everything up, and one user of aquamonitor with a running server."""

    folder: Path
    hub: str
    broker: str
    s3: str
    slug: str
    other: str
    server_token: str
    other_token: str
    test_token: str
    broker_token: str

    def token_of(self, slug: str) -> str:
        """What the user's server wrote down, as soon as it runs."""
        token_file = self.folder / "tokens" / slug
        return until(
            token_file.read_text,
            f"the token of {slug}",
            despite=FileNotFoundError,
            beside=lambda: (self.folder / "hub.log").read_text()[-3000:],
        )

    def api(self, method: str, path: str, **body: Any) -> httpx.Response:
        return HubApi(self.folder, self.hub, self.test_token).api(method, path, body or None)

    def ask(self, path: str, token: str = "") -> httpx.Response:
        return httpx.get(
            f"{self.broker}{path}",
            headers={"Authorization": f"token {token or self.server_token}"},
            timeout=30,
            trust_env=False,
        )

    def client(self) -> Any:
        keys = self.ask("/v1/s3").json()
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.s3,
            region_name="us-east-1",
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["Token"],
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    for program in ("weed", "jupyterhub", "configurable-http-proxy"):
        if not (BIN / program).exists():
            pytest.skip(f"{program} is not installed: pip install cscale-hub[hub,local]")
    folder = tmp_path_factory.mktemp("stack")
    processes = Processes(folder)
    try:
        yield start_stack(folder, processes)
    finally:
        processes.stop()


def start_stack(folder: Path, processes: Processes) -> Stack:
    proxy, hub_port, proxy_api, issuer_port, s3_port, broker_port, *inner = free_ports(13)
    hub, s3 = f"http://127.0.0.1:{proxy}", f"http://127.0.0.1:{s3_port}"
    folder.joinpath("tokens").mkdir(mode=0o700)

    users_file, secrets_dir = folder / "issuer" / "users.json", folder / "secrets"
    passwords = write_demo_users(users_file, secrets_dir)
    issuer_config = {
        "port": issuer_port,
        "data_dir": str(folder / "issuer"),
        "users_file": str(users_file),
        "clients": [each.model_dump(mode="json") for each in demo_clients(secrets_dir, hub)],
    }
    issuer = f"http://127.0.0.1:{issuer_port}/auth/realms/egi"
    configuration = folder / "issuer.json"
    configuration.write_text(json.dumps(issuer_config))
    discovery = f"{issuer}/.well-known/openid-configuration"
    python = sys.executable
    processes.start(
        *("issuer", python, "-m", "cscale_hub.local.issuer", "--config", str(configuration)),
        url=discovery,
    )
    endpoints = httpx.get(discovery, trust_env=False).json()

    names = ("s3_grpc", "master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc")
    s3_config = {
        "port": s3_port,
        "ports": dict(zip(names, inner, strict=True)),
        "data_dir": str(folder / "s3"),
        "secrets_dir": str(folder / "s3-secrets"),
        "issuer": issuer,
        "jwks_url": endpoints["jwks_uri"],
        "vos": [{"name": name, "bucket": name.split(".")[0]} for name in VOS],
        "stop_timeout": 1.0,
    }
    (folder / "s3.json").write_text(json.dumps(s3_config))
    processes.start(
        *("s3", python, "-m", "cscale_hub.local.seaweedfs"),
        *("--config", str(folder / "s3.json")),
        url=f"{s3}/healthz",
    )

    broker_token, test_token = secrets.token_hex(16), secrets.token_hex(16)
    (folder / "stub.py").write_text(STUB_SERVER)
    (folder / "hub.py").write_text(
        HUB_CONFIG.format(
            proxy=proxy,
            hub=hub_port,
            proxy_api=proxy_api,
            bin=BIN,
            folder=folder,
            key=secrets.token_hex(32),
            scope=SCOPE,
            broker_token=broker_token,
            test_token=test_token,
        )
    )
    processes.start(
        *("hub", str(BIN / "jupyterhub"), "-f", str(folder / "hub.py")),
        url=f"{hub}/hub/api/health",
        PATH=f"{BIN}:{os.environ['PATH']}",
    )

    broker_config = {
        "port": broker_port,
        "token_url": endpoints["token_endpoint"],
        "client_id": "cscale-hub",
        "client_secret_file": str(secrets_dir / "oidc-cscale-hub"),
        "s3": {"endpoint": s3, "role_arn": "arn:aws:iam::role/cscale-researcher"},
        "vos": {
            "vos": {
                name: {"title": name, "entitlement": {"group": name}, "bucket": name.split(".")[0]}
                for name in VOS
            }
        },
        "audit_log": str(folder / "audit.jsonl"),
        "identity_cache": 0,
    }
    (folder / "broker.json").write_text(json.dumps(broker_config))
    broker = f"http://127.0.0.1:{broker_port}/services/broker"
    processes.start(
        *("broker", python, "-m", "cscale_hub.broker", "--config", str(folder / "broker.json")),
        url=f"{broker}/healthz",
        JUPYTERHUB_API_URL=f"http://127.0.0.1:{hub_port}/hub/api",
        JUPYTERHUB_API_TOKEN=broker_token,
    )

    secret = (secrets_dir / "oidc-cscale-hub").read_text().strip()
    people = [
        login(issuer, hub, secret, username, passwords[username]) for username in ("aqua", "water")
    ]
    slugs = [user_slug(person["sub"]) for person in people]
    made = Stack(folder, hub, broker, s3, *slugs, "", "", test_token, broker_token)
    for slug, person, vo in zip(slugs, people, VOS, strict=True):
        tokens = person["tokens"]
        state = {
            "access_token": tokens["access_token"],
            "refresh_token": tokens["refresh_token"],
            "expires_at": int(time.time()) + tokens["expires_in"],
        }
        assert made.api("POST", f"/users/{slug}").status_code == 201
        assert made.api("PATCH", f"/users/{slug}", auth_state=state).status_code == 200
        for group in (f"vo:{vo}", f"vo:{vo}:member"):
            assert made.api("POST", f"/groups/{group}").status_code == 201
            assert made.api("POST", f"/groups/{group}/users", users=[slug]).status_code == 200
        started = made.api("POST", f"/users/{slug}/server", vo=vo)
        assert started.status_code in (201, 202)
    made.server_token, made.other_token = (made.token_of(slug) for slug in slugs)
    return made


def claims(token: str) -> dict[str, Any]:
    import jwt

    decoded: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return decoded


def test_a_server_gets_a_token_with_one_audience(stack: Stack) -> None:
    answer = stack.ask("/v1/token?audience=openeo")
    assert answer.status_code == 200, answer.text
    body = claims(answer.json()["access_token"])
    assert body["aud"] in ("openeo", ["openeo"])
    assert user_slug(body["sub"]) == stack.slug


def test_a_server_gets_s3_credentials_for_its_user_and_no_more(stack: Stack) -> None:
    client = stack.client()
    client.put_object(Bucket="aquamonitor", Key=f"users/{stack.slug}/x", Body=b"mine")
    client.put_object(Bucket="aquamonitor", Key="products/c/i/x", Body=b"product")
    found = client.list_objects_v2(Bucket="aquamonitor", Prefix=f"users/{stack.slug}/")
    assert [each["Key"] for each in found["Contents"]] == [f"users/{stack.slug}/x"]
    for bucket, key in (("aquamonitor", f"users/{stack.other}/x"), ("waterwatch", "products/x")):
        with pytest.raises(ClientError, match="AccessDenied"):
            client.put_object(Bucket=bucket, Key=key, Body=b"x")
    with pytest.raises(ClientError, match="AccessDenied"):
        client.list_objects_v2(Bucket="aquamonitor")


@pytest.mark.parametrize("audience", ["openeo", "catalogue"])
def test_sts_takes_no_token_that_a_user_can_get(stack: Stack, audience: str) -> None:
    token = stack.ask(f"/v1/token?audience={audience}").json()["access_token"]
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": "arn:aws:iam::role/cscale-researcher",
        "RoleSessionName": "direct",
        "WebIdentityToken": token,
    }
    answer = httpx.post(stack.s3, data=form, timeout=20, trust_env=False)
    assert answer.status_code == 400
    assert "audience" in answer.text


def test_a_token_a_user_makes_or_another_user_s_is_not_taken(stack: Stack) -> None:
    own = stack.api("POST", f"/users/{stack.slug}/tokens", scopes=["self"])
    assert own.status_code == 201, own.text
    assert stack.ask("/v1/s3", own.json()["token"]).status_code == 403
    assert stack.ask("/v1/s3", stack.test_token).status_code == 403
    assert stack.ask("/v1/s3", secrets.token_hex(16)).status_code == 401


def test_a_shared_server_gets_nothing_until_it_is_no_longer_shared(stack: Stack) -> None:
    shared = stack.api("POST", f"/shares/{stack.slug}/", user=stack.other)
    assert shared.status_code == 200, shared.text
    assert stack.ask("/v1/s3").status_code == 409
    assert stack.ask("/v1/token?audience=openeo").json()["code"] == "conflict"
    assert stack.api("DELETE", f"/shares/{stack.slug}/").status_code == 204
    assert stack.ask("/v1/s3").status_code == 200


def test_a_user_s_server_reads_nothing_of_another_user(stack: Stack) -> None:
    """Whatever is added to the question; nor does the hub tell more than the broker."""
    asked = f"user={stack.other}&name={stack.other}&server={stack.other}"
    mine = stack.ask(f"/v1/token?audience=openeo&{asked}").json()["access_token"]
    assert user_slug(claims(mine)["sub"]) == stack.slug
    theirs = stack.ask("/v1/token?audience=openeo", stack.other_token).json()["access_token"]
    assert user_slug(claims(theirs)["sub"]) == stack.other
    keys = stack.ask(f"/v1/s3?{asked}").json()
    assert stack.ask("/v1/s3", stack.other_token).json()["AccessKeyId"] != keys["AccessKeyId"]
    for path in (f"/cscale/logins/{stack.other}", f"/cscale/logins/{stack.slug}"):
        answer = httpx.get(
            f"{stack.hub}/hub/api{path}",
            headers={"Authorization": f"token {stack.server_token}"},
            trust_env=False,
        )
        assert answer.status_code == 403
        assert "access_token" not in answer.text


def test_no_refresh_token_reaches_the_broker(stack: Stack) -> None:
    """What the broker's own token opens at the hub holds none."""
    kept = stack.api("GET", f"/users/{stack.slug}").json()["auth_state"]["refresh_token"]
    assert len(kept) > 20

    def read(path: str) -> httpx.Response:
        return httpx.get(
            f"{stack.hub}/hub/api{path}",
            headers={"Authorization": f"token {stack.broker_token}"},
            trust_env=False,
        )

    told = read(f"/cscale/logins/{stack.slug}")
    assert told.status_code == 200, told.text
    assert set(told.json()) == {"name", "groups", "access_token", "expires_at", "servers"}
    assert told.json()["servers"][""] == {"vo": VOS[0], "shared": False}
    for answer in (told, read(f"/users/{stack.slug}"), read("/users"), read("/user")):
        assert kept not in answer.text
    assert read("/cscale/logins/nobody").status_code == 404


def test_a_user_who_leaves_the_vo_loses_s3_at_once(stack: Stack) -> None:
    group = f"/groups/vo:{VOS[0]}:member/users"
    assert stack.api("DELETE", group, users=[stack.slug]).status_code == 200
    assert stack.ask("/v1/s3").json()["code"] == "forbidden"
    assert stack.api("POST", group, users=[stack.slug]).status_code == 200
    assert stack.ask("/v1/s3").status_code == 200


def test_a_login_that_ended_at_the_provider_means_log_in(stack: Stack) -> None:
    before = stack.api("GET", f"/users/{stack.slug}").json()["auth_state"]
    changed = before | {"access_token": before["access_token"][:-8] + "AAAAAAAA"}
    assert stack.api("PATCH", f"/users/{stack.slug}", auth_state=changed).status_code == 200
    answer = stack.ask("/v1/s3")
    assert (answer.status_code, answer.json()["code"]) == (401, "login_required")
    assert stack.api("PATCH", f"/users/{stack.slug}", auth_state=before).status_code == 200
    assert stack.ask("/v1/s3").status_code == 200


def test_nothing_secret_is_in_the_broker_s_files(stack: Stack) -> None:
    keys = stack.ask("/v1/s3").json()
    audit = (stack.folder / "audit.jsonl").read_text()
    log = (stack.folder / "broker.log").read_text()
    state = stack.api("GET", f"/users/{stack.slug}").json()["auth_state"]
    kept = (state["access_token"], state["refresh_token"])
    for secret in (keys["SecretAccessKey"], keys["Token"], stack.server_token, *kept):
        assert secret not in audit + log
    last = json.loads(audit.splitlines()[-1])
    assert (last["user"], last["access_key_id"]) == (stack.slug, keys["AccessKeyId"])
