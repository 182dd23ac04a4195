"""The hub's settings in the values of its chart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cscale_hub.chart import chart_settings
from cscale_hub.settings import SettingsError

PROFILES = {
    "gpu": {"title": "GPU", "cpu": 4, "gpu": 1},
    "large": {"title": "Large", "cpu": 8, "memory": "32Gi"},
    "middle": {"title": "Middle", "cpu": 8, "memory": "8Gi"},
    "standard": {"title": "Standard", "cpu": 2},
}
VO = {"title": "Demo", "entitlement": {"group": "demo"}, "bucket": "demo"}


def values(tmp_path: Path, settings: Any) -> Path:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump({"custom": {"cscale": {"settings": settings}}}))
    return path


def test_they_are_what_a_settings_file_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = values(tmp_path, {"data": "/srv/data", "hub": {"title": "Ours", "port": 8123}})
    monkeypatch.setenv("CSCALE_HUB__TITLE", "The pod's")
    settings = chart_settings(path)
    assert settings.data == Path("/srv/data")
    assert (settings.hub.title, settings.hub.port) == ("The pod's", 8123)


def test_profiles_come_smallest_first_as_helm_loses_their_order(tmp_path: Path) -> None:
    vos = {"profiles": PROFILES, "vos": {"demo.example.eu": VO}}
    settings = chart_settings(values(tmp_path, {"vos": vos}))
    assert settings.vos is not None
    assert list(settings.vos.profiles) == ["standard", "middle", "large", "gpu"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hub": {"titel": "x"}}, "hub.titel"),
        ({"vos": {"profiles": {"a": {}}, "vos": {"demo.example.eu": VO}}}, "profiles.a.title"),
        ({"vos": {"profiles": 1}}, "vos"),
    ],
)
def test_what_is_wrong_is_named_and_the_hub_does_not_start(
    tmp_path: Path, settings: Any, said: str
) -> None:
    with pytest.raises(SettingsError, match=rf"custom\.cscale\.settings.*{said}"):
        chart_settings(values(tmp_path, settings))


@pytest.mark.parametrize("text", ["custom: {}\n", "custom:\n", "[]\n"])
def test_values_without_settings_are_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"have no custom\.cscale\.settings"):
        chart_settings(path)


def test_values_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        chart_settings(tmp_path / "values.yaml")
