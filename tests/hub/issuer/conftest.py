"""A real identity provider process per test module, a browser for it, and PKCE."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from cscale_hub.local.issuer.config import DEVICE_CODE_GRANT, TOKEN_EXCHANGE_GRANT
from cscale_hub.local.issuer.demo import demo_clients, write_demo_users

HUB_URL = "http://127.0.0.1:18999"
CALLBACK = f"{HUB_URL}/hub/oauth_callback"
SCOPE = "openid profile email voperson_id eduperson_entitlement offline_access"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Pkce:
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def parameters(self) -> dict[str, str]:
        return {"code_challenge": self.challenge, "code_challenge_method": "S256"}


class FormParser(HTMLParser):
    """The first form of a page: its action and its fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.inputs: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action = values["action"]
        if tag == "input" and values.get("name"):
            self.inputs.append(values["name"])
            self.fields[values["name"]] = values.get("value", "")


class IssuerProcess:
    """The server under test and what a client needs to talk to it."""

    def __init__(self, folder: Path, accounts: Path, **settings: Any) -> None:
        self.folder = folder
        shutil.copytree(accounts, folder, dirs_exist_ok=True)  # hashing passwords is slow
        self.data_dir = folder / "issuer"
        self.users_file = self.data_dir / "users.json"
        self.secrets_dir = folder / "secrets"
        self.passwords = write_demo_users(self.users_file, self.secrets_dir)
        self.port = free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        self.issuer = f"{self.root}/auth/realms/egi"
        self.config_file = folder / "issuer.json"
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(timeout=60, verify=False)  # noqa: S501 - plain HTTP
        self.log_file = folder / "issuer.log"
        clients = demo_clients(self.secrets_dir, HUB_URL)
        self.settings: dict[str, Any] = {
            "port": self.port,
            "data_dir": str(self.data_dir),
            "users_file": str(self.users_file),
            "clients": [client.model_dump(mode="json") for client in clients],
            "device_interval_seconds": 1,
            "login_failures_per_minute": 10,
        } | settings
        self.configure()

    def configure(self, **settings: Any) -> None:
        self.settings |= settings
        self.config_file.write_text(json.dumps(self.settings), encoding="utf-8")

    def command(self, *options: str) -> list[str]:
        module = ["-m", "cscale_hub.local.issuer", "--config", str(self.config_file)]
        return [sys.executable, *module, *options]

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                httpx.get(f"{self.root}/healthz", timeout=2).raise_for_status()
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
        pytest.fail(f"the issuer did not start:\n{self.log_file.read_text()}")

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        return self.process.wait(timeout=30)

    def url(self, endpoint: str) -> str:
        return f"{self.issuer}/protocol/openid-connect/{endpoint}"

    def secret(self, client_id: str) -> str:
        return (self.secrets_dir / f"oidc-{client_id}").read_text()

    def auth(self, client_id: str = "cscale-hub") -> httpx.BasicAuth:
        return httpx.BasicAuth(client_id, self.secret(client_id))

    def browser(self) -> Browser:
        return Browser(self)

    # Calls of a client

    def token(self, client_id: str = "cscale-hub", **form: str) -> httpx.Response:
        if client_id == "cscale-openeo":
            return self.http.post(self.url("token"), data={"client_id": client_id, **form})
        return self.http.post(self.url("token"), data=form, auth=self.auth(client_id))

    def exchange_code(self, code: str, pkce: Pkce, **form: str) -> httpx.Response:
        return self.token(
            **{
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": CALLBACK,
                "code_verifier": pkce.verifier,
            }
            | form
        )

    def login_tokens(self, username: str = "aqua", **parameters: str) -> dict[str, Any]:
        pkce = Pkce()
        with self.browser() as browser:
            code = browser.login_for_code(username, pkce, **parameters)
        response = self.exchange_code(code, pkce)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def refresh(self, refresh_token: str, **form: str) -> httpx.Response:
        return self.token(grant_type="refresh_token", refresh_token=refresh_token, **form)

    def exchange(
        self, subject_token: str, audience: str, client_id: str = "cscale-hub", **form: str
    ) -> httpx.Response:
        return self.token(
            client_id,
            **{
                "grant_type": TOKEN_EXCHANGE_GRANT,
                "subject_token": subject_token,
                "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "audience": audience,
            }
            | form,
        )

    def service_token(self, **form: str) -> httpx.Response:
        return self.token("cscale-openeo-service", grant_type="client_credentials", **form)

    def userinfo(self, access_token: str) -> httpx.Response:
        return self.http.get(
            self.url("userinfo"), headers={"Authorization": f"Bearer {access_token}"}
        )

    def introspect(self, token: str, client_id: str = "cscale-hub") -> dict[str, Any]:
        response = self.http.post(
            self.url("token/introspect"), data={"token": token}, auth=self.auth(client_id)
        )
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def start_device(self, pkce: Pkce, **form: str) -> httpx.Response:
        data = {"client_id": "cscale-openeo", "scope": SCOPE, **pkce.parameters(), **form}
        return self.http.post(self.url("auth/device"), data=data)

    def poll_device(self, device_code: str, pkce: Pkce) -> httpx.Response:
        return self.token(
            "cscale-openeo",
            grant_type=DEVICE_CODE_GRANT,
            device_code=device_code,
            code_verifier=pkce.verifier,
        )


