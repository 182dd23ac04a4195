"""Files of providers, and the archives that are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from cscale_core.errors import InvalidInput
from cscale_core.http import allowed_hosts
from cscale_core.providers import (
    Provider,
    ProvidersFile,
    load_providers_file,
    shipped_providers,
    with_archives,
)

ONE = "{id: a, title: A, url: https://a.example.eu}"


def file(folder: Path, text: str) -> Path:
    path = folder / "providers.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_public_archives_are_shipped_over_https_without_a_login() -> None:
    shipped = shipped_providers()
    assert list(shipped) == [
        "cdse",
        "terrascope",
        "eodc",
        "earth-search",
        "planetary-computer",
        "cesnet-resto",
        "eo-mqs",
    ]
    assert all(each.url.startswith("https://") for each in shipped.values())
    assert {each.auth for each in shipped.values()} == {"none"}
    assert not any(each.policy.complete for each in shipped.values())


def test_an_archive_comes_after_the_providers_and_gives_way_to_one_of_its_name() -> None:
    mine = Provider(id="cdse", title="Mine", url="https://mine.example.eu")
    on = {"cdse": True, "earth_search": True, "eodc": False}
    assert [each.url for each in with_archives([mine], on)] == [
        "https://mine.example.eu",
        shipped_providers()["earth-search"].url,
    ]
    assert with_archives([], {}) == ()
    with pytest.raises(ValueError, match=r"no archive nasa; there are cdse, terrascope"):
        with_archives([], {"nasa": False})


@pytest.mark.parametrize("text", [f"[{ONE}]", f"providers: [{ONE}]"])
def test_a_file_is_a_list_or_says_more(text: str, tmp_path: Path) -> None:
    [found] = load_providers_file(file(tmp_path, text)).everything()
    assert found == Provider(id="a", title="A", url="https://a.example.eu")


def test_a_file_switches_archives_on_and_names_registry_and_hosts(tmp_path: Path) -> None:
    text = f"""
providers: [{ONE}]
archives: {{terrascope: true}}
site_registry: {{scope: C-SCALE}}
allowed_hosts: [a.example.eu]
"""
    path = file(tmp_path, text)
    assert [each.id for each in load_providers_file(path).everything()] == ["a", "terrascope"]
    whole = load_providers_file(path)
    assert whole.site_registry is not None
    assert whole.allowed_hosts == ("a.example.eu",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{unclosed", "not YAML"),
        ("", "does not declare providers"),
        ("just words", "does not declare providers"),
        (f"providers: [{ONE}, {ONE}]", "two providers have the id a"),
        ("providers: [{id: a b, title: A, url: https://a.eu}]", r"providers\.0\.id"),
        ("providers: [{id: a, title: A, url: 'ftp://a.eu'}]", r"providers\.0\.url"),
        ("providers: [{id: a, title: A, url: 'https://u:hunter2@a.eu'}]", "no password"),
        ("providers: [{id: a, title: A, url: https://a.eu, colour: x}]", r"providers\.0\.colour"),
        ("archives: {nasa: true}", "no archive nasa"),
        (
            "[{id: a, title: A, url: https://a.eu, policy: {interval: soon}}]",
            r"providers\.0\.policy\.interval",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        load_providers_file(file(tmp_path, text)).everything()
    assert "hunter2" not in caught.value.message
    assert "providers.md" in caught.value.hint


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ("stac.eu", ("stac.eu", 0)),
        ("stac.eu:8443", ("stac.eu", 8443)),
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("localhost", ("localhost", 0)),
        ("fd00::1", ("fd00::1", 0)),
        ("[fd00::1]", ("fd00::1", 0)),
        ("[fd00::1]:8443", ("fd00::1", 8443)),
    ],
)
def test_hosts_that_are_allowed_are_what_the_guard_reads(entry: str, read: tuple[str, int]) -> None:
    assert allowed_hosts(ProvidersFile(allowed_hosts=(entry,)).allowed_hosts) == {read}


@pytest.mark.parametrize(
    "entry",
    [
        "",
        " stac.eu",
        "https://stac.eu",
        "stac.eu/v1",
        "stac.eu:99999",
        "stac.eu:0",
        "stac.eu:x",
        "u:p@stac.eu",
        "*.stac.eu",
        "10.0.0.0/8",
        "[::1",
        ":8443",
        "stac.eu?x",
        "stac.eu#x",
    ],
)
def test_what_is_no_host_is_refused_instead_of_allowing_nothing(entry: str) -> None:
    with pytest.raises(ValidationError, match="not host or host:port"):
        ProvidersFile(allowed_hosts=(entry,))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_providers_file(tmp_path / "absent.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_providers_file(tmp_path / "bytes.yaml")
