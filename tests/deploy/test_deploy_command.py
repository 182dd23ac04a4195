"""``cscale deploy`` on the terminal, where no cluster is asked."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from cscale_cli.deploy.manifests import difference
from cscale_cli.main import GROUP, build
from tests.deploy.conftest import FOLDER

SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: hub}
data: {token: %s, other: c2FtZQ==}
"""


def run(*arguments: str) -> Result:
    point = EntryPoint("deploy", "cscale_cli.deploy.command:register", GROUP)
    return CliRunner().invoke(build([point]), ["deploy", *arguments])


@pytest.mark.usefixtures("helm_on_path")
def test_render_writes_a_file_for_each_release(stand_in: Path, tmp_path: Path) -> None:
    result = run(
        *("render", "local", f"--folder={FOLDER}", f"--chart=jupyterhub={stand_in}"),
        *("--kube-version=1.36", f"--output={tmp_path / 'out'}", "--json"),
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [each["name"] for each in told["releases"]] == ["cscale", "jupyterhub"]
    assert told["files"].keys() == {"cscale", "jupyterhub"}
    text = Path(told["files"]["jupyterhub"]).read_text(encoding="utf-8")
    assert "image: localhost/cscale/hub:0.1.0" in text


@pytest.mark.usefixtures("helm_on_path")
def test_render_of_one_release_is_what_kubectl_takes(stand_in: Path) -> None:
    result = run(
        *("render", "local", f"--folder={FOLDER}", f"--chart=jupyterhub={stand_in}"),
        *("--kube-version=1.36", "--only=cscale"),
    )
    assert result.exit_code == 0
    kinds = {each["kind"] for each in yaml.safe_load_all(result.stdout) if each}
    assert {"DaemonSet", "NetworkPolicy"} <= kinds
    assert "ConfigMap" not in kinds


@pytest.mark.usefixtures("helm_on_path")
def test_check_ends_with_one_where_there_are_errors(stand_in: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("hub: {db: {password: swordfish}}\n")
    common = (f"--folder={FOLDER}", f"--chart=jupyterhub={stand_in}", "--kube-version=1.36")
    good = run("check", "local", *common)
    assert good.exit_code == 0, good.output
    assert "0 errors" in good.output
    bad = run("check", "local", *common, f"--values={mine}", "--json")
    assert bad.exit_code == 1
    assert [each["where"] for each in json.loads(bad.stdout) if each["level"] == "error"] == [
        "hub.db.password"
    ]
    assert "swordfish" not in bad.output


@pytest.mark.usefixtures("helm_on_path")
def test_a_privileged_container_in_the_hubs_chart_is_an_error(
    stand_in: Path, tmp_path: Path
) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "hub"},
        "spec": {
            "initContainers": [
                {"name": "block", "image": "x:1", "securityContext": {"privileged": True}}
            ],
            "containers": [{"name": "hub", "image": "x:1"}],
        },
    }
    (stand_in / "templates" / "pod.yaml").write_text(yaml.safe_dump(pod))
    result = run(
        *("check", "local", f"--folder={FOLDER}", f"--chart=jupyterhub={stand_in}", "--json")
    )
    assert result.exit_code == 1
    (error,) = [each for each in json.loads(result.stdout) if each["level"] == "error"]
    assert error["where"] == "jupyterhub: Pod/hub"
    assert "block" in error["text"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("render", "nowhere"), "sites/nowhere.yaml"),
        (("render", "local", "--only=nothing"), "no release nothing"),
        (("render", "local", "--chart=jupyterhub=/nowhere"), "NAME=PATH"),
        (("render", "local", "--chart=nothing=/tmp"), "not in charts.yaml"),
    ],
)
def test_what_cannot_be_done_is_explained(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments, f"--folder={FOLDER}")
    assert result.exit_code == 2
    assert said in result.stderr


def test_without_helm_it_says_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("render", "local", f"--folder={FOLDER}", "--json")
    assert result.exit_code == 2
    assert "helm is not installed" in result.stderr
    assert json.loads(result.stdout)["code"] == "deploy_failed"


def test_difference_never_shows_the_content_of_a_secret() -> None:
    before, after = SECRET % "c3dvcmRmaXNo", SECRET % "aGVycmluZw=="
    lines = difference(before, after)
    text = "\n".join(lines)
    assert "c3dvcmRmaXNo" not in text
    assert "aGVycmluZw" not in text
    changed = [line for line in lines if line.startswith(("-  ", "+  "))]
    assert len(changed) == 2
    assert all("token" in line for line in changed)
    assert difference(before, before) == []


def test_difference_names_what_comes_and_what_goes() -> None:
    lines = difference("", SECRET % "eA==")
    assert lines[:2] == ["--- /dev/null", "+++ Secret/hub"]
    assert difference(SECRET % "eA==", "")[:2] == ["--- Secret/hub", "+++ /dev/null"]
