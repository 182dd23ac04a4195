"""A real JupyterHub with our spawner, a stand-in for the user's server, and a VO file.

Persons and their groups are made over REST: signing in is tested elsewhere.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.hub.hub_api import HubApi
from tests.waiting import until

BIN = Path(sys.executable).parent

VOS: dict[str, Any] = {
    "profiles": {
        "small": {
            "title": "Small <b>&</b> quick",
            "purpose": "Looking at maps & a few scenes.",
            "cpu": 1,
            "memory": "2Gi",
        },
        "large": {
            "title": "Large",
            "purpose": "Whole scenes in memory.",
            "cost": "Counts twice.",
            "cpu": 2,
            "memory": "4Gi",
            "storage": "none",
        },
        "gpu": {"title": "With a GPU", "cpu": 2, "memory": "4Gi", "gpu": 1},
    },
    "vos": {
        "aqua.example": {
            "title": "Aqua",
            "entitlement": {"group": "aqua.example"},
            "roles": {"member": ["member"], "manager": ["manager"]},
            "profiles": {"member": ["small"], "manager": ["small", "large"]},
            "bucket": "aqua",
            "shared_notebooks": {"co_editing": True},
            "environment": {"COMMUNITY": "aqua"},
            "egress": {"hosts": ["tiles.example.org"]},
        },
        "water.example": {
            "title": "Water",
            "entitlement": {"group": "water.example"},
            "profiles": {"member": ["gpu"]},
            "bucket": "water",
            "quota": {"cpu_hours_month": 10},
        },
        "spent.example": {
            "title": "Spent",
            "entitlement": {"group": "spent.example"},
            "profiles": {"member": ["small"]},
            "bucket": "spent",
            "quota": {"cpu_hours_month": 10},
        },
    },
}

SERVER = """
import http.server, json, os, resource, urllib.parse
said = {
    "environment": dict(os.environ),
    "processors": len(os.sched_getaffinity(0)),
    "memory": resource.getrlimit(resource.RLIMIT_DATA)[0],
}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())
    def log_message(self, *arguments):
        pass
url = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
with open(os.path.join(os.environ["HOME"], "said.json"), "w") as file:
    json.dump(said, file)
http.server.ThreadingHTTPServer((url.hostname, url.port), Handler).serve_forever()
"""

HUB = """
import sys
from pathlib import Path
from jupyterhub.auth import DummyAuthenticator
from cscale_hub.quotas import Used
from cscale_hub.group_roles import group_roles
from cscale_hub.settings import Settings
from cscale_hub.sharing.gate import hold_shares
from cscale_hub.accounting.reports import DESCRIPTION, REPORT_SCOPE
from cscale_hub.audit import AuditLog
from cscale_hub.sharing.editing import COOKIES
from cscale_hub.sharing.page import VOS_SETTING
from cscale_hub.sharing.publications import AUDIT_SETTING
from cscale_hub.sharing.routes import HANDLERS
from cscale_hub.spawn.local import LocalSpawner
from cscale_hub.vos import load_vos

async def usage(vo, slug):
    return Used(own=10 if vo == "spent.example" else 4, everybody=50)

c.JupyterHub.bind_url = "http://127.0.0.1:{proxy}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_api}"
c.ConfigurableHTTPProxy.command = ["{bin}/configurable-http-proxy"]
c.ConfigurableHTTPProxy.pid_file = "{folder}/proxy.pid"
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie-secret"
class SignedIn(DummyAuthenticator):
    user_auth_state_key = "oauth_user"

    def get_handlers(self, app):
        return [*super().get_handlers(app), *HANDLERS]

