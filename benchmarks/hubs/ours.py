"""Configuration of the hub of ours; read by JupyterHub."""

import os
from pathlib import Path

from benchmarks.hubs.spawners import WaitingSpawner
from cscale_hub.configure import configure
from cscale_hub.settings import load_settings
from cscale_hub.sharing.servers import SharingSpawner
from cscale_hub.spawn.choice import ChoosingSpawner
from cscale_hub.spawn.watched import WatchedSpawner

c = get_config()  # noqa: F821 - JupyterHub's own
folder = Path(os.environ["BENCH_FOLDER"])
configure(c, load_settings(folder / "cscale.yaml", environment=False))


class OurWaitingSpawner(WatchedSpawner, SharingSpawner, ChoosingSpawner, WaitingSpawner):
    """All of ours before the one that only waits."""


if os.environ["BENCH_SPAWNER"] == "waiting":
    c.JupyterHub.spawner_class = OurWaitingSpawner
    c.ChoosingSpawner.cscale_settings = c.LocalSpawner.cscale_settings
    c.ChoosingSpawner.cscale_vos = c.LocalSpawner.cscale_vos
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.services += [
    {"name": "bench", "api_token": os.environ["BENCH_TOKEN"]},
    {"name": "broker", "api_token": os.environ["BENCH_BROKER_TOKEN"]},
]
c.JupyterHub.load_roles += [
    {"name": "bench", "scopes": ["servers", "read:users"], "services": ["bench"]}
]
