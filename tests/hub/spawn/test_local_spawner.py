"""What a new home gets, and what configure() makes of the settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from traitlets.config import Config

from cscale_hub.broker.scopes import SCOPE
from cscale_hub.configure import configure
from cscale_hub.local.layout import Layout
from cscale_hub.local.services import (
    HUB_CONFIG,
    PORT_NAMES,
    Wishes,
    ensure_secrets,
    resolved_settings,
)
from cscale_hub.settings import Settings, SettingsError
from cscale_hub.spawn.local import mount_mode
from cscale_hub.spawn.notebooks import copy_notebooks
from cscale_hub.spawn.server_configuration import server_config

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    Layout(tmp_path).create()
    ensure_secrets(Layout(tmp_path))
    ports = {name: 20_000 + number for number, name in enumerate(PORT_NAMES)}
    return resolved_settings(Settings(data=tmp_path), ports, Wishes())


def test_new_notebooks_are_copied_and_own_files_and_deletions_respected(tmp_path: Path) -> None:
    source, home = tmp_path / "notebooks", tmp_path / "home"
    source.mkdir()
    home.mkdir()
    (source / "Getting started.ipynb").write_text("ours", encoding="utf-8")
    (source / "Other.ipynb").write_text("ours", encoding="utf-8")
    (home / "Other.ipynb").write_text("mine", encoding="utf-8")
    assert copy_notebooks(source, home) == ["Getting started.ipynb"]
    assert (home / "Other.ipynb").read_text(encoding="utf-8") == "mine"
    (home / "Getting started.ipynb").unlink()
    assert copy_notebooks(source, home) == []
    (source / "New.ipynb").write_text("ours", encoding="utf-8")
    assert copy_notebooks(source, home) == ["New.ipynb"]
    assert copy_notebooks(None, home) == []


def test_copied_notebook_says_what_the_kernel_would_add(tmp_path: Path) -> None:
    from ipykernel.ipkernel import IPythonKernel

    shipped = REPOSITORY / "notebooks"
    (name,) = copy_notebooks(shipped, tmp_path)
    before, copied = (
        json.loads((folder / name).read_text(encoding="utf-8")) for folder in (shipped, tmp_path)
    )
    assert copied["metadata"].pop("language_info") == IPythonKernel.language_info
    assert before["metadata"].pop("language_info")
    assert copied == before


def test_notebook_of_another_kernel_is_copied_as_it_is(tmp_path: Path) -> None:
    source, home = tmp_path / "notebooks", tmp_path / "home"
    source.mkdir()
    home.mkdir()
    julia = '{"cells":[],"metadata":{"kernelspec":{"name":"julia-1.11"}},"nbformat":4}'
    (source / "Julia.ipynb").write_text(julia, encoding="utf-8")
    assert copy_notebooks(source, home) == ["Julia.ipynb"]
    assert (home / "Julia.ipynb").read_text(encoding="utf-8") == julia


@pytest.mark.parametrize("chosen", ["fuse", "contents", "none"])
def test_mount_mode_of_the_settings_wins(tmp_path: Path, chosen: str) -> None:
    assert mount_mode(Settings(data=tmp_path, storage={"mount_mode": chosen})) == chosen


def test_automatic_mount_mode_follows_the_machine(tmp_path: Path) -> None:
    assert mount_mode(Settings(data=tmp_path)) in ("fuse", "contents")


def test_servers_load_our_extension_and_no_news() -> None:
    config = server_config(Settings(culling={"longest_staging_hours": 2.5}))
    assert config["ServerApp"]["jpserver_extensions"]["cscale_server"]
    assert config["LabApp"]["news_url"] == "http://127.0.0.1:8000/hub/announcements.atom"
    assert config["LabApp"]["check_for_updates_class"] == "jupyterlab.NeverCheckForUpdate"
    assert config["CScaleExtension"] == {"longest_staging": 2.5, "longest_computing": 24.0}


def test_everything_listens_on_loopback_and_nobody_is_let_in_by_default(
    settings: Settings,
) -> None:
    c = Config()
    configure(c, settings)
    assert c.JupyterHub.bind_url.startswith("http://127.0.0.1:")
    assert c.JupyterHub.hub_bind_url.startswith("http://127.0.0.1:")
    assert c.LocalProxy.api_url.startswith("http://127.0.0.1:")
    assert c.CheckinAuthenticator.allow_all is False
    assert "admin_users" not in c.CheckinAuthenticator
    assert c.CheckinAuthenticator.enable_pkce is True


def test_only_servers_tokens_may_call_the_broker(settings: Settings) -> None:
    c = Config()
    configure(c, settings)
    assert f"{SCOPE}!server" in c.Spawner.server_token_scopes
    assert "self" not in c.Spawner.server_token_scopes
    roles = {role["name"]: role for role in c.JupyterHub.load_roles}
    assert roles["broker"]["services"] == ["broker"]
    assert "admin:users" not in roles["broker"]["scopes"]


def test_routed_services_have_a_route_and_the_others_none(settings: Settings) -> None:
    c = Config()
    configure(c, settings)
    assert set(c.LocalProxy.extra_routes) == {
        "/services/catalogue/",
        "/services/mqs/",
        "/services/openeo/",
        "/services/broker/",
    }
    started = {s["name"]: s["command"] for s in c.JupyterHub.services if "command" in s}
    secrets = [
        path.read_text(encoding="utf-8").strip()
        for path in Layout(settings.data).secrets.iterdir()
        if path.is_file()
    ]
    services = {"issuer", "s3", "catalogue", "site-b", "mqs", "openeo", "broker", "slurm"}
    assert set(started) == services | {"idle-culler"}
    parts = [part for command in started.values() for part in command]
    assert not any(secret in part for part in parts for secret in secrets)


@pytest.mark.parametrize("name", ["auth-state-key", "cookie-secret", "proxy-token"])
def test_hub_refuses_to_start_without_a_secret(settings: Settings, name: str) -> None:
    (Layout(settings.data).secrets / name).unlink()
    with pytest.raises(SettingsError, match=name):
        configure(Config(), settings)


def test_hub_refuses_a_key_others_can_read(settings: Settings) -> None:
    (Layout(settings.data).secrets / "auth-state-key").chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        configure(Config(), settings)


def test_config_file_of_the_repository_is_what_the_launcher_writes() -> None:
    assert (REPOSITORY / "hub" / "jupyterhub_config.py").read_text(encoding="utf-8") == HUB_CONFIG
