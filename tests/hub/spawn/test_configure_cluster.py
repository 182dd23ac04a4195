"""What configure() makes of settings for a cluster."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from traitlets.config import Config

from cscale_hub.cluster_settings import KubernetesSettings
from cscale_hub.configure import configure
from cscale_hub.local.secrets import SecretError, ensure_secret, read_secret
from cscale_hub.settings import Settings, SettingsError
from cscale_hub.spawn.cluster_buckets import mode_of, pod_buckets
from cscale_hub.storage import StorageGrant


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    for name in ("auth-state-key", "operator-token", "client"):
        ensure_secret(tmp_path / "keys" / name)
    return tmp_path


def settings(folder: Path, **members: Any) -> Settings:
    return Settings(
        **{
            "profile": "kubernetes",
            "data": folder,
            "secrets": folder / "keys",
            "hub": {"url": "https://hub.example.eu"},
            "identity": {"client_secret_file": folder / "keys" / "client"},
            "kubernetes": {"image": "registry.example/server:1"},
            **members,
        }
    )


def test_what_the_deployment_configured_before_stays(folder: Path) -> None:
    config = Config()
    config.JupyterHub.services = [{"name": "culler", "command": ["x"]}]
    config.JupyterHub.load_roles = [{"name": "culler", "services": ["culler"], "scopes": []}]
    config.JupyterHub.hub_bind_url = "http://:8081"
    configure(config, settings(folder))
    names = [each["name"] for each in config.JupyterHub.services]
    assert names == ["culler", "operator", "prometheus", "idle-culler"]
    roles = [each["name"] for each in config.JupyterHub.load_roles]
    assert roles[0] == "culler"
    assert "broker" not in roles
    assert config.JupyterHub.hub_bind_url == "http://:8081"
    assert config.JupyterHub.spawner_class.__name__ == "ClusterSpawner"
    assert config.JupyterHub.cleanup_servers is False
    login = config.CheckinAuthenticator
    assert login.oauth_callback_url == "https://hub.example.eu/hub/oauth_callback"


def test_the_broker_runs_beside_the_hub(folder: Path) -> None:
    config = Config()
    broker = {
        "url": "https://hub.example.eu/services/broker",
        "upstream": "http://hub.cscale.svc:8083",
        "token_url": "https://login.example.eu/token",
        "role_arn": "arn:aws:iam::role/researcher",
    }
    configure(config, settings(folder, broker=broker))
    (service,) = [each for each in config.JupyterHub.services if each["name"] == "broker"]
    written = json.loads(Path(service["command"][-1]).read_text(encoding="utf-8"))
    assert written["port"] == 8083
    assert written["s3"]["role_arn"] == "arn:aws:iam::role/researcher"
    secret = (folder / "keys" / "client").read_text(encoding="utf-8").strip()
    assert secret not in json.dumps([written, service])
    assert config.Proxy.extra_routes == {"/services/broker/": "http://hub.cscale.svc:8083"}
    assert "broker" in [each["name"] for each in config.JupyterHub.load_roles]


def test_a_broker_without_its_upstreams_is_refused(folder: Path) -> None:
    with pytest.raises(ValidationError, match="token_url and role_arn"):
        settings(folder, broker={"upstream": "http://hub.cscale.svc:8083"})
    config = Config()
    broker = {
        "upstream": "http://hub.cscale.svc:8083",
        "token_url": "https://login.example.eu/token",
        "role_arn": "arn",
    }
    with pytest.raises(SettingsError, match="client_secret_file"):
        configure(config, settings(folder, broker=broker, identity={}))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"kubernetes": None}, "the member kubernetes is missing"),
        ({"hub": {}}, "hub.url is missing"),
        ({"kubernetes": {"image": "x:1", "bucket": {"mode": "sidecar"}}}, "sidecar.image"),
        ({"kubernetes": {"image": "x:1", "home": {"kind": "shared"}}}, "needs claim"),
        (
            {
                "kubernetes": {
                    "image": "x:1",
                    "home": {"kind": "shared", "claim": "h", "sub_path": "homes"},
                }
            },
            "one home",
        ),
        ({"storage": {"endpoint": "http://s3.example.eu"}}, "use https"),
    ],
)
def test_settings_that_cannot_work_are_named(
    folder: Path, members: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(folder, **members)


def test_plain_http_is_for_services_of_the_cluster(folder: Path) -> None:
    found = settings(folder, storage={"endpoint": "http://s3.store.svc:8333"})
    assert found.storage.endpoint == "http://s3.store.svc:8333"


def test_several_servers_where_a_vo_gives_them(folder: Path) -> None:
    vo = {"title": "A", "entitlement": {"group": "a"}, "bucket": "aqua", "quota": {"servers": 3}}
    config = Config()
    configure(config, settings(folder, vos={"vos": {"a.example": vo}}))
    assert config.JupyterHub.allow_named_servers is True
    assert config.JupyterHub.named_server_limit_per_user == 3


def test_a_profile_whose_storage_cannot_be_had_is_named(folder: Path) -> None:
    vos = {
        "profiles": {"beside": {"title": "B", "storage": "sidecar"}},
        "vos": {"a.example": {"title": "A", "entitlement": {"group": "a"}, "bucket": "aqua"}},
    }
    with pytest.raises(SettingsError, match="profile beside has the storage sidecar"):
        configure(Config(), settings(folder, vos=vos))


def test_a_secret_lent_by_its_group_is_taken(tmp_path: Path, monkeypatch: Any) -> None:
    """The files of a mounted Secret belong to root, and the pod's group may read them."""
    path = tmp_path / "token"
    path.write_text("x", encoding="utf-8")
    path.chmod(0o440)
    with pytest.raises(SecretError, match="others"):
        read_secret(path)
    owner = path.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    assert read_secret(path) == "x"
    path.chmod(0o444)
    with pytest.raises(SecretError, match="others"):
        read_secret(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


# -- modes of buckets ------------------------------------------------------------------------------

CLUSTER = KubernetesSettings(
    image="x:1",
    buckets={
        "aqua": {"mode": "sidecar"},
        "eodata": {"mode": "node", "shortcut": "/eodata"},
        "big": {"mode": "csi", "claim": "claim-of-{bucket}"},
        "far": {"mode": "none"},
    },
    sidecar={"image": "m:1"},
)
GIVEN = [
    StorageGrant("aqua", "users/u/", "rw", "a", "home", True),
    StorageGrant("eodata", "", "ro", "a", "archive"),
    StorageGrant("big", "shared/", "ro", "a", "shared"),
    StorageGrant("far", "", "ro", "a", "archive"),
]


def test_modes_are_mixed_freely(folder: Path) -> None:
    found = pod_buckets(settings(folder), CLUSTER, GIVEN, "server-u", vo="a")
    paths = {each["mountPath"]: each for each in found.mounts}
    assert paths["/s3"]["name"] == "places"
    assert paths["/s3/aqua"]["subPath"] == "aqua"
    assert paths["/s3/big/shared"] == {
        "name": "bucket-big",
        "mountPath": "/s3/big/shared",
        "subPath": "shared",
        "readOnly": True,
    }
    assert found.unmounted == {"far"}
    assert found.shortcuts == {"/s3/me": "aqua/users/u", "/eodata": "eodata"}
    # The node's program makes the link also to what a container beside mounts.
    assert '"me": "aqua/users/u"' in found.annotations["c-scale.eu/places"]
    assert found.claims == {"bucket-big": "big"}


def test_a_bucket_that_is_left_out_leaves_no_trace(folder: Path) -> None:
    found = pod_buckets(
        settings(folder), CLUSTER, GIVEN, "server-u", vo="a", left_out=["big", "aqua"]
    )
    assert found.unmounted == {"far", "big", "aqua"}
    assert not found.claims
    assert not found.containers
    assert found.shortcuts == {"/eodata": "eodata"}


def test_a_profile_may_choose_but_not_what_is_shown_nowhere() -> None:
    assert mode_of(CLUSTER, "aqua", "csi") == "csi"
    assert mode_of(CLUSTER, "aqua", "default") == "sidecar"
    assert mode_of(CLUSTER, "aqua", "fuse") == "sidecar"
    assert mode_of(CLUSTER, "far", "node") == "none"
    assert mode_of(CLUSTER, "aqua", "none") == "none"