c.JupyterHub.authenticator_class = SignedIn
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = LocalSpawner
c.LocalSpawner.cscale_settings = Settings(data="{folder}/data")
vos = load_vos(Path("{folder}/vos.yaml"))
c.LocalSpawner.cscale_vos = vos
hold_shares(vos)
c.Spawner.poll_interval = 2
c.LocalSpawner.cscale_usage = usage
c.LocalSpawner.cmd = [sys.executable, "{folder}/server.py"]
c.LocalSpawner.http_timeout = 60
c.LocalSpawner.start_timeout = 60
c.JupyterHub.template_paths = ["{templates}"]
c.JupyterHub.template_vars = {{"hub_title": "Test hub", "demonstration": True, "co_editing": True}}
c.JupyterHub.tornado_settings = {{
    "slow_spawn_timeout": 30,  # a refusal is the answer, however loaded the machine is
    "cookie_options": COOKIES,
    VOS_SETTING: vos,
    AUDIT_SETTING: AuditLog(Path("{folder}/audit")),
}}
c.JupyterHub.custom_scopes = {{REPORT_SCOPE: DESCRIPTION}}
c.Spawner.server_token_scopes = ["access:servers!server", f"{{REPORT_SCOPE}}!server"]
c.JupyterHub.load_roles = [
    {{"name": "user", "scopes": ["self", f"{{REPORT_SCOPE}}!user"]}},
    {{"name": "test", "scopes": ["admin:users", "admin:servers", "groups", "admin:groups",
      "tokens"], "services": ["test"]}},
    *group_roles(vos),
]
c.JupyterHub.services = [{{"name": "test", "api_token": "{token}"}}]
"""


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class RunningHub(HubApi):
    """The hub, and a token that may make persons and start their servers."""

    def person(self, *roles: str) -> str:
        """A new person with these roles, each ``VO:ROLE``; returns the name."""
        name = "u" + secrets.token_hex(5)
        assert self.api("POST", f"/users/{name}").status_code == 201
        for role in roles:
            for group in (f"vo:{role.split(':')[0]}", f"vo:{role}"):
                self.api("POST", f"/groups/{group}")
                added = self.api("POST", f"/groups/{group}/users", {"users": [name]})
                assert added.status_code == 200, added.text
        return name

    def start(self, name: str, body: Any = None) -> httpx.Response:
        return self.api("POST", f"/users/{name}/server", body)

    def options(self, name: str) -> Any:
        """What the hub remembers of the choice; the server has to run."""
        return self.api("GET", f"/users/{name}").json()["servers"][""]["user_options"]

    @property
    def log(self) -> str:
        """The end of what the hub logged."""
        return (self.folder / "hub.log").read_text(encoding="utf-8")[-4000:]

    def said(self, name: str) -> dict[str, Any]:
        """What the person's server found when it began."""

        def paths() -> list[Path]:
            found = (self.folder / "data").rglob("said.json")
            return [path for path in found if name in str(path)]

        path = until(paths, f"what the server of {name} says", beside=lambda: self.log)[0]
        return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="package")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    from cscale_hub.configure import TEMPLATES
    from cscale_hub.local.layout import Layout

    folder = tmp_path_factory.mktemp("choice")
    Layout(folder / "data").create()
    (folder / "vos.yaml").write_text(yaml.safe_dump(VOS, sort_keys=False), encoding="utf-8")
    (folder / "server.py").write_text(SERVER, encoding="utf-8")
    proxy, api, inner = free_ports(3)
    token = secrets.token_hex(16)
    config = HUB.format(
        proxy=proxy,
        hub=inner,
        proxy_api=api,
        bin=BIN,
        folder=folder,
        templates=TEMPLATES,
        token=token,
    )
    (folder / "hub.py").write_text(config, encoding="utf-8")
    with (folder / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            [str(BIN / "jupyterhub"), "-f", str(folder / "hub.py")],
            cwd=folder,
            stdout=log,
            stderr=log,
            env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"},
            start_new_session=True,
        )
    running = RunningHub(folder, f"http://127.0.0.1:{proxy}", token)
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                if running.api("GET", "/health").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(running.log)
            time.sleep(0.2)
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
