"""Where ``cscale search`` finds the providers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from cscale_cli.search.sites import find_site
from cscale_core.errors import InvalidInput
from cscale_core.site import SITE_FILE_VARIABLE
from cscale_hub.local.layout import Layout
from cscale_hub.local.processes import start_ticks
from cscale_hub.settings import Settings, dump_settings

ENTRY = {"id": "near", "title": "Near", "url": "http://127.0.0.1:9"}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [each for each in os.environ if each.startswith("CSCALE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CSCALE_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def file_of(path: Path, content: Any) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def site_file(path: Path) -> Path:
    return file_of(
        path,
        {
            "user": "ann",
            "s3": {"endpoint": "http://127.0.0.1:9"},
            "catalogue": {"url": "http://127.0.0.1:9"},
            "providers": [ENTRY | {"id": "of-the-site"}],
        },
    )


def ids(*arguments: Any) -> list[str]:
    return [provider.id for provider in find_site(*arguments).providers]


def test_named_file_comes_before_the_site_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(SITE_FILE_VARIABLE, str(site_file(tmp_path / "site.yaml")))
    assert ids() == ["of-the-site"]
    assert ids(file_of(tmp_path / "providers.yaml", {"providers": [ENTRY]})) == ["near"]


def test_archives_that_are_shipped_can_be_switched_on_in_the_file(tmp_path: Path) -> None:
    content = {"providers": [ENTRY], "archives": {"cdse": True, "eodc": False}}
    assert ids(file_of(tmp_path / "providers.yaml", content)) == ["near", "cdse"]


@pytest.mark.parametrize(
    "content", [[], {}, "text", {"providers": [{"id": "x"}]}, {"servers": []}], ids=str
)
def test_file_that_declares_no_providers_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InvalidInput, match="provider"):
        find_site(file_of(tmp_path / "providers.yaml", content))


def test_without_anything_it_says_what_to_do() -> None:
    with pytest.raises(InvalidInput) as caught:
        find_site()
    for words in ("cscale up", "--providers", SITE_FILE_VARIABLE):
        assert words in caught.value.hint


def running_federation(data: Path, *, pid: int, ticks: Any) -> None:
    """What a federation leaves in its folder while it runs."""
    layout = Layout(data)
    layout.create()
    settings = Settings.model_validate({"data": data, "providers": [ENTRY | {"id": "site-b"}]})
    dump_settings(settings, layout.settings)
    state = {"launcher": pid, "launcher_started": ticks}
    (layout.programs / "hub.state.json").write_text(json.dumps(state), encoding="utf-8")


@pytest.mark.parametrize("named", [True, False])
def test_federation_that_runs_here_is_searched_catalogue_first(tmp_path: Path, named: bool) -> None:
    data = tmp_path / "data"
    running_federation(data, pid=os.getpid(), ticks=start_ticks(os.getpid()))
    found = ids(None, data) if named else ids()
    assert found[0] == "catalogue"
    assert "site-b" in found


def test_federation_that_does_not_run_is_not_searched(tmp_path: Path) -> None:
    running_federation(tmp_path / "data", pid=os.getpid(), ticks=0)
    with pytest.raises(InvalidInput, match="no federation"):
        find_site()