class Browser:
    """A cookie jar that fills in forms and follows redirects within the issuer only."""

    def __init__(self, issuer: IssuerProcess) -> None:
        self.issuer = issuer
        self.http = httpx.Client(timeout=60, verify=False)  # noqa: S501 - plain HTTP

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def follow(self, response: httpx.Response) -> httpx.Response:
        """The last page within the issuer, or the redirect that leaves it."""
        while response.is_redirect and response.headers["location"].startswith(self.issuer.root):
            response = self.http.get(response.headers["location"])
        return response

    def authorize(self, pkce: Pkce | None = None, **parameters: str | None) -> httpx.Response:
        values: dict[str, str | None] = {
            "client_id": "cscale-hub",
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": SCOPE,
            "state": "the-state",
            **(pkce.parameters() if pkce else {}),
            **parameters,
        }
        query = {name: value for name, value in values.items() if value is not None}
        return self.follow(self.http.get(self.issuer.url("auth"), params=query))

    def submit(self, page: httpx.Response, **fields: str) -> httpx.Response:
        form = FormParser(page.text)
        target = page.url.join(form.action)
        return self.follow(self.http.post(target, data={**form.fields, **fields}))

    def login(self, page: httpx.Response, username: str) -> httpx.Response:
        password = self.issuer.passwords[username]
        return self.submit(page, username=username, password=password)

    def login_for_code(self, username: str, pkce: Pkce, **parameters: str) -> str:
        answer = self.login(self.authorize(pkce, **parameters), username)
        return redirect_query(answer)["code"]


def redirect_query(response: httpx.Response) -> dict[str, str]:
    """The parameters an authorization response brings to the client's redirect URI."""
    assert response.is_redirect, response.text
    location = response.headers["location"]
    assert location.startswith(f"{CALLBACK}?"), location
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


@pytest.fixture(scope="session")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demonstration accounts, to be copied."""
    folder = tmp_path_factory.mktemp("accounts")
    write_demo_users(folder / "issuer" / "users.json", folder / "secrets")
    return folder


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory, accounts: Path) -> Iterator[IssuerProcess]:
    """One server for the tests of a module."""
    process = IssuerProcess(tmp_path_factory.mktemp("issuer"), accounts)
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture
def make_issuer(tmp_path: Path, accounts: Path) -> Iterator[Callable[..., IssuerProcess]]:
    """Servers with settings of their own, started by the test."""
    made: list[IssuerProcess] = []

    def make(**settings: Any) -> IssuerProcess:
        folder = tmp_path / f"issuer-{len(made)}"
        folder.mkdir()
        made.append(IssuerProcess(folder, accounts, **settings))
        return made[-1]

    yield make
    for process in made:
        if process.process is not None:
            process.stop(signal.SIGKILL)


@pytest.fixture
def browser(issuer: IssuerProcess) -> Iterator[Browser]:
    with issuer.browser() as browser:
        yield browser


@pytest.fixture
def pkce() -> Pkce:
    return Pkce()


@pytest.fixture
def redirected() -> Callable[[httpx.Response], dict[str, str]]:
    return redirect_query


@pytest.fixture
def form_of() -> type[FormParser]:
    return FormParser


@pytest.fixture
def claims_of() -> Callable[[str], dict[str, Any]]:
    """The payload of a JWT, unverified."""

    def decode(token: str) -> dict[str, Any]:
        payload = token.split(".")[1]
        padded = payload + "=" * (-len(payload) % 4)
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(padded))
        return claims

    return decode
