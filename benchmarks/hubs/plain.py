"""Configuration of a plain hub at the same issuer; read by JupyterHub."""

import json
import os
import sys
from pathlib import Path

from oauthenticator.generic import GenericOAuthenticator

from benchmarks.hubs.spawners import WaitingSpawner

c = get_config()  # noqa: F821 - JupyterHub's own
folder = Path(os.environ["BENCH_FOLDER"])
said = json.loads((folder / "plain.json").read_text())

c.JupyterHub.bind_url = said["url"]
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{said['hub']}"
c.JupyterHub.db_url = f"sqlite:///{folder / 'hub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(folder / "cookie-secret")
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{said['proxy_api']}"
c.ConfigurableHTTPProxy.command = [str(Path(sys.executable).with_name("configurable-http-proxy"))]
c.ConfigurableHTTPProxy.pid_file = str(folder / "proxy.pid")
c.JupyterHub.authenticator_class = GenericOAuthenticator
login = c.GenericOAuthenticator
login.client_id = said["client_id"]
login.client_secret = said["client_secret"]
login.authorize_url = said["endpoints"]["authorization_endpoint"]
login.token_url = said["endpoints"]["token_endpoint"]
login.userdata_url = said["endpoints"]["userinfo_endpoint"]
login.oauth_callback_url = f"{said['url']}/hub/oauth_callback"
login.scope = said["scope"]
login.username_claim = lambda user: "u" + user["sub"][:12]
login.allow_all = True
if os.environ["BENCH_SPAWNER"] == "waiting":
    c.JupyterHub.spawner_class = WaitingSpawner
else:
    c.JupyterHub.spawner_class = "simple"
    c.SimpleLocalProcessSpawner.home_dir_template = str(folder / "home" / "{username}")
    c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
    c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
    c.Spawner.start_timeout = c.Spawner.http_timeout = 120
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.services = [{"name": "bench", "api_token": os.environ["BENCH_TOKEN"]}]
c.JupyterHub.load_roles = [
    {"name": "bench", "scopes": ["servers", "read:users"], "services": ["bench"]}
]
