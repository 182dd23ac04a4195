"""Settings come from file and environment, and a wrong member is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from cscale_hub.settings import Settings, SettingsError, dump_settings, json_schema, load_settings


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CSCALE_SETTINGS_FILE", "CSCALE_DATA", "CSCALE_HUB__PORT"):
        monkeypatch.delenv(name, raising=False)


def write(folder: Path, text: str) -> Path:
    path = folder / "cscale.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_environment_wins_over_file_and_file_over_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path, "hub: {port: 9001, title: Ours}\n")
    monkeypatch.setenv("CSCALE_HUB__PORT", "9002")
    settings = load_settings()
    assert settings.hub.port == 9002
    assert settings.hub.title == "Ours"
    assert settings.identity.client_id == "cscale-hub"


@pytest.mark.parametrize(
    ("name", "host"),
    [("production", "aai.egi.eu"), ("demo", "aai-demo.egi.eu"), ("dev", "aai-dev.egi.eu")],
)
def test_issuers_of_checkin_go_by_a_name(tmp_path: Path, name: str, host: str) -> None:
    settings = load_settings(write(tmp_path, f"identity: {{issuer: {name}}}\n"))
    assert settings.identity.issuer == f"https://{host}/auth/realms/egi"


def test_resolved_file_is_taken_without_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write(tmp_path, "hub: {port: 9001}\n")
    monkeypatch.setenv("CSCALE_HUB__PORT", "9002")
    assert load_settings(path, environment=False).hub.port == 9001


def test_written_settings_are_read_back_the_same(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "d", spark={"master": "local[1]"})
    dump_settings(settings, tmp_path / "out.yaml")
    assert load_settings(tmp_path / "out.yaml", environment=False).model_dump() == (
        settings.model_dump()
    )


def test_unknown_member_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "hub: {prot: 9001}\n")
    with pytest.raises(SettingsError, match=r"hub\.prot"):
        load_settings(path)


def test_wrong_value_is_not_echoed(tmp_path: Path) -> None:
    path = write(tmp_path, "identity: {issuer: 'ftp://hunter2.example'}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert "identity.issuer" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_plain_http_is_accepted_on_loopback_only() -> None:
    assert Settings(storage={"endpoint": "http://127.0.0.1:1/"}).storage.endpoint.endswith(":1")
    with pytest.raises(ValueError, match="loopback"):
        Settings(storage={"endpoint": "http://s3.example.org"})


def test_missing_named_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.yaml"):
        load_settings(tmp_path / "absent.yaml")


def test_schema_knows_every_part() -> None:
    schema = json_schema()
    assert {"hub", "identity", "storage", "providers", "spark"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_archives_are_off_until_they_are_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().all_providers == ()
    monkeypatch.setenv("CSCALE_ARCHIVES__EARTH_SEARCH", "true")
    monkeypatch.setenv("CSCALE_ARCHIVES__EODC", "false")
    assert [each.id for each in Settings().all_providers] == ["earth-search"]


def test_variables_win_over_the_files_archives_and_registry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(
        tmp_path,
        "archives: {earth-search: false, cdse: true, eodc: true}\n"
        "site_registry: {scope: C-SCALE, without: [OLD]}\n",
    )
    monkeypatch.setenv("CSCALE_ARCHIVES__EARTH_SEARCH", "true")
    monkeypatch.setenv("CSCALE_ARCHIVES__CDSE", "false")
    monkeypatch.setenv("CSCALE_SITE_REGISTRY__SCOPE", "EGI")
    settings = load_settings()
    assert [each.id for each in settings.all_providers] == ["eodc", "earth-search"]
    assert settings.site_registry is not None
    assert (settings.site_registry.scope, settings.site_registry.without) == ("EGI", ("OLD",))
    monkeypatch.setenv("CSCALE_ARCHIVES", '{"terrascope": true, "eodc": false}')
    assert [each.id for each in load_settings().all_providers] == ["terrascope", "earth-search"]


def test_a_declared_provider_takes_the_place_of_an_archive() -> None:
    mine = {"id": "cdse", "title": "Mirror", "url": "https://mirror.example.eu"}
    settings = Settings(providers=[mine], archives={"cdse": True, "eodc": True})
    assert [each.id for each in settings.all_providers] == ["cdse", "eodc"]
    assert settings.all_providers[0].url == "https://mirror.example.eu"


def test_an_archive_that_is_not_shipped_is_told_with_those_that_are(tmp_path: Path) -> None:
    path = write(tmp_path, "archives: {nasa: true}\n")
    with pytest.raises(SettingsError, match="no archive nasa; there are cdse"):
        load_settings(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("providers: [{id: a, title: A, url: http://a.example.eu}]", "loopback only"),
        ("site_registry: {url: http://goc.example.eu/}", "loopback only"),
        (
            "providers: [{id: a, title: A, url: https://a.eu, policy: {coverage: [1, 2]}}]",
            r"providers\.0\.policy\.coverage",
        ),
        (
            "providers: [{id: a, title: A, url: https://a.eu}, {id: a, title: B, url: https://b.eu}]",
            "two providers have the id a",
        ),
        ("providers: [{id: catalogue, title: A, url: https://a.eu}]", "choose another"),
        ("allowed_hosts: ['https://stac.inside.eu:8443']", r"allowed_hosts\.0"),
        ("archives: {cdse: perhaps}", r"archives\.cdse"),
        ("site_registry: {interval: 0}", r"site_registry\.interval"),
    ],
)
def test_a_wrong_provider_is_told_at_the_start(text: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, text + "\n")
    with pytest.raises(SettingsError, match=said):
        load_settings(path)


def test_providers_with_a_policy_and_the_registry_are_read_back_the_same(tmp_path: Path) -> None:
    policy = {"collections": [{"id": "s2", "interval": "-P30D/.."}], "coverage": [5, 40, 20, 50]}
    provider = {"id": "a", "title": "A", "url": "https://a.example.eu", "policy": policy}
    settings = Settings(
        data=tmp_path / "d", providers=[provider], archives={"cdse": True}, site_registry={}
    )
    dump_settings(settings, tmp_path / "out.yaml")
    again = load_settings(tmp_path / "out.yaml", environment=False)
    assert again.model_dump() == settings.model_dump()
    assert again.site_registry is not None
    assert again.site_registry.scope == "C-SCALE"
