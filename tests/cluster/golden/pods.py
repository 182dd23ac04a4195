"""The pod of every profile in every storage mode, as the hub would send it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jupyterhub import orm
from kubernetes_asyncio.client import ApiClient
from traitlets.config import Config

from cscale_hub.configure import configure
from cscale_hub.local.layout import Layout
from cscale_hub.local.secrets import ensure_secret
from cscale_hub.settings import Settings
from cscale_hub.spawn.cluster import ClusterSpawner

NAMESPACE = "cscale-test-golden"
USER = "uabc234"
VO = "aqua.example.eu"
TOKEN = "token-of-the-hub-for-this-server"
MODES = ("node", "csi", "sidecar", "none")
PROFILES: dict[str, Any] = {
    "standard": {"title": "Standard", "cpu": 2, "cpu_guarantee": 0.5, "memory": "8Gi"},
    "gpu": {
        "title": "GPU",
        "cpu": 4,
        "memory": "16Gi",
        "gpu": 1,
        "image": "registry.example/server-gpu:1",
        "node_selector": {"pool": "gpu"},
    },
    "spark": {"title": "Spark", "cpu": 2, "memory": "8Gi", "spark": True},
}
_VOS = {
    "profiles": PROFILES,
    "vos": {
        VO: {
            "title": "Aqua",
            "entitlement": {"group": VO},
            "profiles": {"member": list(PROFILES)},
            "bucket": "aqua",
            "quota": {"home": "20Gi"},
            "places": [{"bucket": "eodata", "purpose": "archive", "access": {"member": "ro"}}],
        }
    },
}


def settings_of(data: Path, mode: str, **cluster: Any) -> Settings:
    """A deployment whose buckets are all seen in one mode."""
    return Settings(
        profile="kubernetes",
        data=data,
        hub={"url": "https://hub.example.eu"},
        storage={"endpoint": "https://s3.example.eu", "region": "eu"},
        catalogue={"url": "https://catalogue.example.eu"},
        broker={"url": "https://hub.example.eu/services/broker"},
        vos=_VOS,
        kubernetes={
            "namespace": NAMESPACE,
            "image": "registry.example/server:1",
            "bucket": {"mode": mode},
            "buckets": {"eodata": {"mode": mode, "shortcut": "/eodata"}},
            "sidecar": {"image": "registry.example/mount:1"},
            "tolerations": [{"key": "servers", "operator": "Exists", "effect": "NoSchedule"}],
            **cluster,
        },
        spark={
            "kinds": ["local", "kubernetes"],
            "kubernetes": {"namespace": "spark-{user}", "image": "registry.example/spark:1"},
        },
    )


def spawner_of(settings: Settings, profile: str) -> ClusterSpawner:
    """The spawner of one person, as the hub's configuration makes it."""
    secrets = Layout(settings.data).secrets
    secrets.mkdir(parents=True, exist_ok=True)
    for name in ("auth-state-key", "operator-token"):
        ensure_secret(secrets / name)
    config = Config()
    configure(config, settings)
    user = SimpleNamespace(
        name=USER,
        escaped_name=USER,
        id=1,
        url=f"/user/{USER}/",
        groups=[SimpleNamespace(name=f"vo:{VO}"), SimpleNamespace(name=f"vo:{VO}:member")],
        spawners={},
    )
    made = ClusterSpawner(
        config=config,
        user=user,
        _mock=True,
        db=orm.new_session_factory("sqlite:///:memory:")(),
        orm_spawner=SimpleNamespace(
            id=1, name="", server=None, user_options={}, oauth_client_id="x"
        ),
        oauth_client_id="x",
    )
    made.api_token = TOKEN
    made.user_options = {"profile": profile, "vo": VO}
    return made


async def manifest_of(spawner: ClusterSpawner) -> dict[str, Any]:
    """What KubeSpawner would send, in its order."""
    await spawner.run_pre_spawn_hook()
    await spawner.load_user_options()
    pod = spawner.furnished(await spawner.get_pod_manifest())
    found: dict[str, Any] = ApiClient().sanitize_for_serialization(pod)
    return found
