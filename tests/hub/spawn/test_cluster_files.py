"""The files of a server's pod: in a Secret, and where the server looks for them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from cscale_hub.settings import Settings
from cscale_hub.spawn import cluster_site
from cscale_hub.spawn.server_configuration import FILES, configuration


def files(tmp_path: Path, *, together: bool) -> dict[str, Any]:
    settings = Settings(data=tmp_path, hub={"url": "https://hub.example.eu"})
    texts = configuration(settings, together=together, documents=Path("/where"))
    return {name: json.loads(text) for name, text in texts.items()}


def test_every_file_of_the_volume_is_in_the_secret() -> None:
    contents = {name: f"text of {name}" for name in FILES}
    made = cluster_site.secret_manifest("s", "site: 1", contents, "key", {})
    data = {key: base64.b64decode(text).decode() for key, text in made["data"].items()}
    items = cluster_site.volume("s")["secret"]["items"]
    paths = {each["path"]: data[each["key"]] for each in items}
    assert paths.pop("site.yaml") == "site: 1"
    assert paths == {f"jupyter/{name}": text for name, text in contents.items()}
    # The token is read by reference only, and is in no file.
    assert "key" in data.values()
    assert "key" not in paths.values()


@pytest.mark.parametrize("together", [True, False])
def test_notebooks_are_edited_together_where_the_organisation_wants_it(
    tmp_path: Path, together: bool
) -> None:
    found = files(tmp_path, together=together)
    server = found["jupyter_server_config.json"]
    extensions = server["ServerApp"]["jpserver_extensions"]
    assert extensions["jupyter_server_ydoc"] is together
    assert extensions["cscale_server"] is True
    assert server["ServerApp"]["allow_root"] is False
    disabled = found["labconfig/page_config.json"]["disabledExtensions"]
    assert ("@jupyter/collaboration-extension" in disabled) is not together
    kept = server.get("SQLiteYStore", {}).get("db_path", "")
    assert kept.startswith("/where/") is together


def test_announcements_come_from_the_hub_as_people_reach_it(tmp_path: Path) -> None:
    server = files(tmp_path, together=False)["jupyter_server_config.json"]
    assert server["LabApp"]["news_url"] == "https://hub.example.eu/hub/announcements.atom"
