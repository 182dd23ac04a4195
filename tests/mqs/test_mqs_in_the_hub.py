"""The service as one of the hub's: the configuration it gets, and the way through the proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cscale_hub.local.layout import Layout
from cscale_hub.local.lifecycle import Federation
from cscale_hub.local.services import (
    PORT_NAMES,
    Wishes,
    programs,
    resolved_settings,
    write_programs,
)
from cscale_hub.settings import Settings
from cscale_hub.vos import load_vos
from cscale_mqs.config import Config

REGISTRY = {"url": "https://goc.example.eu/gocdbpi/public/"}


def test_the_hub_writes_what_the_service_reads(tmp_path: Path) -> None:
    ports = {name: 20_000 + at for at, name in enumerate(PORT_NAMES)}
    asked = Settings(data=tmp_path, archives={"cdse": True}, site_registry=REGISTRY)
    settings = resolved_settings(asked, ports, Wishes())
    layout = Layout(tmp_path)
    layout.create()
    running = programs(settings, load_vos(settings.vos_file), ports, Wishes())
    write_programs(settings, running)
    [program] = [each for each in running if each.name == "mqs"]
    config = Config.model_validate_json(program.config_file(layout).read_text())
    hub = f"http://127.0.0.1:{ports['hub']}"
    assert (config.host, config.port) == ("127.0.0.1", ports["mqs"])
    assert config.public_root == f"{hub}/services/mqs"
    assert [each.id for each in config.providers] == ["catalogue", "site-b", "site-c", "cdse"]
    assert config.providers[0].url == f"{hub}/services/catalogue"
    assert config.site_registry is not None
    assert config.site_registry.url == REGISTRY["url"]
    assert config.data_dir == layout.service("mqs")
    [service] = [each for each in settings.services if each.name == "mqs"]
    assert service.routed
    assert config.site.entitlements == config.site.grants == ()


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A hub with the catalogue and an archive of one scene."""
    folder = tmp_path_factory.mktemp("federation")
    (folder / "scenes").mkdir()
    scene = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "only",
        "collection": "sentinel-2-l1c",
        "geometry": {"type": "Point", "coordinates": [14, 46]},
        "bbox": [14, 46, 14, 46],
        "properties": {"datetime": "2024-05-01T10:00:00Z"},
        "assets": {},
        "links": [],
    }
    found = {"type": "FeatureCollection", "features": [scene]}
    (folder / "scenes" / "items.json").write_text(json.dumps(found))
    with Federation(
        folder / "data",
        archive_root=folder / "scenes",
        without=("openeo",),
        settings={"catalogue": {"backend": "sqlite"}},
    ) as running:
        yield running


@pytest.mark.stack
@pytest.mark.timeout(400)
def test_it_answers_through_the_proxy_of_the_hub(federation: Federation) -> None:
    root = federation.urls["mqs"]
    assert root == f"{federation.hub_url}/services/mqs"
    with httpx.Client(trust_env=False, timeout=60) as http:
        page = http.get(f"{root}/").raise_for_status().json()
        assert {link["href"] for link in page["links"] if link["rel"] == "self"} == {f"{root}/"}
        collections = http.get(f"{root}/collections").raise_for_status().json()
        assert "site-b|sentinel-2-l1c" in [each["id"] for each in collections["collections"]]
        for method in ("GET", "POST"):
            answer = http.request(method, f"{root}/search", **_asked(method)).raise_for_status()
            reports = {each["id"]: each["status"] for each in answer.json()["mqs:providers"]}
            assert reports == {"catalogue": "ok", "site-b": "ok", "site-c": "error"}
            assert answer.json()["mqs:complete"] is False
            [item] = answer.json()["features"]
            assert (item["collection"], item["id"]) == ("site-b|sentinel-2-l1c", "only")
            [own] = [link["href"] for link in item["links"] if link["rel"] == "self"]
            assert own == f"{root}/collections/site-b%7Csentinel-2-l1c/items/only"
            assert http.get(own).raise_for_status().json()["id"] == "only"
        listed = {each["identifier"]: each for each in http.get(f"{root}/data-providers").json()}
        assert [listed[name]["online"] for name in ("catalogue", "site-b", "site-c")] == [
            True,
            True,
            False,
        ]
        missing = http.get(f"{root}/collections/catalogue%7Cnothing")
        assert missing.status_code == 404
        assert missing.json()["code"] == "not_found"
        asked = {"Origin": "https://b.example.org", "Access-Control-Request-Method": "POST"}
        allowed = http.options(f"{root}/search", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == "*"


def _asked(method: str) -> dict[str, object]:
    if method == "GET":
        return {"params": {"limit": 5}}
    return {"content": json.dumps({"limit": 5}), "headers": {"Content-Type": "application/json"}}
