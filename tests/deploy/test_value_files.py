"""Value files: their order, how they merge, and that each site's are right."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cscale_cli.deploy.checking import Finding, check, hub_settings, own_values
from cscale_cli.deploy.model import values_schema
from cscale_cli.deploy.releases import releases
from cscale_cli.deploy.values import ValueFiles, chosen, merge
from cscale_core.errors import InvalidInput
from tests.deploy.conftest import FOLDER, SITES, STORAGE


def without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    """helm keeps a null of the files for the chart's defaults, which it then takes away."""
    return {
        name: without_nulls(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }


@pytest.mark.parametrize(
    ("below", "above", "merged"),
    [
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": {"x": 1, "z": 1}}, {"a": {"z": 2}}, {"a": {"x": 1, "z": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"x": 1}}, {"a": None}, {}),
        ({"a": {"x": 1}}, {"a": {"x": None}}, {"a": {}}),
        ({"a": 1}, {"a": {"x": 1}}, {"a": {"x": 1}}),
    ],
)
def test_merging_is_helms(
    helm: Path, tmp_path: Path, below: dict[str, Any], above: dict[str, Any], merged: dict[str, Any]
) -> None:
    assert merge(below, above) == merged
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: x, version: 0.0.1}")
    (tmp_path / "templates" / "all.yaml").write_text("values: {{ toJson .Values }}\n")
    for name, document in (("below", below), ("above", above)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document))
    files = [f"--values={tmp_path / name}.yaml" for name in ("below", "above")]
    said = subprocess.run(
        [helm / "helm", "template", "x", tmp_path, *files],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = yaml.safe_load(said)["values"]
    found.pop("global", None)
    assert without_nulls(found) == merged


def with_storage(folder: Path, site: str, storage: str, tmp_path: Path) -> ValueFiles:
    """A site's values with another storage."""
    copy = tmp_path / "values"
    copy.mkdir()
    for path in folder.iterdir():
        if path.name != "sites":
            (copy / path.name).symlink_to(path)
    (copy / "sites").mkdir()
    document = yaml.safe_load((folder / "sites" / f"{site}.yaml").read_text(encoding="utf-8"))
    document["custom"]["cscale"]["deployment"]["storage"] = {storage: True}
    (copy / "sites" / f"{site}.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return chosen(copy, site)


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("site", SITES)
def test_every_site_is_valid_with_every_storage(site: str, storage: str, tmp_path: Path) -> None:
    values = with_storage(FOLDER, site, storage, tmp_path)
    own = own_values(values)
    settings = hub_settings(values)
    assert settings.profile == "kubernetes"
    assert settings.kubernetes is not None
    assert settings.kubernetes.bucket.mode == storage.partition("-")[0]
    assert (own.csi.driver != "") == storage.startswith("csi-")
    planned = releases(values, own.deployment, {})
    assert [each.name for each in planned][-2:] == ["cscale", "jupyterhub"]
    assert ("csi-s3" in [each.name for each in planned]) == (storage == "csi-geesefs")


@pytest.mark.parametrize("site", SITES)
def test_this_machines_variables_do_not_count(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hub_settings(chosen(FOLDER, site))
    monkeypatch.setenv("CSCALE_HUB__TITLE", "Another")
    assert hub_settings(chosen(FOLDER, site)) == before


def test_files_come_in_their_order_and_later_ones_win(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("custom: {cscale: {mounts: {provider: AWS}}}\n")
    values = chosen(FOLDER, "incd", [mine])
    assert [path.relative_to(FOLDER).as_posix() for path in values.files[:-1]] == [
        "base.yaml",
        "storage/node.yaml",
        "sites/incd.yaml",
        "vos/aquamonitor.yaml",
    ]
    assert values.files[-1] == mine
    assert own_values(values).mounts.provider == "AWS"


@pytest.mark.parametrize(
    ("name", "said"), [("nowhere", "incd, local"), ("../vos/demo", "incd, local")]
)
def test_unknown_site_is_told_with_those_there_are(name: str, said: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        chosen(FOLDER, name)
    assert said in raised.value.hint


def test_folder_without_values_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"has no base\.yaml"):
        chosen(tmp_path, "incd")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mounts": {"secrte": "x"}}, "mounts.secrte"),
        ({"network": {"servers": {"nowhere": True}}}, "nowhere"),
        ({"network": {"destinations": {"x": {"ports": {"80": True}}}}}, "everywhere"),
        ({"settings": {"hub": {"urll": "x"}}}, "hub.urll"),
        ({"settings": {"storage": {"endpoint": "http://s3.example.org"}}}, "storage.endpoint"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump({"custom": {"cscale": change}}))
    found = check(chosen(FOLDER, "local", [mine]), (), lambda _: "")
    assert [each.level for each in found if said in each.text] == ["error"]


def test_secrets_in_values_are_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("hub: {db: {password: swordfish}}\n")
    found = check(chosen(FOLDER, "local", [mine]), (), lambda _: "")
    (refused,) = [each for each in found if each.level == "error"]
    assert refused.where == "hub.db.password"
    assert "swordfish" not in refused.text


def test_secrets_of_the_cluster_are_looked_for() -> None:
    asked: dict[str, str] = {}

    def keys(namespace: str, name: str) -> set[str] | None:
        asked[name] = namespace
        made = {"auth-state-key", "operator-token", "prometheus-token", "pseudonym-key"}
        return {"cscale-hub": made}.get(name)

    found = check(chosen(FOLDER, "local"), (), lambda _: "", keys)
    assert asked == {"cscale-hub": "cscale", "cscale-mounts": "cscale"}
    assert [each for each in found if each.level == "error"] == [
        Finding("error", "Secret/cscale/cscale-hub", "has no client-secret"),
        Finding(
            "error",
            "Secret/cscale/cscale-mounts",
            "is not there, or has nothing in it; make it with the keys access-key, secret-key",
        ),
    ]


def test_committed_schema_is_what_the_code_says() -> None:
    text = (FOLDER / "cscale" / "values.schema.json").read_text(encoding="utf-8")
    assert json.loads(text) == values_schema(), "run: make reference"


def test_value_files_hold_data_only() -> None:
    for path in FOLDER.rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        if "templates" not in path.parts:
            assert "extraConfig" not in text, path
            assert "privileged: true" not in text, path
