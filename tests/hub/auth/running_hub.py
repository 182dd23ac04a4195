"""A real JupyterHub, configured by :func:`cscale_hub.configure.configure`, and people who visit it.

What differs from a deployment: looks come sooner, and users' servers are stand-ins that start at
once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from cscale_core.identity.slug import user_slug
from cscale_hub.local.layout import Layout
from cscale_hub.local.secrets import ensure_secret
from cscale_hub.local.services import SECRET_NAMES
from cscale_hub.settings import Settings, dump_settings
from cscale_hub.vos import DEMO_VOS_FILE
from tests.hub.auth.switched_issuer import SwitchedIssuer
from tests.hub.hub_api import HubApi
from tests.hub.issuer.conftest import FormParser
from tests.waiting import until

ENROL = "https://perun.example.org/aquamonitor"
CONFIG = """
import sys
from pathlib import Path
from cscale_hub.configure import configure
from cscale_hub.settings import load_settings

from prometheus_client import Counter
from sqlalchemy import event
from sqlalchemy.engine import Engine

STATEMENTS = Counter("test_sql_statements", "SQL statements of this process")
event.listen(Engine, "before_cursor_execute", lambda *_: STATEMENTS.inc())
c = get_config()
configure(c, load_settings(Path({settings!r}), environment=False))
c.CheckinAuthenticator.auth_refresh_age = 1
c.CheckinAuthenticator.membership_interval = 1
c.CheckinAuthenticator.discovery_timeout = 1
c.CheckinAuthenticator.provider_trust = 0
c.CheckinAuthenticator.patience = 2
c.CheckinAuthenticator.longest_pause = 1
c.CheckinAuthenticator.outage_grace = 25
c.LocalSpawner.cmd = [sys.executable, {server!r}]
c.JupyterHub.services += [
    {{"name": "observer", "api_token": {token!r}}},
    {{"name": "broker", "api_token": "not-running-" + {token!r}}},
]
c.JupyterHub.load_roles.append({{
    "name": "observer",
    "scopes": ["read:users", "admin:auth_state", "servers", "read:metrics"],
    "services": ["observer"],
}})
"""

SERVER = """
import http.server, os, urllib.parse

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass

url = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
http.server.ThreadingHTTPServer((url.hostname, url.port), Handler).serve_forever()
"""


@dataclass
class RunningHub(HubApi):
    """The hub, its issuer, and a token that may see what the hub keeps."""

    issuer: SwitchedIssuer

    def slug(self, username: str) -> str:
        return user_slug(self.issuer.subject(username))

    def model(self, username: str) -> dict[str, Any]:
        """The hub's model of a person, with the tokens it keeps."""
        answer = self.api("GET", f"/users/{self.slug(username)}")
        return answer.json() if answer.status_code == 200 else {}

    def metric(self, line: str) -> float:
        """The value of one line of the hub's metrics; 0 when it is not there yet."""
        answer = httpx.get(
            f"{self.url}/hub/metrics",
            headers={"Authorization": f"token {self.token}"},
            timeout=60,
            trust_env=False,
        )
        answer.raise_for_status()
        values = [one.split()[-1] for one in answer.text.splitlines() if one.startswith(line + " ")]
        return float(values[0]) if values else 0.0

    def events(self, action: str) -> list[dict[str, Any]]:
        """Events of the audit log."""
        path = self.folder / "data/logs/audit.jsonl"
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line["action"] == action]

    @property
    def log(self) -> str:
        return (self.folder / "hub.log").read_text(encoding="utf-8")


class Visitor:
    """A browser with its cookies."""

    def __init__(self, hub: RunningHub) -> None:
        self.hub = hub
        self.http = httpx.Client(
            base_url=hub.url, follow_redirects=True, timeout=60, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def sign_in(self, username: str) -> httpx.Response:
        """Through the issuer's form, or its single sign-on; the page at the end of it."""
        page = self.http.get("/hub/oauth_login", params={"next": "/hub/home"})
        form = FormParser(page.text)
        if "password" not in form.inputs:
            return page
        password = self.hub.issuer.passwords[username]
        fields = {**form.fields, "username": username, "password": password}
        return self.http.post(page.url.join(form.action), data=fields)

    def signed_in(self) -> bool:
        """Whether a page of the hub is shown, and not the way to the login."""
        answer = self.http.get("/hub/token", follow_redirects=False)
        assert answer.status_code in (200, 302), answer.text
        return answer.status_code == 200


def command(folder: Path) -> list[str]:
    script = Path(sys.executable).with_name("jupyterhub")
    return [str(script), "-f", str(folder / "hub.py")]


def write_config(folder: Path, issuer: SwitchedIssuer, ports: list[int], token: str) -> None:
    """What ``cscale up`` would have written."""
    proxy, api, inner = ports
    data = folder / "data"
    layout = Layout(data)
    layout.create()
    for name in SECRET_NAMES:
        ensure_secret(layout.secrets / name)
    vos = yaml.safe_load(DEMO_VOS_FILE.read_text(encoding="utf-8"))
    vos["vos"]["aquamonitor.c-scale.eu"]["enrolment_url"] = ENROL
    settings = Settings(
        data=data,
        vos=vos,
        hub={"port": proxy, "api_port": inner, "proxy_api_port": api},
        identity={
            "issuer": issuer.config.issuer,
            "label": "EGI Check-in",
            "client_secret_file": issuer.secrets_dir / "oidc-cscale-hub",
            "refresh_interval": 10,
        },
    )
    dump_settings(settings, folder / "cscale.yaml")
    (folder / "server.py").write_text(SERVER, encoding="utf-8")
    config = CONFIG.format(
        settings=str(folder / "cscale.yaml"), server=str(folder / "server.py"), token=token
    )
    (folder / "hub.py").write_text(config, encoding="utf-8")


@contextmanager
def running(folder: Path, issuer: SwitchedIssuer, ports: list[int]) -> Iterator[RunningHub]:
    token = "observer-" + "0" * 32
    write_config(folder, issuer, ports, token)
    hub = RunningHub(folder, f"http://127.0.0.1:{ports[0]}", token, issuer)
    with (folder / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            command(folder), cwd=folder, stdout=log, stderr=log, start_new_session=True
        )

    def answers() -> bool:
        try:
            return hub.api("GET", "/health").status_code == 200
        except httpx.TransportError:
            return process.poll() is not None

    try:
        until(answers, "the hub", 120, beside=lambda: hub.log)
        assert process.poll() is None, hub.log
        yield hub
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
